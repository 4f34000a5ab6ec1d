"""What the commands share: how errors and help look, how a text is read, how numbers are told."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ..text.corpus import Corpus
    from ..text.vocabulary import Vocabulary

__all__ = [
    "Parser", "add", "add_run_options", "add_text_options", "at_least", "in_all", "is_same_file", "number",
    "read_corpus", "seconds", "shows_bar",
]  # fmt: skip


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line, and name the command that was called."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what the command does not know; argparse leaves that to the parser of all commands."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names defaults, but not that of a switch or of what is left out unless given."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def at_least(lower: int) -> Any:
    """Return a type for argparse: integers of ``lower`` or more."""

    def integer(text: str) -> int:
        value = int(text)
        if value < lower:
            raise argparse.ArgumentTypeError(f"{value} is below {lower}")
        return value

    return integer


def add(group: Any, name: str, run: Any, summary: str, description: str) -> argparse.ArgumentParser:
    """Add a command that calls ``run`` with its arguments."""
    sub: argparse.ArgumentParser = group.add_parser(
        name, help=summary, description=description, formatter_class=Formatter
    )
    sub.set_defaults(run=run)
    return sub


def add_text_options(
    sub: argparse.ArgumentParser,
    output: str = "file to write: .safetensors, .npz, .vec, .txt or .bin",
    min_count: int = 5,
    unk: str = "",
    eos: str = "",
) -> None:
    """Add what every training on a text takes: the text, how it is read, the file to write."""
    one = at_least(1)
    sub.add_argument(
        "corpus", metavar="TEXT", help="UTF-8 text, one sentence a line, gzip or not; - for the standard input"
    )
    sub.add_argument(
        "-o", "--output", required=True, metavar="FILE", help=output
    )
    sub.add_argument("--min-count", type=one, default=min_count, metavar="N", help="leave out rarer words")
    sub.add_argument("--max-vocab", type=one, metavar="N", help="keep the N most frequent words only")
    sub.add_argument("--lowercase", action="store_true", help="put the text in lower case")
    for flag, what, default in (
        ("--unk", "put WORD in the place of words left out", unk),
        ("--eos", "add WORD to the end of every line", eos),
    ):
        sub.add_argument(flag, metavar="WORD", help=f"{what} (default: {default})" if default else what)
    sub.add_argument(
        "--tokenizer", choices=("words", "char", "japanese"), default="words", metavar="HOW",
        help="how to cut text: words (at white space), char or japanese",
    )  # fmt: skip
    sub.add_argument(
        "--encoding-errors", choices=("strict", "replace", "ignore"), default="strict", metavar="HOW",
        help="what to do with bytes that are not UTF-8: strict (stop), replace or ignore",
    )  # fmt: skip


def add_run_options(sub: argparse.ArgumentParser) -> None:
    """Add what every training takes beside its own parameters."""
    sub.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", metavar="TYPE",
        help="of the numbers in the file: float32 or float16",
    )  # fmt: skip
    sub.add_argument("--threads", type=int, default=-1, metavar="N", help="-1 for all")
    sub.add_argument("--quiet", action="store_true", help="show no progress")


def read_corpus(arguments: argparse.Namespace, vocab: Vocabulary | None = None) -> Corpus:
    """Read the text as the options say, with the words of ``vocab`` where it is given, and tell its size."""
    from ..text.corpus import Corpus

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
        words = number(len(corpus.vocab), "word")
        print(f"read {number(corpus.n_tokens, 'token')}, {words} in {seconds(begin)}", file=sys.stderr, flush=True)
    return corpus


def is_same_file(first: str, second: str) -> bool:
    """Whether two names are those of one file, which need not be there yet."""
    if os.path.exists(first) and os.path.exists(second):
        return os.path.samefile(first, second)
    return os.path.realpath(first) == os.path.realpath(second)


def shows_bar(arguments: argparse.Namespace) -> bool:
    """Whether progress is shown as a bar: on a terminal, unless that is not wanted."""
    return not arguments.quiet and sys.stderr.isatty()


def seconds(begin: float) -> str:
    """Return how long ago ``begin`` (of ``time.perf_counter``) was."""
    return f"{time.perf_counter() - begin:.1f} s"


def in_all(begin: float) -> str:
    """Return the same, for the end of a command."""
    return f"{seconds(begin)} in all"


def number(n: int, noun: str) -> str:
    """Return a number and what it counts, one or several."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
