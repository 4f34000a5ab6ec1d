"""LSTM on the CPU; see `_recurrent`, and `_variants` for its options."""

from __future__ import annotations

from . import _variants, _variants_back
from ._recurrent import LSTM, backward, forward

__all__ = ["lstm_backward", "lstm_forward", "lstm_variant_backward", "lstm_variant_forward"]


def lstm_forward(x, starts, h0, c0, w_x, w_h, b, train):
    """Run; see the contract."""
    return forward(LSTM, x, starts, h0, c0, w_x, w_h, b, b[:0], train)


def lstm_backward(dh, dh_n, dc_n, x, starts, gates, h, c, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    return backward(LSTM, dh, dh_n, dc_n, x, starts, gates, h, c, w_x, w_h, with_dx)[:6]


def lstm_variant_forward(x, starts, h0, c0, w_x, w_h, b, options):
    """Run with options; return (h, c, what the backward pass takes)."""
    kept = _variants.forward(LSTM, x, starts, h0, c0, w_x, w_h, b, None, options)
    return kept.h, kept.c, (kept,)


def lstm_variant_backward(dh, dh_n, dc_n, x, starts, kept, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    *gradients, _, more = _variants_back.backward(dh, dh_n, dc_n, x, kept, w_x, w_h, with_dx)
    return (*gradients, *more)
