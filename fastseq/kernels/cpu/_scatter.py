"""Rows of frequent words kept apart from each other while several threads change them.

Words are sorted by how often they come, so the rows that all threads change again and again lie one after another. A
processor that reads a row's lines in order asks for the four to eight behind its end too, and takes them from the core
that is at work on the next row. Two cores that change every other of 256 rows of 304 float32 took 87 ns a row of a
Zen 4, and 20 ns where half a kilobyte lay in between. In training that was most of what two threads lose: skip-gram of
100 dimensions takes 450 instead of 405 ns a centre, and 890 where the cores share no cache.

So each of the rows that change most changes places with another, `_APART` rows from the next of them. Both tables are
in order again when training ends.
"""

from __future__ import annotations

import numpy as np

from .._jit import jit

__all__ = ["ScatteredRows", "compile_exchanges"]

# The rows that are set apart: as many are half of what is drawn as samples of 29,090 words, and with all of them, or
# twice as many, nothing more is gained.
_MOST = 1024
# Rows from one of them to the next. An odd number: eight rows of 128 dimensions are 4096 bytes, and all would lie in
# the same few sets of the caches (512 dimensions, two threads: skip-gram 1333 and 1270, CBOW 522 and 504 ns a centre).
_APART = 9


@jit
def _exchange_rows(
    table,     # INOUT float (v, stride)
    ones,      # IN  int64 (n,)
    others,    # IN  int64 (n,)
    backward,  # IN  bool, whether the exchanges are undone
):
    for i in range(ones.shape[0]):
        k = ones.shape[0] - 1 - i if backward else i
        one, other = ones[k], others[k]
        if one != other:
            for d in range(table.shape[1]):
                value = table[one, d]
                table[one, d] = table[other, d]
                table[other, d] = value


@jit
def _exchange_tables(
    inputs,   # INOUT float (v, stride)
    outputs,  # INOUT float (w, stride)
    ones_in, others_in, ones_out, others_out,  # IN  int64
    apart,    # INOUT bool (1,) whether the rows are apart
    wanted,   # IN  bool
):  # fmt: skip
    # In one call, so that no interrupt finds one table in another order than `apart` says.
    if apart[0] != wanted:
        _exchange_rows(inputs, ones_in, others_in, not wanted)
        _exchange_rows(outputs, ones_out, others_out, not wanted)
        apart[0] = wanted


@jit
def _plan(
    frequent,  # IN  int64 (n,) rows
    step,      # IN  int64, rows from one to the next
    row_of,    # INOUT int32 (v,) where each row is to be; at first where it is
    word_of,   # INOUT int32 (v,) the other way round
    ones,      # OUT int64 (n,) rows to exchange, one pair after another
    others,    # OUT int64 (n,)
):
    for i in range(frequent.shape[0]):
        one, other = np.int64(row_of[frequent[i]]), i * step
        ones[i], others[i] = one, other
        word_of[one], word_of[other] = word_of[other], word_of[one]
        row_of[word_of[one]], row_of[word_of[other]] = one, other


def _exchanges(often):
    """Return where each row is to be, which one is to be at each place, and the rows to exchange for that."""
    # A difference, since unsigned numbers have no negative. Of equal ones the first.
    frequent = np.argsort(often.max(initial=0) - often, kind="stable")[: min(_MOST, len(often) // _APART)]
    row_of, word_of = (np.arange(len(often), dtype=np.int32) for _ in range(2))
    ones, others = (np.empty(len(frequent), np.int64) for _ in range(2))
    _plan(frequent, _APART, row_of, word_of, ones, others)
    return row_of, word_of, ones, others


class ScatteredRows:
    """Two tables whose frequent rows are apart while `spread` holds, and in order after `restore`.

    Attributes
    ----------
    places : (V,), (V,) and (V - 1,) int32
        Where each row of the inputs is meanwhile, which one is at each place, and where each row of the outputs is;
        the last is empty where that is the same as for the inputs.
    """

    def __init__(self, inputs, outputs, often, often_out=None):
        """Plan for tables (V, S) and (W, S), and how often their rows change, (V,) and (W,) integers, or both alike."""
        self._tables = inputs, outputs
        row_of, word_of, *pairs = _exchanges(often)
        node_at, _, *pairs_out = (np.empty(0, np.int32), None, *pairs) if often_out is None else _exchanges(often_out)
        self.places = row_of, word_of, node_at
        self._pairs = (*pairs, *pairs_out)
        self._apart = np.zeros(1, bool)

    def spread(self):
        """Set the rows apart."""
        _exchange_tables(*self._tables, *self._pairs, self._apart, True)

    def restore(self):
        """Put all rows back in order; they are where they were if they were not set apart."""
        _exchange_tables(*self._tables, *self._pairs, self._apart, False)


def compile_exchanges(dtype):
    """Compile all of it for one dtype."""
    scattered = ScatteredRows(np.zeros((2, 1), dtype), np.zeros((2, 1), dtype), np.zeros(2, np.int64))
    scattered.spread()
    scattered.restore()
