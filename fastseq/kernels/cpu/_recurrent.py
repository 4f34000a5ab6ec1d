"""The steps of recurrent networks on the CPU: LSTM, GRU and RNN, forward and backward.

The inputs' part of all gates is one product before the first step, and the gradients of weights and inputs are products
after the last one (`_panels`). What is left in a step is h @ w_h, whose tiles are followed by the cells of the units
that they are gates of, while they are in the first cache.

Rows are those of a batch in which no sequence is shorter than the one behind it: step t has the first ``starts[t + 1] -
starts[t]`` of them, so that work shrinks with the sequences that go on. Row i of step t is row ``starts[t] + i``;
states have ``n`` rows more in front, the ones before the first step.

Two ways to share a step: each thread takes some sequences through all steps, and none waits for another; or each takes
some units of all sequences, and they meet after every step. The first way reads all weights for a few rows, the second
reads each weight once a step; see `share_rows`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numba
import numpy as np
from numba import get_num_threads, prange

from .._jit import address_of, jit, parallel_jit
from .._tiles import (
    call_at,
    flush_denormals,
    restore_denormals,
    vector_load,
    vector_muladd,
    vector_of,
    vector_relu,
    vector_sigmoid,
    vector_store,
    vector_tanh,
    vector_where_positive,
)
from .._vector import lanes, row_lanes
from ._memory import pool
from ._panels import (
    add_columns,
    clear_lanes,
    column_of,
    columns_of,
    pack_cell,
    pack_transposed,
    product_at,
    project,
    project_back,
    weigh_back,
)

__all__ = [
    "DEPTH",
    "GRU",
    "LSTM",
    "RELU",
    "TANH",
    "backward",
    "forward",
    "pad",
    "padded_rows",
    "rows_before",
    "share_rows",
]

LSTM, GRU, TANH, RELU = 0, 1, 2, 3

# Bytes of recurrent weights that a core's second cache keeps beside the rest.
_CACHED_BYTES = 3 * 2**18
# Rows of a thread that are worth reading weights for from beyond that cache.
_MANY_ROWS = 24
# Panels of gates that are summed at a time: 256 KB of weights. With 8 or 4 it is the same within 2 %.
DEPTH = 16


@jit(lean=True)
def _lstm_cells(
    n_rows,    # IN  int64
    lane,      # IN  int64
    gates,     # INOUT float: sums; then input, forget, candidate and output after their functions
    at,        # IN  int64
    step,      # IN  int64
    c,         # INOUT float
    c_before,  # IN  int64
    c_now,     # IN  int64
    h,         # OUT float
    width,     # IN  int64, of a row of states
):
    for r in range(n_rows):
        here = at + r * step
        i = vector_sigmoid(vector_load(gates, here))
        f = vector_sigmoid(vector_load(gates, here + lane))
        g = vector_tanh(vector_load(gates, here + 2 * lane))
        o = vector_sigmoid(vector_load(gates, here + 3 * lane))
        now = vector_muladd(f, vector_load(c, c_before + r * width), i * g)
        vector_store(i, gates, here)
        vector_store(f, gates, here + lane)
        vector_store(g, gates, here + 2 * lane)
        vector_store(o, gates, here + 3 * lane)
        vector_store(now, c, c_now + r * width)
        vector_store(o * vector_tanh(now), h, c_now + r * width)


@jit(lean=True)
def _gru_cells(
    n_rows,    # IN  int64
    lane,      # IN  int64
    gates,     # INOUT float: sums; then candidate, reset, update after their functions, and the candidate's part of h
    at,        # IN  int64
    step,      # IN  int64
    h,         # INOUT float
    h_before,  # IN  int64
    h_now,     # IN  int64
    width,     # IN  int64
):
    for r in range(n_rows):
        here = at + r * step
        reset = vector_sigmoid(vector_load(gates, here + lane))
        z = vector_sigmoid(vector_load(gates, here + 2 * lane))
        n = vector_tanh(vector_muladd(reset, vector_load(gates, here + 3 * lane), vector_load(gates, here)))
        vector_store(n, gates, here)
        vector_store(reset, gates, here + lane)
        vector_store(z, gates, here + 2 * lane)
        before = vector_load(h, h_before + r * width)
        vector_store(vector_muladd(z, before - n, n), h, h_now + r * width)


@jit(lean=True)
def _rnn_cells(
    n_rows,  # IN  int64
    lane,    # IN  int64
    kind,    # IN  int64
    gates,   # IN  float
    at,      # IN  int64
    step,    # IN  int64
    h,       # OUT float
    h_now,   # IN  int64
    width,   # IN  int64
):
    for r in range(n_rows):
        for v in range(0, step, lane):
            value = vector_load(gates, at + r * step + v)
            if kind == TANH:
                vector_store(vector_tanh(value), h, h_now + r * width + v)
            else:
                vector_store(vector_relu(value), h, h_now + r * width + v)


@jit(lean=True)
def _share_of(worker, n_workers, by_rows, bounds, n_panels, n_rows, turn):
    """Return (first row, rows, first panel, the one after the last) of a part of a thread's share; no rows: nothing.

    With ``by_rows`` the share is one part, its sequences. Else shares are equal: where panels cannot be, some rows of
    one are one thread's and the others the next one's. Of 11 for two threads 5 and 6 would take a tenth longer than 5
    and a half. Turn 0 is the end of a panel, 1 are whole ones, and 2 is the beginning of one.
    """
    if by_rows:
        return bounds[worker], min(bounds[worker + 1], n_rows) - bounds[worker] if turn == 0 else 0, 0, n_panels
    begin, stop = worker * n_panels, (worker + 1) * n_panels
    first_p, last_p = begin // n_workers, stop // n_workers
    first_row, last_row = begin % n_workers * n_rows // n_workers, stop % n_workers * n_rows // n_workers
    if turn == 0:
        if first_row == 0:
            return 0, 0, 0, 0
        return first_row, (n_rows if last_p > first_p else last_row) - first_row, first_p, first_p + 1
    if turn == 1:
        return 0, n_rows if last_p > first_p else 0, first_p + (first_row > 0), last_p
    if last_p == first_p and first_row > 0:
        return 0, 0, 0, 0
    return 0, last_row, last_p, last_p + 1


@jit(copied=True)
def _step_forward(
    kind,    # IN  int64
    t,       # IN  int64
    first,   # IN  int64, the first sequence
    n_rows,  # IN  int64, how many
    p,       # IN  int64, the first panel
    end,     # IN  int64, the one after the last
    n,       # IN  int64, sequences of the batch
    starts,  # IN  int64 (t + 1,)
    gates,   # IN  float (p * r * step,) the inputs' part of all sums; with x nothing
    x,       # IN  float (r * n_in,), or nothing
    n_in,    # IN  int64
    packed_x,  # IN  float
    bias_x,  # IN  float (p * v * lanes,)
    sums,    # OUT float, the gates after their functions: (p * r * step,), or a place for the rows of one panel
    sums_rows,  # IN  int64, from one panel to the next
    sums_row,  # IN  int64, where the rows of this step begin
    h,       # INOUT float ((n + r) * width,)
    c,       # INOUT float
    packed,  # IN  float
    bias,    # IN  float (p * lanes,) of the candidate's part of h, for GRU
    units,   # IN  int64, h
    width,   # IN  int64
    product,  # IN  int64, the address of a panel's product
):
    lane = row_lanes(gates)
    step = 4 * lane
    total = starts[starts.shape[0] - 1]
    before = (n + starts[t - 1] if t > 0 else 0) + first
    now = n + starts[t] + first
    panel_units = step if kind >= TANH else lane
    # GRU: the inputs have vectors 0 to 2 of a panel, and the states 1 to 3.
    skipped = lane if kind == GRU else 0
    wide = step - skipped
    while p < end:
        at = (p * total + starts[t] + first) * step
        out = (p * sums_rows + sums_row) * step
        unit = p * panel_units
        if kind == GRU:
            part = vector_load(bias, p * lane)
            for r in range(n_rows):
                if n_in > 0:
                    vector_store(part, sums, out + r * step + 3 * lane)
                else:
                    vector_store(part, gates, at + r * step + 3 * lane)
                    if sums_rows == 0:
                        vector_store(vector_load(gates, at + r * step), sums, out + r * step)
        if n_in > 0:
            call_at(product, (n_rows, x, (starts[t] + first) * n_in, n_in, 1, 0, 1, n_in, packed_x, p * n_in * wide,
                              wide, bias_x, p * wide, 0, sums, out, step))  # fmt: skip
            call_at(product, (n_rows, h, before * width, width, 1, 0, 1, units, packed, p * units * wide, wide, sums,
                              out + skipped, step, sums, out + skipped, step))  # fmt: skip
        else:
            call_at(product, (n_rows, h, before * width, width, 1, 0, 1, units, packed, p * units * wide, wide, gates,
                              at + skipped, step, sums, out + skipped, step))  # fmt: skip
        if kind == GRU:
            _gru_cells(n_rows, lane, sums, out, step, h, before * width + unit, now * width + unit, width)
        elif kind == LSTM:
            _lstm_cells(n_rows, lane, sums, out, step, c, before * width + unit, now * width + unit, h, width)
        else:
            _rnn_cells(n_rows, lane, kind, sums, out, step, h, now * width + unit, width)
        p += 1


@jit(lean=True)
def _share_forward(
    worker,    # IN  int64
    begin,     # IN  int64, the first step
    end,       # IN  int64, the one after the last
    n_workers,  # IN  int64
    kind,      # IN  int64
    by_rows,   # IN  int64, whether workers share the sequences
    n,         # IN  int64, sequences
    n_panels,  # IN  int64
    units,     # IN  int64
    width,     # IN  int64
    n_in,      # IN  int64, 0 where the inputs' part is in the gates already
    product,   # IN  int64
    bounds,    # IN  int64 (w + 1,) the sequences of each worker, where they share these
    starts,    # IN  int64 (t + 1,)
    gates,     # INOUT float
    x,         # IN  float
    packed_x,  # IN  float
    bias_x,    # IN  float
    scratch,   # INOUT float (w * n * step,), or nothing where the gates are to be kept
    h,         # INOUT float
    c,         # INOUT float
    packed,    # IN  float
    bias,      # IN  float
):
    """Take some steps of a worker's sequences, or of its units."""
    mode = flush_denormals()
    kept = scratch.shape[0] == 0
    sums = gates if kept else scratch
    sums_rows = starts[starts.shape[0] - 1] if kept else 0
    for t in range(begin, end):
        rows = starts[t + 1] - starts[t]
        for turn in range(3):
            first, count, p, end_p = _share_of(worker, n_workers, by_rows, bounds, n_panels, rows, turn)
            if count > 0:
                row = first + (starts[t] if kept else 0 if by_rows else worker * n)
                _step_forward(kind, t, first, count, p, end_p, n, starts, gates, x, n_in, packed_x, bias_x, sums,
                              sums_rows, row, h, c, packed, bias, units, width, product)  # fmt: skip
    restore_denormals(mode)


@parallel_jit
def _forward(
    share,     # IN  int64, the address of `_share_forward`
    n_workers,  # IN  int64
    kind, by_rows, n, n_panels, units, width, n_in, product, bounds, starts, gates, x, packed_x, bias_x, scratch, h, c,
    packed, bias,  # as there
):  # fmt: skip
    # Workers with sequences of their own never wait for one another.
    n_steps = starts.shape[0] - 1
    n_turns = 1 if by_rows else n_steps
    for turn in range(n_turns):
        begin, end = turn * n_steps // n_turns, (turn + 1) * n_steps // n_turns
        for worker in prange(n_workers):
            call_at(share, (
                worker, begin, end, n_workers, kind, by_rows, n, n_panels, units, width, n_in, product, bounds, starts,
                gates, x, packed_x, bias_x, scratch, h, c, packed, bias,
            ))  # fmt: skip


@jit(lean=True)
def _lstm_cells_back(
    n_rows,    # IN  int64
    lane,      # IN  int64
    gates,     # IN  float
    at,        # IN  int64
    step,      # IN  int64
    c,         # IN  float
    c_before,  # IN  int64
    c_now,     # IN  int64
    width,     # IN  int64
    dy,        # IN  float
    dy_at,     # IN  int64
    dgates,    # OUT float
    dh,        # INOUT float, what comes from the step behind; then 0
    dc,        # INOUT float
    d_at,      # IN  int64
    d_row,     # IN  int64
):
    one, zero = vector_of(gates, 1.0), vector_of(gates, 0.0)
    for r in range(n_rows):
        here = at + r * step
        there = d_at + r * d_row
        i, f = vector_load(gates, here), vector_load(gates, here + lane)
        g, o = vector_load(gates, here + 2 * lane), vector_load(gates, here + 3 * lane)
        size = vector_tanh(vector_load(c, c_now + r * width))
        to_h = vector_load(dy, dy_at + r * width) + vector_load(dh, there)
        to_c = vector_muladd(to_h * o, one - size * size, vector_load(dc, there))
        vector_store(to_c * g * i * (one - i), dgates, here)
        vector_store(to_c * vector_load(c, c_before + r * width) * f * (one - f), dgates, here + lane)
        vector_store(to_c * i * (one - g * g), dgates, here + 2 * lane)
        vector_store(to_h * size * o * (one - o), dgates, here + 3 * lane)
        vector_store(zero, dh, there)
        vector_store(to_c * f, dc, there)


@jit(lean=True)
def _gru_cells_back(
    n_rows,    # IN  int64
    lane,      # IN  int64
    gates,     # IN  float
    at,        # IN  int64
    step,      # IN  int64
    h,         # IN  float
    h_before,  # IN  int64
    width,     # IN  int64
    dy,        # IN  float
    dy_at,     # IN  int64
    dgates,    # OUT float
    dh,        # INOUT float, what comes from the step behind; then what goes past the gates
    d_at,      # IN  int64
    d_row,     # IN  int64
):
    one = vector_of(gates, 1.0)
    for r in range(n_rows):
        here = at + r * step
        there = d_at + r * d_row
        n, reset = vector_load(gates, here), vector_load(gates, here + lane)
        z, part = vector_load(gates, here + 2 * lane), vector_load(gates, here + 3 * lane)
        to_h = vector_load(dy, dy_at + r * width) + vector_load(dh, there)
        to_n = to_h * (one - z) * (one - n * n)
        vector_store(to_n, dgates, here)
        vector_store(to_n * part * reset * (one - reset), dgates, here + lane)
        vector_store(to_h * (vector_load(h, h_before + r * width) - n) * z * (one - z), dgates, here + 2 * lane)
        vector_store(to_n * reset, dgates, here + 3 * lane)
        vector_store(to_h * z, dh, there)


@jit(lean=True)
def _rnn_cells_back(
    n_rows,  # IN  int64
    lane,    # IN  int64
    kind,    # IN  int64
    h,       # IN  float
    h_now,   # IN  int64
    width,   # IN  int64
    dy,      # IN  float
    dy_at,   # IN  int64
    dgates,  # OUT float
    at,      # IN  int64
    step,    # IN  int64
    dh,      # INOUT float, what comes from the step behind; then 0
    d_at,    # IN  int64
    d_row,   # IN  int64
):
    one, zero = vector_of(h, 1.0), vector_of(h, 0.0)
    for r in range(n_rows):
        for v in range(0, step, lane):
            there = d_at + r * d_row + v
            now = vector_load(h, h_now + r * width + v)
            to_h = vector_load(dy, dy_at + r * width + v) + vector_load(dh, there)
            vector_store(zero, dh, there)
            if kind == TANH:
                vector_store(to_h * (one - now * now), dgates, at + r * step + v)
            else:
                vector_store(vector_where_positive(now, to_h), dgates, at + r * step + v)


@jit(copied=True)
def _carry_back(
    kind,    # IN  int64
    t,       # IN  int64, the step whose gates' gradients are known
    first,   # IN  int64
    n_rows,  # IN  int64
    q,       # IN  int64, the column
    n_columns,  # IN  int64
    n_panels,  # IN  int64
    starts,  # IN  int64 (t + 1,)
    dgates,  # IN  float
    dh,      # INOUT float (n * d_row,)
    d_row,   # IN  int64
    packed,  # IN  float
    narrow,  # IN  int64, the address of the product of narrow columns
    wide,    # IN  int64, of those that have a vector more
):
    """Add what the gates of step t change to the states before it."""
    lane = row_lanes(dgates)
    step = 4 * lane
    total = starts[starts.shape[0] - 1]
    skipped = lane if kind == GRU else 0
    summed = step - skipped
    n_vectors = d_row // lane
    begin, width = column_of(q, n_vectors, n_columns, lane)
    product = narrow if width == n_vectors // n_columns * lane else wide
    at = first * d_row + begin
    p = 0
    while p < n_panels:
        # Some panels at a time, whose weights stay in the second cache for all rows.
        deep = min(DEPTH, n_panels - p)
        call_at(product, (
            n_rows, dgates, (p * total + starts[t] + first) * step + skipped, step, 1, total * step, deep, summed,
            packed, (begin * n_panels + p * width) * summed, width, dh, at, d_row, dh, at, d_row,
        ))  # fmt: skip
        p += deep


@jit(copied=True)
def _cells_back(
    kind,    # IN  int64
    t,       # IN  int64
    first,   # IN  int64
    n_rows,  # IN  int64
    q,       # IN  int64, the column
    n_columns,  # IN  int64
    n,       # IN  int64
    starts,  # IN  int64 (t + 1,)
    gates,   # IN  float
    h,       # IN  float
    c,       # IN  float
    width,   # IN  int64
    dy,      # IN  float (r * width,)
    dgates,  # OUT float
    dh,      # INOUT float
    dc,      # INOUT float
    d_row,   # IN  int64
):
    """Make the gates' gradients of step t of the units in a column."""
    lane = row_lanes(gates)
    step = 4 * lane
    total = starts[starts.shape[0] - 1]
    before = (n + starts[t - 1] if t > 0 else 0) + first
    now = n + starts[t] + first
    if kind >= TANH:
        unit = q * step
        _rnn_cells_back(
            n_rows, lane, kind, h, now * width + unit, width, dy, (starts[t] + first) * width + unit, dgates,
            (q * total + starts[t] + first) * step, step, dh, first * d_row + unit, d_row,
        )  # fmt: skip
    else:
        first_unit, n_units = column_of(q, d_row // lane, n_columns, lane)
        for p in range(first_unit // lane, (first_unit + n_units) // lane):
            unit = p * lane
            at = (p * total + starts[t] + first) * step
            dy_at = (starts[t] + first) * width + unit
            d_at = first * d_row + unit
            if kind == LSTM:
                _lstm_cells_back(
                    n_rows, lane, gates, at, step, c, before * width + unit, now * width + unit, width, dy, dy_at,
                    dgates, dh, dc, d_at, d_row,
                )  # fmt: skip
            else:
                _gru_cells_back(
                    n_rows, lane, gates, at, step, h, before * width + unit, width, dy, dy_at, dgates, dh, d_at, d_row,
                )  # fmt: skip


@jit(lean=True)
def _share_back(
    worker,    # IN  int64
    begin,     # IN  int64, the first step
    end,       # IN  int64, the one after the last; they are taken from there on
    n_workers,  # IN  int64
    kind,      # IN  int64
    by_rows,   # IN  int64, whether workers share the sequences
    n,         # IN  int64
    n_panels,  # IN  int64
    n_columns,  # IN  int64, of the states' gradients
    width,     # IN  int64
    d_row,     # IN  int64
    narrow,    # IN  int64, the address of the product of narrow columns
    wide,      # IN  int64, of those that have a vector more
    bounds,    # IN  int64 (w + 1,) the sequences of each worker, where they share these
    starts,    # IN  int64 (t + 1,)
    gates,     # IN  float
    h,         # IN  float
    c,         # IN  float
    dy,        # IN  float (r * width,)
    dgates,    # OUT float
    dh,        # INOUT float
    dc,        # INOUT float
    packed,    # IN  float
):
    """Take some steps of a worker's sequences, or of its columns, back; step -1 is that of the first states."""
    mode = flush_denormals()
    n_steps = starts.shape[0] - 1
    for t in range(end - 1, begin - 1, -1):
        now = max(t, 0)
        rows = starts[now + 1] - starts[now]
        behind = starts[t + 2] - starts[t + 1] if t + 1 < n_steps else 0
        for turn in range(3):
            first, count, q, end_q = _share_of(worker, n_workers, by_rows, bounds, n_columns, rows, turn)
            if count > 0:
                goes_on = min(first + count, behind) - first
                while q < end_q:
                    if goes_on > 0:
                        _carry_back(kind, t + 1, first, goes_on, q, n_columns, n_panels, starts, dgates, dh, d_row,
                                    packed, narrow, wide)  # fmt: skip
                    if t >= 0:
                        _cells_back(kind, t, first, count, q, n_columns, n, starts, gates, h, c, width, dy, dgates, dh,
                                    dc, d_row)  # fmt: skip
                    q += 1
    restore_denormals(mode)


@parallel_jit
def _backward(
    share,     # IN  int64, the address of `_share_back`
    n_workers,  # IN  int64
    kind, by_rows, n, n_panels, n_columns, width, d_row, narrow, wide, bounds, starts, gates, h, c, dy, dgates, dh, dc,
    packed,  # as there
):  # fmt: skip
    # The steps and the one before them, see `_share_back`.
    n_steps = starts.shape[0]
    n_turns = 1 if by_rows else n_steps
    for turn in range(n_turns):
        end, begin = n_steps - 1 - turn * n_steps // n_turns, n_steps - 1 - (turn + 1) * n_steps // n_turns
        for worker in prange(n_workers):
            call_at(share, (
                worker, begin, end, n_workers, kind, by_rows, n, n_panels, n_columns, width, d_row, narrow, wide,
                bounds, starts, gates, h, c, dy, dgates, dh, dc, packed,
            ))  # fmt: skip


@cache
def _shares(dtype):
    """Return the addresses of `_share_forward` and `_share_back`."""
    numbers, sizes, array = (numba.int64,) * 12, (numba.int64[::1],) * 2, numba.from_dtype(dtype)[::1]
    return (
        address_of(_share_forward, (*numbers, *sizes, *(array,) * 9)),
        address_of(_share_back, (numba.int64, *numbers, *sizes, *(array,) * 8)),
    )


class _Cell(NamedTuple):
    """How the gates of a kind of cell lie in panels, and where its compiled functions are."""

    n_gates: int
    # Which gate each vector of a panel is, (v,) int64, for the part of x and for that of h, and the latter's first one.
    order_x: np.ndarray
    order_h: np.ndarray
    first_h: int
    # The vectors of x's part in the order of the weights' gates; None: as they are.
    by_gate: np.ndarray | None
    # Whether there is one gate, and the vectors of a panel are units beside one another.
    side: bool
    lane: int
    panel_units: int
    share_forward: int
    share_back: int


@cache
def _cell_of(kind, dtype):
    if kind == LSTM:
        n_gates, order_x, order_h, first_h = 4, (0, 1, 2, 3), (0, 1, 2, 3), 0
    elif kind == GRU:
        # A panel holds the candidate's part of x, reset, update, and the candidate's part of h: x has the first three
        # of them and h the last three.
        n_gates, order_x, order_h, first_h = 3, (2, 0, 1), (0, 1, 2), 1
    else:
        n_gates, order_x, order_h, first_h = 1, (0, 0, 0, 0), (0, 0, 0, 0), 0
    side, lane = kind >= TANH, lanes(dtype)
    return _Cell(
        n_gates, np.array(order_x, np.int64), np.array(order_h, np.int64), first_h,
        np.argsort(order_x) if kind == GRU else None, side, lane, 4 * lane if side else lane, *_shares(dtype),
    )  # fmt: skip


@lru_cache(256)
def _equal_shares(n, n_threads):
    """Return the same as the search in `share_rows` does for sequences of one length; nobody writes to it."""
    return -(-n * np.arange(n_threads + 1) // n_threads)


def share_rows(starts, n, n_bytes):
    """Return the bounds of the threads' sequences; None where they share the units of ``n_bytes`` of weights."""
    n_threads = get_num_threads()
    if n_threads == 1 or n < n_threads or (n_bytes > _CACHED_BYTES and n < _MANY_ROWS * n_threads):
        return None
    if starts[-1] == n * (len(starts) - 1):
        return _equal_shares(n, n_threads)
    # As many steps for each: the first sequences have the most.
    lengths = np.searchsorted(-np.diff(starts), -np.arange(n), side="left")
    done = np.concatenate(([0], np.cumsum(lengths)))
    bounds = np.searchsorted(done, done[-1] * np.arange(n_threads + 1) / n_threads)
    bounds[0], bounds[-1] = 0, n
    return bounds.astype(np.int64)


def _share(starts, n, n_bytes):
    """Return (bounds of the workers, as long as there are of these, and whether they share the sequences)."""
    bounds = share_rows(starts, n, n_bytes)
    return (np.zeros(get_num_threads() + 1, np.int64), False) if bounds is None else (bounds, True)


def rows_before(starts, n):
    """Return the row of states (n + r) before each row; None where that is the row's own number.

    The state before row i of step t is row i of the step before, or of the first states.
    """
    if starts[-1] == n * (len(starts) - 1):
        return None
    counts = np.diff(starts)
    base = np.concatenate(([0], n + starts[:-2]))
    return np.arange(int(starts[-1])) + np.repeat(base - starts[:-1], counts)


@jit
def pad(
    rows,  # IN  float (n, m)
    out,   # OUT float (n or more, m or more)
):
    """Write rows where wider ones are, zeros behind them."""
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[i, j] = rows[i, j]
        for j in range(rows.shape[1], out.shape[1]):
            out[i, j] = 0


def padded_rows(rows, width):
    """Return rows (n, ...) as an aligned array (n, width), zeros behind what there was."""
    out = pool.rows(len(rows), width, rows.dtype)
    pad(rows, out)
    return out


def forward(kind, x, starts, h0, c0, w_x, w_h, bias, bias_h, train):
    """Run all steps; return (gates, h, c) as `backward` takes them; without ``train`` there are no gates.

    ``x`` is (r, d), ``h0`` and ``c0`` (n, h), ``bias`` (gates * h,), ``bias_h`` (h,) what the candidate's part of h has
    of its own with GRU; the states come back with n rows in front and padded to whole panels.
    """
    n, units = h0.shape
    n_rows, n_in = x.shape
    dtype = x.dtype
    cell = _cell_of(kind, dtype)
    n_panels = -(-units // cell.panel_units)
    width = n_panels * cell.panel_units
    step = 4 * cell.lane
    h = pool.rows(n + n_rows, width, dtype)
    pad(h0, h)
    c = h[:0]
    if kind == LSTM:
        c = pool.rows(n + n_rows, width, dtype)
        pad(c0, c)
    packed_x, packed, packed_bias = pack_cell(
        w_x, w_h, bias, cell.n_gates, cell.order_x, cell.order_h, cell.side
    )  # fmt: skip
    # Inputs whose weights stay in the cache go into the sums step by step: their part is not written and read again.
    at_once = n_in == 0 or packed_x.nbytes > min(_CACHED_BYTES, max(2**17, _CACHED_BYTES - packed.nbytes))
    none = np.empty(0, dtype)
    gates = none
    if train:
        gates = pool.flat(n_panels * n_rows * step, dtype)
    elif at_once:
        gates = pool.take(n_panels * n_rows * step, dtype)
    if n_rows == 0:
        pool.give(packed, packed_x, packed_bias)
        return gates, h, c
    if at_once:
        project(x, n_rows, packed_x, packed_bias, len(cell.order_x), gates, step, 0)
    own = padded_rows(bias_h.reshape(1, -1), width).reshape(-1) if kind == GRU else bias
    bounds, by_rows = _share(starts, n, packed.nbytes)
    scratch = none if train else pool.take((1 if by_rows else len(bounds) - 1) * n * step, dtype)
    _forward(
        cell.share_forward, len(bounds) - 1, kind, int(by_rows), n, n_panels, units, width, 0 if at_once else n_in,
        product_at(len(cell.order_h), dtype), bounds, starts, gates, x.reshape(-1), packed_x, packed_bias, scratch,
        h.reshape(-1), c.reshape(-1), packed, own,
    )  # fmt: skip
    pool.give(packed_bias, packed_x, packed)
    if not train:
        pool.give(*(array for array in (gates, scratch) if array.size))
        gates = none
    if width > units:
        for states in (h, c):
            if len(states):
                clear_lanes(states.reshape(-1), n * width, n_rows, width, units)
        if train:
            left = cell.panel_units - (width - units)
            wide = cell.panel_units
            clear_lanes(gates, (n_panels - 1) * n_rows * step, n_rows * step // wide, wide, left)
    return gates, h, c


def backward(kind, dy, dh, dc, x, starts, gates, h, c, w_x, w_h, with_dx):
    """Return (dx, dh0, dc0, dw_x, dw_h, db, db_h) from gradients by h (r, h) and by the last states (n, h)."""
    n, units = dh.shape
    n_rows, n_in = x.shape
    dtype = x.dtype
    cell = _cell_of(kind, dtype)
    n_gates, order_x, side, lane = cell.n_gates, cell.order_x, cell.side, cell.lane
    step = 4 * lane
    width = h.shape[1]
    n_panels = width // cell.panel_units
    n_vectors, n_columns = columns_of(width, lane)
    dw_x = pool.array((n_in, n_gates * units), dtype)
    dw_h = pool.array((units, n_gates * units), dtype)
    if n_rows == 0:
        dw_x[:], dw_h[:] = 0, 0
        zeros = np.zeros(n_gates * units, dtype)
        return np.zeros((0, n_in), dtype), dh.copy(), dc.copy(), dw_x, dw_h, zeros, zeros[:units].copy()
    packed = pack_transposed(w_h, n_gates, cell.order_h, side, whole=side)
    if dy.shape[1] != width:
        dy = padded_rows(dy, width)
    carried = padded_rows(dh, width)
    carried_c = padded_rows(dc, width) if kind == LSTM else carried
    dgates = pool.take(len(gates), dtype)
    bounds, by_rows = _share(starts, n, packed.nbytes)
    _backward(
        cell.share_back, len(bounds) - 1, kind, int(by_rows), n, n_panels, n_columns, width, width,
        product_at(n_vectors // n_columns, dtype), product_at(-(-n_vectors // n_columns), dtype), bounds, starts, gates,
        h.reshape(-1), c.reshape(-1), dy.reshape(-1), dgates, carried.reshape(-1), carried_c.reshape(-1), packed,
    )  # fmt: skip
    dx = pool.array((n_rows if with_dx else 0, n_in), dtype)
    if with_dx and n_in:
        packed_x = pack_transposed(w_x, n_gates, order_x, side)
        project_back(dgates, n_rows, step, 0, len(order_x) * lane, packed_x, dx)
        pool.give(packed_x)
    weigh_back(x, None, n_in, dgates, n_rows, step, 0, len(order_x), units, dw_x, order_x[0], side)
    before = rows_before(starts, n)
    weigh_back(h, before, units, dgates, n_rows, step, cell.first_h * lane, len(cell.order_h), units, dw_h, 0, side)
    sums = add_columns(dgates, n_rows, step, n_panels)
    pool.give(dgates, packed)
    if side:
        db = sums.reshape(-1)[:units].copy()
        db_h = db
    else:
        by_gate = sums.reshape(n_panels, 4, lane).transpose(1, 0, 2).reshape(4, -1)[:, :units]
        db = (by_gate if cell.by_gate is None else by_gate[cell.by_gate]).reshape(-1)
        db_h = by_gate[3].copy() if kind == GRU else db
    return dx, carried[:, :units], carried_c[:, :units], dw_x, dw_h, np.ascontiguousarray(db), db_h
