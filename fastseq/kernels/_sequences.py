"""Batches of sequences of different lengths as the recurrent kernels take them: only the steps that there are.

Sequences are sorted by falling length, and step t holds the first ``starts[t + 1] - starts[t]`` of them; what is behind
the end of a sequence is in no row, so work and memory shrink with the lengths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._boundary import array_module, is_device_array, to_same_device
from .cpu._memory import pool

__all__ = ["Steps", "as_lengths"]


def as_lengths(lengths: Any, n_steps: int, n: int) -> np.ndarray | None:
    """Return the lengths of ``n`` sequences as int64, 0 to ``n_steps``; None where all are as long as that."""
    if lengths is None:
        return None
    if is_device_array(lengths):
        from . import _cuda

        lengths = _cuda.asnumpy(lengths)
    try:
        array = np.asarray(lengths)
    except ValueError:
        raise ShapeError(f"lengths is ragged, expected ({n},): one for each sequence of the batch") from None
    if array.shape != (n,):
        raise ShapeError(f"lengths has shape {array.shape}, expected ({n},): one for each sequence of the batch")
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"lengths has dtype {array.dtype}, expected integers")
    array = array.astype(np.int64)
    if array.size and (int(array.min()) < 0 or int(array.max()) > n_steps):
        bad = int(array.min()) if int(array.min()) < 0 else int(array.max())
        raise ValueRangeError(f"lengths holds {bad}, expected 0 to {n_steps} (the steps of x)")
    return None if bool((array == n_steps).all()) else array


class Steps:
    """Where the steps of a batch are: rows of the bodies and places of padded arrays (t, n).

    Parameters
    ----------
    lengths : (n,) int64 ndarray or None
        None where all sequences have ``n_steps`` steps.
    n_steps, n : int
        Shape of the padded batch.
    device : {"cpu", "cuda"}
        Where the arrays lie that the methods are given.

    Attributes
    ----------
    starts : (t + 1,) int64 ndarray
        The first row of each step; t is the longest length.
    n_rows : int
        All steps of all sequences.
    """

    def __init__(self, lengths: np.ndarray | None, n_steps: int, n: int, device: str = "cpu") -> None:
        self.n_steps, self.n = n_steps, n
        self._xp = array_module(device)
        self._device = device
        self._lasts: Any = None
        self._order: Any = None
        self._places: Any = None
        if lengths is None:
            self.starts = np.arange(n_steps + 1, dtype=np.int64) * n
        else:
            order = np.argsort(-lengths, kind="stable")
            longest = int(lengths.max(initial=0))
            counts = n - np.searchsorted(np.sort(lengths), np.arange(longest), side="right")
            self.starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
            sequence = np.arange(int(self.starts[-1])) - np.repeat(self.starts[:-1], counts)
            lasts = np.arange(n)
            some = lengths[order] > 0
            lasts[some] += n + self.starts[lengths[order][some] - 1]
            self._lasts = to_same_device(lasts, device)
            self._order = to_same_device(order, device)
            self._places = to_same_device(np.repeat(np.arange(longest), counts) * n + order[sequence], device)
        self.n_rows = int(self.starts[-1])

    def rows_of(self, padded: Any) -> Any:
        """Return the rows (r, ...) of an array (t, n, ...)."""
        flat = padded.reshape(self.n_steps * self.n, *padded.shape[2:])
        return flat if self._places is None else flat[self._places]

    def padded(self, rows: Any, *, given: bool = False) -> Any:
        """Return rows (r, ...) as an array (t, n, ...), zeros behind the ends.

        It is one of its own, unless the rows are ``given``: made for whoever called, and nobody else has them.
        """
        shape = (self.n_steps, self.n, *rows.shape[1:])
        if given and self._places is None:
            return self._own(rows).reshape(shape)
        if self._places is None and self._device == "cpu":
            padded = pool.array(rows.shape, rows.dtype)
            padded[...] = rows
            return padded.reshape(shape)
        if self._places is None:
            return self._own(rows.copy()).reshape(shape)
        out = self._own(self._xp.zeros((self.n_steps * self.n, *rows.shape[1:]), rows.dtype))
        out[self._places] = rows
        return out.reshape(shape)

    def sorted(self, states: Any) -> Any:
        """Return states (n, ...) in the order of the bodies."""
        return states if self._order is None else states[self._order]

    def unsorted(self, states: Any) -> Any:
        """Return states (n, ...) of the bodies in the order of the batch, as an array of its own."""
        if self._order is None:
            return self._own(states.copy())
        out = self._own(self._xp.empty(states.shape, states.dtype))
        out[self._order] = states
        return out

    def last(self, states: Any) -> Any:
        """Return the last state of each sequence, in the order of the batch, from (n + r, ...) of the bodies."""
        if self._lasts is None:
            first = self.n_rows
            return self._own(states[first : first + self.n].copy())
        return self.unsorted(states[self._lasts])

    def _own(self, array: Any) -> Any:
        return to_same_device(array, self._device)
