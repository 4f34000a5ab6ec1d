"""What a run of a recurrent network with options works on, and the table by which it reaches the compiled functions.

It is in two tuples of arrays, `Run` and `Back`; the table holds their addresses and lengths, the run's numbers, and the
addresses of the functions that make it up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._jit import jit

# Kinds of cells; BEFORE is the GRU that resets before the product with w_h.
LSTM, GRU, TANH, RELU, BEFORE = range(5)
# Options.
PEEPHOLE, NORM, KEEP_H, KEEP_C, MASK, CLIP, PROJECTION = (1 << i for i in range(7))


class Run(NamedTuple):
    """What a forward pass works on and leaves. Rows are those of `_recurrent`; lanes are a vector's."""

    kind: int
    options: int
    n_sequences: int
    n_panels: int      # of gates
    step: int          # lanes of a panel of gates
    units: int
    width: int         # of a row of cell states: whole panels
    h_units: int       # rows of w_h
    h_width: int       # of a row of states
    starts: np.ndarray      # int64 (t + 1,)
    clip: np.ndarray        # (1,)
    gates: np.ndarray       # (p * r * step,) the inputs' part, without NORM; then what the gates let through
    part_x: np.ndarray      # (p * r * step,) the inputs' part: NORM
    h_part: np.ndarray      # (p * r * step,) the states' part: NORM
    h: np.ndarray           # ((n + r) * h_width,)
    h_in: np.ndarray        # the same as the product takes them: MASK; else h
    c: np.ndarray           # ((n + r) * width,) LSTM
    inner: np.ndarray       # (r * width,) states before their projection, or after their reset: PROJECTION, BEFORE
    side: np.ndarray        # (q * r * 4 lanes,) candidates: BEFORE
    norm_c: np.ndarray      # (r * width,) normalised cell states: LSTM with NORM
    stats: np.ndarray       # (r * STATS,) by what the parts and the cell states are normalised: NORM
    packed: np.ndarray      # w_h
    packed_2: np.ndarray    # weights of the projection, or of the candidates
    bias_n: np.ndarray      # (width,) GRU
    gain_x: np.ndarray      # (p * step,) NORM
    bias_x: np.ndarray      # (p * step,) NORM
    gain_h: np.ndarray      # (p * step,) NORM
    gain_c: np.ndarray      # (width,) NORM
    bias_c: np.ndarray      # (width,) NORM
    peephole: np.ndarray    # (3 * width,)
    keep_h: np.ndarray      # (r * h_width,)
    keep_c: np.ndarray      # (r * width,)
    mask: np.ndarray        # (n * h_width,)
    real: np.ndarray        # (4 lanes,) 1 for each unit of the last panel, 0 behind them
    zeros: np.ndarray       # (4 lanes,)


class Back(NamedTuple):
    """What a backward pass works on. Rows of gradients are ``h_width`` wide, or ``c_row``, fours of vectors."""

    c_row: int
    scratch: np.ndarray        # (n * SCRATCH * lanes,) NORM; a forward pass has one of its own
    slopes: np.ndarray         # (r * SLOPES,) NORM
    dy: np.ndarray             # (r * h_width,)
    dh: np.ndarray             # (n * h_width,) gradient by the states that goes past the gates
    d_in: np.ndarray           # (n * h_width,) gradient by what the product took
    d_out: np.ndarray          # (n * c_row,) gradient by what the cells gave
    dc: np.ndarray             # (n * c_row,)
    dgates: np.ndarray         # (p * r * step,)
    dpart: np.ndarray          # (p * r * step,) NORM; else dgates
    dside: np.ndarray          # (q * r * 4 lanes,) by what was projected, or by the candidates: PROJECTION, BEFORE
    dnorm: np.ndarray          # (r * width,) by the normalised cell states: LSTM with NORM
    packed_back: np.ndarray    # w_h transposed
    packed_back_2: np.ndarray  # the other weights transposed


# Places in the table of a run: its numbers, the addresses of functions, then an address and a length for each array.
# Passed as a tuple of arrays, seven numbers each, the same took Numba about twice as long to compile.
(AT_KIND, AT_OPTIONS, AT_N_SEQUENCES, AT_N_PANELS, AT_STEP, AT_UNITS, AT_WIDTH, AT_H_UNITS, AT_H_WIDTH,
 AT_C_ROW) = range(10)  # fmt: skip
(DO_PRODUCT_1, DO_PRODUCT_2, DO_PRODUCT_3, DO_PRODUCT_4, DO_CELLS, DO_ROW_CELLS, DO_PUT_STATES, DO_CANDIDATES,
 DO_PANELS, DO_SECOND, DO_SEQUENCES, DO_PART) = range(10, 22)  # fmt: skip
# In a backward pass the same places are for what it does.
(DO_CELLS_BACK, DO_ROW_CELLS_BACK, DO_STATES_BACK, DO_RESETS_BACK, DO_COLUMNS_BACK, DO_SECOND_BACK,
 DO_SEQUENCES_BACK, DO_PART_BACK) = range(14, 22)  # fmt: skip
(AT_STARTS, AT_CLIP, AT_GATES, AT_PART_X, AT_H_PART, AT_H, AT_H_IN, AT_C, AT_INNER, AT_SIDE, AT_NORM_C, AT_STATS,
 AT_PACKED, AT_PACKED_2, AT_BIAS_N, AT_GAIN_X, AT_BIAS_X, AT_GAIN_H, AT_GAIN_C, AT_BIAS_C, AT_PEEPHOLE, AT_KEEP_H,
 AT_KEEP_C, AT_MASK, AT_REAL, AT_ZEROS, AT_SCRATCH, AT_SLOPES, AT_DY, AT_DH, AT_D_IN, AT_D_OUT, AT_DC, AT_DGATES,
 AT_DPART, AT_DSIDE, AT_DNORM, AT_PACKED_BACK, AT_PACKED_BACK_2) = range(22, 100, 2)  # fmt: skip


def table_of(run, functions, scratch):
    """Return the table (int64) of a forward pass; its arrays must live for as long as it is used.

    `table_back` goes on with it when ``scratch`` and the packed weights are no more: a backward pass has its own.
    """
    table = np.zeros(AT_PACKED_BACK_2 + 2, np.int64)
    table[:AT_C_ROW] = run[:AT_C_ROW]
    _enter_starts(table, run.starts)
    _enter(table, functions, (*run[AT_C_ROW + 1 :], scratch), AT_CLIP)
    return table


def table_back(table, back, functions):
    """Return the table of a backward pass from that of the forward pass.

    A run is read by any number of backward passes at a time, so what they write to is not of it.
    """
    table = table.copy()
    table[AT_C_ROW] = back.c_row
    _enter(table, functions, back[1:], AT_SCRATCH)
    return table


# Arrays that are entered in one call: the 26 of a forward pass take two, the 13 of a backward pass one.
_AT_ONCE = 13


@jit
def _enter_starts(
    table,   # INOUT int64
    starts,  # IN    int64 (t + 1,)
):
    table[AT_STARTS] = np.int64(starts.ctypes.data)
    table[AT_STARTS + 1] = starts.size


@jit
def _enter_some(
    table,   # INOUT int64
    place,   # IN    int64
    n,       # IN    int64, how many arrays are meant
    arrays,  # IN    tuple of float (any,), always as many
):
    for i in range(n):
        table[place + 2 * i] = np.int64(arrays[i].ctypes.data)
        table[place + 2 * i + 1] = arrays[i].size


def _enter(table, functions, arrays, place):
    """Enter functions and arrays, which are made here: all contiguous, not read-only, and of one dtype."""
    # From Python to ask an array for its address takes 2 us, and 26 where nothing of that is in the caches; to enter 13
    # in a compiled call takes 1.6 and 8.
    table[DO_PRODUCT_1 : DO_PRODUCT_1 + len(functions)] = functions
    for first in range(0, len(arrays), _AT_ONCE):
        some = arrays[first : first + _AT_ONCE]
        _enter_some(table, place + 2 * first, len(some), (*some, *some[:1] * (_AT_ONCE - len(some))))
