"""Steps of optimizers: a parameter and what is remembered of it, changed in place in one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._boundary import as_floats, check_finite_number, check_integer, device_of, variant

__all__ = ["adagrad_step", "adam_step", "rmsprop_step", "sgd_step", "sum_of_squares"]

# Averages that decay in float32 end as denormal numbers where no gradient comes, and those are many times slower on
# some processors: what is smaller becomes 0.
_LEAST_AVERAGE = {"float32": 1e-30, "float64": 0.0}
_LEAST_SQUARE = {"float32": 1e-36, "float64": 0.0}


def _given(value: Any, grad: Any, kept: dict[str, Any]) -> tuple[str, np.dtype, list[Any]]:
    """Check the arrays; return their device, their dtype, and all of them flat."""
    device = device_of(value=value, grad=grad, **kept)
    for name, array in {"value": value, "grad": grad, **kept}.items():
        if not hasattr(array, "dtype"):
            raise DTypeError(f"{name} is {type(array).__name__}, expected an array")
    dtype = np.dtype(value.dtype)
    if dtype.name not in _LEAST_AVERAGE:
        raise DTypeError(f"value has dtype {dtype}, expected float32 or float64")
    shape = tuple(value.shape)
    flat = []
    for name, array in {"value": value, **kept}.items():
        if np.dtype(array.dtype) != dtype:
            raise DTypeError(f"{name} has dtype {array.dtype}, expected that of value, {dtype}")
        if tuple(array.shape) != shape:
            raise ShapeError(f"{name} has shape {tuple(array.shape)}, expected that of value, {shape}")
        if not array.flags.c_contiguous or (isinstance(array, np.ndarray) and not array.flags.writeable):
            raise ShapeError(f"{name} is not contiguous or read-only, expected an array that can be changed in place")
        flat.append(array.reshape(-1))
    if tuple(grad.shape) != shape:
        raise ShapeError(f"grad has shape {tuple(grad.shape)}, expected that of value, {shape}")
    if np.dtype(grad.dtype) != dtype:
        raise DTypeError(f"grad has dtype {grad.dtype}, expected that of value, {dtype}")
    flat.insert(1, as_floats(grad.reshape(-1), "grad", 1, dtype, finite=False))
    return device, dtype, flat


def _numbers(dtype: np.dtype, **told: float) -> list[Any]:
    return [dtype.type(check_finite_number(number, name, -np.inf)) for name, number in told.items()]


def sum_of_squares(values: Any) -> float:
    """Return the sum of the squares of an array's numbers, added up in float64.

    Parameters
    ----------
    values : array of any shape
        float32 or float64.

    Returns
    -------
    float
        The same bits for any number of threads. NaN or infinity where ``values`` holds one.

    Raises
    ------
    DTypeError
        ``values`` holds something else.
    """
    flat = as_floats(values, "values", values.ndim, finite=False).reshape(-1)
    return float(variant(device_of(values=values), "optim").sum_of_squares(flat))


def sgd_step(
    value: Any,
    grad: Any,
    kept: Any = None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    scale: float = 1.0,
) -> None:
    """Make a step of stochastic gradient descent.

    Parameters
    ----------
    value : array of any shape
        float32 or float64, C-contiguous. Changed in place.
    grad : array of the same shape and dtype
        The gradient.
    kept : array of the same shape and dtype, or None
        The momentum; changed in place. Asked for where ``momentum`` is not 0. What falls below 1e-30 becomes 0 in
        float32.
    learning_rate : float
        Of this step.
    momentum : float
        What is kept of ``kept``.
    nesterov : bool
        Whether the gradient is taken as if one step ahead.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient.
    scale : float
        What the gradient is multiplied by first, to clip it.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    ``g = scale * grad + weight_decay * value``; ``kept = momentum * kept + g``; ``value -= learning_rate * kept``, or
    with ``nesterov`` ``value -= learning_rate * (g + momentum * kept)``. Polyak, "Some methods of speeding up the
    convergence of iteration methods", 1964; Nesterov's form is that of Sutskever et al., ICML 2013, as PyTorch has it.
    """
    if momentum and kept is None:
        raise ValueRangeError(f"momentum is {momentum} and kept None, expected an array of zeros for the first step")
    device, dtype, flat = _given(value, grad, {"kept": kept} if momentum else {})
    rate, push, decay, by = _numbers(
        dtype, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, scale=scale
    )
    memory = flat[2] if momentum else flat[0][:0]
    least = dtype.type(_LEAST_AVERAGE[dtype.name])
    variant(device, "optim").sgd_step(flat[0], flat[1], memory, rate, push, bool(nesterov), decay, by, least)


def adagrad_step(
    value: Any,
    grad: Any,
    square_sum: Any,
    *,
    learning_rate: float,
    epsilon: float = 1e-10,
    weight_decay: float = 0.0,
    scale: float = 1.0,
) -> None:
    """Make a step of AdaGrad.

    Parameters
    ----------
    value, grad : arrays
        As of `sgd_step`.
    square_sum : array of the same shape and dtype
        The sum of the squared gradients; changed in place.
    learning_rate, weight_decay, scale : float
        As of `sgd_step`.
    epsilon : float
        Added to the root.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    ``square_sum += g**2``; ``value -= learning_rate * g / (sqrt(square_sum) + epsilon)``. Duchi, Hazan and Singer,
    "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 12, 2011.
    """
    device, dtype, flat = _given(value, grad, {"square_sum": square_sum})
    numbers = _numbers(
        dtype, learning_rate=learning_rate, epsilon=epsilon, weight_decay=weight_decay, scale=scale
    )
    variant(device, "optim").adagrad_step(*flat, *numbers)


def rmsprop_step(
    value: Any,
    grad: Any,
    square_average: Any,
    *,
    learning_rate: float,
    decay: float = 0.99,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    scale: float = 1.0,
) -> None:
    """Make a step of RMSprop.

    Parameters
    ----------
    value, grad : arrays
        As of `sgd_step`.
    square_average : array of the same shape and dtype
        The moving average of the squared gradients; changed in place. What falls below 1e-36 becomes 0 in float32.
    learning_rate, weight_decay, scale : float
        As of `sgd_step`.
    decay : float
        What the average keeps.
    epsilon : float
        Added to the root.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    ``s = decay * s + (1 - decay) * g**2``; ``value -= learning_rate * g / (sqrt(s) + epsilon)``. Tieleman and Hinton,
    *Neural Networks for Machine Learning*, lecture 6.5, 2012.
    """
    device, dtype, flat = _given(value, grad, {"square_average": square_average})
    numbers = _numbers(
        dtype, learning_rate=learning_rate, decay=decay, rest=1.0 - decay, epsilon=epsilon, weight_decay=weight_decay,
        scale=scale,
    )  # fmt: skip
    least = dtype.type(_LEAST_SQUARE[dtype.name])
    variant(device, "optim").rmsprop_step(*flat, *numbers, least)


def adam_step(
    value: Any,
    grad: Any,
    average: Any,
    square_average: Any,
    steps: int,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    epsilon_hat: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    scale: float = 1.0,
) -> None:
    """Make a step of Adam or AdamW.

    Parameters
    ----------
    value, grad : arrays
        As of `sgd_step`.
    average, square_average : arrays of the same shape and dtype
        The moving averages of the gradients and of their squares; changed in place. What falls below 1e-30 and 1e-36
        becomes 0 in float32.
    steps : int
        The number of this step, from 1.
    learning_rate, scale : float
        As of `sgd_step`.
    beta1, beta2 : float
        What the averages keep.
    epsilon : float
        Added to the root.
    epsilon_hat : bool
        Whether to that of the plain average instead of that of the corrected one.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient.
    decoupled : bool
        Whether ``value`` is multiplied by ``1 - learning_rate * weight_decay`` instead: AdamW.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``; ``v = beta2 * v + (1 - beta2) * g**2``; with ``c1 = 1 - beta1**steps`` and
    ``c2 = 1 - beta2**steps`` ``value -= learning_rate / c1 * m / (sqrt(v) / sqrt(c2) + epsilon)``, or with
    ``epsilon_hat`` ``value -= learning_rate * sqrt(c2) / c1 * m / (sqrt(v) + epsilon)``. Kingma and Ba, "Adam: a method
    for stochastic optimization", ICLR 2015; Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """
    steps = check_integer(steps, "steps", 1)
    device, dtype, flat = _given(value, grad, {"average": average, "square_average": square_average})
    correction, root = 1.0 - beta1**steps, float(np.sqrt(1.0 - beta2**steps))
    shrink = 1.0 - learning_rate * weight_decay if decoupled else 1.0
    numbers = _numbers(
        dtype, learning_rate=learning_rate * (root if epsilon_hat else 1.0) / correction, beta1=beta1,
        rest1=1.0 - beta1, beta2=beta2, rest2=1.0 - beta2, epsilon=epsilon,
        root=1.0 if epsilon_hat else 1.0 / root, weight_decay=0.0 if decoupled else weight_decay, shrink=shrink,
        scale=scale,
    )  # fmt: skip
    least = (dtype.type(_LEAST_AVERAGE[dtype.name]), dtype.type(_LEAST_SQUARE[dtype.name]))
    variant(device, "optim").adam_step(*flat, *numbers, *least)
