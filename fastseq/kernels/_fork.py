"""What is known of Numba's threads: who started them, and what a fork does to them.

Loaded with the package of kernels, before Numba, so that a fork is noticed whatever started the threads.
"""

from __future__ import annotations

import os
import sys
import threading

from ..errors import ForkError

__all__ = ["POOL"]


class _Pool:
    """The process that started Numba's threads, the name of their layer, and a lock for layers that need one."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.layer: str | None = None
        self.lock = threading.RLock()

    def check_fork(self) -> None:
        """Raise `ForkError` in a child of the process whose threads cannot go on in it."""
        # GNU OpenMP kills a forked child that enters a parallel region (signal 15); tbb and workqueue survive.
        if self.layer == "omp" and self.pid != os.getpid():
            raise ForkError(
                f"parallel kernels ran in process {self.pid} before it was forked into this one ({os.getpid()}), and "
                "OpenMP cannot go on in a forked child; start workers with multiprocessing's 'spawn' or 'forkserver' "
                "method, or set NUMBA_THREADING_LAYER=workqueue before Python starts"
            )

    def learn(self) -> None:
        """Notice the threads, if there are any."""
        numba = sys.modules.get("numba")
        if self.layer is None and numba is not None:
            try:
                self.layer = numba.threading_layer()
            except ValueError:
                # Numba has not started its threads.
                return
            self.pid = os.getpid()

    def after_fork(self) -> None:
        """Give the child a lock that no other thread holds."""
        self.lock = threading.RLock()


POOL = _Pool()

if hasattr(os, "register_at_fork"):
    # Before a fork, since the threads may have been started by numba.get_num_threads or by a function of the user's.
    os.register_at_fork(before=POOL.learn, after_in_child=POOL.after_fork)
