"""LSTM: the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case
from ._cells import back_through, recurrent_cases, run_through, sigmoid

__all__ = ["lstm_backward", "lstm_backward_cases", "lstm_forward", "lstm_forward_cases"]


def lstm_forward(
    x: Any,
    h0: Any,
    c0: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    *,
    lengths: Any = None,
    with_c: bool = True,
    train: bool = False,
) -> tuple[Any, ...]:
    """See the contract."""
    x, h0, c0, w_x, w_h, b = (np.asarray(a, np.float64) for a in (x, h0, c0, w_x, w_h, b))

    def cell(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Any:
        i, f, g, o = np.split(x @ w_x + h @ w_h + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new = f * c + i * g
        return (o * np.tanh(new), new), (x, h, c, i, f, g, o, new)

    (h, c), last, caches = run_through(x, (h0, c0), cell, lengths)
    result = (h, c if with_c else None, *last)
    return (*result, (caches, w_x, w_h, lengths)) if train else result


def lstm_backward(dh: Any, dh_n: Any, dc_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """See the contract."""
    caches, w_x, w_h, lengths = cache

    def cell_back(dstate: tuple[np.ndarray, ...], cache: Any) -> Any:
        to_h, to_c = dstate
        x, h, c, i, f, g, o, new = cache
        size = np.tanh(new)
        to_c = to_c + to_h * o * (1 - size**2)
        gates = (to_c * g * i * (1 - i), to_c * c * f * (1 - f), to_c * i * (1 - g**2), to_h * size * o * (1 - o))
        d = np.concatenate(gates, axis=1)
        return d @ w_x.T, (d @ w_h.T, to_c * f), (x.T @ d, h.T @ d, d.sum(axis=0))

    dh, dh_n, dc_n = (np.asarray(a, np.float64) for a in (dh, dh_n, dc_n))
    dx, (dh0, dc0), (dw_x, dw_h, db) = back_through(dh, (dh_n, dc_n), caches, cell_back, lengths)
    return dx if with_dx else None, dh0, dc0, dw_x, dw_h, db


def lstm_forward_cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from recurrent_cases(4, 2, 1, backward=False)


def lstm_backward_cases() -> Iterator[Case]:
    """Yield the cases: arguments of the forward pass, then gradients."""
    yield from recurrent_cases(4, 2, 1, backward=True)
