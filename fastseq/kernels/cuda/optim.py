"""Steps of optimizers with CUDA: a thread for each number."""

from __future__ import annotations

import math

import numpy as np

from .. import _cuda
from .._cuda import cuda

__all__ = ["adagrad_step", "adam_step", "rmsprop_step", "sgd_step", "sum_of_squares"]


def sum_of_squares(values):
    """Return the sum of the squares."""
    return _cuda.xp().square(values, dtype=np.float64).sum()


@_cuda.cuda_jit
def _sgd(
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
    zero = value.dtype.type(0)
    for i in range(cuda.grid(1), value.shape[0], cuda.gridsize(1)):
        g = scale * grad[i]
        if decay != zero:
            g += decay * value[i]
        if kept.shape[0] > 0:
            push = momentum * kept[i] + g
            if abs(push) < least:
                push = zero
            kept[i] = push
            if nesterov:
                g += momentum * push
            else:
                g = push
        value[i] -= rate * g


@_cuda.cuda_jit
def _adagrad(
    value,    # INOUT float (n,)
    grad,     # IN    float (n,)
    squares,  # INOUT float (n,)
    rate,     # IN    float
    epsilon,  # IN    float
    decay,    # IN    float
    scale,    # IN    float
):
    zero = value.dtype.type(0)
    for i in range(cuda.grid(1), value.shape[0], cuda.gridsize(1)):
        g = scale * grad[i]
        if decay != zero:
            g += decay * value[i]
        s = squares[i] + g * g
        squares[i] = s
        value[i] -= rate * g / (math.sqrt(s) + epsilon)


@_cuda.cuda_jit
def _rmsprop(
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
    zero = value.dtype.type(0)
    for i in range(cuda.grid(1), value.shape[0], cuda.gridsize(1)):
        g = scale * grad[i]
        if decay != zero:
            g += decay * value[i]
        s = keep * squares[i] + rest * g * g
        if s < least:
            s = zero
        squares[i] = s
        value[i] -= rate * g / (math.sqrt(s) + epsilon)


@_cuda.cuda_jit
def _adam(
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
    zero = value.dtype.type(0)
    for i in range(cuda.grid(1), value.shape[0], cuda.gridsize(1)):
        w = value[i]
        g = scale * grad[i]
        if decay != zero:
            g += decay * w
        m = beta1 * average[i] + rest1 * g
        if abs(m) < least:
            m = zero
        average[i] = m
        s = beta2 * squares[i] + rest2 * g * g
        if s < least_s:
            s = zero
        squares[i] = s
        value[i] = shrink * w - rate * m / (root * math.sqrt(s) + epsilon)


PTX = {
    "_sgd": [f"void({t}[::1], {t}[::1], {t}[::1], {t}, {t}, boolean, {t}, {t}, {t})" for t in ("float32", "float64")],
    "_adagrad": [f"void({', '.join([f'{t}[::1]'] * 3 + [t] * 4)})" for t in ("float32", "float64")],
    "_rmsprop": [f"void({', '.join([f'{t}[::1]'] * 3 + [t] * 7)})" for t in ("float32", "float64")],
    "_adam": [f"void({', '.join([f'{t}[::1]'] * 4 + [t] * 12)})" for t in ("float32", "float64")],
}


def sgd_step(value, grad, kept, rate, momentum, nesterov, decay, scale, least):
    """See the contract; numbers of the arrays' dtype."""
    _cuda.launch(_sgd, value.size, value, grad, kept, rate, momentum, nesterov, decay, scale, least)


def adagrad_step(value, grad, squares, rate, epsilon, decay, scale):
    """See the contract; numbers of the arrays' dtype."""
    _cuda.launch(_adagrad, value.size, value, grad, squares, rate, epsilon, decay, scale)


def rmsprop_step(value, grad, squares, rate, keep, rest, epsilon, decay, scale, least):
    """See the contract; numbers of the arrays' dtype."""
    _cuda.launch(_rmsprop, value.size, value, grad, squares, rate, keep, rest, epsilon, decay, scale, least)


def adam_step(
    value, grad, average, squares, rate, beta1, rest1, beta2, rest2, epsilon, root, decay, shrink, scale, least, least_s
):
    """See the contract; numbers of the arrays' dtype."""
    _cuda.launch(
        _adam, value.size, value, grad, average, squares, rate, beta1, rest1, beta2, rest2, epsilon, root, decay,
        shrink, scale, least, least_s,
    )  # fmt: skip
