"""The commands of word vectors: train count, train skipgram, train cbow, similar, analogy, evaluate."""

from __future__ import annotations

import argparse
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ValueRangeError
from ._shared import (
    add,
    add_run_options,
    add_text_options,
    at_least,
    in_all,
    is_same_file,
    number,
    read_corpus,
    shows_bar,
)

if TYPE_CHECKING:
    from ..vectors.word_vectors import WordVectors

__all__ = ["add_commands", "add_training"]


def _add_word2vec_options(sub: argparse.ArgumentParser, kind: str) -> None:
    """Add the parameters of `SkipGram` or `CBOW`; one that is not given is None, so the model's own default holds."""

    def add(flag: str, name: str, default: Any, help_text: str, **options: Any) -> None:
        told = help_text if default is None else f"{help_text} (default: {default})"
        sub.add_argument(flag, dest=f"model.{name}", default=None, help=told, **options)

    one = at_least(1)
    rate = 0.025 if kind == "skipgram" else 0.05
    add("--dim", "dim", 100, "width of the vectors", type=one, metavar="N")
    add("--window", "window", 5, "words to look at on each side, at most", type=one, metavar="N")
    add("--negative", "negative", 5, "words drawn at random for each centre", type=one, metavar="N")
    add("--epochs", "epochs", 5, "times to go through the text", type=one, metavar="N")
    add(
        "--learning-rate", "learning_rate", f"{rate}, with --loss softmax 0.001",
        "at the beginning; it falls linearly", type=float, metavar="X",
    )  # fmt: skip
    least = 0.0001 if kind == "skipgram" else "a tenth of --learning-rate"
    add("--min-learning-rate", "min_learning_rate", least, "at the end", type=float, metavar="X")
    add(
        "--sample", "sample", 0.0001,
        "thin out words that are more frequent than about this share of the text; 0 keeps all",
        type=float, metavar="X",
    )  # fmt: skip
    add("--power", "power", 0.75, "words are drawn by their counts to this power", type=float, metavar="X")
    add(
        "--loss", "loss", "negative_sampling",
        "negative_sampling, hierarchical_softmax or softmax (exact, for small vocabularies)",
        choices=("negative_sampling", "hierarchical_softmax", "softmax"), metavar="HOW",
    )  # fmt: skip
    shared = "the words of a window share the words drawn, several times as fast (the default)"
    own, for_each = "--per-pair", "each pair of centre and context"
    if kind == "cbow":
        shared = "the words drawn come from those drawn for 2,048 tokens, which is faster (the default)"
        own, for_each = "--per-centre", "each centre"
    negatives = sub.add_mutually_exclusive_group()
    negatives.add_argument("--shared", dest="model.shared_negatives", action="store_const", const=True, help=shared)
    negatives.add_argument(
        own, dest="model.shared_negatives", action="store_const", const=False,
        help=f"draw words for {for_each}, as word2vec does",
    )  # fmt: skip
    if kind == "cbow":
        add("--sum", "mean", None, "add up a window's vectors, do not average them", action="store_const", const=False)
        add(
            "--divide-gradient", "divide_gradient", None,
            "divide what a window learns among its words, as the gradient of a mean asks",
            action="store_const", const=True,
        )  # fmt: skip
    add(
        "--fixed-window", "shrink_window", None, "use the whole window always, not one of 1 to N words drawn at random",
        action="store_const", const=False,
    )  # fmt: skip
    add(
        "--add-context", "add_context", None, "add the context vectors to the words' (w + c)",
        action="store_const", const=True,
    )  # fmt: skip
    add(
        "--deterministic", "deterministic", None,
        "the same bits for any number of threads, slower; else runs with several threads differ a little",
        action="store_const", const=True,
    )  # fmt: skip
    add("--no-loss", "compute_loss", None, "do not compute the loss", action="store_const", const=False)
    add("--batch-size", "batch_size", 32, "examples at a time, for --loss softmax", type=one, metavar="N")
    add("--seed", "random_state", 0, "of the random numbers", type=int, metavar="N")
    sub.add_argument(
        "--vectors", metavar="FILE", help="start from these vectors, whose width --dim then is; other words start anew"
    )
    sub.add_argument("--context-vectors", metavar="FILE", help="write the context vectors too, to this file")
    sub.add_argument(
        "--checkpoint", metavar="FILE", help="write how far training has come after each epoch, and on Ctrl-C"
    )
    sub.add_argument(
        "--resume", metavar="FILE",
        help="go on from this checkpoint with the same text, and write to it again unless --checkpoint is given",
    )  # fmt: skip


def add_training(kinds: Any) -> None:
    """Add ``train count``, ``train skipgram`` and ``train cbow``."""
    count = add(
        kinds, "count", _train_count, "by counting: co-occurrence, PPMI, SVD",
        "Count which words stand near each other, weigh the counts by positive pointwise mutual information and "
        "factorise them: one vector a word.",
    )  # fmt: skip
    one = at_least(1)
    add_text_options(count)
    count.add_argument("--dim", type=one, default=100, metavar="N", help="width of the vectors")
    count.add_argument("--window", type=one, default=5, metavar="N", help="words to look at on each side")
    count.add_argument(
        "--weighting", choices=("uniform", "harmonic", "linear"), default="uniform", metavar="HOW",
        help="what words count by their distance: uniform, harmonic or linear",
    )  # fmt: skip
    count.add_argument("--smoothing", type=float, default=0.75, metavar="X", help="exponent of the contexts' counts")
    count.add_argument("--shift", type=float, default=1.0, metavar="X", help="k of shifted PPMI")
    count.add_argument("--eigenvalue-weight", type=float, default=0.5, metavar="X", help="p in U * S**p")
    count.add_argument("--add-context", action="store_true", help="add the contexts' vectors (w + c)")
    count.add_argument("--n-iter", type=at_least(0), default=16, metavar="N", help="iterations of the SVD")
    count.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers")
    add_run_options(count)

    skipgram = add(
        kinds, "skipgram", _train_word2vec, "by skip-gram: each word predicts the words around it",
        "Learn vectors by skip-gram: the words of a window are to tell its middle word from words drawn at random. "
        "Ctrl-C ends the training and writes the vectors as they are then.",
    )  # fmt: skip
    cbow = add(
        kinds, "cbow", _train_word2vec, "by CBOW: the words around predict the middle one",
        "Learn vectors by CBOW: the words of a window together are to tell its middle word from words drawn at random. "
        "Ctrl-C ends the training and writes the vectors as they are then.",
    )  # fmt: skip
    for name, sub in (("skipgram", skipgram), ("cbow", cbow)):
        add_text_options(sub)
        _add_word2vec_options(sub, name)
        add_run_options(sub)


def add_commands(commands: Any) -> None:
    """Add ``similar``, ``analogy`` and ``evaluate``."""
    similar = add(
        commands, "similar", _similar, "show the words nearest to a word",
        "Show the words nearest to a word, or to the sum of several.",
    )  # fmt: skip
    similar.add_argument("vectors", metavar="FILE", help="file of vectors")
    similar.add_argument("words", nargs="+", metavar="WORD", help="the word, or several, whose vectors are added")
    similar.add_argument(
        "--without", action="append", default=[], metavar="WORD", help="take its vector off; may be given several times"
    )
    similar.add_argument("-n", type=at_least(1), default=10, metavar="N", help="how many words")

    analogy = add(
        commands, "analogy", _analogy, "answer: a is to b as c is to what?",
        "Answer: A is to B as C is to what? For example: man king woman.",
    )  # fmt: skip
    analogy.add_argument("vectors", metavar="FILE", help="file of vectors")
    for name in "abc":
        analogy.add_argument(name, metavar=name.upper(), help="a word")
    analogy.add_argument("-n", type=at_least(1), default=5, metavar="N", help="how many answers")
    analogy.add_argument(
        "--method", choices=("add", "mul"), default="add", metavar="HOW", help="add (3CosAdd) or mul (3CosMul)"
    )

    evaluate = add(
        commands, "evaluate", _evaluate, "score vectors on word pairs or analogies",
        "Score vectors on people's judgements of word pairs or on analogy questions.",
    )  # fmt: skip
    evaluate.add_argument("vectors", metavar="FILE", help="file of vectors")
    evaluate.add_argument(
        "--similarity", action="append", default=[], metavar="FILE", help="a word, a word and a score on each line"
    )
    evaluate.add_argument(
        "--analogies", action="append", default=[], metavar="FILE", help="questions in the questions-words format"
    )
    evaluate.add_argument(
        "--restrict-vocab", type=at_least(1), default=30000, metavar="N", help="answer with the first N words only"
    )
    evaluate.add_argument(
        "--method", choices=("add", "mul"), default="add", metavar="HOW", help="add (3CosAdd) or mul (3CosMul)"
    )


def _train_count(arguments: argparse.Namespace) -> None:
    from ..models.count_vectors import CountVectors
    from ..parallel import threads

    _check_files(arguments)
    model = CountVectors(
        dim=arguments.dim,
        window=arguments.window,
        weighting=arguments.weighting,
        smoothing=arguments.smoothing,
        shift=arguments.shift,
        eigenvalue_weight=arguments.eigenvalue_weight,
        add_context=arguments.add_context,
        n_iter=arguments.n_iter,
        random_state=arguments.seed,
    )
    model._check_options()
    begin = time.perf_counter()
    with threads(arguments.threads):
        corpus = read_corpus(arguments)
        _check_words(arguments.output, corpus.vocab.words)
        model.fit(corpus, verbose=int(shows_bar(arguments)))
    model.vectors.save(arguments.output, dtype=arguments.dtype)
    if not arguments.quiet:
        print(f"{_wrote(model.vectors, arguments.output)} ({in_all(begin)})", file=sys.stderr)


def _train_word2vec(arguments: argparse.Namespace) -> None:
    from ..models.word2vec import CBOW, SkipGram
    from ..parallel import threads

    kind: Any = SkipGram if arguments.kind == "skipgram" else CBOW
    given = {
        name.removeprefix("model."): value
        for name, value in vars(arguments).items()
        if name.startswith("model.") and value is not None
    }
    checkpoint = arguments.checkpoint or arguments.resume
    _check_files(arguments, contexts=arguments.context_vectors, checkpoint=checkpoint)
    begin = time.perf_counter()
    with threads(arguments.threads):
        start = None
        if arguments.resume:
            if arguments.vectors:
                raise ValueRangeError("--vectors and --resume are both given, expected one of them to start from")
            model = kind.load(arguments.resume)
            _check_same(model.get_params(), given, arguments.resume)
        else:
            if arguments.vectors:
                start = _load(arguments.vectors)
                given.setdefault("dim", start.dim)
            model = kind(**given)
        model._check_options()
        if start is not None and start.dim != model.dim:
            raise ValueRangeError(
                f"--dim is {model.dim}, but the vectors in {arguments.vectors} have {number(start.dim, 'number')}; "
                "leave it out"
            )
        if arguments.context_vectors and model.loss == "hierarchical_softmax":
            raise ValueRangeError("--loss hierarchical_softmax has no context vectors; leave out --context-vectors")
        corpus = read_corpus(arguments, model.vocab_ if arguments.resume else None)
        for path in filter(None, (arguments.output, arguments.context_vectors)):
            _check_words(path, corpus.vocab.words)
        bar = shows_bar(arguments)
        options: dict[str, Any] = {
            "checkpoint": checkpoint,
            "callbacks": [] if arguments.quiet or bar else [_tell_epoch],
            "verbose": int(bar),
        }
        try:
            if arguments.resume:
                model.resume(corpus, **options)
            else:
                model.fit(corpus, vectors=start, **options)
        except KeyboardInterrupt:
            progress = getattr(model, "_progress", None)
            if progress is None or not (progress.epoch or progress.token):
                raise
            said = _save_word2vec(model, arguments)
            where = f"after epoch {progress.epoch}" if progress.token == 0 else f"in epoch {progress.epoch + 1}"
            again = f"; go on with --resume {checkpoint}" if checkpoint and not progress.finished else ""
            raise KeyboardInterrupt(f"{where} of {progress.epochs}; {said}{again}") from None
    said = _save_word2vec(model, arguments)
    if not arguments.quiet:
        loss = f"loss {model.history['loss'][-1]:.4f}, " if model.history.get("loss") else ""
        print(f"{said} ({loss}{in_all(begin)})", file=sys.stderr)


def _check_same(params: dict[str, Any], given: dict[str, Any], path: str) -> None:
    """Refuse options that say otherwise than the checkpoint: the rest of the training would be another one."""
    for name, value in given.items():
        # The seed is not kept, only the key that was made of it.
        if name != "random_state" and params[name] != value:
            raise ValueRangeError(
                f"{name} is {value!r} here and {params[name]!r} in {path}; leave the option out, or train anew"
            )


def _save_word2vec(model: Any, arguments: argparse.Namespace) -> str:
    """Write what was asked for; return what was written."""
    model.vectors.save(arguments.output, dtype=arguments.dtype)
    said = _wrote(model.vectors, arguments.output)
    if arguments.context_vectors:
        model.context_vectors.save(arguments.context_vectors, dtype=arguments.dtype)
        said += f" and {arguments.context_vectors}"
    return said


def _tell_epoch(model: Any, epoch: int, logs: dict[str, float]) -> None:
    loss = f"loss {logs['loss']:.4f}, " if "loss" in logs else ""
    speed = number(round(logs["words_per_second"]), "word")
    print(f"epoch {epoch + 1} of {model._progress.epochs}: {loss}{speed}/s", file=sys.stderr, flush=True)


def _check_files(arguments: argparse.Namespace, contexts: str | None = None, checkpoint: str | None = None) -> None:
    """Check the files that shall be written, and the words that may be in them, before any work.

    Nothing is worse than an hour of training that cannot be written down.
    """
    from ..io import check_writable
    from ..vectors.formats import check_target

    targets = [path for path in (arguments.output, contexts) if path is not None]
    for path in targets:
        check_target(path, arguments.dtype)
    if checkpoint is not None:
        targets.append(checkpoint)
    for i, path in enumerate(targets):
        if is_same_file(arguments.corpus, path):
            raise ValueRangeError(f"{path} is the text itself, expected another file to write to")
        if any(is_same_file(other, path) for other in targets[:i]):
            raise ValueRangeError(f"{path} is given for two files to write, expected a name for each")
        check_writable(path)
        if path != checkpoint:
            _check_words(path, [word for word in (arguments.unk, arguments.eos) if word])


def _wrote(vectors: WordVectors, path: str) -> str:
    return f"wrote {number(len(vectors), 'vector')} of {number(vectors.dim, 'number')} to {path}"


def _check_words(target: str, words: Sequence[str]) -> None:
    from ..vectors.formats import _check_words_for_word2vec

    suffix = os.path.splitext(target)[1].lower()
    if suffix in (".vec", ".txt", ".bin"):
        _check_words_for_word2vec(words, suffix)


def _load(path: str) -> WordVectors:
    from ..vectors.word_vectors import WordVectors

    return WordVectors.load(path)


def _columns(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes: two for wide East Asian characters, none for marks."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _show(answers: Sequence[tuple[str, float]]) -> None:
    width = max((_columns(word) for word, _ in answers), default=0)
    for word, score in answers:
        print(f"{word}{' ' * (width - _columns(word))}  {score:.4f}")


def _similar(arguments: argparse.Namespace) -> None:
    vectors = _load(arguments.vectors)
    _show(vectors.most_similar(positive=arguments.words, negative=arguments.without, n=arguments.n))


def _analogy(arguments: argparse.Namespace) -> None:
    vectors = _load(arguments.vectors)
    _show(vectors.analogy(arguments.a, arguments.b, arguments.c, n=arguments.n, method=arguments.method))


def _evaluate(arguments: argparse.Namespace) -> None:
    if not arguments.similarity and not arguments.analogies:
        raise ValueRangeError("nothing to evaluate; pass --similarity FILE or --analogies FILE")
    vectors = _load(arguments.vectors)
    for path in arguments.similarity:
        pairs = vectors.evaluate_similarity(path)
        used = f"{number(pairs.used, 'pair')} used, {pairs.skipped} skipped: a word is not in the vocabulary"
        print(f"{path}: Spearman {pairs.spearman:.4f}  Pearson {pairs.pearson:.4f}  ({used})")
    for path in arguments.analogies:
        scores = vectors.evaluate_analogies(path, restrict_vocab=arguments.restrict_vocab, method=arguments.method)
        for section in scores.sections:
            share = f"{section.correct / section.total:7.1%}" if section.total else "      -"
            print(f"  {share}  {section.correct:>5} of {section.total:<5}  {section.name}")
        shares = f"accuracy {scores.accuracy:.1%}  semantic {scores.semantic:.1%}  syntactic {scores.syntactic:.1%}"
        candidates = f"candidates: the first {number(scores.restrict_vocab or len(vectors), 'word')}"
        used = f"{number(scores.used, 'question')} used, {scores.skipped} skipped"
        print(f"{path}: {shares}  ({used}; {candidates})")
