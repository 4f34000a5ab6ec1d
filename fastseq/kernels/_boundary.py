"""Checks and conversions at the boundary of the kernels: behind it arrays are C-contiguous and of one dtype.

Read-only, non-contiguous and byte-swapped arrays are converted here, once; what cannot be converted without loss is
refused with one error that says what was given, what was expected and what to do.
"""

from __future__ import annotations

import importlib
import math
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import DeviceError, DTypeError, ShapeError, ValueRangeError

__all__ = [
    "device_of",
    "variant",
    "array_module",
    "as_ids",
    "as_offsets",
    "as_floats",
    "as_float_dtype",
    "check_csr",
    "check_integer",
    "check_finite_number",
    "to_same_device",
]

INT32_MAX = 2**31 - 1


def is_device_array(array: Any) -> bool:
    """Whether ``array`` lies on a CUDA device (or is the simulator's stand-in)."""
    return hasattr(array, "__cuda_array_interface__")


def device_of(**arrays: Any) -> str:
    """Return ``"cpu"`` or ``"cuda"``, where all ``arrays`` lie (None is passed over); raise where they are mixed."""
    places = {name: "cuda" if is_device_array(array) else "cpu" for name, array in arrays.items() if array is not None}
    if len(set(places.values())) > 1:
        told = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise DeviceError(
            f"arrays lie on different devices ({told}); move them to one with fastseq.to_device or fastseq.to_host"
        )
    return next(iter(places.values()), "cpu")


@cache
def variant(device: str, family: str) -> ModuleType:
    """Return the module with the bodies of ``family`` for ``device``."""
    return importlib.import_module(f"{__package__}.{device}.{family}")


def array_module(device: str) -> Any:
    """Return NumPy for the CPU; CuPy (NumPy in the simulator) for CUDA."""
    if device == "cpu":
        return np
    from . import _cuda

    return _cuda.xp()


def to_same_device(array: Any, device: str) -> Any:
    """Return a host array on ``device``."""
    if device == "cpu":
        return array
    from . import _cuda

    return _cuda.asarray(array)


def _plain(array: Any, dtype: Any) -> Any:
    """Return ``array`` C-contiguous, in native byte order, of ``dtype``; read-only memory is kept as it is."""
    if is_device_array(array):
        from . import _cuda

        return _cuda.asarray(array, dtype)
    # The contracts never write to inputs, so a read-only array needs no copy; but Numba would compile a second
    # version for it, so the flag is hidden behind a fresh view of the same memory where NumPy allows one.
    plain = np.ascontiguousarray(array, dtype)
    if not plain.flags.writeable:
        plain = _writeable_view(plain)
    return plain


class _Memory:
    """Hands NumPy the memory of an array without its read-only flag."""

    def __init__(self, array: np.ndarray) -> None:
        self._owner = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def _writeable_view(array: np.ndarray) -> np.ndarray:
    if array.size == 0:
        return np.empty(array.shape, array.dtype)
    return np.asarray(_Memory(array))


def _as_array(array: Any, name: str, ndim: int) -> Any:
    if not is_device_array(array):
        try:
            array = np.asarray(array)
        except ValueError as error:
            raise ShapeError(f"{name} is ragged ({error}), expected {ndim} axes of equal lengths") from None
    if array.ndim != ndim:
        raise ShapeError(f"{name} has shape {tuple(array.shape)}, expected {ndim} {'axis' if ndim == 1 else 'axes'}")
    return array


def as_ids(array: Any, name: str, upper: int | None = None, lower: int = 0, ndim: int = 1) -> Any:
    """Return ``array`` as int32 ids in [lower, upper); raise `DTypeError`, `ShapeError` or `ValueRangeError`."""
    array = _as_array(array, name, ndim)
    if array.size == 0:
        return _plain(array, np.int32)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected integers (they become int32)")
    limit = INT32_MAX + 1 if upper is None else upper
    low, high = int(array.min()), int(array.max())
    if low < lower or high >= limit:
        bad = low if low < lower else high
        raise ValueRangeError(f"{name} holds {bad}, expected {lower} to {limit - 1}")
    return _plain(array, np.int32)


def as_offsets(array: Any, name: str, total: int, what: str) -> Any:
    """Return ``array`` as int64 offsets that rise from 0 to ``total`` (the number of ``what``)."""
    array = _as_array(array, name, 1)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected integers (they become int64)")
    if array.shape[0] < 1:
        raise ShapeError(f"{name} is empty, expected at least one entry (0)")
    offsets = _plain(array, np.int64)
    if int(offsets[0]) != 0 or int(offsets[-1]) != total:
        raise ValueRangeError(
            f"{name} runs from {int(offsets[0])} to {int(offsets[-1])}, expected 0 to {total} (the number of {what})"
        )
    if bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueRangeError(f"{name} falls somewhere, expected numbers that never fall")
    return offsets


def as_float_dtype(dtype: Any, name: str = "dtype") -> np.dtype:
    """Return float32 or float64 as a NumPy dtype; raise `DTypeError` for anything else."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"{name} is {dtype!r}, expected 'float32' or 'float64'") from None
    if result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DTypeError(f"{name} is {result}, expected 'float32' or 'float64'")
    return result


def as_floats(array: Any, name: str, ndim: int, dtype: Any = None, finite: bool = True) -> Any:
    """Return ``array`` as float32 or float64 (its own of the two, float32 for float16, float64 for integers).

    Raises `DTypeError` for other kinds, `ShapeError` for another number of axes, and `ValueRangeError` for NaN or
    infinity where ``finite``.
    """
    array = _as_array(array, name, ndim)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected real numbers (float32 or float64)")
    if dtype is None:
        if array.dtype.kind == "f" and array.dtype.itemsize <= 4:
            dtype = np.float32
        else:
            dtype = np.float64
    plain = _plain(array, dtype)
    if finite and plain.size:
        xp = array_module("cuda" if is_device_array(plain) else "cpu")
        # One pass and no mask: the sum of finite numbers of moderate size is finite, so a mask is built only if not.
        with np.errstate(over="ignore", invalid="ignore"):
            moderate = bool(xp.isfinite(plain.sum(dtype=np.float64)))
        if not moderate and not bool(xp.isfinite(plain).all()):
            raise ValueRangeError(f"{name} holds NaN or infinity, expected finite numbers")
    return plain


def check_csr(indptr: Any, indices: Any, data: Any, n_columns: int) -> tuple[Any, Any]:
    """Check the three arrays of a CSR matrix; return ``indptr`` as int64 and ``indices`` as int32."""
    check_integer(n_columns, "n_columns", 0, INT32_MAX)
    indices = as_ids(indices, "indices", upper=n_columns)
    if data.shape[0] != indices.shape[0]:
        raise ShapeError(f"data holds {data.shape[0]} values and indices {indices.shape[0]}, expected as many of each")
    return as_offsets(indptr, "indptr", int(indices.shape[0]), "indices"), indices


def check_integer(value: Any, name: str, lower: int, upper: int = 2**63 - 1) -> int:
    """Return ``value`` as an int from ``lower`` to ``upper``; raise `DTypeError` or `ValueRangeError`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise DTypeError(f"{name} is {value!r} ({type(value).__name__}), expected an integer")
    if not lower <= value <= upper:
        most = f" to {upper}" if upper < 2**62 else " or more"
        raise ValueRangeError(f"{name} is {value}, expected {lower}{most}")
    return int(value)


def check_finite_number(
    value: Any, name: str, lower: float, exclusive: bool = False, upper: float = float("inf")
) -> float:
    """Return ``value`` as a finite float from ``lower`` (or above it, where ``exclusive``) to ``upper``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise DTypeError(f"{name} is {value!r} ({type(value).__name__}), expected a number")
    number = float(value)
    if not math.isfinite(number) or not lower <= number <= upper or (exclusive and number == lower):
        relation = "above" if exclusive else "of at least"
        most = f" and at most {upper:g}" if math.isfinite(upper) else ""
        raise ValueRangeError(f"{name} is {value}, expected a finite number {relation} {lower:g}{most}")
    return number
