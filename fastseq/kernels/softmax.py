"""Projection, softmax and cross-entropy in one: the output layer of a language model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._boundary import as_floats, as_ids, check_finite_number, device_of, to_same_device, variant

__all__ = ["softmax_cross_entropy"]


def softmax_cross_entropy(
    h: Any,
    w: Any,
    b: Any,
    labels: Any,
    weights: Any = None,
    *,
    by_word: bool = False,
    label_smoothing: float = 0.0,
    train: bool = True,
) -> tuple[Any, ...]:
    """Return what a softmax over ``h @ w + b`` loses against labels, and the gradients.

    Parameters
    ----------
    h : (R, H) array
        float32 or float64: a row for each word to be told. The other real arrays have its dtype and lie on its device.
    w : (H, V) array
        Weights of the words; with ``by_word`` (V, H), a row for each, as the table of an embedding is.
    b : (V,) array or None
        Biases; None: zeros.
    labels : (R,) integers
        The words to be told, 0 to V - 1. Labels of rows whose weight is 0 are not looked at.
    weights : (R,) array or None
        What each row counts in the gradients, 0 or more: rows of weight 0 are passed over. None: 1 / R for all, which
        gives the gradients of the mean.
    by_word : bool
        How ``w`` lies.
    label_smoothing : float
        Share of the target that is spread evenly over all words, 0 to 1 (Szegedy et al., "Rethinking the Inception
        architecture for computer vision", CVPR 2016).
    train : bool
        Whether the gradients are wanted.

    Returns
    -------
    losses : (R,) float64 array
        In nats; 0 for rows that are passed over.
    dh : (R, H) array
    dw : array of the shape of ``w``
    db : (V,) array
        Gradients of ``weights @ losses``; only with ``train``.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError, DeviceError
        An argument is not as described.

    Notes
    -----
    The exponentials of some rows at a time are kept, 32 MB of them, or those of 64 rows where these are more; without
    ``train``, on the CPU, no more than a chunk of a few hundred words and rows for each thread. Gradients below 1e-37
    become 0. NaN and infinity in ``h``, ``w`` and ``b`` come out. The result has the same bits for any number of
    threads.
    """
    device = device_of(h=h, w=w, b=b, weights=weights)
    h = as_floats(h, "h", 2, finite=False)
    dtype = np.dtype(h.dtype)
    w = _like(w, "w", 2, dtype)
    n_rows, units = (int(size) for size in h.shape)
    n_words, width = (int(size) for size in (w.shape if by_word else w.shape[::-1]))
    if width != units or n_words < 1:
        wanted = f"(V, {units})" if by_word else f"({units}, V)"
        raise ShapeError(f"w has shape {tuple(w.shape)}, expected {wanted} with at least one word")
    b = to_same_device(np.zeros(n_words, dtype), device) if b is None else _like(b, "b", 1, dtype)
    if tuple(b.shape) != (n_words,):
        raise ShapeError(f"b has shape {tuple(b.shape)}, expected ({n_words},): one for each word of w")
    if weights is None:
        weights = to_same_device(np.full(n_rows, 1.0 / max(1, n_rows), dtype), device)
    weights = _like(weights, "weights", 1, dtype, finite=True)
    if tuple(weights.shape) != (n_rows,):
        raise ShapeError(f"weights has shape {tuple(weights.shape)}, expected ({n_rows},): one for each row of h")
    if n_rows and float(weights.min()) < 0:
        raise ValueRangeError("weights holds a negative number, expected 0 or more")
    labels = labels if hasattr(labels, "dtype") else np.asarray(labels)
    if tuple(labels.shape) != (n_rows,):
        raise ShapeError(f"labels has shape {tuple(labels.shape)}, expected ({n_rows},): one for each row of h")
    if labels.dtype.kind not in "iu" and n_rows:
        raise DTypeError(f"labels has dtype {labels.dtype}, expected integers")
    if device == "cpu":
        labels = np.where(weights > 0, labels, 0)
    else:
        labels = to_same_device(labels, device) * (weights > 0)
    labels = as_ids(labels, "labels", upper=n_words)
    smoothing = check_finite_number(label_smoothing, "label_smoothing", 0.0, upper=1.0)
    body = variant(device, "softmax").softmax_cross_entropy
    result: tuple[Any, ...] = body(h, w, b, labels, weights, bool(by_word), smoothing, bool(train))
    return result if train else result[:1]


def _like(array: Any, name: str, ndim: int, dtype: np.dtype, finite: bool = False) -> Any:
    given = np.dtype(getattr(array, "dtype", dtype))
    if given.kind == "f" and given.itemsize >= 4 and given.newbyteorder("=") != dtype:
        raise DTypeError(f"{name} is {given} and h {dtype}, expected the same for all arrays")
    return as_floats(array, name, ndim, dtype, finite=finite)
