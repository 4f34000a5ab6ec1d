"""fs.UnigramTable."""

from __future__ import annotations

import copy
import pickle
import threading
import time

import numpy as np
import pytest

import fastseq as fs
from fastseq import errors
from fastseq.device import cuda_available
from fastseq.kernels import _cuda

needs_device = pytest.mark.skipif(not cuda_available(), reason="no CUDA device and no simulator")
COUNTS = (1e5 / (np.arange(50) + 1)).astype(np.int64)


def test_the_books_sampler(book_text):
    corpus = fs.Corpus.from_text(book_text)
    table = fs.UnigramTable(corpus.vocab.counts, power=0.75, random_state=0)
    target = np.array([1, 3, 0])
    negative = table.sample(target, 2, replace=False)
    assert negative.shape == (3, 2)
    assert negative.dtype == np.int32
    assert (negative != target[:, None]).all()
    assert (negative[:, 0] != negative[:, 1]).all()


def test_probabilities():
    table = fs.UnigramTable(COUNTS, 0.75)
    assert len(table) == 50
    assert table.probabilities.dtype == np.float64
    assert table.probabilities.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(table.probabilities, COUNTS**0.75 / (COUNTS**0.75).sum(), rtol=1e-8)
    assert repr(table) == "UnigramTable(50 words, power=0.75)"


def test_shapes_are_those_of_the_targets():
    table = fs.UnigramTable(COUNTS, random_state=1)
    assert table.sample(3, 5).shape == (5,)
    assert table.sample(np.int32(3), 5).shape == (5,)
    assert table.sample([3], 5).shape == (1, 5)
    assert table.sample(np.zeros((4, 2), int), 5).shape == (4, 2, 5)
    assert table.sample([], 5).shape == (0, 5)
    assert table.sample([3, 4], 0).shape == (2, 0)
    assert (table.sample(np.full((20, 3), 7), 5) != 7).all()


def test_calls_go_on_and_can_be_repeated():
    targets = np.arange(40)
    first, again = (fs.UnigramTable(COUNTS, random_state=4) for _ in range(2))
    one, two = first.sample(targets, 5), first.sample(targets, 5)
    assert (one != two).any()
    both = again.sample(np.concatenate([targets, targets]), 5)
    np.testing.assert_array_equal(both, np.concatenate([one, two]))
    assert (fs.UnigramTable(COUNTS, random_state=5).sample(targets, 5) != one).any()
    assert (fs.UnigramTable(COUNTS).sample(targets, 5) != fs.UnigramTable(COUNTS).sample(targets, 5)).any()
    drawn = [fs.UnigramTable(COUNTS, random_state=np.random.default_rng(1)).sample(targets, 5) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)


def test_samples_are_those_of_the_kernel():
    table = fs.UnigramTable(COUNTS, random_state=4)
    targets = np.arange(40)
    parts = table.thresholds, table.aliases, table.weights
    for part, wanted in zip(parts, fs.kernels.unigram_table(COUNTS)):
        np.testing.assert_array_equal(part, wanted)
    table.sample(targets[:3], 2)
    want = fs.kernels.sample_negatives(*parts, targets, 5, key=fs.random.as_key(4, "negatives"), start=3, replace=False)
    np.testing.assert_array_equal(table.sample(targets, 5, replace=False), want)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda table: pickle.loads(pickle.dumps(table))])  # noqa: S301
def test_copies_go_on_where_the_table_was(twin):
    table = fs.UnigramTable(COUNTS, random_state=2)
    table.sample([1, 2], 3)
    other = twin(table)
    np.testing.assert_array_equal(table.sample([1, 2], 3), other.sample([1, 2], 3))
    for one in (table, other):
        with pytest.raises(ValueError, match="read-only"):
            one.weights[0] = 1


class SlowlyCounting(fs.UnigramTable):
    """Lets other threads run between looking at the counter of rows and moving it on."""

    @property
    def _next_row(self):
        value = self._value
        time.sleep(0.001)
        return value

    @_next_row.setter
    def _next_row(self, value):
        self._value = value


def test_python_threads_do_not_draw_the_same_rows():
    table = SlowlyCounting(np.ones(2**20), random_state=3)
    rows = []

    def work():
        for _ in range(10):
            rows.append(table.sample(-1, 4).tobytes())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(rows)) == len(rows) == 40


@pytest.mark.cuda
@needs_device
def test_on_a_device():
    targets = np.arange(40)
    want = fs.UnigramTable(COUNTS, random_state=4).sample(targets, 5)
    table = fs.UnigramTable(COUNTS, random_state=4)
    with fs.use_device("cuda"):
        got = table.sample(targets[:20], 5)
        assert type(got) is np.ndarray
        there = table.sample(fs.to_device(targets[20:]), 5)
    assert hasattr(there, "__cuda_array_interface__")
    np.testing.assert_array_equal(np.concatenate([got, fs.to_host(there)]), want)
    # Targets that lie on a device are followed.
    there = table.sample(_cuda.asarray(targets.reshape(4, 10)), 2)
    assert hasattr(there, "__cuda_array_interface__")
    assert there.shape == (4, 10, 2)
    on_device = fs.UnigramTable(_cuda.asarray(COUNTS), random_state=4)
    assert type(on_device.weights) is np.ndarray
    np.testing.assert_array_equal(on_device.sample(targets, 5), want)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(table)).sample(1, 3), table.sample(1, 3))  # noqa: S301


@pytest.mark.parametrize(
    ("targets", "size", "replace", "error", "message"),
    [
        (50, 3, True, errors.ValueRangeError, "targets holds 50, expected -1 to 49"),
        ([0, -2], 3, True, errors.ValueRangeError, "targets holds -2"),
        ("the", 3, True, errors.DTypeError, "targets is str"),
        (1.0, 3, True, errors.DTypeError, "targets is float"),
        ([True], 3, True, errors.DTypeError, "targets is list of dtype bool"),
        ([[1], [1, 2]], 3, True, errors.ShapeError, "targets is ragged"),
        (1, -1, True, errors.ValueRangeError, "size is -1"),
        (1, 2.5, True, errors.DTypeError, "size is 2.5"),
        (1, 50, False, errors.ValueRangeError, "49 ids but target 1"),
        (1, 3, None, errors.DTypeError, "replace is None"),
    ],
)
def test_bad_input(targets, size, replace, error, message):
    with pytest.raises(error, match=message):
        fs.UnigramTable(COUNTS, random_state=0).sample(targets, size, replace)


def test_bad_tables():
    with pytest.raises(errors.ValueRangeError, match="only zeros"):
        fs.UnigramTable([0])
    with pytest.raises(errors.DTypeError, match="random_state"):
        fs.UnigramTable([1], random_state="x")
    with pytest.raises(errors.ValueRangeError, match="0 ids but target 0"):
        fs.UnigramTable([1]).sample(0, 1)
