"""Text to train on: what is on the machine already, generated tasks, and public data sets on request."""

from __future__ import annotations

from .docstrings import DEFAULT_PACKAGES, DocsText, docs, docs_text
from .download import SOURCES, DownloadError, Source, fetch
from .generated import addition, dates, write_pairs
from .loaders import analogies, ptb, word_pairs

__all__ = [
    "docs",
    "docs_text",
    "DocsText",
    "DEFAULT_PACKAGES",
    "addition",
    "dates",
    "write_pairs",
    "ptb",
    "word_pairs",
    "analogies",
    "fetch",
    "SOURCES",
    "Source",
    "DownloadError",
]
