"""Loaders of the Penn Treebank corpus and of evaluation sets: from a local path, or downloaded when asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import FormatError, ValueRangeError
from .download import SOURCES, fetch
from .evaluation_sets import read_pairs, read_questions

if TYPE_CHECKING:
    from ..corpus import Corpus

__all__ = ["analogies", "ptb", "word_pairs"]

_SPLITS = ("train", "valid", "test")


def _locate(path: str | os.PathLike[str] | None, name: str, download: bool, **options: Any) -> Path:
    """Return the file at ``path``, or the downloaded file ``name``."""
    if path is not None:
        place = Path(path).expanduser()
        if place.is_file():
            return place
        raise FileNotFoundError(
            f"there is no file {str(path)!r}; give the path of a local copy"
            + (", or download=True without a path" if name in SOURCES else "")
        )
    if not download:
        raise ValueRangeError(
            f"{name} is not part of the package; give the path of a local copy, or download=True to fetch it"
        )
    return fetch(name, **options)


def ptb(
    path: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    download: bool = False,
    url: str | None = None,
    sha256: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    eos: str | None = "<eos>",
    **options: Any,
) -> Corpus:
    """Return a split of the Penn Treebank, as Mikolov prepared it, as a corpus.

    Parameters
    ----------
    path : path, optional
        The file, or the folder that holds ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt``.
    split : {"train", "valid", "test"}
        Which file of the folder, or which to download. The training split has 929,589 tokens and 10,000 words.
    download : bool
        Fetch the file where no path is given; it is kept in the user's cache folder and fetched once.
    url, sha256, cache_dir
        See `fetch`.
    eos : str or None
        The word that ends each line.
    **options
        Passed on to `fastseq.Corpus.from_file`: ``vocab=train.vocab`` for the other splits. ``min_count`` is 1 unless
        given, rare words having been replaced by ``<unk>`` in the files.

    Raises
    ------
    ValueRangeError
        The split is unknown, or neither a path nor ``download=True`` is given.
    FileNotFoundError
        There is no file at ``path``.
    MissingExtraError, DownloadError, FormatError
        See `fetch`.

    Notes
    -----
    Marcus, Santorini and Marcinkiewicz, "Building a large annotated corpus of English: the Penn Treebank", 1993; the
    files are those of Mikolov et al., "Recurrent neural network based language model", 2010. The text has a licence of
    its own.
    """
    if split not in _SPLITS:
        raise ValueRangeError(f"split is {split!r}, expected one of {', '.join(map(repr, _SPLITS))}")
    if path is not None and Path(path).expanduser().is_dir():
        path = Path(path) / f"ptb.{split}.txt"
    file = _locate(path, f"ptb.{split}", download, url=url, sha256=sha256, cache_dir=cache_dir)
    if options.get("vocab") is None:
        options.setdefault("min_count", 1)
    from ..corpus import Corpus

    return Corpus.from_file(file, eos=eos, **options)


def _named_file(source: str | os.PathLike[str], names: tuple[str, ...], download: bool, **options: Any) -> Path:
    """Return the local file that ``source`` is, or the data set that it names."""
    if isinstance(source, str) and not Path(source).expanduser().exists():
        if source in names or (download and options["url"] is not None):
            return _locate(None, source, download, **options)
        if not os.path.dirname(source) and not os.path.splitext(source)[1]:
            raise ValueRangeError(
                f"{source!r} is neither a file nor one of the data sets {', '.join(names)}; give the path of a file"
            )
    return _locate(source, "", download)


def word_pairs(
    source: str | os.PathLike[str],
    *,
    download: bool = False,
    url: str | None = None,
    sha256: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> list[tuple[str, str, float]]:
    """Return pairs of words with the similarity that people gave them.

    Parameters
    ----------
    source : path or {"ws353", "simlex999"}
        A file with two words and a number a line, apart by tabs, else commas, else spaces; or a data set to download.
        Lines that begin with ``#`` are passed over, and so is line 1 where it names the columns: its third field is no
        number and holds no digit.
    download : bool
        Fetch the named data set; it is kept in the user's cache folder and fetched once.
    url, sha256, cache_dir
        See `fetch`.

    Returns
    -------
    list of (str, str, float)
        The words as they are spelt in the file.

    Raises
    ------
    ValueRangeError
        The name is unknown, or is known and neither a file of that name exists nor ``download=True`` is given.
    FileNotFoundError
        There is no such file.
    FormatError
        A line is not of that form, or there is none.
    MissingExtraError, DownloadError
        See `fetch`.

    Notes
    -----
    WordSim-353: Finkelstein et al., "Placing search in context", 2002. SimLex-999: Hill, Reichart and Korhonen, 2015.
    """
    path = _named_file(source, ("ws353", "simlex999"), download, url=url, sha256=sha256, cache_dir=cache_dir)
    return list(read_pairs(path))


def analogies(
    source: str | os.PathLike[str] = "questions-words",
    *,
    download: bool = False,
    url: str | None = None,
    sha256: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> dict[str, list[tuple[str, str, str, str]]]:
    """Return analogy questions by section.

    Parameters
    ----------
    source : path or "questions-words"
        A file with four words a line and lines ``: name`` that begin a section; or the data set to download.
    download : bool
        Fetch the named data set; it is kept in the user's cache folder and fetched once.
    url, sha256, cache_dir
        See `fetch`.

    Returns
    -------
    dict of str to list of (str, str, str, str)
        The words as they are spelt in the file; the first is to the second as the third to the fourth. Questions
        before the first section are under "".

    Raises
    ------
    ValueRangeError
        The name is unknown, or is known and neither a file of that name exists nor ``download=True`` is given.
    FileNotFoundError
        There is no such file.
    FormatError
        A line is not of that form, a section comes twice, or there is no question.
    MissingExtraError, DownloadError
        See `fetch`.

    Notes
    -----
    The 19,544 questions in 14 sections are those of Mikolov, Chen, Corrado and Dean, "Efficient estimation of word
    representations in vector space", 2013.
    """
    path = _named_file(source, ("questions-words",), download, url=url, sha256=sha256, cache_dir=cache_dir)
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    questions: list[tuple[str, str, str, str]] = []
    for number, name, words in read_questions(path):
        if words is None:
            if name in sections:
                raise FormatError(f"{path}, line {number}: the section {name!r} begins again; join the two")
            questions = sections[name] = []
            continue
        if not sections:
            sections[""] = questions
        questions.append(words)
    return sections
