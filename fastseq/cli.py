"""The ``fastseq`` command."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ._version import __version__
from .errors import FastseqError, ValueRangeError

if TYPE_CHECKING:
    from .text.corpus import Corpus
    from .text.vocabulary import Vocabulary
    from .vectors.word_vectors import WordVectors

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names defaults, but not that of a switch or of what is left out unless given."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def _at_least(lower: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < lower:
            raise argparse.ArgumentTypeError(f"{value} is below {lower}")
        return value

    number.__name__ = "integer"
    return number


def _add_text_options(sub: argparse.ArgumentParser) -> None:
    """Add what every training on a text takes: the text, how it is read, the file to write."""
    one = _at_least(1)
    sub.add_argument(
        "corpus", metavar="TEXT", help="UTF-8 text, one sentence a line, gzip or not; - for the standard input"
    )
    sub.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file to write: .safetensors, .npz, .vec, .txt or .bin"
    )
    sub.add_argument("--min-count", type=one, default=5, metavar="N", help="leave out rarer words")
    sub.add_argument("--max-vocab", type=one, metavar="N", help="keep the N most frequent words only")
    sub.add_argument("--lowercase", action="store_true", help="put the text in lower case")
    sub.add_argument("--unk", metavar="WORD", help="put WORD in the place of words left out")
    sub.add_argument("--eos", metavar="WORD", help="add WORD to the end of every line")
    sub.add_argument(
        "--tokenizer", choices=("words", "char", "japanese"), default="words", metavar="HOW",
        help="how to cut text: words (at white space), char or japanese",
    )  # fmt: skip
    sub.add_argument(
        "--encoding-errors", choices=("strict", "replace", "ignore"), default="strict", metavar="HOW",
        help="what to do with bytes that are not UTF-8: strict (stop), replace or ignore",
    )  # fmt: skip


def _add_run_options(sub: argparse.ArgumentParser) -> None:
    """Add what every training takes beside its own parameters."""
    sub.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", metavar="TYPE",
        help="of the numbers in the file: float32 or float16",
    )  # fmt: skip
    sub.add_argument("--threads", type=int, default=-1, metavar="N", help="-1 for all")
    sub.add_argument("--quiet", action="store_true", help="show no progress")


def _add_word2vec_options(sub: argparse.ArgumentParser, kind: str) -> None:
    """Add the parameters of `SkipGram` or `CBOW`; one that is not given is None, so the model's own default holds."""

    def add(flag: str, name: str, default: Any, help_text: str, **options: Any) -> None:
        told = help_text if default is None else f"{help_text} (default: {default})"
        sub.add_argument(flag, dest=f"model.{name}", default=None, help=told, **options)

    one = _at_least(1)
    rate = 0.025 if kind == "skipgram" else 0.05
    add("--dim", "dim", 100, "width of the vectors", type=one, metavar="N")
    add("--window", "window", 5, "words to look at on each side, at most", type=one, metavar="N")
    add("--negative", "negative", 5, "words drawn at random for each centre", type=one, metavar="N")
    add("--epochs", "epochs", 5, "times to go through the text", type=one, metavar="N")
    add(
        "--learning-rate", "learning_rate", f"{rate}, with --loss softmax 0.001",
        "at the beginning; it falls linearly", type=float, metavar="X",
    )  # fmt: skip
    add("--min-learning-rate", "min_learning_rate", 0.0001, "at the end", type=float, metavar="X")
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
    if kind == "skipgram":
        negatives = sub.add_mutually_exclusive_group()
        negatives.add_argument(
            "--shared", dest="model.shared_negatives", action="store_const", const=True,
            help="the words of a window share the words drawn, several times as fast (the default)",
        )  # fmt: skip
        negatives.add_argument(
            "--per-pair", dest="model.shared_negatives", action="store_const", const=False,
            help="draw words for each pair of centre and context, as word2vec does",
        )  # fmt: skip
    else:
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastseq",
        description="Word vectors and sequence models, compiled by Numba.",
        epilog="Begin with: fastseq demo",
    )
    parser.add_argument("--version", action="version", version=f"fastseq {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def add(group: Any, name: str, run: Any, summary: str, description: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = group.add_parser(
            name, help=summary, description=description, formatter_class=_Formatter
        )
        sub.set_defaults(run=run)
        return sub

    demo = add(
        commands, "demo", _demo, "train word vectors on text that is already on this machine, and ask them",
        "Train word vectors on the documentation of the installed Python packages; print neighbours and analogies, "
        "write the vectors and draw a map of words. Nothing is downloaded.",
    )  # fmt: skip
    demo.add_argument(
        "-o", "--output", default="fastseq-demo", metavar="NAME", help="write NAME.png and NAME.safetensors"
    )

    train = commands.add_parser("train", help="train vectors on a text file", description="Train vectors on a text.")
    kinds = train.add_subparsers(dest="kind", metavar="KIND", required=True, parser_class=_Parser)
    count = add(
        kinds, "count", _train_count, "by counting: co-occurrence, PPMI, SVD",
        "Count which words stand near each other, weigh the counts by positive pointwise mutual information and "
        "factorise them: one vector a word.",
    )  # fmt: skip
    one = _at_least(1)
    _add_text_options(count)
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
    count.add_argument("--n-iter", type=_at_least(0), default=16, metavar="N", help="iterations of the SVD")
    count.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers")
    _add_run_options(count)

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
        _add_text_options(sub)
        _add_word2vec_options(sub, name)
        _add_run_options(sub)

    similar = add(
        commands, "similar", _similar, "show the words nearest to a word",
        "Show the words nearest to a word, or to the sum of several.",
    )  # fmt: skip
    similar.add_argument("vectors", metavar="FILE", help="file of vectors")
    similar.add_argument("words", nargs="+", metavar="WORD", help="the word, or several, whose vectors are added")
    similar.add_argument(
        "--without", action="append", default=[], metavar="WORD", help="take its vector off; may be given several times"
    )
    similar.add_argument("-n", type=one, default=10, metavar="N", help="how many words")

    analogy = add(
        commands, "analogy", _analogy, "answer: a is to b as c is to what?",
        "Answer: A is to B as C is to what? For example: man king woman.",
    )  # fmt: skip
    analogy.add_argument("vectors", metavar="FILE", help="file of vectors")
    for name in "abc":
        analogy.add_argument(name, metavar=name.upper(), help="a word")
    analogy.add_argument("-n", type=one, default=5, metavar="N", help="how many answers")
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
        "--restrict-vocab", type=one, default=30000, metavar="N", help="answer with the first N words only"
    )
    evaluate.add_argument(
        "--method", choices=("add", "mul"), default="add", metavar="HOW", help="add (3CosAdd) or mul (3CosMul)"
    )

    warmup = add(
        commands, "warmup", _warmup, "compile all kernels now, so that no first call has to",
        "Compile all kernels and keep them on disk, so that no first call has to.",
    )  # fmt: skip
    warmup.add_argument("--clear", action="store_true", help="delete the compiled kernels first")

    add(
        commands, "info", _info, "show versions, threads, devices and where compiled kernels are kept",
        "Show versions, threads, devices and where compiled kernels are kept.",
    )  # fmt: skip
    return parser


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import run

    run(arguments.output)


def _train_count(arguments: argparse.Namespace) -> None:
    from .models.count_vectors import CountVectors
    from .parallel import threads

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
        corpus = _read_corpus(arguments)
        _check_words(arguments.output, corpus.vocab.words)
        model.fit(corpus, verbose=int(_shows_bar(arguments)))
    model.vectors.save(arguments.output, dtype=arguments.dtype)
    if not arguments.quiet:
        print(f"{_wrote(model.vectors, arguments.output)} ({_in_all(begin)})", file=sys.stderr)


def _train_word2vec(arguments: argparse.Namespace) -> None:
    from .models.word2vec import CBOW, SkipGram
    from .parallel import threads

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
                f"--dim is {model.dim}, but the vectors in {arguments.vectors} have {_number(start.dim, 'number')}; "
                "leave it out"
            )
        if arguments.context_vectors and model.loss == "hierarchical_softmax":
            raise ValueRangeError("--loss hierarchical_softmax has no context vectors; leave out --context-vectors")
        corpus = _read_corpus(arguments, model.vocab_ if arguments.resume else None)
        for path in filter(None, (arguments.output, arguments.context_vectors)):
            _check_words(path, corpus.vocab.words)
        bar = _shows_bar(arguments)
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
        print(f"{said} ({loss}{_in_all(begin)})", file=sys.stderr)


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
    speed = _number(round(logs["words_per_second"]), "word")
    print(f"epoch {epoch + 1} of {model._progress.epochs}: {loss}{speed}/s", file=sys.stderr, flush=True)


def _read_corpus(arguments: argparse.Namespace, vocab: Vocabulary | None = None) -> Corpus:
    """Read the text as the options say, with the words of ``vocab`` where it is given, and tell its size."""
    from .text.corpus import Corpus

    begin = time.perf_counter()
    corpus = Corpus.from_file(
        arguments.corpus,
        min_count=arguments.min_count if vocab is None else 1,
        max_vocab=arguments.max_vocab if vocab is None else None,
        lowercase=arguments.lowercase,
        unk=arguments.unk,
        eos=arguments.eos if vocab is None else arguments.eos or vocab.eos,
        vocab=vocab,
        tokenizer=None if arguments.tokenizer == "words" else arguments.tokenizer,
        encoding_errors=arguments.encoding_errors,
    )
    if not arguments.quiet:
        words = _number(len(corpus.vocab), "word")
        print(f"read {_number(corpus.n_tokens, 'token')}, {words} in {_seconds(begin)}", file=sys.stderr, flush=True)
    return corpus


def _check_files(arguments: argparse.Namespace, contexts: str | None = None, checkpoint: str | None = None) -> None:
    """Check the files that shall be written, and the words that may be in them, before any work.

    Nothing is worse than an hour of training that cannot be written down.
    """
    from .io import check_writable
    from .vectors.formats import check_target

    targets = [path for path in (arguments.output, contexts) if path is not None]
    for path in targets:
        check_target(path, arguments.dtype)
    if checkpoint is not None:
        targets.append(checkpoint)
    for i, path in enumerate(targets):
        if _is_same_file(arguments.corpus, path):
            raise ValueRangeError(f"{path} is the text itself, expected another file to write to")
        if any(_is_same_file(other, path) for other in targets[:i]):
            raise ValueRangeError(f"{path} is given for two files to write, expected a name for each")
        check_writable(path)
        if path != checkpoint:
            _check_words(path, [word for word in (arguments.unk, arguments.eos) if word])


def _is_same_file(first: str, second: str) -> bool:
    if os.path.exists(first) and os.path.exists(second):
        return os.path.samefile(first, second)
    return os.path.realpath(first) == os.path.realpath(second)


def _shows_bar(arguments: argparse.Namespace) -> bool:
    return not arguments.quiet and sys.stderr.isatty()


def _seconds(begin: float) -> str:
    return f"{time.perf_counter() - begin:.1f} s"


def _in_all(begin: float) -> str:
    return f"{_seconds(begin)} in all"


def _wrote(vectors: WordVectors, path: str) -> str:
    return f"wrote {_number(len(vectors), 'vector')} of {_number(vectors.dim, 'number')} to {path}"


def _check_words(target: str, words: Sequence[str]) -> None:
    from .vectors.formats import _check_words_for_word2vec

    suffix = os.path.splitext(target)[1].lower()
    if suffix in (".vec", ".txt", ".bin"):
        _check_words_for_word2vec(words, suffix)


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _load(path: str) -> WordVectors:
    from .vectors.word_vectors import WordVectors

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
        used = f"{_number(pairs.used, 'pair')} used, {pairs.skipped} skipped: a word is not in the vocabulary"
        print(f"{path}: Spearman {pairs.spearman:.4f}  Pearson {pairs.pearson:.4f}  ({used})")
    for path in arguments.analogies:
        scores = vectors.evaluate_analogies(path, restrict_vocab=arguments.restrict_vocab, method=arguments.method)
        for section in scores.sections:
            share = f"{section.correct / section.total:7.1%}" if section.total else "      -"
            print(f"  {share}  {section.correct:>5} of {section.total:<5}  {section.name}")
        shares = f"accuracy {scores.accuracy:.1%}  semantic {scores.semantic:.1%}  syntactic {scores.syntactic:.1%}"
        candidates = f"candidates: the first {_number(scores.restrict_vocab or len(vectors), 'word')}"
        used = f"{_number(scores.used, 'question')} used, {scores.skipped} skipped"
        print(f"{path}: {shares}  ({used}; {candidates})")


def _warmup(arguments: argparse.Namespace) -> None:
    from .kernels._jit import clear_cache
    from .kernels.warmup import warmup

    if arguments.clear:
        print(f"deleted {_number(clear_cache(), 'file')} of compiled kernels")
    print(f"compiled all kernels in {warmup(verbose=int(sys.stderr.isatty())):.1f} s")


def _info(arguments: argparse.Namespace) -> None:
    import platform

    import llvmlite
    import numba
    import numpy as np
    import scipy
    from threadpoolctl import threadpool_info

    from .device import cuda_available
    from .kernels import _jit

    _jit.settle_threading_layer()
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    blas = sorted({f"{pool['internal_api']} {pool['version']} ({pool['num_threads']} threads)" for pool in pools})
    folders = sorted({str(path.parent) for path in _jit.cache_files()})
    rows = {
        "fastseq": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "numba": f"{numba.__version__} (llvmlite {llvmlite.__version__})",
        "processor": numba.config.CPU_NAME or _processor(),
        "threads": f"{numba.get_num_threads()} of {numba.config.NUMBA_NUM_THREADS} (layer: {numba.threading_layer()})",
        "BLAS": "; ".join(blas) or "none found",
        "CUDA": "yes" if cuda_available() else "no",
        "compiled kernels": "; ".join(folders) or "none yet",
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def _processor() -> str:
    from llvmlite import binding

    return str(binding.get_host_cpu_name())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: those of the process); return its exit status."""
    _settle_streams()
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return 0
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has gone: point stdout elsewhere, so that nothing is written to it at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as stop:
        print(f"{parser.prog}: stopped{f' {stop}' if stop.args else ''}", file=sys.stderr)
        return 130
    except (FastseqError, OSError) as error:
        print(f"{parser.prog}: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"{parser.prog}: error: not enough memory ({error}); use less text, window or dim", file=sys.stderr)
        return 2
    return 0


def _settle_streams() -> None:
    """Make the standard streams such that writing to them raises no error because of what is written.

    Characters that the terminal's encoding lacks are shown as escapes. A closed stream takes and forgets what it is
    given, as a background job's should; its number goes to the null device, or the next file opened would get it.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != number:
                os.close(null)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process lives
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
