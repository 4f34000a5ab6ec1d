"""The unigram table and negative sampling, the specification."""

from __future__ import annotations

import math

import numpy as np

from ..registry import Case
from .random import random_bits

_LEAST_SHARE = 1.0 + 2.0**-31


def relative_powers(counts, power):
    """Return ``counts ** power`` over its largest, 0 where a count is 0.

    ``(m 2**e)**power = 2**(power (e + log2(m)))``, by the series of artanh and of the exponential function: float64
    additions, products and quotients only, which are rounded alike everywhere.
    """
    counts = np.asarray(counts, np.float64)
    occurs = counts > 0
    reference = counts[occurs].min() if power < 0 else counts.max()
    mantissa, exponent = np.frexp(counts[occurs])
    own_mantissa, own_exponent = np.frexp(reference)
    ratio = (2.0 * mantissa) / (2.0 * own_mantissa)
    exponent = (exponent - own_exponent).astype(np.float64)
    above, below = ratio >= math.sqrt(2.0), ratio < math.sqrt(0.5)
    ratio = np.where(above, ratio * 0.5, np.where(below, ratio * 2.0, ratio))
    exponent = np.where(above, exponent + 1.0, np.where(below, exponent - 1.0, exponent))

    s = (ratio - 1.0) / (ratio + 1.0)
    series = np.zeros_like(s)
    for n in range(21, 0, -2):
        series = series * (s * s) + 1.0 / n
    with np.errstate(over="ignore"):
        y = power * (exponent + s * (2.0 / math.log(2.0)) * series)
    seen = y > -1000.0
    y = np.where(seen, y, 0.0)

    whole = np.floor(y + 0.5)
    f = (y - whole) * math.log(2.0)
    series = np.zeros_like(f)
    for n in range(13, -1, -1):
        series = series * f + 1.0 / math.factorial(n)
    result = np.zeros(len(counts))
    result[occurs] = np.where(seen, np.ldexp(series, whole.astype(np.int32)), 0.0)
    return result


def _sum(values):
    """Return the sum with what each addition rounds off added at the end (Neumaier 1974)."""
    total = lost = 0.0
    for value in values.tolist():
        new = total + value
        lost += (total - new) + value if total >= value else (value - new) + total
        total = new
    return total + lost


def unigram_weights(counts, power):
    """Return whole numbers that add up to ``V * 2**32``, one for each id: nearest to proportional, and none lost."""
    counts = np.asarray(counts, np.float64)
    relative = relative_powers(counts, power)
    whole = len(counts) << 32
    scale = float(whole) / _sum(relative)
    plenty = relative * scale >= _LEAST_SHARE
    rare = (counts > 0) & ~plenty
    own = float(whole - int(rare.sum())) / _sum(relative[plenty]) if rare.any() else scale

    weights = np.where(rare, 1, 0).tolist()
    carried = 0.5
    for i in np.flatnonzero(plenty):
        share = float(relative[i]) * own + carried
        weights[i] = math.floor(share)
        carried = share - weights[i]
    weights[int(np.argmax(relative == 1.0))] += whole - sum(weights)
    return weights


def unigram_table(counts, power=0.75):
    """Return thresholds, aliases and weights (Walker 1977), filling the slots in order.

    The first id that has more than a slot's 2**32 gives to the slots below it, in order, until less than a slot is left
    of it; then its own slot is one of those, and the next such id fills it.
    """
    weights = unigram_weights(counts, float(power))
    slot = 1 << 32
    thresholds, aliases = [0] * len(weights), list(range(len(weights)))
    light = [i for i, weight in enumerate(weights) if weight < slot]
    heavy = [i for i, weight in enumerate(weights) if weight >= slot]
    giver = heavy.pop(0)
    left = weights[giver]
    while light or left < slot:
        if left < slot:
            thresholds[giver], aliases[giver] = left, heavy[0]
            giver, left = heavy.pop(0), weights[aliases[giver]] - (slot - left)
        else:
            i = light.pop(0)
            thresholds[i], aliases[i] = weights[i], giver
            left -= slot - weights[i]
    return np.array(thresholds, np.uint32), np.array(aliases, np.int32), np.array(weights, np.uint64)


def sample_negatives(thresholds, aliases, weights, targets, k, *, key=0, start=0, replace=True):
    """Return ``k`` ids for each target: 63 tries each, then one draw among the weights of what is left."""
    n_words = len(weights)
    weights = np.asarray(weights, np.uint64)
    out = np.empty((len(targets), k), np.int32)
    for n, target in enumerate(np.asarray(targets).tolist()):
        for j in range(k):
            gone = [i for i in (target, *([] if replace else out[n, :j].tolist())) if i >= 0]
            bits = random_bits(key, (start + n) % 2**64, 64 * (j + 1) + np.arange(64))
            high, low = bits >> np.uint64(32), bits & np.uint64(2**32 - 1)
            place = high * np.uint64(n_words) + (low * np.uint64(n_words) >> np.uint64(32))
            slots = (place >> np.uint64(32)).astype(np.int64)
            kept = (place & np.uint64(2**32 - 1)) < thresholds[slots]
            tries = np.where(kept, slots, aliases[slots])[:63]
            free = np.flatnonzero(~np.isin(tries, gone))
            if len(free):
                out[n, j] = tries[free[0]]
                continue
            left = weights.copy()
            left[gone] = 0
            reached = np.cumsum(left)
            out[n, j] = np.searchsorted(reached, bits[63] % reached[-1], side="right")
    return out


def unigram_table_cases():
    """Yield counts of every kind and powers of every sign."""
    rng = np.random.default_rng(11)
    yield Case("one word", (np.array([7]),))
    yield Case("two words, one does not occur", (np.array([0, 3]),))
    yield Case("words that are equally frequent", (np.full(33, 5),))
    zipf = (1e6 / (np.arange(700) + 2.7)).astype(np.int64)
    for power in (0.75, 1, 0.0, 0.5, -0.75, -3, 2.5, 40.0, -1e300, np.float32(0.1)):
        yield Case(f"Zipf, power {power}", (zipf, power))
    yield Case("a word seen once beside one of 10**9", (np.array([10**9, 1, 5, 0, 1]), 1.0))
    yield Case("shares far below 1", (np.array([1e300, 1.0, 1e-300, 5e-324, 2e299, 0.0, 1e284]), 1.0))
    yield Case("shares near 1", (np.array([2.0**32 + x for x in (0, 1, -1)] + [1.0, 1.0 + 1e-9, 1.0 - 1e-9]), 1.0))
    yield Case("the smallest and the largest float64", (np.array([5e-324, 1.7e308]), 0.01))
    counts = rng.integers(0, 2**53, 200)
    yield Case("in no order", (counts, 0.75))
    yield Case("floats", (rng.random(65).astype(np.float32), 0.75))
    yield Case("strided", (counts[::3], 0.75))
    yield Case("byte-swapped", (counts.astype(counts.dtype.newbyteorder()), 0.75))
    fixed = counts.copy()
    fixed.flags.writeable = False
    yield Case("read-only", (fixed,), {"power": -0.5})


def sample_negatives_cases():
    """Yield targets of every kind, tables in which one id has nearly everything, and rows that take all ids."""
    rng = np.random.default_rng(13)
    zipf = unigram_table(1e4 / (np.arange(300) + 2.7))
    targets = rng.integers(-1, 300, 33).astype(np.int32)
    for replace in (True, False):
        what = {"replace": replace}
        told = "with" if replace else "without"
        yield Case(f"{told} replacement", (*zipf, targets, 5), {"key": 2**64 - 1, **what})
        yield Case(f"{told} replacement, no target", (*zipf, targets[:0], 5), what)
        yield Case(f"{told} replacement, no sample", (*zipf, targets, 0), what)
        yield Case(f"{told} replacement, one", (*zipf, targets[:1], 1), what)
        yield Case(f"{told} replacement, from a late row", (*zipf, targets[:5], 2), {"start": 2**40 + 1, **what})
        yield Case(f"{told} replacement, the last row", (*zipf, targets[:5], 2), {"start": 2**63 - 1, **what})
        rare = unigram_table([10**9, 3, 0, 5, 1, 2], 1.0)
        most = np.zeros(9, np.int32)
        yield Case(f"{told} replacement, a target with nearly everything", (*rare, most, 4), {"key": 5, **what})
        yield Case(f"{told} replacement, one other id", (*unigram_table([8, 2]), np.array([0, 1, 1]), 1), what)
        yield Case(f"{told} replacement, one id", (*unigram_table([0, 2, 0]), np.array([0, 2, -1]), 1), what)
    few = unigram_table(np.arange(7.0))
    yield Case("all ids of a table", (*few, np.array([0, 0, -1, 6, 1]), 5), {"replace": False, "key": 3})
    yield Case("all ids but a target of no weight", (*few, np.array([0, -1]), 6), {"replace": False, "key": 4})
    yield Case("strided int64 targets", (*zipf, np.repeat(targets, 2).astype(np.int64)[::2], 3))
    fixed = targets.copy()
    fixed.flags.writeable = False
    table = [part.copy() for part in zipf]
    for part in table:
        part.flags.writeable = False
    yield Case("read-only", (*table, fixed, 3))
    swapped = [part.astype(part.dtype.newbyteorder()) for part in (*zipf, targets)]
    yield Case("byte-swapped", (*swapped, 3))
