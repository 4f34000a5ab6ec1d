"""The way back through recurrent networks with options on the CPU; see `_variants`."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import get_num_threads, prange

from .._jit import jit, parallel_jit
from .._tiles import (
    array_at,
    call_at,
    flush_denormals,
    restore_denormals,
    vector_clip,
    vector_load,
    vector_muladd,
    vector_of,
    vector_store,
)
from .._vector import row_lanes
from ._memory import pool
from ._panels import (
    add_columns,
    column_of,
    pack_transposed,
    project_back,
    weigh_back,
)
from ._recurrent import (
    DEPTH,
    padded_rows,
    rows_before,
    share_rows,
)
from ._variant_cells import cells_back, resets_back, row_cells_back, states_back
from ._variant_norm import SCRATCH, SLOPES, columns_back
from ._variant_table import (
    AT_C,
    AT_C_ROW,
    AT_CLIP,
    AT_D_IN,
    AT_D_OUT,
    AT_DPART,
    AT_DSIDE,
    AT_GATES,
    AT_H_WIDTH,
    AT_KIND,
    AT_N_PANELS,
    AT_N_SEQUENCES,
    AT_OPTIONS,
    AT_PACKED_BACK,
    AT_PACKED_BACK_2,
    AT_STARTS,
    AT_STEP,
    AT_WIDTH,
    AT_ZEROS,
    BEFORE,
    CLIP,
    DO_CELLS_BACK,
    DO_COLUMNS_BACK,
    DO_PART_BACK,
    DO_PRODUCT_1,
    DO_RESETS_BACK,
    DO_ROW_CELLS_BACK,
    DO_SECOND_BACK,
    DO_SEQUENCES_BACK,
    DO_STATES_BACK,
    GRU,
    LSTM,
    MASK,
    NORM,
    PEEPHOLE,
    PROJECTION,
    Back,
    table_back,
)
from ._variants import (
    ROWS,
    SIDE,
    functions_of,
    layout_of,
)

__all__ = ["backward"]


@jit(lean=True)
def _carry(
    like,    # IN  float, an array of the dtype of all
    table,   # IN  int64, see `_variant_table`
    buffer,    # IN  float (p * r * step,)
    row,       # IN  int64
    n_rows,    # IN  int64
    begin,     # IN  int64, the column of the result
    width,     # IN  int64, as wide as the vectors it has
    n_panels,  # IN  int64
    step,      # IN  int64, lanes of a panel
    skipped,   # IN  int64, of them that are not summed
    packed,    # IN  float
    out,       # OUT float
    out_at,    # IN  int64
    out_row,   # IN  int64
):
    """Write the product of some rows of panels with transposed weights."""
    product = table[DO_PRODUCT_1 + width // row_lanes(buffer) - 1]
    starts = array_at(table, AT_STARTS, table)
    zeros = array_at(table, AT_ZEROS, like)
    total = starts[starts.shape[0] - 1]
    summed = step - skipped
    p = 0
    while p < n_panels:
        # Some panels at a time, whose weights stay in the second cache for all rows.
        deep = min(DEPTH, n_panels - p)
        at = (p * total + row) * step + skipped
        weights = (begin * n_panels + p * width) * summed
        if p == 0:
            call_at(product, (
                n_rows, buffer, at, step, 1, total * step, deep, summed, packed, weights, width, zeros, 0, 0, out,
                out_at, out_row,
            ))  # fmt: skip
        else:
            call_at(product, (
                n_rows, buffer, at, step, 1, total * step, deep, summed, packed, weights, width, out, out_at, out_row,
                out, out_at, out_row,
            ))  # fmt: skip
        p += deep


@jit(lean=True)
def _panel_cells_back(like, table, before, row, first, n_rows, begin, n_units):
    """Cells of the panels of a column of units."""
    width = table[AT_WIDTH]
    n_panels = table[AT_N_PANELS]
    n_sequences = table[AT_N_SEQUENCES]
    per = width // n_panels
    for p in range(begin // per, min((begin + n_units) // per, n_panels)):
        call_at(table[DO_CELLS_BACK], (like, table, before, n_sequences + row, first, row, n_rows, p))


@jit(copied=True)
def _n_columns(like, table):
    """Return how many columns the gradients by the states are made in."""
    return -(-table[AT_H_WIDTH] // (4 * row_lanes(like)))


@jit(copied=True)
def _column(like, table, q):
    """Return where column q of them begins and how many numbers it has."""
    lane = row_lanes(like)
    return column_of(q, table[AT_H_WIDTH] // lane, _n_columns(like, table), lane)


@jit(lean=True)
def _carry_states(like, table, t, first, n_rows, q):
    """Write the gradient by what step t took of the states before it."""
    gates = array_at(table, AT_GATES, like)
    dpart = array_at(table, AT_DPART, like)
    kind = table[AT_KIND]
    starts = array_at(table, AT_STARTS, table)
    n_panels = table[AT_N_PANELS]
    step = table[AT_STEP]
    packed_back = array_at(table, AT_PACKED_BACK, like)
    d_in = array_at(table, AT_D_IN, like)
    h_width = table[AT_H_WIDTH]
    lane = row_lanes(gates)
    skipped = lane if kind == GRU else 0
    begin, width = _column(like, table, q)
    _carry(like, table, dpart, starts[t] + first, n_rows, begin, width, n_panels, step, skipped, packed_back, d_in,
           first * h_width + begin, h_width)  # fmt: skip


@jit(lean=True)
def _columns_back(like, table, t, first, n_rows, going, q, end):
    """First part: gradients by states, and the cells where nothing stands between."""
    starts = array_at(table, AT_STARTS, table)
    n_sequences = table[AT_N_SEQUENCES]
    options = table[AT_OPTIONS]
    row = starts[t] + first
    before = (n_sequences + starts[t - 1] if t > 0 else 0) + first
    while q < end:
        if going > 0:
            _carry_states(like, table, t + 1, first, going, q)
        begin, width = _column(like, table, q)
        call_at(table[DO_STATES_BACK], (like, table, first, row, n_rows, going, begin, width))
        if not options & (NORM | PROJECTION):
            _panel_cells_back(like, table, before, row, first, n_rows, begin, width)
        q += 1


@jit(lean=True)
def _second_back(like, table, t, first, n_rows, q, end):
    """Second part: through the projection or the candidates' product."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    dside = array_at(table, AT_DSIDE, like)
    n_sequences = table[AT_N_SEQUENCES]
    n_panels = table[AT_N_PANELS]
    kind = table[AT_KIND]
    h_width = table[AT_H_WIDTH]
    packed_back_2 = array_at(table, AT_PACKED_BACK_2, like)
    d_out = array_at(table, AT_D_OUT, like)
    c_row = table[AT_C_ROW]
    options = table[AT_OPTIONS]
    lane = row_lanes(gates)
    row = starts[t] + first
    before = (n_sequences + starts[t - 1] if t > 0 else 0) + first
    n_side = -(-n_panels // 4) if kind == BEFORE else h_width // (4 * lane)
    while q < end:
        _carry(like, table, dside, row, n_rows, 4 * q * lane, 4 * lane, n_side, 4 * lane, 0, packed_back_2, d_out,
               first * c_row + 4 * q * lane, c_row)  # fmt: skip
        if kind == BEFORE:
            call_at(table[DO_RESETS_BACK], (like, table, before, first, row, n_rows, q))
        elif not options & NORM:
            _panel_cells_back(like, table, before, row, first, n_rows, 4 * q * lane, 4 * lane)
        q += 1


@jit(lean=True)
def _rows_back(like, table, t, first, end):
    n_sequences = table[AT_N_SEQUENCES]
    starts = array_at(table, AT_STARTS, table)
    before = n_sequences + starts[t - 1] if t > 0 else 0
    while first < end:
        rows = min(ROWS, end - first)
        row = starts[t] + first
        call_at(table[DO_ROW_CELLS_BACK], (like, table, before + first, n_sequences + row, first, row, rows))
        first += rows


@jit(lean=True)
def _rows_of(like, table, t):
    """Return how many sequences step t has; 0 behind the last."""
    starts = array_at(table, AT_STARTS, table)
    behind = min(t + 1, starts.shape[0] - 1)
    return starts[behind] - starts[behind - 1] if t + 1 == behind else 0


@jit(lean=True)
def _sequences_back(like, table, first, end):
    starts = array_at(table, AT_STARTS, table)
    gates = array_at(table, AT_GATES, like)
    options = table[AT_OPTIONS]
    kind = table[AT_KIND]
    c_row = table[AT_C_ROW]
    rows = 0
    for t in range(starts.shape[0] - 2, -1, -1):
        rows = min(end, _rows_of(like, table, t)) - first
        if rows > 0:
            going = min(end, _rows_of(like, table, t + 1)) - first
            call_at(table[DO_COLUMNS_BACK], (like, table, t, first, rows, going, 0, _n_columns(like, table)))
            if options & PROJECTION or kind == BEFORE:
                columns = c_row // (4 * row_lanes(gates))
                call_at(table[DO_SECOND_BACK], (like, table, t, first, rows, 0, columns))
            if options & NORM:
                _rows_back(like, table, t, first, first + rows)
    if rows > 0:
        for q in range(_n_columns(like, table)):
            _carry_states(like, table, 0, first, rows, q)


@jit(lean=True)
def _part_back(like, table, t, turn, worker, n_workers):
    """Run a thread's share of one part of a step; part 3 is what follows the first step."""
    gates = array_at(table, AT_GATES, like)
    c_row = table[AT_C_ROW]
    wide = 4 * row_lanes(gates)
    rows = _rows_of(like, table, t)
    states, columns = _n_columns(like, table), c_row // wide
    if turn == 0:
        first, end = worker * states // n_workers, (worker + 1) * states // n_workers
        call_at(table[DO_COLUMNS_BACK], (like, table, t, 0, rows, _rows_of(like, table, t + 1), first, end))
    elif turn == 1:
        first, end = worker * columns // n_workers, (worker + 1) * columns // n_workers
        call_at(table[DO_SECOND_BACK], (like, table, t, 0, rows, first, end))
    elif turn == 2:
        _rows_back(like, table, t, worker * rows // n_workers, (worker + 1) * rows // n_workers)
    else:
        for q in range(worker * states // n_workers, (worker + 1) * states // n_workers):
            _carry_states(like, table, 0, 0, rows, q)


@parallel_jit
def _backward(
    like,    # IN  float, an array of the dtype of all
    table,   # IN  int64, see `_variant_table`
    bounds,     # IN    int64 (w + 1,) the sequences of each worker; empty: they share units
    n_workers,  # IN    int64
):
    starts = array_at(table, AT_STARTS, table)
    options = table[AT_OPTIONS]
    kind = table[AT_KIND]
    if bounds.shape[0] > 0:
        for worker in prange(n_workers):
            mode = flush_denormals()
            call_at(table[DO_SEQUENCES_BACK], (like, table, bounds[worker], bounds[worker + 1]))
            restore_denormals(mode)
    else:
        for t in range(starts.shape[0] - 2, -1, -1):
            for turn in range(4):
                # A part that a run has not is skipped by all.
                has_second = turn == 1 and (options & PROJECTION or kind == BEFORE)
                if turn == 0 or has_second or (turn == 2 and options & NORM) or (turn == 3 and t == 0):
                    for worker in prange(n_workers):
                        mode = flush_denormals()
                        call_at(table[DO_PART_BACK], (like, table, t, turn, np.int64(worker), n_workers))
                        restore_denormals(mode)


@parallel_jit
def _peephole_back(
    like,    # IN  float, an array of the dtype of all
    table,   # IN  int64, see `_variant_table`
    dgates,  # IN  float (p * r * step,)
    before,  # IN  int64 (r,) the row of states before each row
    out,     # OUT float (3 * width,)
):
    n_panels = table[AT_N_PANELS]
    for p in prange(n_panels):
        _peephole_of_panel(like, table, dgates, before, out, np.int64(p))


@jit(lean=True)
def _peephole_of_panel(like, table, dgates, before, out, p):
    clip = array_at(table, AT_CLIP, like)[0]
    step = table[AT_STEP]
    c = array_at(table, AT_C, like)
    width = table[AT_WIDTH]
    gates = array_at(table, AT_GATES, like)
    options = table[AT_OPTIONS]
    lane = row_lanes(dgates)
    n_rows = before.shape[0]
    most = vector_of(dgates, clip)
    zero = vector_of(dgates, 0.0)
    by_i, by_f, by_o = zero, zero, zero
    r = 0
    # Sums of 64 rows first: the error grows by the square root of how many numbers one sum takes.
    while r < n_rows:
        part_i, part_f, part_o = zero, zero, zero
        for row in range(r, min(r + 64, n_rows)):
            at = (p * n_rows + row) * step
            old = vector_load(c, before[row] * width + p * lane)
            new = vector_muladd(vector_load(gates, at + lane), old,
                                vector_load(gates, at) * vector_load(gates, at + 2 * lane))  # fmt: skip
            if options & CLIP:
                new = vector_clip(new, most)
            part_i = vector_muladd(vector_load(dgates, at), old, part_i)
            part_f = vector_muladd(vector_load(dgates, at + lane), old, part_f)
            part_o = vector_muladd(vector_load(dgates, at + 3 * lane), new, part_o)
        by_i, by_f, by_o = by_i + part_i, by_f + part_f, by_o + part_o
        r += 64
    vector_store(by_i, out, p * lane)
    vector_store(by_f, out, width + p * lane)
    vector_store(by_o, out, 2 * width + p * lane)


@cache
def _functions(dtype):
    return functions_of(dtype, (
        (cells_back, 6), (row_cells_back, 5), (states_back, 6), (resets_back, 5), (_columns_back, 6),
        (_second_back, 5), (_sequences_back, 2), (_part_back, 4),
    ))  # fmt: skip


def backward(dy, dh_n, dc_n, x, kept, w_x, w_h, with_dx):
    """Return (dx, dh0, dc0, dw_x, dw_h, db, db_n, more), the last by the options' arrays, from what `forward` left."""
    s, table, w_p = kept[:3]
    dtype = x.dtype
    n, n_rows, n_in, units = s.n_sequences, len(x), x.shape[1], s.units
    lay = layout_of(s.kind, dtype, units)
    lane, step, n_panels = lay.lane, lay.step, lay.n_panels
    none = np.zeros(0, dtype)
    # Columns of fours where what is written to is in such panels: the gates of units side by side, what was projected.
    whole = lay.beside or bool(s.options & PROJECTION)
    row = -(-s.width // (4 * lane)) * 4 * lane
    dh = padded_rows(dh_n, s.h_width)
    dc = padded_rows(dc_n, row) if s.kind == LSTM else none.reshape(0, 0)
    d_in = np.zeros((n, s.h_width), dtype)
    normed = bool(s.options & NORM)
    packed = pack_transposed(w_h, lay.n_gates, lay.order_h, lay.beside, whole=whole)
    packed_2 = none
    n_side = 0
    if s.kind == BEFORE:
        packed_2 = pack_transposed(np.ascontiguousarray(w_h[:, 2 * units :]), *SIDE, whole=True)
        n_side = -(-n_panels // 4)
    elif s.options & PROJECTION:
        packed_2 = pack_transposed(w_p, *SIDE, whole=True)
        n_side = s.h_width // (4 * lane)
    dgates = pool.take(len(s.gates), dtype)
    dnorm = pool.take(len(s.norm_c), dtype) if len(s.norm_c) else none
    slopes = pool.take(SLOPES * n_rows, dtype) if normed else none
    d = Back(
        row, pool.flat(n * SCRATCH * lane, dtype) if normed else none, slopes,
        padded_rows(dy, s.h_width).reshape(-1), dh.reshape(-1), d_in.reshape(-1), np.zeros(n * row, dtype),
        dc.reshape(-1), dgates, pool.take(len(dgates), dtype) if normed else dgates,
        pool.take(n_side * n_rows * 4 * lane, dtype) if n_side else none, dnorm, packed, packed_2,
    )  # fmt: skip
    table = table_back(table, d, _functions(dtype))
    if n_rows:
        if s.kind == BEFORE:
            # The candidates of units that there are not.
            d.dside.reshape(n_side, n_rows, 4 * lane)[-1] = 0
        bounds = share_rows(s.starts, n, packed.nbytes + packed_2.nbytes)
        n_workers = get_num_threads() if bounds is None else len(bounds) - 1
        _backward(dgates, table, np.zeros(0, np.int64) if bounds is None else bounds, n_workers)
    to_h0 = d_in * s.mask.reshape(n, s.h_width) if s.options & MASK else d_in
    dh0 = dh[:, : s.h_units] + to_h0[:, : s.h_units]

    before = rows_before(s.starts, n)
    more = _options_back(s, d, lay, table, before, n_rows)
    if normed:
        # Last, for it puts others in the place of the gradients by the gates.
        sums, by_gains = _norm_back(s, lay, table, dgates, n_rows)
        more += by_gains
    else:
        sums = add_columns(dgates, n_rows, step, n_panels)
    db, db_n = _biases_back(s, d, lay, sums, n_rows)
    dx = pool.array((n_rows if with_dx else 0, n_in), dtype)
    dw_x = pool.array((n_in, lay.n_gates * units), dtype)
    dw_h = pool.array((s.h_units, lay.n_gates * units), dtype)
    if n_rows == 0:
        dx[:], dw_x[:], dw_h[:] = 0, 0, 0
    n_vectors = len(lay.order_x)
    turn_x = lay.order_x[0]
    some = n_rows > 0
    if some and with_dx and n_in:
        _inputs_gradient(s, d, lay, dgates, w_x, dx)
    if some:
        _weigh(x, None, n_in, dgates, n_rows, step, 0, n_vectors, units, dw_x, turn_x, lay.beside)
        if s.kind == BEFORE:
            dw_n = np.empty((n_in, units), dtype)
            weigh_back(x, None, n_in, d.dside, n_rows, 4 * lane, 0, 4, units, dw_n, side_by_side=True)
            dw_x[:, 2 * units :] = dw_n
        states = s.h_in.reshape(-1, s.h_width)
        _weigh(states, before, s.h_units, d.dpart, n_rows, step, lay.first_h, n_vectors, units, dw_h, 0, lay.beside)
        if s.kind == BEFORE:
            dw_n = np.empty((units, units), dtype)
            inner = s.inner.reshape(-1, s.width)
            weigh_back(inner, None, units, d.dside, n_rows, 4 * lane, 0, 4, units, dw_n, side_by_side=True)
            dw_h[:, 2 * units :] = dw_n
    pooled = [dgates, packed, packed_2, d.dside, slopes, dnorm] + ([d.dpart] if normed else [])
    pool.give(*(array for array in pooled if len(array)))
    return dx, dh0, dc[:, :units], dw_x, dw_h, db, db_n, more


def _weigh(rows, which, n, gates, n_rows, step, first, n_vectors, units, out, turn_by, beside):
    """As `weigh_back`; of a GRU that resets before, the first two gates only."""
    if n_vectors == 2:
        mine = np.empty((n, 2 * units), out.dtype)
        weigh_back(rows, which, n, gates, n_rows, step, first, 2, units, mine)
        out[:, : 2 * units] = mine
    else:
        weigh_back(rows, which, n, gates, n_rows, step, first, n_vectors, units, out, turn_by, beside)


def _inputs_gradient(s, d, lay, dgates, w_x, dx):
    packed_x = pack_transposed(w_x, lay.n_gates, lay.order_x, lay.beside)
    project_back(dgates, len(dx), lay.step, 0, len(lay.order_x) * lay.lane, packed_x, dx)
    pool.give(packed_x)
    if s.kind == BEFORE:
        packed_x = pack_transposed(np.ascontiguousarray(w_x[:, 2 * s.units :]), *SIDE)
        more = np.empty_like(dx)
        project_back(d.dside, len(dx), 4 * lay.lane, 0, 4 * lay.lane, packed_x, more)
        dx += more
        pool.give(packed_x)


@jit
def _gather(
    sums,   # IN  float (p, step)
    order,  # IN  int64 (v,) which gate each vector of a panel is
    lane,   # IN  int64
    first,  # IN  int64, the first number of a panel that is one of them
    out,    # OUT float (g, h)
):
    for p in range(sums.shape[0]):
        for v in range(order.shape[0]):
            for d in range(min(lane, out.shape[1] - p * lane)):
                out[order[v], p * lane + d] = sums[p, first + v * lane + d]


def _out_of_panels(sums, lay, order, first, units):
    """Return what is in the panels of gates for the gates of the order (gates * h,)."""
    if lay.beside:
        return sums.reshape(-1)[:units].copy()
    out = np.empty((len(order), units), sums.dtype)
    _gather(sums.reshape(lay.n_panels, lay.step), order, lay.lane, first, out)
    return out.reshape(-1)


# Of the candidates' part of the states there is one vector in a panel.
_ALONE = np.zeros(1, np.int64)


def _biases_back(s, d, lay, sums, n_rows):
    db = _out_of_panels(sums, lay, lay.order_x, 0, s.units)
    if s.kind == GRU:
        return db, _out_of_panels(sums, lay, _ALONE, 3 * lay.lane, s.units)
    if s.kind == BEFORE:
        beside = add_columns(d.dside, n_rows, 4 * lay.lane, -(-lay.n_panels // 4)).reshape(-1)[: s.units]
        return np.concatenate((db, beside)), np.zeros(s.units, sums.dtype)
    return db, db


def _options_back(s, d, lay, table, before, n_rows):
    """Return the gradients by peephole and w_p, each where the option is on."""
    dtype, units = d.dgates.dtype, s.units
    more = []
    if s.options & PEEPHOLE:
        out = np.zeros(3 * s.width, dtype)
        if n_rows:
            which = np.arange(n_rows) if before is None else before
            _peephole_back(out, table, d.dgates, which, out)
        more.append(out.reshape(3, -1)[:, :units].copy())
    if s.options & PROJECTION:
        out = np.zeros((units, s.h_units), dtype)
        if n_rows:
            inner = s.inner.reshape(-1, s.width)
            weigh_back(inner, None, units, d.dside, n_rows, 4 * lay.lane, 0, 4, s.h_units, out, side_by_side=True)
        more.append(out)
    return more


def _norm_back(s, lay, table, dgates, n_rows):
    """Return sums of the gradients by the gates, and the gradients by the arrays of norm.

    The gradients by the inputs' part take the place of those by the gates.
    """
    dtype = dgates.dtype
    sums, by_gain_x, by_gain_h = np.zeros((3, lay.n_panels * lay.step), dtype)
    by_gain_c, by_bias_c = np.zeros((2, s.width), dtype)
    if n_rows:
        columns_back(dgates, table, sums, by_gain_x, by_gain_h, by_gain_c, by_bias_c)
    more = [
        _out_of_panels(by_gain_x, lay, lay.order_x, 0, s.units),
        _out_of_panels(by_gain_h, lay, lay.order_h, lay.first_h, s.units),
    ]
    return sums, more + ([by_gain_c[: s.units], by_bias_c[: s.units]] if s.kind == LSTM else [])
