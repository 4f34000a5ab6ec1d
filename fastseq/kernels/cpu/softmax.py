"""Projection, softmax and cross-entropy on the CPU, on the packed products of `_panels`.

Panels of logits, four vectors of words wide, become their own gradients and are then the packed operand of the weights'
gradient and the left operand of the states', so none of them is moved. All of that for some rows at a time.

A row's gradients are its exponentials divided by their sum, times its weight; the label's less 1 before. With many
words the division is not made in the row (28 MB for 700 rows and 10,000 words) but in what it is multiplied by and in
the result: one pass of three over the logits less. The biases' gradient is that of the weights of a state that always
is 1 then, and the tiles of six states have room for it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .._jit import jit, parallel_jit
from .._tiles import (
    block_transposed,
    flush_denormals,
    restore_denormals,
    vector_exp_of_negative,
    vector_largest,
    vector_load,
    vector_max,
    vector_of,
    vector_store,
    vector_total,
)
from .._vector import lanes, row_lanes
from ._memory import pool
from ._panels import add_columns, pack, pack_transposed, project, project_back, weigh_back
from ._recurrent import padded_rows

__all__ = ["softmax_cross_entropy"]

# Bytes of logits that are kept at a time: all of 700 rows and 10,000 words. Fewer rows would meet the whole gradient of
# the weights, 26 MB at 650 units, more often; more would not stay in the last cache at all.
_LOGITS_BYTES = 2**25
# Panels whose exponentials are added up before they join the total: the error grows by the root of how many do.
_PART = 16
# Words a unit below which rows are divided where they lie: 1.6 instead of 2.0 ms for 1500 rows, 256 units and 65 words,
# 1.29 instead of 1.32 for 700 rows, 100 units and 800 words, no difference any more for 2,000.
_FEW = 16


@jit(lean=True)
def _row(
    logits,     # INOUT float (p * r * step,), then the gradient
    n_rows,     # IN  int64, r
    row,        # IN  int64
    n_panels,   # IN  int64
    n_words,    # IN  int64
    label,      # IN  int64
    weight,     # IN  float
    smoothing,  # IN  float64
    train,      # IN  bool
    divided,    # IN  bool, whether it is multiplied here
    losses,     # OUT float64 (r,)
    factors,    # OUT float (r,), what the row has to be multiplied by to be the gradient
):
    lane = row_lanes(logits)
    step = 4 * lane
    one = logits.dtype.type(1)
    most = vector_load(logits, row * step)
    for p in range(n_panels):
        at = (p * n_rows + row) * step
        for v in range(0, step, lane):
            most = vector_max(most, vector_load(logits, at + v))
    top = vector_largest(most)
    peak = vector_of(logits, top)
    at_label = (label // step * n_rows + row) * step + label % step
    asked = logits[at_label]
    spread = 0.0
    if smoothing > 0.0:
        for word in range(n_words):
            spread += logits[(word // step * n_rows + row) * step + word % step]
    total = 0.0
    p = 0
    while p < n_panels:
        part = vector_of(logits, 0.0)
        for panel in range(p, min(p + _PART, n_panels)):
            at = (panel * n_rows + row) * step
            for v in range(0, step, lane):
                power = vector_exp_of_negative(vector_load(logits, at + v) - peak)
                part = part + power
                if train:
                    vector_store(power, logits, at + v)
        total += np.float64(vector_total(part))
        p += _PART
    log_total = math.log(total) + top
    losses[row] = log_total - (1.0 - smoothing) * asked - smoothing * (spread / n_words)
    if train:
        factors[row] = weight / total
        by = factors[row] if divided else one
        even = total * smoothing / n_words
        if divided or even > 0.0:
            less, times = vector_of(logits, even * by), vector_of(logits, by)
            for p in range(n_panels):
                at = (p * n_rows + row) * step
                for v in range(0, step, lane):
                    vector_store(vector_load(logits, at + v) * times - less, logits, at + v)
        if even > 0.0:
            # Words that there are not have no share.
            for word in range(n_words, n_panels * step):
                logits[(word // step * n_rows + row) * step + word % step] = 0
        logits[at_label] = np.float64(logits[at_label]) - total * (1.0 - smoothing) * by


@parallel_jit
def _softmax(
    logits,     # INOUT float (p * r * step,)
    n_rows,     # IN  int64
    n_panels,   # IN  int64
    n_words,    # IN  int64
    labels,     # IN  int32 (r,)
    weights,    # IN  float (r,)
    smoothing,  # IN  float64
    train,      # IN  bool
    divided,    # IN  bool, whether it is multiplied here
    losses,     # OUT float64 (r,)
    factors,    # OUT float (r,)
):
    lane = row_lanes(logits)
    step = 4 * lane
    for row in prange(n_rows):
        mode = flush_denormals()
        if weights[row] > 0:
            _row(logits, n_rows, row, n_panels, n_words, labels[row], weights[row], smoothing, train,
                 divided, losses, factors)  # fmt: skip
        else:
            losses[row] = 0
            factors[row] = 0
            zero = vector_of(logits, 0.0)
            for p in range(n_panels):
                for v in range(0, step, lane):
                    vector_store(zero, logits, (p * n_rows + row) * step + v)
        restore_denormals(mode)


@parallel_jit
def _transpose(
    a,       # IN  float (n * m,)
    n,       # IN  int64
    m,       # IN  int64
    out,     # OUT float (m * n,)
):
    lane = row_lanes(a)
    for block in prange(-(-m // lane)):
        column = block * lane
        for row in range(0, n, lane):
            if row + lane <= n and column + lane <= m:
                block_transposed(a, row * m + column, m, out, column * n + row, n)
            else:
                for r in range(row, min(n, row + lane)):
                    for c in range(column, min(m, column + lane)):
                        out[c * n + r] = a[r * m + c]


def _transposed(a):
    out = pool.array((a.shape[1], a.shape[0]), a.dtype)
    _transpose(a.reshape(-1), a.shape[0], a.shape[1], out.reshape(-1))
    return out


# One gate, words beside one another.
_SIDE = (1, (0, 0, 0, 0), True)


def softmax_cross_entropy(h, w, b, labels, weights, by_word, label_smoothing, train):
    """Return (losses, dh, dw, db); see the contract."""
    if by_word:
        losses, dh, dw, db = softmax_cross_entropy(
            h, _transposed(w), b, labels, weights, False, label_smoothing, train
        )  # fmt: skip
        return losses, dh, _transposed(dw) if train else dw, db
    dtype = h.dtype
    n_rows, units = h.shape
    n_words = len(b)
    step = 4 * lanes(dtype)
    n_panels = -(-n_words // step)
    losses = np.zeros(n_rows)
    dh = pool.array((n_rows if train else 0, units), dtype)
    # The last row is that of the biases.
    dw = pool.array((units + 1, n_words if train else 0), dtype)
    # Of few words there are fewer logits than states to be multiplied.
    divided = n_words < _FEW * units
    if n_rows == 0:
        dw[:] = 0
        return losses, dh, dw[:units], dw[units]
    packed = pack(w, *_SIDE)
    bias = padded_rows(b.reshape(1, -1), n_panels * step).reshape(-1)
    # What is not there is never likely.
    bias[n_words:] = -np.inf
    packed_back = pack_transposed(w, *_SIDE) if train else None
    most_rows = max(step, _LOGITS_BYTES // (n_panels * step * dtype.itemsize))
    n_chunks = -(-n_rows // most_rows)
    for chunk in range(n_chunks):
        first, end = chunk * n_rows // n_chunks, (chunk + 1) * n_rows // n_chunks
        rows, mine = end - first, h[first:end]
        logits = pool.take(n_panels * rows * step, dtype)
        project(mine, rows, packed, bias, 4, logits, step, 0)
        factors = np.empty(rows, dtype)
        _softmax(logits, rows, n_panels, n_words, labels[first:end], weights[first:end], label_smoothing, train,
                 divided, losses[first:end], factors)  # fmt: skip
        if train:
            project_back(logits, rows, step, 0, step, packed_back, dh[first:end])
            part = dw if chunk == 0 else pool.array(dw.shape, dtype)
            if divided:
                weigh_back(mine, None, units, logits, rows, step, 0, 4, n_words, part[:units], side_by_side=True)
                part[units] = add_columns(logits, rows, step, n_panels).reshape(-1)[:n_words]
            else:
                dh[first:end] *= factors[:, None]
                scaled = np.empty((rows, units + 1), dtype)
                np.multiply(mine, factors[:, None], out=scaled[:, :units])
                scaled[:, units] = factors
                weigh_back(scaled, None, units + 1, logits, rows, step, 0, 4, n_words, part, side_by_side=True)
            if chunk > 0:
                dw += part
        pool.give(logits)
    pool.give(packed, *((packed_back,) if train else ()))
    return losses, dh, dw[:units], dw[units]
