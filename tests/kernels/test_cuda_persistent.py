"""Whole sequences in one CUDA kernel: how they are shared out, that they are right, and when they are used."""

from __future__ import annotations

import numpy as np
import pytest

from fastseq.kernels import _cuda
from fastseq.kernels.cuda import _persistent as persistent
from fastseq.kernels.registry import REGISTRY, Case

from .grid import Grid, bodies
from .test_cuda import TWINS, cases, check, run
from .test_ptx import needs_compiler

on_device = pytest.mark.skipif(
    _cuda.SIMULATED or not _cuda.available(), reason="blocks that wait for one another need a device; see `Grid`"
)
sharing_out = persistent.plan
CELLS = ["lstm", "gru", "rnn", "relu"]
GATES = {"lstm": 4, "gru": 3, "rnn": 1, "relu": 1}


def case(cell, dtype, t, n, d, units, lengths=None):
    """Return (the kernel's name, arguments of both passes) as `run` takes them."""
    rng = np.random.default_rng(t * n + units)
    gates = GATES[cell] * units
    n_states = 2 if cell == "lstm" else 1
    shapes = [(t, n, d), *[(n, units)] * n_states, (d, gates), (units, gates), (gates,)]
    if cell == "gru":
        shapes.append((units,))
    shapes += [(t, n, units), *[(n, units)] * n_states]
    arguments = tuple((rng.standard_normal(shape) * 0.6).astype(dtype) for shape in shapes)
    options = {} if lengths is None else {"lengths": np.array(lengths)}
    if cell in ("rnn", "relu"):
        options["nonlinearity"] = "relu" if cell == "relu" else "tanh"
    return Case(f"{cell} {dtype} {t}x{n}x{d}x{units} {lengths}", arguments, options)


def check_both(cell, given):
    family = "rnn" if cell == "relu" else cell
    back = REGISTRY[f"{family}_backward"]
    forward = Case(given.label, given.arguments[: back.after[1]], given.options)
    for kernel, case in ((REGISTRY[f"{family}_forward"], forward), (back, given)):
        check(kernel, case, run(kernel, case))


def names(cell):
    family = "rnn" if cell == "relu" else cell
    # The backward pass has a forward pass of its own before it.
    return [f"_{family}", f"_{family}", f"_{family}_back"]


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that are launched, in order."""
    seen = []
    together = _cuda.together

    def spy(kernel, *told):
        launcher = together(kernel, *told)

        def launch(*arguments):
            seen.append(kernel.body.__name__)
            launcher(*arguments)

        return launch

    monkeypatch.setattr(_cuda, "together", spy)
    monkeypatch.setattr(persistent, "_launchers", {})
    return seen


@pytest.fixture
def side_by_side(monkeypatch):
    """A device in which blocks wait for one another, as `Grid`: returns (how to share units out, what was launched)."""
    shared_out, grids = [], []

    def together(kernel, blocks, threads, n_bytes, *_):
        def launch(*arguments):
            grid = Grid(blocks, threads)
            body = getattr(bodies(persistent, grid, monkeypatch), kernel.body.__name__)
            grid.run(body, n_bytes, *(np.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments))
            grids.append((kernel.body.__name__, grid))

        return launch

    monkeypatch.setattr(_cuda, "SIMULATED", True)  # arrays are NumPy's
    monkeypatch.setattr(_cuda, "side_by_side", lambda: True)
    monkeypatch.setattr(_cuda, "_why_not", lambda: "")
    monkeypatch.setattr(_cuda, "multiprocessors", lambda: (0, 2))
    monkeypatch.setattr(_cuda, "blocks_at_once", lambda kernel, threads, shared, *_: 2)
    monkeypatch.setattr(_cuda, "together", together)
    monkeypatch.setattr(persistent, "_launchers", {})
    monkeypatch.setattr(
        persistent, "plan", lambda units, unit_bytes, *_: persistent.Plan(*shared_out[0](units, unit_bytes))
    )
    return shared_out, grids


@pytest.mark.cuda
@on_device
@pytest.mark.parametrize("family", ["lstm", "gru", "rnn"])
def test_cases_of_the_table_on_a_device(launched, family):
    for kernel in TWINS:
        if kernel.family == family:
            for each in cases(kernel):
                check(kernel, each, run(kernel, each))
    assert set(launched) == {f"_{family}", f"_{family}_back"}


@pytest.mark.cuda
@on_device
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_are_right_on_a_device(launched, cell, dtype):
    for t, n, d, units in [(2, 3, 2, 2), (9, 20, 30, 100), (3, 128, 8, 250), (40, 1, 5, 33), (35, 20, 300, 300)]:
        lengths = np.random.default_rng(0).integers(0, t + 1, n)
        lengths[0] = t
        for given in (case(cell, dtype, t, n, d, units), case(cell, dtype, t, n, d, units, lengths)):
            del launched[:]
            check_both(cell, given)
            assert launched == names(cell)


@pytest.mark.cuda
@on_device
@pytest.mark.parametrize("cell", CELLS)
def test_bits_do_not_depend_on_how_units_are_shared_out(monkeypatch, cell):
    given = case(cell, "float32", 12, 21, 16, 200)
    kernel = REGISTRY["rnn_backward" if cell == "relu" else f"{cell}_backward"]
    whole = run(kernel, given)
    for most in (2, 7):
        blocks = -(-200 // most)
        monkeypatch.setattr(persistent, "_launchers", {})
        monkeypatch.setattr(
            persistent, "plan", lambda units, size, *_: persistent.Plan(blocks, 128, most * size, most)  # noqa: B023
        )
        assert [a.tobytes() for a in run(kernel, given)] == [a.tobytes() for a in whole]


@pytest.mark.parametrize(
    ("cell", "units", "most", "threads", "lengths"),
    # The last block has one unit, the second eight of sequences one or none, one sequence is empty.
    [(cell, 5, 2, 64, [3, 3, 3, 2, 0, 3, 3, 3, 3, 3]) for cell in CELLS]
    # More terms than lanes, and a tile of one column.
    + [(cell, 33, 17, 32, [2, 1]) for cell in ("gru", "rnn")],
)
def test_several_blocks_of_several_warps(side_by_side, cell, units, most, threads, lengths):
    shared_out, grids = side_by_side
    shared_out.append(lambda units, unit_bytes: (-(-units // most), threads, most * unit_bytes, most))
    check_both(cell, case(cell, np.float64, max(lengths), len(lengths), 2, units, lengths))
    assert [name for name, _ in grids] == names(cell)
    assert all(grid.blocks > 1 and grid.syncs == max(lengths) for _, grid in grids)


@pytest.mark.parametrize(
    ("changes", "t"),
    [({"_MOST_SEQUENCES": 2}, 3), ({"_SHARED": 4 * 8 - 1}, 3), ({}, 1), ({}, 0)],
    ids=["more sequences", "weights of a unit that do not fit", "a single step", "no step"],
)
def test_others_are_left_to_the_kernels_of_a_step(side_by_side, monkeypatch, changes, t):
    for name, value in {"plan": sharing_out, **changes}.items():
        monkeypatch.setattr(persistent, name, value)
    rng = np.random.default_rng(0)
    n, units = 3, 4
    w_h, parts = _cuda.asarray(rng.standard_normal((units, units))), _cuda.asarray(np.zeros((t * n, units)))
    h = _cuda.asarray(np.zeros((n + t * n, units)))
    assert persistent.rnn(w_h, np.arange(t + 1) * n, parts, False, h) is False
    assert not side_by_side[1]
    assert not h.any()


def test_a_grid_that_waits_for_ever_is_told():
    def body(grid):
        if grid.blockIdx.x:
            grid.cg.this_grid().sync()

    grid = Grid(2, 32)
    with pytest.raises(RuntimeError, match="32 threads wait"):
        grid.run(body, 0, grid)


def device_with(processors, shared, registers):
    """Return how many blocks run at once on a device, by its limits: shared memory and registers a multiprocessor."""

    def at_once(threads, n_bytes):
        # A kilobyte a block is the driver's own; 128 registers a thread.
        return processors * min(shared // (n_bytes + 1024), registers // (128 * threads), 2048 // threads)

    return at_once


@pytest.mark.parametrize("of_a_tile", [1, 4])
@pytest.mark.parametrize("processors", [1, 30, 132])
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_every_unit_has_a_block_and_all_run_at_once(processors, gates, of_a_tile):
    at_once = device_with(processors, 227 << 10, 1 << 16)
    fitted = []
    for units in (1, 2, 31, 100, 192, 650, 1150, 2048):
        found = persistent.plan(units, gates * units * 4, processors, at_once, of_a_tile)
        if found is None:
            continue
        fitted.append(units)
        assert (found.blocks - 1) * found.units < units <= found.blocks * found.units
        assert found.shared == found.units * gates * units * 4 <= 48 << 10
        assert found.blocks <= at_once(found.threads, found.shared)
    # 16 H^2 bytes of an LSTM: 0.16 MB at 100 units, 21 MB at 1,150.
    assert fitted[:4] == [1, 2, 31, 100]
    assert (1150 in fitted) == (processors == 132 or (processors == 30 and gates == 1))


def test_work_is_even_and_not_too_many_read_all_states():
    at_once = device_with(132, 227 << 10, 1 << 16)
    forward, back = (persistent.plan(650, 16 * 650, 132, at_once, of_a_tile) for of_a_tile in (1, 4))
    assert -(-forward.blocks // 132) * forward.units <= 6  # 4.9 units a multiprocessor, were they divisible
    assert back.units == 4  # a whole tile, and what 48 KB hold
    assert persistent.plan(100, 16 * 100, 132, at_once, 4).units == 4  # where more would fit
    assert persistent.plan(3073, 16 * 3073, 132, at_once, 1) is None


@pytest.mark.ptx
@needs_compiler
@pytest.mark.parametrize("body", persistent.PTX)
def test_sums_stay_in_registers(body):
    code = _cuda.ptx(getattr(persistent, body).body, persistent.PTX[body][0], (9, 0))
    assert ".local" not in code
    assert "cudaCGSynchronize" in code
    assert code.count("shfl") >= 31
