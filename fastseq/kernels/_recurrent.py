"""What the contracts of the recurrent kernels share: checks, batches of different lengths, and the cache."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ._boundary import as_floats, device_of, to_same_device, variant
from ._sequences import Steps, as_lengths

__all__ = ["RecurrentCache", "as_gradients", "check_cell", "release"]


class RecurrentCache:
    """What a forward pass leaves for the backward pass. It is not changed by it, so one cache serves any number.

    The arrays are the kernels' own. The input and the weights are kept as they were given, so they must not be changed
    before the backward pass. The memory goes to the next pass when the cache is forgotten, so it has no copies.
    """

    __slots__ = ("__weakref__", "arrays", "device", "dtype", "kind", "steps", "w_h", "w_x", "x")

    def __init__(
        self, kind: str, device: str, steps: Steps, x: Any, w_x: Any, w_h: Any, arrays: tuple[Any, ...]
    ) -> None:
        self.kind, self.device, self.steps = kind, device, steps
        self.x, self.w_x, self.w_h, self.arrays = x, w_x, w_h, arrays
        self.dtype = x.dtype
        # The next pass can have the memory when this one is forgotten.
        weakref.finalize(self, release, kind, device, arrays).atexit = False

    def __copy__(self) -> RecurrentCache:
        return self

    def __deepcopy__(self, memo: Any) -> RecurrentCache:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a RecurrentCache is of one process and is not saved; run the forward pass again")

    def __repr__(self) -> str:
        return f"RecurrentCache({self.kind}, {self.steps.n_steps} steps, {self.steps.n} sequences, {self.dtype})"


def release(kind: str, device: str, arrays: tuple[Any, ...]) -> None:
    """Give the memory of a forward pass back."""
    variant(device, kind).release(*(array for array in arrays if hasattr(array, "nbytes")))


def _same_dtype(arrays: dict[str, Any], dtype: np.dtype) -> None:
    for name, array in arrays.items():
        given = np.dtype(getattr(array, "dtype", dtype))
        if given.kind == "f" and given.itemsize >= 4 and given.newbyteorder("=") != dtype:
            raise DTypeError(
                f"{name} is {given} and x {dtype} (integers become float64), expected the same for all arrays"
            )


def check_cell(
    x: Any,
    states: dict[str, Any],
    w_x: Any,
    w_h: Any,
    biases: dict[str, tuple[Any, int]],
    n_gates: int,
    lengths: Any,
) -> tuple[str, Steps, Any, list[Any], Any, Any, list[Any]]:
    """Check the arguments of a forward pass; return (device, steps, x, states, w_x, w_h, biases).

    NaN and infinity are let through: they come out.
    """
    given = {**states, "w_x": w_x, "w_h": w_h, **{name: bias for name, (bias, _) in biases.items()}}
    device = device_of(x=x, **given)
    x = as_floats(x, "x", 3, finite=False)
    dtype = np.dtype(x.dtype)
    _same_dtype({name: array for name, array in given.items() if array is not None}, dtype)
    w_x, w_h = as_floats(w_x, "w_x", 2, dtype, finite=False), as_floats(w_h, "w_h", 2, dtype, finite=False)
    n_steps, n, n_in = (int(size) for size in x.shape)
    units = int(w_h.shape[0])
    if units < 1:
        raise ShapeError("w_h has no rows, expected at least one unit")
    if tuple(w_h.shape) != (units, n_gates * units):
        wanted = f"(H, {n_gates} H)" if n_gates > 1 else "(H, H)"
        raise ShapeError(f"w_h has shape {tuple(w_h.shape)}, expected {wanted}")
    if tuple(w_x.shape) != (n_in, n_gates * units):
        raise ShapeError(
            f"w_x has shape {tuple(w_x.shape)}, expected ({n_in}, {n_gates * units}): the last axis of x, and as many "
            "columns as w_h"
        )
    kept = []
    for name, (bias, size) in biases.items():
        if bias is None:
            bias = to_same_device(np.zeros(size * units, dtype), device)
        bias = as_floats(bias, name, 1, dtype, finite=False)
        if int(bias.shape[0]) != size * units:
            raise ShapeError(f"{name} has shape {tuple(bias.shape)}, expected ({size * units},)")
        kept.append(bias)
    first = []
    for name, state in states.items():
        if state is None:
            state = to_same_device(np.zeros((n, units), dtype), device)
        state = as_floats(state, name, 2, dtype, finite=False)
        if tuple(state.shape) != (n, units):
            raise ShapeError(f"{name} has shape {tuple(state.shape)}, expected ({n}, {units})")
        first.append(state)
    return device, Steps(as_lengths(lengths, n_steps, n), n_steps, n, device), x, first, w_x, w_h, kept


def as_gradients(cache: Any, kind: str, dh: Any, lasts: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Check the arguments of a backward pass; return (rows of the gradients by h, those by the last states)."""
    if not isinstance(cache, RecurrentCache) or cache.kind != kind:
        raise DTypeError(f"cache is {cache!r}, expected what {kind}_forward returned with train=True")
    device_of(dh=dh, x=cache.x, **lasts)
    given = {"dh": dh, **lasts}
    _same_dtype({name: array for name, array in given.items() if array is not None}, cache.dtype)
    steps, units = cache.steps, int(cache.w_h.shape[0])
    shape = (steps.n_steps, steps.n, units)
    if dh is None:
        dh = to_same_device(np.zeros(shape, cache.dtype), cache.device)
    dh = as_floats(dh, "dh", 3, cache.dtype, finite=False)
    if tuple(dh.shape) != shape:
        raise ShapeError(f"dh has shape {tuple(dh.shape)}, expected {shape}, that of h")
    kept = []
    for name, last in lasts.items():
        if last is None:
            last = to_same_device(np.zeros(shape[1:], cache.dtype), cache.device)
        last = as_floats(last, name, 2, cache.dtype, finite=False)
        if tuple(last.shape) != shape[1:]:
            raise ShapeError(f"{name} has shape {tuple(last.shape)}, expected {shape[1:]}")
        kept.append(steps.sorted(last))
    return steps.rows_of(dh), kept
