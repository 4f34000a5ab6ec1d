"""Positive pointwise mutual information, the specification: on a dense matrix."""

from __future__ import annotations

import numpy as np

from ..registry import Case


def ppmi_weights(indptr, indices, data, n_columns, *, shift=1.0, smoothing=1.0, dtype="float32"):
    """Return (indptr, indices, data) in float64."""
    counts = np.zeros((len(indptr) - 1, n_columns))
    for row in range(len(indptr) - 1):
        for k in range(indptr[row], indptr[row + 1]):
            counts[row, indices[k]] += data[k]
    row_sums = counts.sum(axis=1)
    weights = np.where(counts.sum(axis=0) > 0, counts.sum(axis=0), 1.0) ** smoothing * (counts.sum(axis=0) > 0)
    result = np.zeros_like(counts)
    for row, column in zip(*np.nonzero(counts)):
        joint = counts[row, column] / counts.sum()
        expected = row_sums[row] / counts.sum() * weights[column] / weights.sum()
        result[row, column] = max(0.0, np.log(joint / expected) - np.log(shift))
    kept = [np.nonzero(line)[0] for line in result]
    starts = np.cumsum([0] + [len(line) for line in kept]).astype(np.int64)
    columns = np.concatenate([*kept, []]).astype(np.int32)
    return starts, columns, np.concatenate([*[line[keep] for line, keep in zip(result, kept)], []])


def _counts(rng, n_rows, n_columns, density):
    counts = rng.poisson(3, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    indptr = np.concatenate([[0], np.cumsum((counts > 0).sum(axis=1))]).astype(np.int64)
    rows, columns = np.nonzero(counts)
    return indptr, columns.astype(np.int32), counts[rows, columns].astype(np.int64)


def ppmi_weights_cases():
    """Yield matrices with empty rows and columns, every count dtype, shifts and exponents."""
    rng = np.random.default_rng(11)
    yield Case("no row", (np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64), 0))
    yield Case("empty rows", (np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64), 5))
    yield Case("one count", (np.array([0, 1]), np.array([0]), np.array([3]), 1))
    for n_rows, n_columns in ((1, 33), (33, 33), (65, 7)):
        counts = _counts(rng, n_rows, n_columns, 0.3)
        for shift in (1.0, 5.0, 0.5):
            for smoothing in (1.0, 0.75, 0.0):
                options = {"shift": shift, "smoothing": smoothing}
                yield Case(f"{n_rows} x {n_columns} shift {shift} smoothing {smoothing}", (*counts, n_columns), options)
    indptr, indices, data = _counts(rng, 33, 40, 0.3)
    for dtype in ("int32", "float64"):
        yield Case(f"counts of {dtype}, weights of float32", (indptr, indices, data.astype(dtype), 40))
    for dtype in ("int32", "float32", "float64", "uint16", ">f8"):
        yield Case(f"counts of {dtype}", (indptr, indices, data.astype(dtype), 40), {"dtype": "float64"})
    data.flags.writeable = False
    yield Case("read-only counts, a count of zero", (indptr, indices, np.where(data == 3, 0, data), 40))
    extreme = np.where(data == 3, 1e-30, 1e30)
    yield Case("ratios beyond float32", (indptr, indices, extreme, 40))
    yield Case("counts beyond 2**31", (indptr, indices, data * 2**31, 40), {"smoothing": 0.75})
