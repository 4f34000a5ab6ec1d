"""Runs the body of a CUDA kernel whose blocks wait for one another, with a Python thread for each thread of the grid.

Numba's simulator runs one block after the other, so a barrier of the grid needs something else. Here one thread runs at
a time, until it comes to a barrier; there the next one goes on. A barrier that some threads never reach is an error.
"""

from __future__ import annotations

import collections
import importlib.util
import sys
import threading
import types

import numpy as np

from fastseq.kernels import _cuda

WARP = 32


class _Barrier:
    def __init__(self, members):
        self.members, self.waiting = members, []


class Grid:
    """Stands for ``numba.cuda`` within a kernel."""

    def __init__(self, blocks, threads):
        self.blocks, self.threads = blocks, threads
        self.here = threading.local()
        self.turns = collections.deque()
        self.everyone = _Barrier(blocks * threads)
        self.of_block = [_Barrier(threads) for _ in range(blocks)]
        self.of_warp = [_Barrier(WARP) for _ in range(blocks * threads // WARP)]
        self.given = [0.0] * (blocks * threads)
        self.memory = {}
        self.syncs = 0
        self.error = None
        self.cg = types.SimpleNamespace(this_grid=lambda: types.SimpleNamespace(sync=self._sync))
        # Neither kind of memory is zero where it was not written.
        self.local = types.SimpleNamespace(array=lambda shape, dtype: np.full(shape, 77, dtype))
        self.shared = types.SimpleNamespace(array=self._shared)

    threadIdx = property(lambda self: types.SimpleNamespace(x=self.here.thread))
    blockIdx = property(lambda self: types.SimpleNamespace(x=self.here.block))
    blockDim = property(lambda self: types.SimpleNamespace(x=self.threads))

    def _pass_on(self):
        """Let the next thread run; where none can, the grid is at its end or waits for ever."""
        if self.turns:
            self.turns.popleft().release()
        else:
            self.ended.release()

    def _wait(self, barrier):
        if len(barrier.waiting) + 1 == barrier.members:
            self.turns.extend(barrier.waiting)
            barrier.waiting = []
            return
        barrier.waiting.append(self.here.turn)
        self._pass_on()
        self.here.turn.acquire()
        if self.error:
            raise self.error

    def syncthreads(self):
        self._wait(self.of_block[self.here.block])

    def _sync(self):
        self.syncs += self.here.block == self.here.thread == 0
        self._wait(self.everyone)

    def _shared(self, shape, dtype):
        assert shape == 0, "only memory whose size the launch says"
        n = self.n_bytes // np.dtype(dtype).itemsize
        return self.memory.setdefault(self.here.block, np.full(n, np.nan, dtype))

    def exchange(self, value, mask):
        place = self.here.block * self.threads + self.here.thread
        self.given[place] = value
        self._wait(self.of_warp[place // WARP])
        taken = self.given[place ^ mask]
        self._wait(self.of_warp[place // WARP])
        return type(value)(taken)

    def run(self, body, n_bytes, *arguments):
        """Run ``body`` in all threads; the first error of any is raised."""
        self.n_bytes = n_bytes
        self.ended = threading.Semaphore(0)
        left = [self.blocks * self.threads]

        def thread(block, number, turn):
            self.here.block, self.here.thread, self.here.turn = block, number, turn
            turn.acquire()
            try:
                if not self.error:
                    with np.errstate(all="ignore"):
                        body(*arguments)
            except BaseException as error:
                self.error = self.error or error
            left[0] -= 1
            self._pass_on()

        turns = [threading.Lock() for _ in range(left[0])]
        for turn in turns:
            turn.acquire()
        threads = [
            threading.Thread(target=thread, args=(*divmod(place, self.threads), turn), daemon=True)
            for place, turn in enumerate(turns)
        ]
        for one in threads:
            one.start()
        self.turns.extend(turns)
        self._pass_on()
        self.ended.acquire()
        if left[0]:
            waiting = [turn for barrier in (self.everyone, *self.of_block, *self.of_warp) for turn in barrier.waiting]
            self.error = self.error or RuntimeError(f"{len(waiting)} threads wait for others that do not come")
            for turn in waiting:
                turn.release()
        for one in threads:
            one.join()
        if self.error:
            raise self.error


def bodies(module, grid, monkeypatch):
    """Return a copy of a module of ``fastseq.kernels.cuda`` whose functions are plain ones that run in ``grid``."""
    with monkeypatch.context() as patch:
        patch.setattr(_cuda, "cuda", grid)
        patch.setattr(_cuda, "exchange", grid.exchange)
        for decorator in ("cuda_jit", "device_jit"):
            patch.setattr(_cuda, decorator, lambda function: function)
        for name in (f"{module.__package__}._equations", module.__name__):
            spec = importlib.util.find_spec(name)
            copy = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, copy)
            patch.setattr(sys.modules[module.__package__], name.rpartition(".")[2], copy)
            spec.loader.exec_module(copy)
    return copy
