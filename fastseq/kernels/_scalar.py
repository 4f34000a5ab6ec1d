"""Scalar equations that CPU and CUDA bodies share, written once.

Each is compiled inline into its caller, on either target; constants take the type of the argument, so that float32
kernels stay float32 (a bare ``1.0`` would promote them to float64).
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "alias_draw",
    "log_float32",
    "mix64",
    "negative_draw",
    "pool_place",
    "pool_size",
    "random_bits",
    "stream_bits",
    "stream_of",
    "uniform_double",
]

# Constants of the SplitMix64 finaliser: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014, in the variant 13 of Stafford, "Better bit mixing", 2011.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30 = np.uint64(30)
_S27 = np.uint64(27)
_S31 = np.uint64(31)
_S11 = np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@njit(inline="always")
def mix64(z):
    """Mix the 64 bits of ``z`` (uint64): a bijection in which every output bit depends on every input bit."""
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(inline="always")
def random_bits(key, item, draw):
    """Return 64 random bits for (key, item, draw), all uint64: counter-based, so order and threads do not matter."""
    return mix64(mix64(key + item * _GOLDEN) + (draw + np.uint64(1)) * _GOLDEN)


@njit(inline="always")
def stream_of(key, item):
    """Return the state from which `stream_bits` makes the numbers of (key, item): what `random_bits` needs once."""
    return mix64(key + item * _GOLDEN)


@njit(inline="always")
def stream_bits(stream, draw):
    """Return ``random_bits(key, item, draw)`` for ``stream = stream_of(key, item)``."""
    return mix64(stream + (draw + np.uint64(1)) * _GOLDEN)


_S32 = np.uint64(32)
_LOW_32 = np.uint64(0xFFFFFFFF)
# Draws that are kept for each sample: all but the last are tries, the last one leaves out what must not come.
_S6 = np.uint64(6)
_LAST_TRY = np.uint64(63)
_ONE_64 = np.uint64(1)
# A draw has room for four numbers of 16 bits.
_S2 = np.uint64(2)
_S4 = np.uint64(4)
_THREE = np.uint64(3)
_S16 = np.uint64(16)
_LOW_16 = np.uint64(0xFFFF)


@njit(inline="always")
def alias_draw(bits, thresholds, aliases):
    """Return the id that 64 random bits stand for in an alias table (Walker 1977): one of two of a random slot."""
    # The whole part of bits * n / 2**64 is the slot, and the next 32 bits are its fraction: with 32 bits for the slot
    # alone, slots would be unequal by n / 2**32, unless n is a power of two.
    n = np.uint64(thresholds.shape[0])
    place = (bits >> _S32) * n + (((bits & _LOW_32) * n) >> _S32)
    slot = np.int64(place >> _S32)
    # Not a branch: which of the two it is cannot be foreseen, and a wrong guess costs more than the second load.
    other = np.int64(np.uint64(place & _LOW_32) >= np.uint64(thresholds[slot]))
    return slot + other * (np.int64(aliases[slot]) - slot)


@njit(inline="always")
def negative_draw(stream, number, target, thresholds, aliases, weights):
    """Return sample ``number`` (uint64) of a stream: an id drawn from the table, but never ``target``.

    Sample n takes draws 64 (n + 1) to 64 (n + 1) + 63. The first 63 are tries. Should all give ``target``, the last
    picks among the other ids by their weights, so the distribution is the conditional one whatever the target's share.
    At least one other id must have a weight.
    """
    first = (number + _ONE_64) << _S6
    tried = np.uint64(0)
    drawn = target
    while tried < _LAST_TRY and drawn == target:
        drawn = alias_draw(stream_bits(stream, first + tried), thresholds, aliases)
        tried += _ONE_64
    if drawn == target:
        # The weights add up to 2**32 for each id.
        rest = (np.uint64(weights.shape[0]) << _S32) - weights[target]
        point = stream_bits(stream, first + _LAST_TRY) % rest
        drawn = np.int64(-1)
        passed = np.uint64(0)
        while passed <= point:
            drawn += 1
            if drawn != target:
                passed += weights[drawn]
    return drawn


# Samples of a pool for each that a centre takes: where half of the tokens are kept, each is taken ten times or more.
_POOL_SHARE = 100
# Fewer where their rows have more numbers: in float32 these are 256 KB, half of the second cache that many cores have.
# 300 dimensions, 5 negatives: with 43 instead of 100 skip-gram and CBOW are 5 % faster and score the same (31.6 and
# 32.0 % of the analogies for CBOW, 26.5 and 26.1 for skip-gram, one standard error 0.4).
_POOL_NUMBERS = 2**16
# No fewer than scores were measured with, however wide the rows are.
_POOL_SHARE_LEAST = 40
# A sample's place in a pool has 16 bits.
_POOL_MOST = 2**16


@njit(inline="always")
def pool_size(negative, stride):
    """Return how many samples, of rows of ``stride`` numbers, are drawn for a stretch of text; all are int64."""
    share = min(_POOL_SHARE, max(_POOL_SHARE_LEAST, _POOL_NUMBERS // max(negative * stride, 1)))
    return min(share * negative, _POOL_MOST)


@njit(inline="always")
def pool_place(stream, number, first, size):
    """Return where sample ``number`` of a stream stands in a pool of ``size``, at most 2**16; all are uint64.

    Each of the draws from ``first`` on is for four samples, 16 bits for each.
    """
    four = stream_bits(stream, first + (number >> _S2))
    return (((four >> ((number & _THREE) << _S4)) & _LOW_16) * size) >> _S16


@njit(inline="always")
def uniform_double(bits):
    """Return 64 random bits as a float64 in [0, 1) with 53 bits."""
    return np.float64(bits >> _S11) * _TO_UNIT


# Coefficients of the polynomial for log(1 + f) - f + f**2 / 2 in S. Moshier's Cephes library (logf.c, public domain),
# and the logarithm of 2 in two parts, the first of which is exact when multiplied by any exponent.
_LOG_ROOT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)
_MANTISSA = np.int32(0x007FFFFF)
_MANTISSA_BITS = np.int32(23)
_LOG_1 = np.float32(7.0376836292e-2)
_LOG_2 = np.float32(-1.1514610310e-1)
_LOG_3 = np.float32(1.1676998740e-1)
_LOG_4 = np.float32(-1.2420140846e-1)
_LOG_5 = np.float32(1.4249322787e-1)
_LOG_6 = np.float32(-1.6668057665e-1)
_LOG_7 = np.float32(2.0000714765e-1)
_LOG_8 = np.float32(-2.4999993993e-1)
_LOG_9 = np.float32(3.3333331174e-1)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)


@njit(inline="always")
def log_float32(x):
    """Return the natural logarithm of a positive, finite, normal float32, to 0.81 units in the last place (measured).

    Loops over it vectorise, which loops over ``math.log`` do not: 0.22 against 1.8 ns a number.
    """
    bits = np.float32(x).view(np.int32) - _LOG_ROOT_HALF
    exponent = np.float32(bits >> _MANTISSA_BITS)
    f = np.int32((bits & _MANTISSA) + _LOG_ROOT_HALF).view(np.float32) - _ONE
    square = f * f
    y = _LOG_1
    y = y * f + _LOG_2
    y = y * f + _LOG_3
    y = y * f + _LOG_4
    y = y * f + _LOG_5
    y = y * f + _LOG_6
    y = y * f + _LOG_7
    y = y * f + _LOG_8
    y = y * f + _LOG_9
    y = y * f * square + exponent * _LN2_LOW - _HALF * square
    return f + y + exponent * _LN2_HIGH
