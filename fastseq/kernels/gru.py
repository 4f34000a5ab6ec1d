"""GRU: whole sequences, forward and backward."""

from __future__ import annotations

from typing import Any

from ._boundary import variant
from ._recurrent import RecurrentCache, as_gradients, check_cell, release

__all__ = ["gru_backward", "gru_forward"]


def gru_forward(
    x: Any,
    h0: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    b_n: Any,
    *,
    lengths: Any = None,
    train: bool = False,
) -> tuple[Any, ...]:
    """Run a GRU over sequences: the variant of PyTorch and cuDNN, which resets after the product with ``w_h``.

    Parameters
    ----------
    x : (T, N, D) array
        float32 or float64, time first. The other arrays have its dtype and lie on its device.
    h0 : (N, H) array or None
        The state before the first step; None: zeros.
    w_x : (D, 3 H) array
        Weights of the inputs: reset gate, update gate and candidate side by side.
    w_h : (H, 3 H) array
        Weights of the hidden states.
    b : (3 H,) array or None
        Biases; None: zeros.
    b_n : (H,) array or None
        The candidate's second bias, which is reset with its part of the hidden state.
    lengths : (N,) integers, optional
        Steps of each sequence, 0 to T. What is behind the end of a sequence costs nothing and gives zeros. None: T.
    train : bool
        Whether to return the cache as well.

    Returns
    -------
    h : (T, N, H) array
        Hidden states of all steps.
    h_n : (N, H) array
        Those of each sequence's last step; where it has none, h0.
    cache : RecurrentCache
        For `gru_backward`; only with ``train``.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    r, z = sigmoid(x w_x + h w_h + b); n = tanh(x w_xn + b_xn + r (h w_hn + b_n)); h' = (1 - z) n + z h. Cho et al.,
    "Learning phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP 2014, in its
    version 1. NaN and infinity come out. The result has the same bits for any number of threads.
    """
    device, steps, x, (h0,), w_x, w_h, (b, b_n) = check_cell(
        x, {"h0": h0}, w_x, w_h, {"b": (b, 3), "b_n": (b_n, 1)}, 3, lengths
    )
    rows = steps.rows_of(x)
    gates, h = variant(device, "gru").gru_forward(rows, steps.starts, steps.sorted(h0), w_x, w_h, b, b_n)
    n, units = steps.n, int(w_h.shape[0])
    result = (steps.padded(h[n:, :units]), steps.last(h[:, :units]))
    if not train:
        release("gru", device, (gates, h))
        return result
    return (*result, RecurrentCache("gru", device, steps, rows, w_x, w_h, (gates, h)))


def gru_backward(dh: Any, dh_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """Return the gradients of what `gru_forward` was given.

    Parameters
    ----------
    dh : (T, N, H) array or None
        Gradient by the hidden states of all steps; what is behind the end of a sequence is not looked at.
    dh_n : (N, H) array or None
        Gradient by the last states, beside what ``dh`` says of them. None: zeros.
    cache : RecurrentCache
        Of `gru_forward` with ``train=True``. It can be used again.
    with_dx : bool
        Whether the gradient by ``x`` is wanted; without it None is returned in its place.

    Returns
    -------
    dx : (T, N, D) array
    dh0 : (N, H) array
    dw_x : (D, 3 H) array
    dw_h : (H, 3 H) array
    db : (3 H,) array
    db_n : (H,) array

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        An argument is not as described.
    """
    rows, (dh_n,) = as_gradients(cache, "gru", dh, {"dh_n": dh_n})
    steps, body = cache.steps, variant(cache.device, "gru")
    dx, dh0, dw_x, dw_h, db, db_n = body.gru_backward(
        rows, dh_n, cache.x, steps.starts, *cache.arrays, cache.w_x, cache.w_h, with_dx
    )
    return steps.padded(dx) if with_dx else None, steps.unsorted(dh0), dw_x, dw_h, db, db_n
