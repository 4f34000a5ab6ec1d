"""Products and transposes of sparse matrices, and sums of rows, on the CPU."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import get_num_threads, prange

from .._jit import parallel_jit
from .._vector import lanes, row_add, row_add_product, row_store, row_zeros
from ._memory import aligned_rows, pool

# Vectors of sums that are held in registers at once: eight leave room for the rest in 16 registers, and 128 float32
# numbers are wide enough that reading the entries again for the next panel costs little.
_PANEL = 8
# So many products are added up before their sum joins the others': long rows lose fewer digits.
_RUN = 128
# From this many entries for each row of the dense matrix it is copied to aligned rows of whole vectors. Below it only
# the rows that are used are, so that a product of few entries does not copy a large matrix.
_COPY_FROM = 4


@parallel_jit
def _align(
    dense,  # IN  float32 or float64 (v, d)
    rows,   # OUT same dtype (v, s) with s >= d; zeros after d
):
    width = dense.shape[1]
    for i in prange(rows.shape[0]):
        source = dense[i]
        target = rows[i]
        for d in range(width):
            target[d] = source[d]
        for d in range(width, rows.shape[1]):
            target[d] = 0


@cache
def _multiply_panels(n):
    """Return the product for panels of ``n`` vectors: each number has its own function, with the sums in registers."""

    def multiply(
        indptr,    # IN  int64 (n + 1,)
        indices,   # IN  int32 (nnz,)
        data,      # IN  float32 or float64 (nnz,)
        dense,     # IN  same dtype (v * stride,)
        stride,    # IN  int64, numbers in a row of dense, in whole vectors
        panels,    # IN  int64 (p,) the column where each panel begins
        blocks,    # IN  int64 (b + 1,) rows where each block begins, blocks of equal numbers of entries
        order,     # IN  int64 (b,)
        width,     # IN  int64, numbers in a row of out
        out,       # OUT same dtype (n * width,)
    ):
        for turn in prange(order.shape[0]):
            block = order[turn]
            for panel in panels:
                for row in range(blocks[block], blocks[block + 1]):
                    total = row_zeros(dense, n)
                    stop = indptr[row + 1]
                    for begin in range(indptr[row], stop, _RUN):
                        sums = row_zeros(dense, n)
                        for k in range(begin, min(begin + _RUN, stop)):
                            sums = row_add_product(sums, data[k], dense, np.int64(indices[k]) * stride + panel)
                        total = row_add(total, sums)
                    row_store(total, out, row * width + panel, width - panel)

    multiply.__qualname__ = f"_multiply_{n}"
    return parallel_jit(multiply)


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


@parallel_jit
def _sum_rows(
    indptr,     # IN  int64 (n + 1,)
    indices,    # IN  int32 (m,)
    rows,       # IN  float32 or float64 (r * width,)
    width,      # IN  int64
    totals,     # OUT float64 (workers * width,), room for each worker
    out,        # OUT same dtype as rows (n * width,)
    n_workers,  # IN  int64
):
    for worker in prange(n_workers):
        total = totals[worker * width : (worker + 1) * width]
        # In turn: the groups of frequent words are beside one another.
        for group in range(worker, indptr.shape[0] - 1, n_workers):
            begin, end = indptr[group], indptr[group + 1]
            goal = out[group * width : (group + 1) * width]
            if end - begin == 1:
                # Not an assignment of slices, for which Numba compiles the words of its error too (see text.py).
                row = rows[indices[begin] * width : (indices[begin] + 1) * width]
                for j in range(width):
                    goal[j] = row[j]
            else:
                total[:] = 0
                for k in range(begin, end):
                    row = rows[indices[k] * width : (indices[k] + 1) * width]
                    for j in range(width):
                        total[j] += row[j]
                for j in range(width):
                    goal[j] = total[j]


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
    width = dense.shape[1]
    out = np.empty((len(indptr) - 1, width), dense.dtype)
    lane = lanes(dense.dtype)
    n_vectors = -(-width // lane)
    if n_vectors == 0:
        return out
    n_panels = -(-n_vectors // _PANEL)
    per_panel = -(-n_vectors // n_panels)
    stride = n_panels * per_panel * lane
    if len(indices) < _COPY_FROM * len(dense):
        if stride != width:
            used, indices = np.unique(indices, return_inverse=True)
            indices = indices.astype(np.int32)
            rows = np.zeros((len(used), stride), dense.dtype)
            rows[:, :width] = dense[used]
            dense = rows
    else:
        rows = aligned_rows(len(dense), stride, dense.dtype)
        _align(dense, rows)
        dense = rows
    panels = np.arange(n_panels) * per_panel * lane
    blocks, order = row_blocks(indptr, get_num_threads())
    _multiply_panels(per_panel)(
        indptr, indices, data, dense.reshape(-1), stride, panels, blocks, order, width, out.reshape(-1)
    )
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


def sum_rows(indptr, indices, rows):
    """Add up; see the contract."""
    width, n_workers = rows.shape[1], get_num_threads()
    out = pool.array((len(indptr) - 1, width), rows.dtype)
    _sum_rows(indptr, indices, rows.reshape(-1), width, np.empty(n_workers * width), out.reshape(-1), n_workers)
    return out
