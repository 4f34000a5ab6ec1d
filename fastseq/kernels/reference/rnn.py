"""RNN: the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case
from ._cells import back_through, held, norm_back, normalized, recurrent_cases, run_through, step_of

__all__ = ["rnn_backward", "rnn_backward_cases", "rnn_forward", "rnn_forward_cases"]


def rnn_forward(
    x: Any, h0: Any, w_x: Any, w_h: Any, b: Any, *, nonlinearity: str = "tanh", norm: Any = None, keep_h: Any = None,
    mask_h: Any = None, lengths: Any = None, train: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """See the contract."""
    x, h0, w_x, w_h, b = (np.asarray(a, np.float64) for a in (x, h0, w_x, w_h, b))
    mask_h = None if mask_h is None else np.asarray(mask_h, np.float64)
    gain_x, gain_h = (None, None) if norm is None else (np.asarray(a, np.float64) for a in norm)

    def cell(t: int, x: np.ndarray, h: np.ndarray) -> Any:
        h_in = h if mask_h is None else h * mask_h
        norms: list[Any] = []
        if norm is None:
            a = x @ w_x + h_in @ w_h + b
        else:
            norms = [normalized(x @ w_x), normalized(h_in @ w_h)]
            a = norms[0][0] * gain_x + norms[1][0] * gain_h + b
        new = np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)
        k_h = step_of(keep_h, t)
        return (held(k_h, h, new),), (x, h_in, new, norms, k_h)

    (h,), last, caches = run_through(x, (h0,), cell, lengths)
    gains = None if norm is None else (gain_x, gain_h)
    return (h, *last, (caches, w_x, w_h, nonlinearity, gains, mask_h, lengths)) if train else (h, *last)


def rnn_backward(dh: Any, dh_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """See the contract."""
    caches, w_x, w_h, nonlinearity, gains, mask_h, lengths = cache

    def cell_back(dstate: tuple[np.ndarray, ...], cache: Any) -> Any:
        (to_state,) = dstate
        x, h_in, new, norms, k_h = cache
        to_h = (1 - k_h) * to_state
        d = to_h * (1 - new**2) if nonlinearity == "tanh" else np.where(new <= 0, 0, to_h)
        by_x = by_h = d
        more: list[np.ndarray] = []
        if gains is not None:
            by_x, by_h = norm_back(d * gains[0], *norms[0]), norm_back(d * gains[1], *norms[1])
            more = [(d * norms[0][0]).sum(axis=0), (d * norms[1][0]).sum(axis=0)]
        to_before = by_h @ w_h.T
        if mask_h is not None:
            to_before = to_before * mask_h
        weights = (x.T @ by_x, h_in.T @ by_h, d.sum(axis=0), *more)
        return by_x @ w_x.T, (to_before + k_h * to_state,), weights

    dh, dh_n = (np.asarray(a, np.float64) for a in (dh, dh_n))
    dx, (dh0,), weights = back_through(dh, (dh_n,), caches, cell_back, lengths)
    return dx if with_dx else None, dh0, *weights


def rnn_forward_cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from recurrent_cases("rnn", backward=False)


def rnn_backward_cases() -> Iterator[Case]:
    """Yield the cases: arguments of the forward pass, then gradients."""
    yield from recurrent_cases("rnn", backward=True)
