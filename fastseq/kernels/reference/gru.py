"""GRU: the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case
from ._cells import back_through, held, norm_back, normalized, recurrent_cases, run_through, sigmoid, step_of

__all__ = ["gru_backward", "gru_backward_cases", "gru_forward", "gru_forward_cases"]


def gru_forward(
    x: Any, h0: Any, w_x: Any, w_h: Any, b: Any, b_n: Any, *, reset_after: bool = True, norm: Any = None,
    keep_h: Any = None, mask_h: Any = None, lengths: Any = None, train: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """See the contract."""
    x, h0, w_x, w_h, b = (np.asarray(a, np.float64) for a in (x, h0, w_x, w_h, b))
    b_n = np.zeros(len(w_h)) if b_n is None else np.asarray(b_n, np.float64)
    mask_h = None if mask_h is None else np.asarray(mask_h, np.float64)
    gain_x, gain_h = (None, None) if norm is None else (np.asarray(a, np.float64) for a in norm)
    units = len(w_h)

    def cell(t: int, x: np.ndarray, h: np.ndarray) -> Any:
        h_in = h if mask_h is None else h * mask_h
        norms: list[Any] = []
        if not reset_after:
            a = x @ w_x + b
            rz = sigmoid(a[:, : 2 * units] + h_in @ w_h[:, : 2 * units])
            r, z = np.split(rz, 2, axis=1)
            part = r * h_in
            n = np.tanh(a[:, 2 * units :] + part @ w_h[:, 2 * units :])
        else:
            if norm is None:
                by_x, by_h = x @ w_x + b, h_in @ w_h
            else:
                norms = [normalized(x @ w_x), normalized(h_in @ w_h)]
                by_x, by_h = norms[0][0] * gain_x + b, norms[1][0] * gain_h
            x_r, x_z, x_n = np.split(by_x, 3, axis=1)
            h_r, h_z, h_n = np.split(by_h, 3, axis=1)
            r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
            part = h_n + b_n
            n = np.tanh(x_n + r * part)
        k_h = step_of(keep_h, t)
        new = (1 - z) * n + z * h
        return (held(k_h, h, new),), (x, h, h_in, r, z, n, part, norms, k_h)

    (h,), last, caches = run_through(x, (h0,), cell, lengths)
    gains = None if norm is None else (gain_x, gain_h)
    return (h, *last, (caches, w_x, w_h, reset_after, gains, mask_h, lengths)) if train else (h, *last)


def gru_backward(dh: Any, dh_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """See the contract."""
    caches, w_x, w_h, reset_after, gains, mask_h, lengths = cache
    units = len(w_h)

    def cell_back(dstate: tuple[np.ndarray, ...], cache: Any) -> Any:
        (to_state,) = dstate
        x, h, h_in, r, z, n, part, norms, k_h = cache
        to_h = (1 - k_h) * to_state
        past = k_h * to_state + to_h * z
        to_n = to_h * (1 - z) * (1 - n**2)
        to_z = to_h * (h - n) * z * (1 - z)
        more: list[np.ndarray] = []
        if not reset_after:
            to_part = to_n @ w_h[:, 2 * units :].T
            to_r = to_part * h_in * r * (1 - r)
            by_x = np.concatenate((to_r, to_z, to_n), axis=1)
            to_before = to_part * r + by_x[:, : 2 * units] @ w_h[:, : 2 * units].T
            dw_h = np.concatenate((h_in.T @ by_x[:, : 2 * units], part.T @ to_n), axis=1)
            weights = (x.T @ by_x, dw_h, by_x.sum(axis=0), np.zeros(units))
        else:
            to_r = to_n * part * r * (1 - r)
            d_x = np.concatenate((to_r, to_z, to_n), axis=1)
            d_h = np.concatenate((to_r, to_z, to_n * r), axis=1)
            by_x, by_h = d_x, d_h
            if gains is not None:
                by_x, by_h = norm_back(d_x * gains[0], *norms[0]), norm_back(d_h * gains[1], *norms[1])
                more = [(d_x * norms[0][0]).sum(axis=0), (d_h * norms[1][0]).sum(axis=0)]
            to_before = by_h @ w_h.T
            weights = (x.T @ by_x, h_in.T @ by_h, d_x.sum(axis=0), (to_n * r).sum(axis=0), *more)
        if mask_h is not None:
            to_before = to_before * mask_h
        return by_x @ w_x.T, (to_before + past,), weights

    dh, dh_n = (np.asarray(a, np.float64) for a in (dh, dh_n))
    dx, (dh0,), weights = back_through(dh, (dh_n,), caches, cell_back, lengths)
    return dx if with_dx else None, dh0, *weights


def gru_forward_cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from recurrent_cases("gru", backward=False)


def gru_backward_cases() -> Iterator[Case]:
    """Yield the cases: arguments of the forward pass, then gradients."""
    yield from recurrent_cases("gru", backward=True)
