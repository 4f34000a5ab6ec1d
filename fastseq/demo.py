"""``fastseq demo``: text that is on every machine, counted, weighed, factorised, asked and drawn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from .vectors.word_vectors import WordVectors

__all__ = ["run"]

_WORDS = ("matrix", "mean", "string", "file", "integer", "thread", "server", "probability", "month", "polynomial")
_ANALOGIES = (
    ("minimum", "maximum", "min"),
    ("row", "rows", "column"),
    ("lower", "upper", "left"),
    ("read", "reading", "write"),
    ("large", "largest", "small"),
    ("encode", "encoder", "decode"),
    ("numerator", "denominator", "row"),
)
_DRAWN = (
    "mean", "variance", "median", "distribution", "probability", "normal", "deviation",
    "matrix", "vector", "eigenvalues", "rows", "columns", "diagonal", "sparse",
    "file", "directory", "path", "filename", "archive",
    "string", "characters", "bytes", "encoding", "unicode",
    "thread", "process", "lock", "queue", "socket", "server", "connection",
    "integer", "float", "unsigned", "precision",
    "day", "month", "year", "week",
)  # fmt: skip


def run(output: str = "fastseq-demo") -> None:
    """Train count vectors on the documentation of installed packages, print answers, write a picture and the vectors.

    Parameters
    ----------
    output : str
        ``output.png`` and ``output.safetensors`` are written.
    """
    from .io import check_writable
    from .models.count_vectors import CountVectors
    from .text import datasets
    from .vectors.formats import check_target

    check_target(f"{output}.safetensors")
    check_writable(f"{output}.safetensors")
    check_writable(f"{output}.png")
    begin = time.perf_counter()

    def tell(text: str) -> None:
        print(f"[{time.perf_counter() - begin:5.1f} s] {text}", flush=True)

    tell("reading the documentation of the installed Python packages (nothing is downloaded) ...")
    corpus = datasets.docs()
    tell(f"{corpus.n_tokens:,} tokens, {len(corpus.vocab):,} words, {corpus.n_sentences:,} sentences")
    tell("counting, weighing, factorising (the first time, the kernels are compiled) ...")
    model = CountVectors(dim=min(100, len(corpus.vocab)), window=5).fit(corpus, verbose=int(sys.stderr.isatty()))
    vectors = model.vectors
    tell(f"{len(vectors):,} vectors of {vectors.dim} numbers from {model.n_counts_:,} pairs of words")

    print("\nNearest words")
    for word in _present(vectors, _WORDS):
        near = ", ".join(other for other, _ in vectors.most_similar(word, n=6))
        print(f"  {word:<12} {near}")
    print("\nAnalogies")
    for a, b, c in _ANALOGIES:
        if len(_present(vectors, (a, b, c))) == 3:
            (answer, score), *_ = vectors.analogy(a, b, c, n=1)
            print(f"  {a} is to {b} as {c} is to {answer} ({score:.2f})")
    print()

    vectors.save(f"{output}.safetensors")
    tell(f"wrote {output}.safetensors; ask it: fastseq similar {output}.safetensors matrix")
    _draw(vectors, f"{output}.png", tell)


def _present(vectors: WordVectors, words: Sequence[str]) -> list[str]:
    return [word for word in words if word in vectors]


def _draw(vectors: WordVectors, path: str, tell: Callable[[str], None]) -> None:
    from . import plot
    from .errors import MissingExtraError
    from .io import atomic_write

    try:
        axes = plot.vectors(vectors, _present(vectors, _DRAWN))
    except MissingExtraError as error:
        tell(f"no picture: {error}")
        return
    axes.set_title("Words of the documentation, two principal components")
    with atomic_write(path) as file:
        # Any, since the type of the attribute allows for a figure within a figure, which cannot be saved.
        figure: Any = axes.figure
        figure.savefig(file, format="png", dpi=150, bbox_inches="tight")
    tell(f"wrote {path}")
