"""How many threads BLAS uses: one number for the process, so all who change it do so through this one place."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["limit_blas"]


class _Limits:
    """The limits that are in force, in the order in which they were set. The last one counts; without any, the numbers
    that were found before the first are restored. Blocks of several Python threads may overlap in any way.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.limits: dict[object, int] = {}
        self.found: list[tuple[Any, int]] = []

    def enter(self, n: int) -> object:
        token = object()
        with self.lock:
            if not self.limits:
                from threadpoolctl import ThreadpoolController

                libraries = ThreadpoolController().select(user_api="blas").lib_controllers
                self.found = [(library, library.num_threads) for library in libraries]
            self.limits[token] = n
            self._apply()
        return token

    def leave(self, token: object) -> None:
        with self.lock:
            del self.limits[token]
            self._apply()

    def _apply(self) -> None:
        last = list(self.limits.values())[-1] if self.limits else None
        for library, number in self.found:
            # Newer threadpoolctl lets the first thread alone set OpenBLAS's number, and silently ignores the others.
            # The lock here makes that needless.
            release = getattr(library, "clear_controlling_thread", None)
            if release is not None:
                release(force=True)
            library.set_num_threads(number if last is None else last)
            if release is not None:
                release(force=True)


_limits = _Limits()


def _after_fork() -> None:
    """Give the child a lock that no other thread holds."""
    _limits.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def limit_blas(n: int) -> Iterator[None]:
    """Let BLAS use ``n`` threads inside the block."""
    token = _limits.enter(n)
    try:
        yield
    finally:
        _limits.leave(token)
