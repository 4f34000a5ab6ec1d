"""Weights of recurrent layers in the layouts of PyTorch, Keras and the book, and back.

The gates stand side by side in all of them, in these orders: here and in PyTorch input, forget, candidate, output and
reset, update, candidate; in Keras update, reset, candidate for the GRU; in Saito's *Deep Learning from Scratch 2*
forget, candidate, input, output for the LSTM and update, reset, candidate for the GRU. The book's update gate says how
much of a state is new, and ours how much stays: its weights change their sign. PyTorch's matrices lie on their sides,
and it has two biases for each gate, which add up except for the GRU's candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError

__all__ = ["Sizes", "from_layout", "from_torch", "to_layout", "to_torch"]

# Where our gates are among those of a layout.
_ORDERS = {
    ("keras", 1): (0,),
    ("keras", 4): (0, 1, 2, 3),
    ("keras", 3): (1, 0, 2),
    ("book", 1): (0,),
    ("book", 4): (2, 0, 1, 3),
    ("book", 3): (1, 0, 2),
}


class Sizes(NamedTuple):
    """What a layer's weights are: names and widths of the inputs of its cells, and sizes."""

    cells: Sequence[tuple[str, int]]
    n_gates: int
    units: int
    has_bias: bool
    projected: int     # width of the hidden states with a projection; 0: none
    reset_after: bool  # GRU


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


def from_torch(sizes: Sizes, state: Mapping[str, Any], dtype: np.dtype) -> dict[str, np.ndarray]:
    """Return our weights by name from a ``state_dict`` of torch.nn.RNN, LSTM or GRU."""
    cells, n_gates, units, has_bias, projected, _ = sizes
    kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if has_bias else ()),
             *(("weight_hr",) if projected else ()))  # fmt: skip
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
        found[f"{name}.w_h"] = np.ascontiguousarray(part("weight_hh", rows, projected or units).T)
        if projected:
            found[f"{name}.w_p"] = np.ascontiguousarray(part("weight_hr", projected, units).T)
        if has_bias:
            by_x, by_h = part("bias_ih", rows), part("bias_hh", rows)
            if n_gates == 3:
                found[f"{name}.b_n"] = by_h[2 * units :].copy()
                by_h[2 * units :] = 0
            found[f"{name}.b"] = by_x + by_h
    return found


def to_torch(sizes: Sizes, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays by the names of a ``state_dict``; the second bias is zero but for the GRU's candidate."""
    cells, n_gates, units, has_bias, projected, _ = sizes
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
        if projected:
            state[f"weight_hr{end}"] = np.ascontiguousarray(weights[f"{name}.w_p"].T)
    return state


def _order(layout: str, sizes: Sizes) -> tuple[int, ...]:
    if layout == "book" and sizes.n_gates == 3 and sizes.reset_after:
        raise ValueRangeError(
            "the book's GRU resets before the product with w_h and this one after it, expected reset_after=False"
        )
    return _ORDERS[layout, sizes.n_gates]


def _turned(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[at] for at in order], axis=-1)


def _sign(layout: str, sizes: Sizes, array: np.ndarray) -> np.ndarray:
    """Return our array with the update gate's part turned where the book's says the opposite."""
    if layout == "book" and sizes.n_gates == 3:
        array = array.copy()
        array[..., sizes.units : 2 * sizes.units] *= -1
    return array


def from_layout(layout: str, sizes: Sizes, given: Sequence[Any], dtype: np.dtype) -> dict[str, np.ndarray]:
    """Return our weights by name from Keras' ``get_weights()`` or the book's ``params``: cell after cell."""
    cells, n_gates, units, has_bias, _, reset_after = sizes
    order = _order(layout, sizes)
    each = 3 if has_bias else 2
    if len(given) != each * len(cells):
        raise ShapeError(f"{len(given)} arrays, expected {each * len(cells)}: {each} for each of {len(cells)} cells")
    rows = n_gates * units
    found = {}

    def ours(array: np.ndarray) -> np.ndarray:
        return _sign(layout, sizes, _turned(array, order))

    for number, (name, width) in enumerate(cells):
        w_x, w_h, *biases = given[each * number : each * (number + 1)]
        at = f"array {each * number}"
        found[f"{name}.w_x"] = ours(_array(w_x, at, (width, rows), dtype))
        found[f"{name}.w_h"] = ours(_array(w_h, f"array {each * number + 1}", (units, rows), dtype))
        if has_bias and n_gates == 3 and reset_after:
            both = ours(_array(biases[0], f"array {each * number + 2}", (2, rows), dtype))
            found[f"{name}.b_n"] = both[1, 2 * units :].copy()
            both[1, 2 * units :] = 0
            found[f"{name}.b"] = both.sum(axis=0)
        elif has_bias:
            found[f"{name}.b"] = ours(_array(biases[0], f"array {each * number + 2}", (rows,), dtype))
    return found


def to_layout(layout: str, sizes: Sizes, weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return arrays as `from_layout` takes them."""
    cells, n_gates, units, has_bias, _, reset_after = sizes
    order = _order(layout, sizes)
    back = [order.index(gate) for gate in range(n_gates)]

    def theirs(array: np.ndarray) -> np.ndarray:
        return _turned(_sign(layout, sizes, array), back)

    arrays = []
    for name, _ in cells:
        arrays += [theirs(weights[f"{name}.w_x"]), theirs(weights[f"{name}.w_h"])]
        if has_bias and n_gates == 3 and reset_after:
            both = np.stack((weights[f"{name}.b"], np.zeros_like(weights[f"{name}.b"])))
            both[1, 2 * units :] = weights[f"{name}.b_n"]
            arrays.append(theirs(both))
        elif has_bias:
            arrays.append(theirs(weights[f"{name}.b"]))
    return arrays
