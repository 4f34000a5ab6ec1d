"""Positive pointwise mutual information on the CPU: a pass for the sums, one to count what is kept, one to fill it."""

from __future__ import annotations

import math

import numpy as np
from numba import get_num_threads, prange

from .._jit import FMA, parallel_jit
from .._scalar import log_float32
from .._weights import scales
from .sparse import row_blocks

# Column sums are added in this many shares, whatever the number of threads, and the shares in order: same bits always.
_SHARES = 16
# log(1 + 2**-23), the least logarithm of a float32 above 1.
_LEAST = np.float32(1.1920928e-07)
_ENDLESS = 2**62


@parallel_jit
def _sums(
    indptr,   # IN  int64 (n + 1,)
    indices,  # IN  int32 (nnz,)
    data,     # IN  int32, int64, float32 or float64 (nnz,)
    shares,   # IN  int64 (p + 1,) rows where each share begins
    rows,     # OUT float64 (n,)
    columns,  # INOUT float64 (p, v) zeros; then each share's column sums
):
    for share in prange(columns.shape[0]):
        own = columns[share]
        for row in range(shares[share], shares[share + 1]):
            total = 0.0
            for k in range(indptr[row], indptr[row + 1]):
                value = np.float64(data[k])
                total += value
                own[indices[k]] += value
            rows[row] = total


@parallel_jit
def _count_kept(
    indptr,        # IN  int64 (n + 1,)
    indices,       # IN  int32 (nnz,)
    data,          # IN  int32, int64, float32 or float64 (nnz,)
    row_scale,     # IN  float64 (n,)
    column_scale,  # IN  float64 (v,)
    blocks,        # IN  int64 (b + 1,) rows where each block begins
    order,         # IN  int64 (b,)
    sizes,         # OUT int64 (n,)
):
    for turn in prange(order.shape[0]):
        for row in range(blocks[order[turn]], blocks[order[turn] + 1]):
            scale = row_scale[row]
            kept = 0
            k = indptr[row]
            stop = indptr[row + 1]
            # The logarithm is above 0 where the ratio is above 1: no logarithm is needed to count. The second condition
            # is always true; without it the compiler gathers with vector instructions, which take twice as long.
            while k < stop and kept < _ENDLESS:
                kept += data[k] * scale * column_scale[np.uint32(indices[k])] > 1.0
                k += 1
            sizes[row] = kept


@parallel_jit(fastmath=FMA)
def _fill(
    indptr,        # IN  int64 (n + 1,)
    indices,       # IN  int32 (nnz,)
    data,          # IN  int32, int64, float32 or float64 (nnz,)
    row_scale,     # IN  float64 (n,)
    column_scale,  # IN  float64 (v,)
    blocks,        # IN  int64 (b + 1,)
    order,         # IN  int64 (b,)
    new_indptr,    # IN  int64 (n + 1,)
    new_indices,   # OUT int32 (m,)
    new_data,      # OUT float32 or float64 (m,)
):
    single = new_data.itemsize == 4
    for turn in prange(order.shape[0]):
        for row in range(blocks[order[turn]], blocks[order[turn] + 1]):
            scale = row_scale[row]
            target = new_indptr[row]
            end = new_indptr[row + 1]
            k = indptr[row]
            stop = indptr[row + 1]
            # Each ratio is written and counted only if it is above 1: a branch would be mispredicted at every fifth.
            while target < end and k < stop:
                column = indices[k]
                ratio = data[k] * scale * column_scale[np.uint32(column)]
                new_indices[target] = column
                new_data[target] = ratio
                target += ratio > 1.0
                k += 1
            # A slice, because an index that might be negative keeps the compiler from vectorising: 2.1 instead of 0.25
            # ns a number.
            own = new_data[new_indptr[row]:end]
            if single:
                # A float32 ratio just above 1 may have been rounded to 1, whose logarithm is 0, but what is kept is
                # above 0: the ratio is then taken as the next number after 1.
                for j in range(own.shape[0]):
                    own[j] = max(log_float32(own[j]), _LEAST)
            else:
                for j in range(own.shape[0]):
                    own[j] = math.log(own[j])


def ppmi_weights(indptr, indices, data, n_columns, shift, smoothing, dtype):
    """Weigh; see the contract."""
    n_rows = len(indptr) - 1
    loads = np.linspace(0, indptr[-1], _SHARES + 1)
    shares = np.searchsorted(indptr, loads).astype(np.int64)
    shares[0], shares[-1] = 0, n_rows
    rows = np.empty(n_rows)
    parts = np.zeros((_SHARES, n_columns))
    _sums(indptr, indices, data, shares, rows, parts)
    with np.errstate(over="ignore"):
        columns = parts.sum(axis=0)
    row_scale, column_scale = scales(np, rows, columns, shift, smoothing)
    # Rows fall in length, so equal runs of rows would leave nearly all the work to the first thread.
    blocks, order = row_blocks(indptr, get_num_threads())
    sizes = np.empty(n_rows, np.int64)
    _count_kept(indptr, indices, data, row_scale, column_scale, blocks, order, sizes)
    new_indptr = np.concatenate([[0], np.cumsum(sizes)])
    new_indices = np.empty(new_indptr[-1], np.int32)
    # The ratios pass through the result's memory. A count is at most its row's sum, so none is above this; where it
    # might outgrow float32, they pass through float64.
    with np.errstate(over="ignore"):
        largest = column_scale.max(initial=0.0) / shift
    new_data = np.empty(new_indptr[-1], dtype if largest < 1e38 else np.float64)
    _fill(indptr, indices, data, row_scale, column_scale, blocks, order, new_indptr, new_indices, new_data)
    return new_indptr, new_indices, new_data.astype(dtype, copy=False)
