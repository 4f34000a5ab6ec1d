from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastseq as fs
from fastseq.errors import DTypeError, FormatError, ShapeError, TextError, UnknownWordError, ValueRangeError
from fastseq.text import corpus as corpora_of_text

TEXT = "the cat sat on the mat\n\nthe dog sat\n"
WORDS = st.text(alphabet="abAßİΣé猫", min_size=1, max_size=2)


def plain(lines, *, min_count=1, max_vocab=None, lowercase=False, unk=None, eos=None):
    """What a corpus should be, in plain Python: (sentences, [(word, count), ...])."""
    if lowercase:
        lines = [[word.lower() for word in line] for line in lines]
    counter = Counter(word for line in lines for word in line)
    order = list(counter)
    specials = {unk, eos} - {None}
    known = [word for word, count in counter.most_common() if count >= min_count and word not in specials]
    if max_vocab is not None:
        known = known[: max_vocab - len(specials)]
    keep = set(known) | (specials & set(order))
    out = []
    for line in lines:
        new = [word if word in keep else unk for word in line if word in keep or unk is not None]
        if eos is not None:
            new.append(eos)
        if new:
            out.append(new)
    counts = Counter(word for line in out for word in line)
    return out, counts.most_common() + [(word, 0) for word in (unk, eos) if word is not None and word not in counts]


def same(corpus, sentences, counts):
    assert list(corpus) == sentences
    assert list(zip(corpus.vocab.words, corpus.vocab.counts.tolist())) == counts
    assert corpus.ids.dtype == np.int32
    assert corpus.offsets.dtype == np.int64


OPTIONS = st.fixed_dictionaries(
    {
        "min_count": st.integers(1, 3),
        "max_vocab": st.sampled_from([None, 3, 4]),
        "lowercase": st.booleans(),
        "unk": st.sampled_from([None, "a", "<unk>"]),
        "eos": st.sampled_from([None, "b", "<eos>"]),
    }
)


@given(lines=st.lists(st.lists(WORDS, max_size=6), max_size=8), options=OPTIONS)
def test_text_and_sentences_equal_plain_python(lines, options):
    sentences, counts = plain(lines, **options)
    real = [word for word, _ in counts if word not in (options["unk"], options["eos"])]
    words = {word.lower() if options["lowercase"] else word for line in lines for word in line}
    lost = not real and words - {options["unk"], options["eos"]}
    text = "".join(" ".join(line) + "\n" for line in lines)
    for make in (
        lambda: fs.Corpus.from_sentences(iter(lines), **options),
        lambda: fs.Corpus.from_text(text, **options),
        lambda: fs.Corpus.from_text(text, tokenizer=str.split, **options),
    ):
        if lost or not sentences:
            with pytest.raises(TextError):
                make()
        else:
            same(make(), sentences, counts)


def test_the_book(book_text):
    corpus = fs.Corpus.from_text(book_text)
    assert corpus.ids.tolist() == [1, 0, 2, 3, 4, 0, 5, 6]
    assert corpus.vocab.words == ("say", "you", "goodbye", "and", "i", "hello", ".")
    assert corpus.offsets.tolist() == [0, 8]


def test_looking_at_a_corpus():
    corpus = fs.Corpus.from_text(TEXT)
    assert repr(corpus) == "Corpus(9 tokens in 2 sentences, vocabulary of 6 words)"
    assert (corpus.n_tokens, corpus.n_sentences, len(corpus)) == (9, 2, 2)
    assert list(corpus) == [["the", "cat", "sat", "on", "the", "mat"], ["the", "dog", "sat"]]
    assert corpus.sentence(1) == corpus.sentence(-1) == ["the", "dog", "sat"]
    assert corpus.decode() == TEXT.split()
    assert corpus.decode([0, 1]) == ["the", "sat"]
    with pytest.raises(ValueRangeError, match="i is 2, expected -2 to 1"):
        corpus.sentence(2)
    with pytest.raises(ValueError, match="read-only"):
        corpus.ids[0] = 1


def test_eos_ends_every_line_and_nothing_else():
    assert list(fs.Corpus.from_text("a\n\nb", eos="$")) == [["a", "$"], ["$"], ["b", "$"]]
    assert list(fs.Corpus.from_text("a\n\nb\n", eos="$")) == [["a", "$"], ["$"], ["b", "$"]]
    assert list(fs.Corpus.from_text("a\r\nb\rc \x0b d", eos="$")) == [["a", "$"], ["b", "$"], ["c", "d", "$"]]
    assert list(fs.Corpus.from_text("\n\n", eos="$")) == [["$"], ["$"]]
    assert fs.Corpus.from_text("a $ a\nb", eos="$").vocab.counts.tolist() == [3, 2, 1]


def test_words_are_taken_out_before_sentences_are_made():
    corpus = fs.Corpus.from_text("a x a\ny\na a z", min_count=2)
    assert list(corpus) == [["a", "a"], ["a", "a"]]
    corpus = fs.Corpus.from_text("a x a\ny\na a z", min_count=2, unk="?")
    assert list(corpus) == [["a", "?", "a"], ["?"], ["a", "a", "?"]]


def test_special_words_take_their_place_by_count_and_first_appearance():
    # Both occur twice; "?" first, as "x".
    assert fs.Corpus.from_text("x b b y", min_count=2, unk="?").vocab.words == ("?", "b")
    # All occur twice; the first line ends after a and b.
    assert fs.Corpus.from_text("a b\na b", eos="$").vocab.words == ("a", "b", "$")
    # "$" occurs three times, as often as c, and first at the end of a line.
    assert fs.Corpus.from_text("a\nc c c $", eos="$").vocab.words == ("$", "c", "a")


def test_a_given_vocabulary():
    train = fs.Corpus.from_text("a b a\nc", eos="$", unk="?", min_count=1)
    valid = fs.Corpus.from_text("b x\n", vocab=train.vocab, eos="$")
    assert valid.vocab is train.vocab
    assert list(valid) == [["b", "?", "$"]]
    other = fs.Corpus.from_sentences([["b", "x"], ["x"]], vocab=fs.Vocabulary(["a", "b"]))
    assert list(other) == [["b"]]
    with pytest.raises(ValueRangeError, match="eos is '!', which is not in the given vocab"):
        fs.Corpus.from_text("a", vocab=train.vocab, eos="!")
    with pytest.raises(ValueRangeError, match="vocab is given together with"):
        fs.Corpus.from_text("a", vocab=train.vocab, min_count=2)
    with pytest.raises(TextError, match="none is in the given vocab"):
        fs.Corpus.from_text("x y", vocab=fs.Vocabulary(["a"]))
    with pytest.raises(DTypeError, match="expected a Vocabulary"):
        fs.Corpus.from_text("a", vocab=["a"])


def test_nothing_left_is_an_error():
    for text in ("", "\ufeff", " \n\t\u3000\n"):
        with pytest.raises(TextError, match="the text holds no words"):
            fs.Corpus.from_text(text)
    with pytest.raises(TextError, match="holds no words"):
        fs.Corpus.from_text("", eos="$")
    with pytest.raises(TextError, match="3 different words and none is left with min_count=2"):
        fs.Corpus.from_text("a b c", min_count=2)
    for sentences in ([], [[]], [[""]]):
        with pytest.raises(TextError, match="the list of sentences holds no words"):
            fs.Corpus.from_sentences(sentences)


def test_usual_mistakes_with_sentences():
    with pytest.raises(DTypeError, match="sentence 0 is the text 'the cat', expected a list of words"):
        fs.Corpus.from_sentences(["the cat", "sat"])
    with pytest.raises(DTypeError, match="from_text takes a text"):
        fs.Corpus.from_sentences("the cat")
    with pytest.raises(DTypeError, match="a sentence holds 3"):
        fs.Corpus.from_sentences([["a", 3]])
    with pytest.raises(DTypeError, match="unhashable"):
        fs.Corpus.from_sentences([["a", ["b"]]])
    with pytest.raises(DTypeError, match="sentence 1 is None"):
        fs.Corpus.from_sentences([["a"], None])
    with pytest.raises(DTypeError, match="text is bytes"):
        fs.Corpus.from_text(b"a")


def test_options_are_checked():
    for options, message in (
        ({"min_count": 0}, "min_count is 0"),
        ({"max_vocab": 0}, "max_vocab is 0"),
        ({"unk": "$", "eos": "$"}, "two different words"),
        ({"eos": ""}, "eos is empty"),
        ({"encoding_errors": "surrogateescape"}, "encoding_errors is"),
        ({"tokenizer": "words"}, "tokenizer is 'words'"),
    ):
        with pytest.raises(ValueRangeError, match=message):
            fs.Corpus.from_text("a b", **options)
    for options in ({"min_count": 1.5}, {"min_count": True}, {"unk": 3}, {"tokenizer": 3}):
        with pytest.raises(DTypeError):
            fs.Corpus.from_text("a b", **options)


def test_lone_surrogates_follow_the_policy():
    with pytest.raises(TextError, match=r"lone surrogate \(U\+D800\) at character 2"):
        fs.Corpus.from_text("a \ud800b")
    assert list(fs.Corpus.from_text("a \ud800b", encoding_errors="replace")) == [["a", "\ufffdb"]]
    assert list(fs.Corpus.from_text("a \ud800b", encoding_errors="ignore")) == [["a", "b"]]


def test_the_constructor_checks():
    vocab = fs.Vocabulary(["a", "b"])
    corpus = fs.Corpus([0, 1, 1], [0, 2, 3], vocab)
    assert list(corpus) == [["a", "b"], ["b"]]
    assert len(fs.Corpus([], [0], vocab)) == 0
    with pytest.raises(ValueRangeError, match="ids holds 2"):
        fs.Corpus([0, 2], [0, 2], vocab)
    with pytest.raises(ValueRangeError, match="offsets runs from 0 to 1"):
        fs.Corpus([0, 1], [0, 1], vocab)
    with pytest.raises(ShapeError, match="ids has shape"):
        fs.Corpus([[0]], [0, 1], vocab)
    with pytest.raises(DTypeError, match="ids has dtype float64"):
        fs.Corpus([0.5], [0, 1], vocab)
    with pytest.raises(DTypeError, match="expected a Vocabulary"):
        fs.Corpus([0], [0, 1], ["a"])
    ids = np.zeros(2, np.int32)
    fs.Corpus(ids, [0, 2], vocab)
    ids[0] = 1  # the user's own array can still be written


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_and_gzip_and_text_are_the_same(tmp_path):
    data = ("\ufeff" + TEXT * 50).encode()
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "packed").write_bytes(gzip.compress(data))
    want = fs.Corpus.from_text(TEXT * 50, eos="$")
    for name in ("a.txt", "packed"):
        for path in (tmp_path / name, str(tmp_path / name)):
            corpus = fs.Corpus.from_file(path, eos="$")
            np.testing.assert_array_equal(corpus.ids, want.ids)
            np.testing.assert_array_equal(corpus.offsets, want.offsets)
            assert corpus.vocab == want.vocab


def test_truncated_gzip(tmp_path):
    packed = gzip.compress(b"some words " * 1000)
    for name, data in (("short", packed[:-20]), ("damaged", packed[:15] + b"\xff" * 20 + packed[35:])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FormatError, match=f"{name} is a truncated or damaged gzip file"):
            fs.Corpus.from_file(tmp_path / name)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.txt does not exist"):
        fs.Corpus.from_file(tmp_path / "none.txt")
    with pytest.raises(IsADirectoryError, match="is a directory, expected a text file"):
        fs.Corpus.from_file(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(TextError, match=r"empty.txt holds no words"):
        fs.Corpus.from_file(tmp_path / "empty.txt")


@pytest.mark.parametrize("tokenizer", [None, "char", str.split])
def test_invalid_utf8(tmp_path, tokenizer):
    data = "é a\nok ".encode() + b"b\xffc \xe3\x80\n" + b"\xfe\n"
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(TextError, match=r'bad.txt is not UTF-8: byte 0xff at offset 9 .*encoding_errors="replace"'):
        fs.Corpus.from_file(path, tokenizer=tokenizer)
    for errors in ("replace", "ignore"):
        lines = list(io.StringIO(data.decode("utf-8", errors)))
        cut = list if tokenizer == "char" else str.split
        corpus = fs.Corpus.from_file(path, tokenizer=tokenizer, encoding_errors=errors, eos="$")
        assert list(corpus) == [[*cut(line.rstrip("\n")), "$"] for line in lines]


def test_the_offset_of_a_bad_byte_is_that_of_the_first(tmp_path):
    good = b"word another \xe7\x8c\xab\n" * 3000
    path = tmp_path / "bad.txt"
    path.write_bytes(good + b"ab\xe7\x8c cd\n" + good + b"\xff")
    for tokenizer in (None, "char", str.split):
        with pytest.raises(TextError, match=rf"offset {len(good) + 2} "):
            fs.Corpus.from_file(path, tokenizer=tokenizer)


def test_utf16_is_recognised(tmp_path):
    (tmp_path / "wide.txt").write_bytes("hello wörld".encode("utf-16"))
    with pytest.raises(TextError, match="looks like UTF-16"):
        fs.Corpus.from_file(tmp_path / "wide.txt")


def test_one_long_line_and_a_long_word(tmp_path):
    path = tmp_path / "long.txt"
    words = ["a", "bb", "x" * 5000, "猫" * 3000]
    path.write_bytes((" ".join(words * 300)).encode())
    corpus = fs.Corpus.from_file(path)
    assert len(corpus) == 1
    assert corpus.n_tokens == 1200
    assert set(corpus.vocab) == set(words)
    assert corpus.vocab.counts.tolist() == [300] * 4


def test_a_file_of_line_breaks(tmp_path):
    path = tmp_path / "breaks.txt"
    path.write_bytes(b"\n" * 100_000)
    with pytest.raises(TextError, match="holds no words"):
        fs.Corpus.from_file(path)
    corpus = fs.Corpus.from_file(path, eos="<eos>")
    assert (corpus.n_tokens, corpus.n_sentences, corpus.vocab.words) == (100_000, 100_000, ("<eos>",))


def test_save_and_load(tmp_path):
    corpus = fs.Corpus.from_text("a b\nc a", eos="\n", unk="?")
    corpus.save(tmp_path / "c.safetensors")
    for mmap in (True, False):
        again = fs.Corpus.load(tmp_path / "c.safetensors", mmap=mmap)
        np.testing.assert_array_equal(again.ids, corpus.ids)
        np.testing.assert_array_equal(again.offsets, corpus.offsets)
        assert again.vocab == corpus.vocab
        assert list(again) == list(corpus)
        assert not again.ids.flags.writeable


def test_damaged_files_are_refused(tmp_path):
    from fastseq.io import save_arrays

    path = tmp_path / "c.safetensors"
    fs.Corpus.from_text("a b").save(path)
    arrays, config = fs.Vocabulary(["a"]).to_arrays()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FormatError):
        fs.Corpus.load(path)
    save_arrays(path, arrays, "corpus", config)
    with pytest.raises(FormatError, match="lacks the array 'ids'"):
        fs.Corpus.load(path)
    save_arrays(path, {"ids": np.array([5]), "offsets": np.array([0, 1]), **arrays}, "corpus", config)
    with pytest.raises(FormatError, match="do not make a corpus: ids holds 5"):
        fs.Corpus.load(path)
    save_arrays(path, arrays, "vectors", config)
    with pytest.raises(FormatError, match="expected 'corpus'"):
        fs.Corpus.load(path)


def test_threads_and_size_change_nothing(tmp_path, rng):
    words = np.array([f"w{i}" for i in range(3000)] + [f"a-long-word-{i}" for i in range(1000)])
    text = "\n".join(" ".join(words[rng.zipf(1.3, 20) % 4000]) for _ in range(10_000))
    path = tmp_path / "t.txt"
    path.write_text(text)
    corpora = [fs.Corpus.from_file(path, min_count=3)]
    with fs.threads(1):
        corpora.append(fs.Corpus.from_file(path, min_count=3))
    sentences, counts = plain([line.split() for line in text.split("\n")], min_count=3)
    for corpus in corpora:
        same(corpus, sentences, counts)


def test_unknown_words_are_named(book_text):
    with pytest.raises(UnknownWordError, match="did you mean 'goodbye'"):
        fs.Corpus.from_text(book_text).vocab["goodby"]


def test_counts_of_many_blocks_are_added(monkeypatch):
    monkeypatch.setattr(corpora_of_text, "_COUNT_BLOCK", 4)
    sentences = [["a", "b", "a"], ["c", "a"], ["b", "b", "a", "d"], ["a", "e"]]
    same(fs.Corpus.from_sentences(sentences, eos="$"), *plain(sentences, eos="$"))


def test_ids_move_to_an_array_of_their_size_where_many_were_left_out():
    def held(ids):
        while isinstance(ids.base, np.ndarray):
            ids = ids.base
        return ids.shape[0]

    text = "a a a " + " ".join(f"w{i}" for i in range(97))
    assert held(fs.Corpus.from_text(text, min_count=2).ids) == 3
    assert held(fs.Corpus.from_text("a " * 90 + "b", min_count=2).ids) >= 90


def test_a_corpus_without_sentences_has_none():
    with pytest.raises(ValueRangeError, match="i is 0 but the corpus has no sentences"):
        fs.Corpus([], [0], fs.Vocabulary(["a"])).sentence(0)


def test_it_can_be_copied_between_processes():
    corpus = fs.Corpus.from_text("a b\nc a")
    again = pickle.loads(pickle.dumps(corpus))  # noqa: S301 - our own bytes
    assert list(again) == list(corpus)
    assert not again.ids.flags.writeable
    assert not again.offsets.flags.writeable
    assert again.vocab == corpus.vocab


@pytest.mark.parametrize("growth", [b"more", b""])
def test_a_file_that_changes_while_it_is_read(tmp_path, growth):
    path = tmp_path / "t.txt"
    path.write_bytes(b"a b\nc d\n")

    def cut(line):
        if growth:
            with open(path, "ab") as file:
                file.write(growth)
        else:
            os.truncate(path, 4)
        return line.split()

    with pytest.raises(TextError, match=r"t.txt changed while it was read: it had 8 bytes and has \d+ now"):
        fs.Corpus.from_file(path, tokenizer=cut)


def test_a_vocabulary_without_room_is_refused_before_reading(tmp_path):
    with pytest.raises(ValueRangeError, match="max_vocab is 1, expected 2"):
        fs.Corpus.from_file(tmp_path / "none.txt", max_vocab=1, unk="?", eos="$")


# --- real corpora ----------------------------------------------------------------------------------------------------


@pytest.mark.corpora
def test_penn_treebank(corpora):
    train = fs.Corpus.from_file(corpora / "ptb" / "ptb.train.txt", eos="<eos>")
    assert (train.n_tokens, len(train.vocab), len(train)) == (929_589, 10_000, 42_068)
    assert train.vocab.counts.sum() == 929_589
    assert train.vocab.words[:3] == ("the", "<unk>", "<eos>")
    valid = fs.Corpus.from_file(corpora / "ptb" / "ptb.valid.txt", eos="<eos>", vocab=train.vocab)
    assert valid.n_tokens == 73_760
    with_unk = fs.Corpus.from_file(corpora / "ptb" / "ptb.train.txt", eos="<eos>", unk="<unk>")
    np.testing.assert_array_equal(with_unk.ids, train.ids)


@pytest.mark.corpora
def test_tiny_shakespeare_by_characters(corpora):
    path = corpora / "shakespeare" / "tinyshakespeare.txt"
    corpus = fs.Corpus.from_file(path, tokenizer="char", eos="\n")
    assert (corpus.n_tokens, len(corpus.vocab)) == (1_115_394, 65)
    assert "".join(corpus.decode()) == path.read_text(encoding="utf-8")


@pytest.mark.corpora
def test_japanese_by_characters(corpora):
    path = corpora / "aozora" / "000081_miyazawa.txt"
    corpus = fs.Corpus.from_file(path, tokenizer="char", eos="\n")
    text = path.read_text(encoding="utf-8")
    assert "".join(corpus.decode()).rstrip("\n") == text.rstrip("\n")


@pytest.mark.corpora
def test_wikipedia(corpora):
    corpus = fs.Corpus.from_file(corpora / "wiki" / "enwiki100m.txt", min_count=5)
    assert (corpus.n_tokens, len(corpus.vocab), len(corpus)) == (16_696_385, 67_903, 1)
    assert corpus.vocab.counts.sum() == 16_696_385
    assert int(corpus.vocab.counts.min()) == 5


@pytest.mark.corpora
def test_peak_memory(corpora):
    """In a process of its own, Python, Numba and compiling included: below four times the file."""
    # Not getrusage: its peak counts that of the process which started this one.
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is read from /proc, which this system lacks")
    path = corpora / "wiki" / "enwiki100m.txt"
    code = (
        "import fastseq as fs\n"
        f"fs.Corpus.from_file({str(path)!r}, min_count=5)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1024 * int(done.stdout) < 4 * path.stat().st_size


@pytest.mark.peer
@pytest.mark.corpora
def test_gensim_finds_the_same_words(corpora):
    word2vec = pytest.importorskip("gensim.models.word2vec")
    path = corpora / "wiki" / "enwiki100m.txt"
    corpus = fs.Corpus.from_file(path, min_count=5)
    model = word2vec.Word2Vec(min_count=5)
    model.build_vocab(corpus_file=str(path))
    counts = {word: model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key}
    assert counts == dict(zip(corpus.vocab.words, corpus.vocab.counts.tolist()))
