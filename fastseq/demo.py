"""``fastseq demo``: text that is on every machine, counted, learned from and written on; both vectors are asked."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .vectors.word_vectors import WordVectors

if TYPE_CHECKING:
    from .text.corpus import Corpus

__all__ = ["run"]

_EPOCHS = 20
# Of the text that the language model reads.
_MOST_TOKENS = 400_000
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
    """Train vectors in two ways and a language model on the documentation of installed packages, and ask them.

    Parameters
    ----------
    output : str
        ``output.safetensors`` (by counting), ``output-skipgram.safetensors``, ``output-lm.safetensors`` and
        ``output.png`` are written.
    """
    from .io import check_writable
    from .models.count_vectors import CountVectors
    from .models.word2vec import SkipGram
    from .text import datasets
    from .vectors.formats import check_target

    counted_file, learned_file, picture = f"{output}.safetensors", f"{output}-skipgram.safetensors", f"{output}.png"
    model_file = f"{output}-lm.safetensors"
    for path in (counted_file, learned_file):
        check_target(path)
    for path in (counted_file, learned_file, model_file, picture):
        check_writable(path)
    begin = time.perf_counter()

    def tell(text: str) -> None:
        print(f"[{time.perf_counter() - begin:5.1f} s] {text}", flush=True)

    tell("reading the documentation of the installed Python packages (nothing is downloaded) ...")
    corpus = datasets.docs()
    tell(f"{corpus.n_tokens:,} tokens, {len(corpus.vocab):,} words, {corpus.n_sentences:,} sentences")
    dim, bar = min(100, len(corpus.vocab)), int(sys.stderr.isatty())
    tell("by counting: co-occurrence, PPMI, SVD (the first time, the kernels are compiled) ...")
    model = CountVectors(dim=dim, window=5).fit(corpus, verbose=bar)
    counted = model.vectors
    tell(f"{len(counted):,} vectors of {counted.dim} numbers from {model.n_counts_:,} pairs of words")

    def tell_epoch(model: SkipGram, epoch: int, logs: dict[str, float]) -> None:
        if not bar and (epoch + 1) % 5 == 0:
            tell(f"epoch {epoch + 1} of {_EPOCHS}: {logs['words_per_second'] / 1e6:.1f} million words/s")

    tell("by skip-gram, prediction of the words around (the first time, the kernels are compiled) ...")
    # For a text this small: more epochs, a higher rate and less thinning out than is right for millions of words.
    skipgram = SkipGram(dim=dim, window=5, epochs=_EPOCHS, learning_rate=0.05, sample=1e-3)
    learned = skipgram.fit(corpus, callbacks=[tell_epoch], verbose=bar).vectors
    tell(f"{len(learned):,} vectors of {learned.dim} numbers, {_EPOCHS} times through the text")

    print()
    _print_table(
        ("Nearest words", "by counting", "by skip-gram"),
        [
            (word, *(", ".join(other for other, _ in kind.most_similar(word, n=4)) for kind in (counted, learned)))
            for word in _present(counted, _WORDS)
        ],
    )
    print()
    _print_table(
        ("Analogies", "by counting", "by skip-gram"),
        [
            (f"{a} is to {b} as {c} is to", *(_answer(kind, a, b, c) for kind in (counted, learned)))
            for a, b, c in _ANALOGIES
            if len(_present(counted, (a, b, c))) == 3
        ],
    )
    print()

    counted.save(counted_file)
    learned.save(learned_file)
    tell(f"wrote {counted_file} and {learned_file}; ask them: fastseq similar {learned_file} matrix")
    _draw(counted, picture, tell)
    _write_sentences(corpus, model_file, tell, bar)


def _write_sentences(text: Corpus, path: str, tell: Callable[[str], None], bar: int) -> None:
    """Train a small language model on the same text, and let it write."""
    from .models.language_model import LanguageModel
    from .text.corpus import Corpus
    from .training import Adam

    # Its sentences once more, with their ends: as many as take some ten seconds.
    n_sentences = int(np.searchsorted(text.offsets, _MOST_TOKENS, side="right")) - 1
    corpus = Corpus.from_sentences((text.sentence(i) for i in range(n_sentences)), eos="<eos>")
    tell("a language model, which tells the next word (the first time, the kernels are compiled) ...")
    model = LanguageModel(
        embedding_size=100, hidden_size=100, num_layers=1, tie_weights=True, output_dropout=0.1, random_state=0
    )
    history = model.fit(corpus, epochs=1, batch_size=20, bptt=35, optimizer=Adam(0.005), clip=1.0, verbose=bar)
    speed = history.items_per_second[-1]
    tell(f"perplexity {history.perplexity[-1]:.0f} in the first epoch, {speed:,.0f} words/s; it writes:")
    print()
    for begin in ("", "return the", "if the"):
        written = model.generate(begin, 25, temperature=0.7, top_p=0.9, stop="<eos>", random_state=1)
        print(textwrap.fill(written.removesuffix("<eos>"), 100, initial_indent="  ", subsequent_indent="    "))
    print()
    model.save(path)
    tell(f'wrote {path}; let it go on: fastseq generate {path} "return the"')


def _answer(vectors: WordVectors, a: str, b: str, c: str) -> str:
    (word, score), *_ = vectors.analogy(a, b, c, n=1)
    return f"{word} ({score:.2f})"


def _print_table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = [heads, *((f"  {first}", *rest) for first, *rest in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


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
