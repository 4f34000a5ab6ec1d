"""The simple recurrent network of Elman: whole sequences, forward and backward."""

from __future__ import annotations

from typing import Any

from ..errors import ValueRangeError
from ._boundary import variant
from ._recurrent import RecurrentCache, as_gradients, check_cell, check_options

__all__ = ["rnn_backward", "rnn_forward"]

_NONLINEARITIES = ("tanh", "relu")


def rnn_forward(
    x: Any,
    h0: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    *,
    nonlinearity: str = "tanh",
    norm: Any = None,
    keep_h: Any = None,
    mask_h: Any = None,
    lengths: Any = None,
    train: bool = False,
) -> tuple[Any, ...]:
    """Run a simple recurrent network over sequences.

    Parameters
    ----------
    x : (T, N, D) array
        float32 or float64, time first. The other arrays have its dtype and lie on its device.
    h0 : (N, H) array or None
        The state before the first step; None: zeros.
    w_x : (D, H) array
        Weights of the inputs.
    w_h : (H, H) array
        Weights of the hidden states.
    b : (H,) array or None
        Biases; None: zeros.
    nonlinearity : {"tanh", "relu"}
        What the sums are put through.
    norm : two of arrays, optional
        Layer normalisation (Ba, Kiros and Hinton, "Layer normalization", 2016): gains (H,) of the part of x
        and of that of h.
        Both parts of the sums, x w_x and h w_h, are brought to mean 0 and variance 1 before the bias is
        added. The paper normalises their sum.
    keep_h : number or (T, N, H) array, optional
        Zoneout (Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017): the
        share of the old hidden state that each unit keeps, 0 to 1: drawn zeros and ones to train, their mean after it.
    mask_h : (N, H) array, optional
        What the hidden states are multiplied by where they go into the gates, the same at all steps: variational
        dropout (Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
        NIPS 2016).
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
        For `rnn_backward`; only with ``train``.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    h' = f(x w_x + h w_h + b), f the nonlinearity. Elman, "Finding structure in time", Cognitive Science 1990. NaN and
    infinity come out. The result has the same bits for any number of threads.
    """
    if nonlinearity not in _NONLINEARITIES:
        raise ValueRangeError(f"nonlinearity is {nonlinearity!r}, expected one of {_NONLINEARITIES}")
    device, steps, x, (h0,), w_x, w_h, (b,) = check_cell(x, {"h0": h0}, w_x, w_h, {"b": (b, 1)}, 1, lengths)
    n, units = steps.n, int(w_h.shape[0])
    options = check_options(
        device, steps, x.dtype, (units, units, 1), norm=norm, keep_h=keep_h, mask_h=mask_h
    )  # fmt: skip
    rows = steps.rows_of(x)
    body = variant(device, "rnn")
    given = (rows, steps.starts, steps.sorted(h0), w_x, w_h, b, nonlinearity)
    arrays: tuple[Any, ...]
    if options:
        h, arrays = body.rnn_variant_forward(*given, options)
    else:
        (h,) = body.rnn_forward(*given, train)
        arrays = (h, nonlinearity)
    result = (steps.padded(h[n:, :units]), steps.last(h[:, :units]))
    if not train:
        return result
    return (*result, RecurrentCache("rnn", device, steps, rows, w_x, w_h, arrays, options))


def rnn_backward(dh: Any, dh_n: Any, cache: Any, *, with_dx: bool = True) -> tuple[Any, ...]:
    """Return the gradients of what `rnn_forward` was given.

    Parameters
    ----------
    dh : (T, N, H) array or None
        Gradient by the hidden states of all steps; what is behind the end of a sequence is not looked at.
    dh_n : (N, H) array or None
        Gradient by the last states, beside what ``dh`` says of them. None: zeros.
    cache : RecurrentCache
        Of `rnn_forward` with ``train=True``. It can be used again.
    with_dx : bool
        Whether the gradient by ``x`` is wanted; without it None is returned in its place.

    Returns
    -------
    dx : (T, N, D) array
    dh0 : (N, H) array
    dw_x : (D, H) array
    dw_h : (H, H) array
    db : (H,) array
    dgain_x, dgain_h : (H,) array
        If ``norm`` was given.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        An argument is not as described.
    """
    rows, (dh_n,) = as_gradients(cache, "rnn", dh, {"dh_n": dh_n})
    steps, body = cache.steps, variant(cache.device, "rnn")
    run = body.rnn_variant_backward if cache.options else body.rnn_backward
    dx, dh0, *by_weights = run(rows, dh_n, cache.x, steps.starts, *cache.arrays, cache.w_x, cache.w_h, with_dx)
    return steps.padded(dx, given=True) if with_dx else None, steps.unsorted(dh0), *by_weights
