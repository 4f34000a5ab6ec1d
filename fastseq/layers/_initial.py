"""How weights begin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..errors import DTypeError, ShapeError, ValueRangeError
from ._base import Param

__all__ = ["INITIALS", "normal", "uniform", "fan_in", "as_param", "pick_dtype"]

INITIALS = ("uniform", "xavier")


def normal(shape: tuple[int, ...], scale: float, key: Any, dtype: np.dtype) -> np.ndarray:
    """Return an array of normal numbers with mean 0 and standard deviation ``scale``."""
    array: np.ndarray = random.normal(key, math.prod(shape), dtype=dtype).reshape(shape)
    array *= scale
    return array


def uniform(shape: tuple[int, ...], bound: float, key: Any, dtype: np.dtype) -> np.ndarray:
    """Return an array of numbers spread evenly over [-bound, bound)."""
    array: np.ndarray = random.uniform(key, math.prod(shape), dtype=dtype).reshape(shape)
    array *= 2.0 * bound
    array -= bound
    return array


def fan_in(initial: str, shape: tuple[int, ...], width: int, key: Any, dtype: np.dtype) -> np.ndarray:
    """Return weights for ``width`` inputs: "uniform" in 1 / sqrt(width), or "xavier", normal with that deviation."""
    if initial not in INITIALS:
        raise ValueRangeError(f"initial is {initial!r}, expected one of {INITIALS}")
    scale = 1.0 / math.sqrt(width)
    return (uniform if initial == "uniform" else normal)(shape, scale, key, dtype)


def as_param(given: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Param:
    """Return the Param that is ``given``, or a new one with a copy of the array that is; check the shape of either."""
    if isinstance(given, Param):
        if given.shape != shape:
            raise ShapeError(f"{name} is a Param of shape {given.shape}, expected {shape}")
        return given
    array = np.asarray(given)
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected real numbers (they become {dtype})")
    if array.shape != shape:
        raise ShapeError(f"{name} has shape {array.shape}, expected {shape}")
    return Param(np.array(array, dtype))


def pick_dtype(dtype: np.dtype, weight: Any) -> np.dtype:
    """Return the dtype of a layer: that of a Param that is given, else the one asked for."""
    return weight.dtype if isinstance(weight, Param) else dtype
