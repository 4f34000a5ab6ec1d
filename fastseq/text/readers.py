"""Files as arrays of bytes: mapped, never read whole; gzip is unpacked in blocks into a file that is mapped."""

from __future__ import annotations

import gzip
import mmap
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FormatError, TextError

__all__ = ["map_bytes", "read_lines", "ENCODING_ERRORS"]

ENCODING_ERRORS = ("strict", "replace", "ignore")
_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 20
_LINE_BREAK = re.compile("\r\n|\n|\r")


def map_bytes(path: str | os.PathLike[str]) -> tuple[np.ndarray, Callable[[int, int], None]]:
    """Return the bytes of a file, and a function that gives the memory of a range of them back.

    The bytes are a read-only array, uint8 (n,): mapped, so that pages are read when used, also after ``release(begin,
    end)``, which lowers the memory that counts as the process's.

    A gzip file, known by its first two bytes, is unpacked in blocks into a temporary file without a name, which is
    mapped and goes when the array does; it needs the room of the unpacked text in the folder for temporary files.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        There is no such file, it is a folder, or it may not be read.
    FormatError
        A gzip file is truncated or damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, expected a text file")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; only the opening's own errors are reworded
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist, expected a text file") from None
    except PermissionError:
        raise PermissionError(f"{path} may not be read; check its permissions") from None
    with file:
        if file.read(2) != _GZIP:
            return _map(file, path)
        file.seek(0)
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


def _map(file: BinaryIO, path: Path) -> tuple[np.ndarray, Callable[[int, int], None]]:
    try:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return np.zeros(0, np.uint8), _keep
        # The map keeps the file open for itself; the array keeps the map.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be mapped into memory ({error}), expected an ordinary file") from None

    def release(begin: int, end: int) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            first = begin // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, first, end - first)

    return np.frombuffer(mapped, np.uint8), release


def _keep(begin: int, end: int) -> None:
    """Give nothing back."""


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
    return TextError(
        f"{name} is not UTF-8: byte {int(data[offset]):#04x} at offset {offset} fits nowhere; convert it to UTF-8, or "
        'pass encoding_errors="replace" (or "ignore")'
    )
