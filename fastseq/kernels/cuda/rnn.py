"""The simple recurrent network with CUDA; see `_recurrent`."""

from __future__ import annotations

from .. import _cuda
from .._cuda import cuda
from . import _equations, _persistent, _variant_cells, _variants
from ._recurrent import gradients_of_weights, rows_before, steps_of

__all__ = ["rnn_backward", "rnn_forward", "rnn_variant_backward", "rnn_variant_forward"]


@_cuda.cuda_jit
def _cells(
    sums,   # IN  float (n, h) the hidden states' part
    parts,  # IN  float (n, h) the inputs' part
    relu,   # IN  bool
    new_h,  # OUT float (n, h)
):
    units = new_h.shape[1]
    zero = new_h.dtype.type(0)
    for k in range(cuda.grid(1), new_h.shape[0] * units, cuda.gridsize(1)):
        row = k // units
        u = k - row * units
        new_h[row, u] = _equations.rnn(parts[row, u] + sums[row, u], relu, zero)


@_cuda.cuda_jit
def _cells_back(
    new_h,  # IN  float (n, h)
    dy,     # IN  float (n, h)
    dh,     # IN  float (n, h) from the step behind
    relu,   # IN  bool
    d,      # OUT float (n, h)
):
    units = new_h.shape[1]
    one = new_h.dtype.type(1)
    zero = new_h.dtype.type(0)
    for k in range(cuda.grid(1), dy.shape[0] * units, cuda.gridsize(1)):
        row = k // units
        u = k - row * units
        d[row, u] = _equations.rnn_back(new_h[row, u], dy[row, u] + dh[row, u], relu, one, zero)


PTX = {
    "_cells": [f"void({t}[:, ::1], {t}[:, ::1], boolean, {t}[:, ::1])" for t in ("float32", "float64")],
    "_cells_back": [
        f"void({t}[:, ::1], {t}[:, ::1], {t}[:, ::1], boolean, {t}[:, ::1])" for t in ("float32", "float64")
    ],
}


def rnn_forward(x, starts, h0, w_x, w_h, b, nonlinearity, train):
    """Run; see the contract."""
    xp = _cuda.xp()
    n, units = h0.shape
    parts = _cuda.asarray(xp.matmul(x, w_x) + b)
    h = _cuda.asarray(xp.empty((n + len(x), units), x.dtype))
    h[:n] = h0
    if _persistent.rnn(w_h, starts, parts, nonlinearity == "relu", h):
        return (h,)
    before = 0
    for first, rows in steps_of(starts):
        now = n + first
        sums = _cuda.asarray(xp.matmul(h[before : before + rows], w_h))
        _cuda.launch(
            _cells, rows * units, sums, parts[first : first + rows], nonlinearity == "relu", h[now : now + rows]
        )
        before = now
    return (h,)


def rnn_backward(dh, dh_n, x, starts, h, nonlinearity, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    xp = _cuda.xp()
    n, units = dh_n.shape
    d = _cuda.asarray(xp.empty((len(x), units), x.dtype))
    carried = _cuda.asarray(dh_n.copy())
    whole = _persistent.rnn_backward(w_h, starts, h, nonlinearity == "relu", dh, carried, d)
    for first, rows in reversed([] if whole else steps_of(starts)):
        now, mine = n + first, slice(first, first + rows)
        _cuda.launch(
            _cells_back, rows * units, h[now : now + rows], dh[mine], carried[:rows], nonlinearity == "relu", d[mine]
        )
        carried[:rows] = xp.matmul(d[mine], w_h.T)
    dw_x, dw_h, db = gradients_of_weights(x, rows_before(starts, n, h), d, d)
    dx = xp.matmul(d, w_x.T) if with_dx else xp.empty((0, x.shape[1]), x.dtype)
    return dx, carried, dw_x, dw_h, db


def rnn_variant_forward(x, starts, h0, w_x, w_h, b, nonlinearity, options):
    """Run with options; return (h, what the backward pass takes)."""
    cell = _variant_cells.RNN(w_h, None, options)
    cell.nonlinearity = nonlinearity
    h, _, kept = _variants.forward(cell, x, starts, h0, None, w_x, b, options)
    return h, kept


def rnn_variant_backward(dh, dh_n, x, starts, kept, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    dx, dh0, _, *by_weights = _variants.backward(dh, dh_n, None, x, starts, kept, w_x, w_h, with_dx)
    return (dx, dh0, *by_weights)
