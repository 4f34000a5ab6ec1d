from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.errors import DTypeError, FastseqError, ShapeError, UnknownWordError, ValueRangeError
from fastseq.text.vocabulary import Vocabulary

WORDS = ["the", "king", "queen", "kings"]


def test_lookup():
    vocab = Vocabulary(WORDS, [9, 5, 5, 1])
    assert [vocab[word] for word in WORDS] == [0, 1, 2, 3]
    assert vocab.words == tuple(WORDS)
    assert list(vocab) == WORDS
    assert len(vocab) == 4
    assert "king" in vocab
    assert "Queen" not in vocab
    assert vocab.get("king") == 1
    assert vocab.get("x") is None
    assert vocab.get("x", -1) == -1
    assert vocab.counts.dtype == np.int64
    assert vocab.counts.tolist() == [9, 5, 5, 1]


def test_counts_cannot_be_written_and_do_not_follow_the_given_array():
    given_counts = np.array([2, 1])
    vocab = Vocabulary(["a", "b"], given_counts)
    given_counts[0] = 7
    assert vocab.counts.tolist() == [2, 1]
    with pytest.raises(ValueError, match="read-only"):
        vocab.counts[0] = 3


def test_an_unknown_word_is_named_with_close_ones():
    vocab = Vocabulary(WORDS)
    with pytest.raises(UnknownWordError, match="'kign' is not in the vocabulary of 4 words; did you mean 'king'"):
        vocab["kign"]
    with pytest.raises(KeyError, match="did you mean 'queen'"):
        vocab["QUEEN"]
    with pytest.raises(KeyError, match="and none is much like it"):
        vocab["zzzzzz"]
    with pytest.raises(DTypeError, match="expected text"):
        vocab[0]


def test_encode_and_decode():
    vocab = Vocabulary(WORDS)
    ids = vocab.encode(["king", "the"])
    assert ids.dtype == np.int32
    assert ids.tolist() == [1, 0]
    assert vocab.decode(ids) == ["king", "the"]
    assert vocab.encode([]).shape == (0,)
    assert vocab.decode([]) == []
    with pytest.raises(UnknownWordError, match="'x' is not"):
        vocab.encode(["king", "x"])
    with pytest.raises(DTypeError, match="split it first"):
        vocab.encode("king")
    with pytest.raises(ValueRangeError, match="ids holds 4"):
        vocab.decode([4])
    with pytest.raises(ValueRangeError, match="ids holds -1"):
        vocab.decode([-1])
    assert Vocabulary(["<unk>", "a"], unk="<unk>").encode(["b", "a", "c"]).tolist() == [0, 1, 0]


def test_bad_words_and_counts_are_refused():
    with pytest.raises(DTypeError, match="expected a list of words"):
        Vocabulary("abc")
    with pytest.raises(DTypeError, match="words holds 3"):
        Vocabulary(["a", 3])
    with pytest.raises(ValueRangeError, match="'a' occurs more than once"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ShapeError, match="one for each word"):
        Vocabulary(["a", "b"], [1])
    with pytest.raises(DTypeError, match="integers"):
        Vocabulary(["a"], [1.5])
    with pytest.raises(ValueRangeError, match="counts holds -1"):
        Vocabulary(["a"], [-1])
    with pytest.raises(ValueRangeError, match="unk is '<unk>'"):
        Vocabulary(["a"], unk="<unk>")
    assert issubclass(ValueRangeError, FastseqError)


def test_equality_and_hash():
    one, same = Vocabulary(["a", "b"], [2, 1]), Vocabulary(["a", "b"], [2, 1])
    assert one == same
    assert hash(one) == hash(same)
    assert one != Vocabulary(["a", "b"], [2, 2])
    assert one != Vocabulary(["b", "a"], [2, 1])
    assert one != Vocabulary(["a", "b"], [2, 1], eos="b")
    assert one != ["a", "b"]


def test_repr():
    assert repr(Vocabulary(["a"])) == "Vocabulary(1 word: 'a')"
    assert repr(Vocabulary(list("abcdef"), eos="b")) == (
        "Vocabulary(6 words: 'a', 'b', 'c', 'd', 'e', ..., eos='b')"
    )


@given(st.lists(st.text(alphabet="abcd", min_size=1, max_size=2), max_size=60), st.integers(1, 4))
def test_from_counts_is_the_order_of_counter(words, min_count):
    counter = Counter(words)
    vocab = Vocabulary.from_counts(counter, min_count=min_count)
    want = [(word, count) for word, count in counter.most_common() if count >= min_count]
    assert list(zip(vocab.words, vocab.counts.tolist())) == want


def test_from_counts_with_special_words():
    counts = {"a": 5, "<unk>": 1, "b": 3, "c": 2, "d": 2}
    vocab = Vocabulary.from_counts(counts, min_count=3, unk="<unk>")
    assert dict(zip(vocab, vocab.counts.tolist())) == {"a": 5, "<unk>": 5, "b": 3}
    assert vocab.words == ("a", "<unk>", "b")
    vocab = Vocabulary.from_counts(counts, max_vocab=3, unk="<unk>", eos="<eos>")
    assert dict(zip(vocab, vocab.counts.tolist())) == {"a": 5, "<unk>": 8, "<eos>": 0}
    assert Vocabulary.from_counts(counts, max_vocab=2).words == ("a", "b")
    with pytest.raises(ValueRangeError, match="max_vocab is 1, expected 2"):
        Vocabulary.from_counts(counts, max_vocab=1, unk="<unk>", eos="<eos>")


def test_arrays_there_and_back():
    vocab = Vocabulary(["a", "\n", "", "猫", "\ud800"], [5, 4, 3, 2, 1], unk="猫", eos="\n")
    arrays, config = vocab.to_arrays()
    assert Vocabulary.from_arrays(arrays, config) == vocab
    assert Vocabulary.from_arrays(*Vocabulary([]).to_arrays()) == Vocabulary([])


def test_it_can_be_copied_between_processes():
    vocab = Vocabulary(WORDS, eos="the")
    again = pickle.loads(pickle.dumps(vocab))  # noqa: S301 - our own bytes
    assert again == vocab
    assert again["queen"] == 2
    with pytest.raises(ValueError, match="read-only"):
        again.counts[0] = 1


@pytest.mark.parametrize("make", [
    lambda: Vocabulary([["a"]]),
    lambda: Vocabulary(None),
    lambda: Vocabulary(["a"], unk=["a"]),
    lambda: Vocabulary(WORDS).get(["a"]),
    lambda: Vocabulary(WORDS).encode([[3]]),
    lambda: Vocabulary(WORDS).encode([3]),
    lambda: Vocabulary(WORDS).encode(3),
    lambda: Vocabulary(WORDS, unk="the").encode([None]),
    lambda: Vocabulary.from_counts(["a"]),
    lambda: Vocabulary.from_counts({"a": True}),
    lambda: Vocabulary.from_counts({"a": 1.0}),
    lambda: Vocabulary.from_counts({3: 1}),
    lambda: Vocabulary.from_counts({"a": 1}, unk=["u"]),
])  # fmt: skip
def test_what_is_no_text_or_no_count_is_an_error_of_the_package(make):
    with pytest.raises(DTypeError, match="expected"):
        make()


def test_from_counts_of_nothing_and_of_too_much():
    vocab = Vocabulary.from_counts({}, unk="u")
    assert (vocab.words, vocab.counts.dtype, vocab.counts.tolist()) == (("u",), np.int64, [0])
    with pytest.raises(ValueRangeError, match="the count of 'a' is -1"):
        Vocabulary.from_counts({"a": -1})
    with pytest.raises(ValueRangeError, match="the count of 'a' is 9223372036854775808"):
        Vocabulary.from_counts({"a": 2**63})


@pytest.mark.parametrize("bounds", [[], [1, 2], [0, 1], [0, 3], [0, 2, 1, 2], [-1, 2]])
def test_places_that_are_not_those_of_words_are_refused(bounds):
    arrays = {"words": np.frombuffer(b"ab", np.uint8), "word_offsets": np.array(bounds, np.int64)}
    arrays["counts"] = np.zeros(max(0, len(bounds) - 1), np.int64)
    with pytest.raises(ValueRangeError, match="word_offsets"):
        Vocabulary.from_arrays(arrays, {})
