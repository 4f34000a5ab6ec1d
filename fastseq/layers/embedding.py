"""Embedding: a table of vectors, one row for each word."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import random
from ..kernels._boundary import (
    as_float_dtype,
    as_ids,
    check_finite_number,
    check_integer,
    device_of,
    to_same_device,
)
from ..random import as_key
from . import _initial
from ._base import Layer, Param, RowSparseGrad, as_array, as_gradient, room, scaled
from .dropout import as_share

__all__ = ["Embedding"]


class Embedding(Layer):
    """A table of vectors, looked up by id.

    Parameters
    ----------
    n_words : int
        V, the number of rows.
    dim : int
        D, the width of a row.
    scale : float
        Standard deviation of the normal numbers that the table begins with.
    dropout : float
        Share of the words whose vectors are zeros in a pass of training, wherever they stand; the others are scaled up
        (Gal and Ghahramani, NIPS 2016; AWD-LSTM's embedding dropout).
    weight : array (V, D) or Param, optional
        The table to begin with (copied), or a Param to share.
    dtype : {"float32", "float64"}
        Of the table; that of ``weight`` where it is a Param.
    random_state : None, int or numpy.random.Generator
        Of the first table and of dropout.

    Attributes
    ----------
    params : dict[str, Param]
        "weight" (V, D). Its gradient is a `RowSparseGrad`, unless another layer added a dense one.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.

    Examples
    --------
    >>> from fastseq.layers import Embedding
    >>> layer = Embedding(1000, 8, random_state=0)
    >>> y, cache = layer.forward([[3, 1, 3]])
    >>> y.shape
    (1, 3, 8)
    >>> layer.backward(y, cache)
    >>> layer.params["weight"].grad.coalesce().rows
    array([1, 3], dtype=int32)
    """

    def __init__(
        self,
        n_words: int,
        dim: int,
        *,
        scale: float = 0.01,
        dropout: float = 0.0,
        weight: Any = None,
        dtype: Any = "float32",
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.n_words = check_integer(n_words, "n_words", 1, 2**31 - 1)
        self.dim = check_integer(dim, "dim", 1)
        self.dtype = _initial.pick_dtype(as_float_dtype(dtype), weight)
        scale = check_finite_number(scale, "scale", 0.0)
        self.dropout = as_share(dropout, "dropout")
        self._passes = 0
        # One draw for both: a Generator gives another number each time it is asked.
        seed = int(as_key(random_state, "embedding.weight"))
        self._key = int(as_key(seed, "embedding.dropout"))
        shape = (self.n_words, self.dim)
        if weight is None:
            self.params["weight"] = Param(_initial.normal(shape, scale, np.uint64(seed), self.dtype))
        else:
            self.params["weight"] = _initial.as_param(weight, "weight", shape, self.dtype)

    def forward(self, ids: Any, train: bool = True) -> tuple[np.ndarray, tuple[np.ndarray, Any]]:
        """Look rows up.

        Parameters
        ----------
        ids : (...,) array
            Integers from 0 to V - 1.
        train : bool
            Whether words are dropped.

        Returns
        -------
        y : (..., D) ndarray
        cache : tuple
            For `backward`.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            ``ids`` are ragged, no integers, or lie outside the table.
        """
        array = as_array(ids, "ids")
        # Reshaped, since a single id comes back with an axis; copied, since the gradient keeps the ids until it is
        # used, and the caller may have filled the next batch into the array by then.
        ids = as_ids(array, "ids", upper=self.n_words, ndim=array.ndim).reshape(array.shape).copy()
        table = self.params["weight"].value
        device = device_of(weight=table)
        if device == "cpu":
            # The ids were checked above.
            rows = np.take(table, ids, axis=0, out=room((*ids.shape, self.dim), self.dtype), mode="clip")
        else:
            rows = table[to_same_device(ids, device)]
        if not (train and self.dropout):
            return rows, (ids, None)
        self._passes += 1
        # A number depends on the word and on the pass, so a word is dropped in all of its places.
        bits = random.random_bits(as_key(self._key, str(self._passes)), ids.astype(np.uint64))
        left = ((bits >> np.uint64(11)) * 2.0**-53 >= self.dropout) * self.dtype.type(1.0 / (1.0 - self.dropout))
        left = to_same_device(left, device)
        return scaled(rows, left[..., None]), (ids, left)

    def backward(self, dy: Any, cache: tuple[np.ndarray, Any]) -> None:
        """Add the gradient of the rows that were looked up.

        Parameters
        ----------
        dy : (..., D) array
            Gradient of the loss by the output. It is copied.
        cache : tuple
            From `forward`.

        Returns
        -------
        None
            Ids have no gradient.

        Raises
        ------
        ShapeError, DTypeError
            ``dy`` has another shape than the output, or no numbers.
        """
        ids, left = cache
        gradient = as_gradient(dy, (*ids.shape, self.dim), self.dtype)
        # Copied: the sum over equal rows waits until the gradient is used, and dy is the caller's to change by then.
        values = scaled(gradient, self.dtype.type(1) if left is None else left[..., None])
        self.params["weight"].add_grad(RowSparseGrad(ids.ravel(), values.reshape(-1, self.dim)))
