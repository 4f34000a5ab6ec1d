"""Counter-based random numbers on the CPU."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .._jit import jit, parallel_jit
from .._scalar import random_bits, uniform_double
from ._memory import pool

_TWO_PI = 2.0 * math.pi
_S40, _S32 = np.uint64(40), np.uint64(32)
_LOW_32 = np.uint64(2**32 - 1)
_TO_UNIT = np.float32(2.0**-24)
# Words of 64 bits that are drawn at a time: their numbers stay in the first cache.
_WORDS = 1024


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


@jit(lean=True)
def _mask_words(key, start, draw, last, below, above, words, halves, begin, end):
    # Bits first, in the place of the numbers, and indices that cannot be below 0: each loop is of vectors that way.
    # With other indices 70,000 numbers took 241 us on one core without AVX-512, with these 112 to 133. The lower half
    # of a word comes first in memory on all processors that Numba compiles for.
    for i in range(np.uint64(begin), np.uint64(end)):
        words[i] = random_bits(key, start + i, draw)
    for i in range(np.uint64(2 * begin), np.uint64(2 * end)):
        halves[i] = below if halves[i] <= last else above


@parallel_jit
def _fill_mask_float32(
    key,    # IN  uint64
    start,  # IN  uint64, the first word
    draw,   # IN  uint64
    last,   # IN  uint32, the greatest that gives ``below``
    below,  # IN  uint32, the bits of the number
    above,  # IN  uint32
    words,  # OUT uint64 (n,)
    halves,  # OUT uint32 (2 * n,), the same memory: the numbers' bits
):
    n = words.shape[0]
    for block in prange(-(-n // _WORDS)):
        begin = np.int64(block) * _WORDS
        _mask_words(key, start, draw, last, below, above, words, halves, begin, min(begin + _WORDS, n))


@parallel_jit
def _fill_mask_float64(
    key,    # IN  uint64
    start,  # IN  uint64, the first word
    draw,   # IN  uint64
    last,   # IN  uint32, the greatest that gives ``below``
    below,  # IN  float64
    above,  # IN  float64
    out,    # OUT float64 (2 * n,)
):
    for i in prange(out.shape[0] // 2):
        bits = random_bits(key, start + np.uint64(i), draw)
        out[2 * i] = below if np.uint32(bits & _LOW_32) <= last else above
        out[2 * i + 1] = below if np.uint32(bits >> _S32) <= last else above


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
    """Allocate and fill ``n`` numbers; ``limit`` is the share's in whole numbers of 32 bits."""
    # Whole words, from the one that the first number is of to that of the last.
    skipped = start % 2
    out = pool.array((-(-(skipped + n) // 2) * 2,), dtype)
    told = np.uint64(key), np.uint64(start // 2), np.uint64(draw), np.uint32(max(limit - 1, 0))
    if limit == 0:
        out[:] = above
    elif out.itemsize == 4:
        halves = out.view(np.uint32)
        _fill_mask_float32(*told, below.view(np.uint32), above.view(np.uint32), out.view(np.uint64), halves)
    else:
        _fill_mask_float64(*told, below, above, out)
    return out[skipped : skipped + n]


def random_normal(key, n, start, draw, dtype):
    """Allocate and fill ``n`` standard normal numbers."""
    out = np.empty(n, dtype)
    _fill_normal(key, np.uint64(start), np.uint64(draw), out)
    return out
