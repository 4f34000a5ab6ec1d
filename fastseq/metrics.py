"""Cosine, Pearson and Spearman: what vectors are judged by. Everything is computed in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import DTypeError, ShapeError, ValueRangeError

__all__ = ["cosine", "pearson", "spearman", "rank_average", "correlation_p_value"]


def _as_vector(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ShapeError(f"{name} is ragged, expected one axis of numbers") from None
    if array.size and array.dtype.kind not in "fiub":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    if array.ndim != 1:
        raise ShapeError(f"{name} has shape {array.shape}, expected one axis")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueRangeError(f"{name} holds NaN or infinity, expected finite numbers")
    return array


def _as_pair(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = _as_vector(x, "x"), _as_vector(y, "y")
    if x.shape != y.shape:
        raise ShapeError(f"x holds {x.size} numbers and y {y.size}, expected as many of each")
    return x, y


def _unit(x: np.ndarray, eps: float) -> np.ndarray:
    # Divided by the largest number first, so that squares neither overflow nor vanish.
    largest = float(np.abs(x).max(initial=0.0))
    if largest == 0:
        return x
    shrunk = x / largest
    # eps / largest overflows for vectors of less than 1e-300, whose unit vector is then 0, as it is without scaling.
    with np.errstate(over="ignore"):
        return np.asarray(shrunk / (np.sqrt(shrunk @ shrunk) + np.float64(eps) / largest))


def cosine(x: Any, y: Any, *, eps: float = 1e-8) -> float:
    """Return the cosine of the angle between two vectors; 0 where one of them is zero.

    Parameters
    ----------
    x, y : array, shape (D,)
        The vectors.
    eps : float
        Added to each length, so that a zero vector divides nothing by zero.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        Not two vectors of equal length, not numbers, or NaN or infinity among them.

    Examples
    --------
    >>> round(cosine([1.0, 0.0], [1.0, 1.0]), 4)
    0.7071
    """
    x, y = _as_pair(x, y)
    return float(_unit(x, eps) @ _unit(y, eps))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if x.size < 2:
        raise ShapeError(f"a correlation of {x.size} pairs is not defined, expected at least 2")
    if (x == x[0]).all() or (y == y[0]).all():
        return float("nan")
    # Divided by the largest deviation first, so that squares neither overflow nor vanish.
    x = x - x.mean()
    y = y - y.mean()
    x /= np.abs(x).max()
    y /= np.abs(y).max()
    r = (x / np.sqrt(x @ x)) @ (y / np.sqrt(y @ y))
    return float(min(1.0, max(-1.0, r)))


def pearson(x: Any, y: Any) -> float:
    """Return Pearson's correlation of two series; NaN where one of them is constant.

    Parameters
    ----------
    x, y : array, shape (n,)
        The series, n at least 2.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        Not two series of equal length of at least 2, not numbers, or NaN or infinity among them.

    Examples
    --------
    >>> round(pearson([1, 2, 3], [2, 4, 6]), 6)
    1.0
    """
    return _correlation(*_as_pair(x, y))


def rank_average(values: Any) -> np.ndarray:
    """Return the rank of each value from 1 (the smallest) up; equal values share the mean of their ranks.

    Examples
    --------
    >>> rank_average([10, 20, 20, 30]).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    values = _as_vector(values, "values")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def spearman(x: Any, y: Any) -> float:
    """Return Spearman's rank correlation of two series; equal values share the mean of their ranks.

    Parameters and errors are those of `pearson`; NaN where one of the series is constant.

    Examples
    --------
    >>> round(spearman([1, 2, 3], [1, 10, 100]), 6)
    1.0
    """
    x, y = _as_pair(x, y)
    return _correlation(rank_average(x), rank_average(y))


def correlation_p_value(r: float, n: int) -> float:
    """Return the two-sided p-value of a correlation ``r`` of ``n`` pairs; NaN for fewer than 3 pairs.

    Raises
    ------
    ValueRangeError
        ``r`` is not from -1 to 1.

    Notes
    -----
    ``r sqrt((n - 2) / (1 - r^2))`` follows Student's t with n - 2 degrees of freedom where the series are unrelated;
    exact for Pearson's of normal series, an approximation for Spearman's.
    """
    from scipy.special import stdtr

    if abs(r) > 1.0:
        raise ValueRangeError(f"r is {r}, expected a correlation from -1 to 1")
    if n < 3 or np.isnan(r):
        return float("nan")
    if abs(r) >= 1.0:
        return 0.0
    t = r * np.sqrt((n - 2) / ((1.0 - r) * (1.0 + r)))
    return float(2.0 * stdtr(n - 2, -abs(t)))
