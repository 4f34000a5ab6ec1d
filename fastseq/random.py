"""Random numbers that depend on (key, item, draw) and on nothing else: not on threads, order or device.

A key is made of the user's ``random_state`` once; each use takes its own stream, so that adding a use does not change
the others.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .errors import DTypeError, ValueRangeError

__all__ = ["as_key", "random_bits", "uniform", "normal"]

_MASK = (1 << 64) - 1


def as_key(random_state: Any = None, stream: str = "") -> np.uint64:
    """Return the 64-bit key for ``random_state`` and the use named ``stream``.

    Parameters
    ----------
    random_state : None, int or numpy.random.Generator
        None takes fresh entropy; an int from 0 to 2**64 - 1 always gives the same key; a Generator is drawn from once.
    stream : str
        Names what the numbers are for; other names give unrelated keys.

    Raises
    ------
    DTypeError
        ``random_state`` is of another type.
    ValueRangeError
        The int is negative or too large.
    """
    if random_state is None:
        seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    elif isinstance(random_state, np.random.Generator):
        seed = int(random_state.integers(0, 1 << 64, dtype=np.uint64))
    elif isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        seed = int(random_state)
        if not 0 <= seed <= _MASK:
            raise ValueRangeError(f"random_state is {seed}, expected 0 to 2**64 - 1")
    else:
        raise DTypeError(
            f"random_state is {type(random_state).__name__}, expected None, an int or a numpy.random.Generator"
        )
    digest = hashlib.blake2b(seed.to_bytes(8, "little") + stream.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def random_bits(key: Any, items: Any, draws: Any = 0) -> Any:
    """Return 64 random bits (uint64) for each of ``items`` and ``draws`` (integers, broadcast against each other)."""
    from .kernels.reference.random import random_bits as bits

    return bits(key, items, draws)


def uniform(key: Any, n: int, *, start: int = 0, draw: int = 0, dtype: Any = "float32", device: str = "cpu") -> Any:
    """Return ``n`` numbers in [0, 1): items ``start`` to ``start + n - 1`` of the stream ``key``, draw ``draw``."""
    from .kernels.random import random_uniform

    return random_uniform(key, n, start=start, draw=draw, dtype=dtype, device=device)


def normal(key: Any, n: int, *, start: int = 0, draw: int = 0, dtype: Any = "float32", device: str = "cpu") -> Any:
    """Return ``n`` standard normal numbers, counted as in `uniform` (Box and Muller 1958)."""
    from .kernels.random import random_normal

    return random_normal(key, n, start=start, draw=draw, dtype=dtype, device=device)
