"""Recurrent networks with options on CUDA: the array library's products and elementwise functions, step by step.

The plain cells have kernels of their own; what options add is many small cases, of which each is one function here.
Shapes and names are those of the oracle; rows are the ones of `_recurrent`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _cuda
from ._recurrent import rows_before, steps_of

__all__ = ["Cell", "backward", "forward"]

_EPSILON = 1e-5


def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    xp = _cuda.xp()
    power = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, x.dtype.type(1), power) / (1 + power)


def normalized(x):
    """Return rows with mean 0 and variance 1, and what they were multiplied by."""
    xp = _cuda.xp()
    apart = x - x.mean(axis=1, keepdims=True)
    scale = 1 / xp.sqrt(xp.square(apart).mean(axis=1, keepdims=True) + x.dtype.type(_EPSILON))
    return apart * scale, scale


def norm_back(d, y, scale):
    """Return the gradient by x of ``normalized(x)``, which was (y, scale)."""
    return scale * (d - d.mean(axis=1, keepdims=True) - y * (d * y).mean(axis=1, keepdims=True))


class Step(NamedTuple):
    """What a step leaves: rows of what the product took, of c before, and whatever the cell wants to see again."""

    first: int
    rows: int
    h_in: Any
    c: Any
    h_norm: Any  # (normalised, scale) of the states' part
    own: tuple[Any, ...]


class Kept(NamedTuple):
    """What a forward pass leaves."""

    cell: Any
    options: dict[str, Any]
    h: Any
    steps: list[Step]
    x_norm: Any


class Cell:
    """A kind of cell: its equations for the rows of one step, forward and backward.

    ``forward(by_x, by_h, h, h_in, c)`` returns (what becomes the new states, new cell states, what the way back takes);
    by_x and by_h are the parts of the sums, the bias in the first. ``backward(to, to_new, step, sums)`` returns the
    gradients (by x's part, by h's part, by the states past the gates, by what the product took past it, by c) and adds
    to sums.
    """

    def __init__(self, w_h: Any, b_n: Any, options: dict[str, Any]) -> None:
        self.w_h, self.b_n, self.options = w_h, b_n, options

    def states_part(self, h_in):
        """Return the product of the states with their weights."""
        return _cuda.xp().matmul(h_in, self.w_h)

    def carry(self, by_h):
        """Return the gradient by what the product took."""
        return _cuda.xp().matmul(by_h, self.w_h.T)

    def weights_back(self, before, d_h, steps):
        """Return the gradient by w_h."""
        return _cuda.xp().matmul(before.T, d_h)

    def end_back(self, sums, d_h, gains):
        """Return the gradients of what only some cells have."""
        return gains


def _keep(options, name, rows):
    keep = options.get(name)
    return 0 if keep is None else keep[rows]


def _held(options, name, rows, old, new):
    """Return the share to be kept of old states and the rest of the new ones; infinity without a share does no harm."""
    keep = options.get(name)
    if keep is None:
        return new
    xp, keep = _cuda.xp(), keep[rows]
    rest = 1 - keep
    return keep * xp.where(keep > 0, old, 0) + rest * xp.where(rest > 0, new, 0)


def forward(cell, x, starts, h0, c0, w_x, b, options):
    """Run all steps; return (h, c, (Kept,))."""
    xp = _cuda.xp()
    n, h_units = h0.shape
    by_x, x_norm = xp.matmul(x, w_x), None
    if "norm" in options:
        x_norm = normalized(by_x)
        by_x = x_norm[0] * options["norm"][0]
    by_x = by_x + b
    h = _cuda.asarray(xp.empty((n + len(x), h_units), x.dtype))
    h[:n] = h0
    c = h[:0]
    if c0 is not None:
        c = _cuda.asarray(xp.empty((n + len(x), c0.shape[1]), x.dtype))
        c[:n] = c0
    kept = []
    before = 0
    for first, rows in steps_of(starts):
        now, mine = n + first, slice(first, first + rows)
        old, old_c = h[before : before + rows], c[before : before + rows]
        h_in = old * options["mask_h"][:rows] if "mask_h" in options else old
        by_h, h_norm = cell.states_part(h_in), None
        if "norm" in options:
            h_norm = normalized(by_h)
            by_h = h_norm[0] * options["norm"][1]
        new, new_c, own = cell.forward(by_x[mine], by_h, old, h_in, old_c)
        h[now : now + rows] = _held(options, "keep_h", mine, old, new)
        if c0 is not None:
            c[now : now + rows] = _held(options, "keep_c", mine, old_c, new_c)
        kept.append(Step(first, rows, h_in, old_c, h_norm, own))
        before = now
    return h, c, (Kept(cell, options, h, kept, x_norm),)


def backward(dy, dh_n, dc_n, x, starts, kept, w_x, w_h, with_dx):
    """Return (dx, dh0, dc0, dw_x, dw_h, db, *more); see the contracts."""
    xp = _cuda.xp()
    cell, options, h, steps, x_norm = kept
    n = len(dh_n)
    # Copies of the simulator's arrays are such arrays; sums of products with NumPy's would not be.
    dh = _cuda.asarray(dh_n.copy())
    dc = None if dc_n is None else _cuda.asarray(dc_n.copy())
    d_x = _cuda.asarray(xp.zeros((len(x), w_x.shape[1]), x.dtype))
    d_h = _cuda.asarray(xp.zeros((len(x), w_x.shape[1]), x.dtype))
    sums: dict[str, Any] = {}
    h_gains = None
    for step in reversed(steps):
        mine = slice(step.first, step.first + step.rows)
        to = dh[: step.rows] + dy[mine]
        keep = _keep(options, "keep_h", mine)
        past = keep * to
        keep_c = _keep(options, "keep_c", mine)
        to_c = None if dc is None else dc[: step.rows]
        by_x, by_h, beside, more_in, by_c = cell.backward(
            (1 - keep) * to, None if dc is None else (1 - keep_c) * to_c, step, sums
        )
        d_x[mine] = by_x
        if step.h_norm is not None:
            gained = (by_h * step.h_norm[0]).sum(axis=0)
            h_gains = gained if h_gains is None else h_gains + gained
            by_h = norm_back(by_h * options["norm"][1], *step.h_norm)
        d_h[mine] = by_h
        back = cell.carry(by_h) + more_in
        if "mask_h" in options:
            back = back * options["mask_h"][: step.rows]
        dh[: step.rows] = back + past + beside
        if dc is not None:
            dc[: step.rows] = by_c + keep_c * to_c
    db = d_x.sum(axis=0)
    gains = []
    if x_norm is not None:
        gains = [(d_x * x_norm[0]).sum(axis=0), xp.zeros_like(options["norm"][1]) if h_gains is None else h_gains]
        d_x = norm_back(d_x * options["norm"][0], *x_norm)
    before = rows_before(starts, n, h)
    if "mask_h" in options:
        sequence = np.arange(len(x)) - np.repeat(starts[:-1], np.diff(starts))
        before = before * options["mask_h"][_cuda.asarray(sequence)]
    dw_h = cell.weights_back(before, d_h, steps)
    dx = xp.matmul(d_x, w_x.T) if with_dx else xp.empty((0, x.shape[1]), x.dtype)
    return dx, dh, dc, xp.matmul(x.T, d_x), dw_h, db, *cell.end_back(sums, d_h, gains)
