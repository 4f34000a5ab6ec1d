"""Dropout: of single numbers, with one mask for all steps, and of whole words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels import random_mask
from ..kernels._boundary import as_float_dtype, check_finite_number, check_integer, device_of
from ..random import as_key
from ._base import Layer, as_array, as_gradient, scaled

__all__ = ["Dropout", "as_share", "drawn_below", "dropout_mask"]


def as_share(value: Any, name: str) -> float:
    """Return a share to be dropped, from 0 to below 1."""
    share = check_finite_number(value, name, 0.0, upper=1.0)
    if share == 1.0:
        raise ValueRangeError(f"{name} is 1, expected less: nothing would be left")
    return share


def drawn_below(key: Any, shape: tuple[int, ...], share: float, dtype: np.dtype, device: str = "cpu") -> np.ndarray:
    """Return ones for that share of an array and zeros for the rest."""
    mask: np.ndarray = random_mask(key, math.prod(shape), share, 1.0, 0.0, dtype=dtype, device=device).reshape(shape)
    return mask


def dropout_mask(key: Any, shape: tuple[int, ...], share: float, dtype: np.dtype, device: str = "cpu") -> np.ndarray:
    """Return 0 for that share of an array, and for the rest so much above 1 that the mean stays 1."""
    mask: np.ndarray = random_mask(
        key, math.prod(shape), share, 0.0, 1.0 / (1.0 - share), dtype=dtype, device=device
    ).reshape(shape)
    return mask


class Dropout(Layer):
    """Zeros for a share of the numbers while training; the rest is scaled up, so that nothing changes without.

    Parameters
    ----------
    rate : float
        The share, from 0 to below 1.
    shared_axes : sequence of int
        Axes along which one mask serves for all: ``(1,)`` for (N, T, D) drops the same numbers at all steps
        (variational or locked dropout), ``(-1,)`` whole vectors.
    dtype : {"float32", "float64"}
        Of the output.
    random_state : None, int or numpy.random.Generator
        Each pass draws anew from it.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014, scaled in
    training as PyTorch does; the book's Dropout scales afterwards, its TimeDropout as here. Shared masks: Gal and
    Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.layers import Dropout
    >>> y, cache = Dropout(0.5, shared_axes=(0,), random_state=1).forward(np.ones((2, 4)))
    >>> bool((y[0] == y[1]).all()), sorted(set(y.ravel().tolist()))
    (True, [0.0, 2.0])
    """

    def __init__(
        self, rate: float = 0.5, *, shared_axes: Sequence[int] = (), dtype: Any = "float32", random_state: Any = None
    ) -> None:
        super().__init__()
        self.rate = as_share(rate, "rate")
        self.shared_axes = tuple(check_integer(axis, "shared_axes", -64, 63) for axis in shared_axes)
        self.dtype = as_float_dtype(dtype)
        self._key = int(as_key(random_state, "dropout"))
        self._passes = 0

    def forward(self, x: Any, train: bool = True) -> tuple[np.ndarray, Any]:
        """Drop out.

        Parameters
        ----------
        x : array of any shape
            Real numbers; they become the layer's dtype.
        train : bool
            Whether anything is dropped.

        Returns
        -------
        y : ndarray of the shape of x
        cache
            For `backward`.

        Raises
        ------
        ShapeError, DTypeError
            ``x`` has not the axes that share a mask, or no numbers.
        """
        array = as_array(x, "x")
        if array.dtype.kind not in "fiu":
            raise DTypeError(f"x has dtype {array.dtype}, expected real numbers (they become {self.dtype})")
        array = array.astype(self.dtype, copy=False)
        shape = list(array.shape)
        for axis in self.shared_axes:
            if not -array.ndim <= axis < array.ndim:
                raise ShapeError(f"x has shape {array.shape}, expected an axis {axis} (shared_axes)")
            shape[axis] = 1
        if not (train and self.rate):
            return array, (None, array.shape)
        self._passes += 1
        key = as_key(self._key, f"pass.{self._passes}")
        mask = dropout_mask(key, tuple(shape), self.rate, self.dtype, device_of(x=array))
        return scaled(array, mask), (mask, array.shape)

    def backward(self, dy: Any, cache: Any) -> np.ndarray:
        """Return the gradient by the input.

        Parameters
        ----------
        dy : array of the shape of x
            Gradient of the loss by the output.
        cache
            From `forward`.

        Raises
        ------
        ShapeError, DTypeError
            ``dy`` has another shape than the output, or no numbers.
        """
        mask, shape = cache
        gradient = as_gradient(dy, shape, self.dtype)
        return gradient if mask is None else scaled(gradient, mask)
