"""Products on packed panels: every number of vectors and rows, cut panels, and what the compiled loops are made of."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq as fs
from fastseq.kernels._vector import lanes
from fastseq.kernels.cpu import _panels as panels
from fastseq.kernels.cpu import _recurrent as recurrent

ROOT = Path(__file__).resolve().parents[2]
# What processors with AVX, and with AVX-512, are told apart by.
AVX = "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+sse4.2,+64bit"
AVX_512 = f"{AVX},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"

ASSEMBLY = """
import re
import numpy as np
from fastseq.kernels.cpu import _panels as panels

for n_vectors in (4, 3):
    for address, make in ((panels.product_at, panels.multiply), (panels.part_at, panels.multiply_in_part)):
        address(n_vectors, np.dtype(np.float32))
        (text,) = make(n_vectors).inspect_llvm().values()
        assert "llvm.loop.unroll.disable" in text, make.__name__
        (text,) = make(n_vectors).inspect_asm().values()
        most = n_vectors * panels.TILE_ROWS[n_vectors]
        # One summand of the largest tile.
        for block in re.split(r"\\n(?=\\.LBB)", text):
            products = len(re.findall(r"\\bvfmadd", block))
            assert products <= most, f"{make.__name__} of {n_vectors} vectors has {products} products in a turn"
            if products == most:
                kept = len(re.findall(r"\\(%rsp\\)[^\\n]*%[yz]mm|%[yz]mm[^\\n]*\\(%rsp\\)", block))
                moved = len(re.findall(r"vmovap[sd]\\s+%[yz]mm\\d+, %[yz]mm", block))
                print(make.__name__, n_vectors, panels.BYTES, kept, moved)
"""


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads assembly of x86 processors")
@pytest.mark.parametrize(
    ("name", "features", "n_bytes"),
    [
        pytest.param("znver3", AVX, 32, id="znver3"),
        pytest.param("skylake-avx512", AVX_512, 64, id="skylake-avx512"),
        pytest.param("znver4", AVX_512, 64, id="znver4"),
    ],
)
def test_sums_stay_in_registers(name, features, n_bytes):
    # Compiled, not run: with one register too few the products of AVX took twice the time and more, and those of
    # AVX-512 up to four times on a Zen 4 where the loop made two turns at once.
    environment = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "FASTSEQ_CACHE": "0",
                   "NUMBA_DISABLE_JIT": "0"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ASSEMBLY], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment},
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loops = [line.split() for line in done.stdout.splitlines()]
    assert {(kind, n_vectors) for kind, n_vectors, *_ in loops} == {
        (kind, n_vectors) for kind in ("multiply", "multiply_in_part") for n_vectors in "43"
    }
    for kind, n_vectors, width, kept, moved in loops:
        assert int(width) == n_bytes
        assert (int(kept), int(moved)) == (0, 0), f"{kind} of {n_vectors} vectors"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_vectors", [2, 3, 4])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 6, 7, 20, 49])
def test_products_of_gates(rng, dtype, n_vectors, n_rows):
    n_in, units, lane = 5, lanes(dtype) + 3, lanes(dtype)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in ((n_rows, n_in), (n_in, n_vectors * units)))
    order = tuple(range(n_vectors))
    step, n_panels = 4 * lane, 2
    bias = rng.standard_normal(n_panels * n_vectors * lane).astype(dtype)
    gates = np.zeros(n_panels * n_rows * step, dtype)
    packed = panels.pack(w, n_vectors, order)
    panels.project(x, n_rows, packed, bias, n_vectors, gates, step, 0)
    got = gates.reshape(n_panels, n_rows, 4, lane)[:, :, :n_vectors].transpose(1, 2, 0, 3)
    got = got.reshape(n_rows, n_vectors, -1)
    start = bias.reshape(n_panels, n_vectors, lane).transpose(1, 0, 2).reshape(n_vectors, -1)[:, :units]
    want = (x @ w).reshape(n_rows, n_vectors, units) + start
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got[:, :, :units], want, atol=tolerance)
    # Of zeros there is nothing to be had: what lies behind the units must not count.
    back, dw = np.empty((n_rows, n_in), dtype), np.empty((n_in, n_vectors * units), dtype)
    panels.project_back(gates, n_rows, step, 0, n_vectors * lane, panels.pack_transposed(w, n_vectors, order), back)
    np.testing.assert_allclose(back, want.reshape(n_rows, -1) @ w.T, atol=10 * tolerance)
    panels.weigh_back(x, None, n_in, gates, n_rows, step, 0, n_vectors, units, dw)
    np.testing.assert_allclose(dw, x.T @ want.reshape(n_rows, -1), atol=10 * tolerance)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 14), n_rows=st.integers(1, 40), n_units=st.integers(1, 200), n_threads=st.integers(1, 2),
    spread=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_weights_gradients_of_units_side_by_side(n, n_rows, n_units, n_threads, spread, seed):
    rng, lane = np.random.default_rng(seed), lanes(np.float32)
    step = 4 * lane
    rows = rng.standard_normal((n_rows + 3, n)).astype(np.float32)
    which = rng.integers(0, n_rows + 3, n_rows) if spread else None
    values = rng.standard_normal((n_rows, n_units)).astype(np.float32)
    # Behind the last unit there may be anything.
    full = np.full((n_rows, -(-n_units // step) * step), np.nan, np.float32)
    full[:, :n_units] = values
    gates = np.ascontiguousarray(full.reshape(n_rows, -1, step).swapaxes(0, 1)).reshape(-1)
    out = np.full((n, n_units), 7, np.float32)
    with fs.threads(n_threads):
        panels.weigh_back(rows, which, n, gates, n_rows, step, 0, 4, n_units, out, side_by_side=True)
    left = rows[which] if spread else rows[:n_rows]
    np.testing.assert_allclose(out, left.T.astype(np.float64) @ values, atol=1e-4)


@pytest.mark.parametrize("kind", [recurrent.LSTM, recurrent.GRU, recurrent.TANH])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_cell_is_packed_as_its_parts_are(rng, kind, dtype, n_threads):
    cell = recurrent._cell_of(kind, np.dtype(dtype))
    gates = cell.n_gates
    for units in (1, 8, 31, 33):
        for n_in in (0, 1, 4, 9):
            w_x, w_h, bias = (
                rng.standard_normal((n, gates * units)).astype(dtype) for n in (n_in, units, 1)
            )  # fmt: skip
            with fs.threads(n_threads):
                packed = panels.pack_cell(w_x, w_h, bias[0], gates, cell.order_x, cell.order_h, cell.side)
            for mine, (weights, order) in zip(
                packed, ((w_x, cell.order_x), (w_h, cell.order_h), (bias, cell.order_x)), strict=True
            ):
                np.testing.assert_array_equal(mine, panels.pack(weights, gates, order, cell.side))
