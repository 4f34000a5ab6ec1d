"""What `_vector` does, by NumPy: for runs without compilation (NUMBA_DISABLE_JIT). Rows and tiles are arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "prefetch",
    "row_add",
    "row_add_product",
    "row_lanes",
    "row_put",
    "row_store",
    "row_zeros",
    "rows_accumulate",
    "rows_exchange",
    "rows_factors",
    "rows_load",
    "rows_places",
    "rows_update",
    "rows_update_apart",
    "tile_add_products",
    "tile_totals",
    "tile_weigh",
    "tile_weigh_and_count",
]


def _lanes(array: np.ndarray) -> int:
    from ._vector import lanes

    return lanes(array.dtype)


def row_zeros(array: np.ndarray, n: int) -> np.ndarray:
    """Return a row of ``n`` vectors of zeros."""
    return np.zeros((n, _lanes(array)), array.dtype)


row_lanes = _lanes


def row_add_product(row: np.ndarray, factor: Any, array: np.ndarray, offset: int) -> np.ndarray:
    """Return the row plus a number times the numbers from ``offset`` on."""
    return row + factor * array[offset:offset + row.size].reshape(row.shape)


def row_add(row: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the sum of two rows."""
    return row + other


def row_put(row: np.ndarray, array: np.ndarray, offset: int) -> None:
    """Write the row."""
    array[offset:offset + row.size] = row.reshape(-1)


def row_store(row: np.ndarray, array: np.ndarray, offset: int, count: int) -> None:
    """Write as many numbers of the row as ``count``."""
    count = min(count, row.size)
    array[offset:offset + count] = row.reshape(-1)[:count]


def tile_add_products(
    tile: np.ndarray, like: np.ndarray, a: np.ndarray, a_at: Any, i: int, b: np.ndarray, b_at: Any, j: int, d: int
) -> np.ndarray:
    """Return the sums plus products of vectors of rows of ``a`` and of ``b``."""
    m, lane = len(like), _lanes(a)
    n = len(tile) // m
    x = np.array([a[place + d:place + d + lane] for place in a_at[i:i + n]])
    y = np.array([b[place + d:place + d + lane] for place in b_at[j:j + m]])
    return tile + (x[:, None] * y[None]).reshape(tile.shape)


def tile_totals(tile: np.ndarray, array: np.ndarray, offset: int) -> None:
    """Write the sum of each vector's numbers."""
    array[offset:offset + len(tile)] = tile.sum(axis=1)


def tile_weigh(
    tile: np.ndarray, scores: np.ndarray, place: int, targets: np.ndarray, first: int, rate: Any
) -> None:
    """Write what word2vec's gradients are multiplied by, from the sums of scores."""
    n = len(tile)
    score, target = tile.sum(axis=1), targets[first:first + n]
    # 1 / (1 + exp(-x)) without an exponential that could overflow.
    weights = rate * (target - (1 + np.tanh(score / 2)) / 2)
    scores[place:place + n] = np.where(target < 0, 0, weights)


def tile_weigh_and_count(
    tile: np.ndarray,
    scores: np.ndarray,
    place: int,
    targets: np.ndarray,
    first: int,
    rate: Any,
    products: np.ndarray,
    linear: np.ndarray,
) -> None:
    """Do the same, and add up the loss."""
    tile_weigh(tile, scores, place, targets, first, rate)
    n = len(tile)
    score, target = tile.sum(axis=1), targets[first:first + n]
    products[:n] *= np.where(target < 0, 1, 1 + np.exp(-abs(score)))
    linear[:n] += np.where(target < 0, 0, np.maximum(np.where(target > 0, -score, score), 0))


def rows_load(like: np.ndarray, array: np.ndarray, at: Any, j: int, d: int) -> np.ndarray:
    """Return a vector of each of some rows."""
    return np.array([array[place + d:place + d + _lanes(array)] for place in at[j:j + len(like)]])


def rows_update(
    rows: np.ndarray, sums: np.ndarray, array: np.ndarray, offset: int, factors: np.ndarray, first: int
) -> np.ndarray:
    """Return ``sums`` plus the vector at ``offset`` times each factor; the vector grows by ``rows`` times theirs."""
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
    """Do the same, but what the vector would grow by is added to another array."""
    lane = _lanes(array)
    x = array[offset:offset + lane].copy()
    own = factors[first:first + len(rows)]
    deltas[delta_offset:delta_offset + lane] += own @ rows
    return sums + own[:, None] * x


def rows_accumulate(sums: np.ndarray, array: np.ndarray, at: Any, j: int, d: int) -> None:
    """Add sums to rows."""
    for place, total in zip(at[j:j + len(sums)], sums):
        array[place + d:place + d + len(total)] += total


def rows_places(like: np.ndarray, at: Any, j: int) -> np.ndarray:
    """Return where some rows begin."""
    return at[j:j + len(like)].copy()


def rows_factors(like: np.ndarray, array: np.ndarray, first: int) -> np.ndarray:
    """Return a vector of copies of each of some numbers."""
    return array[first:first + len(like), None] + np.zeros_like(like)


def rows_exchange(x: np.ndarray, factors: np.ndarray, array: np.ndarray, places: Any, d: int) -> np.ndarray:
    """Return the sum of rows times factors, and add ``x`` times theirs to the rows."""
    total = (factors * rows_load(factors, array, places, 0, d)).sum(axis=0)
    rows_accumulate(factors * x, array, places, 0, d)
    return total.reshape(x.shape)


def prefetch(array: np.ndarray, offset: int) -> None:
    """Do nothing."""
