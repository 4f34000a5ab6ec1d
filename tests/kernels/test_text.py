"""Tokenising bytes: beside the table's cases, arbitrary text, any number of chunks and threads, and bad input."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastseq as fs
from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.kernels.cpu import text as bodies
from fastseq.kernels.reference import text as oracle
from fastseq.kernels.text import renumber, tokenize

SPACES = "".join(chr(c) for c in range(0x110000) if chr(c).isspace())
# Words of all lengths around 8 bytes and its multiples, every white space and line break, and any character at all.
TEXTS = st.lists(
    st.one_of(
        st.text(alphabet="ab", max_size=20),
        st.text(alphabet=SPACES, min_size=1, max_size=3),
        st.sampled_from(["\n", "\r", "\r\n", "\0", "\ufeff", "the", "of", "吾輩は猫である"]),
        st.text(max_size=5),
    ),
    max_size=60,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
BROKEN = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b"\xe3\x80\x80", b"\xe3\x80", b"\xc2\x85", b"\xf0\x9f", b" ", b"\n"]),
    ),
    max_size=40,
).map(b"".join)


def equal(got, want):
    assert len(got) == len(want)
    for one, other in zip(got, want):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@given(data=st.one_of(TEXTS, BROKEN), unit=st.sampled_from(["word", "char"]), marks=st.booleans())
def test_any_bytes_in_any_number_of_chunks_equal_the_oracle(data, unit, marks):
    want = oracle.tokenize(data, unit, marks)
    for n_chunks in (1, 2, 3, 7):
        equal(tokenize(data, unit=unit, mark_lines=marks, n_chunks=n_chunks), want)
    with fs.threads(1):
        equal(tokenize(data, unit=unit, mark_lines=marks, n_chunks=3), want)


@given(TEXTS)
def test_words_and_counts_are_those_of_str_split_and_counter(data):
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    data = text.encode("utf-8")
    if data.startswith(b"\xef\xbb\xbf"):
        return  # a second mark is passed over as the first of these bytes
    ids, offsets, starts, lengths, counts = tokenize(data)
    types = [data[a : a + n].decode() for a, n in zip(starts, lengths)]
    lines = [line.split() for line in io.StringIO(text, newline=None)]
    assert [[types[i] for i in ids[a:b]] for a, b in zip(offsets[:-1], offsets[1:])] == [x for x in lines if x]
    counter = Counter(text.split())
    assert dict(zip(types, counts.tolist())) == counter
    assert types == list(counter)  # both in order of first appearance


@given(TEXTS)
def test_characters_are_those_of_python(data):
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    if text.startswith("\ufeff"):
        return
    data = text.encode("utf-8")
    ids, _, starts, lengths, _ = tokenize(data, unit="char", n_chunks=4)
    types = [data[a : a + n].decode() for a, n in zip(starts, lengths)]
    assert "".join(types[i] for i in ids) == text.replace("\n", "").replace("\r", "")


@pytest.mark.parametrize("space", SPACES)
def test_every_white_space_cuts(space):
    data = f"a{space}bcdefghijkl{space}{space}a".encode()
    ids, offsets, _, lengths, _ = tokenize(data)
    assert ids.tolist() == [0, 1, 0]
    assert lengths.tolist() == [1, 11]
    assert offsets.tolist() == ([0, 1, 2, 3] if space in "\n\r" else [0, 3])


def test_no_cut_stands_inside_a_line_break():
    data = b"\r\n" * 50 + b"a\r\n" * 50
    want = oracle.tokenize(data, mark_lines=True)
    for n_chunks in range(1, len(data), 7):
        equal(tokenize(data, mark_lines=True, n_chunks=n_chunks), want)
        equal(tokenize(data, unit="char", mark_lines=True, n_chunks=n_chunks), want)


def test_words_with_the_same_hash_stay_apart(rng):
    # A hash that says nothing: every long word collides with all others. The last two differ in length alone.
    words = ["".join(rng.choice(list("ab"), 17)) for _ in range(200)] * 3 + ["b" * 17, "b" * 18]
    data = " ".join(words).encode()
    block = len(words)
    starts = np.arange(block) * 18
    pool = np.array(
        [[int.from_bytes(w[k : k + 8].encode(), "little") for k in (0, 8, len(w) - 8)] for w in words], np.uint64
    )
    same = np.full(block, 7, np.uint64)
    table = np.zeros((2048, 2), np.uint64)
    kinds = [np.zeros(block, np.int64) for _ in range(4)]
    ids = np.empty(block, np.int32)
    sizes = np.zeros(2, np.int64)
    bodies._number(
        table, kinds[0], kinds[1], same.copy(), kinds[2], kinds[3], np.zeros(3 * block, np.uint64), sizes,
        block, starts, np.array([len(w) for w in words]), same, 3 * np.arange(block), pool.reshape(-1),
        np.ones(block, np.int64), ids,
    )  # fmt: skip
    want = oracle.tokenize(data)
    assert sizes[0] == len(set(words))
    np.testing.assert_array_equal(ids, want[0])
    np.testing.assert_array_equal(kinds[2][: sizes[0]], want[4])


def test_many_types_make_the_tables_grow():
    words = [f"word{i}" if i % 3 else f"a-longer-word-{i}" for i in range(5000)] + ["word1", "a-longer-word-3"]
    data = " ".join(words).encode()
    for n_chunks in (1, 5):
        equal(tokenize(data, n_chunks=n_chunks), oracle.tokenize(data))


def test_one_word_longer_than_any_buffer():
    data = b"x" * 100_003 + b" y " + b"x" * 100_003 + b" " + b"x" * 100_002 + b"z"
    ids, _, _, lengths, counts = tokenize(data, n_chunks=3)
    assert ids.tolist() == [0, 1, 0, 2]
    assert lengths.tolist() == [100_003, 1, 100_003]
    assert counts.tolist() == [2, 1, 1]


def test_only_line_breaks():
    ids, offsets, starts, _, _ = tokenize(b"\n" * 1000, n_chunks=3)
    assert ids.shape == starts.shape == (0,)
    assert offsets.tolist() == [0]
    ids, offsets, _, _, _ = tokenize(b"\n" * 1000, mark_lines=True, n_chunks=3)
    assert set(ids.tolist()) == {-1}
    assert offsets.tolist() == list(range(1001))


def test_released_ranges_cover_the_text():
    seen = np.zeros(5000, int)

    def release(begin, end):
        seen[begin:end] += 1

    tokenize(b"abcd " * 1000, n_chunks=4, release=release)
    assert (seen >= 2).all()


def test_bad_arguments_are_refused():
    with pytest.raises(DTypeError, match="expected UTF-8 bytes"):
        tokenize("text")
    with pytest.raises(DTypeError, match="int64"):
        tokenize(np.zeros(3, np.int64))
    with pytest.raises(ShapeError, match="1 axis"):
        tokenize(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueRangeError, match="unit is 'line'"):
        tokenize(b"a", unit="line")
    with pytest.raises(ValueRangeError, match="n_chunks"):
        tokenize(b"a", n_chunks=0)
    with pytest.raises(ValueRangeError, match="ids holds 2"):
        renumber([0, 2], [0, 2], [0, 1])
    frozen = np.zeros(2, np.int32)
    frozen.flags.writeable = False
    with pytest.raises(ValueRangeError, match="read-only"):
        renumber(frozen, [0, 2], [0, 1], overwrite=True)


@given(
    ids=st.lists(st.integers(-1, 4), max_size=50),
    cuts=st.lists(st.integers(0, 50), max_size=8),
    mapping=st.lists(st.integers(-1, 6), min_size=5, max_size=5),
    line=st.integers(-1, 2),
)
def test_renumber_equals_the_oracle_in_small_ranges(ids, cuts, mapping, line):
    offsets = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    arguments = np.array(ids, np.int32), np.array(offsets), np.array(mapping, np.int32)
    want = oracle.renumber(*arguments, line=line)
    before = bodies._RANGE_TOKENS
    try:
        for size in (1, 3, 1000):
            bodies._RANGE_TOKENS = size
            equal(renumber(*arguments, line=line), want)
            equal(renumber(arguments[0].copy(), *arguments[1:], line=line, overwrite=True), want)
    finally:
        bodies._RANGE_TOKENS = before


def test_renumber_in_place_needs_no_second_array():
    ids = np.arange(10, dtype=np.int32)
    kept, _ = renumber(ids, [0, 10], np.arange(10), overwrite=True)
    assert np.shares_memory(kept, ids)
    kept, _ = renumber(ids, [0, 10], np.arange(10))
    assert not np.shares_memory(kept, ids)


@pytest.mark.parametrize("data", [
    b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf",
    b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xc1\xbf", b"\xc2\x80", b"\xf5\x80", b"\xe0\xa0",
])  # fmt: skip
def test_ill_formed_characters_are_cut_where_python_cuts_them(data):
    """The borders of table 3-7: overlong forms, surrogates and what lies beyond U+10FFFF."""
    _, _, starts, lengths, _ = tokenize(data + b"x", unit="char")
    ids = tokenize(data + b"x", unit="char")[0]
    types = [(data + b"x")[a : a + n] for a, n in zip(starts, lengths)]
    assert [types[i].decode("utf-8", "replace") for i in ids] == list((data + b"x").decode("utf-8", "replace"))
