"""What goes wrong in recurrent networks, as numbers: gradients that vanish or explode on their way back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._base import as_gradient, as_input
from .recurrent import _Recurrent

__all__ = ["gradient_norms"]


def gradient_norms(layer: Any, x: Any, dy: Any = None, state: Any = None, *, of: str = "h") -> np.ndarray:
    """Return how large the gradient is that has come back to the states before each step.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        In one direction. Its parameters and their gradients are not changed, and nothing is dropped out.
    x : (N, T, D) array
        Inputs, as of the layer's ``forward``.
    dy : (N, T, H) array, optional
        Gradient of the loss by the outputs. None: ones for the last step, so that all there is has come from there.
    state : as of ``forward``, optional
        The states before the first step.
    of : {"h", "c"}
        Whether the hidden or the cell states are looked at.

    Returns
    -------
    (layers, T) float64 ndarray
        The length of the gradient by the states before step t, the mean of the sequences. It shrinks from the right to
        the left where gradients vanish and grows where they explode.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Bengio, Simard and Frasconi, "Learning long-term dependencies with gradient descent is difficult", IEEE Transactions
    on Neural Networks 1994; Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.layers import RNN, gradient_norms
    >>> norms = gradient_norms(RNN(2, 8, random_state=0), np.ones((3, 20, 2)))
    >>> norms.shape, bool(norms[0, 0] < norms[0, -1])
    ((1, 20), True)
    """
    if not isinstance(layer, _Recurrent):
        raise DTypeError(f"layer is {type(layer).__name__}, expected an RNN, LSTM or GRU")
    if layer.bidirectional:
        raise ValueRangeError("layer is bidirectional, expected one that runs in one direction")
    if of not in list("hc"[: layer._states]):
        raise ValueRangeError(f"of is {of!r}, expected {' or '.join(map(repr, 'hc'[: layer._states]))}")
    x = as_input(x, "x", layer.input_size, layer.dtype)
    if x.ndim != 3:
        raise ShapeError(f"x has shape {x.shape}, expected (N, T, {layer.input_size})")
    n, n_steps = x.shape[:2]
    if dy is None:
        given = np.zeros((n, n_steps, layer.output_size), layer.dtype)
        given[:, -1:] = 1
    else:
        given = as_gradient(dy, (n, n_steps, layer.output_size), layer.dtype)
    names = [name for name, _ in layer._cells()]
    parts = layer._as_state(state, n, "state")
    states = [tuple(None if part is None else part[at] for part in parts) for at in range(len(names))]
    kept: list[list[Any]] = []
    for t in range(n_steps):
        h: Any = x[None, :, t]
        kept.append([])
        for at, name in enumerate(names):
            h, states[at], cache = layer._run(name, h, states[at], None, train=False, keep=True)
            kept[t].append(cache)
    norms = np.zeros((len(names), n_steps))
    back: list[Any] = [(None,) * layer._states for _ in names]
    for t in reversed(range(n_steps)):
        d: Any = given[None, :, t]
        for at in reversed(range(len(names))):
            d, back[at], _ = layer._run_back(d, back[at], kept[t][at])
            lengths = np.linalg.norm(back[at]["hc".index(of)].astype(np.float64), axis=1)
            norms[at, t] = lengths.mean() if n else 0.0
    return norms
