"""GRU with CUDA; see `_recurrent`."""

from __future__ import annotations

import math

from .. import _cuda
from .._cuda import cuda
from . import _persistent, _variant_cells, _variants
from ._equations import gru_back, sigmoid
from ._recurrent import gradients_of_weights, rows_before, steps_of

__all__ = ["gru_backward", "gru_forward", "gru_variant_backward", "gru_variant_forward"]


@_cuda.cuda_jit
def _cells(
    sums,   # IN    float (n, 3 h) the hidden states' part
    b_n,    # IN    float (h,)
    gates,  # INOUT float (n, 3 h) the inputs' part; then reset, update and candidate after their functions
    part,   # OUT   float (n, h) the candidate's part of the hidden states
    h,      # IN    float (n, h)
    new_h,  # OUT   float (n, h)
):
    units = h.shape[1]
    one = h.dtype.type(1)
    for k in range(cuda.grid(1), new_h.shape[0] * units, cuda.gridsize(1)):
        row = k // units
        u = k - row * units
        r = sigmoid(gates[row, u] + sums[row, u], one)
        z = sigmoid(gates[row, units + u] + sums[row, units + u], one)
        own = sums[row, 2 * units + u] + b_n[u]
        n = math.tanh(gates[row, 2 * units + u] + r * own)
        gates[row, u] = r
        gates[row, units + u] = z
        gates[row, 2 * units + u] = n
        part[row, u] = own
        new_h[row, u] = n + z * (h[row, u] - n)


@_cuda.cuda_jit
def _cells_back(
    gates,  # IN    float (n, 3 h)
    part,   # IN    float (n, h)
    h,      # IN    float (n, h) before the step
    dy,     # IN    float (n, h)
    dh,     # INOUT float (n, h) from the step behind; then what goes past the gates
    by_x,   # OUT   float (n, 3 h) gradients by the inputs' part
    by_h,   # OUT   float (n, 3 h) and by the hidden states'
):
    units = h.shape[1]
    one = h.dtype.type(1)
    for k in range(cuda.grid(1), dy.shape[0] * units, cuda.gridsize(1)):
        row = k // units
        u = k - row * units
        to_r, to_z, to_n, to_part, past = gru_back(
            gates[row, u], gates[row, units + u], gates[row, 2 * units + u], part[row, u], h[row, u],
            dy[row, u] + dh[row, u], one,
        )  # fmt: skip
        by_x[row, u] = to_r
        by_x[row, units + u] = to_z
        by_x[row, 2 * units + u] = to_n
        by_h[row, u] = to_r
        by_h[row, units + u] = to_z
        by_h[row, 2 * units + u] = to_part
        dh[row, u] = past


PTX = {
    "_cells": [
        f"void({t}[:, ::1], {t}[::1], " + ", ".join([f"{t}[:, ::1]"] * 4) + ")" for t in ("float32", "float64")
    ],
    "_cells_back": ["void(" + ", ".join([f"{t}[:, ::1]"] * 7) + ")" for t in ("float32", "float64")],
}


def gru_forward(x, starts, h0, w_x, w_h, b, b_n, train):
    """Run; see the contract."""
    xp = _cuda.xp()
    n, units = h0.shape
    gates = _cuda.asarray(xp.matmul(x, w_x) + b)
    part = _cuda.asarray(xp.empty((len(x), units), x.dtype))
    h = _cuda.asarray(xp.empty((n + len(x), units), x.dtype))
    h[:n] = h0
    if _persistent.gru(w_h, b_n, starts, gates, part, h):
        return (gates, part), h
    before = 0
    for first, rows in steps_of(starts):
        now = n + first
        sums = _cuda.asarray(xp.matmul(h[before : before + rows], w_h))
        _cuda.launch(
            _cells, rows * units, sums, b_n, gates[first : first + rows], part[first : first + rows],
            h[before : before + rows], h[now : now + rows],
        )  # fmt: skip
        before = now
    return (gates, part), h


def gru_backward(dh, dh_n, x, starts, gates, h, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    xp = _cuda.xp()
    gates, part = gates
    n, units = dh_n.shape
    by_x, by_h = (_cuda.asarray(xp.empty_like(gates)) for _ in range(2))
    carried = _cuda.asarray(dh_n.copy())
    whole = _persistent.gru_backward(w_h, starts, gates, part, h, dh, carried, by_x, by_h)
    steps = [] if whole else steps_of(starts)
    for t in reversed(range(len(steps))):
        first, rows = steps[t]
        before = n + steps[t - 1][0] if t else 0
        mine = slice(first, first + rows)
        _cuda.launch(
            _cells_back, rows * units, gates[mine], part[mine], h[before : before + rows], dh[mine], carried[:rows],
            by_x[mine], by_h[mine],
        )  # fmt: skip
        carried[:rows] += xp.matmul(by_h[mine], w_h.T)
    dw_x, dw_h, db = gradients_of_weights(x, rows_before(starts, n, h), by_x, by_h)
    dx = xp.matmul(by_x, w_x.T) if with_dx else xp.empty((0, x.shape[1]), x.dtype)
    return dx, carried, dw_x, dw_h, db, by_h[:, 2 * units :].sum(axis=0)


def gru_variant_forward(x, starts, h0, w_x, w_h, b, b_n, options):
    """Run with options; return (h, what the backward pass takes)."""
    kind = _variant_cells.GRU if options.get("reset_after", True) else _variant_cells.ResetBefore
    h, _, kept = _variants.forward(kind(w_h, b_n, options), x, starts, h0, None, w_x, b, options)
    return h, kept


def gru_variant_backward(dh, dh_n, x, starts, kept, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    dx, dh0, _, *by_weights = _variants.backward(dh, dh_n, None, x, starts, kept, w_x, w_h, with_dx)
    return (dx, dh0, *by_weights)
