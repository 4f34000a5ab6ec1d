"""Products and transposes of sparse matrices with CUDA."""

from __future__ import annotations

import numpy as np

from .. import _cuda
from .._cuda import cuda

# Rows are cut into segments of at most this many entries, so that one long row (words follow Zipf's law: the longest
# row of a count matrix holds nearly every column) does not keep one group of threads busy after all others are done.
_SEGMENT = 512


@_cuda.cuda_jit
def _multiply(
    indptr,   # IN  int64 (n + 1,)
    indices,  # IN  int32 (nnz,)
    data,     # IN  float32 or float64 (nnz,)
    dense,    # IN  same dtype (v, d)
    size,     # IN  int64 entries of a segment
    first,    # IN  int64 (n + 1,) first segment of each row
    rows,     # IN  int64 (s,) row of each segment
    out,      # OUT same dtype (n, d): the sums of the first segments
    parts,    # OUT same dtype (s - n, d): the sums of the others
):
    # 32 neighbouring threads take 32 columns of one segment: they read each entry together and 128 bytes of ``dense``
    # in one go, and each thread adds its column in a register, in the order of the row.
    width = dense.shape[1]
    groups = (width + 31) >> 5
    for i in range(cuda.grid(1), rows.shape[0] * groups * 32, cuda.gridsize(1)):
        unit = i >> 5
        segment = unit // groups
        column = (unit - segment * groups) * 32 + (i & 31)
        if column < width:
            row = rows[segment]
            part = segment - first[row]
            k = indptr[row] + part * size
            end = min(k + size, indptr[row + 1])
            total = dense.dtype.type(0)
            # Four at a time, so that four loads are under way at once.
            while k + 4 <= end:
                w = dense[indices[k], column]
                x = dense[indices[k + 1], column]
                y = dense[indices[k + 2], column]
                z = dense[indices[k + 3], column]
                total = total + data[k] * w
                total = total + data[k + 1] * x
                total = total + data[k + 2] * y
                total = total + data[k + 3] * z
                k += 4
            while k < end:
                total = total + data[k] * dense[indices[k], column]
                k += 1
            if part == 0:
                out[row, column] = total
            else:
                # Each row has one segment in ``out``, so ``segment - row - 1`` numbers the others without gaps.
                parts[segment - row - 1, column] = total


@_cuda.cuda_jit
def _add_parts(
    first,  # IN    int64 (n + 1,)
    parts,  # IN    float32 or float64 (s - n, d)
    out,    # INOUT same dtype (n, d)
):
    width = out.shape[1]
    for i in range(cuda.grid(1), out.shape[0] * width, cuda.gridsize(1)):
        row = i // width
        column = i - row * width
        begin = first[row] - row
        end = first[row + 1] - row - 1
        if begin < end:
            total = out[row, column]
            for part in range(begin, end):
                total = total + parts[part, column]
            out[row, column] = total


@_cuda.cuda_jit
def _column_keys(
    indices,  # IN  int32 (nnz,)
    bits,     # IN  int64, width of an entry's number
    keys,     # OUT int64 (nnz,) column << bits | number
):
    for k in range(cuda.grid(1), keys.shape[0], cuda.gridsize(1)):
        keys[k] = (np.int64(indices[k]) << bits) | k


@_cuda.cuda_jit
def _move(
    indptr,       # IN  int64 (n + 1,)
    data,         # IN  float32 or float64 (nnz,)
    bits,         # IN  int64
    keys,         # IN  int64 (nnz,) sorted
    new_indices,  # OUT int32 (nnz,)
    new_data,     # OUT same dtype as data (nnz,)
):
    one = np.int64(1)
    for i in range(cuda.grid(1), keys.shape[0], cuda.gridsize(1)):
        k = keys[i] & ((one << bits) - one)
        # The last row that begins at or before k.
        row = np.int64(0)
        above = np.int64(indptr.shape[0] - 1)
        while row + 1 < above:
            middle = (row + above) >> 1
            if indptr[middle] <= k:
                row = middle
            else:
                above = middle
        new_indices[i] = row
        new_data[i] = data[k]


@_cuda.cuda_jit
def _sum_runs(
    starts,   # IN  int64 (n + 1,) rising
    amounts,  # IN  int32, int64, float32 or float64 (m,)
    sums,     # OUT int64 or float64 (n,)
):
    for i in range(cuda.grid(1), sums.shape[0], cuda.gridsize(1)):
        total = sums.dtype.type(0)
        for k in range(starts[i], starts[i + 1]):
            total = total + amounts[k]
        sums[i] = total


PTX = {
    "_multiply": [
        f"void(int64[::1], int32[::1], {t}[::1], {t}[:,::1], int64, int64[::1], int64[::1], {t}[:,::1], {t}[:,::1])"
        for t in ("float32", "float64")
    ],
    "_add_parts": [f"void(int64[::1], {t}[:,::1], {t}[:,::1])" for t in ("float32", "float64")],
    "_column_keys": ["void(int32[::1], int64, int64[::1])"],
    "_move": [
        f"void(int64[::1], {t}[::1], int64, int64[::1], int32[::1], {t}[::1])" for t in ("float32", "float64")
    ],
    "_sum_runs": [
        f"void(int64[::1], {a}[::1], {b}[::1])"
        for a, b in (("float32", "float64"), ("float64", "float64"), ("int32", "int64"), ("int64", "int64"))
    ],
}
FLOAT64 = {"_sum_runs": "a float32 sum of counts stops growing at 2**24"}


def row_segments(indptr, size=_SEGMENT):
    """Cut rows into segments of at most ``size`` entries, at least one a row.

    Returns the first segment of each row (n + 1,), and the row of each segment (s,), both int64.
    """
    xp = _cuda.xp()
    first = _cuda.running_sum(xp.maximum((indptr[1:] - indptr[:-1] + (size - 1)) // size, 1))
    n_segments = int(first[-1])
    if n_segments == 0:
        return first, xp.empty(0, np.int64)
    return first, (xp.searchsorted(first, xp.arange(n_segments), side="right") - 1).astype(np.int64)


def sum_runs(starts, amounts, dtype):
    """Return the sum of each run of ``amounts``, added from left to right in int64 or float64."""
    sums = _cuda.xp().empty(starts.shape[0] - 1, dtype)
    _cuda.launch(_sum_runs, sums.shape[0], starts, amounts, sums)
    return sums


def row_sums(indptr, data, dtype):
    """Return the sum of each row, in int64 or float64: of each segment, then of each row's segments, in order."""
    xp = _cuda.xp()
    first, rows = row_segments(indptr)
    starts = xp.empty(rows.shape[0] + 1, np.int64)
    starts[:-1] = indptr[rows] + (xp.arange(rows.shape[0]) - first[rows]) * _SEGMENT
    starts[-1:] = indptr[-1:]
    return sum_runs(first, sum_runs(starts, data, dtype), dtype)


def csr_matmul(indptr, indices, data, dense):
    """Multiply; see the contract."""
    xp = _cuda.xp()
    dense = _cuda.asarray(dense)
    n_rows, width = indptr.shape[0] - 1, dense.shape[1]
    if indices.shape[0] == 0 or width == 0:
        return _cuda.asarray(xp.zeros((n_rows, width), dense.dtype))
    out = _cuda.asarray(xp.empty((n_rows, width), dense.dtype))
    first, rows = row_segments(indptr)
    n_parts = rows.shape[0] - n_rows
    # An array of no elements is not passed to a kernel: its memory has no address on a device.
    parts = xp.empty((max(1, n_parts), width), dense.dtype)
    threads = rows.shape[0] * ((width + 31) // 32) * 32
    _cuda.launch(_multiply, threads, indptr, indices, data, dense, _SEGMENT, first, rows, out, parts)
    if n_parts:
        _cuda.launch(_add_parts, n_rows * width, first, parts, out)
    return out


def csr_transpose(indptr, indices, data, n_columns):
    """Transpose; see the contract.

    Entries are sorted by column and number, packed into one key, so the sort need not be stable and the result is
    always the same. Column and number fit 63 bits wherever the matrix fits a device: at most 31 bits are the column's,
    and 2**32 entries with their keys already need more than 100 GB.
    """
    xp = _cuda.xp()
    nnz = indices.shape[0]
    new_indices = _cuda.asarray(xp.empty(nnz, np.int32))
    new_data = _cuda.asarray(xp.empty(nnz, data.dtype))
    if nnz == 0:
        return _cuda.asarray(xp.zeros(n_columns + 1, np.int64)), new_indices, new_data
    bits = nnz.bit_length()
    keys = xp.empty(nnz, np.int64)
    _cuda.launch(_column_keys, nnz, indices, bits, keys)
    keys.sort()
    new_indptr = xp.searchsorted(keys, xp.arange(n_columns + 1, dtype=np.int64) << bits)
    _cuda.launch(_move, nnz, indptr, data, bits, keys, new_indices, new_data)
    return _cuda.asarray(new_indptr, np.int64), new_indices, new_data


def sum_rows(indptr, indices, rows):
    """Add up: a sparse matrix of ones times the rows, always in the same order; see the contract."""
    return csr_matmul(indptr, indices, _cuda.xp().ones(indices.shape[0], rows.dtype), rows)
