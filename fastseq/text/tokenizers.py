"""Ways to cut a line into tokens: at white space and into characters by a kernel, or by a function of str."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import DTypeError, MissingExtraError, ValueRangeError

__all__ = ["Tokenizer", "resolve_tokenizer", "japanese"]

Tokenizer = Callable[[str], Iterable[str]]
_NAMES = ("char", "japanese")


def resolve_tokenizer(tokenizer: Any) -> tuple[str, Tokenizer | None]:
    """Return (unit of the kernel, None) or ("", function) for what a user passes as ``tokenizer``.

    Raises
    ------
    ValueRangeError
        A name is unknown.
    DTypeError
        It is no name, no function and not None.
    MissingExtraError
        ``"japanese"`` is asked for without its packages.
    """
    if tokenizer is None:
        return "word", None
    if isinstance(tokenizer, str):
        if tokenizer == "char":
            return "char", None
        if tokenizer == "japanese":
            return "", japanese()
        raise ValueRangeError(f"tokenizer is {tokenizer!r}, expected None (white space), one of {_NAMES} or a function")
    if not callable(tokenizer):
        raise DTypeError(
            f"tokenizer is {tokenizer!r} ({type(tokenizer).__name__}), expected None, one of {_NAMES} or a function "
            "from str to a list of str"
        )
    return "", tokenizer


def japanese() -> Tokenizer:
    """Return a function that cuts Japanese text into words by MeCab (fugashi) with the dictionary UniDic Lite.

    Tokens are surface forms; white space is not among them.

    Raises
    ------
    MissingExtraError
        fugashi or unidic-lite is not installed (the extra ``ja``).

    Notes
    -----
    Kudo, Yamamoto and Matsumoto, "Applying conditional random fields to Japanese morphological analysis", EMNLP 2004.
    """
    modules = []
    for package, module in (("fugashi", "fugashi"), ("unidic-lite", "unidic_lite")):
        try:
            modules.append(importlib.import_module(module))
        except ImportError:
            raise MissingExtraError(package, "ja", 'tokenizer="japanese"') from None
    fugashi, unidic_lite = modules

    # Named, or fugashi would take the full UniDic where it is installed, and the same text have other tokens there.
    folder = unidic_lite.DICDIR
    tagger = fugashi.Tagger(f'-Owakati -r "{os.path.join(folder, "mecabrc")}" -d "{folder}"')

    def tokenize(line: str) -> list[str]:
        # To MeCab, a C library, NUL would be the end of the line.
        return [str(word) for word in tagger.parse(line.replace("\0", " ")).split()]

    return tokenize
