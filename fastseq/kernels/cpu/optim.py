"""Steps of optimizers on the CPU: one pass over memory, each block of numbers by one thread.

A step of Adam reads four arrays and writes three, 28 bytes a number of float32; expression by expression, as in NumPy,
it is over 100.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .._jit import REORDERED, parallel_jit

__all__ = ["adagrad_step", "adam_step", "rmsprop_step", "sgd_step", "sum_of_squares"]

# Numbers that a thread takes at a time: 64 kB of each array in float32. They are slices, counted from 0: loops from one
# number to another are not vectorised here, and took 0.39 instead of 0.09 ms for a step of SGD over a million numbers.
_BLOCK = 16384


@parallel_jit(fastmath=REORDERED)
def _sum_of_squares(
    values,  # IN  float (n,)
    parts,   # OUT float64 (blocks,)
):
    n = values.shape[0]
    for block in prange(parts.shape[0]):
        part = values[block * _BLOCK : min(n, (block + 1) * _BLOCK)]
        total = 0.0
        for i in range(part.shape[0]):
            number = np.float64(part[i])
            total += number * number
        parts[block] = total


def sum_of_squares(values):
    """Return the sum of the squares: blocks of the same size for any number of threads, added up in their order."""
    parts = np.empty(-(-values.shape[0] // _BLOCK))
    _sum_of_squares(values, parts)
    return parts.sum()


@parallel_jit
def sgd_step(
    value,     # INOUT float (n,)
    grad,      # IN    float (n,)
    kept,      # INOUT float (n,); (0,) without momentum
    rate,      # IN    float
    momentum,  # IN    float
    nesterov,  # IN    bool
    decay,     # IN    float
    scale,     # IN    float
    least,     # IN    float
):
    """See the contract; numbers of the arrays' dtype."""
    n = value.shape[0]
    zero = value.dtype.type(0)
    for block in prange(-(-n // _BLOCK)):
        begin, end = block * _BLOCK, min(n, (block + 1) * _BLOCK)
        part, grads = value[begin:end], grad[begin:end]
        if kept.shape[0] == 0:
            for i in range(part.shape[0]):
                g = scale * grads[i]
                if decay != zero:
                    g += decay * part[i]
                part[i] -= rate * g
        else:
            pushes = kept[begin:end]
            for i in range(part.shape[0]):
                g = scale * grads[i]
                if decay != zero:
                    g += decay * part[i]
                push = momentum * pushes[i] + g
                push = zero if abs(push) < least else push
                pushes[i] = push
                part[i] -= rate * (g + momentum * push if nesterov else push)


@parallel_jit
def adagrad_step(
    value,    # INOUT float (n,)
    grad,     # IN    float (n,)
    squares,  # INOUT float (n,)
    rate,     # IN    float
    epsilon,  # IN    float
    decay,    # IN    float
    scale,    # IN    float
):
    """See the contract; numbers of the arrays' dtype."""
    n = value.shape[0]
    zero = value.dtype.type(0)
    for block in prange(-(-n // _BLOCK)):
        begin, end = block * _BLOCK, min(n, (block + 1) * _BLOCK)
        part, grads, sums = value[begin:end], grad[begin:end], squares[begin:end]
        for i in range(part.shape[0]):
            g = scale * grads[i]
            if decay != zero:
                g += decay * part[i]
            s = sums[i] + g * g
            sums[i] = s
            part[i] -= rate * g / (math.sqrt(s) + epsilon)


@parallel_jit
def rmsprop_step(
    value,    # INOUT float (n,)
    grad,     # IN    float (n,)
    squares,  # INOUT float (n,)
    rate,     # IN    float
    keep,     # IN    float
    rest,     # IN    float, 1 - keep
    epsilon,  # IN    float
    decay,    # IN    float
    scale,    # IN    float
    least,    # IN    float
):
    """See the contract; numbers of the arrays' dtype."""
    n = value.shape[0]
    zero = value.dtype.type(0)
    for block in prange(-(-n // _BLOCK)):
        begin, end = block * _BLOCK, min(n, (block + 1) * _BLOCK)
        part, grads, means = value[begin:end], grad[begin:end], squares[begin:end]
        for i in range(part.shape[0]):
            g = scale * grads[i]
            if decay != zero:
                g += decay * part[i]
            s = keep * means[i] + rest * g * g
            s = zero if s < least else s
            means[i] = s
            part[i] -= rate * g / (math.sqrt(s) + epsilon)


@parallel_jit
def adam_step(
    value,    # INOUT float (n,)
    grad,     # IN    float (n,)
    average,  # INOUT float (n,)
    squares,  # INOUT float (n,)
    rate,     # IN    float, corrected
    beta1,    # IN    float
    rest1,    # IN    float, 1 - beta1
    beta2,    # IN    float
    rest2,    # IN    float
    epsilon,  # IN    float
    root,     # IN    float, what the root of the average is multiplied by
    decay,    # IN    float
    shrink,   # IN    float, what the value is multiplied by
    scale,    # IN    float
    least,    # IN    float, of the average
    least_s,  # IN    float, of that of the squares
):
    """See the contract; numbers of the arrays' dtype."""
    n = value.shape[0]
    zero = value.dtype.type(0)
    for block in prange(-(-n // _BLOCK)):
        begin, end = block * _BLOCK, min(n, (block + 1) * _BLOCK)
        part, grads, means, means_2 = value[begin:end], grad[begin:end], average[begin:end], squares[begin:end]
        for i in range(part.shape[0]):
            w = part[i]
            g = scale * grads[i]
            if decay != zero:
                g += decay * w
            m = beta1 * means[i] + rest1 * g
            m = zero if abs(m) < least else m
            means[i] = m
            s = beta2 * means_2[i] + rest2 * g * g
            s = zero if s < least_s else s
            means_2[i] = s
            part[i] = shrink * w - rate * m / (root * math.sqrt(s) + epsilon)
