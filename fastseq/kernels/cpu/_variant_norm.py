"""Layer normalisation of rows whose sums lie in panels, forward and backward (Ba, Kiros and Hinton, "Layer
normalization", 2016); the cells are in `_variant_cells`.

Sums stay as the products left them. A row's mean, and what its distances from that are multiplied by, are kept beside
them, and whoever reads a sum applies both on the way.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._jit import jit, parallel_jit
from .._tiles import (
    array_at,
    flush_denormals,
    restore_denormals,
    vector_load,
    vector_muladd,
    vector_of,
    vector_store,
    vector_tanh,
    vector_total,
)
from .._vector import row_lanes
from ._variant_table import (
    AT_BIAS_C,
    AT_C,
    AT_C_ROW,
    AT_D_OUT,
    AT_DGATES,
    AT_DNORM,
    AT_DPART,
    AT_GAIN_C,
    AT_GAIN_H,
    AT_GAIN_X,
    AT_GATES,
    AT_H_PART,
    AT_KIND,
    AT_N_PANELS,
    AT_NORM_C,
    AT_PART_X,
    AT_REAL,
    AT_SCRATCH,
    AT_SLOPES,
    AT_STARTS,
    AT_STATS,
    AT_STEP,
    AT_UNITS,
    AT_WIDTH,
    GRU,
    LSTM,
    TANH,
)

__all__ = [
    "EPSILON",
    "SCRATCH",
    "SLOPES",
    "STATS",
    "add_slopes",
    "columns_back",
    "normalize_cells",
    "normalize_cells_back",
    "normalize_states_back",
    "normalized_at",
    "number_of",
    "own_lanes",
    "row_stats",
]

# Added to variances before their root, as in PyTorch.
EPSILON = 1e-5
# Vectors of a sequence's own in the scratch: a shift and two sums for the inputs' part, and for the states'.
SCRATCH = 6
# Numbers of a row: mean and scale of the inputs' part, of the states' part, and the scale of the cell states.
STATS = 5
# On the way back: means of the gradients of the same three, and of their products with what was normalised, all of them
# times -1; the latter of both parts is by distances from the mean, times the square of the scale.
SLOPES = 6
# Rows that are summed before their sum is added to the others: the error grows by the square root of how many numbers
# one sum takes. What they take of a panel stays in the first cache.
_SUMMED_ROWS = 32


@jit(copied=True)
def own_lanes(like, table, p, v, value):
    """Return the vector with 0 where the last panel has no units."""
    real = array_at(table, AT_REAL, like)
    n_panels = table[AT_N_PANELS]
    return value * vector_load(real, v) if p == n_panels - 1 else value


@jit(copied=True)
def number_of(numbers, at):
    """Return a vector of one number; unsigned, for Numba asks whether other indices are below 0."""
    return vector_of(numbers, numbers[np.uint64(at)])


@jit(copied=True)
def normalized_at(buffer, at, mean, scale):
    """Return a vector of sums, normalised."""
    return (vector_load(buffer, at) - mean) * scale


@jit(copied=True)
def _n_summed(table, first, end, lane):
    """Return how many numbers of a row are normalised together."""
    return table[AT_UNITS] * ((end - first) // lane if table[AT_KIND] < TANH else 1)


@jit(lean=True)
def _add_panel(
    like,      # IN  float, an array of the dtype of all
    table,     # IN  int64, see `_variant_table`
    buffer,    # IN  float (p * r * step,)
    sequence,  # IN  int64, the first sequence
    row,       # IN  int64, its row
    n_rows,    # IN  int64
    p,         # IN  int64, the panel
    first,     # IN  int64, the first lane of a panel that counts
    end,       # IN  int64, the one behind the last
    place,     # IN  int64, of the sums in the scratch
):
    """Add the numbers of a panel of some rows, and their squares, to the sums of the rows.

    They are taken from the mean of the first panel, so that one pass gives the variance: the square of that mean's
    distance from the row's is at most n - 1 variances with n panels, so a factor of n of the precision is the most that
    is lost, whatever the numbers are. Numbers that are all the same, but for the rounding of that mean, are a few units
    of their last place away from it, whose sums are exact: the variance is then 0, and never below it.
    """
    starts, scratch = array_at(table, AT_STARTS, table), array_at(table, AT_SCRATCH, like)
    step = table[AT_STEP]
    lane = row_lanes(buffer)
    total = starts[starts.shape[0] - 1]
    zero = vector_of(buffer, 0.0)
    for r in range(n_rows):
        at, own = (p * total + row + r) * step, ((sequence + r) * SCRATCH + place) * lane
        if p == 0:
            sums = zero
            for v in range(first, end, lane):
                sums = sums + vector_load(buffer, at + v)
            shift = vector_total(sums) / min(_n_summed(table, first, end, lane), end - first)
            vector_store(vector_of(buffer, shift), scratch, own)
            vector_store(zero, scratch, own + lane)
            vector_store(zero, scratch, own + 2 * lane)
        apart_from = vector_load(scratch, own)
        sums, squares = vector_load(scratch, own + lane), vector_load(scratch, own + 2 * lane)
        # A fourth vector apart, here and below: loops of a constant length are unrolled. With others a step of 35 x 20
        # x 100 x 100 takes 1.30 to 1.32 instead of 1.26 to 1.31 times as long as that of the plain cell.
        for v in range(first, first + 3 * lane, lane):
            apart = own_lanes(like, table, p, v, vector_load(buffer, at + v) - apart_from)
            sums = sums + apart
            squares = vector_muladd(apart, apart, squares)
        if end > first + 3 * lane:
            apart = own_lanes(like, table, p, end - lane, vector_load(buffer, at + end - lane) - apart_from)
            sums = sums + apart
            squares = vector_muladd(apart, apart, squares)
        vector_store(sums, scratch, own + lane)
        vector_store(squares, scratch, own + 2 * lane)


@jit(lean=True)
def _put_stats(like, table, sequence, row, n_rows, n_summed, part):
    """Write mean and scale of some rows' inputs' part (0) or states' part (1)."""
    scratch, stats = array_at(table, AT_SCRATCH, like), array_at(table, AT_STATS, like)
    lane = row_lanes(like)
    for r in range(n_rows):
        own = ((sequence + r) * SCRATCH + 3 * part) * lane
        mean = vector_total(vector_load(scratch, own + lane)) / n_summed
        variance = vector_total(vector_load(scratch, own + 2 * lane)) / n_summed - mean * mean
        stats[(row + r) * STATS + 2 * part] = scratch[own] + mean
        stats[(row + r) * STATS + 2 * part + 1] = 1.0 / np.sqrt(variance + EPSILON)


@jit(lean=True)
def row_stats(like, table, sequence, row, n_rows):
    """Write means and scales of both parts of some rows, whose sums are complete.

    Panel after panel for all rows, as they lie in memory: row after row would meet another page every 256 bytes.
    """
    part_x, h_part = array_at(table, AT_PART_X, like), array_at(table, AT_H_PART, like)
    lane, step = row_lanes(like), table[AT_STEP]
    skipped = lane if table[AT_KIND] == GRU else 0
    for p in range(table[AT_N_PANELS]):
        _add_panel(like, table, part_x, sequence, row, n_rows, p, 0, step - skipped, 0)
        _add_panel(like, table, h_part, sequence, row, n_rows, p, skipped, step, 3)
    n_summed = _n_summed(table, skipped, step, lane)
    _put_stats(like, table, sequence, row, n_rows, n_summed, 0)
    _put_stats(like, table, sequence, row, n_rows, n_summed, 1)


@jit(lean=True)
def normalize_cells(like, table, now, row, n_rows):
    """Write the normalised cell states of some rows."""
    c, norm_c = array_at(table, AT_C, like), array_at(table, AT_NORM_C, like)
    stats = array_at(table, AT_STATS, like)
    n_panels, width, units = table[AT_N_PANELS], table[AT_WIDTH], table[AT_UNITS]
    lane = row_lanes(c)
    for r in range(n_rows):
        sums = vector_of(c, 0.0)
        for p in range(n_panels):
            sums = sums + vector_load(c, (now + r) * width + p * lane)
        mean = vector_of(c, vector_total(sums) / units)
        squares = vector_of(c, 0.0)
        for p in range(n_panels):
            apart = own_lanes(like, table, p, 0, vector_load(c, (now + r) * width + p * lane) - mean)
            squares = vector_muladd(apart, apart, squares)
        scale = 1.0 / np.sqrt(vector_total(squares) / units + EPSILON)
        by = vector_of(c, scale)
        for p in range(n_panels):
            apart = own_lanes(like, table, p, 0, vector_load(c, (now + r) * width + p * lane) - mean)
            vector_store(apart * by, norm_c, (row + r) * width + p * lane)
        stats[(row + r) * STATS + 4] = scale


# ---------------------------------------------------------------------------------------------------------------------
# Backward


@jit(lean=True)
def normalize_cells_back(like, table, sequence, row, n_rows):
    """Write the gradients by what the cell states' gain and bias made, their slopes, and those by the output gates."""
    starts, slopes = array_at(table, AT_STARTS, table), array_at(table, AT_SLOPES, like)
    scratch, gates = array_at(table, AT_SCRATCH, like), array_at(table, AT_GATES, like)
    norm_c, dnorm = array_at(table, AT_NORM_C, like), array_at(table, AT_DNORM, like)
    dgates, d_out = array_at(table, AT_DGATES, like), array_at(table, AT_D_OUT, like)
    gain_c, bias_c = array_at(table, AT_GAIN_C, like), array_at(table, AT_BIAS_C, like)
    step, width, units = table[AT_STEP], table[AT_WIDTH], table[AT_UNITS]
    n_panels, c_row = table[AT_N_PANELS], table[AT_C_ROW]
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    one, zero = vector_of(gates, 1.0), vector_of(gates, 0.0)
    for p in range(n_panels):
        gain, bias = vector_load(gain_c, p * lane), vector_load(bias_c, p * lane)
        for r in range(n_rows):
            at, own = (row + r) * width + p * lane, (sequence + r) * SCRATCH * lane
            gate = (p * total + row + r) * step + 3 * lane
            sums, products = vector_load(scratch, own), vector_load(scratch, own + lane)
            if p == 0:
                sums, products = zero, zero
            value = vector_load(norm_c, at)
            size, o = vector_tanh(vector_muladd(gain, value, bias)), vector_load(gates, gate)
            to_h = vector_load(d_out, (sequence + r) * c_row + p * lane)
            # The way back through the cells takes this up.
            vector_store(to_h * size * o * (one - o), dgates, gate)
            to = to_h * o * (one - size * size)
            vector_store(to, dnorm, at)
            vector_store(vector_muladd(to, gain, sums), scratch, own)
            vector_store(vector_muladd(to * gain, value, products), scratch, own + lane)
    for r in range(n_rows):
        own = (sequence + r) * SCRATCH * lane
        slopes[(row + r) * SLOPES + 4] = -vector_total(vector_load(scratch, own)) / units
        slopes[(row + r) * SLOPES + 5] = -vector_total(vector_load(scratch, own + lane)) / units


@jit(lean=True)
def _add_slopes(
    like,      # IN  float, an array of the dtype of all
    table,     # IN  int64, see `_variant_table`
    part,      # IN  int64, the inputs' (0) or the states' (1)
    buffer,    # IN  float (p * r * step,) its sums
    gain,      # IN  float (p * step,)
    sequence,  # IN  int64, the first sequence
    row,       # IN  int64, its row
    n_rows,    # IN  int64
    p,         # IN  int64, the panel
    first,     # IN  int64, the first lane of a panel that counts
    end,       # IN  int64, the one behind the last
):
    """Add the gradients by what was normalised, and their products with its distance from the mean, to the rows' sums.
    """
    starts, scratch = array_at(table, AT_STARTS, table), array_at(table, AT_SCRATCH, like)
    dgates, stats = array_at(table, AT_DGATES, like), array_at(table, AT_STATS, like)
    step = table[AT_STEP]
    lane = row_lanes(dgates)
    total = starts[starts.shape[0] - 1]
    zero = vector_of(dgates, 0.0)
    for r in range(n_rows):
        at, own = (p * total + row + r) * step, ((sequence + r) * SCRATCH + 3 * part) * lane
        sums, products = vector_load(scratch, own), vector_load(scratch, own + lane)
        if p == 0:
            sums, products = zero, zero
        mean = number_of(stats, (row + r) * STATS + 2 * part)
        for v in range(first, first + 3 * lane, lane):
            value = vector_load(dgates, at + v) * vector_load(gain, p * step + v)
            sums = sums + value
            products = vector_muladd(value, vector_load(buffer, at + v) - mean, products)
        if end > first + 3 * lane:
            value = vector_load(dgates, at + end - lane) * vector_load(gain, p * step + end - lane)
            sums = sums + value
            products = vector_muladd(value, vector_load(buffer, at + end - lane) - mean, products)
        vector_store(sums, scratch, own)
        vector_store(products, scratch, own + lane)


@jit(lean=True)
def add_slopes(like, table, sequence, row, n_rows, p):
    """Add what a panel of some rows, whose gradients by the gates are complete, tells of both parts' slopes."""
    part_x, h_part = array_at(table, AT_PART_X, like), array_at(table, AT_H_PART, like)
    gain_x, gain_h = array_at(table, AT_GAIN_X, like), array_at(table, AT_GAIN_H, like)
    lane, step = row_lanes(like), table[AT_STEP]
    skipped = lane if table[AT_KIND] == GRU else 0
    _add_slopes(like, table, 0, part_x, gain_x, sequence, row, n_rows, p, 0, step - skipped)
    _add_slopes(like, table, 1, h_part, gain_h, sequence, row, n_rows, p, skipped, step)


@jit(lean=True)
def normalize_states_back(like, table, sequence, row, n_rows):
    """Write both parts' slopes of some rows, and the gradients by the states' part."""
    starts, scratch = array_at(table, AT_STARTS, table), array_at(table, AT_SCRATCH, like)
    stats, slopes = array_at(table, AT_STATS, like), array_at(table, AT_SLOPES, like)
    dgates, dpart = array_at(table, AT_DGATES, like), array_at(table, AT_DPART, like)
    h_part, gain_h = array_at(table, AT_H_PART, like), array_at(table, AT_GAIN_H, like)
    n_panels, step = table[AT_N_PANELS], table[AT_STEP]
    lane = row_lanes(dgates)
    total = starts[starts.shape[0] - 1]
    skipped = lane if table[AT_KIND] == GRU else 0
    n_summed = _n_summed(table, skipped, step, lane)
    for r in range(n_rows):
        for part in range(2):
            own, to = ((sequence + r) * SCRATCH + 3 * part) * lane, (row + r) * SLOPES + 2 * part
            scale = stats[(row + r) * STATS + 2 * part + 1]
            slopes[to] = -vector_total(vector_load(scratch, own)) / n_summed
            slopes[to + 1] = -vector_total(vector_load(scratch, own + lane)) / n_summed * scale * scale
    for p in range(n_panels):
        for r in range(n_rows):
            at, told, to = (p * total + row + r) * step, (row + r) * STATS + 2, (row + r) * SLOPES + 2
            mean, scale = number_of(stats, told), number_of(stats, told + 1)
            level, slope = number_of(slopes, to), number_of(slopes, to + 1)
            for v in range(skipped, skipped + 3 * lane, lane):
                value = vector_muladd(vector_load(dgates, at + v), vector_load(gain_h, p * step + v), level)
                value = vector_muladd(vector_load(h_part, at + v) - mean, slope, value)
                vector_store(own_lanes(like, table, p, v, scale * value), dpart, at + v)
            if skipped == 0:
                gain = vector_load(gain_h, p * step + 3 * lane)
                value = vector_muladd(vector_load(dgates, at + 3 * lane), gain, level)
                value = vector_muladd(vector_load(h_part, at + 3 * lane) - mean, slope, value)
                vector_store(own_lanes(like, table, p, 3 * lane, scale * value), dpart, at + 3 * lane)


@jit(lean=True)
def _gate_columns_of_panel(like, table, p, by_bias, by_gain_x, by_gain_h):
    starts = array_at(table, AT_STARTS, table)
    stats, slopes = array_at(table, AT_STATS, like), array_at(table, AT_SLOPES, like)
    part_x, h_part = array_at(table, AT_PART_X, like), array_at(table, AT_H_PART, like)
    dgates, gain_x = array_at(table, AT_DGATES, like), array_at(table, AT_GAIN_X, like)
    step = table[AT_STEP]
    lane = row_lanes(dgates)
    n_rows = starts[starts.shape[0] - 1]
    skipped = lane if table[AT_KIND] == GRU else 0
    zero = vector_of(dgates, 0.0)
    r = 0
    while r < n_rows:
        for v in range(0, step, lane):
            at, out = p * n_rows * step + v, p * step + v
            sums, by_x, by_h = zero, zero, zero
            gain = vector_load(gain_x, out)
            for row in range(r, min(r + _SUMMED_ROWS, n_rows)):
                here, told, to = at + row * step, row * STATS, row * SLOPES
                d = vector_load(dgates, here)
                sums = sums + d
                if v >= skipped:
                    mean, scale = number_of(stats, told + 2), number_of(stats, told + 3)
                    by_h = vector_muladd(d, normalized_at(h_part, here, mean, scale), by_h)
                if v < step - skipped:
                    mean, scale = number_of(stats, told), number_of(stats, told + 1)
                    level, slope = number_of(slopes, to), number_of(slopes, to + 1)
                    apart = vector_load(part_x, here) - mean
                    by_x = vector_muladd(d, apart * scale, by_x)
                    value = scale * vector_muladd(apart, slope, vector_muladd(d, gain, level))
                    vector_store(own_lanes(like, table, p, v, value), dgates, here)
            vector_store(vector_load(by_bias, out) + sums, by_bias, out)
            vector_store(vector_load(by_gain_x, out) + by_x, by_gain_x, out)
            vector_store(vector_load(by_gain_h, out) + by_h, by_gain_h, out)
        r += _SUMMED_ROWS


@jit(lean=True)
def _cell_columns_of_panels(like, table, p, end, by_gain, by_bias):
    starts = array_at(table, AT_STARTS, table)
    norm_c, dnorm = array_at(table, AT_NORM_C, like), array_at(table, AT_DNORM, like)
    width = table[AT_WIDTH]
    lane = row_lanes(dnorm)
    n_rows = starts[starts.shape[0] - 1]
    r = 0
    while r < n_rows:
        for at in range(p * lane, end * lane, lane):
            sums, products = vector_of(dnorm, 0.0), vector_of(dnorm, 0.0)
            for row in range(r, min(r + _SUMMED_ROWS, n_rows)):
                d = vector_load(dnorm, row * width + at)
                sums = sums + d
                products = vector_muladd(d, vector_load(norm_c, row * width + at), products)
            vector_store(vector_load(by_bias, at) + sums, by_bias, at)
            vector_store(vector_load(by_gain, at) + products, by_gain, at)
        r += _SUMMED_ROWS


@parallel_jit
def columns_back(
    like,       # IN    float, an array of the dtype of all
    table,      # IN    int64, see `_variant_table`
    by_bias,    # INOUT float (p * step,) added to: the sums of the gradients by the gates
    by_gain_x,  # INOUT float (p * step,) the same, of their products with the inputs' part that was normalised
    by_gain_h,  # INOUT float (p * step,) and with the states' part
    by_gain_c,  # INOUT float (width,) LSTM: added to: the gradient by the gain of the cell states
    by_bias_c,  # INOUT float (width,) LSTM: and by their bias
):
    """Sum the gradients by the gates, then put those by the inputs' part in their place; sum those by cell states."""
    n_panels = table[AT_N_PANELS]
    # Four vectors of a row of cell states at a time: whole lines of the caches.
    n_fours = -(-n_panels // 4) if table[AT_KIND] == LSTM else 0
    for task in prange(n_panels + n_fours):
        mode = flush_denormals()
        if task < n_panels:
            _gate_columns_of_panel(like, table, np.int64(task), by_bias, by_gain_x, by_gain_h)
        else:
            p = 4 * (np.int64(task) - n_panels)
            _cell_columns_of_panels(like, table, p, min(p + 4, n_panels), by_gain_c, by_bias_c)
        restore_denormals(mode)
