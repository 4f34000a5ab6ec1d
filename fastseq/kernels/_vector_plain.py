"""What `_vector` does, by NumPy: for runs without compilation (NUMBA_DISABLE_JIT). Rows and tiles are arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "prefetch",
    "row_add",
    "row_add_product",
    "row_store",
    "row_zeros",
    "rows_accumulate",
    "rows_load",
    "rows_update",
    "rows_update_apart",
    "tile_add_products",
    "tile_totals",
]


def _lanes(array: np.ndarray) -> int:
    from ._vector import lanes

    return lanes(array.dtype)


def row_zeros(array: np.ndarray, n: int) -> np.ndarray:
    return np.zeros((n, _lanes(array)), array.dtype)


def row_add_product(row: np.ndarray, factor: Any, array: np.ndarray, offset: int) -> np.ndarray:
    return row + factor * array[offset:offset + row.size].reshape(row.shape)


def row_add(row: np.ndarray, other: np.ndarray) -> np.ndarray:
    return row + other


def row_store(row: np.ndarray, array: np.ndarray, offset: int, count: int) -> None:
    count = min(count, row.size)
    array[offset:offset + count] = row.reshape(-1)[:count]


def tile_add_products(
    tile: np.ndarray, n: int, a: np.ndarray, a_at: Any, i: int, b: np.ndarray, b_at: Any, j: int, d: int
) -> np.ndarray:
    m, lane = len(tile) // n, _lanes(a)
    x = np.array([a[place + d:place + d + lane] for place in a_at[i:i + n]])
    y = np.array([b[place + d:place + d + lane] for place in b_at[j:j + m]])
    return tile + (x[:, None] * y[None]).reshape(tile.shape)


def tile_totals(tile: np.ndarray, array: np.ndarray, offset: int) -> None:
    array[offset:offset + len(tile)] = tile.sum(axis=1)


def rows_load(like: np.ndarray, array: np.ndarray, at: Any, j: int, d: int) -> np.ndarray:
    return np.array([array[place + d:place + d + _lanes(array)] for place in at[j:j + len(like)]])


def rows_update(
    rows: np.ndarray, sums: np.ndarray, array: np.ndarray, offset: int, factors: np.ndarray, first: int
) -> np.ndarray:
    return rows_update_apart(rows, sums, array, offset, array, offset, factors, first)


def rows_update_apart(
    rows: np.ndarray,
    sums: np.ndarray,
    array: np.ndarray,
    offset: int,
    deltas: np.ndarray,
    delta_offset: int,
    factors: np.ndarray,
    first: int,
) -> np.ndarray:
    lane = _lanes(array)
    x = array[offset:offset + lane].copy()
    own = factors[first:first + len(rows)]
    deltas[delta_offset:delta_offset + lane] += own @ rows
    return sums + own[:, None] * x


def rows_accumulate(sums: np.ndarray, array: np.ndarray, at: Any, j: int, d: int) -> None:
    for place, total in zip(at[j:j + len(sums)], sums):
        array[place + d:place + d + len(total)] += total


def prefetch(array: np.ndarray, offset: int) -> None:
    pass
