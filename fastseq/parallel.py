"""How many threads the kernels and BLAS use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ValueRangeError

__all__ = ["threads", "n_threads"]


def n_threads() -> int:
    """Return the number of threads that parallel kernels use in this Python thread."""
    import numba

    return int(numba.get_num_threads())


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use ``n`` threads for the kernels and for BLAS inside the ``with`` block; both are restored afterwards.

    Parameters
    ----------
    n : int
        From 1 to the number that Numba started with (the number of cores, or ``NUMBA_NUM_THREADS``); -1 means all.

    Raises
    ------
    ValueRangeError
        ``n`` is 0, below -1 or above that number.

    Notes
    -----
    Numba's number belongs to the calling Python thread. BLAS libraries have one for the process: where blocks of
    several Python threads overlap, the one that was entered last counts, and the first numbers are restored when all
    have ended.
    """
    import numba
    import numpy as np

    from .kernels._blas import limit_blas

    most = numba.config.NUMBA_NUM_THREADS
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n == 0 or n < -1 or n > most:
        raise ValueRangeError(
            f"threads is {n!r}, expected 1 to {most}, or -1 for all; for more set NUMBA_NUM_THREADS beforehand"
        )
    wanted = most if n == -1 else int(n)
    before = numba.get_num_threads()
    numba.set_num_threads(wanted)
    try:
        with limit_blas(wanted):
            yield
    finally:
        numba.set_num_threads(before)
