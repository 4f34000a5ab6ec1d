"""What the oracles of the recurrent kernels share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..registry import Case

__all__ = ["back_through", "held", "norm_back", "normalized", "recurrent_cases", "run_through", "sigmoid", "step_of"]

# Added to variances before their root.
EPSILON = 1e-5


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    power = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, power) / (1 + power)


def normalized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of x with mean 0 and variance 1, and by what they were multiplied."""
    centred = x - x.mean(axis=1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    return centred * scale, scale


def norm_back(d: np.ndarray, y: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the gradient by x of ``normalized(x)``, which was (y, scale)."""
    return scale * (d - d.mean(axis=1, keepdims=True) - y * (d * y).mean(axis=1, keepdims=True))


def step_of(keep: Any, t: int, default: float = 0.0) -> Any:
    """Return the numbers of step t of an option that is None, a number or an array (t, ...)."""
    if keep is None:
        return default
    return keep if np.ndim(keep) == 0 else np.asarray(keep, np.float64)[t]


def _steps(x: np.ndarray, lengths: Any) -> np.ndarray:
    """Return which sequences go on at each step, (t, n)."""
    t, n = x.shape[:2]
    ends = np.full(n, t) if lengths is None else np.asarray(lengths)
    return np.arange(t)[:, None] < ends[None, :]


def held(keep: Any, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the share ``keep`` of the old state and the rest of the new one; infinity without a share does no harm."""
    with np.errstate(invalid="ignore"):
        mixed = new + keep * (old - new)
    return np.where(keep == 0, new, np.where(keep == 1, old, mixed))


def run_through(
    x: np.ndarray, state: tuple[np.ndarray, ...], cell: Callable[..., Any], lengths: Any
) -> tuple[list[np.ndarray], tuple[np.ndarray, ...], list[Any]]:
    """Run ``cell(t, x, *state)`` over all steps; return (states, zero behind the ends), the last ones, and caches."""
    alive = _steps(x, lengths)
    states = [np.zeros((len(x), *part.shape)) for part in state]
    caches = []
    for t in range(len(x)):
        new, cache = cell(t, x[t], *state)
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


# Gates and states of each family, and sizes of its biases in units.
_SIZES = {"lstm": (4, 2, (4,)), "gru": (3, 1, (3, 1)), "rnn": (1, 1, (1,))}
# (name, t, n, d, h, whether lengths differ)
_SHAPES = (
    ("one of each", 1, 1, 1, 1, False),
    ("one step", 1, 3, 2, 5, False),
    ("a whole panel", 4, 6, 16, 16, False),
    ("odd sizes", 5, 7, 3, 17, False),
    ("no inputs", 3, 2, 0, 4, False),
    ("wide", 3, 13, 40, 70, False),
    ("many sequences", 3, 50, 5, 20, False),
    ("lengths", 6, 5, 4, 19, True),
    ("lengths of one", 3, 1, 4, 3, True),
)
# Options that a family's cells have, alone and together; "relu" and "before" stand for values of theirs.
_OPTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lstm": (
        ("peephole",), ("w_p",), ("norm",), ("keep_h", "keep_c"), ("mask_h",), ("clip_c",), ("w_p", "keep_h", "mask_h"),
        ("peephole", "w_p", "norm", "keep_h", "keep_c", "mask_h", "clip_c"),
    ),
    "gru": (("before",), ("norm",), ("keep_h",), ("mask_h",), ("before", "keep_h", "mask_h"),
            ("norm", "keep_h", "mask_h")),
    "rnn": (("relu",), ("norm",), ("keep_h",), ("mask_h",), ("relu", "norm", "keep_h", "mask_h")),
}  # fmt: skip
_VARIED = (
    ("one of each", 1, 1, 2, 1, False),
    ("odd sizes", 3, 7, 3, 17, False),
    ("wide", 3, 13, 5, 70, False),
    ("lengths", 5, 5, 4, 19, True),
    # More rows than are normalised together, and more panels than are summed at a time on the way back.
    ("wide, of many", 2, 19, 3, 150, False),
)


def _option(rng: np.random.Generator, name: str, family: str, shape: tuple[int, ...], dtype: Any) -> Any:
    t, n, h, p = shape
    gates = _SIZES[family][0]

    def some(*size: int) -> np.ndarray:
        return rng.standard_normal(size).astype(dtype)

    if name == "peephole":
        return some(3, h)
    if name == "w_p":
        return some(h, p) * dtype(1 / np.sqrt(h))
    if name == "norm":
        rest = (1 + some(h) / 4, some(h)) if family == "lstm" else ()
        return (1 + some(gates * h) / 4, 1 + some(gates * h) / 4, *rest)
    if name in ("keep_h", "keep_c"):
        drawn = rng.random((t, n, p if name == "keep_h" else h)).astype(dtype)
        return drawn if h % 2 else np.round(drawn)
    if name == "mask_h":
        return ((rng.random((n, p)) > 0.3) / 0.7).astype(dtype)
    return {"clip_c": 0.4, "relu": "relu", "before": False}[name]


def recurrent_cases(family: str, backward: bool) -> Iterator[Case]:
    """Yield cases of a family: plain ones of many shapes, and each option alone and with others."""
    rng = np.random.default_rng(5)
    gates, n_states, biases = _SIZES[family]
    asked: list[tuple[tuple[Any, ...], tuple[str, ...]]] = [(shape, ()) for shape in _SHAPES]
    asked += [(shape, names) for names in _OPTIONS[family] for shape in _VARIED]
    for dtype in (np.float32, np.float64):
        for (label, t, n, d, h, ragged), names in asked:
            p = h // 3 + 1 if "w_p" in names else h

            def some(*shape: int) -> np.ndarray:
                return rng.standard_normal(shape).astype(dtype)  # noqa: B023

            scale = dtype(1 / np.sqrt(h))
            arguments: list[Any] = [some(t, n, d), some(n, p), *(some(n, h) for _ in range(n_states - 1)),
                                    some(d, gates * h) * scale, some(p, gates * h) * scale,
                                    *(some(size * h) for size in biases)]  # fmt: skip
            options: dict[str, Any] = {"lengths": rng.integers(0, t + 1, n)} if ragged else {}
            for name in names:
                value = _option(rng, name, family, (t, n, h, p), dtype)
                options[{"relu": "nonlinearity", "before": "reset_after"}.get(name, name)] = value
            if "before" in names:
                arguments[-1] = None
            if backward:
                arguments += [some(t, n, p), some(n, p), *(some(n, h) for _ in range(n_states - 1))]
            yield Case(", ".join((label, *names, str(np.dtype(dtype)))), tuple(arguments), options)
