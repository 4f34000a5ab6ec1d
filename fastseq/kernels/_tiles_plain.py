"""What `_tiles` does, by NumPy: for runs without compilation (NUMBA_DISABLE_JIT). Tiles and vectors are arrays."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ._jit import plain_function
from ._vector_plain import row_lanes

__all__ = [
    "array_at",
    "block_transposed",
    "call_at",
    "flush_denormals",
    "restore_denormals",
    "tile_load",
    "tile_load_part",
    "tile_store",
    "tile_store_part",
    "tile_sum",
    "vector_clip",
    "vector_exp",
    "vector_largest",
    "vector_load",
    "vector_max",
    "vector_muladd",
    "vector_of",
    "vector_relu",
    "vector_sigmoid",
    "vector_store",
    "vector_tanh",
    "vector_total",
    "vector_where_positive",
    "vector_where_within",
]


def array_at(table: np.ndarray, place: int, like: np.ndarray) -> np.ndarray:
    """Return the flat array whose address and length are in a table."""
    address, size = int(table[place]), int(table[place + 1])
    memory = (ctypes.c_uint8 * (size * like.itemsize)).from_address(address)
    return np.ctypeslib.as_array(memory).view(like.dtype)


def call_at(address: int, arguments: tuple[Any, ...]) -> None:
    """Call a function by its number."""
    plain_function(address)(*arguments)


def tile_load(tile: np.ndarray, like: np.ndarray, array: np.ndarray, at: int, row_stride: int) -> np.ndarray:
    """Return the rows at ``at + r * row_stride``."""
    rows, width = len(tile) // len(like), like.size
    places = [at + r * row_stride for r in range(rows)]
    return np.array([array[place:place + width] for place in places]).reshape(tile.shape)


def tile_store(tile: np.ndarray, like: np.ndarray, array: np.ndarray, at: int, row_stride: int) -> None:
    """Write the rows there."""
    for r, row in enumerate(tile.reshape(-1, like.size)):
        array[at + r * row_stride:at + r * row_stride + like.size] = row


def tile_load_part(
    tile: np.ndarray, like: np.ndarray, array: np.ndarray, at: int, row_stride: int, vector_stride: int,
    turn_by: int, count: int, less: int,
) -> np.ndarray:  # fmt: skip
    """Return the first numbers of each vector, zeros behind them."""
    result = np.zeros_like(tile)
    for turn in range(len(tile)):
        row, v = divmod(turn, len(like))
        n = min(max(count - v * less, 0), tile.shape[1])
        place = at + row * row_stride + (v + turn_by) % len(like) * vector_stride
        result[turn, :n] = array[place:place + n]
    return result


def tile_store_part(
    tile: np.ndarray, like: np.ndarray, array: np.ndarray, at: int, row_stride: int, vector_stride: int,
    turn_by: int, count: int, less: int,
) -> None:  # fmt: skip
    """Write the first numbers of each vector."""
    for turn in range(len(tile)):
        row, v = divmod(turn, len(like))
        n = min(max(count - v * less, 0), tile.shape[1])
        place = at + row * row_stride + (v + turn_by) % len(like) * vector_stride
        array[place:place + n] = tile[turn, :n]


def tile_sum(
    tile: np.ndarray, like: np.ndarray, n: int, a: np.ndarray, a_at: int, a_row: int, a_step: int, b: np.ndarray,
    b_at: int, b_step: int,
) -> np.ndarray:  # fmt: skip
    """Add outer products, one after the other."""
    rows = len(tile) // len(like)
    for k in range(n):
        factors = np.array([a[a_at + k * a_step + r * a_row] for r in range(rows)])
        columns = b[b_at + k * b_step:b_at + k * b_step + like.size].reshape(like.shape)
        tile = tile + (factors[:, None, None] * columns[None]).reshape(tile.shape)
    return tile


def block_transposed(
    source: np.ndarray, at: int, stride: int, target: np.ndarray, to: int, target_stride: int
) -> None:
    """Write the transpose of a square block."""
    n = row_lanes(source)
    block = np.array([source[at + r * stride:at + r * stride + n] for r in range(n)])
    for r in range(n):
        target[to + r * target_stride:to + r * target_stride + n] = block[:, r]


def vector_load(array: np.ndarray, at: int) -> np.ndarray:
    """Return a vector's worth of numbers."""
    return array[at:at + row_lanes(array)].copy()


def vector_store(value: np.ndarray, array: np.ndarray, at: int) -> None:
    """Write them."""
    array[at:at + len(value)] = value


def vector_of(array: np.ndarray, number: Any) -> np.ndarray:
    """Return copies of a number."""
    return np.full(row_lanes(array), number, array.dtype)


def vector_muladd(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return a * b + c."""
    return a * b + c


def vector_exp(x: np.ndarray) -> np.ndarray:
    """Return e**x."""
    return np.exp(x)


def vector_max(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the larger ones; NaN where either is."""
    return np.maximum(a, b)


def vector_largest(x: np.ndarray) -> Any:
    """Return the largest; NaN where one is."""
    return x.max()


def vector_sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), by a form that does not overflow."""
    power = np.exp(-abs(x))
    return np.where(x >= 0, 1, power) / (1 + power)


def vector_tanh(x: np.ndarray) -> np.ndarray:
    """Return the hyperbolic tangent."""
    return np.tanh(x)


def vector_relu(x: np.ndarray) -> np.ndarray:
    """Return 0 where x is below 0."""
    return np.where(x < 0, 0, x).astype(x.dtype)


def vector_where_positive(condition: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return 0 where the condition is not above 0."""
    return np.where(condition <= 0, 0, x).astype(x.dtype)


def vector_clip(x: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return x, but not beyond most on either side of 0."""
    return np.where(x > most, most, np.where(x < -most, -most, x))


def vector_where_within(condition: np.ndarray, most: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return 0 where the condition is beyond most on either side of 0."""
    return np.where(abs(condition) > most, 0, x).astype(x.dtype)


def vector_total(x: np.ndarray) -> Any:
    """Return the sum."""
    return x.sum()


def flush_denormals() -> int:
    """Do nothing."""
    return 0


def restore_denormals(before: int) -> None:
    """Do nothing."""
