"""LSTM: whole sequences, forward and backward."""

from __future__ import annotations

from typing import Any

from ._boundary import variant
from ._recurrent import RecurrentCache, as_gradients, check_cell, release

__all__ = ["lstm_backward", "lstm_forward"]


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
    """Run an LSTM over sequences.

    Parameters
    ----------
    x : (T, N, D) array
        float32 or float64, time first. The other arrays have its dtype and lie on its device.
    h0, c0 : (N, H) array or None
        The states before the first step; None: zeros.
    w_x : (D, 4 H) array
        Weights of the inputs: input gate, forget gate, candidate and output gate side by side.
    w_h : (H, 4 H) array
        Weights of the hidden states.
    b : (4 H,) array or None
        Biases; None: zeros.
    lengths : (N,) integers, optional
        Steps of each sequence, 0 to T. What is behind the end of a sequence costs nothing and gives zeros. None: T.
    with_c : bool
        Whether the cell states of all steps are wanted; without it None is returned in their place, which saves a copy.
    train : bool
        Whether to return the cache as well.

    Returns
    -------
    h, c : (T, N, H) array
        Hidden and cell states of all steps.
    h_n, c_n : (N, H) array
        Those of each sequence's last step; where it has none, h0 and c0.
    cache : RecurrentCache
        For `lstm_backward`; only with ``train``.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    i = sigmoid, f = sigmoid, g = tanh and o = sigmoid of x w_x + h w_h + b; c' = f c + i g; h' = o tanh(c'). Hochreiter
    and Schmidhuber, "Long short-term memory", Neural Computation 1997, with the forget gate of Gers, Schmidhuber and
    Cummins, "Learning to forget", Neural Computation 2000. NaN and infinity come out. The result has the same bits for
    any number of threads.
    """
    device, steps, x, (h0, c0), w_x, w_h, (b,) = check_cell(
        x, {"h0": h0, "c0": c0}, w_x, w_h, {"b": (b, 4)}, 4, lengths
    )
    rows = steps.rows_of(x)
    body = variant(device, "lstm")
    gates, h, c = body.lstm_forward(rows, steps.starts, steps.sorted(h0), steps.sorted(c0), w_x, w_h, b)
    n, units = steps.n, int(w_h.shape[0])
    result = (
        steps.padded(h[n:, :units]),
        steps.padded(c[n:, :units]) if with_c else None,
        steps.last(h[:, :units]),
        steps.last(c[:, :units]),
    )
    if not train:
        release("lstm", device, (gates, h, c))
        return result
    return (*result, RecurrentCache("lstm", device, steps, rows, w_x, w_h, (gates, h, c)))


def lstm_backward(dh: Any, dh_n: Any, dc_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """Return the gradients of what `lstm_forward` was given.

    Parameters
    ----------
    dh : (T, N, H) array or None
        Gradient by the hidden states of all steps; what is behind the end of a sequence is not looked at.
    dh_n, dc_n : (N, H) array or None
        Gradients by the last states, beside what ``dh`` says of them. None: zeros.
    cache : RecurrentCache
        Of `lstm_forward` with ``train=True``. It can be used again.
    with_dx : bool
        Whether the gradient by ``x`` is wanted; without it None is returned in its place.

    Returns
    -------
    dx : (T, N, D) array
    dh0, dc0 : (N, H) array
    dw_x : (D, 4 H) array
    dw_h : (H, 4 H) array
    db : (4 H,) array

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        An argument is not as described.
    """
    rows, (dh_n, dc_n) = as_gradients(cache, "lstm", dh, {"dh_n": dh_n, "dc_n": dc_n})
    steps, body = cache.steps, variant(cache.device, "lstm")
    dx, dh0, dc0, dw_x, dw_h, db = body.lstm_backward(
        rows, dh_n, dc_n, cache.x, steps.starts, *cache.arrays, cache.w_x, cache.w_h, with_dx
    )
    return steps.padded(dx) if with_dx else None, steps.unsorted(dh0), steps.unsorted(dc0), dw_x, dw_h, db
