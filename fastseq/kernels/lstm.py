"""LSTM: whole sequences, forward and backward."""

from __future__ import annotations

from typing import Any

from ._boundary import variant
from ._recurrent import RecurrentCache, as_gradients, check_cell, check_options

__all__ = ["lstm_backward", "lstm_forward"]


def lstm_forward(
    x: Any,
    h0: Any,
    c0: Any,
    w_x: Any,
    w_h: Any,
    b: Any,
    *,
    peephole: Any = None,
    w_p: Any = None,
    norm: Any = None,
    keep_h: Any = None,
    keep_c: Any = None,
    mask_h: Any = None,
    clip_c: float | None = None,
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
    peephole : (3, H) array, optional
        Weights from a unit's cell state to its own input, forget and output gates (Gers and Schmidhuber, "Recurrent
        nets that time and count", IJCNN 2000). The output gate sees the new state.
    w_p : (H, P) array, optional
        A projection of the hidden states (Sak, Senior and Beaufays, "Long short-term memory recurrent neural network
        architectures for large scale acoustic modeling", Interspeech 2014): h0 is (N, P) and w_h (P, 4 H) then, and
        all hidden states have P units.
    norm : four of arrays, optional
        Layer normalisation (Ba, Kiros and Hinton, "Layer normalization", 2016): gains (4 H,) of the part of x
        and of that of h, a gain (H,) and a bias (H,) of the cell state before its tanh.
        Both parts of the sums, x w_x and h w_h, are brought to mean 0 and variance 1 over all gates before the bias is
        added.
    keep_h : number or (T, N, P) array, optional
        Zoneout (Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017): the
        share of the old hidden state that each unit keeps, 0 to 1: drawn zeros and ones to train, their mean after it.
    keep_c : number or (T, N, H) array, optional
        The same for the cell states.
    mask_h : (N, P) array, optional
        What the hidden states are multiplied by where they go into the gates, the same at all steps: variational
        dropout (Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
        NIPS 2016).
    clip_c : float, optional
        Cell states are held between this and its negative; gradients do not go through where one is.
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
        x, {"h0": h0, "c0": c0}, w_x, w_h, {"b": (b, 4)}, 4, lengths, w_p
    )
    n, h_units, units = steps.n, int(w_h.shape[0]), int(w_h.shape[1]) // 4
    options = check_options(
        device, steps, x.dtype, (h_units, units, 4), peephole=peephole, w_p=w_p, norm=norm, keep_h=keep_h,
        keep_c=keep_c, mask_h=mask_h, clip_c=clip_c,
    )  # fmt: skip
    rows = steps.rows_of(x)
    body = variant(device, "lstm")
    given = (rows, steps.starts, steps.sorted(h0), steps.sorted(c0), w_x, w_h, b)
    arrays: tuple[Any, ...]
    if options:
        h, c, arrays = body.lstm_variant_forward(*given, options)
    else:
        arrays = body.lstm_forward(*given, train)
        _, h, c = arrays
    result = (
        steps.padded(h[n:, :h_units]),
        steps.padded(c[n:, :units]) if with_c else None,
        steps.last(h[:, :h_units]),
        steps.last(c[:, :units]),
    )
    if not train:
        return result
    return (*result, RecurrentCache("lstm", device, steps, rows, w_x, w_h, arrays, options))


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
    dpeephole, dw_p, dgain_x, dgain_h, dgain_c, dbias_c : array
        Of these those whose options were given.

    Raises
    ------
    ShapeError, DTypeError, DeviceError
        An argument is not as described.
    """
    rows, (dh_n, dc_n) = as_gradients(cache, "lstm", dh, {"dh_n": dh_n, "dc_n": dc_n})
    steps, body = cache.steps, variant(cache.device, "lstm")
    run = body.lstm_variant_backward if cache.options else body.lstm_backward
    dx, dh0, dc0, *by_weights = run(
        rows, dh_n, dc_n, cache.x, steps.starts, *cache.arrays, cache.w_x, cache.w_h, with_dx
    )
    return steps.padded(dx, given=True) if with_dx else None, steps.unsorted(dh0), steps.unsorted(dc0), *by_weights
