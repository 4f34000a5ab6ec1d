"""Training of word2vec's vectors: gradients, borders of parts, threads, trees and what is refused."""

from __future__ import annotations

import heapq
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy import stats

import fastseq as fs
from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.kernels import huffman_tree, unigram_table, word2vec_train
from fastseq.kernels._scalar import negative_draw, pool_place, pool_size, stream_of
from fastseq.kernels._word2vec import POOL_DRAW, POOL_ITEM, STRETCH
from fastseq.kernels.cpu import word2vec as body
from fastseq.kernels.reference import word2vec as oracle
from fastseq.kernels.word2vec import vector_rows


def tables(rng, n_words, dim, dtype="float64", n_rows=None):
    made = [vector_rows(rows, dim, dtype) for rows in (n_words, n_words if n_rows is None else n_rows)]
    for table in made:
        table[:, :dim] = 0.4 * rng.standard_normal((len(table), dim))
    return made


def text(rng, n_tokens=3000, n_words=50):
    ids = rng.integers(0, n_words, n_tokens).astype(np.int32)
    return ids, np.array([0, n_tokens // 3, n_tokens]), unigram_table(np.bincount(ids, minlength=n_words))


def loss_of(inputs, outputs, around, samples, labels, cbow, mean):
    """Return the loss of one window, written apart from both the kernel and its oracle."""
    rows = inputs[around]
    if cbow:
        rows = (rows.mean(axis=0) if mean else rows.sum(axis=0))[None]
    signs = np.where(np.asarray(labels) == 1, 1.0, -1.0)
    return float(np.log1p(np.exp(-signs * (rows @ outputs[samples].T))).sum())


@pytest.mark.parametrize("train", [word2vec_train, oracle.word2vec_train], ids=["kernel", "oracle"])
@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize(
    ("model", "mean", "divided", "shared"),
    [
        ("skipgram", True, False, True), ("cbow", True, True, True), ("cbow", False, False, False),
        ("cbow", True, False, True),
    ],
)  # fmt: skip
def test_an_update_is_the_gradient_of_the_loss(rng, train, tree, model, mean, divided, shared):
    # One centre in the middle of a sentence of five different words: with a small rate all it does is one step.
    dim, rate, n_words = 9, 1e-6, 12
    ids = np.array([3, 1, 4, 7, 5], np.int32)
    counts = np.arange(1, n_words + 1)
    paths = huffman_tree(counts)
    inputs, outputs = tables(rng, n_words, dim, n_rows=n_words - tree)
    options = {"tree": paths} if tree else {"table": unigram_table(counts), "negative": 5}
    before = inputs.copy(), outputs.copy()
    loss, centres, products = train(
        ids, np.array([0, 5]), inputs, outputs, model=model, mean=mean, divided=divided, shared=shared, window=2,
        shrink=False, key=5, learning_rate=rate, begin=2, end=3, compute_loss=True, **options,
    )  # fmt: skip
    if tree:
        path = slice(paths[0][4], paths[0][5])
        samples, labels = paths[1][path], 1 - paths[2][path].astype(int)
    else:
        table = options["table"]
        samples = [4] + [
            oracle._pooled(5, 2, k, 4, 5, inputs.shape[1], table) if shared else oracle._negative(5, 2, k, 4, *table)
            for k in range(5)
        ]
        labels = [1, 0, 0, 0, 0, 0]
    around = [3, 1, 7, 5]
    assert (centres, products) == (1, len(samples) * (1 if model == "cbow" else 4))

    def value(table, i, j, change):
        moved = [before[0].copy(), before[1].copy()]
        moved[table][i, j] += change
        return loss_of(*moved, around, samples, labels, model == "cbow", mean)

    assert loss == pytest.approx(loss_of(*before, around, samples, labels, model == "cbow", mean), rel=1e-12)
    for table, after in enumerate((inputs, outputs)):
        numeric = np.zeros_like(after)
        rows = set(around) if table == 0 else {int(sample) for sample in samples}
        for i in rows:
            for j in range(dim):
                numeric[i, j] = (value(table, i, j, 1e-5) - value(table, i, j, -1e-5)) / 2e-5
        if table == 0 and model == "cbow" and mean and not divided:
            numeric *= 4  # word2vec's own: each context learns the whole
        got = (before[table] - after) / rate
        np.testing.assert_allclose(got, numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("negative", [5, 10], ids=["one group of samples", "two groups"])
@pytest.mark.parametrize("ids", [[3, 3, 4, 3, 3], [3, 7, 3, 4, 7, 7, 3], [3, 7, 3, 5, 4, 5, 3, 7, 8], [3, 5, 4, 7, 8]])
def test_samples_learn_from_what_a_word_was_that_is_around_more_than_once(rng, ids, negative):
    # A large rate, with which it would show that they had learned from a row that its first mention had changed.
    ids = np.array(ids, np.int32)
    centre = int(np.flatnonzero(ids == 4)[0])
    table = unigram_table(np.arange(1, 13))
    inputs, outputs = tables(rng, 12, 9)
    expected = inputs.copy(), outputs.copy()
    for train, (in_, out) in ((word2vec_train, (inputs, outputs)), (oracle.word2vec_train, expected)):
        train(
            ids, np.array([0, len(ids)]), in_, out, table=table, negative=negative, window=5, shrink=False, key=5,
            learning_rate=0.5, begin=centre, end=centre + 1,
        )  # fmt: skip
    np.testing.assert_allclose(inputs, expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(outputs, expected[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"shared": False}, {"model": "cbow"}, {"model": "cbow", "shared": False}])
@pytest.mark.parametrize("size", [1, 7, 400])
def test_where_a_text_is_cut_changes_nothing(rng, monkeypatch, options, size):
    # Contexts beyond the border of a part are seen: a line of any length is one sentence.
    ids, offsets, table = text(rng)
    keep = rng.random(50).astype(np.float32)
    results = []
    for part in (10**6, size):
        monkeypatch.setattr(body, "_PART", part)
        inputs, outputs = tables(np.random.default_rng(1), 50, 10, "float32")
        with fs.threads(1):
            numbers = word2vec_train(
                ids, offsets, inputs, outputs, table=table, keep=keep, key=3, compute_loss=True, **options
            )  # fmt: skip
        results.append((inputs, outputs, *numbers))
    (one_in, one_out, one_loss, *one_counts), (in_, out, loss, *counts) = results
    assert counts == one_counts
    assert loss == pytest.approx(one_loss, rel=1e-6)
    assert in_.tobytes() == one_in.tobytes()
    assert out.tobytes() == one_out.tobytes()


@pytest.mark.parametrize(
    ("negative", "stride", "size"),
    [(5, 112, 500), (5, 304, 215), (5, 1008, 200), (20, 112, 800), (0, 16, 0), (2**20, 2**20, 2**16)],
)
def test_wide_rows_have_smaller_pools(negative, stride, size):
    assert pool_size(np.int64(negative), np.int64(stride)) == size


def test_samples_of_a_pool_are_spread_as_the_words_are():
    # One sample of each stretch, since those of a stretch come from one pool; and the places within a pool.
    counts = np.array([400, 90, 50, 30, 9, 1, 0])
    table = unigram_table(counts)
    n, n_pool = 6000, 500

    @njit
    def take(key, n, thresholds, aliases, weights):
        words, places = np.empty(n, np.int64), np.empty(n, np.int64)
        for i in range(n):
            stretch = POOL_ITEM + np.uint64(i)
            place = pool_place(stream_of(key, np.uint64(i) << STRETCH), np.uint64(i % 5), POOL_DRAW, np.uint64(n_pool))
            words[i] = negative_draw(stream_of(key, stretch), place, np.int64(1), thresholds, aliases, weights)
            places[i] = place
        return words, places

    words, places = take(np.uint64(11), n, *table)
    share = counts**0.75
    share[1] = 0
    expected = n * share / share.sum()
    found = np.bincount(words, minlength=7)
    assert found[expected == 0].sum() == 0
    assert stats.chisquare(found[expected > 0], expected[expected > 0]).pvalue > 0.001
    # 65536 is no multiple of 500: a place has 131 or 132 of its numbers, which is less than a sample this size shows.
    assert places.min() == 0
    assert places.max() == n_pool - 1
    assert stats.chisquare(np.bincount(places, minlength=n_pool)).pvalue > 0.001


def test_negatives_of_a_stretch_come_from_its_pool(rng):
    # Each centre changes the rows of its samples, so those of a stretch change its pool's words alone: with as many
    # words as there are here, a few hundred and not a thousand. Both centres and samples are counted.
    n_words = 20_000
    ids, offsets = rng.permutation(n_words)[:1500].astype(np.int32), np.array([0, 1500])
    table = unigram_table(np.ones(n_words, np.int64))
    changed = {}
    for model in ("skipgram", "cbow"):
        for shared in (True, False):
            inputs, outputs = tables(rng, n_words, 3)
            before = outputs.copy()
            word2vec_train(ids, offsets, inputs, outputs, model=model, shared=shared, table=table, negative=3, key=1)
            others = np.setdiff1d(np.flatnonzero((outputs != before).any(axis=1)), ids)
            changed[model, shared] = len(others)
    for model in ("skipgram", "cbow"):
        assert 200 < changed[model, True] <= 300, changed
        assert changed[model, False] > 3000, changed


@pytest.mark.parametrize("options", [{}, {"shared": False}, {"model": "cbow"}, {"tree": True}])
def test_deterministic_training_is_the_same_for_any_number_of_threads(rng, options):
    ids, offsets, table = text(rng, 5000)
    keep = rng.random(50).astype(np.float32)
    own = dict(options)
    if own.pop("tree", False):
        own["tree"] = huffman_tree(np.bincount(ids))
    else:
        own["table"] = table
    results = []
    for n in (1, 2):
        inputs, outputs = tables(np.random.default_rng(1), 50, 10, "float32", 49 if "tree" in own else 50)
        with fs.threads(n):
            numbers = word2vec_train(
                ids, offsets, inputs, outputs, keep=keep, key=3, deterministic=True, compute_loss=True, **own
            )  # fmt: skip
        results.append((inputs.tobytes(), outputs.tobytes(), *numbers))
    assert results[0] == results[1]
    assert results[0][2] > 0


def test_threads_without_locks_train_about_the_same(rng):
    ids, offsets, table = text(rng, 60_000, 2000)
    losses = []
    for n in (1, 2):
        inputs, outputs = tables(np.random.default_rng(1), 2000, 10, "float32")
        with fs.threads(n):
            loss, _, products = word2vec_train(ids, offsets, inputs, outputs, table=table, compute_loss=True)
        losses.append(loss / products)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_two_python_threads_at_once(rng):
    ids, offsets, table = text(rng, 20_000)
    wanted = tables(np.random.default_rng(1), 50, 10, "float32")
    found = [tables(np.random.default_rng(1), 50, 10, "float32") for _ in range(2)]
    word2vec_train(ids, offsets, *wanted, table=table, deterministic=True)

    def work(i):
        word2vec_train(ids, offsets, *found[i], table=table, deterministic=True)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for inputs, outputs in found:
        np.testing.assert_array_equal(inputs, wanted[0])
        np.testing.assert_array_equal(outputs, wanted[1])


def test_columns_beyond_the_dimension_stay_zero(rng):
    ids, offsets, table = text(rng)
    inputs, outputs = tables(rng, 50, 5, "float32")
    word2vec_train(ids, offsets, inputs, outputs, table=table)
    assert inputs.shape == (50, 16)
    assert not inputs[:, 5:].any()
    assert not outputs[:, 5:].any()


def test_a_rate_of_zero_changes_nothing(rng):
    ids, offsets, table = text(rng)
    inputs, outputs = tables(rng, 50, 5, "float32")
    before = inputs.copy(), outputs.copy()
    loss, _, products = word2vec_train(ids, offsets, inputs, outputs, table=table, learning_rate=0.0, compute_loss=True)
    assert loss > 0
    assert products > 0
    np.testing.assert_array_equal(inputs, before[0])
    np.testing.assert_array_equal(outputs, before[1])


def test_the_rate_falls_over_the_part(rng):
    # Two halves by hand are the whole.
    ids, offsets, table = text(rng)
    one, two = (tables(np.random.default_rng(1), 50, 5, "float64") for _ in range(2))
    with fs.threads(1):
        word2vec_train(ids, offsets, *one, table=table, learning_rate=(0.1, 0.0))
        word2vec_train(ids, offsets, *two, table=table, learning_rate=(0.1, 0.05), end=1500)
        word2vec_train(ids, offsets, *two, table=table, learning_rate=(0.05, 0.0), begin=1500)
    np.testing.assert_allclose(one[0], two[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(one[1], two[1], rtol=0, atol=1e-12)


def test_large_scores_stay_finite(rng):
    ids, offsets, table = text(rng)
    inputs, outputs = tables(rng, 50, 5, "float32")
    inputs[:, :5] *= 1e4
    loss, _, _ = word2vec_train(ids, offsets, inputs, outputs, table=table, learning_rate=1e-6, compute_loss=True)
    assert np.isfinite(loss)
    assert np.isfinite(inputs).all()
    assert np.isfinite(outputs).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=60))
def test_huffman_trees_are_optimal_and_free_of_prefixes(counts):
    roots, nodes, codes = huffman_tree(counts)
    heap = list(counts)
    heapq.heapify(heap)
    least = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        least += merged
        heapq.heappush(heap, merged)
    lengths = np.diff(roots)
    assert int((lengths * np.array(counts)).sum()) == least
    # Kraft's sum of a whole tree is 1, and each step leads from a node to one below it.
    assert float((0.5**lengths).sum()) == 1.0
    paths = {tuple(codes[a:b]) for a, b in zip(roots[:-1], roots[1:])}
    assert len(paths) == len(counts)
    assert nodes.min() == 0
    assert nodes.max() == len(counts) - 2
    assert (nodes[roots[:-1]] == len(counts) - 2).all()


class TestRefused:
    @pytest.fixture
    def call(self, rng):
        ids, offsets, table = text(rng)
        inputs, outputs = tables(rng, 50, 10, "float32")

        def function(**changes):
            given = {"ids": ids, "offsets": offsets, "inputs": inputs, "outputs": outputs, "table": table, **changes}
            return word2vec_train(**given)

        assert function()[1] > 0
        return function

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"ids": np.full(3000, 50)}, ValueRangeError, "ids holds 50, expected 0 to 49"),
            ({"ids": np.full(3000, -1)}, ValueRangeError, "ids holds -1"),
            ({"offsets": np.array([0, 4])}, ValueRangeError, "offsets runs from 0 to 4"),
            ({"inputs": np.zeros((50, 10), np.float32)}, ShapeError, "multiple of 16"),
            ({"inputs": np.zeros((50, 16), np.float16)}, DTypeError, "float16"),
            ({"inputs": np.zeros((50, 16))}, ShapeError, "the same dtype"),
            ({"inputs": [[0.0] * 16] * 50}, DTypeError, "in place"),
            ({"inputs": np.zeros((100, 16), np.float32)[::2]}, ShapeError, "C-contiguous"),
            ({"outputs": np.zeros((49, 16), np.float32)}, ShapeError, "outputs has 49 rows, expected 50"),
            ({"model": "glove"}, ValueRangeError, "glove"),
            ({"table": None}, ValueRangeError, "either table or tree"),
            ({"tree": huffman_tree(np.arange(50))}, ValueRangeError, "not both"),
            ({"table": unigram_table([1] * 9)}, ShapeError, "thresholds"),
            ({"table": unigram_table([1] + [0] * 49)}, ValueRangeError, "only one word"),
            ({"negative": 0}, ValueRangeError, "negative is 0"),
            ({"window": 0}, ValueRangeError, "window is 0"),
            ({"window": 2.5}, DTypeError, "window"),
            ({"keep": np.full(50, np.nan)}, ValueRangeError, "keep runs from nan"),
            ({"keep": np.full(50, 1.5)}, ValueRangeError, "1.5"),
            ({"keep": np.ones(3)}, ShapeError, "keep has 3"),
            ({"frozen": np.ones(3, bool)}, ShapeError, "frozen has 3"),
            ({"learning_rate": float("nan")}, ValueRangeError, "learning_rate is nan"),
            ({"learning_rate": -0.1}, ValueRangeError, "learning_rate is -0.1"),
            ({"begin": 10, "end": 5}, ValueRangeError, "begin is 10"),
            ({"end": 3001}, ValueRangeError, "end is 3001"),
            ({"key": -1}, ValueRangeError, "key is -1"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_bad_input(self, call, changes, error, message):
        with pytest.raises(error, match=message):
            call(**changes)

    def test_a_read_only_table(self, call):
        fixed = np.zeros((50, 16), np.float32)
        fixed.flags.writeable = False
        with pytest.raises(ShapeError, match="writeable"):
            call(inputs=fixed)

    def test_one_word(self):
        with pytest.raises(ValueRangeError, match="at least 2"):
            word2vec_train(
                np.zeros(5, np.int32), np.array([0, 5]), vector_rows(1, 4), vector_rows(1, 4), table=unigram_table([5])
            )  # fmt: skip

    @pytest.mark.parametrize("counts", [[-1, 2], [0.5, 1.0], [[1, 2]]])
    def test_trees_of_what_are_no_counts(self, counts):
        with pytest.raises((ValueRangeError, DTypeError, ShapeError), match="counts"):
            huffman_tree(np.array(counts))
