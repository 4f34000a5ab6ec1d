"""The ``fastseq`` command."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
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

    demo = commands.add_parser("demo", help="train word vectors on text that is already on this machine, and ask them")
    demo.add_argument(
        "-o", "--output", default="fastseq-demo", metavar="NAME", help="write NAME.png and NAME.safetensors"
    )
    demo.set_defaults(run=_demo)

    train = commands.add_parser("train", help="train vectors on a text file")
    kinds = train.add_subparsers(dest="kind", metavar="KIND", required=True, parser_class=_Parser)
    count = kinds.add_parser(
        "count",
        help="by counting: co-occurrence, PPMI, SVD",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    count.add_argument("corpus", help="UTF-8 text, one sentence a line, gzip or not")
    count.add_argument("-o", "--output", required=True, help="file to write: .safetensors, .npz, .vec, .txt or .bin")
    count.add_argument("--dim", type=_at_least(1), default=100, help="width of the vectors")
    count.add_argument("--window", type=_at_least(1), default=5, help="words to look at on each side")
    count.add_argument("--weighting", choices=("uniform", "harmonic", "linear"), default="uniform", help="by distance")
    count.add_argument("--min-count", type=_at_least(1), default=5, help="leave out rarer words")
    count.add_argument("--max-vocab", type=_at_least(1), default=None, help="keep the most frequent words only")
    count.add_argument("--lowercase", action="store_true", help="put the text in lower case")
    count.add_argument("--smoothing", type=float, default=0.75, help="exponent of the context distribution")
    count.add_argument("--shift", type=float, default=1.0, help="k of shifted PPMI")
    count.add_argument("--eigenvalue-weight", type=float, default=0.5, help="p in U * S**p")
    count.add_argument("--add-context", action="store_true", help="add the contexts' vectors (w + c)")
    count.add_argument("--tokenizer", choices=("words", "char", "japanese"), default="words", help="how to cut text")
    count.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the numbers in the file")
    count.add_argument("--seed", type=int, default=0, help="of the random numbers")
    count.add_argument("--threads", type=int, default=-1, help="-1 for all")
    count.add_argument("--quiet", action="store_true", help="show no progress")
    count.set_defaults(run=_train_count)

    similar = commands.add_parser("similar", help="show the words nearest to a word")
    similar.add_argument("vectors", help="file of vectors")
    similar.add_argument("words", nargs="+", metavar="word", help="the word, or several, whose vectors are added")
    similar.add_argument("--without", nargs="+", default=[], metavar="WORD", help="words whose vectors are taken off")
    similar.add_argument("-n", type=_at_least(1), default=10, help="how many (default: 10)")
    similar.set_defaults(run=_similar)

    analogy = commands.add_parser("analogy", help="answer: a is to b as c is to what?")
    analogy.add_argument("vectors", help="file of vectors")
    analogy.add_argument("a")
    analogy.add_argument("b")
    analogy.add_argument("c")
    analogy.add_argument("-n", type=_at_least(1), default=5, help="how many answers (default: 5)")
    analogy.add_argument("--method", choices=("add", "mul"), default="add", help="3CosAdd or 3CosMul (default: add)")
    analogy.set_defaults(run=_analogy)

    evaluate = commands.add_parser("evaluate", help="score vectors on word pairs or analogies")
    evaluate.add_argument("vectors", help="file of vectors")
    evaluate.add_argument("--similarity", action="append", default=[], metavar="FILE", help="word, word, score a line")
    evaluate.add_argument("--analogies", action="append", default=[], metavar="FILE", help="in questions-words format")
    evaluate.add_argument(
        "--restrict-vocab", type=_at_least(1), default=30000, help="candidates of analogies (default: 30000)"
    )
    evaluate.add_argument("--method", choices=("add", "mul"), default="add", help="3CosAdd or 3CosMul (default: add)")
    evaluate.set_defaults(run=_evaluate)

    warmup = commands.add_parser("warmup", help="compile all kernels now, so that no first call has to")
    warmup.add_argument("--clear", action="store_true", help="delete the compiled kernels first")
    warmup.set_defaults(run=_warmup)

    info = commands.add_parser("info", help="show versions, threads, devices and where compiled kernels are kept")
    info.set_defaults(run=_info)
    return parser


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import run

    run(arguments.output)


def _train_count(arguments: argparse.Namespace) -> None:
    from .models.count_vectors import CountVectors
    from .parallel import threads
    from .text.corpus import Corpus
    from .vectors.formats import check_target

    # Nothing is worse than an hour of training that cannot be written down.
    check_target(arguments.output, arguments.dtype)
    verbose = 0 if arguments.quiet else 1
    begin = time.perf_counter()
    with threads(arguments.threads):
        corpus = Corpus.from_file(
            arguments.corpus,
            min_count=arguments.min_count,
            max_vocab=arguments.max_vocab,
            lowercase=arguments.lowercase,
            tokenizer=None if arguments.tokenizer == "words" else arguments.tokenizer,
        )
        if verbose:
            print(
                f"read {corpus.n_tokens:,} tokens, {len(corpus.vocab):,} words in {time.perf_counter() - begin:.1f} s",
                file=sys.stderr,
            )
        model = CountVectors(
            dim=arguments.dim,
            window=arguments.window,
            weighting=arguments.weighting,
            smoothing=arguments.smoothing,
            shift=arguments.shift,
            eigenvalue_weight=arguments.eigenvalue_weight,
            add_context=arguments.add_context,
            random_state=arguments.seed,
        ).fit(corpus, verbose=verbose)
    model.vectors.save(arguments.output, dtype=arguments.dtype)
    if verbose:
        print(
            f"wrote {len(corpus.vocab):,} vectors of {arguments.dim} numbers to {arguments.output} "
            f"({time.perf_counter() - begin:.1f} s in all)",
            file=sys.stderr,
        )


def _load(path: str) -> WordVectors:
    from .vectors.word_vectors import WordVectors

    return WordVectors.load(path)


def _show(answers: Sequence[tuple[str, float]]) -> None:
    width = max((len(word) for word, _ in answers), default=0)
    for word, score in answers:
        print(f"{word:<{width}}  {score:.4f}")


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
        print(f"{path}: Spearman {pairs.spearman:.4f}  Pearson {pairs.pearson:.4f}  "
              f"({pairs.used} pairs used, {pairs.skipped} skipped: a word is not in the vocabulary)")  # fmt: skip
    for path in arguments.analogies:
        scores = vectors.evaluate_analogies(path, restrict_vocab=arguments.restrict_vocab, method=arguments.method)
        for section in scores.sections:
            share = f"{section.correct / section.total:7.1%}" if section.total else "      -"
            print(f"  {share}  {section.correct:>5} of {section.total:<5}  {section.name}")
        shares = f"accuracy {scores.accuracy:.1%}  semantic {scores.semantic:.1%}  syntactic {scores.syntactic:.1%}"
        candidates = f"candidates: the first {scores.restrict_vocab:,} words"
        print(f"{path}: {shares}  ({scores.used} questions used, {scores.skipped} skipped; {candidates})")


def _warmup(arguments: argparse.Namespace) -> None:
    from .kernels._jit import clear_cache
    from .kernels.warmup import warmup

    if arguments.clear:
        print(f"deleted {clear_cache()} files of compiled kernels")
    print(f"compiled all kernels in {warmup(verbose=1):.1f} s")


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


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
