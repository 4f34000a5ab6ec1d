"""LSTM: the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case
from ._cells import back_through, held, norm_back, normalized, recurrent_cases, run_through, sigmoid, step_of

__all__ = ["lstm_backward", "lstm_backward_cases", "lstm_forward", "lstm_forward_cases"]


def lstm_forward(
    x: Any, h0: Any, c0: Any, w_x: Any, w_h: Any, b: Any, *, peephole: Any = None, w_p: Any = None, norm: Any = None,
    keep_h: Any = None, keep_c: Any = None, mask_h: Any = None, clip_c: float | None = None, lengths: Any = None,
    with_c: bool = True, train: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """See the contract."""
    x, h0, c0, w_x, w_h, b = (np.asarray(a, np.float64) for a in (x, h0, c0, w_x, w_h, b))
    peephole, w_p, mask_h = (None if a is None else np.asarray(a, np.float64) for a in (peephole, w_p, mask_h))
    p_i, p_f, p_o = (0.0, 0.0, 0.0) if peephole is None else peephole
    gain_x, gain_h, gain_c, bias_c = (None,) * 4 if norm is None else (np.asarray(a, np.float64) for a in norm)

    def cell(t: int, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Any:
        h_in = h if mask_h is None else h * mask_h
        norms: list[Any] = []
        if norm is None:
            a = x @ w_x + h_in @ w_h + b
        else:
            norms = [normalized(x @ w_x), normalized(h_in @ w_h)]
            a = norms[0][0] * gain_x + norms[1][0] * gain_h + b
        i, f, g, o = np.split(a, 4, axis=1)
        i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), np.tanh(g)
        raw = f * c + i * g
        new = raw if clip_c is None else np.clip(raw, -clip_c, clip_c)
        o = sigmoid(o + p_o * new)
        if norm is None:
            size = np.tanh(new)
        else:
            norms.append(normalized(new))
            size = np.tanh(norms[2][0] * gain_c + bias_c)
        m = o * size
        out = m if w_p is None else m @ w_p
        k_h, k_c = step_of(keep_h, t), step_of(keep_c, t)
        state = (held(k_h, h, out), held(k_c, c, new))
        return state, (x, h_in, c, i, f, g, o, raw, new, size, m, norms, k_h, k_c)

    (h, c), last, caches = run_through(x, (h0, c0), cell, lengths)
    result = (h, c if with_c else None, *last)
    options = (peephole, w_p, (gain_x, gain_h, gain_c) if norm is not None else None, mask_h, clip_c)
    return (*result, (caches, w_x, w_h, options, lengths)) if train else result


def lstm_backward(dh: Any, dh_n: Any, dc_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """See the contract."""
    caches, w_x, w_h, (peephole, w_p, gains, mask_h, clip_c), lengths = cache

    def cell_back(dstate: tuple[np.ndarray, ...], cache: Any) -> Any:
        to_h, to_c = dstate
        x, h_in, c, i, f, g, o, raw, new, size, m, norms, k_h, k_c = cache
        out, to_new = (1 - k_h) * to_h, (1 - k_c) * to_c
        to_m = out if w_p is None else out @ w_p.T
        to_size = to_m * o * (1 - size**2)
        if gains is None:
            to_new = to_new + to_size
        else:
            to_new = to_new + norm_back(to_size * gains[2], *norms[2])
        by_o = to_m * size * o * (1 - o)
        if peephole is not None:
            to_new = to_new + by_o * peephole[2]
        if clip_c is not None:
            to_new = np.where(abs(raw) > clip_c, 0, to_new)
        by_i, by_f = to_new * g * i * (1 - i), to_new * c * f * (1 - f)
        d = np.concatenate((by_i, by_f, to_new * i * (1 - g**2), by_o), axis=1)
        before = to_new * f + k_c * to_c
        more: list[np.ndarray] = []
        if peephole is not None:
            before = before + by_i * peephole[0] + by_f * peephole[1]
            more.append(np.stack([(by_i * c).sum(axis=0), (by_f * c).sum(axis=0), (by_o * new).sum(axis=0)]))
        if w_p is not None:
            more.append(m.T @ out)
        by_x = by_h = d
        if gains is not None:
            by_x, by_h = norm_back(d * gains[0], *norms[0]), norm_back(d * gains[1], *norms[1])
            more += [(d * norms[0][0]).sum(axis=0), (d * norms[1][0]).sum(axis=0),
                     (to_size * norms[2][0]).sum(axis=0), to_size.sum(axis=0)]  # fmt: skip
        to_before = by_h @ w_h.T
        if mask_h is not None:
            to_before = to_before * mask_h
        weights = (x.T @ by_x, h_in.T @ by_h, d.sum(axis=0), *more)
        return by_x @ w_x.T, (to_before + k_h * to_h, before), weights

    dh, dh_n, dc_n = (np.asarray(a, np.float64) for a in (dh, dh_n, dc_n))
    dx, (dh0, dc0), weights = back_through(dh, (dh_n, dc_n), caches, cell_back, lengths)
    return dx if with_dx else None, dh0, dc0, *weights


def lstm_forward_cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from recurrent_cases("lstm", backward=False)


def lstm_backward_cases() -> Iterator[Case]:
    """Yield the cases: arguments of the forward pass, then gradients."""
    yield from recurrent_cases("lstm", backward=True)
