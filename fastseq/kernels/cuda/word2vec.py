"""Training of word2vec's vectors with CUDA: a block of threads walks a part of the text window by window.

Batches of thousands of windows computed from rows that stand still are what made GPUs learn worse vectors than CPUs. So
nothing is batched here: a block copies the rows of one window into shared memory, computes its scores and gradients and
adds the changes to the tables by atomic additions, before it turns to the next window. What a window can miss is only
what the other blocks in flight are about to add; `_in_flight` bounds their number.

A thread owns columns of the rows: of its block it alone reads and changes them, in the order of the text. So a block
sees its own changes, and with one block in flight the result is that of training window after window. First-level
caches do not see what other multiprocessors change, but a row that a block reads is changed by the same block before it
goes on, and an atomic addition drops the row from that cache; frozen rows do not change at all.

Traffic, on paper, for dim 100 (rows of 448 bytes), window 5 shrunk at random and 5 negatives: a kept word has 6
contexts and 6 samples on average, so 12 rows are read (5.4 KB) and 12 are added to (5.4 KB); its negatives take 5
places in each of two arrays of the alias table (0.3 KB), its token and those passed over less than 0.1 KB. That is
11.2 KB for a kept word, and 430 million kept words a second at an H200's 4.8 TB/s, were it bound by memory. It is not:
a window is a chain of a trip or two to memory (0.5 to 1 us each), some 3000 instructions for each warp (counted in the
PTX) and three barriers, for which 4 to 8 us are a sober guess, so 256 blocks come to 32 to 64 million kept words a
second. 20 million words a second of which 56 % are kept leave each window 23 us. (All of this is computed, not
measured.)
"""

from __future__ import annotations

import math

import numpy as np
from numba import int32

from .. import _cuda
from .._cuda import cuda
from .._scalar import pool_place, pool_size, stream_bits, stream_of
from .._word2vec import (
    CBOW,
    DIVIDED,
    KEEP_DRAW,
    MEAN,
    PAIRS,
    POOL_DRAW,
    POOL_ITEM,
    POOLED,
    SHARDS,
    STRETCH,
    TREE,
    WINDOW_DRAW,
    shard_tokens,
)
from ..cpu import word2vec as host
from .sampling import _negative_draw

# Blocks in flight at most. Emulated on the CPU, where so many windows were computed from the rows as they stood before
# any of their changes was added (skip-gram, dim 50, window 5, 5 negatives, learning rate 0.025, 3 epochs).
#                                              windows     1    128    256   1024   4096
# Wikipedia, 5.0 million words, sample 1e-4,
#   mean of two seeds:              loss, first epoch  0.423  0.426  0.428  0.435  0.452
#                                   loss at the end    0.394  0.394  0.394  0.393  0.392
#                                   WordSim-353        0.497  0.502  0.503  0.510  0.507
# Penn Treebank, sample 1e-3,
#   mean of three seeds:            loss, first epoch  0.455  0.458  0.459  0.464  diverges
#                                   loss at the end    0.405  0.405  0.405  0.405
# CBOW (learning rate 0.05) and hierarchical softmax lose no more with 256. These are two blocks for each of an H200's
# 132 multiprocessors, which is what they have registers for (65,536; 254 for each of 128 threads).
_BLOCKS = 256
# Changes of the most frequent word's row that may be under way, on average, at a learning rate of 0.025; at a higher
# one fewer in proportion. Emulated: on Penn Treebank with no word thinned out, 5.5 % of which is "the", the loss of the
# first epoch rises by 0.9, 2.4 and 39 % with 64, 256 and 512 windows (21, 84 and 168 changes), and by 1.8, 5.4 and 82 %
# with 64, 128 and 256 at a rate of 0.05; with 1024 it diverges. Walks on rings of 10, 30 and 100 nodes lose 4, 4 and
# 7 % at 30, 10 and 9 changes, and the first two diverge at 90 and 51.
_ROW_CHANGES = 16
# Tokens of a part. Finding the kept tokens of a part and their neighbours costs about as much as one window of its 144
# (56 % are kept); the shorter the parts, the more evenly they fill the device.
_PART = 256
# Up to so many tokens are left to one block, as they are to one thread on the CPU: the result is then that of training
# window after window, and they take it some 20 ms at most.
_ALONE = 4096
# Samples whose sums a thread holds in registers: a word and five negatives, or a part of more.
_GROUP = 6
# Windows whose samples are drawn at once, so that looking them up is waited for once.
_BATCH = 32
# Samples drawn at once, at most (unless one window takes more).
_DRAWN = 1024
# Threads of a block, at most, and in the simulator, where each is one of Python's.
_MOST_THREADS = 256
_SIMULATED_THREADS = 2
# Bytes of shared memory that any device gives a block without being asked.
_SHARED = 48 * 1024
# Bytes of global memory set aside for windows that do not fit shared memory.
_SCRATCH = 1 << 30
# Two to this power slices of a row are multiplied by threads of their own, at most.
_SLICES = 4

_S40 = np.uint64(40)
_TO_UNIT = np.float32(2.0**-24)


@_cuda.cuda_jit
def _train(
    mode,         # IN  int64, flags of _word2vec
    ids,          # IN  int32 (n,)
    offsets,      # IN  int64 (s + 1,)
    begin,        # IN  int64
    end,          # IN  int64
    size,         # IN  int64, tokens of a part
    first_part,   # IN  int64
    last_part,    # IN  int64
    flight,       # IN  int64, blocks that have parts
    sentences,    # IN  int64 (2, p) of the first and the last token of each part
    keep,         # IN  float32 (v,)
    thresholds,   # IN  uint32 (v,), of one element with TREE
    aliases,      # IN  int32 (v,)
    weights,      # IN  uint64 (v,)
    roots,        # IN  int64 (v + 1,) where each word's path begins, with TREE
    nodes,        # IN  int32 (p,)
    codes,        # IN  uint8 (p,)
    inputs,       # INOUT float32 or float64 (v * stride,)
    outputs,      # INOUT same dtype (w * stride,)
    stride,       # IN  int64
    frozen,       # IN  uint8 (v,)
    some_frozen,  # IN  bool, whether frozen is used
    window,       # IN  int64
    span,         # IN  int64, the contexts on one side at most, in any sentence
    shrink,       # IN  bool
    negative,     # IN  int64
    key,          # IN  uint64
    shift,        # IN  uint64, item of token 0
    rates,        # IN  same dtype (2,) learning rate at begin, what it changes by with each token
    with_loss,    # IN  bool
    n_rows,       # IN  int64, room for so many rows of inputs
    n_samples,    # IN  int64, room for so many rows of outputs: whole groups
    slices,       # IN  int64, logarithm of the slices of a row
    batch,        # IN  int64, windows whose samples are drawn at once; 1 with PAIRS or TREE
    apart,        # IN  bool, whether changes are only added to the block's own, below
    turn,         # IN  int32, marks what is changed now
    changes_in,   # INOUT same dtype (blocks, v * stride) or (1, 1)
    changes_out,  # INOUT same dtype (blocks, w * stride) or (1, 1)
    marks_in,     # INOUT int32 (blocks, v) or (1, 1)
    marks_out,    # INOUT int32 (blocks, w) or (1, 1)
    large,        # IN  bool, whether the room for a window is global memory
    first_int,    # IN  int64, where int32 begin in shared memory
    room,         # INOUT same dtype (blocks, r) or (1, 1)
    int_room,     # INOUT int32 (blocks, i) or (1, 1)
    totals,       # INOUT float64 (blocks, threads) or (1, 1)
    losses,       # OUT float64 (p,)
    tallies,      # OUT int64 (p, 2) tokens trained on, products with samples
):
    t = cuda.threadIdx.x
    n_threads = cuda.blockDim.x
    block = cuda.blockIdx.x
    numbers = cuda.shared.array(0, inputs.dtype)
    integers = cuda.shared.array(0, int32)[first_int:]
    if large:
        numbers = room[block]
        integers = int_room[block]
    rows_in = numbers[: n_rows * stride]
    numbers = numbers[n_rows * stride :]
    rows_out = numbers[: n_samples * stride]
    numbers = numbers[n_samples * stride :]
    gradients = numbers[: n_rows * n_samples]
    sums = numbers[n_rows * n_samples :]
    words = integers[: size + 2 * span]
    integers = integers[size + 2 * span :]
    homes = integers[: size + 2 * span]
    integers = integers[size + 2 * span :]
    places = integers[:size]
    integers = integers[size:]
    counts = integers[:n_threads]
    integers = integers[n_threads:]
    lows = integers[:batch]
    highs = integers[batch : 2 * batch]
    samples = integers[2 * batch :]

    x = cuda.local.array(_GROUP, inputs.dtype)
    y = cuda.local.array(_GROUP, inputs.dtype)
    zero = inputs.dtype.type(0)
    one = inputs.dtype.type(1)
    # Beyond this the sigmoid is 0 or 1 in either dtype; the exponential must not overflow.
    edge = inputs.dtype.type(80)
    tree = mode & TREE
    cbow = mode & CBOW
    pairs = mode & PAIRS and not tree
    pooled = mode & POOLED and not tree
    n_pool = np.uint64(pool_size(negative, stride))

    part = last_part
    if block < flight:
        part = first_part + block
    while part < last_part:
        here = begin + part * size
        until = min(end, here + size)
        home = sentences[0, part]
        last_home = sentences[1, part]

        # The kept tokens of the part; then up to ``span`` before it and after it in the same sentence, so that a long
        # sentence that is cut into parts loses no context.
        n_centres = np.int64(0)
        first = span
        stop = span
        for side in range(3):
            origin = here
            step = 1
            limit = until - here
            most = limit
            slot = span
            if side == 1:
                origin = here - 1
                step = -1
                limit = here - offsets[home]
                most = span
                slot = span - 1
            elif side == 2:
                origin = until
                limit = offsets[last_home + 1] - until
                most = span
                slot = stop
            if side > 0 and n_centres == 0:
                limit = 0
            found = np.int64(0)
            passed = np.int64(0)
            while passed < limit and found < most:
                u = passed + t
                taken = False
                word = np.int64(0)
                sentence = home
                if u < limit:
                    token = origin + step * u
                    word = np.int64(ids[token])
                    stream = np.uint64(stream_of(key, shift + np.uint64(token)))
                    unit = np.float32(np.uint64(stream_bits(stream, KEEP_DRAW)) >> _S40) * _TO_UNIT
                    taken = keep[word] >= np.float32(1) or unit < keep[word]
                    if side == 2:
                        sentence = last_home
                    elif side == 0:
                        # The last sentence that begins at or before the token.
                        above = last_home + 1
                        while sentence + 1 < above:
                            middle = (sentence + above) >> 1
                            if offsets[middle] <= token:
                                sentence = middle
                            else:
                                above = middle
                counts[t] = 1 if taken else 0
                cuda.syncthreads()
                before = np.int64(0)
                total = np.int64(0)
                for other in range(n_threads):
                    if other < t:
                        before += counts[other]
                    total += counts[other]
                if taken and found + before < most:
                    at = slot + step * (found + before)
                    words[at] = word
                    homes[at] = sentence - home
                    if side == 0:
                        places[at - span] = u
                cuda.syncthreads()
                found = min(most, found + total)
                passed += n_threads
            if side == 0:
                n_centres = found
                stop = span + found
            elif side == 1:
                first = span - found
            else:
                stop += found

        loss = 0.0
        n_trained = np.int64(0)
        n_products = np.int64(0)
        for start in range(0, n_centres, batch):
            n_windows = min(batch, n_centres - start)
            cuda.syncthreads()
            for w in range(t, n_windows, n_threads):
                i = span + start + w
                reach = window
                if shrink:
                    stream = np.uint64(stream_of(key, shift + np.uint64(here + places[start + w])))
                    reach = 1 + np.int64(np.uint64(stream_bits(stream, WINDOW_DRAW)) % np.uint64(window))
                low = i
                while low > first and i - low < reach and homes[low - 1] == homes[i]:
                    low -= 1
                high = i + 1
                while high < stop and high - i <= reach and homes[high] == homes[i]:
                    high += 1
                lows[w] = low
                highs[w] = high
            cuda.syncthreads()
            n_out = negative + 1
            path = np.int64(0)
            turns = np.int64(1)
            if tree:
                word = np.int64(words[span + start])
                path = roots[word]
                n_out = roots[word + 1] - path
            if pairs:
                turns = np.int64(highs[0]) - lows[0] - 1
            each = turns * n_out
            for u in range(t, n_windows * each, n_threads):
                w = u // each
                number = u - w * each
                if tree:
                    samples[u] = nodes[path + number]
                else:
                    word = np.int64(words[span + start + w])
                    pair = number // n_out
                    k = number - pair * n_out
                    samples[u] = word
                    if k > 0:
                        item = np.uint64(shift + np.uint64(here + places[start + w]))
                        stream = np.uint64(stream_of(key, item))
                        which = np.uint64(pair * negative + k - 1)
                        if pooled:
                            which = np.uint64(pool_place(stream, which, POOL_DRAW, n_pool))
                            stream = np.uint64(stream_of(key, POOL_ITEM + (item >> STRETCH)))
                        samples[u] = _negative_draw(stream, which, word, thresholds, aliases, weights)
            cuda.syncthreads()

            padded = (n_out + (_GROUP - 1)) // _GROUP * _GROUP
            for w in range(n_windows):
                i = span + start + w
                low = np.int64(lows[w])
                n_in = highs[w] - low - 1
                if n_in == 0 or n_out == 0:
                    continue
                rows = n_in
                share = one
                if cbow or pairs:
                    rows = np.int64(1)
                if cbow and mode & MEAN:
                    share = one / inputs.dtype.type(n_in)
                rate = rates[0] + rates[1] * inputs.dtype.type(here + places[start + w] - begin)
                pitch = (rows * padded) | 1
                n_trained += 1
                n_products += turns * rows * n_out
                for pair in range(turns):
                    own = w * each + pair * n_out
                    # Contexts low + c, the centre left out.
                    c_first = pair
                    n_read = n_in if cbow else rows
                    for d in range(t, stride, n_threads):
                        hidden = zero
                        for r in range(0, max(n_read, n_out), _GROUP):
                            # All loads before any store: each would otherwise wait for the one before.
                            for k in range(_GROUP):
                                j = low + c_first + min(r + k, n_read - 1)
                                if j >= i:
                                    j += 1
                                at = np.int64(words[j]) * stride + d
                                x[k] = inputs[at]
                                if apart:
                                    x[k] += changes_in[block, at]
                                at = np.int64(samples[own + min(r + k, n_out - 1)]) * stride + d
                                y[k] = outputs[at]
                                if apart:
                                    y[k] += changes_out[block, at]
                            for k in range(_GROUP):
                                if r + k < n_read:
                                    hidden += x[k]
                                    if not cbow:
                                        rows_in[(r + k) * stride + d] = x[k]
                                if r + k < padded:
                                    rows_out[(r + k) * stride + d] = y[k] if r + k < n_out else zero
                        if cbow:
                            rows_in[d] = share * hidden
                    cuda.syncthreads()

                    for group in range(0, padded, _GROUP):
                        for u in range(t, rows << slices, n_threads):
                            c = u >> slices
                            s = u - (c << slices)
                            for k in range(_GROUP):
                                y[k] = zero
                            for d in range(s, stride, 1 << slices):
                                value = rows_in[c * stride + d]
                                for k in range(_GROUP):
                                    y[k] += value * rows_out[(group + k) * stride + d]
                            for k in range(_GROUP):
                                sums[s * pitch + c * padded + group + k] = y[k]
                    cuda.syncthreads()

                    for u in range(t, rows * padded, n_threads):
                        q = u % padded
                        gradient = zero
                        if q < n_out:
                            score = zero
                            for s in range(1 << slices):
                                score += sums[s * pitch + u]
                            positive = codes[path + q] == 0 if tree else q == 0
                            label = one if positive else zero
                            if with_loss:
                                z = -score if positive else score
                                loss += np.float64(max(z, zero) + math.log1p(math.exp(-abs(z))))
                            score = min(max(score, -edge), edge)
                            gradient = rate * (label - one / (one + math.exp(-score)))
                        gradients[u] = gradient
                    cuda.syncthreads()

                    for d in range(t, stride, n_threads):
                        learned = zero
                        for group in range(0, padded, _GROUP):
                            for k in range(_GROUP):
                                x[k] = rows_out[(group + k) * stride + d]
                                y[k] = zero
                            for c in range(rows):
                                value = rows_in[c * stride + d]
                                for k in range(_GROUP):
                                    gradient = gradients[c * padded + group + k]
                                    learned += gradient * x[k]
                                    y[k] += gradient * value
                                if not cbow:
                                    j = low + c_first + c
                                    if j >= i:
                                        j += 1
                                    word = np.int64(words[j])
                                    if not (some_frozen and frozen[word] != 0):
                                        at = word * stride + d
                                        if apart:
                                            changes_in[block, at] += learned
                                            if d == 0:
                                                marks_in[block, word] = turn
                                        else:
                                            cuda.atomic.add(inputs, at, learned)
                                    learned = zero
                            for k in range(_GROUP):
                                if group + k < n_out:
                                    word = np.int64(samples[own + group + k])
                                    at = word * stride + d
                                    if apart:
                                        changes_out[block, at] += y[k]
                                        if d == 0:
                                            marks_out[block, word] = turn
                                    else:
                                        cuda.atomic.add(outputs, at, y[k])
                        if cbow:
                            if mode & DIVIDED:
                                learned *= share
                            for c in range(n_in):
                                j = low + c
                                if j >= i:
                                    j += 1
                                word = np.int64(words[j])
                                if not (some_frozen and frozen[word] != 0):
                                    at = word * stride + d
                                    if apart:
                                        changes_in[block, at] += learned
                                        if d == 0:
                                            marks_in[block, word] = turn
                                    else:
                                        cuda.atomic.add(inputs, at, learned)

        if with_loss:
            totals[block, t] = loss
            cuda.syncthreads()
        if t == 0:
            loss = 0.0
            if with_loss:
                for other in range(n_threads):
                    loss += totals[block, other]
            losses[part] = loss
            tallies[part, 0] = n_trained
            tallies[part, 1] = n_products
        part += flight


@_cuda.cuda_jit
def _add_changes(
    changes,   # INOUT float32 or float64 (b, v * stride): added and then 0
    marks,     # IN  int32 (b, v)
    turn,      # IN  int32: the mark of rows that were changed
    n_blocks,  # IN  int64
    stride,    # IN  int64
    table,     # INOUT same dtype (v * stride,)
):
    zero = table.dtype.type(0)
    for i in range(cuda.grid(1), table.shape[0], cuda.gridsize(1)):
        row = i // stride
        for block in range(n_blocks):
            if marks[block, row] == turn:
                table[i] += changes[block, i]
                changes[block, i] = zero


PTX = {
    "_train": [
        "void(int64, int32[::1], int64[::1], int64, int64, int64, int64, int64, int64, int64[:,::1], float32[::1], "
        "uint32[::1], int32[::1], uint64[::1], int64[::1], int32[::1], uint8[::1], "
        f"{t}[::1], {t}[::1], int64, uint8[::1], boolean, int64, int64, boolean, int64, uint64, uint64, {t}[::1], "
        f"boolean, int64, int64, int64, int64, boolean, int32, {t}[:,::1], {t}[:,::1], int32[:,::1], int32[:,::1], "
        f"boolean, int64, {t}[:,::1], int32[:,::1], float64[:,::1], float64[::1], int64[:,::1])"
        for t in ("float32", "float64")
    ],
    "_add_changes": [
        f"void({t}[:,::1], int32[:,::1], int32, int64, int64, {t}[::1])" for t in ("float32", "float64")
    ],
}
FLOAT64 = {"_train": "the loss of a part is a sum of thousands of float32, which float32 would round"}


def huffman_tree(counts):
    """Build the tree on the host and move it: it is built once, by merges that follow one another."""
    return tuple(_cuda.asarray(part) for part in host.huffman_tree(_cuda.asnumpy(counts)))


def _n_threads(stride):
    """Return the threads of a block: whole warps, so many that each has the same number of columns, or one fewer."""
    if _cuda.SIMULATED:
        return _SIMULATED_THREADS
    passes = -(-stride // _MOST_THREADS)
    return max(64, -(-stride // passes // 32) * 32)


def _in_flight(share, contexts, rate):
    """Return how many blocks may be in flight when the most frequent word has this share of all contexts."""
    changes = share * contexts * max(rate / 0.025, 1.0)
    return max(1, min(_BLOCKS, int(_ROW_CHANGES / changes))) if changes > 0 else _BLOCKS


def _largest_share(ids, keep):
    """Return the share of the most frequent word in the kept tokens."""
    present = _cuda.xp().bincount(ids, minlength=keep.shape[0]) * keep
    kept = float(present.sum())
    return float(present.max()) / kept if kept > 0 else 0.0


def _rooms(stride, itemsize, n_rows, n_samples, n_integers):
    """Return (slices, floats, bytes): as many slices of a row as shared memory has room for the sums of."""
    for slices in range(_SLICES, -1, -1):
        n_numbers = (n_rows + n_samples) * stride + n_rows * n_samples + (n_rows * n_samples + 1 << slices)
        size = n_numbers * itemsize + n_integers * 4
        if size <= _SHARED:
            break
    return slices, n_numbers, size


def word2vec_train(
    mode, ids, offsets, begin, end, keep, thresholds, aliases, weights, roots, nodes, codes, inputs, outputs, frozen,
    window, shrink, negative, key, first_item, rate, slope, with_loss, deterministic,
):  # fmt: skip
    """Train; see the contract."""
    xp = _cuda.xp()
    stride, dtype = inputs.shape[1], inputs.dtype
    tree, pairs = bool(mode & TREE), bool(mode & PAIRS) and not mode & TREE
    longest = int(xp.diff(offsets).max()) if offsets.shape[0] > 1 else 0
    if longest < 2 or begin == end or (tree and nodes.shape[0] == 0):
        return 0.0, 0, 0
    span = min(window, longest - 1)
    widest = min(2 * span, longest - 1)
    most = int(xp.diff(roots).max()) if tree else negative + 1
    n_samples = -(-most // _GROUP) * _GROUP
    n_rows = 1 if mode & CBOW or pairs else widest
    batch = 1 if tree or pairs else max(1, min(_BATCH, _DRAWN // most))

    size = shard_tokens(inputs.shape[0]) if deterministic else _PART
    n_parts = -(-(end - begin) // size)
    if deterministic:
        flight = min(n_parts, SHARDS)
    elif end - begin <= _ALONE:
        flight = 1
    else:
        contexts = min(widest, window + 1 if shrink else 2 * window)
        share = _largest_share(ids[begin:end], keep)
        flight = min(n_parts, _in_flight(share, contexts, max(rate, rate + slope * (end - begin))))
    n_threads = _n_threads(stride)
    n_integers = 2 * (size + 2 * span) + size + n_threads + 2 * batch + batch * most * (widest if pairs else 1)
    slices, n_numbers, n_bytes = _rooms(stride, dtype.itemsize, n_rows, n_samples, n_integers)
    large = n_bytes > _SHARED
    if large and not deterministic:
        flight = max(1, min(flight, _SCRATCH // n_bytes))

    starts = begin + size * xp.arange(n_parts, dtype=np.int64)
    lasts = xp.minimum(starts + size, end) - 1
    sentences = xp.stack([xp.searchsorted(offsets, tokens, side="right") for tokens in (starts, lasts)])
    sentences = sentences.astype(np.int64) - 1
    losses, tallies = xp.zeros(n_parts), xp.zeros((n_parts, 2), np.int64)
    # Arrays of no elements are not passed to kernels: their memory has no address on a device.
    some_frozen = frozen.shape[0] > 0
    given = (thresholds, aliases, weights, roots, nodes, codes, frozen)
    thresholds, aliases, weights, roots, nodes, codes, frozen = (
        array if array.shape[0] else xp.zeros(1, array.dtype) for array in given
    )
    rooms = xp.empty((flight, n_numbers) if large else (1, 1), dtype)
    int_rooms = xp.empty((flight, n_integers) if large else (1, 1), np.int32)
    totals = xp.empty((flight, n_threads) if with_loss else (1, 1), np.float64)
    rates = xp.asarray([rate, slope], dtype=dtype)
    tables = inputs.reshape(-1), outputs.reshape(-1)
    changes = [xp.zeros((flight, table.shape[0]) if deterministic else (1, 1), dtype) for table in tables]
    marks = [
        xp.full((flight, table.shape[0]) if deterministic else (1, 1), -1, np.int32) for table in (inputs, outputs)
    ]
    # In shared memory the integers follow the numbers. Where neither lies there it still has room for one of each.
    shared = 16 if large else n_bytes
    step = SHARDS if deterministic else n_parts
    for turn, first_part in enumerate(range(0, n_parts, step)):
        last_part = min(n_parts, first_part + step)
        _cuda.launch(
            _train, flight, mode, ids, offsets, begin, end, size, first_part, last_part, flight, sentences, keep,
            thresholds, aliases, weights, roots, nodes, codes, *tables, stride, frozen, some_frozen, window, span,
            shrink, negative, np.uint64(key), np.uint64(first_item), rates, with_loss, n_rows, n_samples, slices,
            batch, deterministic, np.int32(turn), *changes, *marks, large,
            0 if large else n_numbers * dtype.itemsize // 4, rooms, int_rooms, totals, losses, tallies,
            block=n_threads, shared=shared,
        )  # fmt: skip
        if deterministic:
            for table, change, mark in zip(tables, changes, marks):
                _cuda.launch(_add_changes, table.shape[0], change, mark, np.int32(turn), flight, stride, table)
    counts = tallies.sum(axis=0)
    return float(losses.sum()), int(counts[0]), int(counts[1])
