"""The simple recurrent network on the CPU; see `_recurrent`, and `_variants` for its options."""

from __future__ import annotations

import numpy as np

from . import _variants, _variants_back
from ._recurrent import RELU, TANH, backward, forward

__all__ = ["rnn_backward", "rnn_forward", "rnn_variant_backward", "rnn_variant_forward"]


def _kind(nonlinearity):
    return TANH if nonlinearity == "tanh" else RELU


def rnn_forward(x, starts, h0, w_x, w_h, b, nonlinearity, train):
    """Run; see the contract."""
    # What the gates would hold is in h too.
    _, h, _ = forward(_kind(nonlinearity), x, starts, h0, h0, w_x, w_h, b, b[:0], False)
    return (h,)


def rnn_backward(dh, dh_n, x, starts, h, nonlinearity, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    # The states are all that is needed of the gates: only the size is looked at.
    gates = np.empty(len(x) * h.shape[1], h.dtype)
    dx, dh0, _, *by_weights, _ = backward(
        _kind(nonlinearity), dh, dh_n, dh_n, x, starts, gates, h, h, w_x, w_h, with_dx
    )
    return (dx, dh0, *by_weights)


def rnn_variant_forward(x, starts, h0, w_x, w_h, b, nonlinearity, options):
    """Run with options; return (h, what the backward pass takes)."""
    kept = _variants.forward(_kind(nonlinearity), x, starts, h0, None, w_x, w_h, b, None, options)
    return kept.h, (kept,)


def rnn_variant_backward(dh, dh_n, x, starts, kept, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    dx, dh0, _, *by_weights, _, more = _variants_back.backward(dh, dh_n, None, x, kept, w_x, w_h, with_dx)
    return (dx, dh0, *by_weights, *more)
