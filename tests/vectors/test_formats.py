"""Files: round trips, gensim's files both ways, damaged files, failed writes."""

from __future__ import annotations

import logging
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastseq.vectors.formats as formats
from fastseq.errors import DTypeError, FormatError, ValueRangeError
from fastseq.text.vocabulary import Vocabulary
from fastseq.vectors import WordVectors

SUFFIXES = ("safetensors", "npz", "txt", "vec", "bin")
WORDS = ["the", "naïve", "日本語", "a\u00a0b", "全\u3000角", "🙂", "x%sy", "1", "<unk>", "e\u0301"]


@pytest.fixture
def wv(rng):
    matrix = (rng.standard_normal((len(WORDS), 7)) * 10.0 ** rng.integers(-6, 6, (len(WORDS), 7))).astype(np.float32)
    matrix[3] = 0
    return WordVectors(matrix, Vocabulary(WORDS, range(100, 90, -1), unk="<unk>"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_keeps_every_bit(wv, tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    wv.save(path)
    back = WordVectors.load(str(path))
    assert list(back.words) == WORDS
    assert back.matrix.dtype == np.float32
    np.testing.assert_array_equal(back.matrix, wv.matrix)
    if suffix in ("safetensors", "npz"):
        assert back.vocab == wv.vocab
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@given(
    words=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), min_size=1, max_size=8, unique=True),
    dim=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_any_words_round_trip_or_are_refused(tmp_path_factory, words, dim, seed):
    folder = tmp_path_factory.mktemp("words")
    wv = WordVectors(np.random.default_rng(seed).standard_normal((len(words), dim)).astype(np.float32), words)
    for suffix in SUFFIXES:
        path = folder / f"v.{suffix}"
        try:
            wv.save(path)
        except FormatError:
            assert suffix in ("txt", "vec", "bin")
            assert any(set(word) & set(" \t\n\r\v\f") for word in words)
            continue
        back = WordVectors.load(path)
        assert list(back.words) == words
        np.testing.assert_array_equal(back.matrix, wv.matrix)


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "txt"])
def test_float16_is_stored_and_loads_as_float32(rng, tmp_path, suffix):
    wv = WordVectors(rng.standard_normal((300, 64)).astype(np.float32), [f"w{i}" for i in range(300)])
    full, half = tmp_path / f"full.{suffix}", tmp_path / f"half.{suffix}"
    wv.save(full)
    wv.save(half, dtype="float16")
    back = WordVectors.load(half)
    assert back.matrix.dtype == np.float32
    np.testing.assert_array_equal(back.matrix.astype(np.float16), wv.matrix.astype(np.float16))
    assert half.stat().st_size < 0.8 * full.stat().st_size


def test_float64_stays_where_the_format_can_hold_it(rng, tmp_path):
    wv = WordVectors(rng.standard_normal((3, 2)), ["a", "b", "c"])
    for suffix in ("safetensors", "npz"):
        wv.save(tmp_path / f"v.{suffix}")
        np.testing.assert_array_equal(WordVectors.load(tmp_path / f"v.{suffix}").matrix, wv.matrix)
    for suffix in ("vec", "bin"):
        wv.save(tmp_path / f"v.{suffix}")
        np.testing.assert_array_equal(WordVectors.load(tmp_path / f"v.{suffix}").matrix, wv.matrix.astype(np.float32))


def test_mapping(wv, tmp_path):
    path = tmp_path / "v.safetensors"
    wv.save(path)
    mapped = WordVectors.load(path, mmap=True)
    base = mapped.matrix
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    np.testing.assert_array_equal(mapped.matrix, wv.matrix)
    assert mapped.most_similar("the") == wv.most_similar("the")
    wv.save(tmp_path / "v.npz")
    with pytest.raises(ValueRangeError, match="mmap works for"):
        WordVectors.load(tmp_path / "v.npz", mmap=True)


def test_texts_of_others(tmp_path):
    path = tmp_path / "v.txt"
    for text in (
        b"a 1 2\nb 3 -4e-1\n",  # GloVe: no header
        b"a 1 2\nb 3 -4e-1",  # GloVe, no newline at the end
        b"2 2 \r\na 1 2 \r\nb 3 -4e-1 \r\n\r\n\n",  # word2vec.c's trailing spaces, Windows, empty lines at the end
        b"\xef\xbb\xbf2 2\na\t1\t2\nb  3  -.4\n",
    ):
        path.write_bytes(text)
        wv = WordVectors.load(path)
        assert list(wv.words) == ["a", "b"]
        np.testing.assert_array_equal(wv.matrix, np.array([[1, 2], [3, -0.4]], np.float32))


def test_more_lines_than_a_block(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(formats, "_ROWS", 4)
    wv = WordVectors(rng.standard_normal((23, 3)).astype(np.float32), [f"w{i}" for i in range(23)])
    for suffix in ("vec", "bin"):
        wv.save(tmp_path / f"v.{suffix}")
        np.testing.assert_array_equal(WordVectors.load(tmp_path / f"v.{suffix}").matrix, wv.matrix)
    lines = (tmp_path / "v.vec").read_text().splitlines()
    (tmp_path / "glove.txt").write_text("\n".join(lines[1:]))
    np.testing.assert_array_equal(WordVectors.load(tmp_path / "glove.txt").matrix, wv.matrix)
    for bad, line in ((9, "w7 1 2 x"), (20, "w18 1 2")):
        (tmp_path / "bad.vec").write_text("\n".join([*lines[: bad - 1], line, *lines[bad:]]))
        with pytest.raises(FormatError, match=rf"bad\.vec, line {bad}:"):
            WordVectors.load(tmp_path / "bad.vec")
    (tmp_path / "gap.vec").write_text("\n".join([*lines[:5], *[""] * 9, *lines[5:]]))
    with pytest.raises(FormatError, match=r"gap\.vec, line 6: the line is empty"):
        WordVectors.load(tmp_path / "gap.vec")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\n", "line 1"),
        (b"word\n", "line 1"),
        (b"0 2\n", "line 1: the header tells 0 words"),
        (b"2 0\na\nb\n", "line 1: the header tells 2 words of 0"),
        (b"9000000000 300\na 1 2\n", "line 1: .* it is truncated or the header is wrong"),
        (b"3 2\na 1 22222\nb 3 44444\n", "ends after 2 words .line 3., the header tells 3"),
        (b"1 2\na 1 2\nb 3 4\n", "line 3: more lines than the 1 words"),
        (b"2 3\na 1 2 3\nb 3 4\n", "line 3: a word and 2 numbers, expected a word and 3"),
        (b"2 2\na 1 2 5\nb 3 4\n", "line 2: a word and 3 numbers"),
        (b"2 2\na 1 2\nb c 3 4\n", "line 3: a word and 3 numbers"),
        (b"a 1 2\nb 1\nc 1 2 3\n", "line 2: a word and 1 numbers"),
        (b"2 2\na 1 2\nb 3 4x\n", "line 3: '4x' is not a number"),
        (b"2 2\na 1_0 2\nb 3 4\n", "line 2: '1_0' is not a number"),
        (b"2 2\na 1 nan\nb 3 4\n", "line 2: the vector holds NaN"),
        (b"2 2\na 1 2\nb 1e39 4\n", "line 3: the vector holds NaN, infinity or a number beyond"),
        (b"2 2\na 1 2\na 3 4\n", r"line 3: the word 'a' is there already \(.*line 2\)"),
        (b"a 1 2\na 3 4\n", r"line 2: the word 'a' is there already"),
        (b"2 2\n\xff 1 2\nb 3 4\n", "line 2: .* not UTF-8"),
        (b"2 2\na 1 2\n\nb 3 4\n", "line 3: the line is empty"),
        (b"2 2\na 1 2\nb 3 -4", "line 3: the last line has no line break; the file is truncated"),
    ],
)
def test_bad_text(tmp_path, text, message):
    path = tmp_path / "bad.vec"
    path.write_bytes(text)
    with pytest.raises(FormatError, match=rf"bad\.vec.*{message}"):
        WordVectors.load(path)


def entry(word, *numbers, end=b"\n"):
    return word + b" " + np.array(numbers, "<f4").tobytes() + end


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"a 1 2\n", "no word2vec header"),
        ((793712314).to_bytes(4, "little") + bytes(200), "is a model of fastText"),
        (b"\x80\x04\x95pickle" * 20, "no word2vec header"),
        (b"5 300\n" + entry(b"a", 1, 2), "line 1: .* truncated"),
        (b"2 2\n" + entry(b"a", 1, 2) + entry(b"bbbb", 3, 4)[:-3], "word 1 of 2: the file ends inside"),
        (b"2 2\n" + entry(b"a", 1, 2) + entry(b"b", 3, 4) + entry(b"c", 5, 6), "follow the 2 words"),
        (b"2 2\n" + entry(b"a", 1, 2) + entry(b"a", 3, 4), r"word 1: the word 'a' is there already"),
        (b"2 2\n" + entry(b"a", 1, 2) + entry(b"\xff", 3, 4), "word 1 of 2: .* not UTF-8"),
        (b"2 2\n" + entry(b"a", 1, np.inf) + entry(b"b", 3, 4), r"word 0 \('a'\): the vector holds NaN"),
        (b"2 2\n" + entry(b"", 1, 2) + entry(b"bbb", 3, 4), "word 0 of 2: the word is empty"),
    ],
)
def test_bad_binary(tmp_path, data, message):
    path = tmp_path / "bad.bin"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=rf"bad\.bin.*{message}"):
        WordVectors.load(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.97])
def test_truncated_anywhere(rng, tmp_path, suffix, share):
    wv = WordVectors(rng.standard_normal((40, 8)).astype(np.float32), [f"w{i}" for i in range(40)])
    path = tmp_path / f"v.{suffix}"
    wv.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(FormatError, match=path.name):
        WordVectors.load(path)


def test_arrays_that_do_not_fit(wv, tmp_path):
    path = tmp_path / "v.npz"
    wv.save(path)
    good = dict(np.load(path))
    fall = good["word_offsets"].copy()
    fall[2] = fall[1] - 1  # both ends are right
    for change, message in (
        ({"matrix": good["matrix"][:-1]}, "9 vectors and 10 words"),
        ({"matrix": good["matrix"][0]}, "expected real numbers of shape"),
        ({"matrix": good["matrix"].astype(complex)}, "expected real numbers of shape"),
        ({"matrix": good["matrix"] * np.float32(np.nan)}, r"row 0 \('the'\)"),
        ({"word_offsets": good["word_offsets"][::-1].copy()}, "do not fit"),
        ({"word_offsets": fall}, "do not fit"),
        ({"word_offsets": fall.astype(np.uint64)}, "do not fit"),
        ({"counts": -good["counts"]}, "counts holds a negative number"),
        ({"counts": good["counts"].astype(np.uint64) + np.uint64(2**63)}, "beyond int64"),
        ({"matrix": good["matrix"][:, :0]}, r"shape \(10, 0\), expected at least one"),
        (
            {
                "matrix": good["matrix"][:0],
                "words": good["words"][:0],
                "word_offsets": [0],
                "counts": good["counts"][:0],
            },
            "least one word",
        ),
        ({"matrix": np.full((10, 2), 1e200)}, "cannot be used: .*too large to square"),
        ({"format_version": np.float64("nan")}, "format_version is float64"),
        ({"format_version": "1"}, "format_version is <U1"),
        ({"words": np.full_like(good["words"], 255)}, "not UTF-8"),
        ({"words": np.full_like(good["words"], 97), "word_offsets": [*range(10), good["words"].size]}, "there already"),
        ({"counts": good["counts"][:3]}, "counts is int64"),
        ({"unk": np.frombuffer(b"nobody", np.uint8)}, "'nobody' is not among"),
        ({"format_version": np.int64(99)}, "newer format version"),
    ):
        np.savez(path, **{**good, **change})
        with pytest.raises(FormatError, match=rf"v\.npz.*({message})"):
            WordVectors.load(path)
    del good["words"]
    np.savez(path, **good)
    with pytest.raises(FormatError, match="lacks words"):
        WordVectors.load(path)


def npy(shape, data=b"", descr="'<f4'"):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy("(1000000000000, 300)"), "its header tells float32"),
        (npy("(100000000000000000000,)"), "its header tells"),
        (npy("(-1, 300)", bytes(64)), "holds float32"),
        (npy("(2,)", bytes(4)), "has 132 bytes"),
        (npy("(2,)", bytes(12)), "has 140 bytes"),
        (npy("(1,)", b"cos.", "'|O'"), "plain arrays"),
        (npy("(1,)", bytes(4), "3"), "damaged"),
        (npy("(1,)", bytes(4), "(" * 3000), "damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(90), "version"),
        (b"nothing", "damaged"),
        (b"", "damaged"),
    ],
)
def test_lying_headers(wv, tmp_path, data, message):
    path = tmp_path / "v.npz"
    wv.save(path)
    good = {name: array for name, array in np.load(path).items() if name != "matrix"}
    np.savez(path, **good)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        np.savez(path, **good)
        with zipfile.ZipFile(path, "a", method) as archive:
            archive.writestr("matrix.npy", data)
        with pytest.raises(FormatError, match=rf"v\.npz.*{message}"):
            WordVectors.load(path)


def test_more_bytes_than_deflate_can_hold(wv, tmp_path):
    path = tmp_path / "v.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("matrix.npy", npy("(3, 3)", bytes(36)))
    size, claim = 164, 128 + 4 * 10**9 // 4
    data = path.read_bytes()
    assert data.count(size.to_bytes(4, "little")) == 2
    lying = npy("(250000000, 1)")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("matrix.npy", lying)
    data = path.read_bytes().replace(len(lying).to_bytes(4, "little"), claim.to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"v\.npz.*tells 1000000128 bytes, more than it can hold"):
        WordVectors.load(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_any_damaged_byte_of_an_npz_is_an_error_of_the_format(rng, tmp_path, compressed):
    path = tmp_path / "v.npz"
    wv = WordVectors(rng.standard_normal((4, 3)).astype(np.float32), ["a", "b", "c", "d"])
    wv.save(path)
    if compressed:
        np.savez_compressed(path, **dict(np.load(path)))
        assert list(WordVectors.load(path).words) == ["a", "b", "c", "d"]
    data = path.read_bytes()
    refused = harmless = 0
    for place in rng.permutation(len(data))[:300].tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :])
        try:
            back = WordVectors.load(path)
        except FormatError as error:
            refused += "v.npz" in str(error)
        else:
            harmless += 1  # dates and such: what was read is whole
            assert back.words == wv.words
            np.testing.assert_array_equal(back.matrix, wv.matrix)
    assert refused > 100
    assert refused + harmless == min(300, len(data))


def test_other_compressions_and_order(wv, tmp_path):
    path = tmp_path / "v.npz"
    wv.save(path)
    good = dict(np.load(path))
    np.savez_compressed(path, **{**good, "matrix": np.asfortranarray(good["matrix"])})
    np.testing.assert_array_equal(WordVectors.load(path).matrix, wv.matrix)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("matrix.npy", npy("(1,)", bytes(4)))
    with pytest.raises(FormatError, match="compressed in a way"):
        WordVectors.load(path)


@pytest.mark.parametrize("suffix", ["vec", "txt"])
def test_cut_inside_the_last_number(rng, tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    WordVectors(rng.standard_normal((5, 3)).astype(np.float32), list("abcde")).save(path)
    data = path.read_bytes()
    for cut in range(1, 8):
        path.write_bytes(data[:-cut])
        with pytest.raises(FormatError, match=rf"v\.{suffix}.*(truncated|is not a number)"):
            WordVectors.load(path)


def test_never_unpickles(tmp_path):
    path = tmp_path / "v.npz"
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(path, matrix=objects, words=np.zeros(1, np.uint8), word_offsets=np.array([0, 1]))
    with pytest.raises(FormatError, match="more than plain arrays"):
        WordVectors.load(path)


def test_other_files(wv, tmp_path):
    for name in ("v", "v.pkl", "v.gz"):
        with pytest.raises(FormatError, match=r"expected one of \.safetensors"):
            wv.save(tmp_path / name)
        with pytest.raises(FormatError, match="suffix"):
            WordVectors.load(tmp_path / name)
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError, match="does not exist"):
            WordVectors.load(tmp_path / f"none.{suffix}")
        (tmp_path / f"folder.{suffix}").mkdir()
        with pytest.raises(IsADirectoryError):
            WordVectors.load(tmp_path / f"folder.{suffix}")
        with pytest.raises(FileNotFoundError, match="folder"):
            wv.save(tmp_path / "nowhere" / f"v.{suffix}")
    (tmp_path / "V.VEC").write_text("a 1 2\n")
    assert WordVectors.load(tmp_path / "V.VEC").dim == 2


def test_targets_are_checked_ahead(tmp_path):
    formats.check_target(tmp_path / "v.vec")
    formats.check_target(tmp_path / "v.npz", "float16")
    for error, path, dtype in (
        (FormatError, tmp_path / "v.doc", None),
        (FileNotFoundError, tmp_path / "no" / "v.vec", None),
        (ValueRangeError, tmp_path / "v.bin", "float16"),
        (DTypeError, tmp_path / "v.vec", "int8"),
    ):
        with pytest.raises(error):
            formats.check_target(path, dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failed_writes_leave_the_old_file(wv, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"v.{suffix}"
    path.write_bytes(b"old")
    refused = [(WordVectors(np.full((1, 1), 1e30), ["a"]), "float16"), (wv, "int32"), (wv, "nonsense")]
    if suffix in ("txt", "vec", "bin"):
        refused += [(WordVectors(np.ones((2, 1)), ["a", word]), None) for word in ("b c", "b\n", "", "\ud800", "\t")]
    if suffix == "bin":
        refused += [(wv, "float64"), (WordVectors(np.full((1, 1), 1e99), ["a"]), None)]
    for vectors, dtype in refused:
        with pytest.raises((FormatError, DTypeError, ValueRangeError)):
            vectors.save(path, dtype)
    assert path.read_bytes() == b"old"

    import fastseq.io

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fastseq.io.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        wv.save(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.peer
@pytest.mark.parametrize("binary", [False, True])
def test_gensim_both_ways(wv, tmp_path, binary):
    keyedvectors = pytest.importorskip("gensim.models.keyedvectors", reason="needs the peers extra")
    logging.getLogger("gensim").setLevel(logging.ERROR)
    suffix = "bin" if binary else "vec"
    ours, theirs = tmp_path / f"ours.{suffix}", tmp_path / f"theirs.{suffix}"
    wv.save(ours)
    kv = keyedvectors.KeyedVectors.load_word2vec_format(str(ours), binary=binary)
    assert kv.index_to_key == WORDS
    np.testing.assert_array_equal(kv.vectors, wv.matrix)
    kv.save_word2vec_format(str(theirs), binary=binary)
    back = WordVectors.load(theirs)
    assert list(back.words) == WORDS
    np.testing.assert_array_equal(back.matrix, wv.matrix)
    if not binary:
        kv.save_word2vec_format(str(theirs), write_header=False)
        np.testing.assert_array_equal(WordVectors.load(theirs).matrix, wv.matrix)
