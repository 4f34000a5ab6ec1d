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
    count.add_argument(
        "corpus", metavar="TEXT", help="UTF-8 text, one sentence a line, gzip or not; - for the standard input"
    )
    count.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file to write: .safetensors, .npz, .vec, .txt or .bin"
    )
    count.add_argument("--dim", type=one, default=100, metavar="N", help="width of the vectors")
    count.add_argument("--window", type=one, default=5, metavar="N", help="words to look at on each side")
    count.add_argument(
        "--weighting", choices=("uniform", "harmonic", "linear"), default="uniform", metavar="HOW",
        help="what words count by their distance: uniform, harmonic or linear",
    )  # fmt: skip
    count.add_argument("--min-count", type=one, default=5, metavar="N", help="leave out rarer words")
    count.add_argument("--max-vocab", type=one, metavar="N", help="keep the N most frequent words only")
    count.add_argument("--lowercase", action="store_true", help="put the text in lower case")
    count.add_argument("--unk", metavar="WORD", help="put WORD in the place of words left out")
    count.add_argument("--eos", metavar="WORD", help="add WORD to the end of every line")
    count.add_argument(
        "--tokenizer", choices=("words", "char", "japanese"), default="words", metavar="HOW",
        help="how to cut text: words (at white space), char or japanese",
    )  # fmt: skip
    count.add_argument(
        "--encoding-errors", choices=("strict", "replace", "ignore"), default="strict", metavar="HOW",
        help="what to do with bytes that are not UTF-8: strict (stop), replace or ignore",
    )  # fmt: skip
    count.add_argument("--smoothing", type=float, default=0.75, metavar="X", help="exponent of the contexts' counts")
    count.add_argument("--shift", type=float, default=1.0, metavar="X", help="k of shifted PPMI")
    count.add_argument("--eigenvalue-weight", type=float, default=0.5, metavar="X", help="p in U * S**p")
    count.add_argument("--add-context", action="store_true", help="add the contexts' vectors (w + c)")
    count.add_argument("--n-iter", type=_at_least(0), default=16, metavar="N", help="iterations of the SVD")
    count.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", metavar="TYPE",
        help="of the numbers in the file: float32 or float16",
    )  # fmt: skip
    count.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers")
    count.add_argument("--threads", type=int, default=-1, metavar="N", help="-1 for all")
    count.add_argument("--quiet", action="store_true", help="show no progress")

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
    from .io import check_writable
    from .models.count_vectors import CountVectors
    from .parallel import threads
    from .text.corpus import Corpus
    from .vectors.formats import check_target

    # Nothing is worse than an hour of training that cannot be written down.
    check_target(arguments.output, arguments.dtype)
    _check_other_file(arguments.corpus, arguments.output)
    check_writable(arguments.output)
    _check_words(arguments.output, [word for word in (arguments.unk, arguments.eos) if word])
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
        corpus = Corpus.from_file(
            arguments.corpus,
            min_count=arguments.min_count,
            max_vocab=arguments.max_vocab,
            lowercase=arguments.lowercase,
            unk=arguments.unk,
            eos=arguments.eos,
            tokenizer=None if arguments.tokenizer == "words" else arguments.tokenizer,
            encoding_errors=arguments.encoding_errors,
        )
        words = _number(len(corpus.vocab), "word")
        if not arguments.quiet:
            seconds = time.perf_counter() - begin
            print(f"read {_number(corpus.n_tokens, 'token')}, {words} in {seconds:.1f} s", file=sys.stderr)
        _check_words(arguments.output, corpus.vocab.words)
        model.fit(corpus, verbose=int(not arguments.quiet and sys.stderr.isatty()))
    model.vectors.save(arguments.output, dtype=arguments.dtype)
    if not arguments.quiet:
        print(
            f"wrote {_number(len(corpus.vocab), 'vector')} of {_number(arguments.dim, 'number')} to {arguments.output} "
            f"({time.perf_counter() - begin:.1f} s in all)",
            file=sys.stderr,
        )


def _check_other_file(source: str, target: str) -> None:
    if os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target):
        raise ValueRangeError(f"{target} is the text itself, expected another file to write the vectors to")


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
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped", file=sys.stderr)
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
