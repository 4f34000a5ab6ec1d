"""What the oracles of the recurrent kernels share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..registry import Case

__all__ = ["back_through", "recurrent_cases", "run_through", "sigmoid"]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, power) / (1 + power)


def _steps(x: np.ndarray, lengths: Any) -> np.ndarray:
    """Return which sequences go on at each step, (t, n)."""
    t, n = x.shape[:2]
    ends = np.full(n, t) if lengths is None else np.asarray(lengths)
    return np.arange(t)[:, None] < ends[None, :]


def run_through(
    x: np.ndarray, state: tuple[np.ndarray, ...], cell: Callable[..., Any], lengths: Any
) -> tuple[list[np.ndarray], tuple[np.ndarray, ...], list[Any]]:
    """Run a cell over all steps; return (the states of all steps, zero behind the ends), the last ones, and caches."""
    alive = _steps(x, lengths)
    states = [np.zeros((len(x), *part.shape)) for part in state]
    caches = []
    for t in range(len(x)):
        new, cache = cell(x[t], *state)
        going = alive[t][:, None]
        for kept, part in zip(states, new):
            kept[t] = np.where(going, part, 0)
        state = tuple(np.where(going, part, old) for part, old in zip(new, state))
        caches.append(cache)
    return states, state, caches


def back_through(
    dy: np.ndarray, dstate: tuple[np.ndarray, ...], caches: list[Any], cell_back: Callable[..., Any], lengths: Any
) -> tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Run a cell's backward pass from the last step to the first; return (dx, by the first states, by weights)."""
    alive = _steps(dy, lengths)
    dx: list[np.ndarray] = []
    sums: Any = None
    for t in reversed(range(len(dy))):
        going = alive[t][:, None]
        now = tuple(np.where(going, part, 0) for part in dstate)
        dx_t, before, dweights = cell_back((now[0] + np.where(going, dy[t], 0), *now[1:]), caches[t])
        dx.append(dx_t)
        dstate = tuple(np.where(going, part, old) for part, old in zip(before, dstate))
        sums = dweights if sums is None else tuple(a + b for a, b in zip(sums, dweights))
    return np.array(dx[::-1]), dstate, sums


def recurrent_cases(n_gates: int, n_states: int, n_biases: int, backward: bool) -> Iterator[Case]:
    """Yield cases for a cell with that many gates, states and kinds of biases (gates * h, then h)."""
    rng = np.random.default_rng(5)
    shapes = [
        ("one of each", 1, 1, 1, 1, False),
        ("one step", 1, 3, 2, 5, False),
        ("a whole panel", 4, 6, 16, 16, False),
        ("odd sizes", 5, 7, 3, 17, False),
        ("no inputs", 3, 2, 0, 4, False),
        ("wide", 3, 13, 40, 70, False),
        ("many sequences", 3, 50, 5, 20, False),
        ("lengths", 6, 5, 4, 19, True),
        ("lengths of one", 3, 1, 4, 3, True),
    ]
    for dtype in (np.float32, np.float64):
        for label, t, n, d, h, ragged in shapes:
            def some(*shape: int) -> np.ndarray:
                return rng.standard_normal(shape).astype(dtype)  # noqa: B023

            scale = dtype(1 / np.sqrt(h))
            arguments = [some(t, n, d), *(some(n, h) for _ in range(n_states)), some(d, n_gates * h) * scale,
                         some(h, n_gates * h) * scale, some(n_gates * h), *(some(h) for _ in range(n_biases - 1))]
            options = {"lengths": rng.integers(0, t + 1, n)} if ragged else {}
            if backward:
                arguments += [some(t, n, h), *(some(n, h) for _ in range(n_states))]
            yield Case(f"{label}, {np.dtype(dtype)}", tuple(arguments), options)
