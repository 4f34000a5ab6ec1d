"""The one place where CPU kernels are compiled: every Numba option, the cache and the guards around parallel calls.

Numba's file cache has three holes that this module closes:

* the key leaves out ``parallel`` and other options, so a serial and a parallel build of one function would share an
  entry (numba#6845);
* an edit in another file does not invalidate a cached caller (numba#1833);
* where nothing can be written, decorating raises (numba#4908).

Cache files are named after the function's qualified name. So each function is compiled as a copy whose qualified name
ends in the options and in a digest of every source file of the kernel package: other options or other sources give
other files. All compiled functions must therefore live in this package.
"""

from __future__ import annotations

import hashlib
import os
import re
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.types.misc import unliteral
from numba.misc.appdirs import AppDirs

from ._fork import POOL
from ._vector import BYTES

__all__ = [
    "FMA",
    "REORDERED",
    "ParallelKernel",
    "address_of",
    "jit",
    "parallel_jit",
    "one_thread",
    "plain_function",
    "compiled",
    "source_digest",
    "settle_threading_layer",
    "cache_files",
    "clear_cache",
]

# Products and sums may be contracted to fused multiply-adds, nothing else: NaN and infinity keep their meaning.
# The error stated for the polynomial logarithm was measured with it. The sparse product gains nothing (52.1 against
# 52.8 ms) and goes without.
FMA = frozenset({"contract"})
# Sums may also be taken in another order, which lets a dot product's loop vectorise: 0.3 against 1.0 ms for one query.
REORDERED = frozenset({"contract", "reassoc"})

_PACKAGE = Path(__file__).resolve().parent
_CACHE_SWITCH = "FASTSEQ_CACHE"


def _digest_sources() -> str:
    digest = hashlib.blake2s(digest_size=4)
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


source_digest: str = _digest_sources()


def _copy(function: types.FunctionType, tag: str) -> types.FunctionType:
    """Return a new function object like ``function`` with a qualified name of its own (see the module's text)."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__module__ = function.__module__
    copy.__doc__ = function.__doc__
    copy.__dict__.update(function.__dict__)
    copy.__qualname__ = f"{function.__qualname__}-{tag}-{source_digest}"
    return copy


_warned_uncached = False
_compiled: list[Any] = []


def compiled() -> list[Any]:
    """Return Numba's dispatchers of all functions that were decorated so far: each lists what it has compiled."""
    return list(_compiled)


def _compile(
    function: types.FunctionType,
    parallel: bool,
    fastmath: frozenset[str],
    inline: bool = False,
    lean: bool = False,
    copied: bool = False,
) -> Any:
    global _warned_uncached
    tag = "parallel" if parallel else "serial"
    if inline or lean or copied:
        tag += "-inline" if inline else "-lean" if lean else "-copied"
    # Not in Numba's key where the processor is named without its features, as machines do that share a cache.
    tag += "-wide" if BYTES == 64 else "-narrow"
    if fastmath:
        tag += "-" + "-".join(sorted(fastmath))
    if numba.config.BOUNDSCHECK:
        tag += "-bounds"
    options: dict[str, Any] = {
        "parallel": parallel,
        "nogil": True,
        "error_model": "numpy",
        "fastmath": set(fastmath) if fastmath else False,
        "forceinline": inline,
        "_nrt": not (inline or lean),
    }
    if copied:
        options["inline"] = "always"
    copy = _copy(function, tag)
    if os.environ.get(_CACHE_SWITCH, "1") != "0":
        try:
            _compiled.append(_of_types(numba.njit(cache=True, **options)(copy), lean))
            return _compiled[-1]
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            if not _warned_uncached:
                _warned_uncached = True
                warnings.warn(
                    "no directory for compiled kernels can be written, so each new process compiles them again; "
                    "set NUMBA_CACHE_DIR to a directory that can be written",
                    RuntimeWarning,
                    stacklevel=2,
                )
    _compiled.append(_of_types(numba.njit(**options)(copy), lean))
    return _compiled[-1]


def _of_types(dispatcher: Any, lean: bool) -> Any:
    """Let a function that others call with a 0 and with a 1 be compiled once, not for each of these numbers.

    The compiler puts it into its callers and knows the number there. Only what stays a function has one for each.
    """
    if not (lean or numba.config.DISABLE_JIT):
        call_template = dispatcher.get_call_template

        def without_literals(args: Any, kws: Any) -> Any:
            return call_template(tuple(map(unliteral, args)), {key: unliteral(kws[key]) for key in kws})

        dispatcher.get_call_template = without_literals
    return dispatcher


def jit(
    function: Any = None,
    *,
    fastmath: frozenset[str] = frozenset(),
    inline: bool = False,
    lean: bool = False,
    copied: bool = False,
) -> Any:
    """Compile a serial function that kernels call; it holds no GIL and divides as NumPy does.

    With ``inline`` LLVM copies it into its callers: an array is passed as seven numbers, so calls in an inner loop are
    dear (a word of skip-gram took 690 instead of 90 ns outside of its arithmetic). With ``lean`` it stays a function,
    for code that several callers have. Neither counts references, so neither may make arrays. With ``copied`` Numba
    itself copies it into its caller and compiles it there alone: for what stands between a kernel and such a function,
    which would be compiled once more with each of them.
    """
    if function is None:
        return lambda f: jit(f, fastmath=fastmath, inline=inline, lean=lean, copied=copied)
    return _compile(function, parallel=False, fastmath=fastmath, inline=inline, lean=lean, copied=copied)


def parallel_jit(function: Any = None, *, fastmath: frozenset[str] = frozenset()) -> Any:
    """Compile a function with ``prange`` loops; the result is called from Python only, through a `ParallelKernel`."""
    if function is None:
        return lambda f: parallel_jit(f, fastmath=fastmath)
    return ParallelKernel(_compile(function, parallel=True, fastmath=fastmath), function)


_plain: list[Any] = []


def address_of(function: Any, signature: tuple[Any, ...]) -> int:
    """Return where a function of `jit`, which returns nothing, lies compiled for arguments of these Numba types.

    Numba puts all that a function calls into its own code and optimises it again, so what lies four calls deep is
    compiled five times. Called by its address (see ``_tiles.call_at``) it is compiled once.
    """
    if numba.config.DISABLE_JIT:
        if function not in _plain:
            _plain.append(function)
        return _plain.index(function)
    function.compile(signature)
    result = function.overloads[signature]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def plain_function(number: int) -> Any:
    """Return the function that `address_of` gave that number, where nothing is compiled."""
    return _plain[number]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run parallel kernels on the calling thread alone inside the block: for work too small to wake others for."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


class ParallelKernel:
    """A compiled parallel function with two guards: a clear error after a fork, and a lock where the layer needs one.

    The workqueue layer aborts the process when two Python threads call it at once; there, and until the layer is
    known, calls wait for each other. The guards cost about half a microsecond a call.
    """

    def __init__(self, dispatcher: Any, function: Callable[..., Any]) -> None:
        self.dispatcher = dispatcher
        self.py_func = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *arguments: Any) -> Any:
        if POOL.layer is None or POOL.layer == "workqueue":
            with POOL.lock:
                result = self.dispatcher(*arguments)
                POOL.learn()
            return result
        POOL.check_fork()
        return self.dispatcher(*arguments)


@parallel_jit
def _first_parallel(
    out,  # OUT int64 (n,)
):
    for i in numba.prange(out.shape[0]):
        out[i] = i


def settle_threading_layer() -> str:
    """Start Numba's threads if nothing has yet; return the name of their layer ("omp", "tbb" or "workqueue")."""
    _first_parallel(np.zeros(1, np.int64))
    return POOL.layer or "none: compilation is turned off"


# What `_compile` makes of a function's name, and Numba of that: cpu/ppmi.py's _fill is "ppmi._fill-parallel-...".
_OWN_FILE = re.compile(r"^\w+\.[\w.<>]+-(serial|parallel)(-[a-z]+)*-[0-9a-f]{8}-\d+\.py\d+\w*(\.\d+)?\.nb[ic]$")


def cache_files() -> list[Path]:
    """Return the cache files of this package's kernels, of any version, where Numba keeps or has kept them."""
    folders = [path for path in _PACKAGE.rglob("__pycache__") if path.is_dir()]
    # Elsewhere Numba makes a folder for each folder of sources, named after its last part and a hash.
    elsewhere = [Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)]
    if numba.config.CACHE_DIR:
        elsewhere.append(Path(numba.config.CACHE_DIR))
    for place in elsewhere:
        folders += [*place.glob("cpu_*"), *place.glob("kernels_*")]
    return sorted({path for folder in folders for path in folder.glob("*.nb[ic]") if _OWN_FILE.match(path.name)})


def clear_cache() -> int:
    """Delete the cache files of this package's kernels; return how many there were."""
    files = cache_files()
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)
