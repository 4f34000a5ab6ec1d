"""The CUDA twins against the oracles: on a GPU where there is one, else in Numba's CUDA simulator."""

from __future__ import annotations

import functools
import importlib
import inspect

import numpy as np
import pytest

from fastseq import device
from fastseq.errors import DeviceError
from fastseq.kernels import _cuda
from fastseq.kernels.cuda import _persistent as persistent
from fastseq.kernels.random import random_uniform
from fastseq.kernels.registry import REGISTRY, Case

from .compare import check as compare

pytestmark = pytest.mark.cuda
needs_device = pytest.mark.skipif(
    not _cuda.available(), reason=f"{_cuda._why_not()}; NUMBA_ENABLE_CUDASIM=1 runs this in Numba's CUDA simulator"
)
only_simulated = pytest.mark.skipif(not _cuda.SIMULATED, reason="about the simulator (NUMBA_ENABLE_CUDASIM=1)")

TWINS = [kernel for kernel in REGISTRY.values() if kernel.cuda]
FAMILIES = sorted({kernel.family for kernel in TWINS})
# These take one array, so there is nothing to mix.
ONE_ARRAY = {"sum_of_squares", "unigram_table", "huffman_tree"}
# randomized_svd is written for any array module: its only bodies are those of other families.
WITH_BODIES = [kernel for kernel in TWINS if kernel.family != "svd"]


def to_device(value):
    if isinstance(value, np.ndarray):
        # A device has the byte order of its host only.
        return _cuda.asarray(value.astype(value.dtype.newbyteorder("=")))
    if isinstance(value, list):
        return _cuda.asarray(np.array(value))
    if isinstance(value, tuple) and any(isinstance(part, np.ndarray) for part in value):
        return tuple(to_device(part) for part in value)
    return value


def run(kernel, case):
    """Call the contract with everything on the device; return a tuple of arrays."""
    public = kernel.public
    if "device" in inspect.signature(public).parameters:
        public = functools.partial(public, device="cuda")
    result = kernel.call(public, case, to_device)
    result = result if isinstance(result, tuple) else (result,)
    for array in result[: len(kernel.changes)] if kernel.changes else result:
        if array.ndim == 0:
            continue  # a number, which Python has
        assert hasattr(array, "__cuda_array_interface__"), f"{kernel.name}, {case.label}: a result left the device"
        assert array.flags.c_contiguous, f"{kernel.name}, {case.label}: a result is not contiguous"
    return tuple(_cuda.asnumpy(array) if hasattr(array, "__cuda_array_interface__") else array for array in result)


def check(kernel, case, result):
    """Compare a result with the oracle at the tolerance of the table."""
    compare(kernel, case, result if len(result) > 1 else result[0], kernel.call(kernel.oracle, case))


def cases(kernel):
    """Yield the cases; in the simulator, where a thread of the device is one of Python's, those that are not large."""
    for case in kernel.cases():
        if _cuda.SIMULATED and kernel.name == "word2vec_train":
            # A window takes 25 ms there: a few tokens on both sides of the last border, in one dtype.
            if "float64" in case.label:
                continue
            n_tokens = len(case.arguments[0])
            end = min(case.options.get("end", n_tokens), 306)
            begin = min(max(case.options.get("begin", 0), 294), end)
            case = Case(case.label, case.arguments, {**case.options, "begin": begin, "end": end})
        if not (_cuda.SIMULATED and kernel.result == "svd" and case.arguments[1].size > 3000):
            yield case


def bodies_of(family):
    """The names of the bodies that are written in a module of ``kernels/cuda``; none for a family without one."""
    if family == "svd":
        return set()
    module = importlib.import_module(f"fastseq.kernels.cuda.{family}")
    bodies = {name: getattr(value, "body", None) for name, value in vars(module).items()}
    return {name for name, body in bodies.items() if body and body.__module__ == module.__name__}


@pytest.fixture
def launched(monkeypatch):
    """The names of the bodies that are launched, by module; recurrent networks go step by step."""
    seen = set()
    launch = _cuda.launch

    def spy(kernel, n, *arguments, **options):
        if n > 0:
            seen.add((kernel.body.__module__.rpartition(".")[2], kernel.body.__name__))
        launch(kernel, n, *arguments, **options)

    monkeypatch.setattr(_cuda, "launch", spy)
    monkeypatch.setattr(persistent, "_MOST_SEQUENCES", -1)
    return seen


@needs_device
@pytest.mark.parametrize("family", FAMILIES)
def test_cases_of_the_table(family, launched):
    for kernel in TWINS:
        if kernel.family == family:
            n_cases = 0
            for case in cases(kernel):
                check(kernel, case, run(kernel, case))
                n_cases += 1
            assert n_cases > 0, f"{kernel.name} has no case"
    # Whole families, and those bodies of the family sparse that others use.
    shared = {("sparse", "_sum_runs")}
    assert {name for place, name in launched - shared if place == family} == bodies_of(family) - {"_sum_runs"}
    if family in ("cooccurrence", "ppmi"):
        assert shared <= launched
    if family == "svd":
        assert {("sparse", "_multiply"), ("sparse", "_move"), ("random", "_fill_normal_float32")} <= launched


def test_something_is_tested():
    assert len(TWINS) > 5
    assert sum(len(bodies_of(family)) for family in {kernel.family for kernel in WITH_BODIES}) > 10


@pytest.mark.parametrize("kernel", WITH_BODIES, ids=lambda kernel: kernel.name)
def test_parameters_are_those_of_the_cpu(kernel):
    ours = list(inspect.signature(kernel.body("cuda")).parameters)
    assert ours
    assert ours == list(inspect.signature(kernel.body("cpu")).parameters)


@needs_device
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_are_those_of_the_cpu_bit_for_bit(dtype):
    for key, n, start, draw in ((5, 300, 0, 0), (2**64 - 1, 65, 2**40 + 3, 2**32 - 1)):
        ours = random_uniform(np.uint64(key), n, start, draw, dtype, device="cuda")
        theirs = random_uniform(np.uint64(key), n, start, draw, dtype)
        assert _cuda.asnumpy(ours).tobytes() == theirs.tobytes()


def _exactly_as_on_the_cpu(kernel, case):
    expected = kernel.public(*case.arguments, **case.options)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(run(kernel, case), expected, strict=True):
        assert ours.dtype == theirs.dtype, case.label
        np.testing.assert_array_equal(ours, theirs, err_msg=case.label)


@needs_device
@pytest.mark.parametrize(
    "name", ["cooccurrence_counts", "csr_transpose", "random_mask", "unigram_table", "sample_negatives"]
)
def test_result_is_that_of_the_cpu_exactly(name):
    for case in REGISTRY[name].cases():
        # Beyond window 40 harmonic weights are float64, which the CPU adds in the order of the text.
        if case.options.get("window", 0) < 40:
            _exactly_as_on_the_cpu(REGISTRY[name], case)


@needs_device
@pytest.mark.parametrize(("pairs", "key_bits"), [(64, 63), (1000, 63), (1 << 27, 12), (300, 12)])
def test_counts_do_not_depend_on_how_the_text_is_cut(monkeypatch, pairs, key_bits):
    body = importlib.import_module("fastseq.kernels.cuda.cooccurrence")
    monkeypatch.setattr(body, "_PAIRS", pairs)
    monkeypatch.setattr(body, "_KEY_BITS", key_bits)
    kernel = REGISTRY["cooccurrence_counts"]
    cases = [case for case in kernel.cases() if case.options.get("window") == 5]
    assert len(cases) == 6
    for case in cases:
        _exactly_as_on_the_cpu(kernel, case)


@needs_device
@pytest.mark.parametrize("n_words", [65_535, 65_536, 92_680, 92_681, 92_682])
@pytest.mark.parametrize("symmetric", [True, False])
def test_counts_with_many_words(n_words, symmetric):
    # Only the last words are used. Keys of 32 bits end at 92,681 words (symmetric) and at 65,536 (one-sided).
    rng = np.random.default_rng(0)
    ids = (n_words - 1 - rng.integers(0, 3, 40)).astype(np.int32)
    for weighting in ("uniform", "linear"):
        options = {"window": 3, "weighting": weighting, "symmetric": symmetric}
        case = Case(f"{n_words} {weighting}", (ids, np.array([0, 25, 40]), n_words), options)
        _exactly_as_on_the_cpu(REGISTRY["cooccurrence_counts"], case)


@needs_device
@pytest.mark.parametrize("name", ["nearest_dot", "nearest_mul"])
@pytest.mark.parametrize(("scores", "shard"), [(1 << 26, 7), (500, 256), (1, 64)])
def test_neighbours_do_not_depend_on_how_the_work_is_cut(monkeypatch, name, scores, shard):
    kernel = REGISTRY[name]
    cases = [case for case in kernel.cases() if case.label.startswith("float32") and case.arguments[-2].shape[0] < 310]
    assert len(cases) > 5
    whole = [run(kernel, case) for case in cases]
    body = importlib.import_module("fastseq.kernels.cuda.nearest")
    monkeypatch.setattr(body, "_SCORES", scores)
    monkeypatch.setattr(body, "_SHARD", shard)
    for case, expected in zip(cases, whole):
        for ours, theirs in zip(run(kernel, case), expected):
            assert ours.tobytes() == theirs.tobytes(), case.label


@needs_device
@pytest.mark.parametrize(
    ("factor", "shift"), [(1.0, 1e-35), (1.0, 1e35), (1e-37, 1.0), (1e30, 1.0), (1e-200, 2.0), (1e200, 2.0)]
)
def test_ppmi_of_very_small_and_large_numbers(factor, shift):
    dtype = np.float32 if 1e-38 < factor < 1e38 else np.float64
    rng = np.random.default_rng(3)
    counts = ((rng.poisson(2, (20, 20)) + np.eye(20)) * factor).astype(dtype)
    rows, columns = np.nonzero(counts)
    indptr = np.concatenate([[0], np.cumsum((counts > 0).sum(axis=1))])
    matrix = indptr, columns.astype(np.int32), counts[rows, columns]
    case = Case(f"counts times {factor}, shift {shift}", (*matrix, 20), {"shift": shift})
    check(REGISTRY["ppmi_weights"], case, run(REGISTRY["ppmi_weights"], case))


@needs_device
def test_products_of_rows_of_several_segments_and_their_sums():
    rng = np.random.default_rng(1)
    sparse = importlib.import_module("fastseq.kernels.cuda.sparse")
    lengths = np.array([0, 1, 511, 512, 513, 0, 1025, 3])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = rng.integers(0, 50, indptr[-1]).astype(np.int32)
    data = rng.integers(-4, 5, indptr[-1]).astype(np.float64)
    matrix = rng.integers(-4, 5, (50, 3)).astype(np.float64)
    ours = REGISTRY["csr_matmul"].public(*(_cuda.asarray(array) for array in (indptr, indices, data, matrix)))
    # Whole numbers, so any order gives the same sums.
    terms = data[:, None] * matrix[indices]
    theirs = [terms[a:b].sum(axis=0) for a, b in zip(indptr[:-1], indptr[1:])]
    np.testing.assert_array_equal(_cuda.asnumpy(ours), theirs)
    sums = sparse.row_sums(_cuda.asarray(indptr), _cuda.asarray(data.astype(np.int32)), np.int64)
    expected = [data[a:b].sum() for a, b in zip(indptr[:-1], indptr[1:])]
    np.testing.assert_array_equal(_cuda.asnumpy(_cuda.asarray(sums)), expected)


@needs_device
@pytest.mark.parametrize(
    "kernel", [k for k in TWINS if k.family != "random" and k.name not in ONE_ARRAY], ids=lambda kernel: kernel.name
)
def test_arrays_on_different_devices_are_refused(kernel):
    case = next(case for case in kernel.cases() if not case.options.get("exclude"))
    first = next(i for i, value in enumerate(case.arguments) if isinstance(value, np.ndarray))
    mixed = [to_device(value) if i == first else value for i, value in enumerate(case.arguments)]

    def call(*arguments, **options):
        # A backward pass has its forward pass before it.
        return (kernel.call(kernel.public, Case("", arguments, options)) if kernel.after
                else kernel.public(*arguments, **options))  # fmt: skip

    with pytest.raises(DeviceError, match="different devices"):
        call(*mixed, **case.options)


@needs_device
@pytest.mark.parametrize("name", ["lstm_forward", "rnn_forward"])
@pytest.mark.parametrize("option", ["keep_h", "mask_h"])
def test_infinite_states_that_are_not_kept_do_no_harm(name, option):
    # Zoneout that keeps nothing, and an option that has nothing to do with it.
    rng = np.random.default_rng(0)
    gates = 4 if name == "lstm_forward" else 1
    shapes = ((3, 2, 4), *((2, 5) for _ in range(2 if gates == 4 else 1)), (4, gates * 5), (5, gates * 5), (gates * 5,))
    arguments = [rng.standard_normal(shape) for shape in shapes]
    arguments[1][0, 0] = np.inf
    options = {option: np.zeros((3, 2, 5)) if option == "keep_h" else np.ones((2, 5))}
    # OpenBLAS on AVX-512 multiplies infinity by the zeros with which it fills its blocks, and NumPy warns of that; the
    # simulator's products are NumPy's too.
    with np.errstate(invalid="ignore"):
        expected = REGISTRY[name].oracle(*arguments, **options)[0]
        found = run(REGISTRY[name], Case("infinite", tuple(arguments), options))[0]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@needs_device
def test_arrays_go_to_the_device_and_back():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    there = device.to_device(array, "cuda")
    assert hasattr(there, "__cuda_array_interface__")
    assert there.flags.c_contiguous
    back = device.to_host(there)
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, array)
    with device.use_device("cuda"):
        assert hasattr(device.to_device(array), "__cuda_array_interface__")


@needs_device
def test_running_sum():
    for sizes in ([], [0], [3, 0, 2]):
        ours = _cuda.running_sum(_cuda.asarray(np.array(sizes, np.int32)))
        assert ours.dtype == np.int64
        assert ours.tolist() == [0, *np.cumsum(sizes).tolist()]


@only_simulated
def test_simulated_array_says_that_it_lies_on_a_device():
    array = _cuda.asarray(np.arange(6.0))
    assert isinstance(array, _cuda.SimulatedArray)
    for derived in (array[2:], array * 2, array.reshape(2, 3), array.astype(np.float32)):
        assert hasattr(derived, "__cuda_array_interface__")
    assert not hasattr(_cuda.asnumpy(array), "__cuda_array_interface__")


def test_what_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(_cuda, "_why_not", lambda: "the moon is full")
    with pytest.raises(DeviceError, match="'cuda' was asked for, but the moon is full; use device 'cpu'"):
        _cuda.require()
    assert not _cuda.available()
