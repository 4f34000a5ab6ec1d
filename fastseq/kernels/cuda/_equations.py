"""What a step does for one unit of one sequence: for the kernels of one step and for those of whole sequences.

Everything here is compiled into the kernels that call it. Names and equations are those of the oracles; ``one`` is 1 in
the arrays' dtype (a literal would make everything float64).
"""

from __future__ import annotations

import math

from .. import _cuda

__all__ = ["gru_back", "lstm_back", "rnn", "rnn_back", "sigmoid"]


@_cuda.device_jit
def sigmoid(x, one):
    """Return 1 / (1 + exp(-x)); an infinite exponential makes 0."""
    return one / (one + math.exp(-x))


@_cuda.device_jit
def lstm_back(i, f, g, o, c, new_c, to_h, to_c, one):
    """Return the gradients by the sums of i, f, g and o and by c, from those by the new h and the new c."""
    size = math.tanh(new_c)
    to_c += to_h * o * (one - size * size)
    return (
        to_c * g * i * (one - i),
        to_c * c * f * (one - f),
        to_c * i * (one - g * g),
        to_h * size * o * (one - o),
        to_c * f,
    )


@_cuda.device_jit
def gru_back(r, z, n, part, h, to_h, one):
    """Return the gradients by the sums of r and z, by x's and by h's part of n, and by h past the gates."""
    to_n = to_h * (one - z) * (one - n * n)
    to_r = to_n * part * r * (one - r)
    return to_r, to_h * (h - n) * z * (one - z), to_n, to_n * r, to_h * z


@_cuda.device_jit
def rnn(a, relu, zero):
    """Return tanh or relu of a sum; NaN is not below 0, so it passes."""
    if not relu:
        return math.tanh(a)
    if a < zero:
        return zero
    return a


@_cuda.device_jit
def rnn_back(new_h, to_h, relu, one, zero):
    """Return the gradient by the sum."""
    if not relu:
        return to_h * (one - new_h * new_h)
    if new_h <= zero:
        return zero
    return to_h
