"""Alias tables and negative samples on the CPU.

The table is made of IEEE additions, products and quotients in a fixed order, and of whole numbers. ``**`` and ``log``
are left out: their last bits differ from one mathematical library to the next, and with them the weights would.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .._draws import distinct_draw
from .._jit import jit, parallel_jit
from .._scalar import negative_draw, stream_of

_LEAST_NORMAL = 2.0**-1022
_TWO_54 = 2.0**54
_EXPONENT = np.int64(0x7FF)
_MANTISSA = np.int64(2**52 - 1)
_BITS_OF_ONE = np.int64(0x3FF0000000000000)
_ROOT_2 = math.sqrt(2.0)
_ROOT_HALF = math.sqrt(0.5)
_TWO_OVER_LN2 = 2.0 / math.log(2.0)
_LN2 = math.log(2.0)
# What is 2**-1000 of the largest weighs nothing beside it.
_LEAST_POWER = -1000.0
# Shares below this become 1; see _apportion.
_LEAST_SHARE = 1.0 + 2.0**-31
_WHOLE = np.uint64(2**32)


@jit
def _split(
    x,  # IN float64, positive
):
    """Return m in [1, 2) and e with x = m 2**e."""
    lifted = np.int64(0)
    if x < _LEAST_NORMAL:
        x = x * _TWO_54
        lifted = np.int64(54)
    bits = np.float64(x).view(np.int64)
    exponent = ((bits >> np.int64(52)) & _EXPONENT) - np.int64(1023) - lifted
    return np.int64((bits & _MANTISSA) | _BITS_OF_ONE).view(np.float64), exponent


@jit
def _power(
    m,            # IN float64 in [1, 2), e int64: the count m 2**e
    e,            # IN int64
    m_reference,  # IN float64 in [1, 2): the count whose power is the largest
    e_reference,  # IN int64
    power,        # IN float64
):
    """Return (count / reference)**power, which is at most 1."""
    ratio = m / m_reference
    exponent = np.float64(e - e_reference)
    if ratio >= _ROOT_2:
        ratio = ratio * 0.5
        exponent = exponent + 1.0
    elif ratio < _ROOT_HALF:
        ratio = ratio * 2.0
        exponent = exponent - 1.0
    # log(ratio) = 2 artanh(s); s**2 is at most 0.0295, so its 11th power is below 2**-53.
    s = (ratio - 1.0) / (ratio + 1.0)
    z = s * s
    series = 1.0 / 21.0
    series = series * z + 1.0 / 19.0
    series = series * z + 1.0 / 17.0
    series = series * z + 1.0 / 15.0
    series = series * z + 1.0 / 13.0
    series = series * z + 1.0 / 11.0
    series = series * z + 1.0 / 9.0
    series = series * z + 1.0 / 7.0
    series = series * z + 1.0 / 5.0
    series = series * z + 1.0 / 3.0
    series = series * z + 1.0
    y = power * (exponent + s * _TWO_OVER_LN2 * series)
    if not y > _LEAST_POWER:
        return 0.0
    whole = math.floor(y + 0.5)
    # At most 0.35, whose 14th power over 14! is below 2**-57.
    f = (y - whole) * _LN2
    series = 1.0 / 6227020800.0
    series = series * f + 1.0 / 479001600.0
    series = series * f + 1.0 / 39916800.0
    series = series * f + 1.0 / 3628800.0
    series = series * f + 1.0 / 362880.0
    series = series * f + 1.0 / 40320.0
    series = series * f + 1.0 / 5040.0
    series = series * f + 1.0 / 720.0
    series = series * f + 1.0 / 120.0
    series = series * f + 1.0 / 24.0
    series = series * f + 1.0 / 6.0
    series = series * f + 0.5
    series = series * f + 1.0
    series = series * f + 1.0
    return series * np.int64((np.int64(whole) + np.int64(1023)) << np.int64(52)).view(np.float64)


@jit
def _relative(
    counts,    # IN  float64 (v,), at least one positive
    heaviest,  # IN  int64: the id whose power is the largest
    power,     # IN  float64
    relative,  # OUT float64 (v,): powers over the largest, 0 to 1
):
    m_reference, e_reference = _split(counts[heaviest])
    last = 0.0
    value = 0.0
    for i in range(counts.shape[0]):
        count = counts[i]
        # Words are often sorted by their counts, and many have the same: a power of each different one is enough.
        if count != last:
            value = 0.0
            if count > 0.0:
                m, e = _split(count)
                value = _power(m, e, m_reference, e_reference, power)
            last = count
        relative[i] = value


@jit
def _sum_above(
    relative,  # IN float64 (v,)
    scale,     # IN float64
    least,     # IN float64
):
    """Return the sum of what is at least ``least`` when multiplied by ``scale``, as if rounded once (Neumaier 1974)."""
    total = 0.0
    lost = 0.0
    for i in range(relative.shape[0]):
        value = relative[i]
        if value * scale >= least:
            sum_ = total + value
            lost += (total - sum_) + value if total >= value else (value - sum_) + total
            total = sum_
    return total + lost


@jit
def _apportion(
    counts,    # IN  float64 (v,)
    relative,  # IN  float64 (v,)
    heaviest,  # IN  int64: an id whose relative is 1
    weights,   # OUT uint64 (v,)
):
    # Each id has its share of the whole in order, and what is cut off is carried to the next one, so that no weight is
    # off by 1 or more. Ids whose share is below 1 get 1, and the others' shares shrink for it: by less than 2**-32,
    # since there are fewer of the former than the whole divided by 2**32. No share falls below 1 then.
    n_words = counts.shape[0]
    whole = np.uint64(n_words) * _WHOLE
    scale = np.float64(whole) / _sum_above(relative, 1.0, 0.0)
    n_rare = 0
    for i in range(n_words):
        n_rare += counts[i] > 0.0 and relative[i] * scale < _LEAST_SHARE
    own = scale
    if n_rare > 0:
        own = np.float64(whole - np.uint64(n_rare)) / _sum_above(relative, scale, _LEAST_SHARE)
    # The running sum is rounded, not cut: at the end it is a whole number, which float64 may miss from below.
    carried = 0.5
    given = np.uint64(0)
    for i in range(n_words):
        weight = np.uint64(0)
        if counts[i] > 0.0:
            weight = np.uint64(1)
            if relative[i] * scale >= _LEAST_SHARE:
                share = relative[i] * own + carried
                cut = math.floor(share)
                carried = share - cut
                weight = np.uint64(cut)
        weights[i] = weight
        given += weight
    # float64 has 53 bits: a few units in the last place are left over, or too many. Unsigned numbers wrap as they must.
    weights[heaviest] += whole - given


@jit
def _fill_slots(
    weights,     # IN  uint64 (v,), which add up to 2**32 v
    thresholds,  # OUT uint32 (v,)
    aliases,     # OUT int32 (v,)
):
    # Vose's construction with his two lists replaced by two walks over the ids: the next light one (below 2**32), and
    # the heavy one that fills up the light slots until less than a slot is left of it, which the next heavy one fills.
    n_words = weights.shape[0]
    light = 0
    while light < n_words and weights[light] >= _WHOLE:
        light += 1
    heavy = 0
    while weights[heavy] < _WHOLE:
        heavy += 1
    left = weights[heavy]
    while True:
        if left < _WHOLE:
            last = heavy
            heavy += 1
            # There is one: slots that are still open hold 2**32 each on average, and the light ones less.
            while weights[heavy] < _WHOLE:
                heavy += 1
            thresholds[last] = left
            aliases[last] = heavy
            left = weights[heavy] - (_WHOLE - left)
        elif light < n_words:
            thresholds[light] = weights[light]
            aliases[light] = heavy
            left -= _WHOLE - weights[light]
            light += 1
            while light < n_words and weights[light] >= _WHOLE:
                light += 1
        else:
            break
    # What is open now is heavy and holds 2**32 on average: each holds just that.
    for i in range(heavy, n_words):
        if weights[i] >= _WHOLE:
            thresholds[i] = 0
            aliases[i] = i


@parallel_jit
def _draw(
    thresholds,  # IN  uint32 (v,)
    aliases,     # IN  int32 (v,)
    weights,     # IN  uint64 (v,)
    targets,     # IN  int32 (n,)
    key,         # IN  uint64
    start,       # IN  uint64
    out,         # OUT int32 (n, k)
):
    for row in prange(out.shape[0]):
        stream = stream_of(key, start + np.uint64(row))
        target = np.int64(targets[row])
        for j in range(out.shape[1]):
            out[row, j] = negative_draw(stream, np.uint64(j), target, thresholds, aliases, weights)


@parallel_jit
def _draw_distinct(
    thresholds,  # IN  uint32 (v,)
    aliases,     # IN  int32 (v,)
    weights,     # IN  uint64 (v,)
    targets,     # IN  int32 (n,)
    key,         # IN  uint64
    start,       # IN  uint64
    out,         # OUT int32 (n, k)
):
    for row in prange(out.shape[0]):
        stream = stream_of(key, start + np.uint64(row))
        target = np.int64(targets[row])
        for j in range(out.shape[1]):
            out[row, j] = distinct_draw(stream, j, target, row, out, thresholds, aliases, weights)


def unigram_table(counts, power):
    """Build the table; see the contract."""
    n_words = len(counts)
    if power < 0:
        heaviest = int(np.where(counts > 0, counts, np.inf).argmin())
    else:
        heaviest = int(counts.argmax())
    relative = np.empty(n_words)
    weights = np.empty(n_words, np.uint64)
    _relative(counts, heaviest, power, relative)
    _apportion(counts, relative, heaviest, weights)
    thresholds = np.empty(n_words, np.uint32)
    aliases = np.empty(n_words, np.int32)
    _fill_slots(weights, thresholds, aliases)
    return thresholds, aliases, weights


def sample_negatives(thresholds, aliases, weights, targets, k, key, start, replace):
    """Draw; see the contract."""
    out = np.empty((len(targets), k), np.int32)
    body = _draw if replace else _draw_distinct
    body(thresholds, aliases, weights, targets, np.uint64(key), np.uint64(start), out)
    return out
