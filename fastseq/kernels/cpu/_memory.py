"""Memory that begins where a vector does, and memory that is used again."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from typing import Any

import numpy as np

from .._jit import jit
from .._vector import BYTES

__all__ = ["Pool", "aligned", "aligned_rows", "pool"]


@jit
def _skipped(
    memory,  # IN  uint8 (n,)
):
    """Return how many bytes lie before the first multiple of a vector's size."""
    return -np.int64(memory.ctypes.data) % BYTES


def aligned(n, dtype):
    """Return an uninitialised array (n,) whose memory begins at a multiple of a vector's size.

    A vector that crosses a border of 64 bytes costs two loads: 55 instead of 85 GFLOP/s in a sparse product.
    """
    dtype = np.dtype(dtype)
    # Bytes, so that there is one compiled version.
    memory = np.empty(int(n) * dtype.itemsize + BYTES, np.uint8)
    return np.ndarray((n,), dtype, memory, _skipped(memory))


def aligned_rows(n_rows, width, dtype):
    """Return the same as rows (n_rows, width); all begin there where the width is one of whole vectors."""
    return aligned(n_rows * width, dtype).reshape(n_rows, width)


# Arrays below that are the system's: their pages are its own to use again.
_LEAST_BYTES = 2**17


class _Block(np.ndarray):
    """Memory of a pool. A class of its own, or NumPy would take the block's base for the base of what is made of it."""


class _Lent(np.ndarray):
    """A block as the base of arrays: it goes back to its pool when the last of them is gone.

    It sees to that itself: a `weakref.finalize` for each took 5.5 us.
    """

    # Views of it, which nobody makes, give nothing back.
    _given: deque[Any] | None = None

    def __del__(self) -> None:
        # At the interpreter's end the modules may be gone: nothing but what this one holds is used.
        if self._given is not None:
            self._given.append(self.base)


class Pool:
    """Memory of large arrays that are made anew in each pass.

    The system hands out zeroed pages at first touch, which took 12 of 33 ms of a training step of 29 x 128 x 256 units.
    What is given back is handed out again. Up to ``most_bytes`` are kept; then those that have waited longest go.

    Collecting garbage may give memory back in the middle of `take`, on the same thread. So giving only appends to a
    queue, which takes no lock, and what is in it is sorted in at the next call of `take`.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._given: deque[Any] = deque()
        # By their sizes, each with a number that says how long it has waited; the last one is the first to go out, for
        # it is the likeliest to be in the caches.
        self._free: dict[int, list[tuple[int, Any]]] = {}
        self._free_bytes = 0
        self._turn = 0
        self._lock = threading.Lock()

    def take(self, n, dtype):
        """Return an uninitialised aligned array (n,); the caller may give it back when nothing refers to it."""
        dtype = np.dtype(dtype)
        return np.ndarray((n,), dtype, self._block(n * dtype.itemsize))

    def _block(self, n_bytes: int) -> Any:
        n_bytes = int(n_bytes)
        # Sizes in steps of an eighth, so that a batch that is a little longer finds room in the last one's.
        step = 1 << max(6, n_bytes.bit_length() - 4)
        size = max(1, -(-n_bytes // step)) * step
        block: Any = self._pick(size)
        if block is None:
            memory = np.ndarray.__new__(_Block, (size + BYTES,), np.uint8)
            # Where its vectors begin is found once, not in each pass.
            skipped = _skipped(memory.view(np.ndarray))
            block = memory[skipped : skipped + size]
        return block

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an uninitialised array for whoever called: its memory comes back when nothing refers to it any more.

        Views count: they refer to the array, and the array to what stands for the memory.
        """
        dtype = np.dtype(dtype)
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes < _LEAST_BYTES:
            return np.empty(shape, dtype)
        block = self._block(n_bytes)
        lent = np.ndarray.__new__(_Lent, (block.nbytes,), np.uint8, block)
        lent._given = self._given
        return np.ndarray(shape, dtype, lent)

    def rows(self, n_rows: int, width: int, dtype: Any) -> np.ndarray:
        """Return the same as rows; they begin as those of `aligned_rows` do."""
        if n_rows * width * np.dtype(dtype).itemsize < _LEAST_BYTES:
            return aligned_rows(n_rows, width, dtype)
        return self.array((n_rows, width), dtype)

    def flat(self, n: int, dtype: Any) -> np.ndarray:
        """Return an uninitialised array (n,) as those of `rows`."""
        if n * np.dtype(dtype).itemsize < _LEAST_BYTES:
            return aligned(n, dtype)
        return self.array((n,), dtype)

    def give(self, *arrays):
        """Take memory back that `take` returned; nothing may use it any more."""
        for array in arrays:
            # The whole block, of which the array is a part.
            block = array.base
            while type(block) is np.ndarray:
                block = block.base
            if type(block) is not _Block:
                # What stands for the memory of an array of `array` gives it back as well: two would have the same.
                raise ValueError("memory is given back that Pool.take did not return")
            self._given.append(block)

    def after_fork(self) -> None:
        """Begin again in a child process: a thread that is no more may have been in the middle of `take`."""
        self._lock = threading.Lock()
        self._free_bytes = sum(size * len(blocks) for size, blocks in self._free.items())

    def _pick(self, wanted: int) -> Any:
        # A fork in the middle brings the child another lock.
        lock = self._lock
        if not lock.acquire(blocking=False):
            # Another thread is at it, or this one, which collects garbage: new memory is always right.
            return None
        try:
            free = self._free
            while self._given:
                block = self._given.popleft()
                free.setdefault(block.nbytes, []).append((self._turn, block))
                self._free_bytes += block.nbytes
                self._turn += 1
            size = wanted
            if size not in free:
                # The smallest that is large enough, and not so large that others would want for it.
                size = min((size for size in free if wanted < size <= 2 * wanted + 4096), default=0)
            memory = None
            if size:
                memory = free[size].pop()[1]
                self._free_bytes -= size
                if not free[size]:
                    del free[size]
            while free and self._free_bytes > self.most_bytes:
                oldest = min(free, key=lambda size: free[size][0])
                free[oldest].pop(0)
                self._free_bytes -= oldest
                if not free[oldest]:
                    del free[oldest]
            return memory
        finally:
            lock.release()


pool = Pool(2**29)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.after_fork)
