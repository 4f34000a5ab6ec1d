"""Counter-based random numbers with CUDA: the bits are those of the CPU."""

from __future__ import annotations

import math

import numpy as np

from .. import _cuda
from .._cuda import cuda
from .._scalar import random_bits, uniform_double

_TWO_PI = 2.0 * math.pi
_S11 = np.uint64(11)
_S32 = np.uint64(32)
_S40 = np.uint64(40)
_LOW_32 = np.uint64(2**32 - 1)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_THREE = np.uint64(3)
_TO_UNIT_24 = np.float32(2.0**-24)
_TO_UNIT_53 = np.float32(2.0**-53)
_ALL_53 = np.uint64(2**53)
_HALF_53 = np.uint64(2**52)
# Parts of a turn in 2**53 units: an eighth, and the two bits above a quarter.
_EIGHTH = np.uint64(2**50)
_S51 = np.uint64(51)
_QUARTER_MASK = np.uint64(2**51 - 1)
_SIGNED_EIGHTH = np.int64(2**50)
_TO_ANGLE = np.float32(2.0 * math.pi * 2.0**-53)
_MINUS_TWO = np.float32(-2.0)
# Taylor's terms up to the tenth power: on [-pi / 4, pi / 4] what is left out is below 2e-9.
_SIN_3, _SIN_5, _SIN_7, _SIN_9 = (np.float32(c) for c in (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880))
_COS_2, _COS_4, _COS_6, _COS_8, _COS_10 = (np.float32(c) for c in (-1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800))
_UNIT = np.float32(1.0)


@_cuda.cuda_jit
def _fill_uniform_float32(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float32 (n,)
):
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        bits = np.uint64(random_bits(key, start + np.uint64(i), draw))
        # The highest 24 bits are what is left of 53 when the low ones are cut off; both steps here are exact.
        out[i] = np.float32(bits >> _S40) * _TO_UNIT_24


@_cuda.cuda_jit
def _fill_uniform_float64(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float64 (n,)
):
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        out[i] = uniform_double(np.uint64(random_bits(key, start + np.uint64(i), draw)))


@_cuda.cuda_jit
def _fill_mask(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    limit,  # IN  uint64, at most 2**32
    below,  # IN  float
    above,  # IN  float
    out,    # OUT float (n,)
):
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        item = start + np.uint64(i)
        bits = np.uint64(random_bits(key, item >> _ONE, draw))
        half = bits >> _S32 if item & _ONE else bits & _LOW_32
        out[i] = below if half < limit else above


@_cuda.cuda_jit
def _fill_normal_float32(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float32 (n,)
):
    # The 53-bit numbers stay integers until nothing is lost by making them float32: a small u, a small 1 - u, and the
    # distance of the angle from the nearest quarter turn all keep 24 significant bits. The same steps in float32 with
    # NumPy were off by at most 2.3e-7 (1 + |value|) for 24 million numbers, the largest possible (8.57) among them.
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        item = start + np.uint64(i)
        pair = item >> _ONE
        u = np.uint64(random_bits(key, pair, _TWO * draw)) >> _S11
        v = np.uint64(random_bits(key, pair, _TWO * draw + _ONE)) >> _S11
        if u < _HALF_53:
            logarithm = math.log1p(-(np.float32(u) * _TO_UNIT_53))
        else:
            logarithm = math.log(np.float32(_ALL_53 - u) * _TO_UNIT_53)
        radius = math.sqrt(_MINUS_TWO * np.float32(logarithm))
        turned = v + _EIGHTH
        quarter = (turned >> _S51) & _THREE
        angle = np.float32(np.int64(turned & _QUARTER_MASK) - _SIGNED_EIGHTH) * _TO_ANGLE
        square = angle * angle
        sine = angle + angle * square * (_SIN_3 + square * (_SIN_5 + square * (_SIN_7 + square * _SIN_9)))
        cosine = _UNIT + square * (
            _COS_2 + square * (_COS_4 + square * (_COS_6 + square * (_COS_8 + square * _COS_10)))
        )
        # cos(x + q pi / 2) and sin(x + q pi / 2) = cos(x + (q - 1) pi / 2).
        if item & _ONE:
            quarter = (quarter + _THREE) & _THREE
        value = sine if quarter & _ONE else cosine
        # Quarters 1 and 2 change the sign.
        out[i] = radius * (-value if (quarter + _ONE) & _TWO else value)


@_cuda.cuda_jit
def _fill_normal_float64(
    key,    # IN  uint64
    start,  # IN  uint64
    draw,   # IN  uint64
    out,    # OUT float64 (n,)
):
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        item = start + np.uint64(i)
        pair = item >> _ONE
        u = uniform_double(np.uint64(random_bits(key, pair, _TWO * draw)))
        v = uniform_double(np.uint64(random_bits(key, pair, _TWO * draw + _ONE)))
        radius = math.sqrt(-2.0 * math.log(1.0 - u))
        angle = _TWO_PI * v
        out[i] = radius * (math.sin(angle) if item & _ONE else math.cos(angle))


PTX = {
    "_fill_uniform_float32": ["void(uint64, uint64, uint64, float32[::1])"],
    "_fill_uniform_float64": ["void(uint64, uint64, uint64, float64[::1])"],
    "_fill_mask": [
        "void(uint64, uint64, uint64, uint64, float32, float32, float32[::1])",
        "void(uint64, uint64, uint64, uint64, float64, float64, float64[::1])",
    ],
    "_fill_normal_float32": ["void(uint64, uint64, uint64, float32[::1])"],
    "_fill_normal_float64": ["void(uint64, uint64, uint64, float64[::1])"],
}


def random_uniform(key, n, start, draw, dtype):
    """Allocate and fill ``n`` uniform numbers."""
    out = _cuda.asarray(_cuda.xp().empty(n, dtype))
    body = _fill_uniform_float32 if out.dtype == np.float32 else _fill_uniform_float64
    _cuda.launch(body, n, np.uint64(key), np.uint64(start), np.uint64(draw), out)
    return out


def random_mask(key, n, limit, below, above, start, draw, dtype):
    """Allocate and fill ``n`` numbers; ``limit`` is the share's in whole numbers of 32 bits."""
    out = _cuda.asarray(_cuda.xp().empty(n, dtype))
    _cuda.launch(_fill_mask, n, np.uint64(key), np.uint64(start), np.uint64(draw), np.uint64(limit), below, above, out)
    return out


def random_normal(key, n, start, draw, dtype):
    """Allocate and fill ``n`` standard normal numbers."""
    out = _cuda.asarray(_cuda.xp().empty(n, dtype))
    body = _fill_normal_float32 if out.dtype == np.float32 else _fill_normal_float64
    _cuda.launch(body, n, np.uint64(key), np.uint64(start), np.uint64(draw), out)
    return out
