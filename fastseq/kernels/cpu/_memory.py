"""Memory that begins where a vector does, and memory that is used again."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from typing import Any

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


# Arrays below that are the system's: their pages are its own to use again.
_LEAST_BYTES = 2**17


class _Owner:
    """Stands for memory of a pool as the base of arrays, and gives it back when the last of them is gone.

    It does so itself: a `weakref.finalize` for each took 5.5 us.
    """

    __slots__ = ("__array_interface__", "_block", "_given")

    def __init__(self, memory: np.ndarray, given: deque[Any]) -> None:
        self._block, self._given = memory.base, given
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        # At the interpreter's end the modules may be gone: nothing but what this one holds is used.
        self._given.append(self._block)


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
        # Each with its size; those that have waited longest first.
        self._free: list[tuple[int, np.ndarray]] = []
        self._free_bytes = 0
        self._lock = threading.Lock()

    def take(self, n, dtype):
        """Return an uninitialised aligned array (n,); the caller may give it back when nothing refers to it."""
        return self._shaped((n,), n, np.dtype(dtype))

    def _shaped(self, shape: tuple[int, ...], n: int, dtype: np.dtype) -> np.ndarray:
        n_bytes = int(n) * dtype.itemsize
        # Sizes in steps of an eighth, so that a batch that is a little longer finds room in the last one's.
        step = 1 << max(6, n_bytes.bit_length() - 4)
        size = max(1, -(-n_bytes // step)) * step
        block = self._pick(n_bytes, size)
        if block is None:
            # A view through a memoryview is the last array that all made of it refer to, see `give`: where a block's
            # vectors begin is found once, not in each pass.
            block = np.frombuffer(memoryview(aligned(size, np.uint8)), np.uint8)
        return np.ndarray(shape, dtype, block)

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an uninitialised array for whoever called: its memory comes back when nothing refers to it any more.

        Views count: they refer to the array, and the array to what stands for the memory.
        """
        n, dtype = math.prod(shape), np.dtype(dtype)
        if n * dtype.itemsize < _LEAST_BYTES:
            return np.empty(shape, dtype)
        return np.asarray(_Owner(self._shaped(shape, n, dtype), self._given))

    def rows(self, n_rows: int, width: int, dtype: Any) -> np.ndarray:
        """Return the same as rows; they begin as those of `aligned_rows` do."""
        if n_rows * width * np.dtype(dtype).itemsize < _LEAST_BYTES:
            return aligned_rows(n_rows, width, dtype)
        return self.array((n_rows, width), dtype)

    def flat(self, n: int, dtype: Any) -> np.ndarray:
        """Return an uninitialised array (n,) as those of `rows`."""
        return self.rows(1, n, dtype).reshape(-1)

    def give(self, *arrays):
        """Take memory back that `take` returned; nothing may use it any more."""
        for array in arrays:
            # The whole block, of which the array is a part; what is behind it is no array.
            block = array
            while type(block.base) is np.ndarray:
                block = block.base
            if type(block.base) is not memoryview:
                # Behind an array of `array` is its owner, who gives it back as well: two would have the same memory.
                raise ValueError("memory is given back that Pool.take did not return")
            self._given.append(block)

    def after_fork(self) -> None:
        """Begin again in a child process: a thread that is no more may have been in the middle of `take`."""
        self._lock = threading.Lock()
        self._free_bytes = sum(size for size, _ in self._free)

    def _pick(self, n_bytes: int, wanted: int) -> np.ndarray | None:
        # A fork in the middle brings the child another lock.
        lock = self._lock
        if not lock.acquire(blocking=False):
            # Another thread is at it, or this one, which collects garbage: new memory is always right.
            return None
        try:
            free = self._free
            while self._given:
                block = self._given.popleft()
                free.append((block.nbytes, block))
                self._free_bytes += block.nbytes
            # The smallest that is large enough, and not so large that others would want for it.
            chosen, least = -1, 2 * n_bytes + 4097
            for i, (size, _) in enumerate(free):
                if n_bytes <= size < least:
                    chosen, least = i, size
                    if size == wanted:
                        break
            memory = None
            if chosen >= 0:
                size, memory = free.pop(chosen)
                self._free_bytes -= size
            while free and self._free_bytes > self.most_bytes:
                self._free_bytes -= free.pop(0)[0]
            return memory
        finally:
            lock.release()


pool = Pool(2**29)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.after_fork)
