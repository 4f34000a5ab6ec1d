"""Rows of logits on the CPU: their exponentials, the states' gradients, and what the weights' are made of.

Some rows meet some words at a time: between the product that makes their logits, the exponentials and the product that
makes the states' gradients they stay in the second cache, and pass through the slower ones only twice, written once and
read once for the weights' gradient. 700 rows and 10,000 words are 28 MB.

A row's gradients are its exponentials divided by their sum, times its weight; the label's less 1 before. The sum is
known only after the last word, so the division is made in what the exponentials are multiplied by and in the result,
and the label's 1 is taken from the result; only where the words are few exponentials become gradients at once. They
need the row's largest logit, for which the largest of the first words stands: those of later words may be as large as
e**16 then. Where that is not enough, what has been summed is brought down to the new one.
"""

from __future__ import annotations

import math
from functools import cache

import numba
import numpy as np
from numba import prange

from .._jit import address_of, jit, parallel_jit
from .._tiles import (
    call_at,
    flush_denormals,
    restore_denormals,
    vector_exp,
    vector_largest,
    vector_load,
    vector_max,
    vector_of,
    vector_store,
    vector_total,
)
from .._vector import row_lanes
from ._panels import GROUP, column_of

__all__ = ["CHUNK", "finish", "sweep"]

# Panels of words that meet some rows at a time.
CHUNK = 8
# How far a logit may be above the largest of the first words. No number comes near the limits of float32 by that.
_ABOVE = 16.0


@jit(lean=True)
def _scale(
    logits,    # INOUT float
    at,        # IN  int64, the row in the first panel
    stride,    # IN  int64, from panel to panel
    n_panels,  # IN  int64, whole ones
    rest,      # IN  int64, numbers of the one behind them: some vectors
    by,        # IN  float
):
    lane = row_lanes(logits)
    times = vector_of(logits, by)
    for p in range(n_panels):
        for v in range(0, 4 * lane, lane):
            place = at + p * stride + v
            vector_store(vector_load(logits, place) * times, logits, place)
    for place in range(at + n_panels * stride, at + n_panels * stride + rest, lane):
        vector_store(vector_load(logits, place) * times, logits, place)


@jit(lean=True)
def _largest(
    logits,    # IN  float
    at,        # IN  int64, the row in the first panel
    stride,    # IN  int64, from panel to panel
    n_panels,  # IN  int64, whole ones
    rest,      # IN  int64, numbers of the one behind them
):
    lane = row_lanes(logits)
    most = vector_load(logits, at)
    for p in range(n_panels):
        for v in range(0, 4 * lane, lane):
            most = vector_max(most, vector_load(logits, at + p * stride + v))
    for place in range(at + n_panels * stride, at + n_panels * stride + rest, lane):
        most = vector_max(most, vector_load(logits, place))
    return vector_largest(most)


@jit(copied=True)
def _exponential(logits, place, top, total):
    power = vector_exp(vector_load(logits, place) - top)
    vector_store(power, logits, place)
    return total + power


@jit(lean=True)
def _exponentials(
    logits,    # INOUT float, then e**(logit - peak)
    at,        # IN  int64, the row in the first panel
    stride,    # IN  int64, from panel to panel
    n_panels,  # IN  int64, whole ones
    rest,      # IN  int64, numbers of the one behind them
    peak,      # IN  float
):
    lane = row_lanes(logits)
    top = vector_of(logits, peak)
    total = vector_of(logits, 0.0)
    for p in range(n_panels):
        for v in range(0, 4 * lane, lane):
            total = _exponential(logits, at + p * stride + v, top, total)
    for place in range(at + n_panels * stride, at + n_panels * stride + rest, lane):
        total = _exponential(logits, place, top, total)
    return np.float64(vector_total(total))


@jit(lean=True)
def _row_chunk(
    logits,     # INOUT float, then exponentials
    at,         # IN  int64, the row in panel 0
    stride,     # IN  int64, from panel to panel
    begin,      # IN  int64, the first panel of the part
    p,          # IN  int64, the first panel of the chunk
    n_panels,   # IN  int64, whole ones of the chunk
    rest,       # IN  int64, numbers of the one behind them
    n_words,    # IN  int64
    label,      # IN  int64
    smoothed,   # IN  int64, whether labels are smoothed
    train,      # IN  int64, whether gradients are wanted
    peaks,      # INOUT float
    totals,     # INOUT float64
    spreads,    # INOUT float64, sums of the logits; only where smoothed
    place,      # IN  int64, of the row and the part in these
    asked,      # INOUT float, the labels' logits
    row,        # IN  int64
    dh,         # INOUT float, the parts' shares of the states' gradients; empty without training
    units,      # IN  int64
):
    step = 4 * row_lanes(logits)
    first = at + p * stride
    if p * step <= label < (p + n_panels) * step + rest:
        asked[row] = logits[at + label // step * stride + label % step]
    if smoothed:
        spread = 0.0
        for word in range(p * step, min(n_words, (p + n_panels) * step + rest)):
            spread += logits[at + word // step * stride + word % step]
        spreads[place] += spread
    top = _largest(logits, first, stride, n_panels, rest)
    peak = peaks[place]
    # NaN is not below anything: it becomes the peak, and all that is multiplied by what it makes.
    if not top <= peak + logits.dtype.type(_ABOVE):
        # Before the first words there is nothing to bring down.
        if p > begin:
            by = logits.dtype.type(math.exp(peak - top))
            totals[place] *= by
            if train:
                _scale(logits, at + begin * stride, stride, p - begin, 0, by)
                for j in range(units):
                    dh[place * units + j] *= by
        peak = peaks[place] = top
    totals[place] += _exponentials(logits, first, stride, n_panels, rest, peak)


@jit(lean=True)
def _divide(
    logits,    # INOUT float, exponentials, then the gradient
    at,        # IN  int64, the row in the first panel
    stride,    # IN  int64, from panel to panel
    n_panels,  # IN  int64, whole ones
    rest,      # IN  int64, numbers of the one behind them
    label,     # IN  int64
    weight,    # IN  float
    total,     # IN  float64
):
    step = 4 * row_lanes(logits)
    place = at + label // step * stride + label % step
    own = (logits[place] - total) * (weight / total)
    _scale(logits, at, stride, n_panels, rest, logits.dtype.type(weight / total))
    logits[place] = own


@jit(lean=True)
def _sweep_share(
    worker,     # IN  int64
    n_workers,  # IN  int64
    n_rows,     # IN  int64, r
    units,      # IN  int64
    panel_size,  # IN  int64, numbers of a panel of ``packed``
    n_panels,   # IN  int64, p
    n_words,    # IN  int64
    smoothed,   # IN  int64, whether labels are smoothed
    train,      # IN  int64, whether gradients are wanted
    whole,      # IN  int64, whether one chunk has all words, and its exponentials are to become gradients
    n_parts,    # IN  int64
    block,      # IN  int64, rows that are taken at a time
    n_vectors,  # IN  int64, of a row of the states' gradients
    n_columns,  # IN  int64, that they are in
    rest,       # IN  int64, numbers of the last panel that are made: vectors with words in them
    product,    # IN  int64, the address of the function for panels of words
    product_rest,  # IN  int64, of that for the last one
    narrow,     # IN  int64, of that for columns of n_vectors // n_columns vectors
    wide,       # IN  int64, of that for those of one more
    labels,     # IN  int32 (r,)
    totals,     # INOUT float64 (parts * r,), sums of the exponentials, zeros at first
    spreads,    # INOUT float64 (parts * r,), zeros at first
    h,          # IN  float (r * units,)
    packed,     # IN  float, see `pack`
    bias,       # IN  float (p * step,)
    weights,    # IN  float (r,)
    logits,     # OUT float (p * r * step,), exponentials; without training room for a chunk of a block a worker
    peaks,      # INOUT float (parts * r,), what the logits have been lessened by: the least number at first
    asked,      # OUT float (r,)
    packed_back,  # IN  float, see `pack_transposed`
    dh,         # OUT float (parts * r * units,)
):
    lane = row_lanes(logits)
    step = 4 * lane
    n_blocks = -(-n_rows // block)
    n_tasks = n_blocks * n_parts
    before = flush_denormals()
    for task in range(worker * n_tasks // n_workers, (worker + 1) * n_tasks // n_workers):
        part = task // n_blocks
        row = task % n_blocks * block
        rows = min(block, n_rows - row)
        begin, end = part * n_panels // n_parts, (part + 1) * n_panels // n_parts
        p = begin
        while p < end:
            deep = min(CHUNK, end - p)
            n_whole = deep if p + deep < n_panels or rest == step else deep - 1
            left = rest if n_whole < deep else 0
            # Where the block's first row is in a panel numbered 0.
            stride = (n_rows if train else block) * step
            origin = row * step if train else (worker * CHUNK - p) * stride
            for panel in range(p, p + deep):
                call_at(product if panel < n_panels - 1 else product_rest, (
                    rows, h, row * units, units, 1, 0, 1, units, packed, panel * panel_size, step, bias,
                    panel * step, 0, logits, origin + panel * stride, step,
                ))  # fmt: skip
            for r in range(rows):
                at = origin + r * step
                here = row + r
                if weights[here] > 0:
                    _row_chunk(logits, at, stride, begin, p, n_whole, left, n_words, labels[here], smoothed, train,
                               peaks, totals, spreads, part * n_rows + here, asked, here, dh, units)  # fmt: skip
                    if whole:
                        _divide(logits, at, stride, n_whole, left, labels[here], weights[here], totals[here])
                elif train:
                    zero = vector_of(logits, 0.0)
                    for panel in range(p, p + deep):
                        for v in range(0, step, lane):
                            vector_store(zero, logits, at + panel * stride + v)
            if train:
                for q in range(n_columns):
                    first, width = column_of(q, n_vectors, n_columns, lane)
                    column = narrow if width == n_vectors // n_columns * lane else wide
                    to = (part * n_rows + row) * units + first
                    if n_whole > 0:
                        call_at(column, (
                            rows, logits, origin + p * stride, step, 1, stride, n_whole, step, packed_back,
                            (first * n_panels + p * width) * step, width, p > begin, dh, to, units, lane, 0,
                            units - first, lane,
                        ))  # fmt: skip
                    if left > 0:
                        call_at(column, (
                            rows, logits, origin + (p + n_whole) * stride, step, 1, 0, 1, left, packed_back,
                            (first * n_panels + (p + n_whole) * width) * step, width, p + n_whole > begin, dh, to,
                            units, lane, 0, units - first, lane,
                        ))  # fmt: skip
            p += deep
    restore_denormals(before)


@parallel_jit
def _sweep(
    share,      # IN  int64, the address of `_sweep_share`
    n_workers,  # IN  int64
    n_rows, units, panel_size, n_panels, n_words, smoothed, train, whole, n_parts, block, n_vectors, n_columns, rest,
    product, product_rest, narrow, wide, labels, totals, spreads, h, packed, bias, weights, logits, peaks, asked,
    packed_back, dh,  # as there
):  # fmt: skip
    for worker in prange(n_workers):
        call_at(share, (
            worker, n_workers, n_rows, units, panel_size, n_panels, n_words, smoothed, train, whole, n_parts, block,
            n_vectors, n_columns, rest, product, product_rest, narrow, wide, labels, totals, spreads, h, packed, bias,
            weights, logits, peaks, asked, packed_back, dh,
        ))  # fmt: skip


def sweep(*arguments):
    """Make the logits, their exponentials and the states' gradients by these: chunk by chunk for a block of rows.

    The arguments are those of `_sweep_share` behind the worker.
    """
    _sweep(_shares(arguments[-1].dtype)[0], *arguments)


@jit(lean=True)
def _scaled_row(
    mine,       # IN  float (units,)
    times,      # IN  float
    part,       # IN  int64
    n_rows,     # IN  int64
    row,        # IN  int64
    n_vectors,  # IN  int64
    n_columns,  # IN  int64
    by_column,  # IN  int64, see `_finish_share`
    scaled,     # OUT float
):
    units, lane = mine.shape[0], row_lanes(scaled)
    if by_column:
        for q in range(n_columns):
            first, width = column_of(q, n_vectors, n_columns, lane)
            at = part * n_rows * n_vectors * lane + first * n_rows + row * width
            goal, some = scaled[at : at + width], mine[first : min(units, first + width)]
            for j in range(some.shape[0]):
                goal[j] = some[j] * times
            goal[some.shape[0] :] = 0
    else:
        n_whole = units // GROUP
        at = (part * (n_whole + 1) * n_rows + row) * GROUP
        for group in range(n_whole):
            goal, some = scaled[at : at + GROUP], mine[group * GROUP : (group + 1) * GROUP]
            for j in range(GROUP):
                goal[j] = some[j] * times
            at += n_rows * GROUP
        # Behind them the state that always is 1; for it alone where the others end with a group.
        left = units - n_whole * GROUP
        for j in range(GROUP):
            scaled[at + j] = mine[n_whole * GROUP + j] * times if j < left else times if j == left else 0


@jit(lean=True)
def _finish_share(
    worker,     # IN  int64
    n_workers,  # IN  int64
    n_rows,     # IN  int64, r
    units,      # IN  int64
    n_panels,   # IN  int64
    n_words,    # IN  int64
    train,      # IN  int64, whether gradients are wanted
    whole,      # IN  int64, whether they are there already
    n_parts,    # IN  int64
    n_vectors,  # IN  int64
    n_columns,  # IN  int64
    by_column,  # IN  int64, whether ``scaled`` is in the columns of the states' gradients; else in groups of GROUP
    smoothing,  # IN  float64
    labels,     # IN  int32 (r,)
    totals,     # IN  float64 (parts * r,)
    spreads,    # IN  float64 (parts * r,)
    losses,     # OUT float64 (r,)
    h,          # IN  float (r * units,)
    weights,    # IN  float (r,)
    logits,     # INOUT float (p * r * step,)
    peaks,      # IN  float (parts * r,)
    asked,      # IN  float (r,)
    packed_back,  # IN  float
    even,       # IN  float (units,), sums of the weights of all words; only where smoothed
    parts,      # INOUT float (parts * r * units,), shares of the states' gradients
    scaled,     # OUT float, states times what the exponentials have to be multiplied by, for each part
    factors,    # OUT float (parts * r,), what that is
    dh,         # OUT float (r * units,)
):
    lane = row_lanes(logits)
    step = 4 * lane
    before = flush_denormals()
    for row in range(worker * n_rows // n_workers, (worker + 1) * n_rows // n_workers):
        if weights[row] > 0:
            peak = peaks[row]
            for s in range(1, n_parts):
                if not peaks[s * n_rows + row] <= peak:
                    peak = peaks[s * n_rows + row]
            total = 0.0
            spread = 0.0
            for s in range(n_parts):
                total += totals[s * n_rows + row] * math.exp(np.float64(peaks[s * n_rows + row]) - peak)
                spread += spreads[s * n_rows + row]
            losses[row] = math.log(total) + peak - (1.0 - smoothing) * asked[row] - smoothing * (spread / n_words)
            if train and whole:
                factors[row] = 1
                _scaled_row(h[row * units : (row + 1) * units], h.dtype.type(1), 0, n_rows, row, n_vectors, n_columns,
                            by_column, scaled)  # fmt: skip
            elif train:
                factor = weights[row] / total
                label = labels[row]
                own = total * (1.0 - smoothing)
                # Slices: with an offset added to each index the loops would not become vectors.
                mine, result = h[row * units : (row + 1) * units], dh[row * units : (row + 1) * units]
                result[:] = 0
                for s in range(n_parts):
                    begin, end = s * n_panels // n_parts, (s + 1) * n_panels // n_parts
                    below = np.float64(peaks[s * n_rows + row]) - peak
                    by = h.dtype.type(math.exp(below))
                    times = h.dtype.type(factor * by)
                    share = parts[(s * n_rows + row) * units : (s * n_rows + row + 1) * units]
                    for j in range(units):
                        result[j] += share[j] * times
                    if below < -_ABOVE:
                        # Otherwise the label's own would be too large, without an end.
                        _scale(logits, (begin * n_rows + row) * step, n_rows * step, end - begin, 0, by)
                        by, times = h.dtype.type(1), h.dtype.type(factor)
                    factors[s * n_rows + row] = times
                    _scaled_row(mine, times, s, n_rows, row, n_vectors, n_columns, by_column, scaled)
                    if begin <= label // step < end:
                        place = (label // step * n_rows + row) * step + label % step
                        logits[place] = logits[place] - own / by
                minus = h.dtype.type(own * factor)
                for q in range(n_columns):
                    first, width = column_of(q, n_vectors, n_columns, lane)
                    at = first * n_panels * step + label * width
                    word, some = packed_back[at : at + width], result[first : first + width]
                    for j in range(some.shape[0]):
                        some[j] -= minus * word[j]
                if smoothing > 0.0:
                    less = h.dtype.type(weights[row] * smoothing / n_words)
                    for j in range(units):
                        result[j] -= less * even[j]
        else:
            losses[row] = 0
            if train:
                mine = dh[row * units : (row + 1) * units]
                mine[:] = 0
                for s in range(n_parts):
                    factors[s * n_rows + row] = 0
                    _scaled_row(mine, h.dtype.type(0), s, n_rows, row, n_vectors, n_columns, by_column, scaled)
    restore_denormals(before)


@parallel_jit
def _finish(
    share,      # IN  int64, the address of `_finish_share`
    n_workers,  # IN  int64
    n_rows, units, n_panels, n_words, train, whole, n_parts, n_vectors, n_columns, by_column, smoothing, labels, totals,
    spreads, losses, h, weights, logits, peaks, asked, packed_back, even, parts, scaled, factors, dh,  # as there
):  # fmt: skip
    for worker in prange(n_workers):
        call_at(share, (
            worker, n_workers, n_rows, units, n_panels, n_words, train, whole, n_parts, n_vectors, n_columns, by_column,
            smoothing, labels, totals, spreads, losses, h, weights, logits, peaks, asked, packed_back, even, parts,
            scaled, factors, dh,
        ))  # fmt: skip


def finish(*arguments):
    """Make the losses and the states' gradients of what the parts have left, and what `sweep`'s are multiplied by.

    The arguments are those of `_finish_share` behind the worker.
    """
    _finish(_shares(arguments[-1].dtype)[1], *arguments)


@cache
def _shares(dtype):
    """Return the addresses of `_sweep_share` and `_finish_share`."""
    number, array, labels, sums = numba.int64, numba.from_dtype(dtype)[::1], numba.int32[::1], numba.float64[::1]
    return (
        address_of(_sweep_share, (*(number,) * 19, labels, sums, sums, *(array,) * 9)),
        address_of(_finish_share, (*(number,) * 12, numba.float64, labels, sums, sums, sums, *(array,) * 11)),
    )
