"""Recurrent networks with CUDA: one product for the inputs of all steps, then one product and one cell kernel a step.

Gates are rows (r, gates * h) here. The products are the array library's (cuBLAS); the kernels in this module are what
is left: everything that is done for one unit of one sequence.
"""

from __future__ import annotations

import numpy as np

from .. import _cuda

__all__ = ["gradients_of_weights", "rows_before", "steps_of"]


def steps_of(starts):
    """Return (first row, rows) of each step as plain numbers."""
    return [(int(first), int(last - first)) for first, last in zip(starts[:-1], starts[1:])]


def rows_before(starts, n, states):
    """Return the states (r, h) that each row began with, from (n + r, h)."""
    counts = np.diff(starts)
    base = np.concatenate(([0], n + starts[:-2])) if len(counts) else np.zeros(0, np.int64)
    which = np.arange(int(starts[-1])) + np.repeat(base - starts[:-1], counts)
    return states[_cuda.asarray(which)]


def gradients_of_weights(x, before, by_x, by_h):
    """Return (dw_x, dw_h, db) from gradients by the gates' parts of x and of h."""
    xp = _cuda.xp()
    return xp.matmul(x.T, by_x), xp.matmul(before.T, by_h), by_x.sum(axis=0)
