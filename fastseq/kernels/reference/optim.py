"""Steps of optimizers: the oracles. What float32 makes 0 because it is tiny stays here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..registry import Case

__all__ = [
    "adagrad_step", "adagrad_step_cases", "adam_step", "adam_step_cases", "rmsprop_step", "rmsprop_step_cases",
    "sgd_step", "sgd_step_cases", "sum_of_squares", "sum_of_squares_cases",
]  # fmt: skip


def sum_of_squares(values: Any) -> float:
    """See the contract."""
    return float((np.asarray(values, np.float64) ** 2).sum())


def _gradient(value: Any, grad: Any, weight_decay: float, scale: float) -> np.ndarray:
    return np.asarray(grad, np.float64) * scale + weight_decay * np.asarray(value, np.float64)


def sgd_step(
    value: Any, grad: Any, kept: Any = None, *, learning_rate: float, momentum: float = 0.0, nesterov: bool = False,
    weight_decay: float = 0.0, scale: float = 1.0,
) -> None:  # fmt: skip
    """See the contract."""
    g = _gradient(value, grad, weight_decay, scale)
    if momentum:
        push = momentum * np.asarray(kept, np.float64) + g
        kept[...] = push
        g = g + momentum * push if nesterov else push
    value[...] = value - learning_rate * g


def adagrad_step(
    value: Any, grad: Any, square_sum: Any, *, learning_rate: float, epsilon: float = 1e-10, weight_decay: float = 0.0,
    scale: float = 1.0,
) -> None:  # fmt: skip
    """See the contract."""
    g = _gradient(value, grad, weight_decay, scale)
    square_sum[...] = square_sum + g**2
    value[...] = value - learning_rate * g / (np.sqrt(np.asarray(square_sum, np.float64)) + epsilon)


def rmsprop_step(
    value: Any, grad: Any, square_average: Any, *, learning_rate: float, decay: float = 0.99, epsilon: float = 1e-8,
    weight_decay: float = 0.0, scale: float = 1.0,
) -> None:  # fmt: skip
    """See the contract."""
    g = _gradient(value, grad, weight_decay, scale)
    square_average[...] = decay * np.asarray(square_average, np.float64) + (1 - decay) * g**2
    value[...] = value - learning_rate * g / (np.sqrt(np.asarray(square_average, np.float64)) + epsilon)


def adam_step(
    value: Any, grad: Any, average: Any, square_average: Any, steps: int, *, learning_rate: float, beta1: float = 0.9,
    beta2: float = 0.999, epsilon: float = 1e-8, epsilon_hat: bool = False, weight_decay: float = 0.0,
    decoupled: bool = False, scale: float = 1.0,
) -> None:  # fmt: skip
    """See the contract."""
    g = _gradient(value, grad, 0.0 if decoupled else weight_decay, scale)
    average[...] = beta1 * np.asarray(average, np.float64) + (1 - beta1) * g
    square_average[...] = beta2 * np.asarray(square_average, np.float64) + (1 - beta2) * g**2
    m, v = np.asarray(average, np.float64), np.asarray(square_average, np.float64)
    c1, c2 = 1 - beta1**steps, 1 - beta2**steps
    if epsilon_hat:
        step = learning_rate * np.sqrt(c2) / c1 * m / (np.sqrt(v) + epsilon)
    else:
        step = learning_rate * (m / c1) / (np.sqrt(v / c2) + epsilon)
    value[...] = value * (1 - learning_rate * weight_decay if decoupled else 1) - step


def _arrays() -> Iterator[tuple[str, np.ndarray, np.ndarray, list[np.ndarray]]]:
    """Yield labels, values, gradients and two arrays of numbers above 0."""
    rng = np.random.default_rng(3)
    for dtype in (np.float32, np.float64):
        for shape in ((0,), (1,), (3, 5), (40_001,)):
            value, grad = rng.standard_normal((2, *shape)).astype(dtype)
            yield f"{shape}, {np.dtype(dtype)}", value, grad, list(rng.random((2, *shape)).astype(dtype))
    grad = rng.standard_normal(20)[::2]
    grad.flags.writeable = False
    yield "a strided gradient that is read-only", rng.standard_normal(10), grad, list(rng.random((2, 10)))


def sum_of_squares_cases() -> Iterator[Case]:
    """Yield the cases."""
    for label, value, grad, _ in _arrays():
        yield Case(label, (value,))
        yield Case(f"{label}, the gradient", (grad,))


def sgd_step_cases() -> Iterator[Case]:
    """Yield the cases."""
    for label, value, grad, (kept, _) in _arrays():
        yield Case(label, (value, grad, kept), {"learning_rate": 0.1})
        yield Case(f"{label}, momentum", (value, grad, kept), {"learning_rate": 0.1, "momentum": 0.9, "scale": 0.5})
        more = {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01}
        yield Case(f"{label}, Nesterov, decay", (value, grad, kept), {"learning_rate": 0.3, **more})


def adagrad_step_cases() -> Iterator[Case]:
    """Yield the cases."""
    for label, value, grad, (squares, _) in _arrays():
        yield Case(label, (value, grad, squares), {"learning_rate": 0.1})
        more = {"epsilon": 1e-3, "weight_decay": 0.1, "scale": 0.3}
        yield Case(f"{label}, decay", (value, grad, squares), {"learning_rate": 0.1, **more})


def rmsprop_step_cases() -> Iterator[Case]:
    """Yield the cases."""
    for label, value, grad, (squares, _) in _arrays():
        yield Case(label, (value, grad, squares), {"learning_rate": 0.1})
        more = {"decay": 0.8, "epsilon": 1e-3, "weight_decay": 0.1, "scale": 0.3}
        yield Case(f"{label}, decay", (value, grad, squares), {"learning_rate": 0.1, **more})


def adam_step_cases() -> Iterator[Case]:
    """Yield the cases."""
    for label, value, grad, (average, squares) in _arrays():
        for steps, more in (
            (1, {}),
            (7, {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-4, "epsilon_hat": True, "scale": 0.5}),
            (3, {"weight_decay": 0.1}),
            (1000, {"weight_decay": 0.1, "decoupled": True}),
        ):
            yield Case(
                f"{label}, step {steps}, {sorted(more)}", (value, grad, average, squares, steps),
                {"learning_rate": 0.01, **more},
            )  # fmt: skip
