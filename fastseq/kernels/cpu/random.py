"""Counter-based random numbers on the CPU."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .._jit import parallel_jit
from .._scalar import random_bits, uniform_double
from ._memory import pool

_TWO_PI = 2.0 * math.pi
_S40, _S11 = np.uint64(40), np.uint64(11)
_TO_UNIT = np.float32(2.0**-24)


@parallel_jit
def _fill_uniform_float32(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float32 (n,)
):
    for i in prange(out.shape[0]):
        # 24 bits, all that a float32 holds: rounding more of them could give 1. By way of an int32, whose conversion is
        # one instruction a vector; by way of float64 it took 128 instead of 80 us for 455,000 numbers.
        bits = np.int32(random_bits(key, start + np.uint64(i), draw) >> _S40)
        out[i] = np.float32(bits) * _TO_UNIT


@parallel_jit
def _fill_uniform_float64(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float64 (n,)
):
    for i in prange(out.shape[0]):
        out[i] = uniform_double(random_bits(key, start + np.uint64(i), draw))


@parallel_jit
def _fill_mask_float32(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    limit,  # IN  int32, at most 2**24
    below,  # IN  float32
    above,  # IN  float32
    out,    # OUT float32 (n,)
):
    for i in prange(out.shape[0]):
        out[i] = below if np.int32(random_bits(key, start + np.uint64(i), draw) >> _S40) < limit else above


@parallel_jit
def _fill_mask_float64(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    limit,  # IN  int64, at most 2**53
    below,  # IN  float64
    above,  # IN  float64
    out,    # OUT float64 (n,)
):
    for i in prange(out.shape[0]):
        out[i] = below if np.int64(random_bits(key, start + np.uint64(i), draw) >> _S11) < limit else above


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
    fill = _fill_uniform_float32 if out.itemsize == 4 else _fill_uniform_float64
    fill(key, np.uint64(start), np.uint64(draw), out)
    return out


def random_mask(key, n, limit, below, above, start, draw, dtype):
    """Allocate and fill ``n`` numbers; ``limit`` is the share's in whole numbers of 24 or 53 bits."""
    out = pool.array((n,), dtype)
    fill, number = (_fill_mask_float32, np.int32) if out.itemsize == 4 else (_fill_mask_float64, np.int64)
    fill(key, np.uint64(start), np.uint64(draw), number(limit), below, above, out)
    return out


def random_normal(key, n, start, draw, dtype):
    """Allocate and fill ``n`` standard normal numbers."""
    out = np.empty(n, dtype)
    _fill_normal(key, np.uint64(start), np.uint64(draw), out)
    return out
