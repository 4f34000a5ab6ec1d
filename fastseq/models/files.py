"""Any file of this package, read back without saying what it holds."""

from __future__ import annotations

import os
from typing import Any

from ..errors import FormatError
from ..io import file_kind

__all__ = ["load"]

_SUFFIXES = (".npz", ".vec", ".txt", ".bin")


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model, a corpus or vectors from a file.

    Parameters
    ----------
    path : path
        What ``save`` of `Corpus`, `WordVectors`, `SkipGram`, `CBOW` or `LanguageModel` wrote, or vectors in a format of
        others (.vec, .txt, .bin, .npz).

    Returns
    -------
    Corpus, WordVectors, SkipGram, CBOW or LanguageModel

    Raises
    ------
    FormatError
        The file is damaged or holds something else.
    FileNotFoundError, IsADirectoryError
        There is no such file.
    """
    from ..text.corpus import Corpus
    from ..vectors.word_vectors import WordVectors
    from .language_model import LanguageModel
    from .word2vec import CBOW, SkipGram

    if os.fspath(path).endswith(_SUFFIXES):
        return WordVectors.load(path)
    kind = file_kind(path)
    kinds: dict[str, Any] = {
        "corpus": Corpus,
        "word_vectors": WordVectors,
        "SkipGram": SkipGram,
        "CBOW": CBOW,
        "LanguageModel": LanguageModel,
    }
    if kind not in kinds:
        raise FormatError(f"{path} holds {kind!r}, expected one of {sorted(kinds)}")
    return kinds[kind].load(path)
