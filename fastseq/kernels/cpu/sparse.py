"""Products and transposes of sparse matrices on the CPU."""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange

from .._jit import parallel_jit


@parallel_jit
def _multiply(
    indptr,   # IN  int64 (n + 1,)
    indices,  # IN  int32 (nnz,)
    data,     # IN  float32 or float64 (nnz,)
    dense,    # IN  same dtype (v, d)
    blocks,   # IN  int64 (b + 1,) rows where each block begins, blocks of equal numbers of entries
    order,    # IN  int64 (b,)
    out,      # OUT same dtype (n, d)
):
    width = dense.shape[1]
    for turn in prange(order.shape[0]):
        block = order[turn]
        for row in range(blocks[block], blocks[block + 1]):
            total = out[row]
            for d in range(width):
                total[d] = 0
            k = indptr[row]
            end = indptr[row + 1]
            # Four rows at a time: the sums are loaded and stored once for four products.
            while k + 4 <= end:
                a = data[k]
                b = data[k + 1]
                c = data[k + 2]
                e = data[k + 3]
                x = dense[indices[k]]
                y = dense[indices[k + 1]]
                z = dense[indices[k + 2]]
                w = dense[indices[k + 3]]
                for d in range(width):
                    total[d] += a * x[d] + b * y[d] + c * z[d] + e * w[d]
                k += 4
            while k < end:
                a = data[k]
                x = dense[indices[k]]
                for d in range(width):
                    total[d] += a * x[d]
                k += 1


@parallel_jit
def _count_columns(
    indices,  # IN  int32 (nnz,)
    shares,   # IN  int64 (p + 1,) entries where each share begins
    places,   # INOUT int64 (p, v) zeros; then each share's entries by column
):
    for share in prange(places.shape[0]):
        own = places[share]
        for k in range(shares[share], shares[share + 1]):
            own[indices[k]] += 1


@parallel_jit
def _place(
    places,      # INOUT int64 (p, v) entries by share and column; then where each share writes first
    new_indptr,  # OUT int64 (v + 1,)
):
    n_shares, n_columns = places.shape
    new_indptr[0] = 0
    for column in prange(n_columns):
        total = 0
        for share in range(n_shares):
            total += places[share, column]
        new_indptr[column + 1] = total
    for column in range(n_columns):
        new_indptr[column + 1] += new_indptr[column]
    for column in prange(n_columns):
        total = new_indptr[column]
        for share in range(n_shares):
            here = places[share, column]
            places[share, column] = total
            total += here


@parallel_jit
def _move(
    indptr,       # IN  int64 (n + 1,)
    indices,      # IN  int32 (nnz,)
    data,         # IN  float32 or float64 (nnz,)
    shares,       # IN  int64 (p + 1,)
    places,       # INOUT int64 (p, v)
    new_indices,  # OUT int32 (nnz,)
    new_data,     # OUT float32 or float64 (nnz,)
):
    for share in prange(places.shape[0]):
        own = places[share]
        k = shares[share]
        stop = shares[share + 1]
        row = np.searchsorted(indptr, k, side="right") - 1
        while k < stop:
            while indptr[row + 1] <= k:
                row += 1
            while k < min(stop, indptr[row + 1]):
                column = indices[k]
                target = own[column]
                own[column] = target + 1
                new_indices[target] = row
                new_data[target] = data[k]
                k += 1


def row_blocks(indptr, n_threads, blocks_per_thread=16):
    """Cut rows into blocks of about equal numbers of entries; return their borders and an order that mixes them.

    Numba hands each thread one run of the order: every n-th block in turn, so each has long and short rows.
    """
    n_rows = len(indptr) - 1
    loads = np.linspace(0, indptr[-1], n_threads * blocks_per_thread + 1)[1:-1]
    borders = np.unique(np.concatenate([[0], np.searchsorted(indptr, loads), [n_rows]])).astype(np.int64)
    n_blocks = len(borders) - 1
    order = [np.arange(thread, n_blocks, n_threads) for thread in range(n_threads)]
    return borders, np.concatenate(order).astype(np.int64)


def csr_matmul(indptr, indices, data, dense):
    """Multiply; see the contract."""
    out = np.empty((len(indptr) - 1, dense.shape[1]), dense.dtype)
    blocks, order = row_blocks(indptr, get_num_threads())
    _multiply(indptr, indices, data, dense, blocks, order, out)
    return out


def csr_transpose(indptr, indices, data, n_columns):
    """Transpose; see the contract."""
    n_threads = get_num_threads()
    shares = np.linspace(0, len(indices), n_threads + 1).astype(np.int64)
    places = np.zeros((n_threads, n_columns), np.int64)
    new_indptr = np.empty(n_columns + 1, np.int64)
    new_indices = np.empty_like(indices)
    new_data = np.empty_like(data)
    _count_columns(indices, shares, places)
    _place(places, new_indptr)
    _move(indptr, indices, data, shares, places, new_indices, new_data)
    return new_indptr, new_indices, new_data
