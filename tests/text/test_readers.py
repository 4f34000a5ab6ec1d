from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.errors import DTypeError, TextError
from fastseq.text import readers


@given(
    parts=st.lists(st.sampled_from(["a", "bc", "猫", "\n", "\r", "\r\n", "\x0b", "\u2028", ""]), max_size=60),
    block=st.integers(1, 9),
)
def test_lines_are_those_of_a_text_file(parts, block):
    text = "".join(parts)
    data = np.frombuffer(text.encode(), np.uint8)
    want = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    before = readers._BLOCK
    readers._BLOCK = block
    try:
        assert list(readers.read_lines(data, "strict", "x")) == want
    finally:
        readers._BLOCK = before


def test_bad_bytes_are_found_in_any_block(monkeypatch):
    monkeypatch.setattr(readers, "_BLOCK", 8)
    data = np.frombuffer(b"good line\n" * 5 + b"ba\xffd\n", np.uint8)
    with pytest.raises(TextError, match="byte 0xff at offset 52"):
        list(readers.read_lines(data, "strict", "x"))


def test_mapped_bytes_can_be_read_after_release(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(256)) * 100)
    data, release = readers.map_bytes(path)
    assert not data.flags.writeable
    assert data.tobytes() == path.read_bytes()
    release(5000, 20_000)
    release(0, len(data))
    assert data.tobytes() == path.read_bytes()


def test_an_empty_file(tmp_path):
    (tmp_path / "e").touch()
    data, release = readers.map_bytes(tmp_path / "e")
    assert data.shape == (0,)
    release(0, 0)


def test_a_file_that_cannot_be_mapped():
    if not Path("/dev/null").exists():
        pytest.skip("this system has no /dev/null")
    data, _ = readers.map_bytes("/dev/null")
    assert data.shape == (0,)


def test_release_gives_the_memory_back(tmp_path):
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("what a map holds in memory is read from /proc, which this system lacks")
    path = tmp_path / "large.txt"
    path.write_bytes(b"word " * 400_000)

    def resident():
        part = smaps.read_text().split(str(path))[1]
        return 1024 * int(part.split("Rss:")[1].split()[0])

    data, release = readers.map_bytes(path)
    int(data.sum())
    assert resident() > 1_900_000
    release(0, 1_000_000)
    assert resident() < 1_100_000
    release(1_000_000, len(data))
    assert resident() < 100_000


def test_a_pipe_is_copied(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    for name, content in (("plain", b"a b c\n" * 100_000), ("packed", gzip.compress(b"a b\n" * 1000)), ("none", b"")):
        os.mkfifo(tmp_path / name)
        writer = threading.Thread(target=(tmp_path / name).write_bytes, args=(content,))
        writer.start()
        data, _ = readers.map_bytes(tmp_path / name)
        writer.join()
        assert data.tobytes() == (gzip.decompress(content) if name == "packed" else content)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"a b")
    data, _ = readers.map_bytes("~/a.txt")
    assert data.tobytes() == b"a b"


def test_what_is_no_path():
    for path in (3, None, b"a.txt"):
        with pytest.raises(DTypeError, match="expected the name of a file"):
            readers.map_bytes(path)


@pytest.mark.parametrize(
    ("codec", "hint"),
    [("cp932", "Shift_JIS. convert it first: iconv -f CP932"), ("euc_jp", "EUC-JP. convert it first: iconv -f EUC-JP")],
)
def test_japanese_encodings_are_recognised(codec, hint):
    text = "abc\n吾輩は猫である。名前はまだ無い。\n" + "どこで生れたかとんと見当がつかぬ。\n" * 400
    for sample in (text, text.replace("\n", "")):
        data = np.frombuffer(sample.encode(codec), np.uint8)
        with pytest.raises(TextError, match=hint):
            list(readers.read_lines(data, "strict", "x"))


def test_no_japanese_encoding_is_seen_in_other_bytes():
    for data in (b"caf\xe9 au lait\n", b"\xff\xff", "猫である\n".encode() + b"\xff", b"\x80abc"):
        with pytest.raises(TextError, match=r'encoding_errors="replace" \(--encoding-errors replace\)'):
            list(readers.read_lines(np.frombuffer(data, np.uint8), "strict", "x"))
