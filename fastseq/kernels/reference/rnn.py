"""RNN: the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case
from ._cells import back_through, recurrent_cases, run_through

__all__ = ["rnn_backward", "rnn_backward_cases", "rnn_forward", "rnn_forward_cases"]


def rnn_forward(
    x: Any, h0: Any, w_x: Any, w_h: Any, b: Any, *, nonlinearity: str = "tanh", lengths: Any = None, train: bool = False
) -> tuple[Any, ...]:
    """See the contract."""
    x, h0, w_x, w_h, b = (np.asarray(a, np.float64) for a in (x, h0, w_x, w_h, b))

    def cell(x: np.ndarray, h: np.ndarray) -> Any:
        a = x @ w_x + h @ w_h + b
        new = np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)
        return (new,), (x, h, new)

    (h,), last, caches = run_through(x, (h0,), cell, lengths)
    return (h, *last, (caches, w_x, w_h, nonlinearity, lengths)) if train else (h, *last)


def rnn_backward(dh: Any, dh_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """See the contract."""
    caches, w_x, w_h, nonlinearity, lengths = cache

    def cell_back(dstate: tuple[np.ndarray, ...], cache: Any) -> Any:
        (to_h,) = dstate
        x, h, new = cache
        d = to_h * (1 - new**2) if nonlinearity == "tanh" else np.where(new > 0, to_h, 0)
        return d @ w_x.T, (d @ w_h.T,), (x.T @ d, h.T @ d, d.sum(axis=0))

    dh, dh_n = (np.asarray(a, np.float64) for a in (dh, dh_n))
    dx, (dh0,), (dw_x, dw_h, db) = back_through(dh, (dh_n,), caches, cell_back, lengths)
    return dx if with_dx else None, dh0, dw_x, dw_h, db


def _with_both(backward: bool) -> Iterator[Case]:
    for case in recurrent_cases(1, 1, 1, backward):
        for nonlinearity in ("tanh", "relu"):
            yield Case(f"{case.label}, {nonlinearity}", case.arguments, {**case.options, "nonlinearity": nonlinearity})


def rnn_forward_cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _with_both(backward=False)


def rnn_backward_cases() -> Iterator[Case]:
    """Yield the cases: arguments of the forward pass, then gradients."""
    yield from _with_both(backward=True)
