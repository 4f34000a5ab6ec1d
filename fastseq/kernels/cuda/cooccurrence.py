"""Co-occurrence counts with CUDA: every pair becomes a number, the numbers are sorted, and equal ones are counted.

A symmetric matrix needs each pair once: the key of words a >= b is a (a + 1) / 2 + b, which fits uint32 up to 92,680
words, and radix sort takes a quarter of the time of int64 for it. Sorted keys are the lower triangle row by row; the
upper one is its transpose, and a row of the result is the one part followed by the other, so nothing is merged.
Where weights differ, the distance stands below the key: runs of equal (pair, distance) are counted first, and then
weighed and added, so no weight is stored or sorted and sums of whole numbers are exact.

Window 5, uniform, up to 92,680 words: a token has 5 keys of 4 bytes, each written once, read and written in four
passes of the sort and read about four times after it, some 280 bytes a token: 4.7 GB for 16.7 million tokens, or 1 ms
at an H200's 4.8 TB/s; 5 ms is a sober guess. (This is computed, not measured.)
"""

from __future__ import annotations

import numpy as np

from .. import _cuda
from .._cuda import cuda
from .sparse import sum_runs

# Pairs sorted at a time: 1 GB of int64 keys and as much again for the sort.
_PAIRS = 1 << 27
# Bits of a key that may be used; int64 has a sign.
_KEY_BITS = 63
_LAST = np.int64(2**63 - 1)


@_cuda.cuda_jit
def _pair_keys(
    ids,        # IN  int32 (n,)
    offsets,    # IN  int64 (s + 1,)
    n_words,    # IN  int64
    symmetric,  # IN  bool
    start,      # IN  int64, first token
    stop,       # IN  int64, one past the last
    nearest,    # IN  int64, the least distance
    bits,       # IN  int64, how many are kept below the pair for the distance (0: it is not needed)
    nothing,    # IN  int64, the key where the window is cut
    keys,       # OUT uint32 or int64 (distances * (stop - start),)
):
    n_tokens = stop - start
    distances = keys.shape[0] // n_tokens
    below = (np.int64(1) << bits) - 1
    for i in range(cuda.grid(1), n_tokens, cuda.gridsize(1)):
        token = start + i
        # The last sentence that begins at or before the token: empty ones before it are passed over.
        sentence = np.int64(0)
        above = np.int64(offsets.shape[0])
        while sentence + 1 < above:
            middle = (sentence + above) >> 1
            if offsets[middle] <= token:
                sentence = middle
            else:
                above = middle
        begin = offsets[sentence]
        word = np.int64(ids[token])
        for d in range(distances):
            other = token - nearest - d
            key = nothing
            if other >= begin:
                left = np.int64(ids[other])
                pair = word * n_words + left
                if symmetric:
                    high = max(word, left)
                    pair = (high * (high + 1) >> 1) + min(word, left)
                key = pair << bits | (d & below)
            keys[d * n_tokens + i] = key


@_cuda.cuda_jit
def _unpack(
    keys,     # IN    uint32 or int64 (m,) rising
    starts,   # IN    int64 (v + 1,) where each row of the lower triangle begins
    bits,     # IN    int64
    rows,     # OUT   int32 (m,)
    columns,  # OUT   int32 (m,)
    turned,   # OUT   int64 (m,) column << bits | number; the largest int64 on the diagonal
    amounts,  # INOUT int64 or float64 (m,)
):
    for k in range(cuda.grid(1), keys.shape[0], cuda.gridsize(1)):
        row = np.int64(0)
        above = np.int64(starts.shape[0] - 1)
        while row + 1 < above:
            middle = (row + above) >> 1
            if starts[middle] <= k:
                row = middle
            else:
                above = middle
        column = np.int64(keys[k]) - (row * (row + 1) >> 1)
        rows[k] = row
        columns[k] = column
        if column == row:
            # Two tokens of one word see each other: the pair counts on both sides.
            turned[k] = _LAST
            amounts[k] = amounts[k] + amounts[k]
        else:
            turned[k] = column << bits | k


@_cuda.cuda_jit
def _place(
    rows,     # IN  int32 (m,)
    columns,  # IN  int32 (m,)
    values,   # IN  int32, int64, float32 or float64 (m,)
    lower,    # IN  int64 (v + 1,) where each row of the lower triangle begins, the diagonal included
    upper,    # IN  int64 (v + 1,) where each row of the upper one begins
    turned,   # IN  int64 (m,) sorted
    n_upper,  # IN  int64 entries of the upper triangle
    bits,     # IN  int64
    indices,  # OUT int32 (m + n_upper,)
    data,     # OUT same dtype as values (m + n_upper,)
):
    n_lower = rows.shape[0]
    one = np.int64(1)
    for i in range(cuda.grid(1), n_lower + n_upper, cuda.gridsize(1)):
        if i < n_lower:
            # Before it stand the lower parts up to here and the upper parts of the rows before.
            target = i + upper[rows[i]]
            indices[target] = columns[i]
            data[target] = values[i]
        else:
            t = i - n_lower
            k = turned[t] & ((one << bits) - one)
            # Before it stand the upper parts up to here and the lower parts of this row and those before.
            target = t + lower[(turned[t] >> bits) + 1]
            indices[target] = rows[k]
            data[target] = values[k]


PTX = {
    "_pair_keys": [
        f"void(int32[::1], int64[::1], int64, boolean, int64, int64, int64, int64, int64, {k}[::1])"
        for k in ("uint32", "int64")
    ],
    "_unpack": [
        f"void({k}[::1], int64[::1], int64, int32[::1], int32[::1], int64[::1], {a}[::1])"
        for k, a in (("uint32", "int64"), ("int64", "int64"), ("uint32", "float64"), ("int64", "float64"))
    ],
    "_place": [
        f"void(int32[::1], int32[::1], {t}[::1], int64[::1], int64[::1], int64[::1], int64, int64, int32[::1], "
        f"{t}[::1])"
        for t in ("float32", "float64", "int32", "int64")
    ],
}


def _runs(keys):
    """Return the distinct values of sorted ``keys`` and where each one's run begins, with the end (int64)."""
    xp = _cuda.xp()
    n = keys.shape[0]
    heads = xp.flatnonzero(keys[1:] != keys[:-1]) if n > 1 else xp.empty(0, np.int64)
    starts = xp.zeros(heads.shape[0] + 2, np.int64)
    starts[1:-1] = heads + 1
    starts[-1] = n
    return keys[starts[:-1]], starts


def _count(ids, offsets, n_words, weights, symmetric, tokens, distances, bits, end, dtype):
    """Return (keys, amounts) of the pairs of some tokens at some distances: rising keys and the sum for each."""
    xp = _cuda.xp()
    n_tokens, n_distances = tokens[1] - tokens[0], distances[1] - distances[0]
    nothing = end << bits
    keys = xp.empty(n_tokens * n_distances, np.uint32 if nothing < 2**32 else np.int64)
    _cuda.launch(
        _pair_keys, n_tokens, ids, offsets, n_words, symmetric, *tokens, distances[0] + 1, bits, nothing, keys
    )
    keys.sort()
    n_pairs = int(xp.searchsorted(keys, xp.asarray([nothing], dtype=keys.dtype))[0])
    if n_pairs == 0:
        return keys[:0], xp.empty(0, dtype)
    keys, starts = _runs(keys[:n_pairs])
    counts = (starts[1:] - starts[:-1]).astype(dtype)
    if bits == 0:
        return keys, counts * weights[distances[0]]
    # Each pair has at most one run for each distance.
    below = keys.dtype.type((1 << bits) - 1)
    amounts = counts * weights[distances[0] + (keys & below).astype(np.int64)]
    keys, starts = _runs(keys >> keys.dtype.type(bits))
    return keys, sum_runs(starts, amounts, dtype)


def _merge(one, other):
    """Add two results of `_count`. A key has at most two amounts, so their order does not matter."""
    xp = _cuda.xp()
    keys = xp.concatenate([one[0], other[0]])
    if keys.shape[0] == 0:
        return one
    amounts = xp.concatenate([one[1], other[1]])
    order = xp.argsort(keys)
    keys, starts = _runs(keys[order])
    return keys, sum_runs(starts, amounts[order], amounts.dtype)


def _count_all(ids, offsets, n_words, weights, symmetric, end, dtype):
    """Count in parts that fit the memory set aside, and merge parts of like size as they come."""
    window = weights.shape[0]
    uniform = bool(weights.min() == weights.max())
    bits = 0 if uniform else (window - 1).bit_length()
    if end << bits < 2**_KEY_BITS:
        spans = [(0, window)]
    else:
        # Too many words to keep the distance in the key as well: one distance has one weight.
        bits = 0
        spans = [(d, d + 1) for d in range(window)]
    stack = []
    for span in spans:
        step = max(1, _PAIRS // (span[1] - span[0]))
        for start in range(0, ids.shape[0], step):
            tokens = start, min(start + step, ids.shape[0])
            stack.append(_count(ids, offsets, n_words, weights, symmetric, tokens, span, bits, end, dtype))
            while len(stack) > 1 and stack[-2][0].shape[0] <= 2 * stack[-1][0].shape[0]:
                other = stack.pop()
                stack[-1] = _merge(stack[-1], other)
    while len(stack) > 1:
        other = stack.pop()
        stack[-1] = _merge(stack[-1], other)
    return stack[0]


def cooccurrence_counts(ids, offsets, n_words, weights, denominator, symmetric, dtype):
    """Count; see the contract. ``weights`` are the numerators by distance, in the dtype of the counters."""
    xp = _cuda.xp()
    inner = np.dtype(np.float64 if weights.dtype.kind == "f" else np.int64)
    weights = weights.astype(inner)
    words = xp.arange(n_words + 1, dtype=np.int64)
    bounds = words * (words + 1) // 2 if symmetric else words * n_words
    end = n_words * (n_words + 1) // 2 if symmetric else n_words * n_words
    keys, amounts = None, None
    if ids.shape[0]:
        keys, amounts = _count_all(ids, offsets, n_words, weights, symmetric, end, inner)
    if keys is None or keys.shape[0] == 0:
        empty = xp.zeros(n_words + 1, np.int64), xp.empty(0, np.int32), xp.empty(0, dtype)
        return tuple(_cuda.asarray(array) for array in empty)

    lower = xp.searchsorted(keys, bounds.astype(keys.dtype)).astype(np.int64)
    if not symmetric:
        columns = (keys % keys.dtype.type(n_words)).astype(np.int32)
        return _cuda.asarray(lower), _cuda.asarray(columns), _cuda.asarray(_rounded(amounts, denominator, dtype))

    n_lower = keys.shape[0]
    bits = n_lower.bit_length()
    rows, columns = xp.empty(n_lower, np.int32), xp.empty(n_lower, np.int32)
    turned = xp.empty(n_lower, np.int64)
    _cuda.launch(_unpack, n_lower, keys, lower, bits, rows, columns, turned, amounts)
    del keys
    values = _rounded(amounts, denominator, dtype)
    del amounts
    turned.sort()
    upper = xp.searchsorted(turned, words << bits).astype(np.int64)
    n_upper = int(upper[-1])
    indices = _cuda.asarray(xp.empty(n_lower + n_upper, np.int32))
    data = _cuda.asarray(xp.empty(n_lower + n_upper, dtype))
    _cuda.launch(
        _place, n_lower + n_upper, rows, columns, values, lower, upper, turned, n_upper, bits, indices, data
    )
    return _cuda.asarray(lower + upper), indices, data


def _rounded(amounts, denominator, dtype):
    """Return the counts in their final dtype."""
    return (amounts if denominator == 1.0 else amounts / denominator).astype(dtype)
