"""WordVectors: lookup, similarity, neighbours, analogies, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.errors import DTypeError, ShapeError, UnknownWordError, ValueRangeError
from fastseq.text.vocabulary import Vocabulary
from fastseq.vectors import WordVectors


@pytest.fixture
def wv(rng):
    words = ["man", "king", "woman", "queen", "apple", "pear", "zero"]
    royal, female, fruit = np.eye(3) * 2
    base = np.array([1.0, 1.0, 0.0])
    rows = [base, base + royal, base + female, base + royal + female, fruit, fruit * 3 + 0.1 * royal, 0 * base]
    return WordVectors(np.array(rows, np.float32), words)


def test_lookup(wv):
    assert len(wv) == 7
    assert wv.dim == 3
    assert "king" in wv
    assert "nobody" not in wv
    for other in (["king"], None, 3, {}, np.zeros(2)):
        assert other not in wv
    assert list(wv)[:2] == ["man", "king"]
    assert wv.words == wv.vocab.words
    assert wv["king"].tolist() == [3.0, 1.0, 0.0]
    assert wv[["king", "zero"]].shape == (2, 3)
    assert wv[[]].shape == (0, 3)
    assert "7 words, 3 dimensions" in repr(wv)
    assert wv.matrix.dtype == np.float32
    assert WordVectors(np.eye(2), ["a", "b"]).matrix.dtype == np.float64
    assert WordVectors(np.eye(2, dtype=int), Vocabulary(["a", "b"])).matrix.dtype == np.float32


def test_nothing_in_it_can_be_changed(wv):
    for array in (wv.matrix, wv.norms, wv["king"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    rows = np.eye(2)
    own = WordVectors(rows, ["a", "b"])
    rows[0] = 9
    assert own["a"].tolist() == [1.0, 0.0]
    shared = WordVectors(rows, ["a", "b"], copy=False)
    assert np.shares_memory(shared.matrix, rows)
    assert rows.flags.writeable
    with pytest.raises(AttributeError):
        wv.matrix = rows


def test_similarity_is_the_books(wv):
    def cos_similarity(x, y, eps=1e-8):
        return np.dot(x / (np.sqrt(np.sum(x**2)) + eps), y / (np.sqrt(np.sum(y**2)) + eps))

    for a, b in (("king", "queen"), ("king", "apple"), ("king", "king")):
        assert wv.similarity(a, b) == pytest.approx(cos_similarity(wv[a].astype(float), wv[b].astype(float)), abs=1e-12)
    assert wv.similarity("king", "zero") == 0.0
    assert wv.similarity("king", wv["queen"] * 7) == pytest.approx(wv.similarity("king", "queen"))


def test_zero_vectors_are_no_ones_neighbours_and_have_ordinary_answers(wv):
    assert wv.most_similar("zero", n=3) == [("man", 0.0), ("king", 0.0), ("woman", 0.0)]
    assert dict(wv.most_similar("king", n=6))["zero"] == 0.0


def test_most_similar(wv):
    found = wv.most_similar("apple", n=10)
    assert found[0][0] == "pear"
    assert len(found) == 6
    assert "apple" not in dict(found)
    assert all(score == pytest.approx(wv.similarity("apple", word), abs=1e-6) for word, score in found)
    assert wv.most_similar(positive=["king", "woman"], negative=["man"], n=1)[0][0] == "queen"
    assert wv.most_similar("apple", n=0) == []
    assert wv.most_similar("apple") == found[:5]
    assert [word for word, _ in wv.most_similar("king", n=9, restrict_vocab=3)] == ["man", "woman"]
    # A word beyond the restriction can be asked for, it is only no answer.
    assert [word for word, _ in wv.most_similar("pear", n=9, restrict_vocab=2)] == ["king", "man"]
    # A vector is no word, so the word that it came from may be an answer.
    assert wv.most_similar(wv["apple"], n=1)[0][0] == "apple"
    assert wv.most_similar([wv["apple"] * 5], n=1)[0] == pytest.approx(("apple", 1.0), abs=1e-6)
    assert wv.most_similar(negative="apple", n=6)[-1][0] == "pear"


def test_methods_and_analogy(wv):
    for method in ("add", "mul"):
        assert wv.analogy("man", "king", "woman", method=method)[0][0] == "queen"
        assert wv.analogy("man", "king", "woman", n=2, method=method) == wv.most_similar(
            ["king", "woman"], ["man"], 2, method=method
        )
    with pytest.raises(ValueRangeError, match="method"):
        wv.analogy("man", "king", "woman", method="divide")
    with pytest.raises(ValueRangeError, match="no positive"):
        wv.most_similar(negative=["king"], method="mul")


def test_batch_and_vectors_agree_with_one_at_a_time(rng):
    wv = WordVectors(rng.standard_normal((500, 20)).astype(np.float32), [f"w{i}" for i in range(500)])
    asked = list(wv.words[::7])
    for batch, word in zip(wv.most_similar_batch(asked, 4), asked):
        alone = wv.most_similar(word, n=4)
        assert [other for other, _ in batch] == [other for other, _ in alone]
        np.testing.assert_allclose([score for _, score in batch], [score for _, score in alone], atol=1e-6)
    by_vector = wv.nearest(wv[asked] * 3, n=5)
    assert [[word for word, _ in row[1:]] for row in by_vector] == [
        [word for word, _ in row] for row in wv.most_similar_batch(asked, 4)
    ]
    assert [row[0][0] for row in by_vector] == asked
    assert wv.most_similar_batch([], 4) == []
    assert wv.nearest(np.zeros((0, 20))) == []


def test_odd_one_out_and_ranks(wv):
    assert wv.doesnt_match(["king", "queen", "apple", "man"]) == "apple"
    closer = wv.closer_than("man", "woman")
    assert all(wv.similarity("man", word) > wv.similarity("man", "woman") for word in closer)
    assert wv.rank("apple", "pear") == 1
    assert wv.rank("apple", "apple") == 1
    order = [word for word, _ in wv.most_similar("man", n=10)]
    assert [wv.rank("man", word) for word in order[:3]] == [1, 2, 3] or wv.rank("man", order[1]) < 3


def test_get(wv):
    assert wv.get("king").tolist() == [3.0, 1.0, 0.0]
    assert wv.get("nobody") is None
    assert wv.get("nobody", 7) == 7
    with pytest.raises(DTypeError, match="expected text"):
        wv.get(["king"])


def test_subset():
    vocab = Vocabulary(["a", "b", "c", "<unk>"], [9, 5, 3, 1], unk="<unk>")
    wv = WordVectors(np.arange(8).reshape(4, 2), vocab)
    some = wv.subset(["c", "a", "c"])
    assert some.words == ("c", "a")
    assert some.matrix.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert some.vocab.counts.tolist() == [3, 9]
    assert some.vocab.unk is None
    assert wv.subset(wv.words).vocab == vocab
    with pytest.raises(UnknownWordError):
        wv.subset(["nobody"])
    with pytest.raises(ShapeError, match="at least one word"):
        wv.subset([])
    for bad in ("a", None):
        with pytest.raises(DTypeError, match="list of words"):
            wv.subset(bad)


def test_lengths_of_more_rows_than_are_measured_at_once(rng):
    matrix = rng.standard_normal((2 * 8192 + 5, 2)).astype(np.float32)
    words = [f"w{i}" for i in range(len(matrix))]
    wv = WordVectors(matrix, words)
    np.testing.assert_allclose(wv.norms, np.linalg.norm(matrix.astype(np.float64), axis=1), rtol=1e-12)
    matrix[9000, 1] = np.nan
    with pytest.raises(ValueRangeError, match=r"in 1 rows, the first is 9000 \('w9000'\)"):
        WordVectors(matrix, words)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e160, 1e200, 1e307])
def test_vectors_too_large_to_square_can_be_asked_for(wv, size):
    query = np.array([0.0, size, 3 * size])
    plain = np.array([0.0, 1.0, 3.0])
    assert wv.similarity("queen", query) == pytest.approx(wv.similarity("queen", plain), abs=1e-4)
    for (word, score), (other, expected) in zip(wv.nearest(query[None], n=7)[0], wv.nearest(plain[None], n=7)[0]):
        assert word == other
        assert score == pytest.approx(expected, abs=1e-4)
    assert wv.most_similar(query, n=1)[0][0] == wv.most_similar(plain, n=1)[0][0]


@pytest.mark.parametrize("method", ["batch", "mul"])
def test_words_asked_for_are_left_out_when_questions_run_in_parts(rng, monkeypatch, method):
    from fastseq.kernels.cpu import nearest as cpu

    words = [f"w{i}" for i in range(200)]
    wv = WordVectors(rng.standard_normal((200, 6)).astype(np.float32), words)
    questions = [tuple(words[i] for i in row) for row in rng.integers(0, 200, (90, 4))]

    def ask():
        if method == "batch":
            return wv.most_similar_batch(words, 3)
        ids = np.array([[int(word[1:]) for word in question] for question in questions])
        units = wv._units(ids)
        return [wv._pairs(*row) for row in zip(*wv._nearest_mul(units[:, 1:3], units[:, :1], 3, ids[:, :3], 200))]

    whole = ask()
    for entries in (1, 400):
        monkeypatch.setattr(cpu, "_ENTRIES", entries)
        parts = ask()
        asked = [(word,) for word in words] if method == "batch" else [question[:3] for question in questions]
        for row, other, given_words in zip(parts, whole, asked):
            assert not set(given_words) & {word for word, _ in row}
            assert [word for word, _ in row] == [word for word, _ in other]


@given(v=st.integers(1, 30), d=st.integers(1, 5), n=st.integers(0, 40), seed=st.integers(0, 99))
def test_neighbours_equal_plain_numpy(v, d, n, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((v, d))
    wv = WordVectors(matrix, [str(i) for i in range(v)])
    word = int(rng.integers(v))
    units = matrix / (np.linalg.norm(matrix, axis=1, keepdims=True) + 1e-8)
    cosines = units @ units[word]
    found = wv.most_similar(str(word), n=n)
    assert len(found) == min(n, v - 1)
    expected = np.sort(np.delete(cosines, word))[::-1][:n]
    np.testing.assert_allclose([score for _, score in found], expected, atol=1e-7)
    np.testing.assert_allclose([cosines[int(name)] for name, _ in found], expected, atol=1e-7)


def test_unknown_words_say_which_are_like_them(wv):
    for ask in (
        lambda: wv["kingg"],
        lambda: wv.most_similar("kingg"),
        lambda: wv.similarity("king", "kingg"),
        lambda: wv.analogy("man", "kingg", "woman"),
        lambda: wv.most_similar_batch(["king", "kingg"]),
    ):
        with pytest.raises(UnknownWordError, match=r"'kingg'.*'king'"):
            ask()


@pytest.mark.parametrize(
    ("error", "matrix", "words", "message"),
    [
        (ShapeError, np.zeros(3), ["a"], "shape"),
        (ShapeError, np.zeros((2, 3)), ["a"], "2 rows and vocab 1"),
        (ShapeError, np.zeros((0, 3)), [], "at least one word"),
        (ShapeError, np.zeros((1, 0)), ["a"], "at least one"),
        (ShapeError, [[1.0], [1.0, 2.0]], ["a", "b"], "ragged"),
        (DTypeError, np.array([["x"]]), ["a"], "dtype"),
        (DTypeError, np.zeros((1, 1), complex), ["a"], "dtype"),
        (DTypeError, np.zeros((1, 1)), "a", "expected a"),
        (DTypeError, np.zeros((1, 1)), [7], "expected text"),
        (ValueRangeError, np.zeros((2, 1)), ["a", "a"], "'a'"),
        (ValueRangeError, np.array([[1.0], [np.nan]]), ["a", "b"], r"the first is 1 \('b'\)"),
        (ValueRangeError, np.array([[np.inf], [1.0]]), ["a", "b"], r"the first is 0 \('a'\)"),
    ],
)
def test_refuses_to_be_made_of(error, matrix, words, message):
    with pytest.raises(error, match=message):
        WordVectors(matrix, words)


def test_refuses_questions(wv):
    with pytest.raises(ValueRangeError, match="neither positive nor negative"):
        wv.most_similar()
    with pytest.raises(ValueRangeError, match="n is -1"):
        wv.most_similar("king", n=-1)
    with pytest.raises(ValueRangeError, match="restrict_vocab is 0"):
        wv.most_similar("king", restrict_vocab=0)
    with pytest.raises(DTypeError, match="positive is 3"):
        wv.most_similar(3)
    with pytest.raises(ShapeError, match=r"expected \(3,\)"):
        wv.most_similar(np.ones(4))
    with pytest.raises(ShapeError, match=r"expected \(Q, 3\)"):
        wv.nearest(np.ones(3))
    with pytest.raises(ValueRangeError, match="NaN"):
        wv.nearest([[1.0, np.nan, 0.0]])
    with pytest.raises(DTypeError, match="a word is 0"):
        wv[0]
    with pytest.raises(DTypeError, match="list of words"):
        wv.most_similar_batch("king")
    with pytest.raises(DTypeError, match="list of words"):
        wv.doesnt_match("king")
    with pytest.raises(ValueRangeError, match="empty"):
        wv.doesnt_match([])


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`:DeprecationWarning")  # gensim's own use of it
def test_answers_are_gensims(rng):
    keyedvectors = pytest.importorskip("gensim.models.keyedvectors", reason="needs the peers extra")
    from fastseq.kernels.nearest import nearest_mul

    words = [f"w{i}" for i in range(400)]
    matrix = rng.standard_normal((400, 25)).astype(np.float32)
    wv, kv = WordVectors(matrix, words), keyedvectors.KeyedVectors(25)
    kv.add_vectors(words, matrix)
    for positive, negative in ((["w1"], []), (["w1", "w2"], ["w3"]), (["w9"], ["w8", "w7"])):
        ours, theirs = wv.most_similar(positive, negative, 8), kv.most_similar(positive, negative, topn=8)
        assert [word for word, _ in ours] == [word for word, _ in theirs]
        np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], atol=1e-6)
    assert wv.rank("w1", "w2") == kv.rank("w1", "w2")
    assert wv.doesnt_match(words[:9]) == kv.doesnt_match(words[:9])
    units = wv.matrix / wv.norms[:, None].astype(np.float32)
    ids, scores = nearest_mul(units[None, [1, 2]], units[None, [3]], units, 8, exclude=[[1, 2, 3]], epsilon=1e-6)
    theirs = kv.most_similar_cosmul(["w1", "w2"], ["w3"], topn=8)
    assert [words[i] for i in ids[0]] == [word for word, _ in theirs]
    np.testing.assert_allclose(scores[0], [s for _, s in theirs], rtol=1e-5)
