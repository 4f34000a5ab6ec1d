"""Counter-based random numbers on the CPU."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .._jit import parallel_jit
from .._scalar import random_bits, uniform_double
from ._memory import pool

_TWO_PI = 2.0 * math.pi


@parallel_jit
def _fill_uniform(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float32 or float64 (n,)
):
    for i in prange(out.shape[0]):
        u = uniform_double(random_bits(key, start + np.uint64(i), draw))
        # float32 has 24 bits: rounding 53 of them could give 1, so the low ones are cut off.
        out[i] = math.floor(u * 16777216.0) / 16777216.0 if out.itemsize == 4 else u


@parallel_jit
def _fill_normal(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float32 or float64 (n,)
):
    for i in prange(out.shape[0]):
        item = start + np.uint64(i)
        pair = item >> np.uint64(1)
        u = uniform_double(random_bits(key, pair, np.uint64(2) * draw))
        v = uniform_double(random_bits(key, pair, np.uint64(2) * draw + np.uint64(1)))
        radius = math.sqrt(-2.0 * math.log(1.0 - u))
        angle = _TWO_PI * v
        out[i] = radius * (math.sin(angle) if item & np.uint64(1) else math.cos(angle))


def random_uniform(key, n, start, draw, dtype):
    """Allocate and fill ``n`` uniform numbers."""
    out = pool.array((n,), dtype)
    _fill_uniform(key, np.uint64(start), np.uint64(draw), out)
    return out


def random_normal(key, n, start, draw, dtype):
    """Allocate and fill ``n`` standard normal numbers."""
    out = np.empty(n, dtype)
    _fill_normal(key, np.uint64(start), np.uint64(draw), out)
    return out
