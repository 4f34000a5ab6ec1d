"""Compile kernels ahead of their first use, for a container image or before a measurement."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .registry import REGISTRY

__all__ = ["warmup"]

# Families whose products are compiled for each number of vectors of a panel.
_ON_PANELS = {"rnn", "lstm", "gru", "softmax"}


def warmup(families: Any = None, verbose: int = 0) -> float:
    """Compile every kernel for the CPU by calling its cases; return the seconds that took.

    Parameters
    ----------
    families : iterable of str, optional
        Only these families ("cooccurrence", "ppmi", ...).
    verbose : int
        1 shows progress on standard error.

    Notes
    -----
    Compiled kernels are kept in Numba's cache, so this is needed once after an installation or upgrade.
    """
    from tqdm import tqdm

    from ..errors import ValueRangeError
    from .cpu._panels import compile_products
    from .cpu._scatter import compile_exchanges

    known = {kernel.family for kernel in REGISTRY.values()}
    wanted = known if families is None else set(families)
    if not wanted <= known:
        raise ValueRangeError(f"families holds {sorted(wanted - known)}, expected some of {sorted(known)}")
    begin = time.perf_counter()
    chosen = [kernel for kernel in REGISTRY.values() if kernel.family in wanted]
    # What no case of a kernel comes to, for each dtype.
    others = [compile_products] * bool(wanted & _ON_PANELS) + [compile_exchanges] * ("word2vec" in wanted)
    rest = [(compile_other, dtype) for compile_other in others for dtype in ("float32", "float64")]
    n_turns = len(chosen) + len(rest)
    with tqdm(total=n_turns, disable=not verbose, desc="compiling", unit="kernel", leave=False) as bar:
        for kernel in chosen:
            for case in kernel.cases():
                kernel.call(kernel.public, case)
            bar.update()
        for compile_other, dtype in rest:
            compile_other(np.dtype(dtype))
            bar.update()
    return time.perf_counter() - begin
