"""Which device a model works on. Kernels do not ask: they run where their arrays lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .errors import ValueRangeError

__all__ = ["current_device", "use_device", "cuda_available", "to_device", "to_host"]

_DEVICES = ("cpu", "cuda")
_current: ContextVar[str] = ContextVar("fastseq_device", default="cpu")


def current_device() -> str:
    """Return the device that models use in this context: ``"cpu"`` (the default) or ``"cuda"``."""
    return _current.get()


def cuda_available() -> bool:
    """Whether CUDA kernels can run here: a GPU with the ``cuda`` extra, or Numba's CUDA simulator."""
    from .kernels import _cuda

    return _cuda.available()


@contextmanager
def use_device(device: str) -> Iterator[None]:
    """Let models work on ``device`` (``"cpu"`` or ``"cuda"``) inside the ``with`` block, in this thread or task.

    Raises
    ------
    ValueRangeError
        ``device`` is neither.
    DeviceError
        ``"cuda"`` is asked for and no CUDA device can be used.
    """
    if device not in _DEVICES:
        raise ValueRangeError(f"device is {device!r}, expected one of {_DEVICES}")
    if device == "cuda":
        from .kernels import _cuda

        _cuda.require()
    token = _current.set(device)
    try:
        yield
    finally:
        _current.reset(token)


def to_device(array: Any, device: str | None = None) -> Any:
    """Return ``array`` on ``device`` (default: the current one); no copy where it lies there already."""
    device = device or current_device()
    if device not in _DEVICES:
        raise ValueRangeError(f"device is {device!r}, expected one of {_DEVICES}")
    if device == "cpu":
        return to_host(array)
    from .kernels import _cuda

    _cuda.require()
    return _cuda.asarray(array)


def to_host(array: Any) -> Any:
    """Return ``array`` as a NumPy array; no copy where it is one already."""
    if not hasattr(array, "__cuda_array_interface__"):
        return array
    from .kernels import _cuda

    return _cuda.asnumpy(array)
