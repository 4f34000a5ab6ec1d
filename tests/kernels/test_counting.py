"""What the cases of the table do not reach: waves, wide counters, damaged matrices, more threads than cores."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastseq as fs
from fastseq import errors, kernels
from fastseq.kernels.registry import REGISTRY

from .compare import check


def test_counting_in_many_waves(monkeypatch):
    import fastseq.kernels.cpu.cooccurrence as body

    monkeypatch.setattr(body, "_WAVE", 64)
    kernel = REGISTRY["cooccurrence_counts"]
    for case in kernel.cases():
        got = kernel.public(*case.arguments, **case.options)
        check(kernel, case, got, kernel.oracle(*case.arguments, **case.options))


def test_sums_beyond_32_bits():
    n, window = 3000, 2047
    distance = np.arange(1, window + 1)
    want = (2 * (n - distance) * (window + 1 - distance)).sum()
    assert want > 2**31
    ids, offsets = np.zeros(n, np.int32), np.array([0, n])
    _, _, data = kernels.cooccurrence_counts(ids, offsets, 1, window=window, weighting="linear")
    assert data.tolist() == [want / window]


def test_the_smallest_integers():
    ids, offsets = np.array([0, 1, 0]), np.array([0, 3])
    assert kernels.cooccurrence_counts(ids, offsets, 2, dtype="auto")[2].dtype == np.int32
    many = np.zeros(600_000, np.int32)
    # The last sentence is all that a window reaches over, so the bound is far above what is counted.
    borders = np.arange(600_001)
    assert kernels.cooccurrence_counts(many, borders, 1, window=2000, dtype="auto")[2].dtype == np.int64


@pytest.mark.parametrize("window", [np.int8(127), np.uint8(200), np.int16(2047)])
def test_narrow_integers_do_not_wrap(window):
    ids, offsets = np.arange(5), np.array([0, 5])
    for weighting in ("linear", "uniform"):
        got = kernels.cooccurrence_counts(ids, offsets, np.uint8(5), window=window, weighting=weighting)
        want = kernels.cooccurrence_counts(ids, offsets, 5, window=int(window), weighting=weighting)
        assert all(np.array_equal(a, b) for a, b in zip(got, want))


BAD = {
    "a column beyond the last": (np.array([0, 1, 2]), np.array([0, 5]), np.ones(2)),
    "a negative column": (np.array([0, 1, 2]), np.array([0, -1]), np.ones(2)),
    "rows that end before they begin": (np.array([0, 2, 1, 2]), np.array([0, 1]), np.ones(2)),
    "offsets that wrap around": (np.array([0, 2**62, -(2**62) - 1, 2]), np.array([0, 1]), np.ones(2)),
    "rows that do not reach the end": (np.array([0, 1]), np.array([0, 1]), np.ones(2)),
    "more columns than values": (np.array([0, 1, 2]), np.array([0, 1]), np.ones(1)),
    "a first row that begins late": (np.array([1, 2]), np.array([0, 1]), np.ones(2)),
    "no rows at all": (np.array([], np.int64), np.array([], np.int32), np.ones(0)),
    "columns that are no integers": (np.array([0, 1, 2]), np.array([0.0, 1.0]), np.ones(2)),
}


@pytest.mark.parametrize("label", BAD)
@pytest.mark.parametrize("name", ["ppmi_weights", "csr_matmul", "csr_transpose", "randomized_svd"])
def test_damaged_matrices_are_refused(name, label):
    rest = {"csr_matmul": (np.ones((3, 2)),), "randomized_svd": (3, 1)}.get(name, (3,))
    with pytest.raises((errors.ValueRangeError, errors.ShapeError, errors.DTypeError), match=r"indptr|indices|data"):
        REGISTRY[name].public(*BAD[label], *rest)


DIGEST = """
import hashlib, numpy as np
from fastseq.kernels.registry import REGISTRY
digest = hashlib.sha256()
for kernel in REGISTRY.values():
    for case in kernel.cases():
        run = (lambda *a, **k: kernel.call(kernel.public, case)) if kernel.after else kernel.public
        got = run(*case.arguments, **case.options)
        for array in got if isinstance(got, tuple) else (got,):
            if isinstance(array, np.ndarray):
                digest.update(np.ascontiguousarray(array).tobytes())
print(digest.hexdigest())
"""


def test_one_two_and_seven_threads_give_the_same_bits():
    found = set()
    for threads in ("1", "2", "7"):
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], capture_output=True, text=True, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_ppmi_of_fractions_is_the_same_for_any_number_of_threads(rng):
    import fastseq as fs

    counts = (rng.random((2000, 300)) < 0.05) * rng.random((2000, 300))
    many = fs.ppmi(counts)
    with fs.threads(1):
        one = fs.ppmi(counts)
    assert many.data.tobytes() == one.data.tobytes()


@pytest.mark.parametrize("counts", [
    [[1e-310, 0.0], [1e-310, 3e-310]], [[1e308, 1e308], [1e308, 1e308]],
])  # fmt: skip
def test_counts_that_cannot_be_weighed(counts):
    import fastseq as fs

    with pytest.raises(errors.ValueRangeError, match="data"):
        fs.ppmi(np.array(counts))


def test_singular_vectors_have_the_promised_signs(rng):
    import fastseq as fs

    u, _, _ = fs.truncated_svd(-rng.random((60, 50)), 5)
    assert (u[np.abs(u).argmax(axis=0), np.arange(5)] > 0).all()


@pytest.mark.parametrize(("small", "shift"), [(1e-60, 1.0), (1e-20, 1e-30)])
def test_ratios_beyond_float32_have_their_logarithm(small, shift):
    # The pair's ratio is total / its column's sum: 1e60, and 1e20 * 1e30 with the shift.
    counts = np.array([1.0, small])
    _, _, data = kernels.ppmi_weights(np.array([0, 1, 2]), np.array([0, 1]), counts, 2, shift=shift)
    assert data.dtype == np.float32
    np.testing.assert_allclose(data[-1], -np.log(small) - np.log(shift), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ratios_just_above_one_are_kept_above_zero_and_one_is_not_kept(dtype):
    big = 10**9
    counts = np.array([big + 1, big, big, big])
    _, indices, data = kernels.ppmi_weights(np.array([0, 2, 4]), np.array([0, 1, 0, 1]), counts, 2, dtype=dtype)
    assert indices[0] == 0
    assert (data > 0).all()
    assert data[0] < 2e-7
    # Independent: every ratio is exactly 1, so nothing is above zero.
    even = kernels.ppmi_weights(np.array([0, 2, 4]), np.array([0, 1, 0, 1]), np.full(4, 4), 2, dtype=dtype)
    assert len(even[2]) == 0


def test_index_arrays_stay_narrow():
    weighed = fs.ppmi(csr_array(np.array([[3, 0], [1, 2]])))
    assert weighed.indices.dtype == weighed.indptr.dtype == np.int32
