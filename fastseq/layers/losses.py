"""Losses: the softmax with cross-entropy, alone and as the output layer of a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..device import to_host
from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels import softmax_cross_entropy
from ..kernels._boundary import as_float_dtype, check_finite_number, check_integer, device_of, to_same_device
from ..random import as_key
from . import _initial
from ._base import Layer, Param, as_array, as_input, scaled

__all__ = ["LinearCrossEntropy", "SoftmaxCrossEntropy"]

# Probabilities below this become 0 in the backward pass: times 1 / (number of rows) they would be denormal in float32,
# and products with denormals are many times slower on some processors. The gradient changes by less than 1e-30.
_LEAST_PROBABILITY = 1e-30
# What a row of probabilities may miss of 1: float16 keeps three digits.
_SUM_TOLERANCE = 1e-3


class _Cache(NamedTuple):
    probabilities: np.ndarray  # (rows, V)
    labels: np.ndarray  # (rows,) int64, or (rows, V) probabilities
    row_weights: np.ndarray  # (rows,) float64, they add up to 1; 0 for rows that are passed over
    shape: tuple[int, ...]


class SoftmaxCrossEntropy(Layer):
    """Softmax and cross-entropy against labels: the mean over the rows, in nats.

    Parameters
    ----------
    ignore_index : int, optional
        The label of rows that do not count. It may lie outside the vocabulary (-1, -100).
    dtype : {"float32", "float64"}
        Of the probabilities and gradients. The loss is always added up in float64.

    Raises
    ------
    DTypeError
        An argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.layers import SoftmaxCrossEntropy
    >>> layer = SoftmaxCrossEntropy()
    >>> loss, cache = layer.forward(np.zeros((2, 4)), [3, 0])
    >>> round(loss, 4)
    1.3863
    >>> layer.backward(1.0, cache)[0]
    array([ 0.125,  0.125,  0.125, -0.375], dtype=float32)
    """

    def __init__(self, *, ignore_index: int | None = None, dtype: Any = "float32") -> None:
        super().__init__()
        self.ignore_index = None if ignore_index is None else check_integer(ignore_index, "ignore_index", -(2**31))
        self.dtype = as_float_dtype(dtype)

    def forward(self, logits: Any, labels: Any, weights: Any = None, train: bool = True) -> tuple[float, _Cache]:
        """Return the loss.

        Parameters
        ----------
        logits : (..., V) array
            Real numbers. NaN comes out as a loss of NaN.
        labels : (...,) or (..., V) array
            Integers from 0 to V - 1 (or ``ignore_index``), or a row of probabilities for each row of logits: one-hot,
            smoothed, or several targets.
        weights : (...,) array, optional
            What a row counts in the mean, 0 or more; a mask, for example. 1 unless given.
        train : bool
            Changes nothing here.

        Returns
        -------
        loss : float
            Nats per row; 0 where no row counts.
        cache : tuple
            For `backward`.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            An argument is not as described.
        """
        x = as_array(logits, "logits")
        if x.ndim < 1 or x.shape[-1] < 1:
            raise ShapeError(f"logits has shape {x.shape}, expected (..., V) with V of at least 1")
        n_words = x.shape[-1]
        x = as_input(x, "logits", n_words, self.dtype)
        labels, counted = self._as_labels(labels, x.shape)
        row_weights = _as_weights(weights, counted, x.shape[:-1])
        rows = x.reshape(-1, n_words)
        # Infinite logits: inf - inf is NaN, which is the answer, and -inf is a word that cannot be.
        with np.errstate(invalid="ignore"):
            shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
            probabilities = np.exp(shifted)
            sums = probabilities.sum(axis=1, dtype=np.float64)
            probabilities /= sums.astype(self.dtype)[:, None]
            losses = np.log(sums) - _target_logits(shifted, labels)
            loss = float(np.sum(losses * row_weights, where=row_weights > 0))
        return loss, _Cache(probabilities, labels, row_weights, x.shape)

    def backward(self, dy: Any, cache: _Cache) -> np.ndarray:
        """Return the gradient by the logits.

        Parameters
        ----------
        dy : float
            Gradient by the loss; 1.0 where the loss is what is trained.
        cache : tuple
            From `forward`; it is not changed.

        Returns
        -------
        dlogits : (..., V) ndarray

        Raises
        ------
        DTypeError, ValueRangeError
            ``dy`` is no finite number.
        """
        scale = check_finite_number(dy, "dy", -np.inf)
        probabilities, labels, row_weights, shape = cache
        gradient = np.multiply(probabilities, probabilities >= _LEAST_PROBABILITY)
        if labels.ndim == 1:
            gradient[np.arange(labels.shape[0]), labels] -= 1
        else:
            gradient -= labels
        gradient *= (row_weights * scale).astype(self.dtype)[:, None]
        # A row that does not count has no gradient, not even NaN times 0.
        gradient[row_weights == 0] = 0
        return gradient.reshape(shape)

    def _as_labels(self, labels: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels as (rows,) int64 or (rows, V), and which rows count."""
        labels = as_array(labels, "labels")
        n_words = shape[-1]
        n_rows = int(np.prod(shape[:-1], dtype=np.int64))
        if labels.shape == shape[:-1]:
            if labels.dtype.kind not in "iu" and labels.size:
                raise DTypeError(f"labels has dtype {labels.dtype}, expected integers, one for each row of logits")
            flat = labels.reshape(n_rows).astype(np.int64)
            counted = np.ones(n_rows, bool) if self.ignore_index is None else flat != self.ignore_index
            known = flat[counted]
            if known.size and (known.min() < 0 or known.max() >= n_words):
                bad = int(known.min() if known.min() < 0 else known.max())
                allowed = "" if self.ignore_index is None else f" or {self.ignore_index} (ignore_index)"
                raise ValueRangeError(f"labels holds {bad}, expected 0 to {n_words - 1}{allowed}")
            return np.where(counted, flat, 0), counted
        if labels.shape == shape:
            rows = as_input(labels, "labels", n_words, self.dtype).reshape(n_rows, n_words)
            sums = rows.sum(axis=1, dtype=np.float64)
            if rows.size and not ((rows >= 0).all() and (np.abs(sums - 1) <= _SUM_TOLERANCE).all()):
                raise ValueRangeError(
                    "labels holds rows that are no probabilities, expected numbers of at least 0 that add up to 1"
                )
            return rows, np.ones(n_rows, bool)
        raise ShapeError(
            f"labels has shape {labels.shape}, expected {shape[:-1]} (integers) or {shape} (rows of probabilities)"
        )


def _target_logits(shifted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return, for each row in float64, its target's logit, or the mean of its targets' by their probabilities."""
    if labels.ndim == 1:
        return shifted[np.arange(labels.shape[0]), labels].astype(np.float64)
    # Where the target is 0 a logit of -inf adds nothing.
    terms = np.multiply(shifted, labels, out=np.zeros_like(shifted), where=labels > 0)
    return terms.sum(axis=1, dtype=np.float64)


def _as_weights(weights: Any, counted: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return what each row counts, as parts of 1 (zeros where nothing counts)."""
    parts = counted.astype(np.float64)
    if weights is not None:
        given = as_array(weights, "weights")
        if given.shape != shape:
            raise ShapeError(f"weights has shape {given.shape}, expected {shape}, one for each row of logits")
        if given.dtype.kind not in "fiub":
            raise DTypeError(f"weights has dtype {given.dtype}, expected real numbers")
        given = given.reshape(-1).astype(np.float64)
        if not ((given >= 0) & (given < np.inf)).all():
            raise ValueRangeError("weights holds a negative number, NaN or infinity, expected numbers of 0 or more")
        parts *= given
    total = parts.sum()
    return parts / total if total > 0 else parts


@dataclass(frozen=True, eq=False)
class _Gradients:
    dh: np.ndarray     # (rows, H)
    dw: np.ndarray     # as the weights
    db: np.ndarray     # (V,)
    losses: np.ndarray  # (rows,)
    shape: tuple[int, ...]


class LinearCrossEntropy(Layer):
    """The output layer of a language model: ``h @ w + b``, softmax and cross-entropy in one.

    The same numbers as `Linear` and `SoftmaxCrossEntropy` one after the other, in less time and memory: of the logits
    only some rows are kept, and where nothing is trained only some words of these.

    Parameters
    ----------
    input_size : int
        H.
    n_words : int
        V.
    bias : bool
        Whether there is a bias.
    transposed : bool
        Whether the weights are kept as (V, H), a row for each word: so they are shared with an `Embedding`'s table.
    ignore_index : int, optional
        The label of rows that do not count. It may lie outside the vocabulary (-1, -100).
    label_smoothing : float
        Share of each target that is spread evenly over all words while training (Szegedy et al., CVPR 2016).
    weight : array or Param, optional
        The weights to begin with (copied), or a Param to share.
    initial, dtype, random_state
        As of `Linear`.

    Attributes
    ----------
    params : dict[str, Param]
        "weight" (H, V) or (V, H), and "bias" (V,).

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.layers import LinearCrossEntropy
    >>> layer = LinearCrossEntropy(3, 4, initial="xavier", random_state=0)
    >>> loss, cache = layer.forward(np.zeros((2, 3)), [3, 0])
    >>> round(loss, 4)
    1.3863
    >>> layer.backward(1.0, cache).shape
    (2, 3)
    """

    def __init__(
        self,
        input_size: int,
        n_words: int,
        *,
        bias: bool = True,
        transposed: bool = False,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        initial: str = "uniform",
        weight: Any = None,
        dtype: Any = "float32",
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = check_integer(input_size, "input_size", 1)
        self.n_words = check_integer(n_words, "n_words", 1, 2**31 - 1)
        self.transposed = bool(transposed)
        self.ignore_index = None if ignore_index is None else check_integer(ignore_index, "ignore_index", -(2**31))
        self.label_smoothing = check_finite_number(label_smoothing, "label_smoothing", 0.0, upper=1.0)
        self.dtype = _initial.pick_dtype(as_float_dtype(dtype), weight)
        seed = int(as_key(random_state, "linear"))
        shape = (self.n_words, self.input_size) if self.transposed else (self.input_size, self.n_words)
        if weight is None:
            start = _initial.fan_in(initial, shape, self.input_size, as_key(seed, "linear.weight"), self.dtype)
            self.params["weight"] = Param(start)
        else:
            self.params["weight"] = _initial.as_param(weight, "weight", shape, self.dtype)
        if bias:
            start = np.zeros(self.n_words, self.dtype)
            if initial == "uniform":
                start = _initial.fan_in(initial, start.shape, self.input_size, as_key(seed, "linear.bias"), self.dtype)
            self.params["bias"] = Param(start)

    def losses(self, h: Any, labels: Any) -> np.ndarray:
        """Return the loss of each row, (...,) float64 in nats, without smoothing; 0 where the label is ignored."""
        rows, flat, weights, shape = self._given(h, labels, None)
        bias = self.params["bias"].value if "bias" in self.params else None
        weights = to_same_device(weights, device_of(h=rows))
        (losses,) = softmax_cross_entropy(
            rows, self.params["weight"].value, bias, flat, weights, by_word=self.transposed, train=False
        )
        result: np.ndarray = to_host(losses).reshape(shape)
        return result

    def _given(self, h: Any, labels: Any, weights: Any) -> tuple[Any, np.ndarray, np.ndarray, tuple[int, ...]]:
        x = as_input(h, "h", self.input_size, self.dtype)
        shape = x.shape[:-1]
        flat = to_host(as_array(labels, "labels"))
        if flat.shape != shape:
            raise ShapeError(f"labels has shape {flat.shape}, expected {shape}, one for each row of h")
        if flat.dtype.kind not in "iu" and flat.size:
            raise DTypeError(f"labels has dtype {flat.dtype}, expected integers, one for each row of h")
        flat = flat.reshape(-1)
        counted = np.ones(flat.shape, bool) if self.ignore_index is None else flat != self.ignore_index
        parts = _as_weights(weights, counted, shape)
        return x.reshape(-1, self.input_size), flat, parts.astype(self.dtype), shape

    def forward(
        self, h: Any, labels: Any, weights: Any = None, train: bool = True, *, smooth: bool = True
    ) -> tuple[float, _Gradients | None]:
        """Return the loss, the mean over the rows.

        Parameters
        ----------
        h : (..., H) array
            Real numbers; they become the layer's dtype. NaN comes out as a loss of NaN.
        labels : (...,) integers
            0 to V - 1, or ``ignore_index``.
        weights : (...,) array, optional
            What a row counts in the mean, 0 or more; a mask, for example. 1 unless given.
        train : bool
            Whether the gradients are made as well, and targets smoothed.
        smooth : bool
            Whether targets are smoothed where gradients are made; False to learn from a text while it is evaluated.

        Returns
        -------
        loss : float
            Nats per row; 0 where no row counts.
        cache
            For `backward`; None without ``train``.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            An argument is not as described.
        """
        rows, flat, parts, shape = self._given(h, labels, weights)
        bias = self.params["bias"].value if "bias" in self.params else None
        smoothing = self.label_smoothing if train and smooth else 0.0
        losses, *made = softmax_cross_entropy(
            rows, self.params["weight"].value, bias, flat, to_same_device(parts, device_of(h=rows)),
            by_word=self.transposed, label_smoothing=smoothing, train=train,
        )  # fmt: skip
        losses = to_host(losses)
        loss = float(np.sum(losses * parts, where=parts > 0, dtype=np.float64))
        return loss, _Gradients(made[0], made[1], made[2], losses, (*shape, self.input_size)) if train else None

    def backward(self, dy: Any, cache: _Gradients) -> np.ndarray:
        """Add the gradients of the weights and return that of the input.

        Parameters
        ----------
        dy : float
            Gradient by the loss; 1.0 where the loss is what is trained.
        cache
            From `forward` with ``train``; it is not changed.

        Returns
        -------
        dh : (..., H) ndarray

        Raises
        ------
        DTypeError, ValueRangeError
            ``dy`` is no finite number, or the cache is none of `forward`.
        """
        if not isinstance(cache, _Gradients):
            raise DTypeError(f"cache is {type(cache).__name__}, expected what forward with train=True returned last")
        scale = check_finite_number(dy, "dy", -np.inf)

        def add(name: str, gradient: np.ndarray) -> None:
            if scale == 1.0:
                # The parameters only read what is the cache's, while it is there.
                self.params[name].add_grad(gradient, lender=cache)
            else:
                self.params[name].add_grad(gradient * self.dtype.type(scale), given=True)

        add("weight", cache.dw)
        if "bias" in self.params:
            add("bias", cache.db)
        # A copy: it may be changed by whoever gets it.
        dh: np.ndarray = scaled(cache.dh.reshape(cache.shape), self.dtype.type(scale))
        return dh
