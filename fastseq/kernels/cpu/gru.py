"""GRU on the CPU; see `_recurrent`, and `_variants` for its options."""

from __future__ import annotations

from . import _variants, _variants_back
from ._recurrent import GRU, backward, forward
from ._variant_table import BEFORE

__all__ = ["gru_backward", "gru_forward", "gru_variant_backward", "gru_variant_forward"]


def gru_forward(x, starts, h0, w_x, w_h, b, b_n, train):
    """Run; see the contract."""
    return forward(GRU, x, starts, h0, h0, w_x, w_h, b, b_n, train)[:2]


def gru_backward(dh, dh_n, x, starts, gates, h, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    dx, dh0, _, *by_weights = backward(GRU, dh, dh_n, dh_n, x, starts, gates, h, h, w_x, w_h, with_dx)
    return (dx, dh0, *by_weights)


def gru_variant_forward(x, starts, h0, w_x, w_h, b, b_n, options):
    """Run with options; return (h, what the backward pass takes)."""
    kind = GRU if options.get("reset_after", True) else BEFORE
    kept = _variants.forward(kind, x, starts, h0, None, w_x, w_h, b, b_n, options)
    return kept.h, (kept,)


def gru_variant_backward(dh, dh_n, x, starts, kept, w_x, w_h, with_dx):
    """Return the gradients; see the contract."""
    dx, dh0, _, *by_weights, more = _variants_back.backward(dh, dh_n, None, x, kept, w_x, w_h, with_dx)
    return (dx, dh0, *by_weights, *more)
