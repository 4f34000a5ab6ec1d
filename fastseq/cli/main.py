"""The ``fastseq`` command: its parser, what it prints where something is wrong, and the commands about the package."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence

from .._version import __version__
from ..errors import FastseqError
from . import language, vectors
from ._shared import Parser, add, number

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fastseq",
        description="Word vectors and sequence models, compiled by Numba.",
        epilog="Begin with: fastseq demo",
    )
    parser.add_argument("--version", action="version", version=f"fastseq {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    demo = add(
        commands, "demo", _demo, "train word vectors on text that is already on this machine, and ask them",
        "Train word vectors and a language model on the documentation of the installed Python packages; print "
        "neighbours, analogies and a sentence, write the vectors and draw a map of words. Nothing is downloaded.",
    )  # fmt: skip
    demo.add_argument(
        "-o", "--output", default="fastseq-demo", metavar="NAME", help="write NAME.png and NAME.safetensors"
    )
    train = commands.add_parser(
        "train", help="train vectors or a language model on a text file",
        description="Train vectors or a language model on a text.",
    )  # fmt: skip
    kinds = train.add_subparsers(dest="kind", metavar="KIND", required=True, parser_class=Parser)
    vectors.add_training(kinds)
    language.add_training(kinds)
    vectors.add_commands(commands)
    language.add_commands(commands)
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
    from ..demo import run

    run(arguments.output)


def _warmup(arguments: argparse.Namespace) -> None:
    from ..kernels._jit import clear_cache
    from ..kernels.warmup import warmup

    if arguments.clear:
        print(f"deleted {number(clear_cache(), 'file')} of compiled kernels")
    print(f"compiled all kernels in {warmup(verbose=int(sys.stderr.isatty())):.1f} s")


def _info(arguments: argparse.Namespace) -> None:
    import platform

    import llvmlite
    import numba
    import numpy as np
    import scipy
    from threadpoolctl import threadpool_info

    from ..device import cuda_available
    from ..kernels import _jit

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
        print(f"{parser.prog}: error: not enough memory ({error}); use less text, or a smaller model", file=sys.stderr)
        return 2
    return 0


def _settle_streams() -> None:
    """Make the standard streams such that writing to them raises no error because of what is written.

    Characters that the terminal's encoding lacks are shown as escapes. A closed stream takes and forgets what it is
    given, as a background job's should; its number goes to the null device, or the next file opened would get it.
    """
    for name, handle in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != handle:
                os.close(null)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process lives
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
