"""Word by word co-occurrence counts within a window."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import DTypeError, ValueRangeError
from ._boundary import INT32_MAX, as_ids, as_offsets, check_integer, device_of, to_same_device, variant

__all__ = ["cooccurrence_counts", "integer_weights"]

WEIGHTINGS = ("uniform", "harmonic", "linear")
_DTYPES = ("int32", "int64", "float32", "float64")
# Where a token's window is cut at its sentence's ends is kept in the bits beside its position: 2 * 11 + 41.
MAX_WINDOW = 2047


def integer_weights(weighting: str, window: int) -> tuple[list[float], int]:
    """Return whole numbers ``w[d - 1]`` and a denominator; distance ``d`` weighs ``w[d - 1] / denominator``.

    Sums of whole numbers are exact in any order, so a weighted count is rounded once, at its end.
    """
    if weighting == "uniform":
        return [1] * window, 1
    if weighting == "linear":
        return [window + 1 - d for d in range(1, window + 1)], window
    common = math.lcm(*range(1, window + 1))
    return [common // d for d in range(1, window + 1)], common


def cooccurrence_counts(
    ids: Any,
    offsets: Any,
    n_words: int,
    *,
    window: int = 5,
    weighting: str = "uniform",
    symmetric: bool = True,
    dtype: Any = None,
) -> tuple[Any, Any, Any]:
    """Count how often each word stands within ``window`` tokens of each other word, as a CSR matrix (V, V).

    Parameters
    ----------
    ids : (n_tokens,) int array
        Word ids from 0 to V - 1, sentence after sentence.
    offsets : (n_sentences + 1,) int array
        Where each sentence begins, and the number of tokens at the end. No window reaches over a border.
    n_words : int
        V.
    window : int
        Tokens to look at on each side, 1 to 2047.
    weighting : {"uniform", "harmonic", "linear"}
        What a pair at distance d adds: 1, 1 / d, or (window + 1 - d) / window.
    symmetric : bool
        Whether contexts on both sides count. False counts those to the left only, as GloVe's option of the same name
        does: ``C[i, j]`` is then how often j stands before i.
    dtype : {"int32", "int64", "float32", "float64", "auto"}, optional
        Of the counts: int64 for the uniform weighting and float64 for the others unless given. "auto" takes int32
        instead of int64 where every count is sure to fit. Counts are summed as whole numbers over a common denominator
        and rounded at the end; only harmonic weights with a window of about 40 and more, whose denominator outgrows
        64 bits, are summed in float64.

    Returns
    -------
    indptr : (V + 1,) int64
    indices : (nnz,) int32
        Columns, rising within each row.
    data : (nnz,) array of ``dtype``

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described; a count might not fit int32 although that was asked for.
    DeviceError
        ``ids`` and ``offsets`` lie on different devices.

    Notes
    -----
    The counts are those of Pennington, Socher and Manning, "GloVe: Global Vectors for Word Representation", EMNLP 2014,
    section 3, where the weighting is harmonic. They are the same bits for any number of threads.
    """
    device = device_of(ids=ids, offsets=offsets)
    n_words = check_integer(n_words, "n_words", 0, INT32_MAX)
    window = check_integer(window, "window", 1, MAX_WINDOW)
    if not isinstance(symmetric, (bool, np.bool_)):
        raise DTypeError(f"symmetric is {symmetric!r}, expected True or False")
    if weighting not in WEIGHTINGS:
        raise ValueRangeError(f"weighting is {weighting!r}, expected one of {WEIGHTINGS}")
    ids = as_ids(ids, "ids", upper=n_words)
    offsets = as_offsets(offsets, "offsets", int(ids.shape[0]), "tokens")
    if ids.shape[0] >= 2**40:
        raise ValueRangeError(f"ids holds {ids.shape[0]} tokens, expected fewer than 2**40; count the corpus in parts")
    if dtype is None or (isinstance(dtype, str) and dtype == "auto" and weighting != "uniform"):
        dtype = "int64" if weighting == "uniform" else "float64"
    # A word cannot occur more often than there are tokens; how often the most frequent one does is counted only where
    # that is too coarse: it costs 0.03 s for 16.7 million tokens.
    most = int(ids.shape[0])
    if 2 * sum(integer_weights(weighting, window)[0]) * most > INT32_MAX:
        most = _largest_count(ids, device)
    if isinstance(dtype, str) and dtype == "auto":
        dtype = "int32" if (2 if symmetric else 1) * window * most <= INT32_MAX else "int64"
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"dtype is {dtype!r}, expected one of {_DTYPES}") from None
    if wanted.name not in _DTYPES:
        raise DTypeError(f"dtype is {wanted}, expected one of {_DTYPES}")
    if weighting != "uniform" and wanted.kind == "i":
        raise DTypeError(f"dtype is {wanted} but {weighting} weights are fractions, expected 'float32' or 'float64'")

    numerators, denominator = integer_weights(weighting, window)
    # A pair of words meets at most this often, weighted: every position of the rarer word, everywhere in its window.
    bound = (2 if symmetric else 1) * sum(numerators) * max(most, 1)
    counters = "int32" if bound <= INT32_MAX else "int64"
    if bound > INT32_MAX and wanted.name == "int32":
        raise ValueRangeError(
            f"dtype is int32, but a word occurs {most} times, so a count might reach {bound}; use dtype='int64'"
        )
    if bound >= 2**63:
        # lcm(1..W) outgrows int64 near W = 40: sums of float64 then, in the order of the text.
        numerators, denominator, counters = [n / denominator for n in numerators], 1, "float64"
    weights: np.ndarray = np.array(numerators, counters)
    body = variant(device, "cooccurrence")
    steps = to_same_device(weights, device)
    return body.cooccurrence_counts(ids, offsets, n_words, steps, float(denominator), bool(symmetric), wanted)


def _largest_count(ids: Any, device: str) -> int:
    """Return how often the most frequent word occurs."""
    if ids.shape[0] == 0:
        return 0
    if device == "cpu":
        return int(np.bincount(ids).max())
    from . import _cuda

    return int(_cuda.xp().bincount(ids).max())
