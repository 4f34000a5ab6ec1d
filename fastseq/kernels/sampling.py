"""Negative sampling: an alias table of whole numbers over a unigram distribution, and ids drawn from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._boundary import (
    INT32_MAX,
    _as_array,
    _plain,
    array_module,
    as_floats,
    as_ids,
    check_integer,
    device_of,
    variant,
)

__all__ = ["sample_negatives", "unigram_table"]


def unigram_table(counts: Any, power: float = 0.75) -> tuple[Any, Any, Any]:
    """Build the table from which ids are drawn with probabilities proportional to ``counts ** power``.

    Parameters
    ----------
    counts : (V,) int or float array
        How often each id occurs, none negative and at least one positive, V from 1 to 2**31 - 1; taken as float64.
    power : float
        Any finite number: 1 leaves the distribution as it is, 0.75 is word2vec's, 0 makes it uniform over the ids that
        occur, and negative powers prefer rare ids.

    Returns
    -------
    thresholds : (V,) uint32
    aliases : (V,) int32
        Of 64 random bits the upper 32 choose a slot; it gives its own number where the lower 32 are below its threshold
        and its alias otherwise. A slot that always gives its own number has itself as alias.
    weights : (V,) uint64
        Whole numbers that add up to ``V * 2**32``: of the pairs of a slot and 32 lower bits, exactly ``weights[i]``
        give i. Ids that occur have a weight of at least 1, the others have 0 and are never drawn.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        ``counts`` is empty, has more than one axis, is not numeric, or holds a negative number, NaN, infinity or no
        positive number; ``power`` is not a finite number.

    Notes
    -----
    The table is Walker's ("An efficient method for generating discrete random variables with general distributions",
    ACM TOMS 3, 1977), built in linear time after Vose ("A linear algorithm for generating random numbers with a given
    distribution", IEEE TSE 17, 1991), in whole numbers, so that the probabilities are exactly the weights. The power of
    0.75 is from Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed representations of words and phrases and their
    compositionality", NIPS 2013.

    A weight differs by less than 1 from ``V * 2**32 * count**power / sum(counts**power)`` as float64 has it (where ids
    have less than 1 of it and get 1, the others have that much less). ``numpy.power`` is not used: its last bit depends
    on the machine. Only additions, products, quotients and whole numbers are, in a fixed order, so the table is the
    same bits on every machine with IEEE float64.

    It is built once, on the host and by one thread: 12 ms for a million words whose counts fall by Zipf's law and 47 ms
    if all counts differ in no order (one core of an AMD EPYC, Zen 5). For ``counts`` on a CUDA device it is built on
    the host too and moved there.

    The oracle is `fastseq.kernels.reference.sampling.unigram_table`.

    Examples
    --------
    >>> thresholds, aliases, weights = unigram_table([3, 1], power=1)
    >>> (weights / weights.sum()).tolist()
    [0.75, 0.25]
    """
    device = device_of(counts=counts)
    counts = as_floats(counts, "counts", 1, dtype=np.float64)
    n_words = int(counts.shape[0])
    if n_words == 0:
        raise ShapeError("counts is empty, expected the count of at least one id")
    if n_words > INT32_MAX:
        raise ShapeError(f"counts holds {n_words} numbers, expected at most {INT32_MAX} (ids are int32)")
    lowest = float(counts.min())
    if lowest < 0:
        raise ValueRangeError(f"counts holds {lowest:g}, expected numbers that are not negative")
    if not float(counts.max()) > 0:
        raise ValueRangeError("counts holds only zeros, expected at least one positive number: nothing could be drawn")
    return variant(device, "sampling").unigram_table(counts, _as_power(power))


def _as_power(power: Any) -> float:
    if isinstance(power, (bool, np.bool_)) or not isinstance(power, (int, float, np.integer, np.floating)):
        raise DTypeError(f"power is {power!r} ({type(power).__name__}), expected a number")
    try:
        number = float(power)
    except OverflowError:
        number = float("inf")
    if not np.isfinite(number):
        raise ValueRangeError(f"power is {power}, expected a finite number such as 0.75")
    return number


def sample_negatives(
    thresholds: Any,
    aliases: Any,
    weights: Any,
    targets: Any,
    k: int,
    *,
    key: Any = 0,
    start: int = 0,
    replace: bool = True,
) -> Any:
    """Draw ``k`` ids for each target from a table, none of them the target.

    Parameters
    ----------
    thresholds, aliases, weights : (V,) uint32, int32 and uint64 arrays
        What `unigram_table` returned.
    targets : (N,) int array
        One id a row, 0 to V - 1, which the row must not hold; -1 excludes nothing.
    k : int
        How many ids to draw for each row, 0 or more.
    key : int
        The stream of random numbers; see `fastseq.random.as_key`.
    start : int
        The number of the first row: rows can be drawn piece by piece.
    replace : bool
        False makes the ids of a row distinct.

    Returns
    -------
    (N, k) int32

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        The arrays are no table, a target is no id, or an option is out of range; a row has fewer ids to draw from
        (with a weight, and not its target) than it needs: one, or ``k`` without replacement.
    DeviceError
        The arrays lie on different devices.

    Notes
    -----
    Sample j of row n takes draws ``64 (j + 1)`` to ``64 (j + 1) + 63`` of item ``start + n`` of the stream. The first
    63 are tries; should all of them give what must not come, the last draw picks among the weights of what is left.
    So the distribution is the table's without the target, however much of it the target has, and without replacement it
    is that of successive draws, each from the weights of what is left, as with ``numpy.random.Generator.choice``. The
    numbers are the same for any number of threads, in one piece or several, on the CPU and with CUDA.

    Without replacement each try is compared with the row's samples so far: meant for a ``k`` far below V. Samples that
    need their last draw walk over all weights, which takes up to 0.3 ms for a million ids; with replacement these are
    the ones whose target has nearly all the weight.

    That the table may be used safely is checked at every call: 1.0 ms for a million ids, and 0.1 ms for a million
    targets. `fastseq.UnigramTable`, which has built its table itself, checks the targets only. That thresholds and
    aliases belong to the weights is not checked.

    The oracle is `fastseq.kernels.reference.sampling.sample_negatives`.

    Examples
    --------
    >>> table = unigram_table([5, 0, 5])
    >>> sample_negatives(*table, [0, 2], 3).tolist()
    [[2, 2, 2], [0, 0, 0]]
    """
    device_of(thresholds=thresholds, aliases=aliases, weights=weights, targets=targets)
    thresholds, aliases, weights = _check_table(thresholds, aliases, weights)
    n_drawable = count_drawable(weights)
    return draw_checked((thresholds, aliases, weights), n_drawable, targets, k, key, start, replace)


def count_drawable(weights: Any) -> int:
    """Return how many ids have a weight."""
    return int(array_module(device_of(weights=weights)).count_nonzero(weights))


def draw_checked(
    table: tuple[Any, Any, Any], n_drawable: int, targets: Any, k: int, key: Any, start: int, replace: bool
) -> Any:
    """Return `sample_negatives` for a table that is known to be sound and to have ``n_drawable`` ids with a weight."""
    thresholds, aliases, weights = table
    device = device_of(weights=weights, targets=targets)
    k = check_integer(k, "k", 0, INT32_MAX)
    key = check_integer(key, "key", 0, 2**64 - 1)
    start = check_integer(start, "start", 0)
    if not isinstance(replace, (bool, np.bool_)):
        raise DTypeError(f"replace is {replace!r}, expected True or False")
    n_words = int(weights.shape[0])
    targets = as_ids(targets, "targets", upper=n_words, lower=-1)
    needed = min(k, 1) if replace else k
    if n_drawable <= needed and targets.shape[0]:
        _check_enough(weights, n_drawable, targets, needed)
    return variant(device, "sampling").sample_negatives(
        thresholds, aliases, weights, targets, k, key, start, bool(replace)
    )


def _check_enough(weights: Any, n_drawable: int, targets: Any, needed: int) -> None:
    """Raise where a row has fewer ids to draw from than it needs."""
    left = n_drawable - ((targets >= 0) & (weights[targets] > 0)).astype(np.int64)
    row = int(left.argmin())
    if int(left[row]) < needed:
        target = int(targets[row])
        but = f" but target {target} (row {row})" if target >= 0 else f" (row {row})"
        raise ValueRangeError(
            f"{int(left[row])} ids{but} have a weight, expected at least {needed}; give counts with more ids that occur"
            + (", a smaller k or replace=True" if needed > 1 else "")
        )


def _check_table(thresholds: Any, aliases: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Return the three arrays, such that every draw ends and none leaves them."""
    thresholds = _exactly(thresholds, "thresholds", np.dtype(np.uint32))
    weights = _exactly(weights, "weights", np.dtype(np.uint64))
    n_words = int(weights.shape[0])
    if n_words == 0:
        raise ShapeError("weights is empty, expected the table of at least one id")
    if n_words > INT32_MAX:
        raise ShapeError(f"weights holds {n_words} numbers, expected at most {INT32_MAX} (ids are int32)")
    aliases = as_ids(aliases, "aliases", upper=n_words)
    if not thresholds.shape == aliases.shape == weights.shape:
        raise ShapeError(
            f"thresholds holds {thresholds.shape[0]} numbers, aliases {aliases.shape[0]} and weights {n_words}, "
            "expected as many of each"
        )
    # The exact sum is taken modulo 2**64, the other tells whether it went round.
    whole, rough = int(weights.sum(dtype=np.uint64)), float(weights.sum(dtype=np.float64))
    if whole != n_words << 32 or rough > 2.0**63:
        raise ValueRangeError(
            f"weights adds up to {rough:g}, expected V * 2**32 = {n_words << 32}; pass what unigram_table returned"
        )
    return thresholds, aliases, weights


def _exactly(array: Any, name: str, dtype: np.dtype) -> Any:
    """Return ``array`` contiguous, in native byte order; refuse any dtype but ``dtype``."""
    array = _as_array(array, name, 1)
    if array.dtype.newbyteorder("=") != dtype:
        raise DTypeError(f"{name} has dtype {array.dtype}, expected {dtype}; pass what unigram_table returned")
    return _plain(array, dtype)
