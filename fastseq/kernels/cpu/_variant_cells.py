"""Cells of recurrent networks with options, forward and backward, a vector of units of one sequence at a time.

The options are peephole connections, layer normalisation, zoneout, a mask on the recurrent states, clipped cell states
and projected states, and the GRU that resets before its product. Which of them are on is a number that is the same for
a whole run, so that a test of it is always foretold and costs nothing that could be measured.

What a run works on reaches these functions as one table; see `_variant_table`.
"""

from __future__ import annotations

from .._jit import jit
from .._tiles import (
    array_at,
    call_at,
    vector_clip,
    vector_load,
    vector_muladd,
    vector_of,
    vector_relu,
    vector_sigmoid,
    vector_store,
    vector_tanh,
    vector_where_positive,
    vector_where_within,
)
from .._vector import row_lanes
from ._variant_norm import (
    SLOPES,
    STATS,
    add_slopes,
    normalize_cells,
    normalize_cells_back,
    normalize_states_back,
    normalized_at,
    number_of,
    own_lanes,
    row_stats,
)
from ._variant_table import (
    AT_BIAS_C,
    AT_BIAS_N,
    AT_BIAS_X,
    AT_C,
    AT_C_ROW,
    AT_CLIP,
    AT_D_IN,
    AT_D_OUT,
    AT_DC,
    AT_DGATES,
    AT_DH,
    AT_DNORM,
    AT_DSIDE,
    AT_DY,
    AT_GAIN_C,
    AT_GAIN_H,
    AT_GAIN_X,
    AT_GATES,
    AT_H,
    AT_H_IN,
    AT_H_PART,
    AT_H_WIDTH,
    AT_INNER,
    AT_KEEP_C,
    AT_KEEP_H,
    AT_KIND,
    AT_MASK,
    AT_N_PANELS,
    AT_NORM_C,
    AT_OPTIONS,
    AT_PART_X,
    AT_PEEPHOLE,
    AT_SIDE,
    AT_SLOPES,
    AT_STARTS,
    AT_STATS,
    AT_STEP,
    AT_WIDTH,
    BEFORE,
    CLIP,
    DO_CELLS,
    DO_CELLS_BACK,
    GRU,
    KEEP_C,
    KEEP_H,
    LSTM,
    MASK,
    NORM,
    PEEPHOLE,
    PROJECTION,
    TANH,
)

__all__ = [
    "candidates",
    "cells",
    "cells_back",
    "put_states",
    "resets_back",
    "row_cells",
    "row_cells_back",
    "states_back",
]


# ---------------------------------------------------------------------------------------------------------------------
# Forward


@jit(copied=True)
def _held(like, keep, old, new):
    """Return the share ``keep`` of the old state and the rest of the new one.

    1 keeps the very number, and 0 none of it, infinity neither.
    """
    rest = vector_of(like, 1.0) - keep
    return vector_muladd(keep, vector_where_positive(keep, old), rest * vector_where_positive(rest, new))


@jit(copied=True)
def _gained(sums, at, mean, scale, gains, gain, bias):
    """Return sums after their layer normalisation, times their gain, and what is added to them."""
    return vector_muladd(vector_load(gains, gain), normalized_at(sums, at, mean, scale), bias)


@jit(copied=True)
def _put_h(like, table, value, before, now, sequence, row, unit):
    """Store a vector of new states, and what the next product takes of them."""
    options = table[AT_OPTIONS]
    keep_h = array_at(table, AT_KEEP_H, like)
    h_width = table[AT_H_WIDTH]
    h = array_at(table, AT_H, like)
    mask = array_at(table, AT_MASK, like)
    h_in = array_at(table, AT_H_IN, like)
    if options & KEEP_H:
        keep = vector_load(keep_h, row * h_width + unit)
        old = vector_load(h, before * h_width + unit)
        value = _held(like, keep, old, value)
    vector_store(value, h, now * h_width + unit)
    if options & MASK:
        vector_store(value * vector_load(mask, sequence * h_width + unit), h_in, now * h_width + unit)


@jit(lean=True)
def put_states(like, table, before, now, sequence, row, n_rows, unit):
    """Finish a vector of states of some rows after their projection."""
    h = array_at(table, AT_H, like)
    h_width = table[AT_H_WIDTH]
    for r in range(n_rows):
        value = vector_load(h, (now + r) * h_width + unit)
        _put_h(like, table, value, before + r, now + r, sequence + r, row + r, unit)


@jit(lean=True)
def _lstm_begin(like, table, before, now, row, n_rows, p):
    """Gates and new cell states, before zoneout."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    clip = array_at(table, AT_CLIP, like)[0]
    step = table[AT_STEP]
    options = table[AT_OPTIONS]
    gain_x = array_at(table, AT_GAIN_X, like)
    bias_x = array_at(table, AT_BIAS_X, like)
    part_x = array_at(table, AT_PART_X, like)
    stats = array_at(table, AT_STATS, like)
    gain_h = array_at(table, AT_GAIN_H, like)
    h_part = array_at(table, AT_H_PART, like)
    c = array_at(table, AT_C, like)
    width = table[AT_WIDTH]
    peephole = array_at(table, AT_PEEPHOLE, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    unit = p * lane
    most = vector_of(gates, clip)
    for r in range(n_rows):
        here = (p * total + row + r) * step
        if options & NORM:
            told, gain = (row + r) * STATS, p * step
            mean_x, scale_x = number_of(stats, told), number_of(stats, told + 1)
            mean_h, scale_h = number_of(stats, told + 2), number_of(stats, told + 3)
            i = _gained(part_x, here, mean_x, scale_x, gain_x, gain, vector_load(bias_x, gain))
            i = _gained(h_part, here, mean_h, scale_h, gain_h, gain, i)
            f = _gained(part_x, here + lane, mean_x, scale_x, gain_x, gain + lane, vector_load(bias_x, gain + lane))
            f = _gained(h_part, here + lane, mean_h, scale_h, gain_h, gain + lane, f)
            here, gain = here + 2 * lane, gain + 2 * lane
            g = _gained(part_x, here, mean_x, scale_x, gain_x, gain, vector_load(bias_x, gain))
            g = _gained(h_part, here, mean_h, scale_h, gain_h, gain, g)
            here, gain = here + lane, gain + lane
            o = _gained(part_x, here, mean_x, scale_x, gain_x, gain, vector_load(bias_x, gain))
            o = _gained(h_part, here, mean_h, scale_h, gain_h, gain, o)
            here -= 3 * lane
        else:
            i, f = vector_load(gates, here), vector_load(gates, here + lane)
            g, o = vector_load(gates, here + 2 * lane), vector_load(gates, here + 3 * lane)
        old = vector_load(c, (before + r) * width + unit)
        if options & PEEPHOLE:
            i = vector_muladd(vector_load(peephole, unit), old, i)
            f = vector_muladd(vector_load(peephole, width + unit), old, f)
        i, f, g = vector_sigmoid(i), vector_sigmoid(f), vector_tanh(g)
        new = vector_muladd(f, old, i * g)
        if options & CLIP:
            new = vector_clip(new, most)
        if options & PEEPHOLE:
            o = vector_muladd(vector_load(peephole, 2 * width + unit), new, o)
        vector_store(i, gates, here)
        vector_store(f, gates, here + lane)
        vector_store(g, gates, here + 2 * lane)
        vector_store(vector_sigmoid(o), gates, here + 3 * lane)
        vector_store(new, c, (now + r) * width + unit)


@jit(lean=True)
def _lstm_end(like, table, before, now, sequence, row, n_rows, p):
    """States from gates and new cell states."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    width = table[AT_WIDTH]
    c = array_at(table, AT_C, like)
    options = table[AT_OPTIONS]
    norm_c = array_at(table, AT_NORM_C, like)
    gain_c = array_at(table, AT_GAIN_C, like)
    bias_c = array_at(table, AT_BIAS_C, like)
    step = table[AT_STEP]
    keep_c = array_at(table, AT_KEEP_C, like)
    inner = array_at(table, AT_INNER, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    unit = p * lane
    for r in range(n_rows):
        at = (now + r) * width + unit
        new = vector_load(c, at)
        if options & NORM:
            value = vector_load(norm_c, (row + r) * width + unit)
            size = vector_tanh(vector_muladd(vector_load(gain_c, unit), value, vector_load(bias_c, unit)))
        else:
            size = vector_tanh(new)
        m = vector_load(gates, (p * total + row + r) * step + 3 * lane) * size
        if options & KEEP_C:
            keep = vector_load(keep_c, (row + r) * width + unit)
            old = vector_load(c, (before + r) * width + unit)
            vector_store(_held(like, keep, old, new), c, at)
        if options & PROJECTION:
            vector_store(m, inner, (row + r) * width + unit)
        else:
            _put_h(like, table, m, before + r, now + r, sequence + r, row + r, unit)


@jit(lean=True)
def _gru(like, table, before, now, sequence, row, n_rows, p):
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    step = table[AT_STEP]
    options = table[AT_OPTIONS]
    gain_x = array_at(table, AT_GAIN_X, like)
    bias_x = array_at(table, AT_BIAS_X, like)
    part_x = array_at(table, AT_PART_X, like)
    stats = array_at(table, AT_STATS, like)
    gain_h = array_at(table, AT_GAIN_H, like)
    h_part = array_at(table, AT_H_PART, like)
    bias_n = array_at(table, AT_BIAS_N, like)
    h = array_at(table, AT_H, like)
    h_width = table[AT_H_WIDTH]
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    unit = p * lane
    for r in range(n_rows):
        here = (p * total + row + r) * step
        if options & NORM:
            told, gain = (row + r) * STATS, p * step
            mean_x, scale_x = number_of(stats, told), number_of(stats, told + 1)
            mean_h, scale_h = number_of(stats, told + 2), number_of(stats, told + 3)
            n = _gained(part_x, here, mean_x, scale_x, gain_x, gain, vector_load(bias_x, gain))
            here, gain = here + lane, gain + lane
            reset = _gained(part_x, here, mean_x, scale_x, gain_x, gain, vector_load(bias_x, gain))
            reset = _gained(h_part, here, mean_h, scale_h, gain_h, gain, reset)
            here, gain = here + lane, gain + lane
            z = _gained(part_x, here, mean_x, scale_x, gain_x, gain, vector_load(bias_x, gain))
            z = _gained(h_part, here, mean_h, scale_h, gain_h, gain, z)
            here, gain = here + lane, gain + lane
            part = _gained(h_part, here, mean_h, scale_h, gain_h, gain, vector_load(bias_n, unit))
            vector_store(part, gates, here)
            here -= 3 * lane
        else:
            n, reset = vector_load(gates, here), vector_load(gates, here + lane)
            z, part = vector_load(gates, here + 2 * lane), vector_load(gates, here + 3 * lane)
        reset, z = vector_sigmoid(reset), vector_sigmoid(z)
        n = vector_tanh(vector_muladd(reset, part, n))
        vector_store(n, gates, here)
        vector_store(reset, gates, here + lane)
        vector_store(z, gates, here + 2 * lane)
        old = vector_load(h, (before + r) * h_width + unit)
        _put_h(like, table, vector_muladd(z, old - n, n), before + r, now + r, sequence + r, row + r, unit)


@jit(lean=True)
def _resets(like, table, before, row, n_rows, p):
    """Reset and update gates, and the states that were reset, of the GRU that resets before its product."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    step = table[AT_STEP]
    h_in = array_at(table, AT_H_IN, like)
    h_width = table[AT_H_WIDTH]
    inner = array_at(table, AT_INNER, like)
    width = table[AT_WIDTH]
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    unit = p * lane
    for r in range(n_rows):
        here = (p * total + row + r) * step
        reset = vector_sigmoid(vector_load(gates, here))
        vector_store(reset, gates, here)
        vector_store(vector_sigmoid(vector_load(gates, here + lane)), gates, here + lane)
        old = vector_load(h_in, (before + r) * h_width + unit)
        vector_store(reset * old, inner, (row + r) * width + unit)


@jit(lean=True)
def candidates(like, table, before, now, sequence, row, n_rows, q):
    """Candidates and new states of four vectors of units of the GRU that resets before its product."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    n_panels = table[AT_N_PANELS]
    side = array_at(table, AT_SIDE, like)
    step = table[AT_STEP]
    h = array_at(table, AT_H, like)
    h_width = table[AT_H_WIDTH]
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    for p in range(4 * q, min(4 * q + 4, n_panels)):
        for r in range(n_rows):
            at = (q * total + row + r) * 4 * lane + (p - 4 * q) * lane
            n = vector_tanh(vector_load(side, at))
            vector_store(n, side, at)
            z = vector_load(gates, (p * total + row + r) * step + lane)
            old = vector_load(h, (before + r) * h_width + p * lane)
            _put_h(like, table, vector_muladd(z, old - n, n), before + r, now + r, sequence + r, row + r, p * lane)


@jit(lean=True)
def _rnn(like, table, before, now, sequence, row, n_rows, p):
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    step = table[AT_STEP]
    options = table[AT_OPTIONS]
    gain_x = array_at(table, AT_GAIN_X, like)
    bias_x = array_at(table, AT_BIAS_X, like)
    part_x = array_at(table, AT_PART_X, like)
    stats = array_at(table, AT_STATS, like)
    gain_h = array_at(table, AT_GAIN_H, like)
    h_part = array_at(table, AT_H_PART, like)
    kind = table[AT_KIND]
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    for r in range(n_rows):
        for v in range(0, step, lane):
            here = (p * total + row + r) * step + v
            if options & NORM:
                told, gain = (row + r) * STATS, p * step + v
                mean, scale = number_of(stats, told), number_of(stats, told + 1)
                value = _gained(part_x, here, mean, scale, gain_x, gain, vector_load(bias_x, gain))
                mean, scale = number_of(stats, told + 2), number_of(stats, told + 3)
                value = _gained(h_part, here, mean, scale, gain_h, gain, value)
            else:
                value = vector_load(gates, here)
            if kind == TANH:
                value = vector_tanh(value)
            else:
                value = vector_relu(value)
            vector_store(value, gates, here)
            _put_h(like, table, value, before + r, now + r, sequence + r, row + r, p * step + v)


@jit(lean=True)
def cells(like, table, before, now, sequence, row, n_rows, p):
    """Run the cells of a panel for some rows, whose sums are complete."""
    kind = table[AT_KIND]
    if kind == LSTM:
        _lstm_begin(like, table, before, now, row, n_rows, p)
        _lstm_end(like, table, before, now, sequence, row, n_rows, p)
    elif kind == GRU:
        _gru(like, table, before, now, sequence, row, n_rows, p)
    elif kind == BEFORE:
        _resets(like, table, before, row, n_rows, p)
    else:
        _rnn(like, table, before, now, sequence, row, n_rows, p)


@jit(lean=True)
def row_cells(like, table, before, now, sequence, row, n_rows):
    """Run all cells of some rows with layer normalisation: their sums must be complete."""
    row_stats(like, table, sequence, row, n_rows)
    if table[AT_KIND] == LSTM:
        for p in range(table[AT_N_PANELS]):
            _lstm_begin(like, table, before, now, row, n_rows, p)
        normalize_cells(like, table, now, row, n_rows)
        for p in range(table[AT_N_PANELS]):
            _lstm_end(like, table, before, now, sequence, row, n_rows, p)
    else:
        for p in range(table[AT_N_PANELS]):
            call_at(table[DO_CELLS], (like, table, before, now, sequence, row, n_rows, p))


# ---------------------------------------------------------------------------------------------------------------------
# Backward


@jit(lean=True)
def states_back(like, table, sequence, row, n_rows, going, begin, n_units):
    """Bring together the gradients by a column of states: what the first ``going`` rows' next step took counts."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    h_width = table[AT_H_WIDTH]
    dy = array_at(table, AT_DY, like)
    dh = array_at(table, AT_DH, like)
    d_in = array_at(table, AT_D_IN, like)
    options = table[AT_OPTIONS]
    mask = array_at(table, AT_MASK, like)
    h = array_at(table, AT_H, like)
    keep_h = array_at(table, AT_KEEP_H, like)
    dside = array_at(table, AT_DSIDE, like)
    d_out = array_at(table, AT_D_OUT, like)
    c_row = table[AT_C_ROW]
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    for unit in range(begin, begin + n_units, lane):
        for r in range(n_rows):
            there = (sequence + r) * h_width + unit
            to = vector_load(dy, (row + r) * h_width + unit) + vector_load(dh, there)
            if r < going:
                back = vector_load(d_in, there)
                if options & MASK:
                    back = back * vector_load(mask, (sequence + r) * h_width + unit)
                to = to + back
            past = vector_of(h, 0.0)
            if options & KEEP_H:
                keep = vector_load(keep_h, (row + r) * h_width + unit)
                past = keep * to
                to = (vector_of(h, 1.0) - keep) * to
            vector_store(past, dh, there)
            if options & PROJECTION:
                # A four of vectors is a panel of these.
                vector_store(to, dside, (begin // n_units * total + row + r) * n_units + unit - begin)
            else:
                vector_store(to, d_out, (sequence + r) * c_row + unit)


@jit(lean=True)
def _lstm_back(like, table, before, now, sequence, row, n_rows, p):
    """With layer normalisation `normalize_cells_back` has been before, and left the gradients by the output gates."""
    slopes, stats = array_at(table, AT_SLOPES, like), array_at(table, AT_STATS, like)
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    c = array_at(table, AT_C, like)
    clip = array_at(table, AT_CLIP, like)[0]
    step = table[AT_STEP]
    width = table[AT_WIDTH]
    options = table[AT_OPTIONS]
    c_row = table[AT_C_ROW]
    d_out = array_at(table, AT_D_OUT, like)
    dc = array_at(table, AT_DC, like)
    keep_c = array_at(table, AT_KEEP_C, like)
    norm_c = array_at(table, AT_NORM_C, like)
    gain_c = array_at(table, AT_GAIN_C, like)
    dnorm = array_at(table, AT_DNORM, like)
    peephole = array_at(table, AT_PEEPHOLE, like)
    dgates = array_at(table, AT_DGATES, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    unit = p * lane
    one, most = vector_of(c, 1.0), vector_of(c, clip)
    for r in range(n_rows):
        here = (p * total + row + r) * step
        i, f = vector_load(gates, here), vector_load(gates, here + lane)
        g, o = vector_load(gates, here + 2 * lane), vector_load(gates, here + 3 * lane)
        old = vector_load(c, (before + r) * width + unit)
        raw = vector_muladd(f, old, i * g)
        new = raw
        if options & CLIP:
            new = vector_clip(raw, most)
        there = (sequence + r) * c_row + unit
        to_h, to_new = vector_load(d_out, there), vector_load(dc, there)
        past = vector_of(c, 0.0)
        if options & KEEP_C:
            keep = vector_load(keep_c, (row + r) * width + unit)
            past = keep * to_new
            to_new = (one - keep) * to_new
        if options & NORM:
            at = (row + r) * width + unit
            told = (row + r) * SLOPES + 4
            level, slope = number_of(slopes, told), number_of(slopes, told + 1)
            value = vector_muladd(vector_load(dnorm, at), vector_load(gain_c, unit), level)
            value = own_lanes(like, table, p, 0, vector_muladd(vector_load(norm_c, at), slope, value))
            to_new = vector_muladd(number_of(stats, (row + r) * STATS + 4), value, to_new)
            by_o = vector_load(dgates, here + 3 * lane)
        else:
            size = vector_tanh(new)
            to_new = vector_muladd(to_h * o, one - size * size, to_new)
            by_o = to_h * size * o * (one - o)
        if options & PEEPHOLE:
            to_new = vector_muladd(by_o, vector_load(peephole, 2 * width + unit), to_new)
        if options & CLIP:
            to_new = vector_where_within(raw, most, to_new)
        by_i, by_f = to_new * g * i * (one - i), to_new * old * f * (one - f)
        past = vector_muladd(to_new, f, past)
        if options & PEEPHOLE:
            past = vector_muladd(by_i, vector_load(peephole, unit), past)
            past = vector_muladd(by_f, vector_load(peephole, width + unit), past)
        vector_store(by_i, dgates, here)
        vector_store(by_f, dgates, here + lane)
        vector_store(to_new * i * (one - g * g), dgates, here + 2 * lane)
        vector_store(by_o, dgates, here + 3 * lane)
        vector_store(past, dc, there)


@jit(lean=True)
def _gru_back(like, table, before, sequence, row, n_rows, p):
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    h = array_at(table, AT_H, like)
    step = table[AT_STEP]
    d_out = array_at(table, AT_D_OUT, like)
    c_row = table[AT_C_ROW]
    h_width = table[AT_H_WIDTH]
    dgates = array_at(table, AT_DGATES, like)
    dh = array_at(table, AT_DH, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    unit = p * lane
    one = vector_of(h, 1.0)
    for r in range(n_rows):
        here = (p * total + row + r) * step
        n, reset = vector_load(gates, here), vector_load(gates, here + lane)
        z, part = vector_load(gates, here + 2 * lane), vector_load(gates, here + 3 * lane)
        to_h = vector_load(d_out, (sequence + r) * c_row + unit)
        to_n = to_h * (one - z) * (one - n * n)
        old = vector_load(h, (before + r) * h_width + unit)
        vector_store(to_n, dgates, here)
        vector_store(to_n * part * reset * (one - reset), dgates, here + lane)
        vector_store(to_h * (old - n) * z * (one - z), dgates, here + 2 * lane)
        vector_store(to_n * reset, dgates, here + 3 * lane)
        there = (sequence + r) * h_width + unit
        vector_store(vector_muladd(to_h, z, vector_load(dh, there)), dh, there)


@jit(lean=True)
def _candidates_back(like, table, before, sequence, row, n_rows, p):
    """Gradients by candidates and update gates of the GRU that resets before its product."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    h = array_at(table, AT_H, like)
    step = table[AT_STEP]
    side = array_at(table, AT_SIDE, like)
    d_out = array_at(table, AT_D_OUT, like)
    c_row = table[AT_C_ROW]
    h_width = table[AT_H_WIDTH]
    dside = array_at(table, AT_DSIDE, like)
    dgates = array_at(table, AT_DGATES, like)
    dh = array_at(table, AT_DH, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    unit = p * lane
    one = vector_of(h, 1.0)
    for r in range(n_rows):
        here = (p * total + row + r) * step
        beside = (p // 4 * total + row + r) * 4 * lane + p % 4 * lane
        n, z = vector_load(side, beside), vector_load(gates, here + lane)
        to_h = vector_load(d_out, (sequence + r) * c_row + unit)
        old = vector_load(h, (before + r) * h_width + unit)
        vector_store(to_h * (one - z) * (one - n * n), dside, beside)
        vector_store(to_h * (old - n) * z * (one - z), dgates, here + lane)
        there = (sequence + r) * h_width + unit
        vector_store(vector_muladd(to_h, z, vector_load(dh, there)), dh, there)


@jit(lean=True)
def resets_back(like, table, before, sequence, row, n_rows, q):
    """Gradients by reset gates from those by the states that were reset, which are in ``to_h``."""
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    h = array_at(table, AT_H, like)
    n_panels = table[AT_N_PANELS]
    step = table[AT_STEP]
    d_out = array_at(table, AT_D_OUT, like)
    c_row = table[AT_C_ROW]
    h_in = array_at(table, AT_H_IN, like)
    h_width = table[AT_H_WIDTH]
    dgates = array_at(table, AT_DGATES, like)
    options = table[AT_OPTIONS]
    mask = array_at(table, AT_MASK, like)
    dh = array_at(table, AT_DH, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    one = vector_of(h, 1.0)
    for p in range(4 * q, min(4 * q + 4, n_panels)):
        unit = p * lane
        for r in range(n_rows):
            here = (p * total + row + r) * step
            reset = vector_load(gates, here)
            to = vector_load(d_out, (sequence + r) * c_row + unit)
            old = vector_load(h_in, (before + r) * h_width + unit)
            vector_store(to * old * reset * (one - reset), dgates, here)
            back = to * reset
            if options & MASK:
                back = back * vector_load(mask, (sequence + r) * h_width + unit)
            there = (sequence + r) * h_width + unit
            vector_store(vector_load(dh, there) + back, dh, there)


@jit(lean=True)
def _rnn_back(like, table, sequence, row, n_rows, p):
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    h = array_at(table, AT_H, like)
    step = table[AT_STEP]
    d_out = array_at(table, AT_D_OUT, like)
    c_row = table[AT_C_ROW]
    kind = table[AT_KIND]
    dgates = array_at(table, AT_DGATES, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    one = vector_of(h, 1.0)
    for r in range(n_rows):
        for v in range(0, step, lane):
            here = (p * total + row + r) * step + v
            now = vector_load(gates, here)
            to_h = vector_load(d_out, (sequence + r) * c_row + p * step + v)
            if kind == TANH:
                vector_store(to_h * (one - now * now), dgates, here)
            else:
                vector_store(vector_where_positive(now, to_h), dgates, here)


@jit(lean=True)
def cells_back(like, table, before, now, sequence, row, n_rows, p):
    """Write the gradients by the gates of a panel for some rows, whose ``to_h`` is complete."""
    kind = table[AT_KIND]
    if kind == LSTM:
        _lstm_back(like, table, before, now, sequence, row, n_rows, p)
    elif kind == GRU:
        _gru_back(like, table, before, sequence, row, n_rows, p)
    elif kind == BEFORE:
        _candidates_back(like, table, before, sequence, row, n_rows, p)
    else:
        _rnn_back(like, table, sequence, row, n_rows, p)


@jit(lean=True)
def row_cells_back(like, table, before, now, sequence, row, n_rows):
    """Write the gradients by all gates of some rows with layer normalisation, and by the states' part of their sums."""
    if table[AT_KIND] == LSTM:
        normalize_cells_back(like, table, sequence, row, n_rows)
    for p in range(table[AT_N_PANELS]):
        call_at(table[DO_CELLS_BACK], (like, table, before, now, sequence, row, n_rows, p))
        add_slopes(like, table, sequence, row, n_rows, p)
    normalize_states_back(like, table, sequence, row, n_rows)
