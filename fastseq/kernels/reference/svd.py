"""Truncated singular value decomposition, the specification: LAPACK on the dense matrix."""

from __future__ import annotations

import numpy as np

from ..registry import Case
from .sparse import random_csr


def randomized_svd(
    indptr,
    indices,
    data,
    n_columns,
    k,
    *,
    method="krylov",
    n_iter=None,
    block=None,
    n_oversamples=10,
    key=0,
    start=None,
):
    """Return the exact (u, s, vt); the options of the randomized method change nothing."""
    dense = np.zeros((len(indptr) - 1, n_columns))
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            dense[row, indices[entry]] += data[entry]
    u, s, vt = np.linalg.svd(dense, full_matrices=False)
    return u[:, :k], s[:k], vt[:k]


def randomized_svd_cases():
    """Yield matrices whose leading vectors the settings find to the tolerance."""
    rng = np.random.default_rng(19)
    wide_enough: dict[str, object] = {"method": "power", "n_iter": 8, "n_oversamples": 40}
    for dtype in ("float32", "float64"):
        for n_rows, n_columns, k in ((1, 1, 1), (33, 40, 5), (40, 33, 33), (9, 120, 4)):
            matrix = random_csr(rng, n_rows, n_columns, 0.5 if min(n_rows, n_columns) > 1 else 2.0, dtype)
            yield Case(f"{n_rows} x {n_columns} {dtype}", (*matrix, n_columns, k))
            yield Case(f"{n_rows} x {n_columns} {dtype} power", (*matrix, n_columns, k), wide_enough)
        # Values that fall by halves: a basis of 28 of the 50 directions finds the first ones.
        left, _ = np.linalg.qr(rng.standard_normal((60, 50)))
        right, _ = np.linalg.qr(rng.standard_normal((50, 50)))
        matrix = full_csr(((left * 0.5 ** np.arange(50)) @ right.T).astype(dtype))
        yield Case(f"falling values {dtype}", (*matrix, 50, 3), {"n_iter": 6, "block": 4})
        yield Case(f"falling values {dtype}, one by one", (*matrix, 50, 3), {"n_iter": 20, "block": 1})
        yield Case(f"falling values {dtype}, power", (*matrix, 50, 3), {"method": "power", "n_iter": 12})
        # A rank that is used up within the basis, and one value far above the others: the next block is rounding error.
        low = (rng.integers(0, 2, (300, 20)) @ rng.integers(0, 2, (20, 300))).astype(dtype)
        yield Case(f"rank 20 {dtype}", (*csr(low), 300, 4), {"n_iter": 8, "block": 16})
        diagonal = np.diag(np.concatenate([np.arange(20, 0, -1), np.zeros(280)])).astype(dtype)
        yield Case(f"rank 20, more asked for {dtype}", (*csr(diagonal), 300, 25), {"n_iter": 8, "block": 16})
        steep = np.outer(np.arange(1, 301) ** -1.0, np.arange(1, 301) ** -1.0) * 1e6
        steep = steep * np.exp(0.3 * rng.standard_normal(steep.shape))
        yield Case(f"one large value {dtype}", (*csr(steep.astype(dtype)), 300, 3), {"n_iter": 12, "block": 16})
        for factor in (1e-25, 1e25):
            small = (rng.random((200, 200)) * factor).astype(dtype)
            yield Case(f"numbers near {factor} {dtype}", (*csr(small), 200, 1), {"n_iter": 8, "block": 16})
    # Rank 2 and far fewer than the directions asked for: the Gram matrix is singular.
    matrix = full_csr(rng.standard_normal((20, 2)) @ rng.standard_normal((2, 30)))
    yield Case("rank 2", (*matrix, 30, 2), {"n_iter": 2, "block": 4})
    yield Case("rank 2, power", (*matrix, 30, 2), {"method": "power"})
    yield Case("all zero", (np.zeros(6, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), 7, 3))


def full_csr(dense):
    """Return (indptr, indices, data) of a matrix without zeros."""
    n_rows, n_columns = dense.shape
    indptr = np.arange(0, dense.size + 1, n_columns)
    return indptr, np.tile(np.arange(n_columns, dtype=np.int32), n_rows), dense.ravel()


def csr(dense):
    """Return (indptr, indices, data) of a matrix."""
    rows, columns = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(dense.shape[0] + 1)).astype(np.int64)
    return indptr, columns.astype(np.int32), dense[rows, columns]
