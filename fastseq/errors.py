"""The errors of the package. Each says what was given, what was expected and what to do."""

from __future__ import annotations

__all__ = [
    "FastseqError",
    "ShapeError",
    "DTypeError",
    "ValueRangeError",
    "DeviceError",
    "ForkError",
    "FormatError",
    "TextError",
    "UnknownWordError",
    "NotFittedError",
    "MissingExtraError",
]


class FastseqError(Exception):
    """Base of every error that the package raises on purpose."""


class ShapeError(FastseqError, ValueError):
    """An array has the wrong number of axes or the wrong length."""


class DTypeError(FastseqError, TypeError):
    """An array or argument has a type that cannot be used without loss."""


class ValueRangeError(FastseqError, ValueError):
    """A number or option lies outside what it may be."""


class DeviceError(FastseqError, RuntimeError):
    """Arrays lie on different devices, or a device that was asked for is not there."""


class ForkError(FastseqError, RuntimeError):
    """Parallel kernels were called in a forked child of a process that already ran them."""


class FormatError(FastseqError, ValueError):
    """A file is not what its name or its header says: wrong format, truncated or damaged."""


class TextError(FastseqError, ValueError):
    """Text cannot be used: invalid UTF-8, no words, or nothing left after filtering."""


class UnknownWordError(FastseqError, KeyError):
    """A word is not in the vocabulary."""

    def __str__(self) -> str:
        # KeyError shows repr(message); a sentence reads better.
        return str(self.args[0]) if self.args else ""


class NotFittedError(FastseqError, AttributeError):
    """A learned attribute was asked for before ``fit``."""


class MissingExtraError(FastseqError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'fastseq-numba[{extra}]'"
        )
        self.package = package
        self.extra = extra
        self.purpose = purpose

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        # The default would call the constructor with the message alone.
        return type(self), (self.package, self.extra, self.purpose)
