"""Memory that begins where a vector does, and memory that is used again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .._vector import BYTES

__all__ = ["Pool", "aligned", "aligned_rows", "pool"]


def aligned(n, dtype):
    """Return an uninitialised array (n,) whose memory begins at a multiple of a vector's size.

    A vector that crosses a border of 64 bytes costs two loads: 55 instead of 85 GFLOP/s in a sparse product.
    """
    size = np.dtype(dtype).itemsize
    memory = np.empty(n + BYTES // size, dtype)
    skipped = -memory.ctypes.data % BYTES // size
    return memory[skipped : skipped + n]


def aligned_rows(n_rows, width, dtype):
    """Return the same as rows (n_rows, width); all begin there where the width is one of whole vectors."""
    return aligned(n_rows * width, dtype).reshape(n_rows, width)


class Pool:
    """Memory of large arrays that are made anew in each pass.

    The system hands out zeroed pages at first touch, which took 12 of 33 ms of a training step of 29 x 128 x 256 units.
    What is given back is handed out again, up to ``most_bytes`` in all; more than that is left to the system.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._free: list[np.ndarray] = []

    def take(self, n, dtype):
        """Return an uninitialised aligned array (n,); the caller may give it back when nothing refers to it."""
        n_bytes = n * np.dtype(dtype).itemsize
        with self._lock:
            # The smallest that is large enough, and not so large that others would want for it.
            fitting = [i for i, memory in enumerate(self._free) if n_bytes <= memory.nbytes <= 2 * n_bytes]
            if fitting:
                chosen = min(fitting, key=lambda i: self._free[i].nbytes)
                return self._free.pop(chosen)[:n_bytes].view(dtype)
        return aligned(n_bytes, np.uint8).view(dtype)

    def give(self, *arrays):
        """Take memory back that `take` returned; nothing may use it any more."""
        with self._lock:
            for array in arrays:
                memory = array.reshape(-1).view(np.uint8)
                if sum(kept.nbytes for kept in self._free) + memory.nbytes <= self.most_bytes:
                    self._free.append(memory)

    @contextmanager
    def lend(self, *sizes: tuple[int, np.dtype]) -> Iterator[list[np.ndarray]]:
        """Take arrays for a block."""
        arrays = [self.take(n, dtype) for n, dtype in sizes]
        try:
            yield arrays
        finally:
            self.give(*arrays)


pool = Pool(2**28)
