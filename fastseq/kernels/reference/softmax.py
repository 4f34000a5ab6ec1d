"""Projection, softmax and cross-entropy: the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case

__all__ = ["softmax_cross_entropy", "softmax_cross_entropy_cases"]


def softmax_cross_entropy(
    h: Any, w: Any, b: Any, labels: Any, weights: Any = None, *, by_word: bool = False, label_smoothing: float = 0.0,
    train: bool = True,
) -> tuple[Any, ...]:  # fmt: skip
    """See the contract."""
    h, w = np.asarray(h, np.float64), np.asarray(w, np.float64)
    w = w.T if by_word else w
    n_rows, n_words = len(h), w.shape[1]
    b = np.zeros(n_words) if b is None else np.asarray(b, np.float64)
    weights = np.full(n_rows, 1 / max(1, n_rows)) if weights is None else np.asarray(weights, np.float64)
    logits = h @ w + b
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    counted = weights > 0
    targets = np.full((n_rows, n_words), label_smoothing / n_words)
    targets[np.arange(n_rows), np.where(counted, labels, 0)] += 1 - label_smoothing
    losses = np.where(counted, -(targets * log_p).sum(axis=1), 0)
    if not train:
        return (losses,)
    d = (np.exp(log_p) - targets) * weights[:, None]
    dw = h.T @ d
    return losses, d @ w.T, dw.T if by_word else dw, d.sum(axis=0)


def softmax_cross_entropy_cases() -> Iterator[Case]:
    """Yield the cases."""
    rng = np.random.default_rng(6)
    for dtype in (np.float32, np.float64):
        for label, n_rows, units, n_words in (
            ("no rows", 0, 3, 4),
            ("one word", 3, 2, 1),
            ("one of each", 1, 1, 2),
            ("whole panels", 12, 64, 128),
            ("odd sizes", 7, 19, 67),
            ("many rows", 150, 33, 300),
        ):
            def some(*shape: int) -> np.ndarray:
                return rng.standard_normal(shape).astype(dtype)  # noqa: B023

            h, w, b = some(n_rows, units), some(units, n_words), some(n_words)
            labels = rng.integers(0, n_words, n_rows).astype(np.int32)
            kind = str(np.dtype(dtype))
            yield Case(f"{label}, {kind}", (h, w, b, labels), {})
            weights = (rng.random(n_rows) * (rng.random(n_rows) > 0.3)).astype(dtype)
            table = np.ascontiguousarray(w.T)
            yield Case(f"{label}, a table, weights, smoothing, {kind}", (h, table, None, labels, weights),
                       {"by_word": True, "label_smoothing": 0.1})  # fmt: skip
            yield Case(f"{label}, losses alone, {kind}", (h, w, b, labels, weights), {"train": False})
            strided = np.repeat(w, 2, axis=1)[:, ::2]
            strided.flags.writeable = False
            yield Case(f"{label}, strided, {kind}", (h[::-1], strided, b, labels[::-1].astype(np.int64)), {})
        huge = some(4, 8) * dtype(1e4)
        yield Case(f"huge logits, {kind}", (huge, some(8, 20), some(20), np.arange(4)), {})
