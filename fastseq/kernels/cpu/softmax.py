"""Projection, softmax and cross-entropy on the CPU, on the packed products of `_panels`.

Panels of logits, four vectors of words wide, become exponentials (`_softmax_rows`), and those are an operand of the
products that make the gradients, so none of them is moved: the left one of the states', and of the weights' the packed
one where words are columns and the left one where they are rows.

The biases' gradient is that of the weights of a state that always is 1. Where words are columns it is made with the
weights': the last tile of the states has room for it.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange

from .._jit import parallel_jit
from .._tiles import call_at, flush_denormals, restore_denormals
from .._vector import lanes, row_lanes
from ._memory import pool
from ._panels import (
    GROUP,
    WHOLE_TILES,
    column_of,
    columns_of,
    pack,
    pack_transposed,
    part_at,
    product_at,
    rows_summed,
    weigh_groups,
)
from ._recurrent import padded_rows
from ._softmax_rows import CHUNK, finish, sweep

__all__ = ["softmax_cross_entropy"]

# Bytes of logits that are kept at a time: all of 700 rows and 10,000 words. Fewer rows would meet the whole gradient of
# the weights, 26 MB at 650 units, more often; more would not stay in the last cache at all.
_LOGITS_BYTES = 2**25
# Rows that meet some words at a time, at most (650 units: 45.9 ms with 384, 47.5 with 192, 52.7 with 96), at least.
_ROWS = 384
_LEAST_ROWS = 24
# The words are in parts where rows are few: as many that rows times parts are about so many, for many threads to work
# on, but no more than that, and a part has four chunks at least.
_ROWS_OF_PARTS = 1536
_MOST_PARTS = 4

# One gate, words beside one another.
_SIDE = (1, (0, 0, 0, 0), True)


@parallel_jit
def _pack_columns(
    weights,    # IN  float (n * units,)
    n,          # IN  int64
    units,      # IN  int64
    n_padded,   # IN  int64, n with zeros behind
    n_vectors,  # IN  int64
    n_columns,  # IN  int64
    out,        # OUT float (n_vectors * lanes * n_padded,), column after column
):
    lane = row_lanes(out)
    for row in prange(n_padded):
        for q in range(n_columns):
            first, width = column_of(q, n_vectors, n_columns, lane)
            at = first * n_padded + row * width
            goal = out[at : at + width]
            if row < n:
                some = weights[row * units + first : row * units + min(units, first + width)]
                for j in range(some.shape[0]):
                    goal[j] = some[j]
                goal[some.shape[0] :] = 0
            else:
                goal[:] = 0


@parallel_jit
def _weigh_words(
    exponentials,  # IN  float (p * r * step,)
    n_rows,     # IN  int64, r
    n_panels,   # IN  int64, p
    n_words,    # IN  int64
    n_parts,    # IN  int64
    scaled,     # IN  float (parts * n_vectors * lanes * r,), see `finish`
    factors,    # IN  float (parts * r,)
    units,      # IN  int64
    n_vectors,  # IN  int64
    n_columns,  # IN  int64
    depth,      # IN  int64, rows that are summed at a time
    adds,       # IN  bool, whether the results hold sums to go on with
    dw,         # INOUT float (n_words * units,)
    db,         # INOUT float (n_words,)
    narrow,     # IN  int64, the address of the function for columns of n_vectors // n_columns vectors
    wide,       # IN  int64, of that for those of one more
    panel,      # IN  int64, of that for panels of words
    n_workers,  # IN  int64
):
    lane = row_lanes(exponentials)
    step = 4 * lane
    n_tasks = n_panels * n_columns
    # Few words: a column's states meet all of them, one panel after the other, so that each thread has its share of the
    # full ones. The other way round one of two threads had 16 of the 22 tasks that are of 32 of 65 words, the other six
    # and the eleven of one word: 1.07 instead of 0.80 ms for 3200 x 256 (Zen 3).
    few = n_panels <= CHUNK
    for worker in prange(n_workers):
        before = flush_denormals()
        for row in range(0, n_rows, depth):
            deep = min(depth, n_rows - row)
            goes_on = adds or row > 0
            for task in range(worker * n_tasks // n_workers, (worker + 1) * n_tasks // n_workers):
                p, q = task // n_columns, task % n_columns
                if few:
                    q, p = task // n_panels, task % n_panels
                part = 0
                while (part + 1) * n_panels // n_parts <= p:
                    part += 1
                at = (p * n_rows + row) * step
                first, width = column_of(q, n_vectors, n_columns, lane)
                call_at(narrow if width == n_vectors // n_columns * lane else wide, (
                    min(step, n_words - p * step), exponentials, at, 1, step, 0, 1, deep, scaled,
                    (part * n_vectors * lane + first) * n_rows + row * width, width, goes_on, dw,
                    p * step * units + first, units, lane, 0, units - first, lane,
                ))  # fmt: skip
                if q == 0:
                    call_at(panel, (
                        1, factors, part * n_rows + row, 0, 1, 0, 1, deep, exponentials, at, step, goes_on, db,
                        p * step, 0, lane, 0, n_words - p * step, lane,
                    ))  # fmt: skip
        restore_denormals(before)


def _parts_of(n_rows, n_panels):
    """Return how many parts the words are in: by sizes alone, for the sums' order is theirs."""
    return max(1, min(_MOST_PARTS, _ROWS_OF_PARTS // max(1, n_rows), n_panels // (4 * CHUNK)))


def _block_of(n_rows, n_parts):
    """Return how many rows are taken at a time: as many for all threads."""
    n_threads = get_num_threads()
    n_blocks = -(-n_rows // _ROWS)
    n_blocks = -(-(-(-n_blocks * n_parts // n_threads) * n_threads) // n_parts)
    n_blocks = max(1, min(n_blocks, n_rows // _LEAST_ROWS))
    return -(-n_rows // n_blocks // WHOLE_TILES) * WHOLE_TILES


class _Words:
    """The weights and biases of the words, packed once for all rows."""

    def __init__(self, w, b, by_word, train):
        self.dtype, self.units, self.by_word = w.dtype, w.shape[1 if by_word else 0], by_word
        lane = lanes(w.dtype)
        self.step = 4 * lane
        self.n_words = len(b)
        self.n_panels = -(-self.n_words // self.step)
        self.n_vectors, self.n_columns = columns_of(self.units, lane)
        n_padded = self.n_panels * self.step
        # Vectors of the last panel that have words. Of 65 it has one: with 3200 rows, 256 units and vectors of 8 words
        # 3.4 instead of 4.4 ms (two cores of a Zen 3).
        self.n_rest = -(-(self.n_words - (self.n_panels - 1) * self.step) // lane)
        self.packed_back = np.empty(0, w.dtype)
        if by_word:
            self.packed = pack_transposed(w, 1, (0,), whole=True)
            if train:
                self.packed_back = pool.take(self.n_vectors * lane * n_padded, w.dtype)
                _pack_columns(
                    w.reshape(-1), self.n_words, self.units, n_padded, self.n_vectors, self.n_columns, self.packed_back
                )
        else:
            self.packed = pack(w, *_SIDE)
            if train:
                self.packed_back = pack_transposed(w, *_SIDE)
        self.bias = padded_rows(b.reshape(1, -1), n_padded).reshape(-1)
        # What is not there is never likely.
        self.bias[self.n_words :] = -np.inf

    def give(self):
        pool.give(self.packed)
        if len(self.packed_back):
            pool.give(self.packed_back)

    def losses_and_grad(self, h, labels, weights, smoothing, even, train, losses, dh, dw, db, adds):
        """Fill ``losses``, and with ``train`` ``dh``, and fill or add to ``dw`` and ``db``, for some rows.

        Where words are columns, ``dw`` has a row more, which is ``db``.
        """
        n_rows, units, step, n_panels, dtype = len(h), self.units, self.step, self.n_panels, self.dtype
        n_parts, n_workers = _parts_of(n_rows, n_panels), get_num_threads()
        block = _block_of(n_rows, n_parts)
        logits = pool.take((n_panels * n_rows if train else n_workers * CHUNK * block) * step, dtype)
        peaks = np.full(n_parts * n_rows, -np.finfo(dtype).max, dtype)
        totals, spreads = np.zeros((2, n_parts * n_rows))
        asked = np.empty(n_rows, dtype)
        factors = np.empty(n_parts * n_rows, dtype)
        width = self.n_vectors * lanes(dtype) if self.by_word else (units // GROUP + 1) * GROUP
        # Few words: 3200 rows, 256 units and 65 words took 2.6 instead of 2.2 ms with shares and factors (words by
        # columns, AVX-512), and by rows `finish` 0.59 instead of 0.28 ms (two cores of a Zen 3).
        whole = train and smoothing == 0 and n_panels <= CHUNK
        scaled = pool.take(n_parts * n_rows * width if train else 0, dtype)
        parts = dh.reshape(-1) if whole else pool.take(n_parts * n_rows * units if train else 0, dtype)
        flat = h.reshape(-1)
        columns = self.n_vectors, self.n_columns
        # Without units there are no columns.
        n_columns = max(1, self.n_columns)
        widths = self.n_vectors // n_columns, -(-self.n_vectors // n_columns), 4
        narrow, wide, panel = (part_at(max(1, n), dtype) for n in widths)
        sweep(
            n_workers, n_rows, units, len(self.packed) // n_panels, n_panels, self.n_words, int(smoothing > 0),
            int(train), int(whole), n_parts, block, *columns, self.n_rest * lanes(dtype), product_at(4, dtype),
            product_at(self.n_rest, dtype), narrow, wide, labels, totals, spreads, flat, self.packed, self.bias,
            weights, logits, peaks, asked, self.packed_back, parts,
        )  # fmt: skip
        finish(
            n_workers, n_rows, units, n_panels, self.n_words, int(train), int(whole), n_parts, *columns,
            int(self.by_word), float(smoothing), labels, totals, spreads, losses, flat, weights, logits, peaks, asked,
            self.packed_back, even, parts, scaled, factors, dh.reshape(-1),
        )  # fmt: skip
        if train and self.by_word:
            depth = rows_summed(n_rows, step * dtype.itemsize)
            _weigh_words(
                logits, n_rows, n_panels, self.n_words, n_parts, scaled, factors, units, *columns, depth, adds,
                dw.reshape(-1), db, narrow, wide, panel, n_workers,
            )  # fmt: skip
        elif train:
            groups = scaled.reshape(n_parts, -1)
            for s in range(n_parts):
                begin, end = s * n_panels // n_parts * step, min(self.n_words, (s + 1) * n_panels // n_parts * step)
                weigh_groups(groups[s], units + 1, logits[begin * n_rows :], n_rows, step, end - begin, dw, begin, adds)
        pool.give(logits, scaled, *(() if whole else (parts,)))


def softmax_cross_entropy(h, w, b, labels, weights, by_word, label_smoothing, train):
    """Return (losses, dh, dw, db); see the contract."""
    dtype = h.dtype
    (n_rows, units), n_words = h.shape, len(b)
    if by_word and units == 0:
        # There is nothing to be multiplied by column: the biases are all.
        losses, dh, dw, db = softmax_cross_entropy(h, w.T, b, labels, weights, False, label_smoothing, train)
        return losses, dh, dw.T, db
    losses = np.zeros(n_rows)
    dh = pool.array((n_rows if train else 0, units), dtype)
    if by_word:
        written = dw = pool.array((n_words if train else 0, units), dtype)
        db = np.empty(n_words, dtype)
    else:
        # The last row is that of the biases.
        written = pool.array((units + 1, n_words if train else 0), dtype)
        dw, db = written[:units], written[units]
    if n_rows == 0:
        dw[:], db[:] = 0, 0
        return losses, dh, dw, db
    smoothed = train and label_smoothing > 0
    even = w.sum(0 if by_word else 1, dtype=np.float64).astype(dtype) if smoothed else np.empty(0, dtype)
    words = _Words(w, b, by_word, train)
    # Without training the logits of a chunk are kept, not those of all rows.
    most_rows = max(words.step, _LOGITS_BYTES // (words.n_panels * words.step * dtype.itemsize)) if train else n_rows
    n_chunks = -(-n_rows // most_rows)
    for chunk in range(n_chunks):
        first, end = chunk * n_rows // n_chunks, (chunk + 1) * n_rows // n_chunks
        words.losses_and_grad(
            h[first:end], labels[first:end], weights[first:end], label_smoothing, even, train, losses[first:end],
            dh[first:end], written, db, chunk > 0,
        )  # fmt: skip
    words.give()
    if smoothed:
        # What every word has of it is the same.
        counted = weights > 0
        # Not by BLAS, whose sums depend on the number of threads.
        share = np.einsum("r,ru->u", weights[counted].astype(np.float64), h[counted], dtype=np.float64)
        share = (share * (label_smoothing / n_words)).astype(dtype)
        dw -= share if by_word else share[:, None]
        db -= dtype.type(weights.sum(dtype=np.float64) * label_smoothing / n_words)
    return losses, dh, dw, db
