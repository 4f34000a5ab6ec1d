"""Training of word2vec on the device: every mode and every way to cut the work, against the oracle.

In the simulator a thread of the device is one of Python's and blocks run one after the other, so texts are tiny.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastseq.errors import DeviceError
from fastseq.kernels import _cuda
from fastseq.kernels.cpu import word2vec as cpu
from fastseq.kernels.cuda import word2vec as body
from fastseq.kernels.reference import word2vec as oracle
from fastseq.kernels.sampling import unigram_table
from fastseq.kernels.word2vec import huffman_tree, vector_rows, word2vec_train

from .test_ptx import needs_compiler

cuda = pytest.mark.cuda
needs_device = pytest.mark.skipif(
    not _cuda.available(), reason=f"{_cuda._why_not()}; NUMBA_ENABLE_CUDASIM=1 runs this in Numba's CUDA simulator"
)
needs_gpu = pytest.mark.skipif(
    _cuda.SIMULATED or not _cuda.available(), reason="needs a CUDA device: the simulator is too slow"
)

V = 12
# Empty sentences, sentences of one token, and one that is longer than a part.
OFFSETS = np.array([0, 0, 1, 5, 5, 18, 24], np.int64)
MODES = {
    "shared": {},
    "pairs": {"shared": False},
    "cbow mean": {"model": "cbow"},
    "cbow divided": {"model": "cbow", "divided": True},
    "cbow sum": {"model": "cbow", "mean": False},
}
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}


def on_device(value):
    if isinstance(value, tuple) and isinstance(value[0], np.ndarray):
        return tuple(_cuda.asarray(part) for part in value)
    return _cuda.asarray(value) if isinstance(value, np.ndarray) else value


class Problem:
    """A text, vectors and options."""

    def __init__(self, dim=20, dtype="float32", tree=False, **options):
        rng = np.random.default_rng(5)
        self.ids = rng.integers(0, V, OFFSETS[-1]).astype(np.int32)
        counts = np.bincount(self.ids, minlength=V)
        self.dim, self.dtype = dim, dtype
        self.start = []
        for n_rows in (V, V - 1 if tree else V):
            rows = vector_rows(n_rows, dim, dtype)
            rows[:, :dim] = rng.normal(0, 0.5, (n_rows, dim))
            self.start.append(rows)
        self.options = {
            "window": 3,
            "keep": (0.4 + 0.6 * rng.random(V)).astype(np.float32),
            "learning_rate": (0.4, 0.1),
            "key": 2**63 + 11,
            "first_item": 1000,
            "compute_loss": True,
            **({"tree": cpu.huffman_tree(counts)} if tree else {"table": unigram_table(counts), "negative": 4}),
            **options,
        }

    def expected(self, **options):
        rows = [part.astype(np.float64) for part in self.start]
        return *oracle.word2vec_train(self.ids, OFFSETS, *rows, **{**self.options, **options}), *rows

    def result(self, **options):
        rows = [_cuda.asarray(part.copy()) for part in self.start]
        given = {name: on_device(value) for name, value in {**self.options, **options}.items()}
        result = word2vec_train(_cuda.asarray(self.ids), _cuda.asarray(OFFSETS), *rows, **given)
        rows = [_cuda.asnumpy(part) for part in rows]
        assert all(part.dtype == self.dtype for part in rows)
        assert all((part[:, self.dim :] == 0).all() for part in rows), "something lies beyond the dimension"
        return *result, *rows

    def check(self, **options):
        expected = self.expected(**options)
        self.compare(self.result(**options), expected)
        return expected

    def compare(self, ours, theirs):
        tolerance = TOLERANCE[self.dtype]
        assert ours[1:3] == theirs[1:3]
        assert ours[0] == pytest.approx(theirs[0], rel=tolerance)
        for one, other in zip(ours[3:], theirs[3:]):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.fixture
def cut(monkeypatch):
    """Set how the work is cut: parts end in the middle of sentences."""

    def cut(**options):
        for name, value in {"_PART": 9, **options}.items():
            monkeypatch.setattr(body, name, value)

    cut()
    return cut


@cuda
@needs_device
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tree", [False, True], ids=["negatives", "tree"])
def test_modes(cut, mode, tree):
    _, n_centres, n_products, *_ = Problem(tree=tree, **MODES[mode]).check()
    assert n_centres > 12
    assert n_products > n_centres


@cuda
@needs_device
@pytest.mark.parametrize("tree", [False, True], ids=["negatives", "tree"])
@pytest.mark.parametrize("mode", ["shared", "cbow divided"])
def test_double_precision(cut, mode, tree):
    Problem(dtype="float64", dim=9, tree=tree, **MODES[mode]).check()


@cuda
@needs_device
@pytest.mark.parametrize("mode", ["shared", "pairs", "cbow mean"])
def test_the_result_does_not_depend_on_how_the_work_is_cut(cut, mode, monkeypatch):
    problem = Problem(**MODES[mode], end=16)
    expected = problem.expected()
    seen = set()
    rooms = body._rooms

    def spy(*arguments):
        slices, n_numbers, size = rooms(*arguments)
        seen.add((slices, size > body._SHARED))
        return slices, n_numbers, size

    monkeypatch.setattr(body, "_rooms", spy)
    # Parts of all sizes, other numbers of windows at a time, and less and less room in shared memory.
    for options in (
        {"_PART": 256},
        {"_PART": 2, "_BATCH": 2, "_SHARED": 2500 if mode == "shared" else 1350},
        {"_DRAWN": 9, "_SHARED": 100},
    ):
        cut(**options)
        problem.compare(problem.result(), expected)
    assert (4, False) in seen
    assert (0, True) in seen
    assert any(0 < slices < 4 for slices, _ in seen), seen


def test_room_in_shared_memory():
    # Dim 100, window 5: all slices. Larger windows have fewer, and the largest none.
    assert body._rooms(112, 4, 10, 6, 3000)[0] == 4
    previous = 5
    for n_samples in (6, 18, 36, 60, 72):
        slices, n_numbers, size = body._rooms(112, 4, 10, n_samples, 3000)
        assert slices < previous or n_samples == 6
        previous = slices + 1
        assert size == 4 * (n_numbers + 3000)
        pitch = 10 * n_samples | 1
        assert n_numbers >= (10 + n_samples) * 112 + 10 * n_samples + (pitch << slices)
        assert size <= body._SHARED or slices == 0
    assert body._rooms(1024, 4, 10, 6, 3000)[2] > body._SHARED


@cuda
@needs_device
@pytest.mark.parametrize("threads", [2, 24])
@pytest.mark.parametrize("dim", [1, 40])
def test_fewer_and_more_threads_than_columns(cut, threads, dim):
    cut(_SIMULATED_THREADS=threads)
    Problem(dim=dim, begin=3, end=16).check()


@cuda
@needs_device
def test_a_window_that_is_longer_than_every_sentence(cut):
    Problem(window=1000, negative=1, begin=4, end=14).check()
    Problem(window=40, shrink=False, negative=1, end=9, shared=False).check()


@cuda
@needs_device
@pytest.mark.parametrize("mode", ["shared", "pairs", "cbow mean"])
def test_more_samples_than_a_thread_holds(cut, mode):
    Problem(negative=13, end=16, **MODES[mode]).check()


@cuda
@needs_device
@pytest.mark.parametrize("tree", [False, True], ids=["negatives", "tree"])
@pytest.mark.parametrize("mode", ["shared", "pairs", "cbow divided"])
def test_deterministic(monkeypatch, mode, tree):
    for module in (body, oracle):
        monkeypatch.setattr(module, "SHARDS", 3)
        monkeypatch.setattr(module, "shard_tokens", lambda n_words: 4)
    problem = Problem(deterministic=True, tree=tree, end=17, **MODES[mode])
    problem.check()
    if mode != "shared":
        return
    one, other = problem.result(), problem.result()
    assert one[0] == other[0]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one[3:], other[3:]))


@cuda
@needs_device
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("mode", ["shared", "pairs", "cbow sum"])
def test_frozen_rows(cut, mode, deterministic):
    frozen = np.arange(V) % 3 == 0
    problem = Problem(frozen=frozen, deterministic=deterministic, window=2, negative=2, end=16, **MODES[mode])
    result = problem.result()
    problem.compare(result, problem.expected())
    inputs = result[3]
    np.testing.assert_array_equal(inputs[frozen], problem.start[0][frozen])
    assert (inputs[~frozen] != problem.start[0][~frozen]).any()


@cuda
@needs_device
def test_several_blocks_share_the_parts(cut, monkeypatch):
    cut(_BLOCKS=3, _PART=3, _ALONE=0)
    monkeypatch.setattr(body, "_ROW_CHANGES", 1e9)
    problem = Problem(learning_rate=0.02, begin=2, end=23)
    expected = problem.expected()
    ours = problem.result()
    # Which windows there are and what they draw does not depend on who trains on them, only the vectors do.
    assert ours[1:3] == expected[1:3]
    assert ours[0] == pytest.approx(expected[0], rel=0.02)
    if _cuda.SIMULATED:
        # Blocks run one after the other: the parts of the first, then those of the second.
        rows = [part.astype(np.float64) for part in problem.start]
        for block in range(3):
            for begin in range(2 + 3 * block, 23, 9):
                options = {**problem.options, "begin": begin, "end": min(begin + 3, 23)}
                oracle.word2vec_train(problem.ids, OFFSETS, *rows, **options)
        for one, other in zip(ours[3:], rows):
            np.testing.assert_allclose(one, other, rtol=5e-6, atol=5e-6)


@cuda
@needs_device
def test_the_loss_is_left_out(cut):
    problem = Problem(end=12)
    with_loss, without = problem.result(), problem.result(compute_loss=False)
    assert with_loss[0] > 0
    assert without[0] == 0
    assert with_loss[1:3] == without[1:3]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(with_loss[3:], without[3:]))


@cuda
@needs_device
def test_large_scores(cut):
    problem = Problem(end=16)
    problem.start = [6 * part for part in problem.start]
    ours, expected = problem.result(), problem.expected()
    assert expected[0] / expected[2] > 10
    assert ours[0] == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(ours[3], expected[3], rtol=1e-4, atol=1e-3)


@cuda
@needs_device
@pytest.mark.parametrize("deterministic", [False, True])
def test_nothing_to_train_on(deterministic):
    options = {"deterministic": deterministic}
    problem = Problem(**options)
    unchanged = [part.copy() for part in problem.start]
    for given in ({"end": 0}, {"keep": np.zeros(V, np.float32)}, {"begin": 0, "end": 1}):
        ours = problem.result(**given)
        assert ours[:3] == (0.0, 0, 0)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(ours[3:], unchanged))
    # Sentences of one token, no sentence, and a tree of one word.
    rows = [_cuda.asarray(part.copy()) for part in problem.start]
    table = on_device(problem.options["table"])
    ids = _cuda.asarray(np.zeros(3, np.int32))
    alone = _cuda.asarray(np.arange(4))
    assert word2vec_train(ids, alone, *rows, table=table, **options) == (0.0, 0, 0)
    none = _cuda.asarray(np.zeros(0, np.int32)), _cuda.asarray(np.zeros(1, np.int64))
    assert word2vec_train(*none, *rows, table=table, **options) == (0.0, 0, 0)
    tree = huffman_tree(_cuda.asarray(np.array([3])))
    one = [_cuda.asarray(vector_rows(n, 4)) for n in (1, 0)]
    assert word2vec_train(ids, _cuda.asarray(np.array([0, 3])), *one, tree=tree, **options) == (0.0, 0, 0)


@cuda
@needs_device
def test_the_tree_is_that_of_the_cpu():
    for counts in ([5, 3, 3, 1, 0], [2], []):
        counts = np.array(counts, np.int64)
        for ours, theirs in zip(huffman_tree(_cuda.asarray(counts)), huffman_tree(counts)):
            assert hasattr(ours, "__cuda_array_interface__")
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(_cuda.asnumpy(ours), theirs)


@cuda
@needs_device
def test_arrays_on_different_devices():
    problem = Problem()
    rows = [_cuda.asarray(part) for part in problem.start]
    with pytest.raises(DeviceError, match="different devices"):
        word2vec_train(problem.ids, OFFSETS, *rows, table=problem.options["table"])


def test_blocks_in_flight():
    # "the" on Wikipedia thinned out with 1e-4, and without; a dozen words.
    assert body._in_flight(0.0047, 6, 0.025) == body._BLOCKS
    assert 40 < body._in_flight(0.06, 6, 0.025) < 50
    assert body._in_flight(0.06, 6, 0.1) == pytest.approx(body._in_flight(0.06, 6, 0.025) / 4, abs=1)
    assert body._in_flight(0.06, 6, 0.001) == body._in_flight(0.06, 6, 0.025)
    assert body._in_flight(1.0, 10, 1.0) == 1
    assert body._in_flight(0.0, 6, 0.025) == body._BLOCKS


@cuda
@needs_device
def test_the_largest_share():
    ids = _cuda.asarray(np.array([0, 0, 0, 1, 1, 2], np.int32))
    keep = np.array([0.5, 1, 1, 1], np.float32)
    assert body._largest_share(ids, _cuda.asarray(keep)) == pytest.approx(2 / 4.5)
    assert body._largest_share(ids, _cuda.asarray(0 * keep)) == 0


def test_threads_of_a_block(monkeypatch):
    monkeypatch.setattr(_cuda, "SIMULATED", False)
    strides = 16, 64, 112, 256, 304, 512, 1024
    assert [body._n_threads(stride) for stride in strides] == [64, 64, 128, 256, 160, 256, 256]


@pytest.mark.ptx
@needs_compiler
def test_double_precision_is_only_for_the_loss_and_sums_stay_in_registers():
    code = _cuda.ptx(body._train.body, body.PTX["_train"][0], (9, 0))
    found = set(re.findall(r"\s(\w+)\.[\w.]*f64", code))
    assert found == {"add", "cvt", "ld", "mov", "st"}
    # Small arrays with constant indices become registers; memory of a thread's own would be slow.
    assert not re.search(r"\.local\b", code)


@cuda
@needs_gpu
@pytest.mark.corpora
def test_vectors_are_as_good_as_those_of_the_cpu(corpora):
    import fastseq as fs

    corpus = fs.Corpus.from_file(corpora / "ptb" / "ptb.train.txt", eos="<eos>")
    counts = np.asarray(corpus.vocab.counts)
    shares = counts / counts.sum()
    keep = np.minimum(1, np.sqrt(1e-3 / shares) + 1e-3 / shares).astype(np.float32)
    table = unigram_table(counts)
    losses = {}
    for place in ("cpu", "cuda"):
        move = on_device if place == "cuda" else lambda value: value
        options = {"table": move(table), "keep": move(keep), "compute_loss": True}
        rows = [vector_rows(len(counts), 50) for _ in range(2)]
        rows[0][:, :50] = (np.random.default_rng(0).random((len(counts), 50)) - 0.5) / 50
        given = [move(np.asarray(part)) for part in (corpus.ids, corpus.offsets)] + [move(part) for part in rows]
        for epoch in range(3):
            first_item = epoch * len(corpus.ids)
            rates = 0.025 * (3 - epoch) / 3, 0.025 * (2 - epoch) / 3
            loss, _, n = word2vec_train(*given, learning_rate=rates, first_item=first_item, **options)
        losses[place] = loss / n
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.01)
