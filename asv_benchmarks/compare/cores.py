"""How long a line of the cache takes from one core to another, which decides what training without locks gains by two.

Virtual machines are moved: the same two cores share a cache in one minute (some 30 ns on a Zen 4) and lie on different
chips in the next (165 ns), where each change of a word that both train on waits five times as long.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

# Handed over so often, about a millisecond; the first ones are not timed, in which the other thread starts.
TURNS = 10_000
# Looks at the line before it is given up: on one core each waits for the other until the system takes it away.
_MOST = 200_000_000
# Nanoseconds: caches of one chip take 20 to 80, others 100 and more.
FAR = 90.0


@cache
def _hand_over() -> Any:
    """Return a compiled function that waits for a number and stores the next, so many times."""
    from llvmlite import ir
    from numba import njit, types
    from numba.extending import intrinsic

    def address(context: Any, builder: Any, signature: Any, array: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, array).data

    @intrinsic
    def look(typing_context, line):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.load_atomic(address(context, builder, signature, arguments[0]), "acquire", 8)

        return types.int64(line), generate

    @intrinsic
    def put(typing_context, line, value):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            place = address(context, builder, signature, arguments[0])
            builder.store_atomic(arguments[1], place, "release", 8)
            return ir.Constant(ir.IntType(64), 0)

        return types.int64(line, types.int64), generate

    @njit(nogil=True)
    def hand_over(line, first, turns, most):  # type: ignore[no-untyped-def]
        looks = 0
        for i in range(first, first + 2 * turns, 2):
            while look(line) != i:
                looks += 1
                if looks > most:
                    return False
            put(line, i + 1)
        return True

    return hand_over


def line_nanoseconds() -> float | None:
    """Return how long a line takes from one core to another; None with one core, or where that took too long."""
    if len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) < 2:
        return None
    hand_over = _hand_over()
    line = np.zeros(16, np.int64)
    # Compiled before the clock starts.
    hand_over(line, np.int64(0), np.int64(0), np.int64(0))
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(hand_over, line, np.int64(1), np.int64(2 * TURNS), np.int64(_MOST))
        begun = hand_over(line, np.int64(0), np.int64(TURNS), np.int64(_MOST))
        start = time.perf_counter()
        done = begun and hand_over(line, np.int64(2 * TURNS), np.int64(TURNS), np.int64(_MOST))
        seconds = time.perf_counter() - start
        if not (done and other.result()):
            return None
    return 1e9 * seconds / (2 * TURNS)


def described(found: list[float | None]) -> str:
    """Return what the times say of the run they were measured in, or nothing where there are none."""
    known = sorted(value for value in found if value is not None)
    if not known:
        return ""
    near = [value for value in known if value < FAR]
    parts = [f"{len(part)} times {part[0]:.0f} to {part[-1]:.0f} ns" for part in (near, known[len(near) :]) if part]
    return " and ".join(parts)
