"""GRU: whole sequences, forward and backward."""

from __future__ import annotations

from typing import Any

from ..errors import ValueRangeError
from ._boundary import variant
from ._recurrent import RecurrentCache, as_gradients, check_cell, check_options

__all__ = ["gru_backward", "gru_forward"]


def gru_forward(
    x: Any,
    h0: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    b_n: Any,
    *,
    reset_after: bool = True,
    norm: Any = None,
    keep_h: Any = None,
    mask_h: Any = None,
    lengths: Any = None,
    train: bool = False,
) -> tuple[Any, ...]:
    """Run a GRU over sequences.

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
        The candidate's second bias, which is reset with its part of the hidden state; None: zeros.
    reset_after : bool
        Whether the reset gate is applied to the candidate's product with ``w_h``, as in PyTorch and cuDNN; or to the
        hidden states before it, as in the first version of the paper's authors, in *Deep Learning from Scratch 2* and
        in Keras with ``reset_after=False``: there is no ``b_n`` then.
    norm : two of arrays, optional
        Layer normalisation (Ba, Kiros and Hinton, "Layer normalization", 2016): gains (3 H,) of the part of x
        and of that of h; with ``reset_after`` only.
        Both parts of the sums, x w_x and h w_h, are brought to mean 0 and variance 1 over all gates before the bias is
        added. The paper normalises the candidate apart from the gates.
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
        For `gru_backward`; only with ``train``.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    r, z = sigmoid(x w_x + h w_h + b); n = tanh(x w_xn + b_xn + r (h w_hn + b_n)), or tanh(x w_xn + b_xn + (r h) w_hn)
    without ``reset_after``; h' = (1 - z) n + z h. Cho et al., "Learning phrase representations using RNN
    encoder-decoder for statistical machine translation", EMNLP 2014. NaN and infinity come out. The result has the same
    bits for any number of threads.
    """
    if not reset_after and b_n is not None:
        raise ValueRangeError("b_n is given and reset_after is False, expected None: b has the candidate's bias then")
    if not reset_after and norm is not None:
        raise ValueRangeError("norm is given and reset_after is False, expected reset_after=True with it")
    device, steps, x, (h0,), w_x, w_h, (b, b_n) = check_cell(
        x, {"h0": h0}, w_x, w_h, {"b": (b, 3), "b_n": (b_n, 1)}, 3, lengths
    )
    n, units = steps.n, int(w_h.shape[0])
    options = check_options(
        device, steps, x.dtype, (units, units, 3), norm=norm, keep_h=keep_h, mask_h=mask_h
    )  # fmt: skip
    if not reset_after:
        options["reset_after"] = False
    rows = steps.rows_of(x)
    body = variant(device, "gru")
    given = (rows, steps.starts, steps.sorted(h0), w_x, w_h, b, b_n)
    arrays: tuple[Any, ...]
    if options:
        h, arrays = body.gru_variant_forward(*given, options)
    else:
        arrays = body.gru_forward(*given, train)
        _, h = arrays
    result = (steps.padded(h[n:, :units]), steps.last(h[:, :units]))
    if not train:
        return result
    return (*result, RecurrentCache("gru", device, steps, rows, w_x, w_h, arrays, options))


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
        Zeros without ``reset_after``.
    dgain_x, dgain_h : (3 H,) array
        If ``norm`` was given.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        An argument is not as described.
    """
    rows, (dh_n,) = as_gradients(cache, "gru", dh, {"dh_n": dh_n})
    steps, body = cache.steps, variant(cache.device, "gru")
    run = body.gru_variant_backward if cache.options else body.gru_backward
    dx, dh0, *by_weights = run(rows, dh_n, cache.x, steps.starts, *cache.arrays, cache.w_x, cache.w_h, with_dx)
    return steps.padded(dx, given=True) if with_dx else None, steps.unsorted(dh0), *by_weights
