"""Files of word vectors: safetensors, npz, word2vec text (with or without its header) and word2vec binary.

Readers return ``(matrix, words, counts)`` or raise before anything is returned; writers check everything that can be
checked before they open the file, and the file appears under its name only when it is whole.
"""

from __future__ import annotations

import math
import mmap as memory_map
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import DTypeError, FormatError, ValueRangeError
from ..io import atomic_write, load_arrays, save_arrays

__all__ = ["Contents", "check_target", "read", "write", "SUFFIXES"]

_KIND = "word_vectors"
_NPZ_VERSION = 1
_ROWS = 1024  # lines parsed or formatted at a time
_READ = 1 << 20  # bytes at a time
_MOST_DEFLATED = 1032  # deflate makes data smaller by no more than this factor
_FASTTEXT = (793712314).to_bytes(4, "little")  # the first bytes of fastText's own binary files
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_STORED = ("float16", "float32", "float64")
# As many digits as bring back the same number.
_DIGITS = {"float16": 5, "float32": 9, "float64": 17}
_BLANK = re.compile(r"[ \t\n\r\v\f]")


class Contents(NamedTuple):
    """What a file of word vectors holds: rows and words, and where the format has them counts and special words."""

    matrix: np.ndarray
    words: Sequence[str]
    counts: np.ndarray | None = None
    unk: str | None = None
    eos: str | None = None


def _check_unique(words: Sequence[str], name: Callable[[int], str]) -> None:
    """Raise `FormatError` at the first word that was there before; ``name(i)`` says where entry ``i`` stands."""
    if len(set(words)) == len(words):
        return
    seen: dict[str, int] = {}
    for i, word in enumerate(words):
        if word in seen:
            raise FormatError(f"{name(i)}: the word {word!r} is there already ({name(seen[word])}), expected each once")
        seen[word] = i


def _check_finite(rows: np.ndarray, name: Callable[[int], str]) -> None:
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise FormatError(f"{name(bad)}: the vector holds NaN, infinity or a number beyond float32")


# --- words as arrays -------------------------------------------------------------------------------------------------


def _pack_words(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of all words in one array (uint8) and where each begins (int64, one more than words)."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(word) for word in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def _fall(offsets: np.ndarray) -> bool:
    # Compared, not subtracted: differences of unsigned numbers are never negative.
    return bool((offsets[1:] < offsets[:-1]).any())


def _unpack_words(path: Path, blob: np.ndarray, offsets: np.ndarray) -> list[str]:
    whole = blob.dtype == np.uint8 and blob.ndim == 1 and offsets.dtype.kind in "iu" and offsets.ndim == 1
    if not whole or offsets.size < 1 or offsets[0] != 0 or offsets[-1] != blob.size or _fall(offsets):
        raise FormatError(f"{path}: the arrays that hold the words do not fit each other; the file is damaged")
    data, places = blob.tobytes(), offsets.tolist()
    try:
        return [data[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(places)]
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: the words are not UTF-8 ({error})") from None


def _to_arrays(contents: Contents) -> dict[str, np.ndarray]:
    blob, offsets = _pack_words(contents.words)
    arrays = {"matrix": contents.matrix, "words": blob, "word_offsets": offsets}
    if contents.counts is not None:
        arrays["counts"] = np.asarray(contents.counts, np.int64)
    return arrays


def _from_arrays(path: Path, arrays: dict[str, np.ndarray], unk: str | None, eos: str | None) -> Contents:
    missing = [name for name in ("matrix", "words", "word_offsets") if name not in arrays]
    if missing:
        raise FormatError(f"{path} lacks {', '.join(missing)}, expected matrix, words and word_offsets")
    matrix = arrays["matrix"]
    words = _unpack_words(path, arrays["words"], arrays["word_offsets"])
    counts = arrays.get("counts")
    if matrix.ndim != 2 or str(matrix.dtype) not in _STORED:
        raise FormatError(f"{path}: matrix is {matrix.dtype} {matrix.shape}, expected real numbers of shape (V, D)")
    if matrix.shape[0] != len(words):
        raise FormatError(f"{path} holds {matrix.shape[0]} vectors and {len(words)} words, expected as many of each")
    if counts is not None and (counts.shape != (len(words),) or counts.dtype.kind not in "iu"):
        raise FormatError(f"{path}: counts is {counts.dtype} {counts.shape}, expected {len(words)} integers")
    if matrix.size == 0:
        raise FormatError(f"{path}: matrix has shape {matrix.shape}, expected at least one word and one dimension")
    if counts is not None and (int(counts.min()) < 0 or int(counts.max()) > np.iinfo(np.int64).max):
        raise FormatError(f"{path}: counts holds a negative number or one beyond int64, expected 0 or more")
    if matrix.dtype == np.float16:
        matrix = matrix.astype(np.float32)
    _check_unique(words, lambda i: f"{path}, word {i}")
    _check_finite(matrix, lambda i: f"{path}, row {i} ({words[i]!r})")
    for special in (unk, eos):
        if special is not None and special not in words:
            raise FormatError(f"{path}: the special word {special!r} is not among the words; the file is damaged")
    return Contents(matrix, words, None if counts is None else np.asarray(counts, np.int64), unk, eos)


# --- safetensors and npz ---------------------------------------------------------------------------------------------


def _write_safetensors(path: Path, contents: Contents) -> None:
    save_arrays(path, _to_arrays(contents), _KIND, {"unk": contents.unk, "eos": contents.eos})


def _read_safetensors(path: Path, mmap: bool) -> Contents:
    arrays, config = load_arrays(path, _KIND, mmap=mmap)
    if not isinstance(config, dict):
        raise FormatError(f"{path}: the config is {type(config).__name__}, expected an object with names and values")
    return _from_arrays(path, arrays, config.get("unk"), config.get("eos"))


def _write_npz(path: Path, contents: Contents) -> None:
    arrays: dict[str, Any] = {"format_version": np.int64(_NPZ_VERSION), **_to_arrays(contents)}
    for name, word in (("unk", contents.unk), ("eos", contents.eos)):
        if word is not None:
            arrays[name] = _pack_words([word])[0]
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return one array of an npz file. What its header tells is compared with the sizes before memory is taken."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is encrypted or compressed in a way that NumPy does not write")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in _NPY_HEADERS:
            raise ValueError(f"{info.filename} is of the npy version {version}")
        try:
            shape, fortran, dtype = _NPY_HEADERS[version](file)
        except (MemoryError, tokenize.TokenError) as error:
            # Python's parser says so of deeply nested or unfinished expressions.
            raise ValueError(f"{info.filename} has a header that cannot be parsed") from error
        if dtype.hasobject or min(shape, default=0) < 0:
            raise ValueError(f"{info.filename} holds {dtype} {shape}")
        n_bytes = math.prod(shape) * dtype.itemsize
        if file.tell() + n_bytes != info.file_size:
            raise ValueError(
                f"{info.filename} has {info.file_size} bytes, its header tells {dtype} {shape}, which takes {n_bytes}"
            )
        if info.file_size > _MOST_DEFLATED * (info.compress_size + 64):
            raise ValueError(f"{info.filename} tells {info.file_size} bytes, more than it can hold")
        data = bytearray(n_bytes)
        place = memoryview(data)
        done = 0
        while done < n_bytes:
            part = file.read(min(_READ, n_bytes - done))  # zipfile compares the checksum with the last part
            if not part:
                raise EOFError(f"{info.filename} ends after {done} of {n_bytes} bytes")
            place[done : done + len(part)] = part
            done += len(part)
        array: np.ndarray = np.ndarray(shape, dtype, data, order="F" if fortran else "C")
        return array


def _read_npz(path: Path) -> Contents:
    if not zipfile.is_zipfile(path):
        raise FormatError(f"{path} is not a whole npz file: it is damaged, truncated or of another format")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {info.filename.removesuffix(".npy"): _read_npy(archive, info) for info in archive.infolist()}
    except (ValueError, TypeError, OSError, EOFError, LookupError, RuntimeError, OverflowError) as error:
        # RuntimeError includes NotImplementedError and the RecursionError of a header nested too deeply.
        raise FormatError(f"{path} is damaged or holds more than plain arrays ({error})") from None
    except (zlib.error, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise FormatError(f"{path} is damaged ({error})") from None
    version = arrays.pop("format_version", None)
    if version is not None and (version.shape != () or version.dtype.kind not in "iu"):
        raise FormatError(f"{path}: format_version is {version.dtype} {version.shape}, expected one whole number")
    if version is not None and int(version) > _NPZ_VERSION:
        raise FormatError(f"{path} has a newer format version than {_NPZ_VERSION}; upgrade fastseq-numba to read it")
    special = {}
    for name in ("unk", "eos"):
        blob = arrays.pop(name, None)
        if blob is not None:
            special[name] = _unpack_words(path, blob, np.array([0, blob.size]))[0]
    return _from_arrays(path, arrays, special.get("unk"), special.get("eos"))


# --- word2vec --------------------------------------------------------------------------------------------------------


def _check_words_for_word2vec(words: Sequence[str], suffix: str) -> None:
    for i, word in enumerate(words):
        if not word or _BLANK.search(word):
            raise FormatError(
                f"word {i}, {word!r}, is empty or holds a space or line break, which {suffix} files cannot hold; "
                "save as .safetensors or .npz instead"
            )
        try:
            word.encode()
        except UnicodeEncodeError:
            raise FormatError(f"word {i}, {word!r}, cannot be written as UTF-8; rename it before saving") from None


def _write_text(path: Path, contents: Contents) -> None:
    _check_words_for_word2vec(contents.words, path.suffix)
    matrix, words = contents.matrix, contents.words
    template = "%s" + f" %.{_DIGITS[str(matrix.dtype)]}g" * matrix.shape[1]
    with atomic_write(path) as file:
        file.write(f"{matrix.shape[0]} {matrix.shape[1]}\n".encode())
        for start in range(0, matrix.shape[0], _ROWS):
            rows = matrix[start : start + _ROWS].tolist()
            lines = [template % (word, *row) for word, row in zip(words[start : start + _ROWS], rows)]
            file.write(("\n".join(lines) + "\n").encode())


def _write_binary(path: Path, contents: Contents) -> None:
    _check_words_for_word2vec(contents.words, path.suffix)
    matrix, words = contents.matrix, contents.words
    with atomic_write(path) as file:
        file.write(f"{matrix.shape[0]} {matrix.shape[1]}\n".encode())
        for start in range(0, matrix.shape[0], _ROWS):
            rows = matrix[start : start + _ROWS].astype("<f4")
            names = words[start : start + _ROWS]
            # The newline after each vector is the C program's; gensim reads files with it and without.
            file.write(b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in zip(names, rows)))


def _parse_header(line: bytes) -> tuple[int, int] | None:
    """Return (V, D) if ``line`` is a word2vec header, two whole numbers, and None otherwise."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 19 for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def _check_header(path: Path, size: tuple[int, int], bytes_needed: int, file_size: int) -> None:
    if size[0] < 1 or size[1] < 1:
        raise FormatError(
            f"{path}, line 1: the header tells {size[0]} words of {size[1]} dimensions, expected 1 or more"
        )
    if bytes_needed > file_size:
        raise FormatError(
            f"{path}, line 1: the header tells {size[0]} words of {size[1]} dimensions, which take at least "
            f"{bytes_needed} bytes, but the file has {file_size}; it is truncated or the header is wrong"
        )


def _decode(path: Path, line: int, word: bytes) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}, line {line}: the word {word[:40]!r} is not UTF-8 ({error.reason})") from None


def _parse_number(text: bytes) -> float:
    # float() also takes underscores between digits, which no other reader would.
    if b"_" in text:
        raise ValueError("underscore")
    return float(text)


def _fault(path: Path, lines: list[bytes], first_line: int, dim: int) -> FormatError:
    """Return the error for the first bad one of ``lines``, at least one of which did not parse."""
    for number, line in enumerate(lines, first_line):
        place = f"{path}, line {number}"
        tokens = line.split()
        if not tokens:
            return FormatError(f"{place}: the line is empty, expected a word and {dim} numbers")
        if len(tokens) != dim + 1:
            return FormatError(
                f"{place}: a word and {len(tokens) - 1} numbers, expected a word and {dim} numbers; "
                "the line is cut off, the file is damaged, or a word holds a space"
            )
        for token in tokens[1:]:
            try:
                _parse_number(token)
            except ValueError:
                return FormatError(f"{place}: {token[:40].decode(errors='replace')!r} is not a number")
    return FormatError(
        f"{path}, lines {first_line} to {first_line + len(lines) - 1}: not a word and {dim} numbers each"
    )


def _parse_lines(path: Path, lines: list[bytes], first_line: int, dim: int) -> tuple[list[str], np.ndarray]:
    """Return the words and vectors (n, D) float32 of stripped ``lines``, the first at ``first_line``."""
    names: list[bytes] = []
    numbers: list[bytes] = []
    for line in lines:
        tokens = line.split()
        if len(tokens) != dim + 1 or line.find(b"_", len(tokens[0])) >= 0:
            raise _fault(path, lines, first_line, dim)
        names.append(tokens[0])
        numbers += tokens[1:]
    try:
        with np.errstate(over="ignore"):
            values = np.fromiter(map(float, numbers), np.float64, len(numbers)).astype(np.float32)
    except ValueError:
        raise _fault(path, lines, first_line, dim) from None
    rows = values.reshape(len(lines), dim)
    _check_finite(rows, lambda i: f"{path}, line {first_line + i}")
    return [_decode(path, first_line + i, name) for i, name in enumerate(names)], rows


def _blocks(file: BinaryIO, first: list[bytes]) -> Iterator[list[bytes]]:
    block = [line.strip() for line in first]
    for line in file:
        block.append(line.strip())
        if len(block) == _ROWS:
            yield block
            block = []
    if block:
        yield block


def _read_text(path: Path) -> Contents:
    file_size = path.stat().st_size
    if file_size == 0:
        raise FormatError(f"{path} is empty, expected lines of a word and its numbers")
    words: list[str] = []
    parts: list[np.ndarray] = []
    matrix: np.ndarray | None = None
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        whole = file.read(1) == b"\n"
        file.seek(0)
        opening = file.readline().removeprefix(b"\xef\xbb\xbf")
        size = _parse_header(opening)
        if size is None:
            # GloVe's text format: no header, the first line tells the width.
            dim, start, first = len(opening.split()) - 1, 1, [opening]
            if dim < 1:
                raise FormatError(f"{path}, line 1: neither a header (two whole numbers) nor a word and its numbers")
        else:
            _check_header(path, size, size[0] * (2 * size[1] + 1), file_size)
            dim, start, first = size[1], 2, []
            matrix = np.empty(size, np.float32)
        blank: int | None = None  # the first of the empty lines at the end
        for block in _blocks(file, first):
            following = start + len(block)
            while block and not block[-1]:
                block.pop()
            if b"" in block and blank is None:
                blank = start + block.index(b"")
            if block and blank is not None:
                raise FormatError(f"{path}, line {blank}: the line is empty, expected a word and {dim} numbers")
            if blank is None and start + len(block) < following:
                blank = start + len(block)
            if size is not None and len(words) + len(block) > size[0]:
                extra = start + size[0] - len(words)
                raise FormatError(f"{path}, line {extra}: more lines than the {size[0]} words that the header tells")
            if block:
                names, rows = _parse_lines(path, block, start, dim)
                if matrix is None:
                    parts.append(rows)
                else:
                    matrix[len(words) : len(words) + len(names)] = rows
                words += names
            start = following
    if size is not None and len(words) != size[0]:
        raise FormatError(
            f"{path} ends after {len(words)} words (line {len(words) + 1}), the header tells {size[0]}; it is truncated"
        )
    if size is not None and not whole:
        # Every writer of a header ends the last line too; without its end the last number may be half there.
        raise FormatError(f"{path}, line {len(words) + 1}: the last line has no line break; the file is truncated")
    shift = 1 if size is None else 2
    _check_unique(words, lambda i: f"{path}, line {i + shift}")
    return Contents(np.concatenate(parts) if matrix is None else matrix, words)


def _read_binary(path: Path) -> Contents:
    file_size = path.stat().st_size
    if file_size == 0:
        raise FormatError(f"{path} is empty, expected a word2vec binary file")
    words: list[str] = []
    with open(path, "rb") as file, memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ) as data:
        if data[:4] == _FASTTEXT:
            raise FormatError(f"{path} is a model of fastText in its own binary format; load its .vec file instead")
        end = data.find(b"\n", 0, 64)
        size = _parse_header(data[:end]) if end >= 0 else None
        if size is None:
            raise FormatError(f"{path}, line 1: no word2vec header, expected two whole numbers (words and dimensions)")
        n_words, dim = size
        n_bytes = 4 * dim
        _check_header(path, size, end + 1 + n_words * (n_bytes + 2), file_size)
        matrix = np.empty((n_words, dim), np.float32)
        position = end + 1
        for i in range(n_words):
            space = data.find(b" ", position)
            if space < 0 or space + 1 + n_bytes > file_size:
                raise FormatError(f"{path}, word {i} of {n_words}: the file ends inside the entry; it is truncated")
            name = data[position:space].lstrip(b"\n")
            if not name:
                raise FormatError(
                    f"{path}, word {i} of {n_words}: the word is empty; wrong dimensions or a damaged file"
                )
            try:
                words.append(name.decode())
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{path}, word {i} of {n_words}: {name[:40]!r} is not UTF-8 ({error.reason}); "
                    "wrong dimensions or a damaged file"
                ) from None
            position = space + 1 + n_bytes
            matrix[i] = np.frombuffer(data[space + 1 : position], "<f4")
        rest = file_size - position
        if rest > 1 or (rest == 1 and data[position:] != b"\n"):
            raise FormatError(f"{path}: {rest} bytes follow the {n_words} words that the header tells")
    _check_unique(words, lambda i: f"{path}, word {i}")
    _check_finite(matrix, lambda i: f"{path}, word {i} ({words[i]!r})")
    return Contents(matrix, words)


# --- by suffix -------------------------------------------------------------------------------------------------------

_WRITERS: dict[str, Callable[[Path, Contents], None]] = {
    ".safetensors": _write_safetensors,
    ".npz": _write_npz,
    ".txt": _write_text,
    ".vec": _write_text,
    ".bin": _write_binary,
}
SUFFIXES = tuple(_WRITERS)


def _check_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise FormatError(f"{path} has the suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}")
    return suffix


def _target_dtype(path: Path, own: np.dtype, dtype: Any) -> np.dtype:
    """Return the dtype in which numbers of dtype ``own`` are stored."""
    try:
        target = own if dtype is None else np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"dtype is {dtype!r}, expected one of {', '.join(_STORED)}") from None
    if str(target) not in _STORED:
        raise DTypeError(f"dtype is {target}, expected one of {', '.join(_STORED)}")
    if path.suffix.lower() != ".bin":
        return target
    if dtype is not None and target != np.float32:
        raise ValueRangeError(f"dtype is {target}, but .bin files hold float32 only; save as .safetensors or .npz")
    return np.dtype(np.float32)


def check_target(path: str | os.PathLike[str], dtype: Any = None) -> None:
    """Raise what `write` would raise for ``path`` and ``dtype``, before the work whose result it shall write.

    Raises
    ------
    FormatError
        The suffix is unknown.
    FileNotFoundError, IsADirectoryError
        The folder is missing, or ``path`` is a folder.
    DTypeError, ValueRangeError
        ``dtype`` is not one that the format stores.
    """
    path = Path(path)
    _check_suffix(path)
    _target_dtype(path, np.dtype(np.float32), dtype)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, expected the name of a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist; make it before writing {path.name}")


def read(path: str | os.PathLike[str], mmap: bool = False) -> Contents:
    """Read a file of word vectors; its suffix tells the format.

    Raises
    ------
    FormatError
        The suffix is unknown, or the file is not what it says; the message names the file and, where there are lines
        or entries, the one.
    FileNotFoundError, IsADirectoryError
        There is no such file.
    ValueRangeError
        ``mmap`` is asked for and the format cannot be mapped.
    """
    path = Path(path)
    suffix = _check_suffix(path)
    if mmap and suffix != ".safetensors":
        raise ValueRangeError(f"mmap works for .safetensors files only, {path.name} is another format; save it as one")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if suffix == ".safetensors":
        return _read_safetensors(path, mmap)
    if suffix == ".npz":
        return _read_npz(path)
    return _read_binary(path) if suffix == ".bin" else _read_text(path)


def write(path: str | os.PathLike[str], contents: Contents, dtype: Any = None) -> None:
    """Write word vectors atomically; the suffix tells the format, ``dtype`` how the numbers are stored.

    Raises
    ------
    FormatError
        The suffix is unknown, or a word cannot be held by the format.
    DTypeError, ValueRangeError
        ``dtype`` is not float16, float32 or float64 (.bin: only float32), or a number is too large for it.
    """
    path = Path(path)
    suffix = _check_suffix(path)
    matrix = contents.matrix
    target = _target_dtype(path, matrix.dtype, dtype)
    if target != matrix.dtype:
        with np.errstate(over="ignore"):
            matrix = matrix.astype(target)
        if not np.isfinite(matrix).all():
            largest = float(np.abs(contents.matrix).max())
            raise ValueRangeError(f"the matrix holds {largest:g}, too large for {target}; save with a wider dtype")
    _WRITERS[suffix](path, contents._replace(matrix=matrix))
