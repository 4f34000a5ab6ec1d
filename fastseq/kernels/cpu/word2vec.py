"""Training of word2vec's vectors on the CPU: windows in blocks of registers, lock-free over chunks of text.

One window of skip-gram is two small matrix products: scores (contexts x samples) from the rows of the contexts and of
the samples, and the two updates from the scores' gradients. A plain loop over pairs loads both rows for each product;
here the scores of 2 contexts (with AVX-512 and at most 6 samples 4) and a group of samples are summed in registers, and
the update of a group of samples is held in registers while the contexts pass by. CBOW has one row for all contexts: its
passes go by blocks of vectors, so that a row's place is looked up once a block and no sum waits for the one before (300
dimensions: 1.56 instead of 0.90 million words a second, one core of a Zen 3).

Samples come from a pool that is drawn for 2048 tokens (unless they are to be each pair's or each centre's own): their
rows, five of the seven that a centre takes, are in the second cache from the last time.

Many cores: parts of 8192 tokens are handed out one after the other, so no thread waits for another before the end of a
call. Rows begin at lines of 64 bytes, so no two words share one; frequent words, which is where threads meet, are
thinned out by ``keep``, and lie apart from each other while several threads train (see _scatter). What is shared and
grows with the number of cores is the traffic of the rows: for each centre its own, the one that enters the window and,
with samples from a pool, half of one more are read and written: 2.5 rows of 448 bytes (dim 100, 5 negatives), 2.2 KB,
of which the caches keep the frequent words'. At 3 million centres a second and core that is at most 7 GB/s a core, so
64 cores are bound by memory (by arithmetic, not measured) unless the tables lie on all memory nodes: start the process
with ``numactl --interleave=all``. The deterministic mode has 8 parts under way, so no use for more threads than that.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count

import numba
import numpy as np
from numba import get_num_threads, prange

from .._jit import address_of, jit, parallel_jit
from .._scalar import alias_draw, negative_draw, pool_place, pool_size, stream_bits, stream_of
from .._tiles import call_at
from .._vector import (
    BYTES,
    prefetch,
    row_add,
    row_add_product,
    row_lanes,
    row_put,
    row_zeros,
    rows_accumulate,
    rows_exchange,
    rows_factors,
    rows_load,
    rows_places,
    rows_update,
    rows_update_apart,
    tile_add_products,
    tile_weigh,
    tile_weigh_and_count,
)
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
from ._memory import aligned_rows
from ._scatter import ScatteredRows

# Elements of a row between two prefetches: a line of 64 bytes of float32.
_STEP = 16
# Of a row that is in the second cache so much is asked for: the processor itself asks for what follows. With 300
# dimensions CBOW takes 8 % less than with the whole row, and not less with half of this.
_ASKED = 8 * _STEP
_S40 = np.uint64(40)
# Sample r takes the draws from 64 (r + 1) on, of which the first will do where no word is left out (see negative_draw).
_S6 = np.uint64(6)
_TO_UNIT = np.float32(2.0**-24)
# Factors of at most 2 that a float32 holds the product of.
_FACTORS = 100
# Two contexts x eight samples are sixteen sums. Without AVX-512 only twelve fit the registers, but two groups of four
# samples take longer than one of eight (7 negatives: 2.1 instead of 3.1 million words a second, two cores of a Zen 3).
_MOST_IN_GROUP = 8
# Tokens that one thread trains on before it takes the next part: long enough that looking for the contexts beyond a
# part's ends costs nothing, short enough for buffers that stay in the first cache.
_PART = 8192
# So many centres ahead the rows are asked for that enter the window, in between of what is learned: asked for all at
# once they wait for one another, and whatever comes next for them (300 dimensions: skip-gram 7 %, CBOW 9 % faster).
_AHEAD = 2


@jit(inline=True)
def _score_tile(
    tile,     # IN  tile of n x m vectors of zeros
    tile_1,   # IN  tile of 1 x m vectors of zeros
    inputs,   # IN  float (v * stride,)
    in_at,    # IN  int64 (c,) where the rows of the contexts begin
    first_in,  # IN  int64, the first of n contexts
    outputs,  # IN  float (w * stride,)
    out_at,   # IN  int64 (m,) where the rows of the samples begin
    first,    # IN  int64, the group's first sample
    stride,   # IN  int64
    scores,   # OUT float (n * m,) rate times what the sigmoids of the scores are short of the targets
    place,    # IN  int64
    targets,  # IN  float, see _weigh
    goal,     # IN  int64, where the group's targets begin
    rate,     # IN  float
    with_loss,  # IN  bool
    products,  # INOUT float
    linear,   # INOUT float64
    tally,    # INOUT int64 (8,)
):
    for d in range(0, stride, row_lanes(outputs)):
        tile = tile_add_products(tile, tile_1, inputs, in_at, first_in, outputs, out_at, first, d)
    if with_loss:
        _count(tally, products, linear, _FACTORS)
        tile_weigh_and_count(tile, scores, place, targets, goal, rate, products, linear)
    else:
        tile_weigh(tile, scores, place, targets, goal, rate)


@jit(inline=True)
def _count(
    tally,     # INOUT int64 (8,) the third number: how often products were multiplied since they were ones
    products,  # INOUT float (n,) of 1 + exp(-|score|), which are not above 2
    linear,    # INOUT float64 (n,) the rest of the loss
    times,     # IN  int64, how often they may be multiplied
):
    if tally[2] >= times:
        for t in range(products.shape[0]):
            linear[t] += math.log(np.float64(products[t]))
            products[t] = 1
        tally[2] = 0
    tally[2] += 1


@jit(inline=True)
def _ask(
    table,  # IN  float (v * stride,)
    place,  # IN  int64, where a row begins
    d,      # IN  int64
    lane,   # IN  int64
):
    """Ask for the line of a row that column ``d`` begins: a vector of AVX is half of one. Of float64 every other is."""
    if lane % _STEP == 0 or d % _STEP == 0:
        prefetch(table, place + d)


@jit(inline=True)
def _exchange(
    tile_1,   # IN  tile of 1 x m vectors of zeros
    hidden,   # IN  float (stride,)
    outputs,  # INOUT float (w * stride,)
    out_at,   # IN  int64 (m,)
    stride,   # IN  int64
    scores,   # IN  float (m,)
    change,   # OUT float (stride,) what hidden is to change by
    whole_in,  # IN  float, see _change
    whole_out,  # IN  float
    next_in,  # IN  int64
    next_out,  # IN  int64
):
    places = rows_places(tile_1, out_at, 0)
    factors = rows_factors(tile_1, scores, 0)
    lane = row_lanes(outputs)
    for d in range(0, stride, lane):
        _ask(whole_in, next_in, d, lane)
        _ask(whole_out, next_out, d, lane)
        x = row_add_product(row_zeros(outputs, 1), hidden.dtype.type(1), hidden, d)
        row_put(rows_exchange(x, factors, outputs, places, d), change, d)


@jit(inline=True)
def _weigh(
    tall,      # IN  tile of n x m vectors of zeros, n the most contexts whose sums fit the registers
    tile_2,    # IN  tile of 2 x m vectors of zeros
    tile_1,    # IN  tile of 1 x m vectors of zeros
    inputs,    # IN  float (v * stride,)
    in_at,     # IN  int64 (c,)
    first_in,  # IN  int64, the first of the rows of inputs
    n_in,      # IN  int64, how many
    outputs,   # IN  float (w * stride,)
    out_at,    # INOUT int64 (s + m,) room for a whole group beyond the end
    n_out,     # IN  int64
    stride,    # IN  int64
    rate,      # IN  float
    scores,    # OUT float, for each group (c * m,): rows of inputs and outputs are to change by the others times these
    targets,   # IN  float (g * n m,) for each group n times: 1 where the sample is wanted, else 0, -1 beyond the last
    with_loss,  # IN  bool
    products,  # INOUT float, the loss
    linear,    # INOUT float64, the rest of it
    tally,     # INOUT int64 (8,)
):
    """Weigh all pairs of rows."""
    m = len(tile_1)
    n_rows = len(tall) // m
    n_groups = -(-n_out // m)
    for q in range(n_out, n_groups * m):
        out_at[q] = out_at[0]
    for group in range(n_groups):
        first, goal, place = group * m, group * n_rows * m, group * n_in * m
        c = 0
        while c + n_rows <= n_in:
            _score_tile(
                tall, tile_1, inputs, in_at, first_in + c, outputs, out_at, first, stride, scores, place + c * m,
                targets, goal, rate, with_loss, products, linear, tally,
            )  # fmt: skip
            c += n_rows
        if n_rows > 2 and c + 2 <= n_in:
            _score_tile(
                tile_2, tile_1, inputs, in_at, first_in + c, outputs, out_at, first, stride, scores, place + c * m,
                targets, goal, rate, with_loss, products, linear, tally,
            )  # fmt: skip
            c += 2
        if c < n_in:
            _score_tile(
                tile_1, tile_1, inputs, in_at, first_in + c, outputs, out_at, first, stride, scores, place + c * m,
                targets, goal, rate, with_loss, products, linear, tally,
            )  # fmt: skip


@jit(inline=True)
def _merge(
    in_at,   # INOUT int64 (c,) where the rows of the contexts begin
    n_in,    # IN  int64
    scores,  # INOUT float (c * m,) of one group of samples
    m,       # IN  int64
):
    """Add up what contexts that are the same word are to learn; return how many are left.

    Else the samples would learn from the row as its first mention left it.
    """
    c = 1
    while c < n_in:
        e = 0
        while in_at[e] != in_at[c]:
            e += 1
        if e == c:
            c += 1
        else:
            n_in -= 1
            for q in range(m):
                scores[e * m + q] += scores[c * m + q]
                scores[c * m + q] = scores[n_in * m + q]
            in_at[c] = in_at[n_in]
    return n_in


@jit(inline=True)
def _change(
    tile_1,    # IN  tile of 1 x m vectors of zeros
    inputs,    # INOUT float (v * stride,)
    in_at,     # IN  int64 (c,)
    first_in,  # IN  int64, the first of the rows of inputs
    n_in,      # IN  int64, how many
    outputs,   # INOUT float (w * stride,)
    out_at,    # IN  int64 (s + m,)
    n_out,     # IN  int64
    stride,    # IN  int64
    apart,     # IN  bool, whether what the inputs change by is only added to deltas
    alone,     # IN  bool, whether there is one row of inputs, apart: deltas need not be zeros for one group of samples
    deltas,    # INOUT float (c * stride,)
    changes,   # INOUT float ((s + m) * stride,) scratch for more than one group
    spread,    # IN  int64 (s + m,) where the rows of changes begin
    scores,    # IN  float, see _weigh
    whole_in,  # IN  float (v * stride,) the tables of which a row each is asked for on the way
    whole_out,  # IN  float (w * stride,)
    next_in,   # IN  int64, where these begin
    next_out,  # IN  int64
):
    """Change all rows by what `_weigh` found."""
    m = len(tile_1)
    lane = row_lanes(outputs)
    n_groups = -(-n_out // m)
    if alone and n_groups == 1:
        _exchange(
            tile_1, inputs, outputs, out_at, stride, scores, deltas, whole_in, whole_out, next_in, next_out
        )  # fmt: skip
        return
    for group in range(n_groups):
        for d in range(0, stride, lane):
            if group == 0:
                _ask(whole_in, next_in, d, lane)
                _ask(whole_out, next_out, d, lane)
            rows = rows_load(tile_1, outputs, out_at, group * m, d)
            sums = tile_1
            place = group * n_in * m
            if apart:
                for c in range(n_in):
                    row = first_in + c
                    sums = rows_update_apart(
                        rows, sums, inputs, in_at[row] + d, deltas, row * stride + d, scores, place + c * m
                    )
            else:
                for c in range(n_in):
                    sums = rows_update(rows, sums, inputs, in_at[first_in + c] + d, scores, place + c * m)
            if n_groups == 1:
                rows_accumulate(sums, outputs, out_at, 0, d)
            else:
                rows_accumulate(sums, changes, spread, group * m, d)
    if n_groups > 1:
        # Not before: the next group may hold the same word.
        for q in range(n_out):
            for d in range(0, stride, lane):
                row = rows_load(row_zeros(outputs, 1), outputs, out_at, q, d)
                row = row_add(row, rows_load(row, changes, spread, q, d))
                row_put(row, outputs, out_at[q] + d)
        for d in range(0, n_groups * m * stride, lane):
            row_put(row_zeros(outputs, 1), changes, d)


@jit(inline=True)
def _sum_block(
    row,     # IN  row of zeros
    inputs,  # IN  float (v * stride,)
    in_at,   # IN  int64 (c,)
    n_in,    # IN  int64
    factor,  # IN  float
    d,       # IN  int64, the first column
    hidden,  # OUT float (stride,)
):
    for c in range(n_in):
        row = row_add_product(row, factor, inputs, in_at[c] + d)
    row_put(row, hidden, d)


@jit(inline=True)
def _sum_rows(
    inputs,  # IN  float (v * stride,)
    in_at,   # IN  int64 (c,) where the rows of the contexts begin
    n_in,    # IN  int64
    factor,  # IN  float
    stride,  # IN  int64
    hidden,  # OUT float (stride,) factor times the sum of the rows
):
    """Sum in blocks of four vectors, then two, then one: a place is looked up once a block, and no sum waits long."""
    lane = row_lanes(inputs)
    d = 0
    while d + 4 * lane <= stride:
        _sum_block(row_zeros(inputs, 4), inputs, in_at, n_in, factor, d, hidden)
        d += 4 * lane
    if d + 2 * lane <= stride:
        _sum_block(row_zeros(inputs, 2), inputs, in_at, n_in, factor, d, hidden)
        d += 2 * lane
    if d < stride:
        _sum_block(row_zeros(inputs, 1), inputs, in_at, n_in, factor, d, hidden)


@jit(inline=True)
def _add_block(
    row,     # IN  row of zeros
    change,  # IN  float (stride,)
    factor,  # IN  float
    d,       # IN  int64, the first column
    inputs,  # INOUT float (v * stride,)
    in_at,   # IN  int64 (c,)
    n_in,    # IN  int64
):
    one = factor * 0 + 1
    row = row_add_product(row, factor, change, d)
    # One after another: the same row may be named twice.
    for c in range(n_in):
        row_put(row_add_product(row, one, inputs, in_at[c] + d), inputs, in_at[c] + d)


@jit(inline=True)
def _add_to_rows(
    change,  # IN  float (stride,)
    factor,  # IN  float
    stride,  # IN  int64
    inputs,  # INOUT float (v * stride,) factor times change is added to the rows
    in_at,   # IN  int64 (c,) where they begin
    n_in,    # IN  int64
):
    """Add in blocks, as in `_sum_rows`."""
    lane = row_lanes(inputs)
    d = 0
    while d + 4 * lane <= stride:
        _add_block(row_zeros(inputs, 4), change, factor, d, inputs, in_at, n_in)
        d += 4 * lane
    if d + 2 * lane <= stride:
        _add_block(row_zeros(inputs, 2), change, factor, d, inputs, in_at, n_in)
        d += 2 * lane
    if d < stride:
        _add_block(row_zeros(inputs, 1), change, factor, d, inputs, in_at, n_in)


@jit(inline=True)
def _thaw(
    in_at,   # INOUT int64 (c,) places of rows; those that may change come first afterwards
    around,  # IN  int64 (c,) their words
    n_in,    # IN  int64
    frozen,  # IN  uint8 (v,)
):
    """Return how many of the rows may change."""
    n_free = 0
    for c in range(n_in):
        if frozen[around[c]] == 0:
            in_at[n_free] = in_at[c]
            n_free += 1
    return n_free


@jit(inline=True)
def _place(
    word,    # IN  int64, the row of a table
    mapped,  # INOUT int32 (v,) the row of each word in the local copy, -1 where it has none
    names,   # INOUT int32 (r,) whose rows the local copy holds
    filled,  # INOUT int64 (2,) how many rows the local copies hold
    which,   # IN  int64, 0 for inputs and 1 for outputs
    whole,   # IN  float (v * stride,)
    local,   # INOUT float (r * stride,)
    stride,  # IN  int64
):
    """Return where the row of a word begins in the local copy, and copy it there if need be."""
    slot = np.int64(mapped[word])
    if slot < 0:
        slot = filled[which]
        filled[which] = slot + 1
        mapped[word] = slot
        names[slot] = word
        for d in range(stride):
            local[slot * stride + d] = whole[word * stride + d]
    return slot * stride


@jit(inline=True)
def _at(
    row,   # IN  int64
    rows,  # IN  int32 (v,) or empty, if they are in order
):
    if rows.shape[0]:
        return np.int64(rows[row])
    return row


@jit(inline=True)
def _kept(
    key,       # IN  uint64
    item,      # IN  uint64
    share,     # IN  float32, how often the word is kept
):
    """Return whether a token is kept when frequent words are thinned out; with a share of 1 it always is."""
    return np.float32(stream_bits(stream_of(key, item), KEEP_DRAW) >> _S40) * _TO_UNIT < share


@jit(inline=True)
def _gather(
    ids,       # IN  int32 (n,)
    begin,     # IN  int64, the first token to train on
    end,       # IN  int64, the token after the last
    left,      # IN  int64, where the sentence begins
    right,     # IN  int64, where it ends
    window,    # IN  int64
    keep,      # IN  float32 (v,)
    key,       # IN  uint64
    shift,     # IN  uint64, item of token 0
    words,     # OUT int32 (end - begin + 2 * window,)
    places,    # OUT int64 (end - begin + 2 * window,)
):
    """List the kept tokens and up to ``window`` more on each side; return (first, end of the centres, size).

    What lies beyond the part is looked at too, so a long line that is cut into parts loses no context.
    """
    size = window
    for t in range(begin, end):
        word = ids[t]
        # Written in any case, kept only if wanted: a branch could not be foretold (CBOW of 100 dimensions 5 % faster).
        words[size] = word
        places[size] = t
        size += _kept(key, shift + np.uint64(t), keep[word])
    if size == window:
        return window, window, window
    stop = size
    first = window
    t = begin - 1
    while t >= left and first > 0:
        if _kept(key, shift + np.uint64(t), keep[ids[t]]):
            first -= 1
            words[first] = ids[t]
        t -= 1
    t = end
    while t < right and size < stop + window:
        if _kept(key, shift + np.uint64(t), keep[ids[t]]):
            words[size] = ids[t]
            size += 1
        t += 1
    return first, stop, size


@jit(inline=True)
def _draw(
    stream,      # IN  uint64
    row,         # IN  int64, of the centre
    word_of,     # IN  int32 (v,) or empty, the word of each row
    row_of,      # IN  int32 (v,) or empty, the row of each word
    first,       # IN  int64, number of the first sample
    n,           # IN  int64
    thresholds,  # IN  uint32 (v,)
    aliases,     # IN  int32 (v,)
    weights,     # IN  uint64 (v,)
    outputs,     # IN  float (w * stride,)
    stride,      # IN  int64
    drawn,       # OUT int64, rows
    place,       # IN  int64, where the first one is written
):
    """Draw samples and ask for their rows: most of them come from memory beyond the caches."""
    word = _at(row, word_of)
    for k in range(n):
        other = _at(negative_draw(stream, np.uint64(first + k), word, thresholds, aliases, weights), row_of)
        drawn[place + k] = other
        for d in range(0, stride, _STEP):
            prefetch(outputs, other * stride + d)


@jit(inline=True)
def _draw_pooled(
    key,         # IN  uint64
    item,        # IN  uint64, of the centre
    stream,      # IN  uint64, the same as a stream
    row,         # IN  int64, of the centre
    word_of,     # IN  int32 (v,) or empty
    row_of,      # IN  int32 (v,) or empty
    n,           # IN  int64
    n_pool,      # IN  uint64, the pool's size
    pool,        # INOUT int32 (n_pool,) rows drawn for a stretch of text; empty: they are drawn when they are taken
    stretch,     # INOUT uint64 (1,) the item of that stretch
    thresholds,  # IN  uint32 (v,)
    aliases,     # IN  int32 (v,)
    weights,     # IN  uint64 (v,)
    outputs,     # IN  float (w * stride,)
    stride,      # IN  int64
    drawn,       # OUT int64, rows
    place,       # IN  int64, where the first one is written
):
    """Take samples from those of the stretch of text, and ask for their rows, which are in the second cache."""
    here = POOL_ITEM + (item >> STRETCH)
    if pool.shape[0] and stretch[0] != here:
        stretch[0] = here
        source = stream_of(key, here)
        for r in range(pool.shape[0]):
            pool[r] = _at(alias_draw(stream_bits(source, np.uint64(r + 1) << _S6), thresholds, aliases), row_of)
    for k in range(n):
        r = pool_place(stream, np.uint64(k), POOL_DRAW, n_pool)
        other = row
        if pool.shape[0]:
            other = np.int64(pool[r])
        if other == row:
            word = _at(row, word_of)
            other = _at(negative_draw(stream_of(key, here), r, word, thresholds, aliases, weights), row_of)
        for d in range(0, min(stride, _ASKED), _STEP):
            prefetch(outputs, other * stride + d)
        drawn[place + k] = other


@jit(inline=True)
def _aim(
    targets,  # OUT float, see _weigh
    m,        # IN  int64, samples of a group
    n_rows,   # IN  int64, how many times each group's are written
    n_out,    # IN  int64
    codes,    # IN  uint8 (p,) 0 where the sample is wanted; empty: the first one is
    first,    # IN  int64
):
    for q in range(-(-n_out // m) * m):
        target = -1.0
        if q < n_out:
            target = 1.0 if (codes[first + q] == 0 if codes.shape[0] else q == 0) else 0.0
        for row in range(n_rows):
            targets[q // m * n_rows * m + row * m + q % m] = target


@jit
def _make_buffers(
    like,       # IN  float array, for the dtype
    n_tokens,   # IN  int64, the longest part
    mode,       # IN  int64
    stride,     # IN  int64
    span,       # IN  int64, the longest reach
    most,       # IN  int64, the most samples
    m,          # IN  int64, samples of a group
    n_rows,     # IN  int64, the most contexts that are scored together
    negative,   # IN  int64
    pooled,     # IN  bool, whether samples are drawn for a stretch of text before they are taken
):
    """Return what `_train_part` works with. It is made outside of it, so that no reference is counted there: Numba does
    so by atomic operations, which wait for all stores before them, and a centre took 495 instead of 360 ns.
    """
    words = np.empty(n_tokens + 2 * span, np.int32)
    places = np.empty(n_tokens + 2 * span, np.int64)
    around = np.empty(2 * span, np.int64)
    in_at = np.empty(2 * span, np.int64)
    out_at = np.empty(most + m, np.int64)
    # Room for the whole vectors of a tile beyond the end.
    room = -(-n_rows * m // row_lanes(like)) * row_lanes(like)
    scores = np.zeros(2 * span * (most + m) + room, like.dtype)
    targets = np.zeros(n_rows * (most + m) + room, like.dtype)
    _aim(targets, m, n_rows, most, np.empty(0, np.uint8), 0)
    products = np.ones(room, like.dtype)
    linear = np.zeros(room, np.float64)
    hidden = np.zeros(stride if mode & CBOW else 0, like.dtype)
    hidden_at = np.zeros(1, np.int64)
    deltas = np.zeros((1 if mode & CBOW else 2 * span) * stride, like.dtype)
    changes = np.zeros((most + m) * stride if most > m else 0, like.dtype)
    spread = np.empty(most + m, np.int64)
    for q in range(most + m):
        spread[q] = q * stride
    # Of two centres: the next one's samples are drawn, and their rows asked for, before this one's rows change.
    drawn = np.empty(2 * negative, np.int64)
    pool = np.empty(pool_size(negative, stride) if pooled else 0, np.int32)
    stretch = np.zeros(1, np.uint64)
    return (words, places, around, in_at, out_at, scores, targets, products, linear, hidden, hidden_at, deltas, changes,
            spread, drawn, pool, stretch)  # fmt: skip


@jit(inline=True)
def _train_part(
    tall,        # IN  tile of n x m vectors of zeros, n the most contexts that are scored together
    tile_2,      # IN  tile of 2 x m vectors of zeros
    tile_1,      # IN  tile of 1 x m vectors of zeros
    mode,        # IN  int64, flags of _word2vec
    ids,         # IN  int32 (n,)
    offsets,     # IN  int64 (s + 1,)
    sentence,    # IN  int64, a sentence that ends after begin and does not begin after it
    begin,       # IN  int64
    end,         # IN  int64
    keep,        # IN  float32 (v,)
    thresholds,  # IN  uint32 (v,) or empty with TREE
    aliases,     # IN  int32 (v,)
    weights,     # IN  uint64 (v,)
    roots,       # IN  int64 (v + 1,) where each word's path begins, with TREE
    nodes,       # IN  int32 (p,)
    codes,       # IN  uint8 (p,)
    inputs,      # INOUT float (v * stride,)
    outputs,     # INOUT float (w * stride,)
    stride,      # IN  int64
    frozen,      # IN  uint8 (v,) or empty, by rows
    window,      # IN  int64
    shrink,      # IN  bool
    negative,    # IN  int64
    key,         # IN  uint64
    shift,       # IN  uint64, item of token 0
    rate_0,      # IN  float64, learning rate of token 0
    slope,       # IN  float64, what it changes by with each token
    most,        # IN  int64, the most samples of a centre
    with_loss,   # IN  bool
    buffers,     # INOUT arrays of `_make_buffers`
    map_in,      # INOUT int32 (v,) or empty
    names_in,    # INOUT int32
    local_in,    # INOUT float
    map_out,     # INOUT int32
    names_out,   # INOUT int32
    local_out,   # INOUT float
    filled,      # INOUT int64 (2,)
    row_of,      # IN  int32 (v,) the row of each word; empty: they are in order
    word_of,     # IN  int32 (v,) the word of each row, or empty
    node_at,     # IN  int32 (v - 1,) with TREE the row of each node, or empty
    tally,       # INOUT int64 (8,) tokens trained on, products with samples, see _count; the rest is a line's
):
    """Train on the tokens ``begin`` to ``end``, whatever sentences they belong to; return the loss."""
    m = len(tile_1)
    n_rows = len(tall) // m
    lane = row_lanes(outputs)
    tree = mode & TREE
    cbow = mode & CBOW
    pairs = mode & PAIRS
    pooled = mode & POOLED
    n_pool = np.uint64(pool_size(negative, stride))
    (words, places, around, in_at, out_at, scores, targets, products, linear, hidden, hidden_at, deltas, changes,
     spread, drawn, pool, stretch) = buffers  # fmt: skip
    # No reach is longer than the text.
    span = min(window, ids.shape[0])
    apart = cbow or frozen.shape[0] > 0 or most > m
    local = map_in.shape[0] > 0
    in_table = local_in if local else inputs
    out_table = local_out if local else outputs
    rows = hidden if cbow else in_table
    rows_at = hidden_at if cbow else in_at
    here = begin
    while here < end:
        while offsets[sentence + 1] <= here:
            sentence += 1
        until = min(end, offsets[sentence + 1])
        first, stop, size = _gather(
            ids, here, until, offsets[sentence], offsets[sentence + 1], span, keep, key, shift, words, places
        )
        # From here on words are rows.
        for j in range(first, size if row_of.shape[0] else first):
            words[j] = row_of[words[j]]
        here = until
        ahead = key
        # What the first centre needs; its samples are drawn in the first turn, in which nothing is learned yet.
        for j in range(first, min(size, span + window + _AHEAD)):
            for d in range(0, stride, _STEP):
                prefetch(inputs, np.int64(words[j]) * stride + d)
        for i in range(span - 1, stop):
            stream = ahead
            now = ((i - span) & 1) * negative
            word = np.int64(words[max(i, span)])
            n_in = 0
            n_out = 0
            path = 0
            if i >= span:
                reach = window
                if shrink:
                    reach = 1 + np.int64(stream_bits(stream, WINDOW_DRAW) % np.uint64(window))
                for j in range(max(first, i - reach), min(size, i + reach + 1)):
                    if j != i:
                        other = np.int64(words[j])
                        around[n_in] = other
                        # Here and not in a loop of its own, whose wide loads would wait for these stores.
                        in_at[n_in] = other * stride
                        if local:
                            in_at[n_in] = _place(other, map_in, names_in, filled, 0, inputs, local_in, stride)
                        n_in += 1
                if n_in > 0:
                    n_out = negative + 1
                    if tree:
                        path = roots[_at(word, word_of)]
                        n_out = roots[_at(word, word_of) + 1] - path
            learns = n_out > 0
            rate = rate_0 + slope * places[max(i, span)]
            step = inputs.dtype.type(rate)
            share = step * 0 + 1
            rounds = 1
            if learns:
                if tree:
                    for q in range(n_out):
                        node = _at(np.int64(nodes[path + q]), node_at)
                        out_at[q] = node * stride
                        if local:
                            out_at[q] = _place(node, map_out, names_out, filled, 1, outputs, local_out, stride)
                    _aim(targets, m, n_rows, n_out, codes, path)
                else:
                    out_at[0] = word * stride
                    if local:
                        out_at[0] = _place(word, map_out, names_out, filled, 1, outputs, local_out, stride)
                if pairs:
                    rounds = n_in
                tally[0] += 1
                tally[1] += (rounds if cbow else n_in) * n_out
                if cbow:
                    if mode & MEAN:
                        share /= n_in
                    _sum_rows(in_table, in_at, n_in, share, stride, hidden)
                elif apart:
                    for d in range(0, n_in * stride, lane):
                        row_put(row_zeros(inputs, 1), deltas, d)
            for turn in range(rounds):
                row = turn if pairs else 0
                left = 1 if cbow or pairs else n_in
                if learns:
                    if not tree:
                        if turn > 0:
                            _draw(
                                stream, word, word_of, row_of, turn * negative, negative, thresholds, aliases, weights,
                                outputs, stride, drawn, now,
                            )  # fmt: skip
                        for k in range(negative):
                            other = drawn[now + k]
                            out_at[1 + k] = other * stride
                            if local:
                                out_at[1 + k] = _place(
                                    other, map_out, names_out, filled, 1, outputs, local_out, stride
                                )  # fmt: skip
                    _weigh(
                        tall, tile_2, tile_1, rows, rows_at, row, left, out_table, out_at, n_out, stride, step, scores,
                        targets, with_loss, products, linear, tally,
                    )  # fmt: skip
                if turn == 0 and i + 1 < stop:
                    # Here and not before: the weights are a long time under way, and this needs none of them.
                    item = shift + np.uint64(places[i + 1])
                    ahead = stream_of(key, item)
                    following = np.int64(words[i + 1])
                    if pooled:
                        _draw_pooled(
                            key, item, ahead, following, word_of, row_of, negative, n_pool, pool, stretch, thresholds,
                            aliases, weights, outputs, stride, drawn, negative - now,
                        )  # fmt: skip
                    elif not tree:
                        _draw(
                            ahead, following, word_of, row_of, 0, negative, thresholds, aliases, weights, outputs,
                            stride, drawn, negative - now,
                        )  # fmt: skip
                if not learns:
                    continue
                if not (apart or pairs):
                    left = _merge(in_at, n_in, scores, m)
                if cbow and n_out > m:
                    for d in range(0, stride, lane):
                        row_put(row_zeros(inputs, 1), deltas, d)
                entering = np.int64(words[min(i + _AHEAD + span, size - 1)])
                following = 0 if tree else np.int64(words[min(i + _AHEAD, size - 1)])
                _change(
                    tile_1, rows, rows_at, row, left, out_table, out_at, n_out, stride, apart, cbow, deltas, changes,
                    spread, scores, inputs, outputs, entering * stride, following * stride,
                )  # fmt: skip
                if cbow:
                    if frozen.shape[0]:
                        n_in = _thaw(in_at, around, n_in, frozen)
                    _add_to_rows(deltas, share if mode & DIVIDED else step * 0 + 1, stride, in_table, in_at, n_in)
                elif apart:
                    for c in range(row, row + left):
                        if frozen.shape[0] == 0 or frozen[around[c]] == 0:
                            for d in range(0, stride, lane):
                                value = rows_load(row_zeros(inputs, 1), in_table, in_at, c, d)
                                value = row_add_product(value, step * 0 + 1, deltas, c * stride + d)
                                row_put(value, in_table, in_at[c] + d)
    _count(tally, products, linear, 0)
    total = 0.0
    for t in range(linear.shape[0]):
        total += linear[t]
    return total


def _most_rows(m):
    """Return how many contexts are scored together with groups of ``m`` samples.

    AVX-512 has twice the registers: 4 instead of 2 make skip-gram of 100 dimensions 6 % faster, of 300 3 %.
    """
    return 4 if BYTES == 64 and 4 * m <= 24 else 2


@cache
def _trainer(m):
    """Return the lock-free training of a range of tokens for groups of ``m`` samples, whose sums are in registers."""
    tall, double = _most_rows(m) * m, 2 * m

    def train(
        mode,        # IN  int64, flags of _word2vec
        ids,         # IN  int32 (n,)
        offsets,     # IN  int64 (s + 1,)
        sentence,    # IN  int64
        begin,       # IN  int64
        end,         # IN  int64
        keep,        # IN  float32 (v,)
        thresholds,  # IN  uint32 (v,)
        aliases,     # IN  int32 (v,)
        weights,     # IN  uint64 (v,)
        roots,       # IN  int64 (v + 1,)
        nodes,       # IN  int32 (p,)
        codes,       # IN  uint8 (p,)
        inputs,      # INOUT float (v * stride,)
        outputs,     # INOUT float (w * stride,)
        stride,      # IN  int64
        frozen,      # IN  uint8 (v,)
        window,      # IN  int64
        shrink,      # IN  bool
        negative,    # IN  int64
        key,         # IN  uint64
        shift,       # IN  uint64
        rate_0,      # IN  float64
        slope,       # IN  float64
        most,        # IN  int64
        with_loss,   # IN  bool
        row_of,      # IN  int32 (v,) or empty
        word_of,     # IN  int32 (v,) or empty
        node_at,     # IN  int32 (v - 1,) or empty
        tally,       # INOUT int64 (8,)
    ):
        none = np.empty(0, np.int32)
        no_rows = np.empty(0, inputs.dtype)
        buffers = _make_buffers(
            inputs, end - begin, mode, stride, min(window, ids.shape[0]), most, m, tall // m,
            negative, (mode & POOLED) != 0,
        )
        return _train_part(
            row_zeros(inputs, tall), row_zeros(inputs, double), row_zeros(inputs, m), mode, ids, offsets, sentence,
            begin, end, keep, thresholds, aliases, weights, roots, nodes, codes, inputs, outputs, stride, frozen,
            window, shrink, negative, key, shift, rate_0, slope, most, with_loss, buffers, none, none, no_rows, none,
            none, no_rows, np.zeros(2, np.int64), row_of, word_of, node_at, tally,
        )  # fmt: skip

    train.__qualname__ = f"_train_{m}"
    return jit(train)


@cache
def _shard_trainer(m):
    """Return what a shard does in the training that gives the same bits for any number of threads, for groups of ``m``
    samples.
    """
    tall, double = _most_rows(m) * m, 2 * m

    def train_apart(
        shard,       # IN  int64
        turn,        # IN  int64, 0 to train, 1 to add up what all shards have changed
        start,       # IN  int64, the first shard's first token
        mode,        # IN  int64
        begin,       # IN  int64
        end,         # IN  int64
        size,        # IN  int64, tokens of a part
        stride,      # IN  int64
        window,      # IN  int64
        shrink,      # IN  int64
        negative,    # IN  int64
        most,        # IN  int64
        with_loss,   # IN  int64
        key,         # IN  int64, the bits of a uint64
        shift,       # IN  int64, the bits of a uint64
        rate_0,      # IN  float64
        slope,       # IN  float64
        ids,         # IN  int32 (n,)
        offsets,     # IN  int64 (s + 1,)
        keep,        # IN  float32 (v,)
        thresholds,  # IN  uint32 (v,)
        aliases,     # IN  int32 (v,)
        weights,     # IN  uint64 (v,)
        roots,       # IN  int64 (v + 1,)
        nodes,       # IN  int32 (p,)
        codes,       # IN  uint8 (p,)
        frozen,      # IN  uint8 (v,)
        maps,        # INOUT int32 (2, h, v) all -1
        names,       # INOUT int32 (2, h, r)
        filled,      # INOUT int64 (h, 2)
        sentences,   # IN  int64 (p,) a sentence that ends after the begin of each part and does not begin after it
        losses,      # OUT float64 (p,)
        tallies,     # INOUT int64 (p, 8)
        inputs,      # INOUT float (v * stride,)
        outputs,     # INOUT float (w * stride,)
        copies_in,   # INOUT float (h, r * stride)
        copies_out,  # INOUT float (h, q * stride)
    ):
        n_shards = maps.shape[1]
        if turn == 1:
            # A row has one owner, who adds up its changes in the order of the shards.
            for other in range(n_shards):
                _add_changes(inputs, stride, names[0, other], filled[other, 0], copies_in[other], shard, n_shards)
                _add_changes(outputs, stride, names[1, other], filled[other, 1], copies_out[other], shard, n_shards)
            return
        first = start + shard * size
        # What the last round left; each parallel loop less is a wait less for all threads.
        for which in range(2):
            for slot in range(filled[shard, which]):
                maps[which, shard, names[which, shard, slot]] = -1
            filled[shard, which] = 0
        if first < end:
            none = np.empty(0, np.int32)
            # A part is too short for a pool: at most 128 tokens of the stretch's 2048.
            buffers = _make_buffers(
                inputs, size, mode, stride, min(window, ids.shape[0]), most, m, tall // m, negative, False
            )
            part = (first - begin) // size
            losses[part] = _train_part(
                row_zeros(inputs, tall), row_zeros(inputs, double), row_zeros(inputs, m), mode, ids, offsets,
                sentences[part], first, min(end, first + size), keep, thresholds, aliases, weights, roots, nodes, codes,
                inputs, outputs, stride, frozen, window, shrink != 0, negative, np.uint64(key), np.uint64(shift),
                rate_0, slope, most, with_loss != 0, buffers, maps[0, shard], names[0, shard], copies_in[shard],
                maps[1, shard], names[1, shard], copies_out[shard], filled[shard], none, none, none, tallies[part],
            )  # fmt: skip
            _keep_changes(inputs, stride, names[0, shard], filled[shard, 0], copies_in[shard])
            _keep_changes(outputs, stride, names[1, shard], filled[shard, 1], copies_out[shard])

    train_apart.__qualname__ = f"_train_apart_{m}"
    return jit(train_apart)


@cache
def _shard_trainer_at(m, dtype):
    """Return the address of `_shard_trainer`'s function."""
    i32, i64, u8, row = numba.int32, numba.int64, numba.uint8[::1], numba.from_dtype(dtype)
    return address_of(_shard_trainer(m), (
        *(i64,) * 15, numba.float64, numba.float64, i32[::1], i64[::1], numba.float32[::1], numba.uint32[::1], i32[::1],
        numba.uint64[::1], i64[::1], i32[::1], u8, u8, i32[:, :, ::1], i32[:, :, ::1], i64[:, ::1], i64[::1],
        numba.float64[::1], i64[:, ::1], row[::1], row[::1], row[:, ::1], row[:, ::1],
    ))  # fmt: skip


@parallel_jit
def _train_apart(
    trainer,  # IN  int64, the address of `_shard_trainer`'s function
    mode, begin, end, size, stride, window, shrink, negative, most, with_loss, key, shift, rate_0, slope, ids, offsets,
    keep, thresholds, aliases, weights, roots, nodes, codes, frozen, maps, names, filled, sentences, losses, tallies,
    inputs, outputs, copies_in, copies_out,  # as there
):  # fmt: skip
    # What a shard does is called by its address: inside of the loop it took 9 instead of 4 s to compile.
    n_shards = maps.shape[1]
    for start in range(begin, end, SHARDS * size):
        for turn in range(2):
            for shard in prange(n_shards):
                call_at(trainer, (
                    shard, turn, start, mode, begin, end, size, stride, window, shrink, negative, most, with_loss, key,
                    shift, rate_0, slope, ids, offsets, keep, thresholds, aliases, weights, roots, nodes, codes, frozen,
                    maps, names, filled, sentences, losses, tallies, inputs, outputs, copies_in, copies_out,
                ))  # fmt: skip


@jit(inline=True)
def _keep_changes(
    whole,   # IN  float (v * stride,)
    stride,  # IN  int64
    names,   # IN  int32 (r,)
    n,       # IN  int64
    copies,  # INOUT float (r * stride,) rows; then what they were changed by
):
    for slot in range(n):
        own = copies[slot * stride : (slot + 1) * stride]
        row = whole[names[slot] * stride : (names[slot] + 1) * stride]
        for d in range(stride):
            own[d] -= row[d]


@jit(inline=True)
def _add_changes(
    whole,     # INOUT float (v * stride,)
    stride,    # IN  int64
    names,     # IN  int32 (r,)
    n,         # IN  int64
    changes,   # IN  float (r * stride,)
    owner,     # IN  int64
    n_owners,  # IN  int64
):
    for slot in range(n):
        if names[slot] % n_owners == owner:
            own = changes[slot * stride : (slot + 1) * stride]
            row = whole[names[slot] * stride : (names[slot] + 1) * stride]
            for d in range(stride):
                row[d] += own[d]


@jit
def _build_tree(
    counts,  # IN  int64 (v,)
    order,   # IN  int64 (v,) words by rising count
    parent,  # OUT int64 (2 v - 1,) the inner node above each word and inner node
    branch,  # OUT uint8 (2 v - 1,)
    sums,    # OUT int64 (v - 1,) counts below the inner nodes
):
    """Merge the two least until one is left: inner nodes come in rising order, so two queues hold all that is left."""
    n = counts.shape[0]
    word = 0
    node = 0
    for new in range(n - 1):
        total = 0
        for side in range(2):
            if word < n and (node >= new or counts[order[word]] <= sums[node]):
                chosen = order[word]
                total += counts[chosen]
                word += 1
            else:
                chosen = n + node
                total += sums[node]
                node += 1
            parent[chosen] = new
            branch[chosen] = side
        sums[new] = total


@jit
def _list_paths(
    parent,  # IN  int64 (2 v - 1,)
    branch,  # IN  uint8 (2 v - 1,)
    roots,   # INOUT int64 (v + 1,) lengths of the paths are found first where nodes is empty
    nodes,   # OUT int32 (p,)
    codes,   # OUT uint8 (p,)
):
    n = roots.shape[0] - 1
    if nodes.shape[0] == 0:
        roots[0] = 0
    for word in range(n):
        at = word
        length = 0
        while at != 2 * n - 2:
            if nodes.shape[0]:
                place = roots[word + 1] - 1 - length
                nodes[place] = parent[at]
                codes[place] = branch[at]
            at = n + parent[at]
            length += 1
        if nodes.shape[0] == 0:
            roots[word + 1] = roots[word] + length


def huffman_tree(counts):
    """Build; see the contract."""
    n_words = len(counts)
    roots = np.zeros(n_words + 1, np.int64)
    if n_words < 2:
        return roots, np.empty(0, np.int32), np.empty(0, np.uint8)
    # Of equal counts the later word first.
    order = n_words - 1 - np.argsort(counts[::-1], kind="stable")
    parent = np.empty(2 * n_words - 1, np.int64)
    branch = np.empty(2 * n_words - 1, np.uint8)
    _build_tree(counts, order, parent, branch, np.empty(n_words - 1, np.int64))
    _list_paths(parent, branch, roots, np.empty(0, np.int32), np.empty(0, np.uint8))
    nodes = np.empty(roots[-1], np.int32)
    codes = np.empty(roots[-1], np.uint8)
    _list_paths(parent, branch, roots, nodes, codes)
    return roots, nodes, codes


def _group(n_samples):
    """Return how many samples to hold in registers at once: all, or what wastes the least of the last group."""
    if n_samples <= _MOST_IN_GROUP:
        return n_samples
    return min(range(_MOST_IN_GROUP, _MOST_IN_GROUP // 2, -1), key=lambda m: -(-n_samples // m) * m)


def scatter_rows(n_tokens, weights, roots, inputs, outputs, deterministic):
    """Return how the rows of two tables lie while they are trained, or None where they should stay in order.

    With one thread nobody else is at work on the next row (scattered it would take 0 to 4 % longer), and what the
    deterministic mode trains on are copies. The rows set apart are those that are drawn most often as samples.
    """
    if deterministic or get_num_threads() == 1 or n_tokens <= _PART:
        return None
    if len(weights):
        return ScatteredRows(inputs, outputs, weights)
    # Huffman's tree: a frequent word's path is short, and an inner node comes after those that are passed less often.
    return ScatteredRows(inputs, outputs, -np.diff(roots), np.arange(len(outputs)))


def word2vec_train(
    mode, ids, offsets, begin, end, keep, thresholds, aliases, weights, roots, nodes, codes, inputs, outputs, frozen,
    window, shrink, negative, key, first_item, rate, slope, with_loss, deterministic,
):  # fmt: skip
    """Train; see the contract."""
    return train_scattered(
        None, mode, ids, offsets, begin, end, keep, thresholds, aliases, weights, roots, nodes, codes, inputs, outputs,
        frozen, window, shrink, negative, key, first_item, rate, slope, with_loss, deterministic,
    )  # fmt: skip


def train_scattered(
    scattered, mode, ids, offsets, begin, end, keep, thresholds, aliases, weights, roots, nodes, codes, inputs, outputs,
    frozen, window, shrink, negative, key, first_item, rate, slope, with_loss, deterministic,
):  # fmt: skip
    """Train tables that are now as `scatter_rows` said, ``scattered``, or in order if that is None."""
    stride = inputs.shape[1]
    tree = bool(mode & TREE)
    longest = int(np.diff(roots).max(initial=1)) if tree else negative + 1
    # Paths are of all lengths; six is what negative sampling's default compiles too.
    m = 6 if tree else _group(longest)
    size = shard_tokens(len(inputs)) if deterministic else _PART
    parts = np.append(np.arange(begin, end, size), end)
    sentences = np.searchsorted(offsets, parts[:-1], side="right") - 1
    losses = np.zeros(len(parts) - 1)
    # Each in a line of the cache of its own: they are counted up at every centre, neighbours by two threads (1 to 2 %).
    tallies = aligned_rows(len(parts) - 1, 8, np.int64)
    tallies[:] = 0
    shift, rate_0 = np.uint64(first_item), rate - slope * begin
    tables = (keep, thresholds, aliases, weights, roots, nodes, codes, inputs.reshape(-1), outputs.reshape(-1))
    if scattered is not None and len(frozen):
        # By rows, as the training asks for it.
        frozen = frozen[scattered.places[1]]
    options = (stride, frozen, window, shrink, negative, key, shift, rate_0, slope, longest, with_loss)
    if deterministic:
        n_words = len(inputs)
        span = min(window, len(ids))
        rows_in = min(n_words, size + 2 * span)
        each = longest if tree else 1 + negative * (2 * span if mode & PAIRS else 1)
        rows_out = min(len(outputs), size * each)
        n_shards = min(SHARDS, len(parts) - 1)
        maps = np.full((2, n_shards, max(n_words, len(outputs))), -1, np.int32)
        names = np.empty((2, n_shards, max(rows_in, rows_out)), np.int32)
        copies = [np.empty((n_shards, rows * stride), inputs.dtype) for rows in (rows_in, rows_out)]
        *tables, flat_in, flat_out = tables
        _train_apart(
            _shard_trainer_at(m, inputs.dtype), mode, begin, end, size, stride, window, int(shrink), negative, longest,
            int(with_loss), np.uint64(key), shift, float(rate_0), float(slope), ids, offsets, *tables, frozen, maps,
            names, np.zeros((n_shards, 2), np.int64), sentences, losses, tallies, flat_in, flat_out, *copies,
        )  # fmt: skip
    else:
        train = _trainer(m)
        rows = (np.empty(0, np.int32),) * 3 if scattered is None else scattered.places

        def work(part):
            losses[part] = train(
                mode, ids, offsets, sentences[part], parts[part], parts[part + 1], *tables, *options, *rows,
                tallies[part],
            )  # fmt: skip

        n_threads = get_num_threads()
        if n_threads == 1 or len(losses) == 1:
            for part in range(len(losses)):
                work(part)
        else:
            # Python threads, since a part is long and lets the lock go: each takes the next part when it has done one,
            # and compiling is half the work that it is for a parallel loop of Numba.
            left = count()

            def take_parts():
                while (part := next(left)) < len(losses):
                    work(part)

            # This thread is one of them.
            with ThreadPoolExecutor(n_threads - 1) as pool:
                others = [pool.submit(take_parts) for _ in range(n_threads - 1)]
                try:
                    take_parts()
                    for done in others:
                        done.result()
                finally:
                    # After an interrupt nothing more is begun: who puts the rows back in order waits for the others.
                    while next(left) < len(losses):
                        pass
    return losses.sum(), tallies[:, 0].sum(), tallies[:, 1].sum()
