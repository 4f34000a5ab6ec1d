"""Linear: a product with a matrix of weights, and a bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ValueRangeError
from ..kernels._boundary import as_float_dtype, check_integer
from ..random import as_key
from . import _initial
from ._base import Layer, Param, as_gradient, as_input

__all__ = ["Linear"]


class Linear(Layer):
    """``y = x @ w + b`` over the last axis.

    Parameters
    ----------
    input_size : int
        D.
    output_size : int
        H.
    bias : bool or array (H,)
        Whether there is a bias, or the one to begin with (copied).
    transposed : bool
        Whether the weights are kept as (H, D), and ``y = x @ w.T + b``: so an output layer shares the (V, D) table of
        an `Embedding`.
    initial : {"uniform", "xavier"}
        Weights and bias even over 1 / sqrt(D) on both sides of 0, or weights normal with that deviation and a bias of
        zeros.
    weight : array (D, H) or Param, optional
        The weights to begin with (copied), or a Param to share; (H, D) where ``transposed``.
    dtype : {"float32", "float64"}
        Of the parameters and of the output; that of ``weight`` where it is a Param.
    random_state : None, int or numpy.random.Generator
        Of the first weights.

    Attributes
    ----------
    params : dict[str, Param]
        "weight" and, where there is one, "bias".

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    "uniform" is how PyTorch begins. "xavier" is named so by Saito, *Deep Learning from Scratch 2*; Glorot and Bengio,
    "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, use both widths.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.layers import Linear
    >>> layer = Linear(3, 2, weight=np.arange(6).reshape(3, 2), bias=[10, 20])
    >>> y, cache = layer.forward(np.ones((1, 3)))
    >>> y
    array([[16., 29.]], dtype=float32)
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        bias: Any = True,
        transposed: bool = False,
        initial: str = "uniform",
        weight: Any = None,
        dtype: Any = "float32",
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = check_integer(input_size, "input_size", 1)
        self.output_size = check_integer(output_size, "output_size", 1)
        self.transposed = bool(transposed)
        self.dtype = _initial.pick_dtype(as_float_dtype(dtype), weight)
        if initial not in _initial.INITIALS:
            raise ValueRangeError(f"initial is {initial!r}, expected one of {_initial.INITIALS}")
        # One draw for both: a Generator gives another number each time it is asked.
        seed = int(as_key(random_state, "linear"))
        shape = (self.output_size, self.input_size) if self.transposed else (self.input_size, self.output_size)
        if weight is None:
            key = as_key(seed, "linear.weight")
            self.params["weight"] = Param(_initial.fan_in(initial, shape, self.input_size, key, self.dtype))
        else:
            self.params["weight"] = _initial.as_param(weight, "weight", shape, self.dtype)
        if isinstance(bias, (bool, np.bool_)):
            if bias and initial == "uniform":
                key = as_key(seed, "linear.bias")
                start = _initial.fan_in(initial, (self.output_size,), self.input_size, key, self.dtype)
                self.params["bias"] = Param(start)
            elif bias:
                self.params["bias"] = Param(np.zeros(self.output_size, self.dtype))
        elif bias is None:
            raise DTypeError("bias is None, expected True, False or an array; pass bias=False for none")
        else:
            self.params["bias"] = _initial.as_param(bias, "bias", (self.output_size,), self.dtype)

    def forward(self, x: Any, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Multiply.

        Parameters
        ----------
        x : (..., D) array
            Real numbers; they become the layer's dtype.
        train : bool
            Changes nothing here.

        Returns
        -------
        y : (..., H) ndarray
        cache : ndarray
            For `backward`: the input, not copied.

        Raises
        ------
        ShapeError, DTypeError
            ``x`` has another width, or no numbers.
        """
        x = as_input(x, "x", self.input_size, self.dtype)
        weight = self.params["weight"].value
        # One product of two matrices: with more axes np.matmul multiplies them one by one.
        y = x.reshape(-1, self.input_size) @ (weight.T if self.transposed else weight)
        if "bias" in self.params:
            y += self.params["bias"].value
        return y.reshape(*x.shape[:-1], self.output_size), x

    def backward(self, dy: Any, cache: np.ndarray) -> np.ndarray:
        """Add the gradients of the weights and return that of the input.

        Parameters
        ----------
        dy : (..., H) array
            Gradient of the loss by the output.
        cache : ndarray
            From `forward`.

        Returns
        -------
        dx : (..., D) ndarray

        Raises
        ------
        ShapeError, DTypeError
            ``dy`` has another shape than the output, or no numbers.
        """
        x = cache.reshape(-1, self.input_size)
        dy = as_gradient(dy, (*cache.shape[:-1], self.output_size), self.dtype).reshape(-1, self.output_size)
        weight = self.params["weight"]
        weight.add_product(dy, x) if self.transposed else weight.add_product(x, dy)
        if "bias" in self.params:
            self.params["bias"].add_grad(dy.sum(axis=0, dtype=np.float64).astype(self.dtype))
        dx = dy @ (weight.value if self.transposed else weight.value.T)
        return dx.reshape(cache.shape)
