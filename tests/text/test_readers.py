from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.errors import TextError
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
    from pathlib import Path

    if not Path("/dev/null").exists():
        pytest.skip("this system has no /dev/null")
    data, _ = readers.map_bytes("/dev/null")
    assert data.shape == (0,)
