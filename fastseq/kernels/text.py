"""Text as arrays: tokenise, count and encode raw UTF-8 bytes, and renumber what came of it. CPU only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DeviceError, DTypeError, ShapeError, ValueRangeError
from ._boundary import _plain, as_ids, as_offsets, check_integer, is_device_array, variant

__all__ = ["tokenize", "renumber"]

UNITS = ("word", "char")


def _as_bytes(data: Any) -> np.ndarray:
    """Return ``data`` as a C-contiguous uint8 array that begins at a multiple of 8 bytes; no copy of a mapped file."""
    if is_device_array(data):
        raise DeviceError("data lies on a CUDA device, expected host memory; text is tokenised on the CPU")
    if isinstance(data, (bytes, bytearray, memoryview)):
        data = np.frombuffer(data, np.uint8)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        given = f"dtype {data.dtype}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DTypeError(f"data is {given}, expected UTF-8 bytes: a uint8 array or bytes (a str has .encode())")
    if data.ndim != 1:
        raise ShapeError(f"data has shape {data.shape}, expected 1 axis")
    if data.size and (data.strides[0] != 1 or data.ctypes.data % 8):
        # Whole 64-bit words are read, and a copy made by NumPy begins where one may.
        data = data.copy()
    return np.asarray(_plain(np.asarray(data), np.uint8))


def _keep(begin: int, end: int) -> None:
    """Give nothing back."""


def tokenize(
    data: Any,
    *,
    unit: str = "word",
    mark_lines: bool = False,
    n_chunks: int | None = None,
    release: Callable[[int, int], Any] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    r"""Cut UTF-8 text into tokens, number the distinct ones (types) by first appearance and count them.

    Parameters
    ----------
    data : uint8 array (n,) or bytes
        The text. A byte order mark at the start is passed over. NUL is a byte like others. Ill-formed UTF-8 is no
        error here: its bytes belong to tokens as they are (see Notes).
    unit : {"word", "char"}
        ``"word"``: what ``str.split()`` would give, so white space is U+0009 to U+000D, U+001C to U+0020, U+0085,
        U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F and U+3000. ``"char"``: each character but
        the line breaks.
    mark_lines : bool
        Whether each line ends in a token of its own, the id -1; then empty lines are sentences too.
    n_chunks : int, optional
        Into how many parts the text is cut, at most; the default follows its size and the number of threads. The
        result is the same for any.
    release : function, optional
        Called as ``release(begin, end)`` when these bytes have been read and are not needed for a while, so that pages
        of a mapped file can be given back. It may be called from several threads.

    Returns
    -------
    ids : int32 (n_tokens,)
        The type of each token; -1 for a line's mark.
    offsets : int64 (n_sentences + 1,)
        Sentence s is ``ids[offsets[s]:offsets[s + 1]]``: a line (ended by LF, CR LF or CR) that is not empty. What
        follows the last line break is a line if it holds at least one byte.
    starts : int64 (n_types,)
        The byte at which each type first appears; rises.
    lengths : int64 (n_types,)
        How many bytes each type has.
    counts : int64 (n_types,)
        How often each type occurs.

    Raises
    ------
    DTypeError, ShapeError, DeviceError
        ``data`` is not one axis of bytes in host memory.
    ValueRangeError
        ``unit`` is unknown, or ``n_chunks`` is less than 1.

    Notes
    -----
    Types are told apart by their bytes; hashes only find them. Where ``unit="char"`` meets ill-formed UTF-8, a token
    is the part that Python's ``"replace"`` handler turns into one U+FFFD (the Unicode Standard, section 3.9, "maximal
    subpart"). The oracle is `fastseq.kernels.reference.text.tokenize`.

    Examples
    --------
    >>> ids, offsets, starts, lengths, counts = tokenize(b"to be or\nnot to be\n")
    >>> ids.tolist(), offsets.tolist(), counts.tolist()
    ([0, 1, 2, 3, 0, 1], [0, 3, 6], [2, 2, 1, 1])
    """
    data = _as_bytes(data)
    if unit not in UNITS:
        raise ValueRangeError(f"unit is {unit!r}, expected one of {UNITS}")
    if n_chunks is not None:
        n_chunks = check_integer(n_chunks, "n_chunks", 1)
    start = 3 if data[:3].tobytes() == b"\xef\xbb\xbf" else 0
    return variant("cpu", "text").tokenize(data, start, unit == "char", bool(mark_lines), n_chunks, release or _keep)


def renumber(
    ids: Any, offsets: Any, mapping: Any, *, line: int = -1, overwrite: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Give tokens new ids, drop those that get none, and drop sentences left empty.

    Parameters
    ----------
    ids : int32 (n_tokens,)
        Ids from -1 to ``len(mapping) - 1``.
    offsets : int64 (n_sentences + 1,)
        Where sentences begin and end.
    mapping : int32 (n_types,)
        The new id of each type, -1 to drop it.
    line : int
        The new id of tokens with id -1 (the line marks of `tokenize`); -1 drops them.
    overwrite : bool
        Whether ``ids`` may be used for the result, so that no second array of its size is needed.

    Returns
    -------
    ids : int32 (n_kept,)
        The new ids; a view of the given array where ``overwrite`` and it was int32 and contiguous.
    offsets : int64 (n_kept_sentences + 1,)
        The new offsets.

    Raises
    ------
    DTypeError, ShapeError, ValueRangeError
        Arrays are not as described, or ``ids`` is read-only and ``overwrite`` is true.

    Examples
    --------
    >>> new, offsets = renumber([0, 1, 2, 1], [0, 2, 4], [1, -1, 0])
    >>> new.tolist(), offsets.tolist()
    ([1, 0], [0, 1, 2])
    """
    for name, array in (("ids", ids), ("offsets", offsets), ("mapping", mapping)):
        if is_device_array(array):
            raise DeviceError(f"{name} lies on a CUDA device, expected host memory; text is handled on the CPU")
    if overwrite and isinstance(ids, np.ndarray) and not ids.flags.writeable:
        raise ValueRangeError("overwrite is true and ids is read-only, expected an array that may be written")
    mapping = as_ids(mapping, "mapping", lower=-1)
    ids = as_ids(ids, "ids", upper=mapping.shape[0], lower=-1)
    offsets = as_offsets(offsets, "offsets", ids.shape[0], "ids")
    line = check_integer(line, "line", -1, 2**31 - 1)
    return variant("cpu", "text").renumber(ids, offsets, mapping, np.int32(line), bool(overwrite))
