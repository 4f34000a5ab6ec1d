"""Nearest rows with CUDA: scores of a block of queries, the best of each shard of the rows, and a tree of merges.

Scores are not left to the matrix product of a library: its order of summation may change with the shape, and a score
must not depend on which other queries and rows there are. Here each thread adds its own sums from left to right.
"""

from __future__ import annotations

import numpy as np

from .. import _cuda
from .._cuda import cuda

# Scores kept at a time: 256 MB of float32.
_SCORES = 1 << 26
# Rows whose best one thread finds: a single query over 68,000 rows still has 266 threads.
_SHARD = 256


@_cuda.cuda_jit
def _dots(
    queries,  # IN  float32 or float64 (8 b, d)
    turned,   # IN  same dtype (d, v): the matrix on its side
    scales,   # IN  same dtype (v,)
    scores,   # OUT same dtype (v, 8 b)
):
    # A thread has one row and eight queries: one load of the matrix, which neighbouring threads do together, and eight
    # of the queries, which are the same for all of them, for eight products. It writes 32 bytes, one sector.
    n_rows = turned.shape[1]
    zero = turned.dtype.type(0)
    for i in range(cuda.grid(1), (queries.shape[0] >> 3) * n_rows, cuda.gridsize(1)):
        block = i // n_rows
        row = i - block * n_rows
        q = block * 8
        t_0 = zero
        t_1 = zero
        t_2 = zero
        t_3 = zero
        t_4 = zero
        t_5 = zero
        t_6 = zero
        t_7 = zero
        for d in range(turned.shape[0]):
            x = turned[d, row]
            t_0 = t_0 + queries[q, d] * x
            t_1 = t_1 + queries[q + 1, d] * x
            t_2 = t_2 + queries[q + 2, d] * x
            t_3 = t_3 + queries[q + 3, d] * x
            t_4 = t_4 + queries[q + 4, d] * x
            t_5 = t_5 + queries[q + 5, d] * x
            t_6 = t_6 + queries[q + 6, d] * x
            t_7 = t_7 + queries[q + 7, d] * x
        scale = scales[row]
        scores[row, q] = t_0 * scale
        scores[row, q + 1] = t_1 * scale
        scores[row, q + 2] = t_2 * scale
        scores[row, q + 3] = t_3 * scale
        scores[row, q + 4] = t_4 * scale
        scores[row, q + 5] = t_5 * scale
        scores[row, q + 6] = t_6 * scale
        scores[row, q + 7] = t_7 * scale


@_cuda.cuda_jit
def _products(
    dots,        # IN  float32 or float64 (v, >= q * terms)
    n_positive,  # IN  int64: how many of the terms, the first, are positive
    n_terms,     # IN  int64
    epsilon,     # IN  same dtype (1,)
    scores,      # OUT same dtype (v, q)
):
    n_queries = scores.shape[1]
    one = dots.dtype.type(1)
    half = dots.dtype.type(0.5)
    for i in range(cuda.grid(1), scores.shape[0] * n_queries, cuda.gridsize(1)):
        row = i // n_queries
        query = i - row * n_queries
        near = one
        far = one
        for t in range(n_positive):
            near = near * (half * (one + dots[row, query * n_terms + t]))
        for t in range(n_positive, n_terms):
            far = far * (half * (one + dots[row, query * n_terms + t]))
        scores[row, query] = near / (far + epsilon[0])


@_cuda.cuda_jit
def _select(
    scores,   # IN    float32 or float64 (v, >= q)
    exclude,  # IN    int32 (q, e)
    shard,    # IN    int64 rows of a shard
    ids,      # INOUT int32 (s, k, q), -1 on entry: best first
    best,     # INOUT same dtype as scores (s, k, q), -inf on entry
):
    # Neighbouring threads have neighbouring queries, whose scores and lists lie side by side.
    n_queries = exclude.shape[0]
    kept = ids.shape[1]
    for i in range(cuda.grid(1), ids.shape[0] * n_queries, cuda.gridsize(1)):
        s = i // n_queries
        query = i - s * n_queries
        held = 0
        threshold = best[s, kept - 1, query]
        for row in range(s * shard, min(scores.shape[0], (s + 1) * shard)):
            score = scores[row, query]
            # Rows come in rising order, so one that only equals the last of the list comes after it. NaN never passes.
            if score > threshold:
                wanted = True
                for e in range(exclude.shape[1]):
                    if exclude[query, e] == row:
                        wanted = False
                if wanted:
                    place = min(held, kept - 1)
                    while place > 0 and best[s, place - 1, query] < score:
                        best[s, place, query] = best[s, place - 1, query]
                        ids[s, place, query] = ids[s, place - 1, query]
                        place -= 1
                    best[s, place, query] = score
                    ids[s, place, query] = row
                    held = min(held + 1, kept)
                    threshold = best[s, kept - 1, query]


@_cuda.cuda_jit
def _merge(
    ids,       # IN  int32 (s, k, q): best first, -1 at the end
    best,      # IN  float32 or float64 (s, k, q)
    new_ids,   # INOUT int32 (ceil(s / 2), k', q), -1 on entry
    new_best,  # INOUT same dtype as best (ceil(s / 2), k', q), -inf on entry
):
    n_lists = ids.shape[0]
    length = ids.shape[1]
    n_queries = ids.shape[2]
    for i in range(cuda.grid(1), new_ids.shape[0] * n_queries, cuda.gridsize(1)):
        pair = i // n_queries
        query = i - pair * n_queries
        left = 2 * pair
        right = left + 1
        a = 0
        b = 0
        if right >= n_lists:
            right = left
            b = length
        for place in range(new_ids.shape[1]):
            more_left = a < length and ids[left, a, query] >= 0
            more_right = b < length and ids[right, b, query] >= 0
            # Rows on the left have lower numbers: they go first where scores are equal.
            if more_left and (not more_right or best[left, a, query] >= best[right, b, query]):
                new_ids[pair, place, query] = ids[left, a, query]
                new_best[pair, place, query] = best[left, a, query]
                a += 1
            elif more_right:
                new_ids[pair, place, query] = ids[right, b, query]
                new_best[pair, place, query] = best[right, b, query]
                b += 1


PTX = {
    "_dots": [f"void({t}[:,::1], {t}[:,::1], {t}[::1], {t}[:,::1])" for t in ("float32", "float64")],
    "_products": [f"void({t}[:,::1], int64, int64, {t}[::1], {t}[:,::1])" for t in ("float32", "float64")],
    "_select": [
        f"void({t}[:,::1], int32[:,::1], int64, int32[:,:,::1], {t}[:,:,::1])" for t in ("float32", "float64")
    ],
    "_merge": [
        f"void(int32[:,:,::1], {t}[:,:,::1], int32[:,:,::1], {t}[:,:,::1])" for t in ("float32", "float64")
    ],
}


def _lists(n_lists, length, n_queries, dtype):
    """Return empty lists of ids and scores."""
    xp = _cuda.xp()
    shape = n_lists, length, n_queries
    return xp.full(shape, -1, np.int32), xp.full(shape, -np.inf, dtype)


def _best(scores, exclude, k):
    """Return (ids, scores) (q, k'), k' at most ``k`` and at most the number of rows, of the best rows."""
    n_rows, n_queries = scores.shape[0], exclude.shape[0]
    n_lists, length = -(-n_rows // _SHARD), min(k, _SHARD, n_rows)
    ids, best = _lists(n_lists, length, n_queries, scores.dtype)
    _cuda.launch(_select, n_lists * n_queries, scores, exclude, _SHARD, ids, best, block=64)
    while n_lists > 1:
        n_lists, length = -(-n_lists // 2), min(k, 2 * length, n_rows)
        new_ids, new_best = _lists(n_lists, length, n_queries, scores.dtype)
        _cuda.launch(_merge, n_lists * n_queries, ids, best, new_ids, new_best, block=64)
        ids, best = new_ids, new_best
    return ids[0].T, best[0].T


def _in_parts(n_queries, n_terms, matrix, k, exclude, scales, terms, combine):
    """Allocate the result and search, as many queries at a time as there is memory set aside for their scores."""
    xp = _cuda.xp()
    n_rows, width = matrix.shape
    ids = xp.full((n_queries, k), -1, np.int32)
    scores = xp.full((n_queries, k), -np.inf, matrix.dtype)
    if n_rows and k and n_queries:
        # Arrays of no elements are not passed to kernels: their memory has no address on a device.
        turned = xp.zeros((max(1, width), n_rows), matrix.dtype)
        turned[:width] = matrix.T
        if exclude.shape[1] == 0:
            exclude = xp.full((n_queries, 1), -1, np.int32)
        step = max(1, _SCORES // (n_rows * n_terms))
        step = step // 8 * 8 or step
        for first in range(0, n_queries, step):
            last = min(n_queries, first + step)
            n = (last - first) * n_terms
            padded = xp.zeros((-(-n // 8) * 8, max(1, width)), matrix.dtype)
            padded[:n, :width] = terms[first * n_terms : last * n_terms]
            dots = xp.empty((n_rows, padded.shape[0]), matrix.dtype)
            _cuda.launch(_dots, padded.shape[0] // 8 * n_rows, padded, turned, scales, dots)
            part_ids, part_scores = _best(combine(dots, last - first), exclude[first:last], k)
            ids[first:last, : part_ids.shape[1]] = part_ids
            scores[first:last, : part_ids.shape[1]] = part_scores
    return _cuda.asarray(ids), _cuda.asarray(scores)


def nearest_dot(queries, matrix, k, exclude, scales):
    """Allocate the result and search."""
    return _in_parts(queries.shape[0], 1, matrix, k, exclude, scales, queries, lambda dots, n: dots)


def nearest_mul(positive, negative, matrix, k, exclude, scales, epsilon):
    """Allocate the result and search."""
    xp = _cuda.xp()
    n_queries, n_positive, width = positive.shape
    n_terms = n_positive + negative.shape[1]
    terms = xp.concatenate([positive, negative], axis=1).reshape(n_queries * n_terms, width)
    smallest = xp.full(1, epsilon, matrix.dtype)

    def combine(dots, n):
        scores = xp.empty((dots.shape[0], n), dots.dtype)
        _cuda.launch(_products, dots.shape[0] * n, dots, n_positive, n_terms, smallest, scores)
        return scores

    return _in_parts(n_queries, n_terms, matrix, k, exclude, scales, terms, combine)
