"""Nearest rows, the specification: all scores in float64, sorted by falling score and rising row number."""

from __future__ import annotations

import numpy as np

from ..registry import Case

# Scores are compared after rounding to the dtype of the matrix only through the tolerance of the table; the cases
# therefore have either random numbers, whose scores lie far apart, or small whole numbers, whose scores are exact.


def _best(scores, k, exclude):
    """Return (ids, scores) of the ``k`` best columns of each row of ``scores`` (Q, V)."""
    n_queries, n_rows = scores.shape
    ids = np.full((n_queries, k), -1, np.int32)
    best = np.full((n_queries, k), -np.inf)
    for i in range(n_queries):
        allowed = np.ones(n_rows, bool)
        if exclude is not None:
            left_out = np.asarray(exclude)[i]
            allowed[left_out[left_out >= 0]] = False
        allowed &= ~np.isnan(scores[i]) & (scores[i] != -np.inf)
        rows = np.flatnonzero(allowed)
        rows = rows[np.argsort(-scores[i, rows], kind="stable")][:k]
        ids[i, : rows.size] = rows
        best[i, : rows.size] = scores[i, rows]
    return ids, best


def _dots(vectors, matrix, scales):
    dots = np.asarray(vectors, np.float64) @ np.asarray(matrix, np.float64).T
    return dots if scales is None else dots * np.asarray(scales, np.float64)


def nearest_dot(queries, matrix, k, *, exclude=None, scales=None):
    """Return the ``k`` rows with the largest dot product with each query, and those products."""
    return _best(_dots(queries, matrix, scales), k, exclude)


def nearest_mul(positive, negative, matrix, k, *, exclude=None, scales=None, epsilon=1e-3):
    """Return the ``k`` rows with the largest product of shifted cosines (Levy and Goldberg, CoNLL 2014, equation 4)."""
    near = np.prod((1.0 + _dots(positive, matrix, scales)) / 2.0, axis=1)
    far = np.prod((1.0 + _dots(negative, matrix, scales)) / 2.0, axis=1)
    return _best(near / (far + epsilon), k, exclude)


def _unit(rng, shape, dtype):
    rows = rng.standard_normal(shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(dtype)


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def nearest_dot_cases():
    """Yield cases: sizes 0, 1 and odd, ties, exclusions, more asked for than there is, awkward memory."""
    rng = np.random.default_rng(11)
    for dtype in ("float32", "float64"):
        for q, v, d, k in ((1, 1, 1, 1), (3, 33, 5, 4), (5, 129, 7, 3), (9, 700, 32, 10), (1, 257, 100, 300)):
            yield Case(f"{dtype} Q{q} V{v} D{d} k{k}", (_unit(rng, (q, d), dtype), _unit(rng, (v, d), dtype), k))
        yield Case(f"{dtype} no queries", (np.zeros((0, 4), dtype), _unit(rng, (6, 4), dtype), 3))
        yield Case(f"{dtype} no rows", (_unit(rng, (2, 4), dtype), np.zeros((0, 4), dtype), 3))
        yield Case(f"{dtype} no columns", (np.zeros((2, 0), dtype), np.zeros((5, 0), dtype), 3))
        yield Case(f"{dtype} k 0", (_unit(rng, (2, 4), dtype), _unit(rng, (6, 4), dtype), 0))
        whole = rng.integers(-1, 2, (300, 6)).astype(dtype)
        yield Case(f"{dtype} ties", (whole[:7], whole, 20))
        yield Case(f"{dtype} all tied, zero rows", (np.zeros((2, 3), dtype), np.zeros((140, 3), dtype), 9))
        exclude = np.full((7, 3), -1, np.int32)
        exclude[:, 0] = np.arange(7)
        exclude[2:, 2] = 299
        yield Case(f"{dtype} exclude", (whole[:7], whole, 300), {"exclude": exclude})
        yield Case(f"{dtype} exclude of width 0", (whole[:7], whole, 2), {"exclude": exclude[:, :0]})
        rows = rng.standard_normal((150, 8)).astype(dtype)
        lengths = 1.0 / np.linalg.norm(rows, axis=1)
        yield Case(f"{dtype} scales", (rows[:6], rows, 5), {"scales": lengths.astype(dtype)})
        yield Case(f"{dtype} read-only", (_read_only(rows[:6]), _read_only(rows), 5))
        wide = rng.standard_normal((100, 16)).astype(dtype)
        yield Case(f"{dtype} strided", (wide[::7, ::2], wide[::-1, 1::2], 5))
        broken = rows.copy()
        broken[3] = np.nan
        broken[4] = -np.inf
        yield Case(f"{dtype} rows of NaN and infinity", (np.abs(rows[:4]), broken, 150))
    yield Case("float16 matrix", (_unit(rng, (2, 4), "float32"), _unit(rng, (40, 4), "float16"), 3))
    yield Case("byte-swapped", (_unit(rng, (2, 4), ">f4"), _unit(rng, (40, 4), ">f4"), 3))
    yield Case(
        "int64 exclude", (_unit(rng, (2, 4), "float32"), _unit(rng, (40, 4), "float32"), 3), {"exclude": [[39], [0]]}
    )


def nearest_mul_cases():
    """Yield cases: analogies of usual form, one to three terms on either side, none negative, ties, exclusions."""
    rng = np.random.default_rng(12)
    for dtype in ("float32", "float64"):
        for q, p, m, v, d, k in (
            (1, 1, 0, 1, 1, 1),
            (3, 2, 1, 33, 5, 4),
            (6, 1, 1, 129, 7, 3),
            (9, 2, 1, 700, 32, 10),
            (2, 3, 3, 40, 9, 50),
        ):
            positive, negative = _unit(rng, (q, p, d), dtype), _unit(rng, (q, m, d), dtype)
            yield Case(f"{dtype} Q{q} P{p} M{m} V{v} D{d} k{k}", (positive, negative, _unit(rng, (v, d), dtype), k))
        matrix = _unit(rng, (200, 6), dtype)
        terms = matrix[:15].reshape(5, 3, 6)
        exclude = np.arange(15, dtype=np.int32).reshape(5, 3)
        yield Case(f"{dtype} exclude", (terms[:, :2], terms[:, 2:], matrix, 4), {"exclude": exclude, "epsilon": 1e-6})
        # Positive and negative terms differ, so that no score is a quotient of equal products that rounding decides.
        yield Case(f"{dtype} equal rows", (terms[:, :2], terms[:, 2:], np.repeat(matrix[20:50], 5, axis=0), 20))
        rows = rng.standard_normal((150, 8)).astype(dtype)
        scales = (1.0 / np.linalg.norm(rows, axis=1)).astype(dtype)
        positive, negative = _unit(rng, (4, 2, 8), dtype), _unit(rng, (4, 1, 8), dtype)
        yield Case(f"{dtype} scales", (_read_only(positive), negative, rows, 5), {"scales": scales})
        wide = _unit(rng, (60, 16), dtype)[:, ::2]
        yield Case(f"{dtype} strided", (positive[::-1], negative[::-1], wide, 5))
        yield Case(f"{dtype} no queries", (positive[:0], negative[:0], rows, 5))
        yield Case(f"{dtype} no rows", (positive, negative, rows[:0], 2))
