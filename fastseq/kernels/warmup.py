"""Compile kernels ahead of their first use, for a container image or before a measurement."""

from __future__ import annotations

import time
from typing import Any

from .registry import REGISTRY

__all__ = ["warmup"]


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

    known = {kernel.family for kernel in REGISTRY.values()}
    wanted = known if families is None else set(families)
    if not wanted <= known:
        raise ValueRangeError(f"families holds {sorted(wanted - known)}, expected some of {sorted(known)}")
    begin = time.perf_counter()
    chosen = [kernel for kernel in REGISTRY.values() if kernel.family in wanted]
    for kernel in tqdm(chosen, disable=not verbose, desc="compiling", unit="kernel", leave=False):
        for case in kernel.cases():
            kernel.call(kernel.public, case)
    return time.perf_counter() - begin
