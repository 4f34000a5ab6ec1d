"""The simple recurrent network on the CPU; see `_recurrent`."""

from __future__ import annotations

import numpy as np

from ._recurrent import RELU, TANH, backward, forward, release

__all__ = ["release", "rnn_backward", "rnn_forward"]


def rnn_forward(x, starts, h0, w_x, w_h, b, nonlinearity):
    """Run; see the contract."""
    gates, h, _ = forward(TANH if nonlinearity == "tanh" else RELU, x, starts, h0, h0, w_x, w_h, b, b[:0])
    # What is in them is in h too.
    release(gates)
    return (h,)


def rnn_backward(dh, dh_n, x, starts, h, nonlinearity, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    kind = TANH if nonlinearity == "tanh" else RELU
    gates = np.empty(len(x) * h.shape[1], h.dtype)
    dx, dh0, _, *by_weights, _ = backward(kind, dh, dh_n, dh_n, x, starts, gates, h, h, w_x, w_h, with_dx)
    return (dx, dh0, *by_weights)
