"""Products and transposes of sparse matrices, the specification: loops over the entries."""

from __future__ import annotations

import numpy as np

from ..registry import Case


def csr_matmul(indptr, indices, data, dense):
    """Return the product in float64."""
    result = np.zeros((len(indptr) - 1, dense.shape[1]))
    for row in range(len(indptr) - 1):
        for k in range(indptr[row], indptr[row + 1]):
            result[row] += np.float64(data[k]) * dense[indices[k]].astype(np.float64)
    return result


def csr_transpose(indptr, indices, data, n_columns):
    """Return (indptr, indices, data) of the transpose."""
    entries = []
    for row in range(len(indptr) - 1):
        for k in range(indptr[row], indptr[row + 1]):
            entries.append((int(indices[k]), row, k))
    entries.sort()
    starts = np.zeros(n_columns + 1, np.int64)
    for column, _, _ in entries:
        starts[column + 1] += 1
    rows = np.array([row for _, row, _ in entries], np.int32)
    order = np.array([k for _, _, k in entries], np.int64)
    return np.cumsum(starts), rows, np.asarray(data, np.float64)[order]


def sum_rows(indptr, indices, rows):
    """Return the sums in float64."""
    result = np.zeros((len(indptr) - 1, rows.shape[1]))
    for group in range(len(result)):
        for k in range(indptr[group], indptr[group + 1]):
            result[group] += rows[indices[k]]
    return result


def random_csr(rng, n_rows, n_columns, density, dtype):
    """Return (indptr, indices, data) of a random matrix with some empty rows and columns."""
    mask = rng.random((n_rows, n_columns)) < density
    if n_rows > 2:
        mask[n_rows // 2] = False
    if n_columns > 2:
        mask[:, n_columns // 2] = False
    indptr = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int64)
    rows, columns = np.nonzero(mask)
    return indptr, columns.astype(np.int32), rng.standard_normal(len(rows)).astype(dtype)


def csr_matmul_cases():
    """Yield shapes from nothing to beyond one block, every width of the remainder, and arrays to be converted."""
    rng = np.random.default_rng(13)
    for dtype in ("float32", "float64"):
        for n_rows, n_columns, width in ((0, 3, 2), (1, 1, 1), (5, 4, 0), (33, 40, 33), (7, 65, 16), (40, 33, 100)):
            dense = rng.standard_normal((n_columns, width)).astype(dtype)
            label = f"{n_rows} x {n_columns} by {width} {dtype}"
            yield Case(label, (*random_csr(rng, n_rows, n_columns, 0.3, dtype), dense))
    # Every number of vectors in a panel, for vectors of 32 and of 64 bytes, and three panels.
    for width in (8, 24, *range(16, 130, 16), 400):
        matrix = random_csr(rng, 9, 6, 0.9, "float32")
        yield Case(f"{width} columns", (*matrix, rng.standard_normal((6, width)).astype("float32")))
    matrix = random_csr(rng, 33, 40, 0.4, "float32")
    dense = rng.standard_normal((80, 34)).astype("float32")
    yield Case("strided dense", (*matrix, dense[::2, ::2]))
    yield Case("Fortran order", (*matrix, np.asfortranarray(dense[:40])))
    yield Case("float32 by float64", (*matrix, dense[:40].astype("float64")))
    yield Case("big-endian", (*matrix, dense[:40].astype(">f4")))
    fixed = dense[:40].copy()
    fixed.flags.writeable = False
    yield Case("read-only", (*matrix, fixed))
    full = random_csr(rng, 3, 700, 2.0, "float32")
    yield Case("long rows", (*full, rng.standard_normal((700, 9)).astype("float32")))


def csr_transpose_cases():
    """Yield shapes from nothing to tall and wide ones."""
    rng = np.random.default_rng(17)
    for dtype in ("float32", "float64"):
        for n_rows, n_columns in ((0, 0), (0, 3), (1, 1), (33, 40), (65, 7), (3, 200)):
            matrix = random_csr(rng, n_rows, n_columns, 0.3, dtype)
            yield Case(f"{n_rows} x {n_columns} {dtype}", (*matrix, n_columns))


def sum_rows_cases():
    """Yield groups of none, one and many rows, of every width of the remainder."""
    rng = np.random.default_rng(19)
    for dtype in ("float32", "float64"):
        for n, n_rows, width in ((0, 3, 2), (1, 1, 1), (5, 4, 0), (33, 40, 33), (7, 65, 16), (40, 33, 100)):
            indptr, indices, _ = random_csr(rng, n, n_rows, 0.3, dtype)
            rows = rng.standard_normal((n_rows, width)).astype(dtype)
            yield Case(f"{n} of {n_rows} by {width} {dtype}", (indptr, indices, rows))
    rows = rng.standard_normal((80, 34)).astype("float32")
    one = np.array([0, 300]), rng.integers(0, 40, 300)
    yield Case("one group of all", (*one, rows[:40]))
    yield Case("strided", (*one, rows[::2, ::2]))
