"""Co-occurrence counts, the specification: a loop over sentences, tokens and distances."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ..registry import Case


def weight(weighting, window, distance):
    """Return what a pair at ``distance`` adds, as an exact fraction."""
    if weighting == "uniform":
        return Fraction(1)
    if weighting == "harmonic":
        return Fraction(1, distance)
    return Fraction(window + 1 - distance, window)


def cooccurrence_counts(ids, offsets, n_words, *, window=5, weighting="uniform", symmetric=True, dtype=None):
    """Return (indptr, indices, data) with exact sums, rounded once to float64 (or kept as integers)."""
    counts: dict[tuple[int, int], Fraction] = {}
    for begin, end in zip(offsets[:-1], offsets[1:]):
        for i in range(begin, end):
            for distance in range(1, window + 1):
                before = i - distance
                if before < begin:
                    continue
                amount = weight(weighting, window, distance)
                pair = (int(ids[i]), int(ids[before]))
                counts[pair] = counts.get(pair, Fraction(0)) + amount
                if symmetric:
                    pair = (pair[1], pair[0])
                    counts[pair] = counts.get(pair, Fraction(0)) + amount
    pairs = sorted(counts)
    indptr = np.zeros(n_words + 1, np.int64)
    for row, _ in pairs:
        indptr[row + 1] += 1
    indptr = np.cumsum(indptr)
    indices = np.array([column for _, column in pairs], np.int32)
    values = [counts[pair] for pair in pairs]
    integers = weighting == "uniform" and dtype in (None, "auto", "int32", "int64")
    data = np.array([int(v) if integers else float(v) for v in values], np.int64 if integers else np.float64)
    return indptr, indices, data


def cooccurrence_counts_cases():
    """Yield corpora with borders everywhere, all weightings, and arrays that have to be converted."""
    rng = np.random.default_rng(7)
    nothing = np.zeros(0, np.int32)
    yield Case("no token", (nothing, np.array([0]), 3))
    yield Case("no token, empty sentences, no word", (nothing, np.array([0, 0, 0]), 0))
    yield Case("no token, harmonic", (nothing, np.array([0]), 3), {"window": 60, "weighting": "harmonic"})
    yield Case("one token", (np.array([0]), np.array([0, 1]), 1))
    yield Case("one word repeated", (np.zeros(40, np.int32), np.array([0, 40]), 1), {"window": 3})
    ids = (rng.zipf(1.3, 400) - 1).clip(0, 32).astype(np.int32)
    cuts = np.sort(rng.integers(0, 400, 30))
    offsets = np.concatenate([[0], cuts, [400]]).astype(np.int64)
    for weighting in ("uniform", "harmonic", "linear"):
        for window in (1, 2, 5):
            for symmetric in (True, False):
                options = {"window": window, "weighting": weighting, "symmetric": symmetric}
                yield Case(f"{weighting} window {window} symmetric {symmetric}", (ids, offsets, 33), options)
    yield Case("window beyond every sentence", (ids, offsets, 33), {"window": 60, "weighting": "harmonic"})
    yield Case("float32 counts", (ids, offsets, 33), {"weighting": "harmonic", "dtype": "float32"})
    yield Case("the smallest integers", (ids, offsets, 33), {"dtype": "auto"})
    yield Case("int32 counts", (ids, offsets, 33), {"dtype": "int32"})
    yield Case("more words than are used", (ids, offsets, 130), {"window": 2})
    spread = np.zeros(800, np.int64)
    spread[::2] = ids
    yield Case("strided int64 ids", (spread[::2], offsets, 33), {"window": 2})
    fixed = ids.copy()
    fixed.flags.writeable = False
    yield Case("read-only ids, int32 offsets", (fixed, offsets.astype(np.int32), 33), {"window": 2})
    yield Case("byte-swapped ids", (ids.astype(ids.dtype.newbyteorder()), offsets, 33), {"window": 2})
