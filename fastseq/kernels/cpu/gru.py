"""GRU on the CPU; see `_recurrent`."""

from __future__ import annotations

from ._recurrent import GRU, backward, forward, release

__all__ = ["gru_backward", "gru_forward", "release"]


def gru_forward(x, starts, h0, w_x, w_h, b, b_n):
    """Run; see the contract."""
    return forward(GRU, x, starts, h0, h0, w_x, w_h, b, b_n)[:2]


def gru_backward(dh, dh_n, x, starts, gates, h, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    dx, dh0, _, *by_weights = backward(GRU, dh, dh_n, dh_n, x, starts, gates, h, h, w_x, w_h, with_dx)
    return (dx, dh0, *by_weights)
