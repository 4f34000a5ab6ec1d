"""Projection, softmax and cross-entropy with CUDA: the array library's products, and a kernel for what is between."""

from __future__ import annotations

import math

import numpy as np

from .. import _cuda
from .._cuda import cuda

__all__ = ["softmax_cross_entropy"]

# Bytes of logits that are kept at a time.
_LOGITS_BYTES = 2**28


@_cuda.cuda_jit
def _gradients(
    logits,     # INOUT float (r, v) without their rows' largest; then the gradient
    totals,     # IN    float (r,) sums of their exponentials
    labels,     # IN    int32 (r,)
    weights,    # IN    float (r,)
    smoothing,  # IN    float (1,)
):
    n_words = logits.shape[1]
    zero = logits.dtype.type(0)
    even = smoothing[0] / logits.dtype.type(n_words)
    for k in range(cuda.grid(1), logits.shape[0] * n_words, cuda.gridsize(1)):
        row = k // n_words
        word = k - row * n_words
        value = zero
        if weights[row] > zero:
            value = math.exp(logits[row, word]) / totals[row] - even
            if word == labels[row]:
                value -= logits.dtype.type(1) - smoothing[0]
            value *= weights[row]
        logits[row, word] = value


PTX = {
    "_gradients": [
        f"void({t}[:, ::1], {t}[::1], int32[::1], {t}[::1], {t}[::1])" for t in ("float32", "float64")
    ],
}


def softmax_cross_entropy(h, w, b, labels, weights, by_word, label_smoothing, train):
    """Return (losses, dh, dw, db); see the contract."""
    xp = _cuda.xp()
    dtype = np.dtype(h.dtype)
    w = w.T if by_word else w
    n_rows, n_words = len(h), w.shape[1]
    losses = _cuda.asarray(xp.zeros(n_rows, np.float64))
    dh = _cuda.asarray(xp.zeros((n_rows if train else 0, h.shape[1]), dtype))
    dw, db = _cuda.asarray(xp.zeros(w.shape, dtype)), _cuda.asarray(xp.zeros(n_words, dtype))
    smoothing = _cuda.asarray(np.array([label_smoothing], dtype))
    most_rows = max(64, _LOGITS_BYTES // (n_words * dtype.itemsize))
    for first in range(0, n_rows, most_rows):
        mine = slice(first, min(n_rows, first + most_rows))
        logits = xp.matmul(h[mine], w) + b
        logits = _cuda.asarray(logits - logits.max(axis=1, keepdims=True))
        totals = _cuda.asarray(xp.exp(logits).sum(axis=1))
        asked = logits[xp.arange(len(logits)), labels[mine]]
        target = (1 - label_smoothing) * asked.astype(np.float64)
        if label_smoothing:
            target = target + label_smoothing * logits.mean(axis=1, dtype=np.float64)
        loss = xp.log(totals.astype(np.float64)) - target
        losses[mine] = xp.where(weights[mine] > 0, loss, 0.0)
        if train:
            own = _cuda.asarray(labels[mine], np.int32)
            _cuda.launch(_gradients, logits.size, logits, totals, own, _cuda.asarray(weights[mine]), smoothing)
            dh[mine] = xp.matmul(logits, w.T)
            dw += xp.matmul(h[mine].T, logits)
            db += logits.sum(axis=0)
    return losses, dh, _cuda.asarray(dw.T) if by_word else dw, db
