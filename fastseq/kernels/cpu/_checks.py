"""Checks of all numbers of an array in one pass."""

from __future__ import annotations

from .._jit import jit

__all__ = ["are_shares"]


@jit
def are_shares(
    values,  # IN  float (n,)
):
    """Return whether no number lies outside 0 to 1; NaN, which comes out, is let through."""
    fine = True
    for i in range(values.shape[0]):
        # Without a branch the loop is one of vectors: 5 us for 70,000 numbers, the least and the largest by NumPy 11.
        fine = fine & (not values[i] < 0) & (not values[i] > 1)
    return fine
