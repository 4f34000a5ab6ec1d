"""Gradients by numeric differences: what every backward pass is held against, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastseq.layers import Layer, RowSparseGrad, distinct_params


def numeric_gradient(loss: Callable[[], float], array: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return the gradient of ``loss()`` by ``array`` from central differences; ``array`` is changed and restored."""
    assert array.dtype == np.float64, "differences in float32 are mostly rounding"
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = loss()
        array[index] = kept - step
        below = loss()
        array[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def dense(param: Any) -> np.ndarray:
    """Return the gradient of a Param as an array, zeros where it has none."""
    if param.grad is None:
        return np.zeros_like(param.value)
    return param.grad.to_dense(len(param.value)) if isinstance(param.grad, RowSparseGrad) else param.grad


def check_gradients(
    loss: Callable[[], float], arrays: dict[str, np.ndarray], gradients: dict[str, np.ndarray], tolerance: float = 1e-7
) -> None:
    """Compare each of ``gradients`` with the differences by the array of the same name.

    ``tolerance`` is relative to the largest number of each gradient (at least 1e-3): central differences at a step of
    1e-5 are good to about 1e-10.
    """
    assert arrays.keys() == gradients.keys()
    for name, array in arrays.items():
        want = numeric_gradient(loss, array)
        scale = max(1e-3, float(np.abs(want).max(initial=0.0)))
        np.testing.assert_allclose(
            gradients[name], want, rtol=0, atol=tolerance * scale, err_msg=f"gradient by {name}"
        )


def check_layer(layer: Layer, x: np.ndarray, rng: np.random.Generator, **options: Any) -> None:
    """Check the backward pass of ``layer`` at ``x``: by every parameter, and by ``x`` where it holds floats."""
    y, cache = layer.forward(x, **options)  # type: ignore[attr-defined]
    weights = rng.standard_normal(np.shape(y))
    layer.zero_grad()
    dx = layer.backward(weights if np.ndim(y) else float(weights), cache)  # type: ignore[attr-defined]

    def loss() -> float:
        return float(np.sum(layer.forward(x, **options)[0] * weights))  # type: ignore[attr-defined]

    params = distinct_params(layer.params)
    arrays = {name: param.value for name, param in params.items()}
    gradients = {name: dense(param) for name, param in params.items()}
    if x.dtype.kind == "f":
        arrays["the input"], gradients["the input"] = x, dx
    check_gradients(loss, arrays, gradients)
