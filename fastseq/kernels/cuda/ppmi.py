"""Positive pointwise mutual information with CUDA.

Sums are taken in int64 or float64 and the scales of rows and columns in float64; then each entry is weighed once, in
float32 where the result is float32, and what is above zero is kept. As every value is made once, counting and filling
cannot disagree on an entry at the threshold.
"""

from __future__ import annotations

import math

import numpy as np

from .. import _cuda
from .._cuda import cuda
from .._weights import scales
from .sparse import _SEGMENT, csr_transpose, row_segments, row_sums


@_cuda.cuda_jit
def _column_sums(
    indices,  # IN    int32 (nnz,)
    data,     # IN    int32 or int64 (nnz,)
    sums,     # INOUT int64 (v,) zeros on entry
):
    # Whole numbers: the order in which the threads come does not matter.
    for k in range(cuda.grid(1), indices.shape[0], cuda.gridsize(1)):
        cuda.atomic.add(sums, indices[k], np.int64(data[k]))


@_cuda.cuda_jit
def _weigh(
    indptr,        # IN  int64 (n + 1,)
    indices,       # IN  int32 (nnz,)
    data,          # IN  int32, int64, float32 or float64 (nnz,)
    size,          # IN  int64 entries of a segment
    first,         # IN  int64 (n + 1,) first segment of each row
    rows,          # IN  int64 (s,) row of each segment
    row_scale,     # IN  float32 or float64 (n,)
    column_scale,  # IN  same dtype (v,)
    values,        # OUT same dtype (nnz,)
):
    # 32 neighbouring threads share a segment and read it side by side.
    zero = row_scale.dtype.type(0)
    one = row_scale.dtype.type(1)
    for i in range(cuda.grid(1), rows.shape[0] * 32, cuda.gridsize(1)):
        segment = i >> 5
        row = rows[segment]
        scale = row_scale[row]
        begin = indptr[row] + (segment - first[row]) * size
        end = min(begin + size, indptr[row + 1])
        for k in range(begin + (i & 31), end, 32):
            # Count over row sum is at most 1, so no product overflows; see _single.
            ratio = row_scale.dtype.type(data[k]) * scale * column_scale[indices[k]]
            if ratio > one:
                values[k] = math.log(ratio)
            else:
                values[k] = zero


PTX = {
    "_column_sums": [f"void(int32[::1], {t}[::1], int64[::1])" for t in ("int32", "int64")],
    "_weigh": [
        f"void(int64[::1], int32[::1], {c}[::1], int64, int64[::1], int64[::1], {t}[::1], {t}[::1], {t}[::1])"
        for c, t in (
            ("float32", "float32"),
            ("int32", "float32"),
            ("int64", "float32"),
            ("float32", "float64"),
            ("float64", "float64"),
            ("int32", "float64"),
            ("int64", "float64"),
        )
    ],
}


def _single(data, row_scale, column_scale):
    """Whether the ratios can be formed in float32.

    The logarithm is then off by at most 1.8e-7 (1 + its value), measured on five million ratios up to e**36 from counts
    up to 2**40; a sum of three rounded logarithms was off by 4.5e-6. A product that underflows belongs to a ratio far
    below 1 as long as no scale is beyond 1e30; counts of float64 may be too small or too large themselves.
    """
    if data.dtype == np.float64:
        return False
    xp = _cuda.xp()
    least = float(xp.where(row_scale > 0, row_scale, 1.0).min())
    return least > 1e-30 and float(row_scale.max()) < 1e30 and float(column_scale.max()) < 1e30


def ppmi_weights(indptr, indices, data, n_columns, shift, smoothing, dtype):
    """Weigh; see the contract."""
    xp = _cuda.xp()
    nnz = indices.shape[0]
    if nnz == 0:
        empty = xp.zeros(indptr.shape[0], np.int64), xp.empty(0, np.int32), xp.empty(0, dtype)
        return tuple(_cuda.asarray(array) for array in empty)
    if data.dtype.kind == "i":
        row_totals = row_sums(indptr, data, np.int64).astype(np.float64)
        columns = xp.zeros(n_columns, np.int64)
        _cuda.launch(_column_sums, nnz, indices, data, columns)
        columns = columns.astype(np.float64)
    else:
        # Sums of fractions depend on their order, so columns are added as rows of the transpose.
        row_totals = row_sums(indptr, data, np.float64)
        turned = csr_transpose(indptr, indices, data, n_columns)
        columns = row_sums(turned[0], turned[2], np.float64)
        del turned
    row_scale, column_scale = scales(xp, row_totals, columns, shift, smoothing)
    inner = np.float32 if dtype == np.float32 and _single(data, row_scale, column_scale) else np.float64
    row_scale, column_scale = row_scale.astype(inner), column_scale.astype(inner)

    first, rows = row_segments(indptr)
    values = xp.zeros(nnz, inner)
    _cuda.launch(
        _weigh, rows.shape[0] * 32, indptr, indices, data, _SEGMENT, first, rows, row_scale, column_scale, values
    )
    keep = values > 0
    new_indptr = _cuda.running_sum(keep)[indptr]
    return _cuda.asarray(new_indptr), _cuda.asarray(indices[keep]), _cuda.asarray(values[keep], dtype)
