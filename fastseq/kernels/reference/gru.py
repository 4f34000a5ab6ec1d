"""GRU: the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case
from ._cells import back_through, recurrent_cases, run_through, sigmoid

__all__ = ["gru_backward", "gru_backward_cases", "gru_forward", "gru_forward_cases"]


def gru_forward(
    x: Any, h0: Any, w_x: Any, w_h: Any, b: Any, b_n: Any, *, lengths: Any = None, train: bool = False
) -> tuple[Any, ...]:
    """See the contract."""
    x, h0, w_x, w_h, b, b_n = (np.asarray(a, np.float64) for a in (x, h0, w_x, w_h, b, b_n))

    def cell(x: np.ndarray, h: np.ndarray) -> Any:
        x_r, x_z, x_n = np.split(x @ w_x + b, 3, axis=1)
        h_r, h_z, h_n = np.split(h @ w_h, 3, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        part = h_n + b_n
        n = np.tanh(x_n + r * part)
        return ((1 - z) * n + z * h,), (x, h, r, z, n, part)

    (h,), last, caches = run_through(x, (h0,), cell, lengths)
    return (h, *last, (caches, w_x, w_h, lengths)) if train else (h, *last)


def gru_backward(dh: Any, dh_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """See the contract."""
    caches, w_x, w_h, lengths = cache

    def cell_back(dstate: tuple[np.ndarray, ...], cache: Any) -> Any:
        (to_h,) = dstate
        x, h, r, z, n, part = cache
        to_n = to_h * (1 - z) * (1 - n**2)
        to_r = to_n * part * r * (1 - r)
        to_z = to_h * (h - n) * z * (1 - z)
        by_x = np.concatenate((to_r, to_z, to_n), axis=1)
        by_h = np.concatenate((to_r, to_z, to_n * r), axis=1)
        weights = (x.T @ by_x, h.T @ by_h, by_x.sum(axis=0), (to_n * r).sum(axis=0))
        return by_x @ w_x.T, (by_h @ w_h.T + to_h * z,), weights

    dh, dh_n = (np.asarray(a, np.float64) for a in (dh, dh_n))
    dx, (dh0,), (dw_x, dw_h, db, db_n) = back_through(dh, (dh_n,), caches, cell_back, lengths)
    return dx if with_dx else None, dh0, dw_x, dw_h, db, db_n


def gru_forward_cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from recurrent_cases(3, 1, 2, backward=False)


def gru_backward_cases() -> Iterator[Case]:
    """Yield the cases: arguments of the forward pass, then gradients."""
    yield from recurrent_cases(3, 1, 2, backward=True)
