"""Rows of frequent words kept apart from each other: where they lie, that all of it is undone, and the same vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq as fs
from fastseq.kernels import huffman_tree, unigram_table
from fastseq.kernels.cpu import word2vec as body
from fastseq.kernels.cpu._scatter import ScatteredRows
from fastseq.kernels.word2vec import prepare_word2vec, vector_rows


def tables(n_words, n_rows, dim=5, dtype="float32"):
    rng = np.random.default_rng(1)
    made = [vector_rows(rows, dim, dtype) for rows in (n_words, n_rows)]
    for table in made:
        table[:, :dim] = 0.4 * rng.standard_normal((len(table), dim))
    return made


def text(rng, n_words, n_tokens=20_000):
    """Return a text whose words are not sorted by how often they come, and their counts."""
    ids = rng.permutation(n_words)[np.minimum(rng.geometric(8 / n_words, n_tokens) - 1, n_words - 1)]
    return ids.astype(np.int32), np.array([0, n_tokens // 3, n_tokens]), np.bincount(ids, minlength=n_words)


@settings(max_examples=40, deadline=None)
@given(n_words=st.integers(1, 400), seed=st.integers(0, 2**32), highest=st.integers(0, 1000))
def test_frequent_rows_are_apart_and_then_in_order_again(n_words, seed, highest):
    rng = np.random.default_rng(seed)
    often, often_out = (rng.integers(0, highest, size, endpoint=True) for size in (n_words, max(n_words - 1, 0)))
    given_tables = tables(n_words, max(n_words - 1, 0), 3)
    wanted = [table.copy() for table in given_tables]
    scattered = ScatteredRows(*given_tables, often, often_out)
    row_of, word_of, node_at = scattered.places
    scattered.restore()
    np.testing.assert_array_equal(given_tables[0], wanted[0], err_msg="it was not spread yet")
    for _ in range(2):
        scattered.spread()
        np.testing.assert_array_equal(given_tables[0][row_of], wanted[0])
        np.testing.assert_array_equal(given_tables[1][node_at], wanted[1])
    assert sorted(row_of) == sorted(node_at.tolist() + [n_words - 1]) == list(range(n_words))
    np.testing.assert_array_equal(word_of[row_of], np.arange(n_words))
    for numbers, places in ((often, row_of), (often_out, node_at)):
        # The most frequent ones, of equal ones the first, at every ninth row.
        order = np.argsort(-numbers, kind="stable")[: len(numbers) // 9]
        np.testing.assert_array_equal(places[order], np.arange(len(order)) * 9)
    for _ in range(2):
        scattered.restore()
        for found, before in zip(given_tables, wanted):
            np.testing.assert_array_equal(found, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("model", "tree", "shared", "frozen"),
    [
        ("skipgram", False, True, False), ("skipgram", False, False, False), ("skipgram", True, True, True),
        ("cbow", False, True, True), ("cbow", False, False, False), ("cbow", True, True, False),
    ],
)  # fmt: skip
def test_training_does_the_same_wherever_rows_are(rng, monkeypatch, model, tree, shared, frozen, dtype):
    # One thread, so that the bits are to be the same; it would leave the rows in order by itself.
    n_words = 300
    ids, offsets, counts = text(rng, n_words)
    options = {"tree": huffman_tree(counts)} if tree else {"table": unigram_table(counts)}
    options |= {"model": model, "shared": shared, "frozen": np.arange(n_words) % 3 == 0 if frozen else None}
    options |= {"keep": rng.random(n_words, np.float32), "compute_loss": True, "key": 3}
    wanted, found = (tables(n_words, n_words - tree, 7, dtype) for _ in range(2))
    with fs.threads(1):
        told = prepare_word2vec(ids, offsets, *wanted, **options).run()
        training = prepare_word2vec(ids, offsets, *found, **options)
        begun = found[0].copy()
        monkeypatch.setattr("fastseq.kernels.cpu.word2vec.get_num_threads", lambda: 2)
        with training.scattered(), training.scattered():
            assert not np.array_equal(found[0], begun)
            monkeypatch.undo()
            assert training.run() == told
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one, other)


def test_those_that_change_most_are_set_apart(rng):
    n_words = 200
    counts = rng.permutation(np.arange(1, n_words + 1)) ** 2
    table = unigram_table(counts)[2]
    none = np.empty(0, np.uint64)
    with fs.threads(2):
        drawn = body.scatter_rows(10_000, table, np.zeros(1, np.int64), *tables(n_words, n_words), False)
        passed = body.scatter_rows(10_000, none, huffman_tree(counts)[0], *tables(n_words, n_words - 1), False)
    often = np.argsort(-counts, kind="stable")
    np.testing.assert_array_equal(drawn.places[0][often[:22]], np.arange(22) * 9)
    assert len(drawn.places[2]) == 0
    # The root of the tree is its last node; the most frequent words have the shortest paths.
    np.testing.assert_array_equal(passed.places[2][-22:][::-1], np.arange(22) * 9)
    lengths = np.diff(huffman_tree(counts)[0])
    assert lengths[passed.places[1][np.arange(22) * 9]].max() <= np.sort(lengths)[22]


def test_rows_are_in_order_after_an_error_and_where_one_thread_trains(rng):
    ids, _, counts = text(rng, 100)
    for n_threads, deterministic, n_tokens, moves in ((2, False, 20_000, True), (1, False, 20_000, False),
                                                      (2, True, 20_000, False), (2, False, 8192, False)):  # fmt: skip
        given_tables = tables(100, 100)
        before = given_tables[0].copy()
        training = prepare_word2vec(
            ids[:n_tokens], np.array([0, n_tokens]), *given_tables, table=unigram_table(counts),
            deterministic=deterministic,
        )  # fmt: skip

        def train_and_fail(training=training, table=given_tables[0], before=before, moves=moves):
            with training.scattered():
                assert np.array_equal(table, before) != moves
                raise KeyError

        with fs.threads(n_threads), pytest.raises(KeyError):
            train_and_fail()
        np.testing.assert_array_equal(given_tables[0], before)


def test_a_model_is_in_order_when_others_look_at_it(rng, monkeypatch):
    # So small a rate changes no vector: what a callback sees are those that the training began with.
    ids, offsets, _ = text(rng, 200)
    sentences = [[str(word) for word in ids[a:b]] for a, b in zip(offsets, offsets[1:])]
    begun, spread = [], []
    set_apart = ScatteredRows.spread
    monkeypatch.setattr(ScatteredRows, "spread", lambda rows: spread.append(n_threads) or set_apart(rows))
    for n_threads in (1, 2):
        seen = []
        model = fs.SkipGram(
            dim=8, epochs=2, sample=None, random_state=0, learning_rate=1e-30, min_learning_rate=1e-30
        )  # fmt: skip
        with fs.threads(n_threads):
            model.fit(sentences, callbacks=[lambda model, epoch, logs, seen=seen: seen.append(model.vectors.matrix)])
        begun.append([*seen, model.vectors.matrix])
    assert len(begun[1]) == 3
    # For each epoch, and with two threads only.
    assert spread == [2, 2]
    for one, other in zip(*begun):
        np.testing.assert_array_equal(one, other)
