"""Counter-based random numbers, the specification: SplitMix64's mixer applied to the key and item, then to the draw."""

from __future__ import annotations

import numpy as np

from ..registry import Case

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def mix64(z):
    """Mix uint64 values (Stafford's variant 13 of the finaliser in Steele, Lea and Flood, OOPSLA 2014)."""
    z = np.asarray(z, np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    return z ^ (z >> np.uint64(31))


def random_bits(key, items, draws=0):
    """Return uint64 bits for (key, item, draw); ``items`` and ``draws`` broadcast."""
    # One-element arrays, since NumPy warns of overflow for uint64 scalars and wraps arrays silently.
    items, draws = np.broadcast_arrays(np.asarray(items), np.asarray(draws))
    shape = items.shape
    item = items.astype(np.uint64).reshape(-1)
    draw = draws.astype(np.uint64).reshape(-1)
    inner = mix64(np.array([key], np.uint64) + item * np.uint64(_GOLDEN))
    return mix64(inner + (draw + np.uint64(1)) * np.uint64(_GOLDEN)).reshape(shape)


def random_uniform(key, n, start=0, draw=0, dtype="float32"):
    """Return ``n`` float64 numbers in [0, 1): the top 53 bits divided by 2**53, whatever ``dtype`` says."""
    bits = random_bits(key, np.arange(start, start + n, dtype=np.uint64), draw)
    return (bits >> np.uint64(11)).astype(np.float64) / 2.0**53


def random_mask(key, n, share, below=0.0, above=1.0, start=0, draw=0, dtype="float32"):
    """Return ``n`` float64 numbers: ``below`` where 32 bits are below the share of 2**32.

    Items 2m and 2m + 1 are the lower and the upper half of the bits of item m.
    """
    items = np.arange(start, start + n, dtype=np.uint64)
    bits = random_bits(key, items >> np.uint64(1), draw)
    halves = np.where(items & np.uint64(1), bits >> np.uint64(32), bits & np.uint64(2**32 - 1))
    return np.where(halves / 2.0**32 < share, np.float64(below), np.float64(above))


def random_normal(key, n, start=0, draw=0, dtype="float32"):
    """Return ``n`` float64 standard normal numbers.

    Items 2m and 2m + 1 are the cosine and sine of one pair of uniform numbers (Box and Muller, "A note on the
    generation of random normal deviates", 1958), which are draws ``2 draw`` and ``2 draw + 1`` of item m.
    """
    items = np.arange(start, start + n, dtype=np.uint64)
    pairs = items >> np.uint64(1)
    u = (random_bits(key, pairs, 2 * draw) >> np.uint64(11)).astype(np.float64) / 2.0**53
    v = (random_bits(key, pairs, 2 * draw + 1) >> np.uint64(11)).astype(np.float64) / 2.0**53
    radius = np.sqrt(-2.0 * np.log(1.0 - u))
    angle = 2.0 * np.pi * v
    return np.where(items & np.uint64(1), radius * np.sin(angle), radius * np.cos(angle))


def _cases():
    for dtype in ("float32", "float64"):
        for n in (0, 1, 2, 33, 1000):
            yield Case(f"{n} {dtype}", (np.uint64(12345), n), {"dtype": dtype})
        yield Case(f"from an odd start, {dtype}", (np.uint64(2**64 - 1), 7, 3, 5), {"dtype": dtype})
        yield Case(f"beyond 2**32 items, {dtype}", (np.uint64(0), 5, 2**33 + 1), {"dtype": dtype})


def random_mask_cases():
    """Yield shares from none to all, and two whose limits are numbers that can be drawn."""
    for case in _cases():
        for share, below, above in ((0.5, 0.0, 2.0), (0.1, 1.0, 0.0), (0.0, -1.0, 3.0), (1.0, -1.0, 3.0)):
            key, n, *behind = case.arguments
            told = dict(zip(("start", "draw"), behind))
            yield Case(f"{case.label}, {share}", (key, n, share, below, above), {**told, **case.options})
    # The first number is not below its own bits, and is below the next.
    first = int(random_bits(np.uint64(7), 0)) % 2**32
    for share in (first, first + 1):
        yield Case(f"at the limit, {share}", (np.uint64(7), 1, share / 2.0**32), {"dtype": "float32"})
    yield Case("NumPy's integers", (np.uint64(9), np.uint8(255), 0.3), {"start": np.uint64(3), "draw": np.uint8(1)})
    # More than a block of the CPU's, begun at the upper half of a word.
    yield Case("5001 from an odd start", (np.uint64(9), 5001, 0.3), {"start": 11})


random_uniform_cases = _cases
random_normal_cases = _cases
