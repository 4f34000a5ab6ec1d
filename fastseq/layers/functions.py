"""Small layers without parameters, and the loss of a logistic regression: what networks are first put together from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels._boundary import as_float_dtype, check_finite_number, check_integer
from ._base import Layer, as_array, as_gradient

__all__ = ["MatMul", "ReLU", "Repeat", "Sigmoid", "SigmoidCrossEntropy", "Sum", "Tanh"]


def _numbers(x: Any, name: str, dtype: np.dtype) -> np.ndarray:
    array = as_array(x, name)
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected real numbers (they become {dtype})")
    return array.astype(dtype, copy=False)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # exp of what is not above 0 does not overflow.
    power = np.exp(-np.abs(x))
    result: np.ndarray = np.where(x >= 0, x.dtype.type(1), power) / (1 + power)
    return result


class _Function(Layer):
    """A layer of one function, number by number.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of the output.

    Raises
    ------
    DTypeError
        ``dtype`` is another.
    """

    def __init__(self, *, dtype: Any = "float32") -> None:
        super().__init__()
        self.dtype = as_float_dtype(dtype)

    def forward(self, x: Any, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return the function of ``x`` (real numbers of any shape), and what `backward` takes: the same array."""
        y = self._value(_numbers(x, "x", self.dtype))
        return y, y

    def backward(self, dy: Any, cache: np.ndarray) -> np.ndarray:
        """Return the gradient by the input from that by the output, which must have its shape (else `ShapeError`)."""
        return as_gradient(dy, cache.shape, self.dtype) * self._slope(cache)

    def _value(self, x: np.ndarray) -> np.ndarray:
        return x

    def _slope(self, y: np.ndarray) -> Any:
        """Return the slope where the function is ``y``."""
        return 1


class Sigmoid(_Function):
    """1 / (1 + e**-x), number by number.

    Examples
    --------
    >>> from fastseq.layers import Sigmoid
    >>> y, cache = Sigmoid().forward([0.0, 1000.0])
    >>> y
    array([0.5, 1. ], dtype=float32)
    """

    def _value(self, x: np.ndarray) -> np.ndarray:
        return _sigmoid(x)

    def _slope(self, y: np.ndarray) -> Any:
        return y * (1 - y)


class Tanh(_Function):
    """The hyperbolic tangent, number by number."""

    def _value(self, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = np.tanh(x)
        return y

    def _slope(self, y: np.ndarray) -> Any:
        return 1 - y * y


class ReLU(_Function):
    """0 for what is below it, number by number; NaN stays NaN."""

    def _value(self, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = np.maximum(x, x.dtype.type(0))
        return y

    def _slope(self, y: np.ndarray) -> Any:
        return y > 0


class MatMul(Layer):
    """The product of two matrices, or of equal numbers of them: gradients by both.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of the output.
    """

    def __init__(self, *, dtype: Any = "float32") -> None:
        super().__init__()
        self.dtype = as_float_dtype(dtype)

    def forward(self, a: Any, b: Any, train: bool = True) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return ``a @ b``, (..., n, m) by (..., m, k) with the same leading axes, and what `backward` takes."""
        a, b = _numbers(a, "a", self.dtype), _numbers(b, "b", self.dtype)
        if a.ndim < 2 or a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
            raise ShapeError(f"a has shape {a.shape} and b {b.shape}, expected (..., n, m) and (..., m, k)")
        return np.matmul(a, b), (a, b)

    def backward(self, dy: Any, cache: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients by a and b."""
        a, b = cache
        dy = as_gradient(dy, (*a.shape[:-1], b.shape[-1]), self.dtype)
        return np.matmul(dy, b.swapaxes(-1, -2)), np.matmul(a.swapaxes(-1, -2), dy)


class Repeat(Layer):
    """Copies of an array along a new axis; their gradients add up.

    Parameters
    ----------
    n : int
        How many, at least one.
    axis : int
        Where the new axis is.
    dtype : {"float32", "float64"}
        Of the output.
    """

    def __init__(self, n: int, axis: int = 0, *, dtype: Any = "float32") -> None:
        super().__init__()
        self.n = check_integer(n, "n", 1)
        self.axis = check_integer(axis, "axis", -64, 63)
        self.dtype = as_float_dtype(dtype)

    def forward(self, x: Any, train: bool = True) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the copies, and what `backward` takes."""
        x = _numbers(x, "x", self.dtype)
        if not -x.ndim - 1 <= self.axis <= x.ndim:
            raise ShapeError(f"x has shape {x.shape}, expected at least {self.axis} axes for the new one (axis)")
        y = np.repeat(np.expand_dims(x, self.axis), self.n, axis=self.axis)
        return y, y.shape

    def backward(self, dy: Any, cache: tuple[int, ...]) -> np.ndarray:
        """Return the sum over the copies."""
        total: np.ndarray = as_gradient(dy, cache, self.dtype).sum(axis=self.axis)
        return total


class Sum(Layer):
    """The sum along an axis, which goes; its gradient is the same for all.

    Parameters
    ----------
    axis : int
        Which axis.
    dtype : {"float32", "float64"}
        Of the output.
    """

    def __init__(self, axis: int = 0, *, dtype: Any = "float32") -> None:
        super().__init__()
        self.axis = check_integer(axis, "axis", -64, 63)
        self.dtype = as_float_dtype(dtype)

    def forward(self, x: Any, train: bool = True) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the sum, and what `backward` takes."""
        x = _numbers(x, "x", self.dtype)
        if not -x.ndim <= self.axis < x.ndim:
            raise ShapeError(f"x has shape {x.shape}, expected an axis {self.axis} to add up (axis)")
        total: np.ndarray = x.sum(axis=self.axis)
        return total, x.shape

    def backward(self, dy: Any, cache: tuple[int, ...]) -> np.ndarray:
        """Return the gradient, repeated."""
        shape = list(cache)
        del shape[self.axis]
        gradient = as_gradient(dy, tuple(shape), self.dtype)
        return np.repeat(np.expand_dims(gradient, self.axis % len(cache)), cache[self.axis], axis=self.axis)


class SigmoidCrossEntropy(Layer):
    """Sigmoid and cross-entropy against labels from 0 to 1: the mean over all numbers, in nats.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of the gradients. The loss is always added up in float64.

    Raises
    ------
    DTypeError
        ``dtype`` is another.

    Examples
    --------
    >>> from fastseq.layers import SigmoidCrossEntropy
    >>> loss, cache = SigmoidCrossEntropy().forward([0.0, 0.0], [1, 0])
    >>> round(loss, 4)
    0.6931
    """

    def __init__(self, *, dtype: Any = "float32") -> None:
        super().__init__()
        self.dtype = as_float_dtype(dtype)

    def forward(self, logits: Any, labels: Any, train: bool = True) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
        """Return the loss, and what `backward` takes.

        Parameters
        ----------
        logits : array of any shape
            Real numbers. NaN comes out as a loss of NaN.
        labels : array of the same shape
            0 to 1.
        train : bool
            Changes nothing here.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            An argument is not as described.
        """
        x, wanted = _numbers(logits, "logits", self.dtype), _numbers(labels, "labels", self.dtype)
        if x.shape != wanted.shape:
            raise ShapeError(f"labels has shape {wanted.shape}, expected that of logits, {x.shape}")
        if wanted.size and not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueRangeError("labels holds a number outside of 0 to 1")
        # log(1 + e**x) - x * label, by a form that does not overflow.
        losses = np.maximum(x, 0) - x * wanted + np.log1p(np.exp(-np.abs(x)))
        return float(losses.mean(dtype=np.float64)) if x.size else 0.0, (x, wanted)

    def backward(self, dy: Any, cache: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Return the gradient by the logits from that by the loss, a number: 1.0 where the loss is what is trained."""
        scale = check_finite_number(dy, "dy", -np.inf)
        x, wanted = cache
        return (_sigmoid(x) - wanted) * self.dtype.type(scale / max(1, x.size))
