"""Optimizers and schedules as JSON, for checkpoints: their class and what its constructor was given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError

__all__ = ["Configured", "to_config", "from_config"]


class Configured:
    """Base of what keeps each argument of its constructor under the argument's name."""

    def get_params(self) -> dict[str, Any]:
        """Return the constructor's arguments by name, as they are now."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({told})"


def to_config(part: Configured | None) -> dict[str, Any] | None:
    """Return the class and the arguments of ``part``, for JSON."""
    return None if part is None else {"class": type(part).__name__, **part.get_params()}


def from_config(config: Mapping[str, Any] | None, kinds: Mapping[str, Any], what: str) -> Any:
    """Return what `to_config` has described; raise `FormatError` where its class is not one of ``kinds``."""
    if config is None:
        return None
    arguments = dict(config)
    name = arguments.pop("class", None)
    if name not in kinds:
        raise FormatError(
            f"the file names the {what} {name!r}, which is none of {sorted(kinds)}; pass {what}= to go on with one of "
            "your own"
        )
    return kinds[name](**arguments)
