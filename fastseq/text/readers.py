"""Files as arrays of bytes: mapped, never read whole; gzip is unpacked in blocks into a file that is mapped."""

from __future__ import annotations

import contextlib
import gzip
import mmap
import os
import re
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from ..errors import DTypeError, FormatError, TextError

__all__ = ["map_bytes", "read_lines", "ENCODING_ERRORS"]

ENCODING_ERRORS = ("strict", "replace", "ignore")
_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 20
_SAMPLE = 4096
_LINE_BREAK = re.compile("\r\n|\n|\r")


class Mapped:
    """A mapped file: called with a range of its bytes, it gives their memory back; they can be read again."""

    __slots__ = ("_map", "_size")

    def __init__(self, mapped: mmap.mmap | None) -> None:
        self._map = mapped
        self._size = 0 if mapped is None else len(mapped)

    def __call__(self, begin: int, end: int) -> None:
        """Give back the memory of the pages that hold the bytes from ``begin`` to ``end``."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            first = begin // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, end - first)

    def check_size(self, name: str) -> None:
        """Raise TextError if the file has another size than when it was mapped."""
        size = self._size if self._map is None else self._map.size()
        if size != self._size:
            raise TextError(
                f"{name} changed while it was read: it had {self._size:,} bytes and has {size:,} now; read it again "
                "when nothing writes to it"
            )


def map_bytes(path: str | os.PathLike[str]) -> tuple[np.ndarray, Mapped]:
    """Return the bytes of a file, and what gives the memory of a range of them back.

    The bytes are a read-only array, uint8 (n,): mapped, so that pages are read when used, also after ``release(begin,
    end)``, which lowers the memory that counts as the process's.

    A gzip file, known by its first two bytes, is unpacked in blocks into a temporary file without a name, which is
    mapped and goes when the array does; it needs the room of the unpacked text in the folder for temporary files. So is
    what is no ordinary file: a pipe, a terminal; ``"-"`` is the standard input. ``~`` is the home folder.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        There is no such file, it is a folder, or it may not be read.
    FormatError
        A gzip file is truncated or damaged.
    DTypeError
        ``path`` is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DTypeError(f"path is {path!r} ({type(path).__name__}), expected the name of a file")
    path = expand(path)
    if str(path) == "-":
        if sys.stdin is None:
            raise FileNotFoundError("the standard input is closed; pass the name of a file")
        with open(os.dup(sys.stdin.fileno()), "rb") as file:
            return _map_file(file, path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, expected a text file")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; only the opening's own errors are reworded
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist, expected a text file") from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read; check its permissions") from None
    with file:
        return _map_file(file, path)


def expand(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` with ``~`` and ``~user`` at its start replaced by the home folder, where there is one."""
    return Path(os.path.expanduser(path))


def _map_file(file: BinaryIO, path: Path) -> tuple[np.ndarray, Mapped]:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        # A pipe can neither be mapped nor read twice.
        with tempfile.TemporaryFile() as copied:
            shutil.copyfileobj(file, copied, _BLOCK)
            copied.seek(0)
            return _map_regular(copied, path)
    return _map_regular(file, path)


def _map_regular(file: IO[bytes], path: Path) -> tuple[np.ndarray, Mapped]:
    # From the start, also where the standard input is a file of which a part was read.
    file.seek(0)
    start = file.read(2)
    file.seek(0)
    if start != _GZIP:
        return _map(file, path)
    with tempfile.TemporaryFile() as unpacked:
        try:
            with gzip.open(file, "rb") as packed:
                shutil.copyfileobj(packed, unpacked, _BLOCK)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FormatError(
                f"{path} is a truncated or damaged gzip file ({error}); copy or download it again"
            ) from None
        unpacked.flush()
        return _map(unpacked, path)


def _map(file: IO[bytes], path: Path) -> tuple[np.ndarray, Mapped]:
    try:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return np.zeros(0, np.uint8), Mapped(None)
        # The map keeps the file open for itself; the array keeps the map.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be mapped into memory ({error}), expected an ordinary file") from None

    return np.frombuffer(mapped, np.uint8), Mapped(mapped)


def read_lines(data: np.ndarray, encoding_errors: str, name: str) -> Iterator[str]:
    r"""Yield the lines of UTF-8 bytes, without their ends (LF, CR LF or CR), decoding about 1 MB at a time.

    Parameters
    ----------
    data : uint8 (n,)
        The text; a byte order mark at its start is passed over.
    encoding_errors : {"strict", "replace", "ignore"}
        What happens to bytes that are not UTF-8.
    name : str
        What errors call the text.
    """
    n = data.shape[0]
    begin = 3 if data[:3].tobytes() == b"\xef\xbb\xbf" else 0
    while begin < n:
        end = begin
        cut = -1
        while cut < 0:
            before = end
            end = min(n, max(end + _BLOCK, begin + 2 * (end - begin)))
            block = data[before:end].tobytes()
            if end == n:
                cut = n
            else:
                cut = before + max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
                if cut == before:
                    cut = -1
                elif data[cut - 1] == 13 and data[cut] == 10:
                    cut += 1
        block = data[begin:cut].tobytes()
        try:
            text = block.decode("utf-8", encoding_errors)
        except UnicodeDecodeError as error:
            raise invalid_utf8(name, begin + error.start, data) from None
        lines = _LINE_BREAK.split(text)
        # Nothing after the last break is no line; but a last line is one, though all its bytes were ignored.
        if block[-1:] in (b"\n", b"\r"):
            lines.pop()
        yield from lines
        begin = cut


def invalid_utf8(name: str, offset: int, data: np.ndarray) -> TextError:
    """Return the error about bytes that are not UTF-8."""
    start = data[:2].tobytes()
    if start in (b"\xff\xfe", b"\xfe\xff"):
        return TextError(f"{name} looks like UTF-16, expected UTF-8; convert it first")
    known = _japanese_encoding(data[max(0, offset - _SAMPLE) : offset + _SAMPLE], int(min(offset, _SAMPLE)))
    advice = (
        f"{known[0]}? convert it first: iconv -f {known[1]} -t UTF-8"
        if known
        else 'convert it to UTF-8, or pass encoding_errors="replace" (--encoding-errors replace), or "ignore"'
    )
    return TextError(f"{name} is not UTF-8: byte {int(data[offset]):#04x} at offset {offset} fits nowhere; {advice}")


def _japanese_encoding(data: np.ndarray, offset: int) -> tuple[str, str] | None:
    """Return the name of the Japanese encoding that the lines around ``offset`` are in, and iconv's, or None.

    What is Shift_JIS may by chance be EUC-JP too, and the other way round; the one with more kana is meant.
    """
    block = data.tobytes()
    begin = block.rfind(b"\n", 0, offset) + 1
    end = block.rfind(b"\n", offset)
    block = block[begin : end if end > offset else len(block)]
    best: tuple[int, str, str] = (0, "", "")
    for name, codec, iconv in (("Shift_JIS", "cp932", "CP932"), ("EUC-JP", "euc_jp", "EUC-JP")):
        text = ""
        for cut in (0, 1, 2):  # the sample may end inside a character
            with contextlib.suppress(UnicodeDecodeError):
                text = block[: len(block) - cut].decode(codec)
                break
        kana = sum("\u3041" <= c <= "\u30fe" for c in text)
        wide = sum("\u3000" <= c <= "\u9fff" for c in text)
        if wide >= 2 and kana + wide > best[0]:
            best = (kana + wide, name, iconv)
    return (best[1], best[2]) if best[0] else None
