"""Sparse products: every number of panels, what may not leak out of the padding, alignment, caches, bounds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy.sparse import csr_array

from fastseq import kernels
from fastseq.kernels import _vector
from fastseq.kernels.cpu import sparse
from fastseq.kernels.cpu._memory import aligned_rows

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment},
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# In vectors: one, a full panel, one more than a panel, and three panels of equal and of unequal width.
@pytest.mark.parametrize("n_vectors", [1, 8, 9, 17, 24])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_widths_around_whole_vectors_and_panels(rng, n_vectors, beyond, dtype):
    width = n_vectors * _vector.lanes(dtype) + beyond
    matrix = csr_array((rng.random((20, 9)) < 0.4) * rng.standard_normal((20, 9)))
    dense = rng.standard_normal((9, width)).astype(dtype)
    got = kernels.csr_matmul(matrix.indptr, matrix.indices, matrix.data.astype(dtype), dense)
    np.testing.assert_allclose(got, matrix @ dense.astype("float64"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [15, 16, 17, 129])
def test_nan_and_infinity_stay_in_their_columns(width):
    indptr, indices = np.array([0, 2, 3, 3, 4]), np.array([0, 1, 1, 2])
    data = np.array([1.0, 0.0, np.inf, 2.0], "float32")
    dense = np.ones((3, width), "float32")
    dense[1, -1] = 0.0
    dense[2, 0] = np.nan
    got = kernels.csr_matmul(indptr, indices, data, dense)
    want = np.repeat(np.array([[1.0], [np.inf], [0.0], [2.0]]), width, axis=1)
    want[1, -1] = np.nan
    want[3, 0] = np.nan
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 7, 100])
def test_aligned_rows_begin_at_a_whole_vector(dtype, n_rows):
    width = 3 * _vector.lanes(dtype)
    kept = [np.empty(k, "uint8") for k in (1, 33, 77, 200)]  # so that memory begins at several places
    for _ in range(8):
        rows = aligned_rows(n_rows, width, dtype)
        kept.append(rows)
        assert rows.shape == (n_rows, width)
        assert rows.flags.c_contiguous
        assert rows.size == 0 or rows.ctypes.data % _vector.BYTES == 0


def test_a_cache_shared_by_machines_with_other_vectors():
    # What NUMBA_CPU_NAME=generic is for. The key of Numba's cache does not hold the width of the vectors.
    code = """
import sys
import numba.core.codegen as codegen
import numpy as np
real = codegen.get_host_cpu_features
def features():
    return ",".join(("+avx512f" if %s else "-avx512f", real().replace("+avx512f,", "").replace("-avx512f,", "")))
codegen.get_host_cpu_features = features
from fastseq import kernels
dense = np.random.default_rng(0).standard_normal((40, 200)).astype("float32")
got = kernels.csr_matmul(np.arange(41), np.arange(40), np.ones(40, "float32"), dense)
print(np.array_equal(got, dense))
"""
    import tempfile

    for order in (("False", "True"), ("True", "False")):
        with tempfile.TemporaryDirectory() as folder:
            for wide in order:
                assert run(code % wide, NUMBA_CPU_NAME="generic", NUMBA_CACHE_DIR=folder) == "True\n"


def test_vectors_outside_an_array_are_noticed_by_the_bounds_checks():
    code = """
import numpy as np
from fastseq.kernels._vector import lanes
from fastseq.kernels.cpu import sparse
size = 2 * lanes("float32")
def told(panel, n_dense, n_out):
    one = np.array([0, 1])
    try:
        sparse._multiply_panels(2)(
            one, np.zeros(1, "int32"), np.ones(1, "float32"), np.ones(n_dense, "float32"), size, np.array([panel]),
            one, np.array([0]), size, np.ones(n_out, "float32"),
        )
    except (IndexError, SystemError):  # Numba's threads hand it on as a SystemError
        return True
    return False
print(told(0, size, size), told(1, size, size), told(-1, size, size), told(0, size - 1, size), told(0, size, size - 1))
"""
    assert run(code, NUMBA_BOUNDSCHECK="1", FASTSEQ_CACHE="0") == "False True True True True\n"


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
@pytest.mark.parametrize(("width", "per_row", "copied"), [(0, 1, False), (0, 40, True), (1, 40, True), (1, 1, False)])
def test_few_entries_copy_nothing(monkeypatch, width, per_row, copied):
    # `width` numbers more than a whole vector; per_row entries for each row of the dense matrix.
    dense = np.ones((50, _vector.lanes("float32") + width), "float32")
    nnz = per_row * 50 if copied else 3
    calls = []
    real = sparse._align
    monkeypatch.setattr(sparse, "_align", lambda *arguments: (calls.append(1), real(*arguments)))
    got = kernels.csr_matmul(np.array([0, nnz]), np.arange(nnz) % 50, np.ones(nnz, "float32"), dense)
    assert (got == nnz).all()
    assert bool(calls) == copied
