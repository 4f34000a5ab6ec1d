"""LSTM with CUDA; see `_recurrent`."""

from __future__ import annotations

import math

import numpy as np

from .. import _cuda
from .._cuda import cuda
from . import _persistent, _variant_cells, _variants
from ._equations import lstm_back, sigmoid
from ._recurrent import gradients_of_weights, rows_before, steps_of

__all__ = ["lstm_backward", "lstm_forward", "lstm_variant_backward", "lstm_variant_forward"]


@_cuda.cuda_jit
def _cells(
    sums,    # IN    float (n, 4 h) the hidden states' part
    gates,   # INOUT float (n, 4 h) the inputs' part; then the gates after their functions
    c,       # IN    float (n, h)
    new_c,   # OUT   float (n, h)
    new_h,   # OUT   float (n, h)
):
    units = c.shape[1]
    one = c.dtype.type(1)
    for k in range(cuda.grid(1), new_c.shape[0] * units, cuda.gridsize(1)):
        row = k // units
        u = k - row * units
        i = sigmoid(gates[row, u] + sums[row, u], one)
        f = sigmoid(gates[row, units + u] + sums[row, units + u], one)
        g = math.tanh(gates[row, 2 * units + u] + sums[row, 2 * units + u])
        o = sigmoid(gates[row, 3 * units + u] + sums[row, 3 * units + u], one)
        value = f * c[row, u] + i * g
        gates[row, u] = i
        gates[row, units + u] = f
        gates[row, 2 * units + u] = g
        gates[row, 3 * units + u] = o
        new_c[row, u] = value
        new_h[row, u] = o * math.tanh(value)


@_cuda.cuda_jit
def _cells_back(
    gates,    # IN    float (n, 4 h)
    c,        # IN    float (n, h) before the step
    new_c,    # IN    float (n, h) after it
    dy,       # IN    float (n, h)
    dh,       # IN    float (n, h) from the step behind
    dc,       # INOUT float (n, h)
    dgates,   # OUT   float (n, 4 h)
):
    units = c.shape[1]
    one = c.dtype.type(1)
    for k in range(cuda.grid(1), dy.shape[0] * units, cuda.gridsize(1)):
        row = k // units
        u = k - row * units
        di, df, dg, do, to_c = lstm_back(
            gates[row, u], gates[row, units + u], gates[row, 2 * units + u], gates[row, 3 * units + u], c[row, u],
            new_c[row, u], dy[row, u] + dh[row, u], dc[row, u], one,
        )  # fmt: skip
        dgates[row, u] = di
        dgates[row, units + u] = df
        dgates[row, 2 * units + u] = dg
        dgates[row, 3 * units + u] = do
        dc[row, u] = to_c


PTX = {
    "_cells": ["void(" + ", ".join([f"{t}[:, ::1]"] * 5) + ")" for t in ("float32", "float64")],
    "_cells_back": ["void(" + ", ".join([f"{t}[:, ::1]"] * 7) + ")" for t in ("float32", "float64")],
}


def lstm_forward(x, starts, h0, c0, w_x, w_h, b, train):
    """Run; see the contract."""
    xp = _cuda.xp()
    n, units = h0.shape
    gates = _cuda.asarray(xp.matmul(x, w_x) + b)
    h = _cuda.asarray(xp.empty((n + len(x), units), x.dtype))
    c = _cuda.asarray(xp.empty((n + len(x), units), x.dtype))
    h[:n], c[:n] = h0, c0
    if _persistent.lstm(w_h, starts, gates, c, h):
        return gates, h, c
    before = 0
    for first, rows in steps_of(starts):
        now = n + first
        sums = _cuda.asarray(xp.matmul(h[before : before + rows], w_h))
        _cuda.launch(
            _cells, rows * units, sums, gates[first : first + rows], c[before : before + rows], c[now : now + rows],
            h[now : now + rows],
        )  # fmt: skip
        before = now
    return gates, h, c


def lstm_backward(dh, dh_n, dc_n, x, starts, gates, h, c, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    xp = _cuda.xp()
    n, units = dh_n.shape
    dgates = _cuda.asarray(xp.empty_like(gates))
    by_h, by_c = _cuda.asarray(dh_n.copy()), _cuda.asarray(dc_n.copy())
    whole = _persistent.lstm_backward(w_h, starts, gates, c, dh, by_h, by_c, dgates)
    steps = [] if whole else steps_of(starts)
    for t in reversed(range(len(steps))):
        first, rows = steps[t]
        before, now = n + steps[t - 1][0] if t else 0, n + first
        mine = dgates[first : first + rows]
        _cuda.launch(
            _cells_back, rows * units, gates[first : first + rows], c[before : before + rows], c[now : now + rows],
            dh[first : first + rows], by_h[:rows], by_c[:rows], mine,
        )  # fmt: skip
        by_h[:rows] = xp.matmul(mine, w_h.T)
    dw_x, dw_h, db = gradients_of_weights(x, rows_before(starts, n, h), dgates, dgates)
    dx = xp.matmul(dgates, w_x.T) if with_dx else xp.empty((0, x.shape[1]), x.dtype)
    return dx, by_h, by_c, dw_x, dw_h, db.astype(np.dtype(x.dtype))


def lstm_variant_forward(x, starts, h0, c0, w_x, w_h, b, options):
    """Run with options; return (h, c, what the backward pass takes)."""
    return _variants.forward(_variant_cells.LSTM(w_h, None, options), x, starts, h0, c0, w_x, b, options)


def lstm_variant_backward(dh, dh_n, dc_n, x, starts, kept, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    return _variants.backward(dh, dh_n, dc_n, x, starts, kept, w_x, w_h, with_dx)
