"""Counter-based random numbers: the same for any number of threads, in any order, on the CPU and with CUDA."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ValueRangeError
from ._boundary import as_float_dtype, check_finite_number, check_integer, variant

__all__ = ["random_mask", "random_normal", "random_uniform"]


def _check(
    key: Any, n: Any, start: Any, draw: Any, dtype: Any, device: str
) -> tuple[np.uint64, int, int, int, np.dtype]:
    key = check_integer(key, "key", 0, 2**64 - 1)
    n = check_integer(n, "n", 0)
    start = check_integer(start, "start", 0)
    draw = check_integer(draw, "draw", 0, 2**32 - 1)
    if device not in ("cpu", "cuda"):
        raise ValueRangeError(f"device is {device!r}, expected 'cpu' or 'cuda'")
    return np.uint64(key), n, start, draw, as_float_dtype(dtype)


def random_uniform(
    key: Any, n: int, start: int = 0, draw: int = 0, dtype: Any = "float32", device: str = "cpu"
) -> Any:
    """Return ``n`` numbers, uniform in [0, 1).

    Parameters
    ----------
    key : uint64
        The stream; see `fastseq.random.as_key`.
    n : int
        How many.
    start : int
        The first item: a long array can be filled piece by piece.
    draw : int
        Which of the numbers of each item.
    dtype : {"float32", "float64"}
        float32 has 24 random bits, float64 has 53.
    device : {"cpu", "cuda"}
        Where the result lies.

    Returns
    -------
    (n,) array
        ``floor(bits / 2**11) / 2**53`` with ``bits = mix(mix(key + item * g) + (draw + 1) * g)``, g the golden ratio's
        64-bit constant and mix SplitMix64's finaliser (Steele, Lea, Flood, "Fast splittable pseudorandom number
        generators", OOPSLA 2014).

    Raises
    ------
    ValueRangeError, DTypeError
        An argument is out of range or of the wrong type.
    """
    key, n, start, draw, dtype = _check(key, n, start, draw, dtype, device)
    return variant(device, "random").random_uniform(key, n, start, draw, dtype)


def random_mask(
    key: Any, n: int, share: float, below: float = 0.0, above: float = 1.0, start: int = 0, draw: int = 0,
    dtype: Any = "float32", device: str = "cpu",
) -> Any:  # fmt: skip
    """Return ``n`` numbers that are one of two: what dropout multiplies by.

    Parameters
    ----------
    key, n, start, draw, dtype, device
        As for `random_uniform`.
    share : float
        The probability of ``below``, 0 to 1, rounded up to a multiple of 2**-32.
    below, above : float
        The two numbers.

    Returns
    -------
    (n,) array
        ``below`` where 32 random bits, divided by 2**32, are below ``share``, else ``above``: items 2m and 2m + 1 take
        the lower and the upper half of the bits that `random_uniform` has for item m. Both dtypes have the same mask.

    Raises
    ------
    ValueRangeError, DTypeError
        An argument is out of range or of the wrong type.
    """
    key, n, start, draw, dtype = _check(key, n, start, draw, dtype, device)
    share = check_finite_number(share, "share", 0.0, upper=1.0)
    below = dtype.type(check_finite_number(below, "below", -math.inf))
    above = dtype.type(check_finite_number(above, "above", -math.inf))
    # A whole number is below it where it is below the next whole one.
    limit = math.ceil(math.ldexp(share, 32))
    return variant(device, "random").random_mask(key, n, limit, below, above, start, draw, dtype)


def random_normal(
    key: Any, n: int, start: int = 0, draw: int = 0, dtype: Any = "float32", device: str = "cpu"
) -> Any:
    """Return ``n`` standard normal numbers.

    Parameters
    ----------
    key, n, start, draw, dtype, device
        As for `random_uniform`; each draw takes two of its numbers.

    Returns
    -------
    (n,) array

    Raises
    ------
    ValueRangeError, DTypeError
        An argument is out of range or of the wrong type.

    Notes
    -----
    Items 2m and 2m + 1 are the cosine and the sine of one pair of uniform numbers (Box and Muller, "A note on the
    generation of random normal deviates", Annals of Mathematical Statistics 29, 1958).
    """
    key, n, start, draw, dtype = _check(key, n, start, draw, dtype, device)
    return variant(device, "random").random_normal(key, n, start, draw, dtype)
