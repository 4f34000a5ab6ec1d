"""Truncated singular value decomposition, the specification: LAPACK on the dense matrix."""

from __future__ import annotations

import numpy as np

from ..registry import Case
from .sparse import random_csr


def randomized_svd(
    indptr, indices, data, n_columns, k, *, n_oversamples=50, n_iter=10, shift=True, key=0, start=None
):
    """Return the exact (u, s, vt); the options of the randomized method change nothing."""
    dense = np.zeros((len(indptr) - 1, n_columns))
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            dense[row, indices[entry]] += data[entry]
    u, s, vt = np.linalg.svd(dense, full_matrices=False)
    return u[:, :k], s[:k], vt[:k]


def randomized_svd_cases():
    """Yield matrices whose rank the projection covers, so that the result is the exact one."""
    rng = np.random.default_rng(19)
    for dtype in ("float32", "float64"):
        for n_rows, n_columns, k in ((1, 1, 1), (33, 40, 5), (40, 33, 33), (9, 120, 4)):
            matrix = random_csr(rng, n_rows, n_columns, 0.5 if min(n_rows, n_columns) > 1 else 2.0, dtype)
            for shift in (True, False):
                label = f"{n_rows} x {n_columns} {dtype} shift {shift}"
                yield Case(label, (*matrix, n_columns, k), {"n_iter": 4, "shift": shift})
    # Rank 2 and far fewer than the directions asked for: the Gram matrix is singular.
    line = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 30))
    rows, columns = np.nonzero(line)
    indptr = np.arange(0, 601, 30)
    yield Case("rank 2", (indptr, columns.astype(np.int32), line[rows, columns], 30, 2), {"n_iter": 2})
    yield Case("all zero", (np.zeros(6, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), 7, 3))
