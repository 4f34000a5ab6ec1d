"""What all models share: parameters that can be read, changed and shown, the way scikit-learn has it."""

from __future__ import annotations

import inspect
from typing import Any

from ..errors import ValueRangeError

__all__ = ["Model"]


class Model:
    """Base of the models: the constructor stores its arguments under their names, and nothing else."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name. ``deep`` is there for scikit-learn and changes nothing."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Model:
        """Set constructor arguments by name; return the model."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueRangeError(
                    f"{type(self).__name__} has no parameter {name!r}, expected one of {sorted(known)}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({told})"
