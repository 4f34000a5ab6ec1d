"""Products of tall dense matrices, cut into fixed shares of their rows.

NumPy's BLAS keeps threads of its own, which go on spinning after each product and take the cores from the parallel
loops that follow: alternating the two made sparse products twice as slow (1.96 against 1.05 s in a factorisation). So
BLAS is held to one thread here, and the shares are given to plain Python threads. The shares do not depend on the
number of threads, and their sums are added in order, so neither do the bits of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np

from ._blas import limit_blas

__all__ = ["Host", "Device"]

# Rows in a share: 2048 x 544 float32 numbers are 4 MB, which the last-level cache holds while they are used.
_ROWS = 2048


class Host:
    """Dense steps on the CPU; to be used inside a ``with`` block, which starts and ends its threads."""

    xp = np

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Host:
        import numba

        n_threads = int(numba.get_num_threads())
        self._stack.enter_context(limit_blas(1))
        if n_threads > 1:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(n_threads))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _each(self, work: Callable[[slice], Any], n_rows: int) -> Iterator[Any]:
        shares = [slice(begin, begin + _ROWS) for begin in range(0, n_rows, _ROWS)]
        return map(work, shares) if self._pool is None or len(shares) < 2 else self._pool.map(work, shares)

    def inner(self, left: np.ndarray, right: np.ndarray, exact: bool = False) -> np.ndarray:
        """Return ``left.T @ right`` in float64; shares are multiplied in float64 too where ``exact``."""

        def work(rows: slice) -> np.ndarray:
            a, b = left[rows], right[rows]
            if exact:
                a = a.astype(np.float64)
                b = a if right is left else b.astype(np.float64)
            return a.T @ b

        total = np.zeros((left.shape[1], right.shape[1]))
        for part in self._each(work, left.shape[0]):
            total += part
        return total

    def product(self, tall: np.ndarray, small: np.ndarray) -> np.ndarray:
        """Return ``tall @ small`` in the dtype of ``tall``."""
        small = small.astype(tall.dtype)
        out = np.empty((tall.shape[0], small.shape[1]), tall.dtype)

        def work(rows: slice) -> None:
            np.matmul(tall[rows], small, out=out[rows])

        list(self._each(work, tall.shape[0]))
        return out

    def subtract_product(self, target: np.ndarray, tall: np.ndarray, small: np.ndarray) -> None:
        """Take ``tall @ small`` off ``target``, in place."""
        small = small.astype(tall.dtype)

        def work(rows: slice) -> None:
            target[rows] -= tall[rows] @ small

        list(self._each(work, tall.shape[0]))


class Device:
    """The same steps on a CUDA device, where cuBLAS does them whole."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def inner(self, left: Any, right: Any, exact: bool = False) -> Any:
        """Return ``left.T @ right`` in float64."""
        if exact:
            left, right = left.astype(np.float64), right.astype(np.float64)
        return (left.T @ right).astype(np.float64)

    def product(self, tall: Any, small: Any) -> Any:
        """Return ``tall @ small`` in the dtype of ``tall``."""
        return tall @ small.astype(tall.dtype)

    def subtract_product(self, target: Any, tall: Any, small: Any) -> None:
        """Take ``tall @ small`` off ``target``, in place."""
        target -= tall @ small.astype(tall.dtype)
