"""The steps of recurrent networks with options on the CPU; the plain cells are in `_recurrent`, the way back in
`_variants_back`.

A step has up to three parts, and where threads share the units they meet after each: products of panels, whose cells
follow at once where they need nothing of other units; rows, for layer normalisation, which needs all of a row's sums;
and a second product, by the weights of a projection or of the candidates of a GRU that resets before. Where threads
share the sequences none waits for another.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numba
import numpy as np
from numba import get_num_threads, prange

from .._jit import address_of, jit, parallel_jit
from .._tiles import (
    array_at,
    call_at,
    flush_denormals,
    restore_denormals,
    vector_load,
    vector_store,
)
from .._vector import lanes, row_lanes
from ._memory import pool
from ._panels import clear_lanes, pack, pack_cell, product_at, project
from ._recurrent import pad, padded_rows, share_rows
from ._variant_cells import candidates, cells, put_states, row_cells
from ._variant_norm import SCRATCH, STATS
from ._variant_table import (
    AT_BIAS_N,
    AT_GATES,
    AT_H,
    AT_H_IN,
    AT_H_PART,
    AT_H_UNITS,
    AT_H_WIDTH,
    AT_INNER,
    AT_KIND,
    AT_N_PANELS,
    AT_N_SEQUENCES,
    AT_OPTIONS,
    AT_PACKED,
    AT_PACKED_2,
    AT_SIDE,
    AT_STARTS,
    AT_STEP,
    AT_UNITS,
    AT_WIDTH,
    AT_ZEROS,
    BEFORE,
    CLIP,
    DO_CANDIDATES,
    DO_CELLS,
    DO_PANELS,
    DO_PART,
    DO_PRODUCT_2,
    DO_PRODUCT_3,
    DO_PRODUCT_4,
    DO_PUT_STATES,
    DO_ROW_CELLS,
    DO_SECOND,
    DO_SEQUENCES,
    GRU,
    KEEP_C,
    KEEP_H,
    LSTM,
    MASK,
    NORM,
    PEEPHOLE,
    PROJECTION,
    TANH,
    Run,
    table_of,
)

__all__ = ["Kept", "ROWS", "SIDE", "forward", "functions_of", "layout_of"]

# Rows that are normalised together: their gates stay in the second cache.
ROWS = 16


@jit(lean=True)
def _panels_forward(
    like,    # IN  float, an array of the dtype of all
    table,   # IN  int64, see `_variant_table`
    t,       # IN  int64
    first,   # IN  int64, the first sequence
    n_rows,  # IN  int64, how many
    p,       # IN  int64, the first panel of gates
    end,     # IN  int64, the one after the last
):
    product_2 = table[DO_PRODUCT_2]
    product_3 = table[DO_PRODUCT_3]
    product_4 = table[DO_PRODUCT_4]
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    n_sequences = table[AT_N_SEQUENCES]
    h_units = table[AT_H_UNITS]
    h_width = table[AT_H_WIDTH]
    step = table[AT_STEP]
    options = table[AT_OPTIONS]
    kind = table[AT_KIND]
    h_in = array_at(table, AT_H_IN, like)
    packed = array_at(table, AT_PACKED, like)
    zeros = array_at(table, AT_ZEROS, like)
    h_part = array_at(table, AT_H_PART, like)
    bias_n = array_at(table, AT_BIAS_N, like)
    lane = row_lanes(gates)
    total = starts[starts.shape[0] - 1]
    row = starts[t] + first
    before = (n_sequences + starts[t - 1] if t > 0 else 0) + first
    depth, start = h_units, before * h_width
    while p < end:
        at = (p * total + row) * step
        if options & NORM:
            if kind == GRU:
                call_at(product_3, (
                    n_rows, h_in, start, h_width, 1, 0, 1, depth, packed, p * depth * 3 * lane, 3 * lane, zeros, 0,
                    0, h_part, at + lane, step,
                ))  # fmt: skip
            else:
                call_at(product_4, (
                    n_rows, h_in, start, h_width, 1, 0, 1, depth, packed, p * depth * step, step, zeros, 0, 0,
                    h_part, at, step,
                ))  # fmt: skip
        else:
            if kind == GRU:
                own = vector_load(bias_n, p * lane)
                for r in range(n_rows):
                    vector_store(own, gates, at + r * step + 3 * lane)
                call_at(product_3, (
                    n_rows, h_in, start, h_width, 1, 0, 1, depth, packed, p * depth * 3 * lane, 3 * lane, gates,
                    at + lane, step, gates, at + lane, step,
                ))  # fmt: skip
            elif kind == BEFORE:
                call_at(product_2, (
                    n_rows, h_in, start, h_width, 1, 0, 1, depth, packed, p * depth * step, step, gates, at, step,
                    gates, at, step,
                ))  # fmt: skip
            else:
                call_at(product_4, (
                    n_rows, h_in, start, h_width, 1, 0, 1, depth, packed, p * depth * step, step, gates, at, step,
                    gates, at, step,
                ))  # fmt: skip
            call_at(table[DO_CELLS], (like, table, before, n_sequences + row, first, row, n_rows, p))
        p += 1


@jit(lean=True)
def _rows_forward(like, table, t, first, end):
    n_sequences = table[AT_N_SEQUENCES]
    starts = array_at(table, AT_STARTS, table)
    before = n_sequences + starts[t - 1] if t > 0 else 0
    while first < end:
        rows = min(ROWS, end - first)
        row = starts[t] + first
        call_at(table[DO_ROW_CELLS], (like, table, before + first, n_sequences + row, first, row, rows))
        first += rows


@jit(lean=True)
def _second_forward(
    like,    # IN  float, an array of the dtype of all
    table,   # IN  int64, see `_variant_table`
    t,       # IN  int64
    first,   # IN  int64
    n_rows,  # IN  int64
    q,       # IN  int64, the first four vectors of states or units
    end,     # IN  int64
):
    product_4 = table[DO_PRODUCT_4]
    gates = array_at(table, AT_GATES, like)
    starts = array_at(table, AT_STARTS, table)
    n_sequences = table[AT_N_SEQUENCES]
    kind = table[AT_KIND]
    inner = array_at(table, AT_INNER, like)
    width = table[AT_WIDTH]
    units = table[AT_UNITS]
    packed_2 = array_at(table, AT_PACKED_2, like)
    side = array_at(table, AT_SIDE, like)
    zeros = array_at(table, AT_ZEROS, like)
    h = array_at(table, AT_H, like)
    h_width = table[AT_H_WIDTH]
    options = table[AT_OPTIONS]
    lane = row_lanes(gates)
    step = 4 * lane
    total = starts[starts.shape[0] - 1]
    row = starts[t] + first
    before = (n_sequences + starts[t - 1] if t > 0 else 0) + first
    now = n_sequences + row
    while q < end:
        if kind == BEFORE:
            at = (q * total + row) * step
            call_at(product_4, (
                n_rows, inner, row * width, width, 1, 0, 1, units, packed_2, q * units * step, step, side, at, step,
                side, at, step,
            ))  # fmt: skip
            call_at(table[DO_CANDIDATES], (like, table, before, now, first, row, n_rows, q))
        else:
            call_at(product_4, (
                n_rows, inner, row * width, width, 1, 0, 1, units, packed_2, q * units * step, step, zeros, 0, 0, h,
                now * h_width + q * step, h_width,
            ))  # fmt: skip
            if options & (KEEP_H | MASK):
                for v in range(q * step, q * step + step, lane):
                    call_at(table[DO_PUT_STATES], (like, table, before, now, first, row, n_rows, v))
        q += 1


@jit(lean=True)
def _columns_of(like, table):
    """Return how many fours of vectors the second product has."""
    gates = array_at(table, AT_GATES, like)
    n_panels = table[AT_N_PANELS]
    kind = table[AT_KIND]
    h_width = table[AT_H_WIDTH]
    lane = row_lanes(gates)
    return -(-n_panels // 4) if kind == BEFORE else h_width // (4 * lane)


@jit(lean=True)
def _sequences_forward(like, table, first, end):
    """Run all steps of some sequences."""
    starts = array_at(table, AT_STARTS, table)
    n_panels = table[AT_N_PANELS]
    options = table[AT_OPTIONS]
    kind = table[AT_KIND]
    for t in range(starts.shape[0] - 1):
        rows = min(end, starts[t + 1] - starts[t]) - first
        if rows > 0:
            call_at(table[DO_PANELS], (like, table, t, first, rows, 0, n_panels))
            if options & NORM:
                _rows_forward(like, table, t, first, first + rows)
            if options & PROJECTION or kind == BEFORE:
                call_at(table[DO_SECOND], (like, table, t, first, rows, 0, _columns_of(like, table)))


@jit(lean=True)
def _part_forward(like, table, t, turn, worker, n_workers):
    """Run a thread's share of one part of a step."""
    starts = array_at(table, AT_STARTS, table)
    n_panels = table[AT_N_PANELS]
    rows = starts[t + 1] - starts[t]
    if turn == 0:
        first, end = worker * n_panels // n_workers, (worker + 1) * n_panels // n_workers
        call_at(table[DO_PANELS], (like, table, t, 0, rows, first, end))
    elif turn == 1:
        _rows_forward(like, table, t, worker * rows // n_workers, (worker + 1) * rows // n_workers)
    else:
        columns = _columns_of(like, table)
        first, end = worker * columns // n_workers, (worker + 1) * columns // n_workers
        call_at(table[DO_SECOND], (like, table, t, 0, rows, first, end))


@parallel_jit
def _forward(
    like,    # IN  float, an array of the dtype of all
    table,   # IN  int64, see `_variant_table`
    bounds,     # IN    int64 (w + 1,) the sequences of each worker; empty: they share units
    n_workers,  # IN    int64
):
    starts = array_at(table, AT_STARTS, table)
    options = table[AT_OPTIONS]
    kind = table[AT_KIND]
    if bounds.shape[0] > 0:
        for worker in prange(n_workers):
            mode = flush_denormals()
            call_at(table[DO_SEQUENCES], (like, table, bounds[worker], bounds[worker + 1]))
            restore_denormals(mode)
    else:
        for t in range(starts.shape[0] - 1):
            for turn in range(3):
                # A part that a run has not is skipped by all.
                has_second = options & PROJECTION or kind == BEFORE
                if turn == 0 or (turn == 1 and options & NORM) or (turn == 2 and has_second):
                    for worker in prange(n_workers):
                        mode = flush_denormals()
                        call_at(table[DO_PART], (like, table, t, turn, np.int64(worker), n_workers))
                        restore_denormals(mode)


@jit
def _spread(
    values,    # IN  float (g, h) of all gates
    order,     # IN  int64 (v,) which gate each vector of a panel is
    lane,      # IN  int64
    first,     # IN  int64, the first number of a panel that is one of them
    out,       # INOUT float (p, step)
):
    for p in range(out.shape[0]):
        for v in range(order.shape[0]):
            for d in range(min(lane, values.shape[1] - p * lane)):
                out[p, first + v * lane + d] = values[order[v], p * lane + d]


def _in_panels(values, lay, order, first):
    """Return numbers of all gates (gates * h,) in the panels of gates, zeros in lanes that the order has not."""
    out = np.zeros((lay.n_panels, lay.step), values.dtype)
    if lay.beside:
        out.reshape(-1)[: len(values)] = values
    else:
        _spread(values.reshape(lay.n_gates, -1), order, lay.lane, first, out)
    return out.reshape(-1)


class Layout:
    """How the gates of a kind of cell lie in panels; one serves all passes, so nothing of it may change."""

    def __init__(self, kind, dtype, units):
        self.lane = lane = lanes(dtype)
        self.beside = kind in (TANH, TANH + 1)
        if kind == LSTM:
            self.n_gates, order_x, order_h, self.first_h = 4, (0, 1, 2, 3), (0, 1, 2, 3), 0
        elif kind == GRU:
            self.n_gates, order_x, order_h, self.first_h = 3, (2, 0, 1), (0, 1, 2), lane
        elif kind == BEFORE:
            self.n_gates, order_x, order_h, self.first_h = 3, (0, 1), (0, 1), 0
        else:
            self.n_gates, order_x, order_h, self.first_h = 1, (0, 0, 0, 0), (0, 0, 0, 0), 0
        self.order_x, self.order_h = np.array(order_x, np.int64), np.array(order_h, np.int64)
        self.step = 2 * lane if kind == BEFORE else 4 * lane
        panel_units = 4 * lane if self.beside else lane
        self.n_panels = -(-units // panel_units)
        self.width = self.n_panels * panel_units
        # 1 for each unit of the last panel, 0 behind them.
        self.real = np.zeros(4 * lane, dtype)
        self.real.reshape(1 if self.beside else 4, -1)[:, : units - (self.n_panels - 1) * panel_units] = 1
        self.zeros = np.zeros(4 * lane, dtype)


layout_of = lru_cache(64)(Layout)


class Kept(NamedTuple):
    """What a forward pass leaves."""

    run: Run
    table: np.ndarray    # int64, see `table_of`
    w_p: np.ndarray | None
    h: np.ndarray        # (n + r, h_width)
    c: np.ndarray | None  # (n + r, width)


# One gate, units beside one another.
SIDE = (1, (0, 0, 0, 0), True)


def functions_of(dtype, wanted):
    """Return the addresses of what a run does, in the order of the places in its table.

    ``wanted`` are (function, how many numbers it takes behind the arrays).
    """
    array, table, number = numba.from_dtype(dtype)[::1], numba.int64[::1], numba.int64
    products = [product_at(n_vectors, dtype) for n_vectors in (1, 2, 3, 4)]
    return tuple(products + [address_of(function, (array, table, *(number,) * n)) for function, n in wanted])


@cache
def _functions(dtype):
    return functions_of(dtype, (
        (cells, 6), (row_cells, 5), (put_states, 6), (candidates, 6), (_panels_forward, 5), (_second_forward, 5),
        (_sequences_forward, 2), (_part_forward, 4),
    ))  # fmt: skip


def forward(kind, x, starts, h0, c0, w_x, w_h, bias, bias_n, options):
    """Run all steps; return what `backward` takes.

    ``options`` are arrays by the names of the contract, rows and sequences in the order of the bodies.
    """
    dtype = x.dtype
    n, h_units = h0.shape
    w_p = options.get("w_p")
    units = h_units if w_p is None else len(w_p)
    n_rows = len(x)
    lay = layout_of(kind, dtype, units)
    lane, step, n_panels, width = lay.lane, lay.step, lay.n_panels, lay.width
    none = np.zeros(0, dtype)
    h_width = width if w_p is None else -(-h_units // (4 * lane)) * 4 * lane
    on = 0
    for flag, name in (
        (PEEPHOLE, "peephole"), (NORM, "norm"), (KEEP_H, "keep_h"), (KEEP_C, "keep_c"), (MASK, "mask_h"),
        (CLIP, "clip_c"), (PROJECTION, "w_p"),
    ):  # fmt: skip
        on |= flag if options.get(name) is not None else 0

    def states(first, wide):
        out = pool.rows(n + n_rows, wide, dtype)
        pad(first, out)
        return out.reshape(-1)

    h = states(h0, h_width)
    mask = padded_rows(options["mask_h"], h_width).reshape(-1) if on & MASK else none
    h_in = h
    if on & MASK:
        with np.errstate(invalid="ignore"):
            h_in = states(h0 * options["mask_h"], h_width)
    c = states(c0, width) if kind == LSTM else none
    gates = pool.flat(n_panels * n_rows * step, dtype)
    gains = options.get("norm") or ()
    packed_x, packed, packed_bias = pack_cell(w_x, w_h, bias, lay.n_gates, lay.order_x, lay.order_h, lay.beside)
    packed_2 = none
    if kind == BEFORE:
        packed_2 = pack(np.ascontiguousarray(w_h[:, 2 * units :]), *SIDE)
    elif on & PROJECTION:
        packed_2 = pack(w_p, *SIDE)
    side = none
    if kind == BEFORE:
        side = pool.flat(-(-n_panels // 4) * n_rows * 4 * lane, dtype)
    peephole = padded_rows(options["peephole"], width).reshape(-1) if on & PEEPHOLE else none

    def of_rows(name, wide):
        return padded_rows(options[name], wide).reshape(-1) if options.get(name) is not None else none

    def of_units(values):
        return padded_rows(values.reshape(1, -1), width).reshape(-1)

    s = Run(
        kind, on, n, n_panels, step, units, width, h_units, h_width, starts,
        np.array([options.get("clip_c") or 0.0], dtype), gates,
        *((pool.flat(len(gates), dtype), pool.flat(len(gates), dtype)) if on & NORM else (none, none)), h, h_in, c,
        pool.flat(n_rows * width, dtype) if on & PROJECTION or kind == BEFORE else none, side,
        pool.flat(n_rows * width, dtype) if on & NORM and kind == LSTM else none,
        pool.flat(STATS * n_rows, dtype) if on & NORM else none, packed, packed_2,
        of_units(bias_n) if kind == GRU else none,
        *((_in_panels(values, lay, lay.order_x, 0) for values in (gains[0], bias)) if on & NORM else (none, none)),
        _in_panels(gains[1], lay, lay.order_h, lay.first_h) if on & NORM else none,
        of_units(gains[2]) if on & NORM and kind == LSTM else none,
        of_units(gains[3]) if on & NORM and kind == LSTM else none,
        peephole, of_rows("keep_h", h_width), of_rows("keep_c", width), mask, lay.real, lay.zeros,
    )  # fmt: skip
    scratch = pool.flat(n * SCRATCH * lane, dtype) if on & NORM else none
    table = table_of(s, _functions(dtype), scratch)
    if n_rows:
        _inputs(s, lay, x, w_x, bias, packed_x, packed_bias)
        bounds = share_rows(starts, n, packed.nbytes + packed_2.nbytes)
        n_workers = get_num_threads() if bounds is None else len(bounds) - 1
        _forward(gates, table, np.zeros(0, np.int64) if bounds is None else bounds, n_workers)
        _clear_behind(s, lay)
    pool.give(packed_x, packed_bias, packed, *((packed_2,) if len(packed_2) else ()))
    # The packed weights are another pass's from here on.
    table[AT_PACKED : AT_PACKED_2 + 2] = 0
    return Kept(
        s._replace(packed=none, packed_2=none), table, w_p, h.reshape(n + n_rows, h_width),
        c.reshape(n + n_rows, width) if kind == LSTM else None,
    )  # fmt: skip


def _inputs(s, lay, x, w_x, bias, packed_x, packed_bias):
    """Write the inputs' part of all gates; with layer normalisation without the bias, which comes after that."""
    n_rows, lane, step = len(x), lay.lane, lay.step
    n_vectors = len(lay.order_x)
    if s.options & NORM:
        project(x, n_rows, packed_x, np.zeros_like(packed_bias), n_vectors, s.part_x, step, 0)
    else:
        project(x, n_rows, packed_x, packed_bias, n_vectors, s.gates, step, 0)
    if s.kind == BEFORE:
        units = s.units
        packed_n = pack(np.ascontiguousarray(w_x[:, 2 * units :]), *SIDE)
        bias_n = pack(bias[2 * units :].reshape(1, -1), *SIDE)
        project(x, n_rows, packed_n, bias_n, 4, s.side, 4 * lane, 0)
        pool.give(packed_n, bias_n)


def _clear_behind(s, lay):
    """Clear what is behind the last unit, see `clear_lanes`."""
    n, n_rows = s.n_sequences, int(s.starts[-1])
    for sums in (s.gates, s.part_x, s.h_part):
        _clear_gates(sums, s, lay)
    if s.h_in is not s.h:
        _clear_rows(s.h_in, n, s.h_width, s.h_units)
    _clear_rows(s.h, n, s.h_width, s.h_units)
    for states, first in ((s.c, n), (s.inner, 0), (s.norm_c, 0)):
        _clear_rows(states, first, s.width, s.units)
    if s.kind == BEFORE:
        last, wide = -(-s.n_panels // 4) - 1, 4 * lay.lane
        clear_lanes(s.side, last * n_rows * wide, n_rows, wide, s.units - last * wide)


def _clear_rows(states, first, width, units):
    if len(states) and width > units:
        clear_lanes(states, first * width, len(states) // width - first, width, units)


def _clear_gates(sums, s, lay):
    if len(sums):
        n_rows = len(sums) // (s.n_panels * s.step)
        wide = lay.width // lay.n_panels
        left = s.units - (s.n_panels - 1) * wide
        if left < wide:
            clear_lanes(sums, (s.n_panels - 1) * n_rows * s.step, n_rows * s.step // wide, wide, left)
