"""Draws from an alias table that CPU and CUDA bodies share, compiled inline into them like those of ``_scalar.py``.

What the training kernels need too, `alias_draw` and `negative_draw`, stands there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ._scalar import alias_draw, stream_bits

__all__ = ["distinct_draw"]

_ONE = np.uint64(1)
_S6 = np.uint64(6)
_S32 = np.uint64(32)
_LAST_TRY = np.uint64(63)


@njit(inline="always")
def distinct_draw(
    stream,      # IN uint64
    number,      # IN int64: which sample of the row
    target,      # IN int64: -1 excludes nothing
    row,         # IN int64
    taken,       # IN int32 (n, k): row ``row`` holds samples 0 to number - 1
    thresholds,  # IN uint32 (v,)
    aliases,     # IN int32 (v,)
    weights,     # IN uint64 (v,)
):
    """Return sample ``number`` of a row: an id that is neither ``target`` nor one of the row's samples before it.

    The draws are those of `negative_draw`, 63 tries and then one among the weights of what is left, so a sample that no
    earlier one gets in the way of is the same as with replacement.
    """
    first = (np.uint64(number) + _ONE) << _S6
    tried = np.uint64(0)
    drawn = np.int64(-1)
    free = False
    while tried < _LAST_TRY and not free:
        drawn = alias_draw(stream_bits(stream, first + tried), thresholds, aliases)
        tried += _ONE
        free = drawn != target
        for j in range(number):
            free = free and drawn != taken[row, j]
    if not free:
        # The weights add up to 2**32 for each id.
        rest = np.uint64(weights.shape[0]) << _S32
        if target >= 0:
            rest -= weights[target]
        for j in range(number):
            rest -= weights[taken[row, j]]
        point = stream_bits(stream, first + _LAST_TRY) % rest
        drawn = np.int64(-1)
        passed = np.uint64(0)
        while passed <= point:
            drawn += 1
            free = drawn != target
            for j in range(number):
                free = free and drawn != taken[row, j]
            if free:
                passed += weights[drawn]
    return drawn
