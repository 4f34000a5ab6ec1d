"""LSTM on the CPU; see `_recurrent`."""

from __future__ import annotations

from ._recurrent import LSTM, backward, forward, release

__all__ = ["lstm_backward", "lstm_forward", "release"]


def lstm_forward(x, starts, h0, c0, w_x, w_h, b):
    """Run; see the contract."""
    return forward(LSTM, x, starts, h0, c0, w_x, w_h, b, b[:0])


def lstm_backward(dh, dh_n, dc_n, x, starts, gates, h, c, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    return backward(LSTM, dh, dh_n, dc_n, x, starts, gates, h, c, w_x, w_h, with_dx)[:6]
