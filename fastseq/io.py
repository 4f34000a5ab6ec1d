"""Arrays on disk: safetensors files with a JSON header, written so that a failure leaves the old file as it was."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import DTypeError, FormatError, ValueRangeError

__all__ = ["atomic_write", "check_writable", "save_arrays", "load_arrays", "file_kind"]

_FORMAT = "fastseq"
_DTYPES: dict[str, type] = {
    "F16": np.float16, "F32": np.float32, "F64": np.float64, "I8": np.int8, "U8": np.uint8, "I16": np.int16,
    "U16": np.uint16, "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64, "BOOL": np.bool_,
}  # fmt: skip
_VERSION = 1


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system lets folders be opened (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems do not sync folders. The file is written and renamed all the same.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise what `atomic_write` would raise for ``path``, before the work whose result shall go there.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, FileExistsError, PermissionError, OSError
        The folder is missing or cannot be written, or ``path`` is a folder, a device or a pipe.
    """
    handle, temporary = _create_beside(_target(path))
    os.close(handle)
    temporary.unlink()


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a directory, expected the name of a file to write")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; make it before writing {target.name}")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{target} is a device, a pipe or a socket, expected a file or a name that is free")
    return target


def _create_beside(target: Path) -> tuple[int, Path]:
    """Create a file beside ``target`` with the permissions of an ordinary new file; return its handle and path."""
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        return os.open(temporary, flags, 0o666), temporary
    except OSError as error:
        # The user's own name, not that of the file beside it.
        raise type(error)(error.errno, error.strerror, str(target)) from None


@contextmanager
def _atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` on success and remove it on failure."""
    target = _target(path)
    handle, temporary = _create_beside(target)
    mode = os.fstat(handle).st_mode
    os.close(handle)
    try:
        yield temporary
        if os.name != "nt":
            # Whoever writes may have put another file there: safetensors makes one for its owner only.
            temporary.chmod((target.stat().st_mode if target.exists() else mode) & 0o777)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            raise type(error)(error.errno, error.strerror, str(target)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of ``path`` when the block ends without an error.

    The bytes go to a temporary file beside it, are flushed to the disk, and the file is renamed: whoever reads ``path``
    sees the old file or the new one, never a part. On an error the old file stays as it was.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, FileExistsError
        The folder is missing, or ``path`` is a folder, a device or a pipe.
    """
    with _atomic_path(path) as temporary, open(temporary, "wb") as file:
        yield file
        file.flush()


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], kind: str, config: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays and a JSON ``config`` to a safetensors file, atomically.

    Parameters
    ----------
    path : path
        The file to write.
    arrays : dict of str to ndarray
        Numbers of any shape; object arrays are refused.
    kind : str
        What the file holds ("corpus", "word_vectors", ...); `load_arrays` insists on it.
    config : dict, optional
        Anything that JSON can hold.

    Raises
    ------
    DTypeError
        An array holds Python objects or text.
    """
    from safetensors.numpy import save_file

    plain = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.newbyteorder("=").type not in _DTYPES.values():
            raise DTypeError(f"array {name!r} has dtype {array.dtype}, expected numbers of up to 64 bits")
        if name == "__metadata__":
            raise ValueRangeError("an array is named '__metadata__', which the file's own header is; rename it")
        # Reshaped, since ascontiguousarray makes one axis of none.
        plain[name] = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
    metadata = {
        "format": _FORMAT,
        "format_version": str(_VERSION),
        "kind": kind,
        "config": _to_json(config or {}),
    }
    with _atomic_path(path) as temporary:
        save_file(plain, str(temporary), metadata=metadata)


def _plain_number(value: Any) -> Any:
    """Return a number of NumPy's as one of Python's."""
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r}")


def _to_json(config: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(config), ensure_ascii=False, allow_nan=False, default=_plain_number)
        text.encode()
    except (TypeError, ValueError) as error:
        raise DTypeError(f"config cannot be written as JSON ({error}), expected str, int, float, bool, lists") from None
    return text


def _read_metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise FormatError(
            f"{path} is not a whole safetensors file: it is damaged, truncated or of another format ({error})"
        ) from None
    if metadata.get("format") != _FORMAT:
        raise FormatError(f"{path} is a safetensors file, but not one that fastseq wrote; load it with safetensors")
    version = metadata.get("format_version", "")
    if not version.isdecimal() or int(version) > _VERSION:
        raise FormatError(
            f"{path} has format version {version!r}, this release reads up to {_VERSION}; upgrade fastseq-numba"
        )
    return dict(metadata)


def file_kind(path: str | os.PathLike[str]) -> str:
    """Return what a file written by `save_arrays` holds."""
    return _read_metadata(Path(path)).get("kind", "")


def _map_arrays(path: Path) -> dict[str, np.ndarray]:
    """Map every array of a file that `_read_metadata` has found whole; nothing is read before it is used."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    arrays: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape = tuple(entry["shape"])
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        if 0 in shape:
            arrays[name] = np.empty(shape, dtype)
            continue
        arrays[name] = np.memmap(path, dtype, "r", offset=8 + length + entry["data_offsets"][0], shape=shape)
    return arrays


def load_arrays(
    path: str | os.PathLike[str], kind: str, mmap: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file written by `save_arrays`; return its arrays and its config.

    Parameters
    ----------
    path : path
        The file.
    kind : str
        What it must hold.
    mmap : bool
        Map the arrays read-only instead of reading them. A mapped file must not be shortened or written over in place
        while it is used, or the system ends the process; replacing it, as `save_arrays` does, is safe.

    Raises
    ------
    FormatError
        The file is truncated, damaged, of another format or kind, or of a newer version.
    FileNotFoundError, IsADirectoryError
        There is no such file.
    """
    from safetensors import safe_open

    path = Path(path)
    metadata = _read_metadata(path)
    if metadata.get("kind") != kind:
        raise FormatError(f"{path} holds {metadata.get('kind')!r}, expected {kind!r}")
    try:
        config = json.loads(metadata.get("config", "{}"))
    except json.JSONDecodeError as error:
        raise FormatError(f"{path} has a header that is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise FormatError(f"{path} has a header whose config is {type(config).__name__}, expected a JSON object")
    if mmap:
        return _map_arrays(path), config
    with safe_open(str(path), framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, config  # noqa: SIM118 - not a dict
