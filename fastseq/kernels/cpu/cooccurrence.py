"""Co-occurrence counts on the CPU.

The positions of each word are listed once. Then the matrix is made row by row: the contexts of all positions of a word
are added into one dense row of counters, which stays in the core's own cache, and a bitmap of the touched columns gives
them in rising order, so nothing is ever sorted or merged. Each row is made by one thread, so the number of threads
changes nothing.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange

from .._jit import jit, parallel_jit
from ._bits import count_trailing_zeros

# Rows are counted in waves whose largest possible result is bounded by this many entries (512 MB of address space for
# 32-bit counters), so that a large vocabulary never asks for the sum of all rows' bounds at once.
_WAVE = 1 << 26
# Blocks of rows for each thread in a wave: enough that equal shares of the text are equal shares of the time.
_BLOCKS = 32


@parallel_jit
def _list_positions(
    ids,          # IN  int32 (n,)
    offsets,      # IN  int64 (s + 1,)
    window,       # IN  int64
    bits,         # IN  int64, width of the two fields below the position
    left_only,    # IN  bool
    shares,       # IN  int64 (p + 1,) where each share of the tokens begins
    places,       # INOUT int64 (p, v) zeros; then where each share writes the next position of each word
    starts,       # OUT int64 (v + 1,) where each word's positions begin
    positions,    # OUT int64 (n,) position << 2 bits | tokens to the left << bits | tokens to the right
):
    n_shares, n_words = places.shape
    for share in prange(n_shares):
        row = places[share]
        for i in range(shares[share], shares[share + 1]):
            row[ids[i]] += 1
    total = 0
    for word in range(n_words):
        starts[word] = total
        for share in range(n_shares):
            here = places[share, word]
            places[share, word] = total
            total += here
    starts[n_words] = total
    for share in prange(n_shares):
        row = places[share]
        i = shares[share]
        stop = shares[share + 1]
        sentence = np.searchsorted(offsets, i, side="right") - 1
        while i < stop:
            while offsets[sentence + 1] <= i:
                sentence += 1
            begin = offsets[sentence]
            end = offsets[sentence + 1]
            while i < min(end, stop):
                word = ids[i]
                left = min(window, i - begin)
                right = 0 if left_only else min(window, end - 1 - i)
                positions[row[word]] = (((i << bits) | left) << bits) | right
                row[word] += 1
                i += 1


@jit
def _count_row(
    ids,        # IN  int32 (n,)
    positions,  # IN  int64 (f,) of this row's word
    weights,    # IN  counter (w,) by distance - 1
    bits,       # IN  int64
    counters,   # INOUT counter (v,) zeros before and after
    touched,    # INOUT uint64 (ceil(v / 64),) zeros before and after
    indices,    # OUT int32 (bound,)
    data,       # OUT counter (bound,)
):
    mask = (1 << bits) - 1
    one = np.uint64(1)
    for packed in positions:
        right = packed & mask
        left = (packed >> bits) & mask
        i = packed >> (bits + bits)
        # The branch is cheaper than setting the bit each time: 0.9 against 1.1 s on 16.7 million tokens, window 5.
        for j in range(i - left, i):
            column = ids[j]
            count = counters[column]
            if count == 0:
                touched[column >> 6] |= one << np.uint64(column & 63)
            counters[column] = count + weights[i - j - 1]
        for j in range(i + 1, i + right + 1):
            column = ids[j]
            count = counters[column]
            if count == 0:
                touched[column >> 6] |= one << np.uint64(column & 63)
            counters[column] = count + weights[j - i - 1]
    k = 0
    for word in range(touched.shape[0]):
        left_bits = touched[word]
        if left_bits != 0:
            touched[word] = 0
            while left_bits != 0:
                column = (word << 6) + count_trailing_zeros(left_bits)
                indices[k] = column
                data[k] = counters[column]
                counters[column] = 0
                k += 1
                left_bits &= left_bits - one
    return k


@parallel_jit
def _count_blocks(
    ids,        # IN  int32 (n,)
    starts,     # IN  int64 (v + 1,)
    positions,  # IN  int64 (n,)
    weights,    # IN  counter (w,)
    bits,       # IN  int64
    first_row,  # IN  int64 (b,)
    last_row,   # IN  int64 (b,) one past the last
    lanes,      # IN  int64 (t + 1,) the blocks of each lane
    room,       # IN  int64 (t + 1,) where each lane writes
    begin,      # OUT int64 (b,) where each block was written
    sizes,      # OUT int64 (v,) entries of each row
    indices,    # OUT int32 (bound,)
    data,       # OUT counter (bound,)
):
    n_words = starts.shape[0] - 1
    for lane in prange(lanes.shape[0] - 1):
        counters = np.zeros(n_words, weights.dtype)
        touched = np.zeros((n_words + 63) >> 6, np.uint64)
        k = room[lane]
        for block in range(lanes[lane], lanes[lane + 1]):
            begin[block] = k
            for row in range(first_row[block], last_row[block]):
                own = positions[starts[row] : starts[row + 1]]
                size = _count_row(ids, own, weights, bits, counters, touched, indices[k:], data[k:])
                sizes[row] = size
                k += size


@parallel_jit
def _gather_blocks(
    first_row,    # IN  int64 (b,)
    begin,        # IN  int64 (b,)
    indptr,       # IN  int64 (v + 1,)
    last_row,     # IN  int64 (b,)
    denominator,  # IN  float64
    from_indices,  # IN  int32 (bound,)
    from_data,    # IN  counter (bound,)
    indices,      # OUT int32 (nnz,)
    data,         # OUT int32, int64, float32 or float64 (nnz,)
):
    for block in prange(first_row.shape[0]):
        source = begin[block]
        target = indptr[first_row[block]]
        for k in range(indptr[last_row[block]] - target):
            indices[target + k] = from_indices[source + k]
            value = from_data[source + k]
            data[target + k] = value if denominator == 1.0 else value / denominator


def _cut(loads, n_parts):
    """Cut rows into at most ``n_parts`` runs of about equal load; return where each begins, and the end."""
    total = np.concatenate([[0], np.cumsum(loads)])
    cuts = np.searchsorted(total, np.linspace(0, total[-1], n_parts + 1)[1:-1])
    return np.unique(np.concatenate([[0], cuts, [len(loads)]]))


def _waves(bounds):
    """Yield runs of rows whose bounds add up to at most a wave, or single rows above it."""
    total = np.concatenate([[0], np.cumsum(bounds)])
    first = 0
    while first < len(bounds):
        last = int(np.searchsorted(total, total[first] + _WAVE, side="right")) - 1
        last = min(max(last, first + 1), len(bounds))
        yield first, last
        first = last


def cooccurrence_counts(ids, offsets, n_words, weights, denominator, symmetric, dtype):
    """Count; see the contract. ``weights`` are the numerators by distance, in the dtype of the counters."""
    n_threads = get_num_threads()
    window = len(weights)
    bits = window.bit_length()
    shares = np.linspace(0, len(ids), n_threads + 1).astype(np.int64)
    starts = np.empty(n_words + 1, np.int64)
    positions = np.empty(len(ids), np.int64)
    places = np.zeros((n_threads, n_words), np.int64)
    _list_positions(ids, offsets, window, bits, not symmetric, shares, places, starts, positions)
    del places

    occurrences = np.diff(starts)
    bounds = np.minimum(n_words, (2 if symmetric else 1) * window * occurrences)
    sizes = np.zeros(n_words, np.int64)
    found = []
    for first, last in _waves(bounds):
        # A row costs its positions and one look over the bitmap (64 columns a step).
        cuts = first + _cut(occurrences[first:last] * 2 * window + n_words // 64, n_threads * _BLOCKS)
        # Each thread takes every n-th block, so that each gets frequent and rare rows.
        shared = [np.arange(t, len(cuts) - 1, n_threads) for t in range(n_threads)]
        order = np.concatenate(shared)
        lanes = np.cumsum([0] + [len(blocks) for blocks in shared])
        first_row, last_row = cuts[:-1][order], cuts[1:][order]
        base = np.concatenate([[0], np.cumsum(bounds[first:last])])
        block_room = np.concatenate([[0], np.cumsum(base[last_row - first] - base[first_row - first])])
        # A lane writes one block behind the other, so only what is written takes memory and the rest of the bound is
        # address space. With a place of its own for each block, huge pages doubled the memory (1759 against 790 MB).
        indices = np.empty(base[-1], np.int32)
        data = np.empty(base[-1], weights.dtype)
        begin = np.empty(len(order), np.int64)
        _count_blocks(
            ids, starts, positions, weights, bits, first_row, last_row, lanes, block_room[lanes], begin, sizes,
            indices, data,
        )  # fmt: skip
        found.append((first_row, begin, last_row, indices, data))
    del positions

    indptr = np.concatenate([[0], np.cumsum(sizes)])
    all_indices = np.empty(indptr[-1], np.int32)
    all_data = np.empty(indptr[-1], dtype)
    found.reverse()
    while found:
        first_row, begin, last_row, indices, data = found.pop()
        _gather_blocks(first_row, begin, indptr, last_row, denominator, indices, data, all_indices, all_data)
    return indptr, all_indices, all_data
