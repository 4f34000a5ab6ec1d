"""What a training run reports: one list a quantity, one entry an epoch."""

from __future__ import annotations

from typing import Any

__all__ = ["History"]


class History(dict[str, list[float]]):
    """Lists of numbers by name, which are attributes too: ``history["loss"]`` is ``history.loss``.

    Examples
    --------
    >>> history = History()
    >>> history.add(loss=0.7, learning_rate=0.025)
    >>> history.add(loss=0.5, learning_rate=0.02)
    >>> history.loss
    [0.7, 0.5]
    """

    def __getattr__(self, name: str) -> list[float]:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this history has no {name!r}, it has {sorted(self)}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def add(self, **numbers: Any) -> None:
        """Append one number to each list that is named; a list that is not there begins here."""
        for name, number in numbers.items():
            self.setdefault(name, []).append(float(number))
