"""Matrix products on packed panels: what the recurrent kernels are made of.

A BLAS packs its operands in every call, and a recurrent product has few rows: of 20 x 650 x 2600 OpenBLAS makes 59 and
MKL 121 GFLOP/s where packing once and for all makes 208 (two cores). So weights are packed here once for all steps.

A *panel* is a column of vectors, a few lanes wide, of everything that is summed: row k of panel p is at
``(p * n + k) * step``. In the panels of a recurrent network those few vectors are the gates of the same units, so a
cell finds all its gates where a tile of the product was just written. The gates of all rows of a text are kept in the
same form, panel after panel, ``(p * n_rows + row) * step``: the backward pass reads them as the packed operand of the
weights' gradients and as the left operand of the inputs' without moving them.

What `pack`, `pack_cell` and `pack_transposed` return is of the pool: whoever asked for it gives it back.

Each sum is taken in one order whatever the tiles, the threads and the splits are, so results have the same bits for any
number of threads.
"""

from __future__ import annotations

import math
from functools import cache

import numba
import numpy as np
from numba import get_num_threads, prange

from .._jit import address_of, jit, parallel_jit
from .._tiles import (
    block_transposed,
    call_at,
    flush_denormals,
    restore_denormals,
    tile_load,
    tile_load_part,
    tile_store,
    tile_store_part,
    tile_sum,
    vector_load,
    vector_of,
    vector_store,
)
from .._vector import BYTES, lanes, prefetch, row_add, row_lanes, row_zeros
from ._memory import pool

__all__ = [
    "GROUP",
    "TILE_ROWS",
    "WHOLE_TILES",
    "add_columns",
    "clear_lanes",
    "column_of",
    "columns_of",
    "compile_products",
    "multiply",
    "multiply_in_part",
    "pack",
    "pack_cell",
    "pack_transposed",
    "product_at",
    "project",
    "project_back",
    "rows_summed",
    "weigh_back",
    "weigh_groups",
]

# Rows of a tile by its vectors: the sums and what they are made from fill the registers, 32 with AVX-512 and 16 with
# AVX. There 4 rows of 3 vectors make 181 GFLOP/s of 6400 x 512 x 2040 and 3 rows 136; 4 rows of 2 make 167, 3 rows 139
# and 6 rows 120; 6 rows of 1 make 137, 3 rows 73 (two cores of a Zen 3).
TILE_ROWS = {1: 6, 2: 6, 3: 6, 4: 6} if BYTES == 64 else {1: 6, 2: 4, 3: 4, 4: 3}
# Columns of a left operand that stand beside one another for products with panels of four vectors.
GROUP = TILE_ROWS[4]
# Rows that are whole tiles whatever the vectors.
WHOLE_TILES = math.lcm(*TILE_ROWS.values())
# Rows that are spread at a time.
_SPREAD = 32
# Bytes of rows of a left operand whose products with all panels are made, and how many rows at most: with 256 KB and
# 192 rows the panels passed by too often (1400 x 1150 x 4600: 330 GFLOP/s instead of 395).
_ROWS_BYTES = 2**19
_MOST_KEPT = 384
# Rows for which panels may pass by once more so that all threads have as many.
_LEAST_BLOCK = 48
# Bytes of a panel that is summed at a time: 64 KB with AVX-512 (3712 x 256 x 1024: 389 GFLOP/s, with 256 KB 349), 32 KB
# with AVX (6400 x 1536 x 512: 165 GFLOP/s, with 64 KB 132; 700 x 2600 x 650: 162 and 156).
_DEPTH_BYTES = 2**10 * BYTES
# Rows of weights that are packed at a time.
_PACKED_ROWS = 4
# Panels of transposed weights that are packed at a time: 512 bytes of a row of weights, 2 KB where units are side by
# side. With one panel at a time each read was of half a line on another page; 650 x 2600 in a training step took 1.7
# instead of 0.8 ms.
_PACKED_PANELS = 512 // BYTES
# Bytes of a panel that weights' gradients are summed of at a time: the sums are stored and read again as seldom as that
# (1400 x 1150 x 4600: 430 GFLOP/s with 512 KB, 407 with 256; 6400 x 512 x 2048: 418 and 411; 3712 x 256 x 1024: 422 and
# 413). With AVX 256 KB (6400 x 512 x 2048: 174 GFLOP/s, 162 with 512 KB; 3712 x 256 x 1024: 168 and 157).
_SUMMED_BYTES = 2**13 * BYTES
# Bytes of rows up to which groups of their columns are read where they lie. With AVX-512 that makes 406 instead of 339
# GFLOP/s for 700 x 100 x 400, the same for 700 x 650 x 2600, and 389 instead of 414 for 3712 x 256 x 1024. With AVX,
# where the gap between 90 and 280 KB of rows was not looked into: 103 instead of 90 for 700 x 16 x 400 and the same for
# 700 x 32 x 400, but 106 instead of 124 for 700 x 100 x 400 and 93 instead of 136 for 1750 x 128 x 512.
_DIRECT_BYTES = 2**20 if BYTES == 64 else 2**17
_ALL = np.empty(0, np.int64)


@cache
def multiply(n_vectors):
    """Return the product of some rows with one panel of ``n_vectors``, a compiled function."""
    most = TILE_ROWS[n_vectors]
    n1, n2, n3, n4, n5, n6 = (n_vectors * min(rows, most) for rows in range(1, 7))

    def panel_product(
        n_rows,    # IN  int64
        a,         # IN  float, flat: the left operand
        a_at,      # IN  int64, where it begins
        a_row,     # IN  int64, from one row to the next
        a_step,    # IN  int64, from one summand to the next
        a_block,   # IN  int64, from one block of summands to the next
        n_blocks,  # IN  int64
        n,         # IN  int64, summands of a block
        b,         # IN  float, flat: the panels
        b_at,      # IN  int64
        b_step,    # IN  int64, from one summand to the next
        start,     # IN  float, flat: what the sums begin with
        start_at,  # IN  int64
        start_row,  # IN  int64, from one row to the next; 0: the same for all
        out,       # OUT float, flat
        out_at,    # IN  int64
        out_row,   # IN  int64
    ):
        like = row_zeros(b, n1)
        n_tiles = -(-n_rows // most)
        row = 0
        for turn in range(n_tiles):
            # Tiles as equal as can be: with up to 6 rows, 20 rows are four of 5 and not three of 6 and one of 2.
            rows = (n_rows - row) // (n_tiles - turn)
            if rows == 1:
                _tile(row_zeros(b, n1), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                      start, start_at, start_row, out, out_at, out_row)  # fmt: skip
            elif rows == 2:
                _tile(row_zeros(b, n2), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                      start, start_at, start_row, out, out_at, out_row)  # fmt: skip
            elif rows == 3:
                _tile(row_zeros(b, n3), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                      start, start_at, start_row, out, out_at, out_row)  # fmt: skip
            elif most > 3 and rows == 4:
                _tile(row_zeros(b, n4), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                      start, start_at, start_row, out, out_at, out_row)  # fmt: skip
            elif most > 4 and rows == 5:
                _tile(row_zeros(b, n5), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                      start, start_at, start_row, out, out_at, out_row)  # fmt: skip
            elif most > 5:
                _tile(row_zeros(b, n6), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                      start, start_at, start_row, out, out_at, out_row)  # fmt: skip
            row += rows

    panel_product.__qualname__ = f"panel_product_{n_vectors}"
    return jit(panel_product, lean=True)


@jit(copied=True)
def _tile(
    zeros, like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step, start, start_at, start_row, out,
    out_at, out_row,
):  # fmt: skip
    rows, lane = len(zeros) // len(like), row_lanes(b)
    tile = tile_load(zeros, like, start, start_at + row * start_row, start_row)
    for r in range(rows):
        for v in range(len(like)):
            # What this tile goes to, and what the next one begins with.
            if start_row == 0:
                prefetch(out, out_at + (row + r) * out_row + v * lane)
            else:
                prefetch(start, start_at + (row + rows + r) * start_row + v * lane)
    tile = _summed(tile, like, a, a_at + row * a_row, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step)
    tile_store(tile, like, out, out_at + row * out_row, out_row)


@jit(copied=True)
def _summed(tile, like, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step):
    for block in range(n_blocks):
        tile = tile_sum(tile, like, n, a, a_at + block * a_block, a_row, a_step, b, b_at, b_step)
        b_at += n * b_step
    return tile


@cache
def multiply_in_part(n_vectors):
    """Return as `multiply`, for a result that is not in panels: its last vectors may be cut."""
    most = TILE_ROWS[n_vectors]
    n1, n2, n3, n4, n5, n6 = (n_vectors * min(rows, most) for rows in range(1, 7))

    def part_product(
        n_rows,    # IN  int64
        a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
        goes_on,   # IN  bool, whether out holds sums to go on with
        out,       # INOUT float
        out_at,    # IN  int64
        out_row,   # IN  int64
        out_vector,  # IN  int64, from one vector of a row to the next
        turn_by,   # IN  int64, which of them the tile's first is; those beyond the last go on with the first
        count,     # IN  int64, numbers of the first vector that there are, or more
        less,      # IN  int64, by how much that falls from one vector to the next
    ):  # fmt: skip
        like = row_zeros(b, n1)
        n_tiles = -(-n_rows // most)
        row = 0
        for turn in range(n_tiles):
            rows = (n_rows - row) // (n_tiles - turn)
            if rows == 1:
                _part_tile(row_zeros(b, n1), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                           goes_on, out, out_at, out_row, out_vector, turn_by, count, less)  # fmt: skip
            elif rows == 2:
                _part_tile(row_zeros(b, n2), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                           goes_on, out, out_at, out_row, out_vector, turn_by, count, less)  # fmt: skip
            elif rows == 3:
                _part_tile(row_zeros(b, n3), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                           goes_on, out, out_at, out_row, out_vector, turn_by, count, less)  # fmt: skip
            elif most > 3 and rows == 4:
                _part_tile(row_zeros(b, n4), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                           goes_on, out, out_at, out_row, out_vector, turn_by, count, less)  # fmt: skip
            elif most > 4 and rows == 5:
                _part_tile(row_zeros(b, n5), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                           goes_on, out, out_at, out_row, out_vector, turn_by, count, less)  # fmt: skip
            elif most > 5:
                _part_tile(row_zeros(b, n6), like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step,
                           goes_on, out, out_at, out_row, out_vector, turn_by, count, less)  # fmt: skip
            row += rows

    part_product.__qualname__ = f"part_product_{n_vectors}"
    return jit(part_product, lean=True)


@jit(copied=True)
def _part_tile(
    zeros, like, row, a, a_at, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step, goes_on, out, out_at, out_row,
    out_vector, turn_by, count, less,
):  # fmt: skip
    at = out_at + row * out_row
    for r in range(len(zeros) // len(like)):
        for v in range(len(like)):
            prefetch(out, at + r * out_row + v * out_vector)
    tile = _summed(zeros, like, a, a_at + row * a_row, a_row, a_step, a_block, n_blocks, n, b, b_at, b_step)
    if goes_on:
        # At the end: what was asked for at the beginning is there by now.
        tile = row_add(tile, tile_load_part(zeros, like, out, at, out_row, out_vector, turn_by, count, less))
    tile_store_part(tile, like, out, at, out_row, out_vector, turn_by, count, less)


@cache
def product_at(n_vectors, dtype):
    """Return the address of `multiply`'s function for panels of 1 to 4 vectors."""
    array, number = numba.from_dtype(dtype)[::1], numba.int64
    return address_of(multiply(n_vectors), (
        number, array, *(number,) * 6, array, number, number, array, number, number, array, number, number,
    ))  # fmt: skip


@cache
def part_at(n_vectors, dtype):
    """Return the address of `multiply_in_part`'s function."""
    array, number = numba.from_dtype(dtype)[::1], numba.int64
    return address_of(multiply_in_part(n_vectors), (
        number, array, *(number,) * 6, array, number, number, numba.boolean, array, *(number,) * 6,
    ))  # fmt: skip


def compile_products(dtype):
    """Compile what is compiled for widths of a panel only when they come up: none is left for a later shape."""
    for n_vectors in TILE_ROWS:
        product_at(n_vectors, dtype)
        part_at(n_vectors, dtype)
    for m in set(TILE_ROWS.values()):
        _spread(m)(np.zeros(m, dtype), m, _ALL, 1, m, np.zeros(m, dtype))


@parallel_jit
def _project(
    x,         # IN  float (r * x_row,)
    x_row,     # IN  int64
    n_rows,    # IN  int64
    n_in,      # IN  int64
    packed,    # IN  float (p * n_in * v * lanes,)
    bias,      # IN  float (p * v * lanes,)
    n_vectors,  # IN  int64, v: 2 to 4
    n_panels,  # IN  int64, p
    out,       # OUT float (p * r * step,)
    step,      # IN  int64, lanes of all gates of a panel
    first,     # IN  int64, which of them the product's begin with
    block,     # IN  int64, rows that are taken at a time
    product,   # IN  int64, the function's address
):
    lane = row_lanes(packed)
    width = n_vectors * lane
    n_blocks = -(-n_rows // block)
    for task in prange(n_blocks * n_panels):
        before = flush_denormals()
        row = task // n_panels * block
        p = task % n_panels
        rows = min(block, n_rows - row)
        at = (p * n_rows + row) * step + first
        call_at(product, (
            rows, x, row * x_row, x_row, 1, 0, 1, n_in, packed, p * n_in * width, width, bias, p * width, 0, out, at,
            step,
        ))  # fmt: skip
        restore_denormals(before)


def _rows_kept(n_summed, itemsize):
    """Return how many rows of the left operand stay in the second cache."""
    return max(24, min(_MOST_KEPT, _ROWS_BYTES // max(1, n_summed * itemsize) // 24 * 24))


def _blocks(n_rows, most):
    """Return how many rows of ``most`` are best taken at a time: as many for all threads."""
    n_blocks, n_threads = -(-n_rows // most), get_num_threads()
    even = -(-n_blocks // n_threads) * n_threads
    if n_rows >= _LEAST_BLOCK * even:
        n_blocks = even
    return max(1, -(-n_rows // max(1, n_blocks) // WHOLE_TILES)) * WHOLE_TILES


def project(x, n_rows, packed, bias, n_vectors, out, step, first):
    """Write bias + x @ weights, in panels. ``x`` is (r, n_in) and contiguous, ``packed`` from `pack`."""
    n_in = x.shape[1]
    n_panels = len(bias) // (n_vectors * lanes(x.dtype))
    block = _blocks(n_rows, _rows_kept(n_in, x.itemsize))
    _project(
        x.reshape(-1), n_in, n_rows, n_in, packed, bias, n_vectors, n_panels, out, step, first, block,
        product_at(n_vectors, x.dtype),
    )  # fmt: skip


def columns_of(n_out, lane):
    """Return (vectors, columns) that a result of ``n_out`` numbers a row is made in.

    Columns have four vectors at most, and differ by one at most: with 16 lanes 100 numbers are 3 + 4 vectors and not
    twice four, 650 are 8 columns of four and 3 of three, not 11 of four.
    """
    n_vectors = -(-n_out // lane)
    return n_vectors, -(-n_vectors // 4)


@jit(copied=True)
def column_of(q, n_vectors, n_columns, lane):
    """Return where column q of a result begins and how many numbers it has."""
    begin = q * n_vectors // n_columns * lane
    return begin, (q + 1) * n_vectors // n_columns * lane - begin


@parallel_jit
def _project_back(
    gates,     # IN  float (p * r * step,)
    n_rows,    # IN  int64, r
    step,      # IN  int64
    first,     # IN  int64, the first lane of a panel that is summed
    n,         # IN  int64, how many of them are
    n_panels,  # IN  int64, p
    packed,    # IN  float (v * lanes * p * n,), see `pack_transposed`
    n_vectors,  # IN  int64, v
    n_columns,  # IN  int64
    out,       # OUT float (r * n_out,)
    n_out,     # IN  int64
    block,     # IN  int64, rows that are taken at a time
    depth,     # IN  int64, panels that are summed at a time
    group,     # IN  int64, columns of the result that are made of them one after the other
    narrow,    # IN  int64, the address of the function for columns of v // n_columns vectors
    wide,      # IN  int64, of that for those of one more
):
    lane = row_lanes(packed)
    n_blocks = -(-n_rows // block)
    n_groups = -(-n_columns // group)
    for task in prange(n_blocks * n_groups):
        before = flush_denormals()
        row = task // n_groups * block
        first_q = task % n_groups * group
        rows = min(block, n_rows - row)
        p = 0
        while p < n_panels:
            deep = min(depth, n_panels - p)
            # The rows' part of these panels stays in the second cache for all columns; weights pass by once for each
            # block of rows.
            for q in range(first_q, min(n_columns, first_q + group)):
                begin, width = column_of(q, n_vectors, n_columns, lane)
                call_at(narrow if width == n_vectors // n_columns * lane else wide, (
                    rows, gates, (p * n_rows + row) * step + first, step, 1, n_rows * step, deep, n, packed,
                    (begin * n_panels + p * width) * n, width, p > 0, out, row * n_out + begin, n_out, lane,
                    0, n_out - begin, lane,
                ))  # fmt: skip
            p += deep
        restore_denormals(before)


def project_back(gates, n_rows, step, first, n, packed, out):
    """Write gates @ weights.T into ``out`` (r, n_out). ``packed`` is from `pack_transposed`."""
    n_out = out.shape[1]
    if n_out == 0:
        return
    n_vectors, n_columns = columns_of(n_out, lanes(out.dtype))
    n_panels = len(packed) // max(1, n * n_vectors * lanes(out.dtype))
    depth = max(1, _DEPTH_BYTES // (n * 4 * lanes(out.dtype) * out.itemsize))
    block = _blocks(n_rows, _rows_kept(min(depth, max(1, n_panels)) * n, out.itemsize))
    # As many tasks as threads at least.
    n_groups = -(-get_num_threads() // max(1, -(-n_rows // block)))
    group = max(1, -(-n_columns // n_groups))
    narrow, wide = (part_at(v, out.dtype) for v in (n_vectors // n_columns, -(-n_vectors // n_columns)))
    _project_back(gates, n_rows, step, first, n, n_panels, packed, n_vectors, n_columns, out.reshape(-1), n_out, block,
                  depth, group, narrow, wide)  # fmt: skip


@cache
def _spread(m):
    """Return the function that puts m columns of all rows beside one another, group after group.

    One for each m: with loops of a constant length 700 rows of 650 numbers take 0.14 instead of 0.33 ms.
    """

    def spread_columns(
        rows,      # IN  float (s * row,)
        row,       # IN  int64
        which,     # IN  int64 (r,) numbers of rows; empty: all in order
        n_rows,    # IN  int64, r
        n,         # IN  int64, columns that are wanted
        out,       # OUT float (groups * r * m,)
    ):
        n_whole = n // m
        # Some rows at a time: a line of the cache holds the columns of more than one group.
        for block in prange(-(-n_rows // _SPREAD)):
            for r in range(block * _SPREAD, min(n_rows, (block + 1) * _SPREAD)):
                at = (which[r] if which.shape[0] else r) * row
                to = r * m
                for _ in range(n_whole):
                    for i in range(m):
                        out[to + i] = rows[at + i]
                    at += m
                    to += n_rows * m
                left = n - n_whole * m
                if left:
                    for i in range(m):
                        out[to + i] = rows[at + i] if i < left else 0

    spread_columns.__qualname__ = f"spread_columns_{m}"
    return parallel_jit(spread_columns)


@jit(copied=True)
def _task_at(work, n_panels, n_groups, share_rest):
    """Return the number of the panel's group where so much work, in quarters of a group, has been done."""
    whole = 4 * (n_panels - 1) * n_groups
    return work // 4 if work < whole else (n_panels - 1) * n_groups + (work - whole) // share_rest


def _rest_of(n_gates, n_units, side_by_side, dtype):
    """Return what `_weigh_back` needs of the last panel; with ``side_by_side`` a panel has four vectors."""
    lane = lanes(dtype)
    n_rest = -(-(n_units - (n_units - 1) // (4 * lane) * 4 * lane) // lane) if side_by_side else n_gates
    # One vector is as much work as two: its sums wait for one another.
    return part_at(n_rest, dtype), max(2, n_rest) if n_rest < n_gates else 4


@parallel_jit
def _weigh_back(
    left,      # IN  float, flat
    left_row,  # IN  int64, from one row to the next
    left_group,  # IN  int64, from one group of m columns to the next
    n,         # IN  int64, rows of the result
    m,         # IN  int64
    gates,     # IN  float (p * r * step,)
    n_rows,    # IN  int64, r
    step,      # IN  int64
    first,     # IN  int64
    product,   # IN  int64, the address of the function for as many vectors as a panel has
    product_rest,  # IN  int64, of that for as many as the last one has
    share_rest,  # IN  int64, the work that the last one is, in quarters of another's
    n_units,   # IN  int64
    units,     # IN  int64, units from one vector of a panel to the next: 0 where they are gates of the same units
    out,       # OUT float (n * row,)
    column,    # IN  int64, where in a row the first panel's begin
    row,       # IN  int64
    turn_by,   # IN  int64, which gate of the result the panel's first vector is
    depth,     # IN  int64, rows that are summed at a time
    adds,      # IN  bool, whether out holds sums to go on with
    n_workers,  # IN  int64
):
    lane = row_lanes(left)
    n_groups = -(-n // m)
    panel_units = lane + 3 * units
    n_panels = -(-n_units // panel_units)
    n_work = (4 * (n_panels - 1) + share_rest) * n_groups
    for worker in prange(n_workers):
        before = flush_denormals()
        # Some rows at a time: of the left operand and of the gates they stay in the third cache for all of the result.
        for r in range(0, n_rows, depth):
            deep = min(depth, n_rows - r)
            task = _task_at(worker * n_work // n_workers, n_panels, n_groups, share_rest)
            end = _task_at((worker + 1) * n_work // n_workers, n_panels, n_groups, share_rest)
            while task < end:
                p = task // n_groups
                begin_group = task % n_groups
                end_group = min(n_groups, begin_group + end - task)
                # A gate's columns are n_units apart in the result; the next units' are beside them.
                for group in range(begin_group, end_group):
                    call_at(product if p < n_panels - 1 else product_rest, (
                        min(m, n - group * m), left, group * left_group + r * left_row, 1, left_row, 0,
                        1, deep, gates,
                        (p * n_rows + r) * step + first, step, adds or r > 0, out,
                        group * m * row + column + p * panel_units, row, units if units else n_units, turn_by,
                        n_units - p * panel_units, units,
                    ))  # fmt: skip
                task += end_group - begin_group
        restore_denormals(before)


def weigh_back(rows, which, n, gates, n_rows, step, first, n_gates, n_units, out, turn_by=0, side_by_side=False):
    """Write rows[which, :n].T @ gates into ``out`` (n, columns); ``which`` is None where all rows are taken in order.

    The vectors of a panel are gates of the same units, the first of them number ``turn_by`` of the result; or with
    ``side_by_side`` units beside one another.
    """
    if n == 0 or n_rows == 0:
        out[:] = 0
        return
    m, width = TILE_ROWS[n_gates], rows.shape[1]
    spread = which is not None or n_rows * width * rows.itemsize > _DIRECT_BYTES
    left, left_row, left_group = rows.reshape(-1), width, m
    if spread:
        left, left_row, left_group = pool.take(-(-n // m) * n_rows * m, rows.dtype), m, n_rows * m
        _spread(m)(rows.reshape(-1), width, _ALL if which is None else which, n_rows, n, left)
    _weigh_back(
        left, left_row, left_group, n, m, gates, n_rows, step, first, part_at(n_gates, out.dtype),
        *_rest_of(n_gates, n_units, side_by_side, out.dtype), n_units, lanes(out.dtype) if side_by_side else 0,
        out.reshape(-1), 0, out.shape[1], turn_by, rows_summed(n_rows, step * out.itemsize), False, get_num_threads(),
    )  # fmt: skip
    if spread:
        pool.give(left)


def rows_summed(n_rows, n_bytes):
    """Return how many rows of a panel, each of so many bytes, are summed at a time."""
    n_parts = -(-n_rows // max(64, _SUMMED_BYTES // n_bytes))
    return -(-n_rows // n_parts)


def weigh_groups(groups, n, panels, n_rows, step, n_words, out, column, adds):
    """Write, or with ``adds`` add, a transpose times panels into the columns of ``out`` from ``column`` on.

    ``groups`` are the rows' numbers, GROUP of each row beside one another, ``n`` of a row in all; the panels are of
    four vectors of words beside one another.
    """
    _weigh_back(
        groups, GROUP, n_rows * GROUP, n, GROUP, panels, n_rows, step, 0, part_at(4, out.dtype),
        *_rest_of(4, n_words, True, out.dtype), n_words, lanes(out.dtype), out.reshape(-1), column, out.shape[1], 0,
        rows_summed(n_rows, step * out.itemsize), adds, get_num_threads(),
    )  # fmt: skip


@parallel_jit
def _pack(
    weights,  # IN  float (n * gates * h,)
    n,        # IN  int64
    gates,    # IN  int64
    h,        # IN  int64
    order,    # IN  int64 (v,) which gate each vector of a panel is
    out,      # OUT float (p * n * v * lanes,)
    side,     # IN  bool, units beside one another instead of gates
):
    for block in prange(-(-n // _PACKED_ROWS)):
        _pack_rows(weights, n, gates, h, order, out, side, np.int64(block))


@jit(lean=True)
def _pack_rows(weights, n, gates, h, order, out, side, block):
    """Pack some rows, read from end to end: panel by panel each would be met once in every ten kilobytes."""
    lane = row_lanes(out)
    v = order.shape[0]
    units = lane * v if side else lane
    n_panels = -(-h // units)
    for p in range(n_panels):
        for k in range(block * _PACKED_ROWS, min(n, (block + 1) * _PACKED_ROWS)):
            for i in range(v):
                to = ((p * n + k) * v + i) * lane
                unit = p * units + (i * lane if side else 0)
                at = (k * gates + order[i]) * h + unit
                if unit + lane <= h:
                    vector_store(vector_load(weights, at), out, to)
                else:
                    for u in range(lane):
                        out[to + u] = weights[at + u] if unit + u < h else 0


@parallel_jit
def _pack_cell(
    w_x,          # IN  float (n_in * gates * h,)
    n_in,         # IN  int64
    w_h,          # IN  float (n * gates * h,)
    n,            # IN  int64
    bias,         # IN  float (gates * h,)
    gates,        # IN  int64
    h,            # IN  int64
    order_x,      # IN  int64 (v,) which gate each vector of a panel is, for the inputs' part
    order_h,      # IN  int64 (v,) and for the states'
    packed_x,     # OUT float (p * n_in * v * lanes,)
    packed,       # OUT float (p * n * v * lanes,)
    packed_bias,  # OUT float (p * v * lanes,)
    side,         # IN  bool, units beside one another instead of gates
):
    blocks_x, blocks_h = -(-n_in // _PACKED_ROWS), -(-n // _PACKED_ROWS)
    for task in prange(blocks_x + blocks_h + 1):
        if task < blocks_x:
            _pack_rows(w_x, n_in, gates, h, order_x, packed_x, side, np.int64(task))
        elif task < blocks_x + blocks_h:
            _pack_rows(w_h, n, gates, h, order_h, packed, side, np.int64(task - blocks_x))
        else:
            _pack_rows(bias, 1, gates, h, order_x, packed_bias, side, 0)


def pack_cell(w_x, w_h, bias, n_gates, order_x, order_h, side_by_side):
    """Return what `pack` makes of the weights of inputs, of those of states, and of the biases of the inputs' part.

    In one launch: three take 25 us with 16 units, two thirds of it in Python.
    """
    n_in, n, h = w_x.shape[0], w_h.shape[0], w_h.shape[1] // n_gates
    lane = lanes(w_x.dtype)
    v_x, v_h = len(order_x), len(order_h)
    # With units beside one another a panel has four vectors of them, and all gates are one.
    n_panels = -(-h // (lane * v_h)) if side_by_side else -(-h // lane)
    packed_x, packed = (pool.take(n_panels * k * v * lane, w_x.dtype) for k, v in ((n_in, v_x), (n, v_h)))
    packed_bias = pool.take(n_panels * v_x * lane, w_x.dtype)
    _pack_cell(
        w_x.reshape(-1), n_in, w_h.reshape(-1), n, bias, n_gates, h, order_x, order_h, packed_x, packed, packed_bias,
        side_by_side,
    )  # fmt: skip
    return packed_x, packed, packed_bias


def pack(weights, n_gates, order, side_by_side=False):
    """Return weights (n, gates * h) in panels whose vectors are the gates in ``order`` of the same units.

    With ``side_by_side`` there is one gate, and the vectors are units beside one another.
    """
    n, h = weights.shape[0], weights.shape[1] // n_gates
    v = len(order)
    units = lanes(weights.dtype) * (v if side_by_side else 1)
    out = pool.take(-(-h // units) * n * v * lanes(weights.dtype), weights.dtype)
    _pack(weights.reshape(-1), n, n_gates, h, np.asarray(order, np.int64), out, side_by_side)
    return out


@parallel_jit
def _pack_transposed(
    weights,  # IN  float (n * gates * h,)
    n,        # IN  int64
    gates,    # IN  int64
    h,        # IN  int64
    order,    # IN  int64 (v,)
    out,      # OUT float (n_vectors * lanes * p * v * lanes,)
    n_vectors,  # IN  int64, of the result's rows
    n_columns,  # IN  int64, that they are in
    side,     # IN  bool
):
    lane = row_lanes(out)
    n_panels = -(-h // (lane * order.shape[0] if side else lane))
    n_parts = -(-n_panels // _PACKED_PANELS)
    for task in prange(n_columns * n_parts):
        first = np.int64(task % n_parts) * _PACKED_PANELS
        _pack_column(
            weights, n, gates, h, order, out, n_vectors, n_columns, side, n_panels, np.int64(task // n_parts), first,
            min(first + _PACKED_PANELS, n_panels),
        )  # fmt: skip


@jit(lean=True)
def _pack_column(
    weights,  # IN  float (n * gates * h,)
    n,        # IN  int64
    gates,    # IN  int64
    h,        # IN  int64
    order,    # IN  int64 (v,)
    out,      # OUT float, as there
    n_vectors,  # IN  int64
    n_columns,  # IN  int64
    side,     # IN  bool
    n_panels,  # IN  int64
    q,        # IN  int64, the column
    first,    # IN  int64, its first panel
    last,     # IN  int64, and the one after its last
):
    """Pack some panels of a column, some rows of weights at a time, each read from end to end."""
    lane = row_lanes(out)
    v = order.shape[0]
    units = lane * v if side else lane
    begin, width = column_of(q, n_vectors, n_columns, lane)
    for c in range(0, width, lane):
        k = begin + c
        for i in range(v):
            for p in range(first, last):
                unit = p * units + (i * lane if side else 0)
                to = (begin * n_panels + p * width) * v * lane + i * lane * width + c
                at = k * gates * h + order[i] * h + unit
                if unit + lane <= h and k + lane <= n:
                    block_transposed(weights, at, gates * h, out, to, width)
                else:
                    for j in range(lane):
                        for u in range(lane):
                            value = weights[at + j * gates * h + u] if unit + u < h and k + j < n else 0
                            out[to + u * width + j] = value


def pack_transposed(weights, n_gates, order, side_by_side=False, whole=False):
    """Return the transpose of weights (n, gates * h) in panels of the columns of its n rows, see `columns_of`.

    With ``whole`` all of them are of four vectors, the last ones of zeros where need be. What is summed is in the order
    of the panels of `pack`.
    """
    n, h = weights.shape[0], weights.shape[1] // n_gates
    lane, v = lanes(weights.dtype), len(order)
    n_vectors, n_columns = columns_of(n, lane)
    if whole:
        n_vectors = 4 * n_columns
    n_panels = -(-h // (lane * (v if side_by_side else 1)))
    out = pool.take(n_vectors * lane * n_panels * v * lane, weights.dtype)
    _pack_transposed(
        weights.reshape(-1), n, n_gates, h, np.asarray(order, np.int64), out, n_vectors, n_columns, side_by_side
    )
    return out


@parallel_jit
def _add_columns(
    gates,     # IN  float (p * r * step,)
    n_rows,    # IN  int64
    step,      # IN  int64
    n_panels,  # IN  int64
    out,       # OUT float (p * step,)
):
    lane = row_lanes(gates)
    for p in prange(n_panels):
        for d in range(0, step, lane):
            at = p * n_rows * step + d
            total = vector_of(gates, 0.0)
            r = 0
            # Sums of 64 rows first: the error grows by the square root of how many numbers one sum takes.
            while r < n_rows:
                part = vector_load(gates, at + r * step)
                for s in range(r + 1, min(r + 64, n_rows)):
                    part = part + vector_load(gates, at + s * step)
                total = total + part
                r += 64
            vector_store(total, out, p * step + d)


def add_columns(gates, n_rows, step, n_panels):
    """Return the sums of all rows, (p, step)."""
    out = np.empty(n_panels * step, gates.dtype)
    if n_rows == 0:
        out[:] = 0
    else:
        _add_columns(gates, n_rows, step, n_panels, out)
    return out.reshape(n_panels, step)


@jit
def clear_lanes(
    rows,    # INOUT float, flat
    begin,   # IN    int64, where the first row begins
    n_rows,  # IN    int64
    width,   # IN    int64, of a row
    first,   # IN    int64, the first number of a row that is cleared
):
    """Clear what is behind the last unit of some rows: infinity times the zeros that weights have there is NaN."""
    # Of 700 rows of 104 NumPy takes 6.6 us and this 2.1, of 2,800 rows of 8 24 and 6; a pass has up to eight arrays.
    rows[begin : begin + n_rows * width].reshape(n_rows, width)[:, first:] = 0
