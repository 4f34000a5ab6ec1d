"""Weights of recurrent layers in the layouts of PyTorch, Keras and the book, and back.

The gates stand side by side in all of them, in these orders: here and in PyTorch input, forget, candidate, output and
reset, update, candidate; in Keras update, reset, candidate for the GRU; in Saito's *Deep Learning from Scratch 2*
forget, candidate, input, output for the LSTM. PyTorch's matrices lie on their sides, and it has two biases for each
gate, which add up except for the GRU's candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError

__all__ = ["from_layout", "from_torch", "to_layout", "to_torch"]

# Where our gates are among those of a layout.
_ORDERS = {
    ("keras", 1): (0,),
    ("keras", 4): (0, 1, 2, 3),
    ("keras", 3): (1, 0, 2),
    ("book", 1): (0,),
    ("book", 4): (2, 0, 1, 3),
}


def _array(value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected real numbers")
    if array.shape != shape:
        raise ShapeError(f"{name} has shape {array.shape}, expected {shape}")
    return array.astype(dtype)


def _suffix(name: str) -> str:
    number = name.removeprefix("layer").removesuffix(".reverse")
    return f"_l{number}{'_reverse' if name.endswith('.reverse') else ''}"


def from_torch(cells: Sequence[tuple[str, int]], n_gates: int, units: int, has_bias: bool, state: Mapping[str, Any],
               dtype: np.dtype) -> dict[str, np.ndarray]:  # fmt: skip
    """Return our weights by name from a ``state_dict`` of torch.nn.RNN, LSTM or GRU."""
    kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if has_bias else ()))
    wanted = [kind + _suffix(name) for name, _ in cells for kind in kinds]
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    if missing or unexpected:
        raise ValueRangeError(f"the state_dict does not fit: missing {missing}, unexpected {unexpected}")
    rows = n_gates * units
    found = {}
    for name, width in cells:
        end = _suffix(name)

        def part(kind: str, *shape: int, end: str = end) -> np.ndarray:
            return _array(state[kind + end], kind + end, shape, dtype)

        found[f"{name}.w_x"] = np.ascontiguousarray(part("weight_ih", rows, width).T)
        found[f"{name}.w_h"] = np.ascontiguousarray(part("weight_hh", rows, units).T)
        if has_bias:
            by_x, by_h = part("bias_ih", rows), part("bias_hh", rows)
            if n_gates == 3:
                found[f"{name}.b_n"] = by_h[2 * units :].copy()
                by_h[2 * units :] = 0
            found[f"{name}.b"] = by_x + by_h
    return found


def to_torch(cells: Sequence[tuple[str, int]], n_gates: int, units: int, has_bias: bool,
             weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:  # fmt: skip
    """Return arrays by the names of a ``state_dict``; the second bias is zero but for the GRU's candidate."""
    state = {}
    for name, _ in cells:
        end = _suffix(name)
        state[f"weight_ih{end}"] = np.ascontiguousarray(weights[f"{name}.w_x"].T)
        state[f"weight_hh{end}"] = np.ascontiguousarray(weights[f"{name}.w_h"].T)
        if has_bias:
            state[f"bias_ih{end}"] = weights[f"{name}.b"].copy()
            state[f"bias_hh{end}"] = np.zeros_like(weights[f"{name}.b"])
            if n_gates == 3:
                state[f"bias_hh{end}"][2 * units :] = weights[f"{name}.b_n"]
    return state


def _order(layout: str, n_gates: int) -> tuple[int, ...]:
    if (layout, n_gates) not in _ORDERS:
        raise ValueRangeError(
            f"the book's GRU resets before the product with w_h and this one after it, so its weights do not fit "
            f"(layout {layout!r})"
        )
    return _ORDERS[layout, n_gates]


def _turned(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[at] for at in order], axis=-1)


def from_layout(layout: str, cells: Sequence[tuple[str, int]], n_gates: int, units: int, has_bias: bool,
                given: Sequence[Any], dtype: np.dtype) -> dict[str, np.ndarray]:  # fmt: skip
    """Return our weights by name from Keras' ``get_weights()`` or the book's ``params``: cell after cell."""
    order = _order(layout, n_gates)
    each = 3 if has_bias else 2
    if len(given) != each * len(cells):
        raise ShapeError(f"{len(given)} arrays, expected {each * len(cells)}: {each} for each of {len(cells)} cells")
    rows = n_gates * units
    found = {}
    for number, (name, width) in enumerate(cells):
        w_x, w_h, *biases = given[each * number : each * (number + 1)]
        at = f"array {each * number}"
        found[f"{name}.w_x"] = _turned(_array(w_x, at, (width, rows), dtype), order)
        found[f"{name}.w_h"] = _turned(_array(w_h, f"array {each * number + 1}", (units, rows), dtype), order)
        if has_bias and n_gates == 3:
            both = _turned(_array(biases[0], f"array {each * number + 2}", (2, rows), dtype), order)
            found[f"{name}.b_n"] = both[1, 2 * units :].copy()
            both[1, 2 * units :] = 0
            found[f"{name}.b"] = both.sum(axis=0)
        elif has_bias:
            found[f"{name}.b"] = _turned(_array(biases[0], f"array {each * number + 2}", (rows,), dtype), order)
    return found


def to_layout(layout: str, cells: Sequence[tuple[str, int]], n_gates: int, units: int, has_bias: bool,
              weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:  # fmt: skip
    """Return arrays as `from_layout` takes them."""
    order = _order(layout, n_gates)
    back = [order.index(gate) for gate in range(n_gates)]
    arrays = []
    for name, _ in cells:
        arrays += [_turned(weights[f"{name}.w_x"], back), _turned(weights[f"{name}.w_h"], back)]
        if has_bias and n_gates == 3:
            both = np.stack((weights[f"{name}.b"], np.zeros_like(weights[f"{name}.b"])))
            both[1, 2 * units :] = weights[f"{name}.b_n"]
            arrays.append(_turned(both, back))
        elif has_bias:
            arrays.append(_turned(weights[f"{name}.b"], back))
    return arrays
