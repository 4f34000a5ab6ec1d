"""Text as arrays, the specification: plain Python over strings, one token after the other."""

from __future__ import annotations

import re

import numpy as np

from ..registry import Case

_LINE_BREAK = re.compile(rb"\r\n|\n|\r")


def _words(line):
    """Yield (start, bytes) of the words of a line, cut where ``str.split`` cuts; ill-formed bytes stay as they are."""
    text = line.decode("utf-8", "surrogateescape")
    place = 0
    done = 0
    for word in text.split():
        at = text.index(word, done)
        place += len(text[done:at].encode("utf-8", "surrogateescape"))
        token = word.encode("utf-8", "surrogateescape")
        yield place, token
        place += len(token)
        done = at + len(word)


def _characters(line):
    """Yield (start, bytes) of the characters of a line; of ill-formed bytes as many at once as Python replaces."""
    place = 0
    while place < len(line):
        length = 1
        try:
            length = len(line[place:].decode("utf-8")[0].encode("utf-8"))
        except UnicodeDecodeError as error:
            if error.start > 0:
                length = len(line[place : place + error.start].decode("utf-8")[0].encode("utf-8"))
            else:
                length = error.end
        yield place, line[place : place + length]
        place += length


def tokenize(data, unit="word", mark_lines=False, n_chunks=None, release=None):
    """Return (ids, offsets, starts, lengths, counts) as the contract has them; the last two options change nothing."""
    text = bytes(data)
    begin = 3 if text.startswith(b"\xef\xbb\xbf") else 0
    lines = []
    for found in _LINE_BREAK.finditer(text, begin):
        lines.append((begin, text[begin : found.start()]))
        begin = found.end()
    if begin < len(text):
        lines.append((begin, text[begin:]))
    kinds: dict[bytes, int] = {}
    ids: list[int] = []
    offsets = [0]
    starts: list[int] = []
    counts: list[int] = []
    for line_start, line in lines:
        for place, token in _words(line) if unit == "word" else _characters(line):
            if token not in kinds:
                kinds[token] = len(kinds)
                starts.append(line_start + place)
                counts.append(0)
            ids.append(kinds[token])
            counts[kinds[token]] += 1
        if mark_lines:
            ids.append(-1)
        if len(ids) > offsets[-1]:
            offsets.append(len(ids))
    return (
        np.array(ids, np.int32),
        np.array(offsets, np.int64),
        np.array(starts, np.int64),
        np.array([len(token) for token in kinds], np.int64),
        np.array(counts, np.int64),
    )


def tokenize_cases():
    """Yield cases: nothing, one byte, every white space, line breaks, ill-formed bytes, long words, chunks."""
    spaces = "".join(chr(c) for c in range(0x110000) if chr(c).isspace())
    texts = {
        "empty": b"",
        "one byte": b"a",
        "one line break": b"\n",
        "mark only": b"\xef\xbb\xbf",
        "mark": b"\xef\xbb\xbfone two\none",
        "spaces": ("a" + "b".join(spaces) + "c").encode(),
        "line breaks": b"\r\n\na b\r\rc\n\r a\r\n  \n\tb",
        "control and NUL": b"a\0b a a\0b \0 \0\0 a\x01b\x1fc\x1bd",
        "lengths": b" ".join(b"x" * k + b"y" * (k % 2) for k in range(1, 40)) + b" xx xxxxxxxx xxxxxxxxx",
        "one word": b"0123456789abcdef" * 5,
        "ill-formed": b"a\xff \xc3\xa9\xc3 \xe3\x80\xe3\x80\x80\xf0\x9f\x98 \xc2\x85\xed\xa0\x80 \xf4\x90\x80\x80 \x80"
        b"\xe2",
        "Japanese": "吾輩は猫である。\u3000名前はまだ無い。\n吾輩 は 猫 で ある 。\n".encode() * 3,
        "English": b"you say goodbye and i say hello .\nwhy do you say goodbye\n" * 9,
    }
    for label, text in texts.items():
        data = np.frombuffer(text, np.uint8)
        for unit in ("word", "char"):
            for mark_lines in (False, True):
                for n_chunks in (1, 3):
                    options = {"unit": unit, "mark_lines": mark_lines, "n_chunks": n_chunks}
                    yield Case(f"{label}, {unit}, marks {mark_lines}, {n_chunks} chunks", (data,), options)
    spread = np.frombuffer(texts["English"], np.uint8)
    yield Case("not contiguous", (np.repeat(spread, 2)[::2],))
    yield Case("not aligned", (spread[3:],))


def renumber(ids, offsets, mapping, line=-1, overwrite=False):
    """Return the new (ids, offsets); ``overwrite`` changes nothing here."""
    new: list[int] = []
    new_offsets = [0]
    for begin, end in zip(offsets[:-1], offsets[1:]):
        for kind in ids[begin:end]:
            changed = line if kind == -1 else mapping[kind]
            if changed >= 0:
                new.append(changed)
        if len(new) > new_offsets[-1]:
            new_offsets.append(len(new))
    return np.array(new, np.int32), np.array(new_offsets, np.int64)


def renumber_cases():
    """Yield cases: nothing, all kept, all dropped, empty sentences, marks, more tokens than one range holds."""
    rng = np.random.default_rng(5)
    none = np.zeros(0, np.int32)
    yield Case("nothing", (none, np.zeros(1, np.int64), none))
    yield Case("nothing in three sentences", (none, np.zeros(4, np.int64), np.array([1], np.int32)))
    yield Case("one", (np.zeros(1, np.int32), np.array([0, 1]), np.array([7], np.int32)))
    ids = rng.integers(-1, 9, 333).astype(np.int32)
    offsets = np.concatenate(([0], np.sort(rng.integers(0, 334, 50)), [333]))
    mapping = np.array([3, -1, 0, -1, 2, 1, -1, 5, 4], np.int32)
    yield Case("marks dropped", (ids, offsets, mapping))
    yield Case("marks kept", (ids, offsets, mapping), {"line": 6})
    yield Case("all dropped", (ids, offsets, np.full(9, -1, np.int32)))
    yield Case("not contiguous", (np.repeat(ids, 2)[::2], offsets, mapping), {"line": 6})
    frozen = ids.copy()
    frozen.flags.writeable = False
    yield Case("read-only", (frozen, offsets, mapping))
    many = rng.integers(0, 9, (1 << 20) + 33).astype(np.int32)
    bounds = np.array([0, 5, 1 << 19, 1 << 20, (1 << 20) + 1, (1 << 20) + 33])
    yield Case("two ranges", (many, bounds, mapping))
