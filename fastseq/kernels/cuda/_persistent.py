"""Recurrent networks with CUDA, all steps in one kernel that keeps the states' weights on the chip.

A block owns some units. It copies their weights into its shared memory once (`plan` says how many blocks that takes),
does for each step the products and the cells of its units, and waits for the others (a cooperative grid). A step then
moves states and gates only and costs one barrier, where a product and a kernel a step read all weights again and are
two launches. G. Diamos and others, Persistent RNNs: Stashing Recurrent Weights On-Chip, 2016.

On paper, for an LSTM of 650 units and 20 sequences on 132 multiprocessors: forward, 217 blocks of three units, a step
is 12 loads x 21 terms x 3 tiles a unit x 6 units = 4,500 cycles (2.5 us) beside 11 MB of states out of the second cache
(2 us), and a barrier (2 us); backward, 163 blocks that read all gates' gradients, 34 MB a step (6 us).

A warp makes tiles of 8 sequences times up to 4 columns: its lanes share the terms of the sums among them and then
exchange halves until each lane holds one of the 32 sums, so that the order of a sum depends on its length alone.

Arrays are flat here and rows packed as in `_recurrent`. `lstm`, `gru`, `rnn` and their ways back do what the loops over
the steps in the modules of these names do, and return False, with nothing done, where those do better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _cuda
from .._cuda import cuda, exchange
from . import _equations
from ._equations import gru_back, lstm_back, rnn_back, sigmoid

__all__ = ["Plan", "gru", "gru_backward", "lstm", "lstm_backward", "plan", "rnn", "rnn_backward"]

_ROWS = 8
_COLUMNS = 4
_SUMS = _ROWS * _COLUMNS
_WARP = 32
# A block gets so many bytes of shared memory from any driver without asking for more.
_SHARED = 48 << 10
# With more sequences the products of a step take longer than the launches that are saved, and the array library makes
# them faster than the tiles here, which load 12 numbers for 32 multiplications. By arithmetic, not measured.
_MOST_SEQUENCES = 256
_THREADS = (256, 128, 64)
# A tile costs as much time as that many blocks reading its eight sequences' states: 12 loads of a warp for 32 terms, a
# cycle each, beside 32 bytes a term at 3 KB a cycle from the second cache (H200, by arithmetic).
_TILE = 35


class Plan(NamedTuple):
    """How units are shared out."""

    blocks: int
    threads: int
    shared: int  # bytes a block
    units: int  # of a block at most


def plan(
    units: int, unit_bytes: int, processors: int, at_once: Callable[[int, int], int], of_a_tile: int
) -> Plan | None:
    """Share ``units`` among blocks that all run at once; None where their weights do not fit.

    ``at_once(threads, shared)`` says how many blocks that is. ``of_a_tile`` units are made at a time. A step takes as
    long as the multiprocessor with most tiles, and each block reads all states, so both many and few blocks cost.
    """
    best, least = None, None
    for own in range(1, min(units, _SHARED // unit_bytes) + 1):
        blocks = -(-units // own)
        cost = _TILE * -(-blocks // processors) * -(-own // of_a_tile) + blocks
        if least is not None and cost >= least:
            continue
        for threads in _THREADS:
            if at_once(threads, own * unit_bytes) >= blocks:
                best, least = Plan(blocks, threads, own * unit_bytes, own), cost
                break
    return best


def _halving(half):
    @_cuda.device_jit
    def halve(sums, lane):
        upper = (lane & half) != 0
        for i in range(half):
            low = sums[i]
            high = sums[i + half]
            sums[i] = (high if upper else low) + exchange(low if upper else high, half)

    return halve


_halve_32 = _halving(16)
_halve_16 = _halving(8)
_halve_8 = _halving(4)
_halve_4 = _halving(2)
_halve_2 = _halving(1)


def _tile(columns):
    """Return the function that makes a tile of ``columns`` columns."""

    @_cuda.device_jit
    def tile(
        left,         # IN float (m * inner,)
        first,        # IN int64, row of the tile's first row
        last_row,     # IN int64, of the tile, from 0; rows beyond are this one again
        w,            # IN float (at least (last_column + 1) * inner,) in shared memory
        column,       # IN int64, the tile's first column
        last_column,  # IN int64, columns beyond are this one again
        inner,        # IN int64
        lane,         # IN int32
    ):
        """Return the sum of this lane: row ``lane % 8``, column ``lane // 8`` of the tile."""
        sums = cuda.local.array(_SUMS, left.dtype)
        x = cuda.local.array(_ROWS, left.dtype)
        # Unsigned places: with signed ones each load would ask whether its index counts from the end.
        row_at = cuda.local.array(_ROWS, np.uint64)
        column_at = cuda.local.array(columns, np.uint64)
        for i in range(_SUMS):
            sums[i] = left.dtype.type(0)
        for r in range(_ROWS):
            row_at[r] = np.uint64((first + min(r, last_row)) * inner)
        for j in range(columns):
            column_at[j] = np.uint64(min(column + j, last_column) * inner)
        for k in range(np.uint64(lane), np.uint64(inner), np.uint64(_WARP)):
            for r in range(_ROWS):
                x[r] = left[row_at[r] + k]
            for j in range(columns):
                y = w[column_at[j] + k]
                for r in range(_ROWS):
                    sums[j * _ROWS + r] += x[r] * y
        _halve_32(sums, lane)
        _halve_16(sums, lane)
        _halve_8(sums, lane)
        _halve_4(sums, lane)
        _halve_2(sums, lane)
        return sums[0]

    return tile


_tile_of_3 = _tile(3)
_tile_of_4 = _tile(_COLUMNS)


@_cuda.device_jit
def _load_columns(w, w_h, gates, units, first, own):
    """Copy the columns of a block's units, all gates of a unit one after the other."""
    for k in range(cuda.threadIdx.x, own * gates * units, cuda.blockDim.x):
        column = k // units
        unit = column // gates
        w[k] = w_h[(k - column * units) * gates * units + (column - unit * gates) * units + first + unit]


@_cuda.device_jit
def _load_rows(w, w_h, gates, units, first, own):
    """Copy the rows of a block's units."""
    for k in range(cuda.threadIdx.x, own * gates * units, cuda.blockDim.x):
        w[k] = w_h[first * gates * units + k]


@_cuda.device_jit
def _carry(left, first, rows, w, gates, units, first_unit, own, dh, add):
    """Make the gradients by the states that a step began with, of a block's units, in ``dh`` (n * units,)."""
    lane = cuda.threadIdx.x & 31
    quads = (own + 3) // 4
    for k in range(cuda.threadIdx.x // 32, (rows + 7) // 8 * quads, cuda.blockDim.x // 32):
        group = k // quads
        quad = k - group * quads
        total = _tile_of_4(
            left, first + group * 8, rows - group * 8 - 1, w, quad * 4, own - 1, gates * units, lane
        )
        row = group * 8 + (lane & 7)
        unit = quad * 4 + (lane >> 3)
        if row < rows and unit < own:
            at = row * units + first_unit + unit
            if add:
                total += dh[at]
            dh[at] = total


@_cuda.cuda_jit
def _lstm(
    w_h,     # IN    float (h * 4 h,)
    starts,  # IN    int64 (t + 1,)
    gates,   # INOUT float (r * 4 h,) the inputs' part; then the gates after their functions
    c,       # INOUT float ((n + r) * h,) the first n rows are given
    h,       # INOUT float ((n + r) * h,) likewise
    n,       # IN    int64
    units,   # IN    int64
    most,    # IN    int64, units of a block
):
    w = cuda.shared.array(0, w_h.dtype)
    grid = cuda.cg.this_grid()
    first_unit = cuda.blockIdx.x * most
    own = min(most, units - first_unit)
    _load_columns(w, w_h, 4, units, first_unit, own)
    cuda.syncthreads()
    one = w_h.dtype.type(1)
    zero = w_h.dtype.type(0)
    lane = cuda.threadIdx.x & 31
    gate = lane >> 3
    before = 0
    for t in range(starts.shape[0] - 1):
        first = starts[t]
        rows = starts[t + 1] - first
        now = n + first
        for k in range(cuda.threadIdx.x // 32, (rows + 7) // 8 * own, cuda.blockDim.x // 32):
            group = k // own
            unit = k - group * own
            row = group * 8 + (lane & 7)
            u = first_unit + unit
            at = (first + row) * 4 * units + gate * units + u
            # Asked for before the products, which take long enough for it to arrive.
            a = zero
            if row < rows:
                a = gates[at]
            a += _tile_of_4(
                h, before + group * 8, rows - group * 8 - 1, w, unit * 4, unit * 4 + 3, units, lane
            )
            if gate == 2:
                a = math.tanh(a)
            else:
                a = sigmoid(a, one)
            f = exchange(a, 8)
            g = exchange(a, 16)
            o = exchange(a, 24)
            if row < rows:
                gates[at] = a
                if gate == 0:
                    value = f * c[(before + row) * units + u] + a * g
                    c[(now + row) * units + u] = value
                    h[(now + row) * units + u] = o * math.tanh(value)
        before = now
        grid.sync()


@_cuda.cuda_jit
def _lstm_back(
    w_h,     # IN    float (h * 4 h,)
    starts,  # IN    int64 (t + 1,)
    gates,   # IN    float (r * 4 h,)
    c,       # IN    float ((n + r) * h,)
    dy,      # IN    float (r * h,)
    dh,      # INOUT float (n * h,) gradients by the last states; then by the first
    dc,      # INOUT float (n * h,) likewise
    dgates,  # OUT   float (r * 4 h,)
    n,       # IN    int64
    units,   # IN    int64
    most,    # IN    int64, units of a block
):
    w = cuda.shared.array(0, w_h.dtype)
    grid = cuda.cg.this_grid()
    first_unit = cuda.blockIdx.x * most
    own = min(most, units - first_unit)
    _load_rows(w, w_h, 4, units, first_unit, own)
    one = w_h.dtype.type(1)
    steps = starts.shape[0] - 1
    for back in range(steps):
        t = steps - 1 - back
        first = starts[t]
        rows = starts[t + 1] - first
        before = 0
        if t > 0:
            before = n + starts[t - 1]
        for k in range(cuda.threadIdx.x, rows * own, cuda.blockDim.x):
            row = k // own
            u = first_unit + k - row * own
            state = row * units + u
            at = (first + row) * 4 * units + u
            di, df, dg, do, to_c = lstm_back(
                gates[at], gates[at + units], gates[at + 2 * units], gates[at + 3 * units], c[before * units + state],
                c[(n + first) * units + state], dy[first * units + state] + dh[state], dc[state], one,
            )  # fmt: skip
            dgates[at] = di
            dgates[at + units] = df
            dgates[at + 2 * units] = dg
            dgates[at + 3 * units] = do
            dc[state] = to_c
        grid.sync()
        _carry(dgates, first, rows, w, 4, units, first_unit, own, dh, False)
        cuda.syncthreads()


@_cuda.cuda_jit
def _gru(
    w_h,     # IN    float (h * 3 h,)
    b_n,     # IN    float (h,)
    starts,  # IN    int64 (t + 1,)
    gates,   # INOUT float (r * 3 h,) the inputs' part; then reset, update and candidate after their functions
    part,    # OUT   float (r * h,) the candidate's part of the hidden states
    h,       # INOUT float ((n + r) * h,) the first n rows are given
    n,       # IN    int64
    units,   # IN    int64
    most,    # IN    int64, units of a block
):
    w = cuda.shared.array(0, w_h.dtype)
    grid = cuda.cg.this_grid()
    first_unit = cuda.blockIdx.x * most
    own = min(most, units - first_unit)
    _load_columns(w, w_h, 3, units, first_unit, own)
    cuda.syncthreads()
    one = w_h.dtype.type(1)
    zero = w_h.dtype.type(0)
    lane = cuda.threadIdx.x & 31
    gate = lane >> 3
    before = 0
    for t in range(starts.shape[0] - 1):
        first = starts[t]
        rows = starts[t + 1] - first
        now = n + first
        for k in range(cuda.threadIdx.x // 32, (rows + 7) // 8 * own, cuda.blockDim.x // 32):
            group = k // own
            unit = k - group * own
            row = group * 8 + (lane & 7)
            u = first_unit + unit
            at = (first + row) * 3 * units + gate * units + u
            mine = row < rows and gate < 3
            a = zero
            if mine:
                a = gates[at]
            total = _tile_of_3(
                h, before + group * 8, rows - group * 8 - 1, w, unit * 3, unit * 3 + 2, units, lane
            )
            # The lanes of the candidate wait for the reset gate's.
            total = total + b_n[u] if gate == 2 else total
            if gate < 2:
                a = sigmoid(a + total, one)
            r = exchange(a, 16)
            z = exchange(a, 24)
            if gate == 2:
                a = math.tanh(a + r * total)
            if mine:
                gates[at] = a
                if gate == 2:
                    part[(first + row) * units + u] = total
                    old = h[(before + row) * units + u]
                    h[(now + row) * units + u] = a + z * (old - a)
        before = now
        grid.sync()


@_cuda.cuda_jit
def _gru_back(
    w_h,     # IN    float (h * 3 h,)
    starts,  # IN    int64 (t + 1,)
    gates,   # IN    float (r * 3 h,)
    part,    # IN    float (r * h,)
    h,       # IN    float ((n + r) * h,)
    dy,      # IN    float (r * h,)
    dh,      # INOUT float (n * h,) gradients by the last states; then by the first
    by_x,    # OUT   float (r * 3 h,) gradients by the inputs' part
    by_h,    # OUT   float (r * 3 h,) and by the hidden states'
    n,       # IN    int64
    units,   # IN    int64
    most,    # IN    int64, units of a block
):
    w = cuda.shared.array(0, w_h.dtype)
    grid = cuda.cg.this_grid()
    first_unit = cuda.blockIdx.x * most
    own = min(most, units - first_unit)
    _load_rows(w, w_h, 3, units, first_unit, own)
    one = w_h.dtype.type(1)
    steps = starts.shape[0] - 1
    for back in range(steps):
        t = steps - 1 - back
        first = starts[t]
        rows = starts[t + 1] - first
        before = 0
        if t > 0:
            before = n + starts[t - 1]
        for k in range(cuda.threadIdx.x, rows * own, cuda.blockDim.x):
            row = k // own
            u = first_unit + k - row * own
            state = row * units + u
            at = (first + row) * 3 * units + u
            to_r, to_z, to_n, to_part, past = gru_back(
                gates[at], gates[at + units], gates[at + 2 * units], part[first * units + state],
                h[before * units + state], dy[first * units + state] + dh[state], one,
            )  # fmt: skip
            by_x[at] = to_r
            by_x[at + units] = to_z
            by_x[at + 2 * units] = to_n
            by_h[at] = to_r
            by_h[at + units] = to_z
            by_h[at + 2 * units] = to_part
            dh[state] = past
        grid.sync()
        _carry(by_h, first, rows, w, 3, units, first_unit, own, dh, True)
        cuda.syncthreads()


@_cuda.cuda_jit
def _rnn(
    w_h,     # IN    float (h * h,)
    starts,  # IN    int64 (t + 1,)
    parts,   # IN    float (r * h,) the inputs' part
    relu,    # IN    bool
    h,       # INOUT float ((n + r) * h,) the first n rows are given
    n,       # IN    int64
    units,   # IN    int64
    most,    # IN    int64, units of a block
):
    w = cuda.shared.array(0, w_h.dtype)
    grid = cuda.cg.this_grid()
    first_unit = cuda.blockIdx.x * most
    own = min(most, units - first_unit)
    _load_columns(w, w_h, 1, units, first_unit, own)
    cuda.syncthreads()
    zero = w_h.dtype.type(0)
    lane = cuda.threadIdx.x & 31
    quads = (own + 3) // 4
    before = 0
    for t in range(starts.shape[0] - 1):
        first = starts[t]
        rows = starts[t + 1] - first
        for k in range(cuda.threadIdx.x // 32, (rows + 7) // 8 * quads, cuda.blockDim.x // 32):
            group = k // quads
            quad = k - group * quads
            row = group * 8 + (lane & 7)
            unit = quad * 4 + (lane >> 3)
            at = (first + row) * units + first_unit + unit
            a = zero
            if row < rows and unit < own:
                a = parts[at]
            a += _tile_of_4(h, before + group * 8, rows - group * 8 - 1, w, quad * 4, own - 1, units, lane)
            if row < rows and unit < own:
                h[n * units + at] = _equations.rnn(a, relu, zero)
        before = n + first
        grid.sync()


@_cuda.cuda_jit
def _rnn_back(
    w_h,     # IN    float (h * h,)
    starts,  # IN    int64 (t + 1,)
    h,       # IN    float ((n + r) * h,)
    relu,    # IN    bool
    dy,      # IN    float (r * h,)
    dh,      # INOUT float (n * h,) gradients by the last states; then by the first
    d,       # OUT   float (r * h,) gradients by the sums
    n,       # IN    int64
    units,   # IN    int64
    most,    # IN    int64, units of a block
):
    w = cuda.shared.array(0, w_h.dtype)
    grid = cuda.cg.this_grid()
    first_unit = cuda.blockIdx.x * most
    own = min(most, units - first_unit)
    _load_rows(w, w_h, 1, units, first_unit, own)
    one = w_h.dtype.type(1)
    zero = w_h.dtype.type(0)
    steps = starts.shape[0] - 1
    for back in range(steps):
        t = steps - 1 - back
        first = starts[t]
        rows = starts[t + 1] - first
        for k in range(cuda.threadIdx.x, rows * own, cuda.blockDim.x):
            row = k // own
            u = first_unit + k - row * own
            at = (first + row) * units + u
            d[at] = rnn_back(h[n * units + at], dy[at] + dh[row * units + u], relu, one, zero)
        grid.sync()
        _carry(d, first, rows, w, 1, units, first_unit, own, dh, False)
        cuda.syncthreads()


def _signatures(text):
    return [f"void({text.replace('float', t)})" for t in ("float32", "float64")]


PTX = {
    "_lstm": _signatures("float[::1], int64[::1], float[::1], float[::1], float[::1], int64, int64, int64"),
    "_lstm_back": _signatures("float[::1], int64[::1]" + ", float[::1]" * 6 + ", int64, int64, int64"),
    "_gru": _signatures("float[::1], float[::1], int64[::1]" + ", float[::1]" * 3 + ", int64, int64, int64"),
    "_gru_back": _signatures("float[::1], int64[::1]" + ", float[::1]" * 7 + ", int64, int64, int64"),
    "_rnn": _signatures("float[::1], int64[::1], float[::1], boolean, float[::1], int64, int64, int64"),
    "_rnn_back": _signatures(
        "float[::1], int64[::1], float[::1], boolean" + ", float[::1]" * 3 + ", int64, int64, int64"
    ),
}

_launchers: dict[tuple[Any, ...], tuple[Callable[..., None], int] | None] = {}


def _run(kernel, starts, n, units, gates, of_a_tile, *arguments):
    """Launch ``kernel`` if that many sequences and units are its business; return whether it was.

    ``arguments`` are flattened; ``starts`` (on the host) is put at the place of the one that is None.
    """
    if not 0 < n <= _MOST_SEQUENCES or len(starts) < 3 or not units or not _cuda.side_by_side():
        return False
    flat = [
        _cuda.asarray(starts, np.int64) if given is None else given.reshape(-1) if hasattr(given, "shape") else given
        for given in arguments
    ]
    device, processors = _cuda.multiprocessors()
    dtype = flat[0].dtype
    key = kernel.body.__name__, units, dtype.char, device
    if key not in _launchers:

        def at_once(threads, shared):
            return _cuda.blocks_at_once(kernel, threads, shared, *flat, n, units, units)

        found = plan(units, gates * units * dtype.itemsize, processors, at_once, of_a_tile)
        _launchers[key] = None
        if found is not None:
            launcher = _cuda.together(kernel, found.blocks, found.threads, found.shared, *flat, n, units, found.units)
            _launchers[key] = launcher, found.units
    known = _launchers[key]
    if known is None:
        return False
    launcher, most = known
    launcher(*flat, n, units, most)
    return True


def lstm(w_h, starts, gates, c, h):
    """Run all steps; gates (r, 4 h), c and h (n + r, h) of which the first n rows are given."""
    return _run(_lstm, starts, len(h) - len(gates), w_h.shape[0], 4, 1, w_h, None, gates, c, h)


def lstm_backward(w_h, starts, gates, c, dy, dh, dc, dgates):
    """Run all steps from the last; dh and dc (n, h) become those of the first states."""
    return _run(_lstm_back, starts, len(dh), w_h.shape[0], 4, 4, w_h, None, gates, c, dy, dh, dc, dgates)


def gru(w_h, b_n, starts, gates, part, h):
    """Run all steps; gates (r, 3 h), part (r, h), h (n + r, h) of which the first n rows are given."""
    return _run(_gru, starts, len(h) - len(gates), w_h.shape[0], 3, 1, w_h, b_n, None, gates, part, h)


def gru_backward(w_h, starts, gates, part, h, dy, dh, by_x, by_h):
    """Run all steps from the last; dh (n, h) becomes that of the first states."""
    return _run(_gru_back, starts, len(dh), w_h.shape[0], 3, 4, w_h, None, gates, part, h, dy, dh, by_x, by_h)


def rnn(w_h, starts, parts, relu, h):
    """Run all steps; parts (r, h), h (n + r, h) of which the first n rows are given."""
    return _run(_rnn, starts, len(h) - len(parts), w_h.shape[0], 1, 4, w_h, None, parts, relu, h)


def rnn_backward(w_h, starts, h, relu, dy, dh, d):
    """Run all steps from the last; dh (n, h) becomes that of the first states."""
    return _run(_rnn_back, starts, len(dh), w_h.shape[0], 1, 4, w_h, None, h, relu, dy, dh, d)
