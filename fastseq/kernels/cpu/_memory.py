"""Memory that begins where a vector does, and memory that is used again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import count
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

    It sees to that itself: a `weakref.finalize` for each took 5.5 us. What holds its own base alone does not keep the
    memory.
    """

    # Where the block is put; views of it, which nobody makes, give nothing back.
    _home: deque[Any] | None = None
    _turn: Callable[[], int]

    def __del__(self) -> None:
        # At the interpreter's end the modules may be gone: nothing but what this one holds is used.
        if self._home is not None:
            self._home.append((self._turn(), self.base))


class Pool:
    """Memory of large arrays that are made anew in each pass.

    The system hands out zeroed pages at first touch, which took 12 of 33 ms of a training step of 29 x 128 x 256 units.
    What is given back is handed out again. Up to ``most_bytes`` are kept; then those that have waited longest go.

    There is no lock: collecting garbage may give memory back in the middle of anything, on the same thread, and another
    thread, an interrupt or a fork may come between any two lines. So all that changes is one call each: a block is
    appended to the queue of its size, or popped from it.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        # Blocks by their sizes, each with a number that rises from one to the next. A queue that is there stays.
        self._free: dict[int, deque[tuple[int, Any]]] = {}
        self._turn = count().__next__
        self._takes = 0

    def take(self, n, dtype):
        """Return an uninitialised aligned array (n,); the caller may give it back when nothing refers to it."""
        dtype = np.dtype(dtype)
        return np.ndarray((n,), dtype, self._block(n * dtype.itemsize))

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
        lent._home, lent._turn = self._free[block.nbytes], self._turn
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
            self._free.setdefault(block.nbytes, deque()).append((self._turn(), block))

    def _block(self, n_bytes: int) -> Any:
        n_bytes = int(n_bytes)
        # Sizes in steps of an eighth, so that a batch that is a little longer finds room in the last one's.
        step = 1 << max(6, n_bytes.bit_length() - 4)
        size = max(1, -(-n_bytes // step)) * step
        block = self._pick(size)
        self._takes += 1
        made = block is None
        if made:
            memory = np.ndarray.__new__(_Block, (size + BYTES,), np.uint8)
            # Where its vectors begin is found once, not in each pass.
            skipped = _skipped(memory.view(np.ndarray))
            block = memory[skipped : skipped + size]
            self._free.setdefault(size, deque())
        # To count ten sizes takes 1.4 us. Without new memory more is kept only where less is out.
        if made or self._takes % 32 == 0:
            self._let_go()
        return block

    def _pick(self, size: int) -> Any:
        queue: Any = self._free.get(size)
        if not queue:
            # The smallest that is large enough, and not so large that others would want for it.
            others = [other for other, blocks in list(self._free.items()) if blocks and size < other <= 2 * size + 4096]
            queue = self._free[min(others)] if others else ()
        try:
            # What came last is the likeliest to be in the caches.
            return queue.pop()[1] if queue else None
        except IndexError:
            # Another thread has taken it.
            return None

    def _let_go(self) -> None:
        queues = list(self._free.items())
        n_bytes = sum(size * len(blocks) for size, blocks in queues)
        while n_bytes > self.most_bytes:
            try:
                _, size, blocks = min((blocks[0][0], size, blocks) for size, blocks in queues if blocks)
                blocks.popleft()
            except (IndexError, ValueError):
                # Other threads have taken them.
                return
            n_bytes -= size


pool = Pool(2**29)
