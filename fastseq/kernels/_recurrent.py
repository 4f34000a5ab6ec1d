"""What the contracts of the recurrent kernels share: checks, batches of different lengths, and the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._boundary import as_floats, check_finite_number, device_of, to_same_device
from ._sequences import Steps, as_lengths
from .cpu._checks import are_shares

__all__ = ["RecurrentCache", "as_gradients", "check_cell", "check_options"]


class RecurrentCache:
    """What a forward pass leaves for the backward pass. It is not changed by it, so one cache serves any number.

    The arrays are the kernels' own. The input and the weights are kept as they were given, so they must not be changed
    before the backward pass; a copy shares them, so it is the cache itself.
    """

    __slots__ = ("__weakref__", "arrays", "device", "dtype", "kind", "options", "steps", "w_h", "w_x", "x")

    def __init__(
        self,
        kind: str,
        device: str,
        steps: Steps,
        x: Any,
        w_x: Any,
        w_h: Any,
        arrays: tuple[Any, ...],
        options: dict[str, Any] | None = None,
    ) -> None:
        self.kind, self.device, self.steps = kind, device, steps
        self.x, self.w_x, self.w_h, self.arrays = x, w_x, w_h, arrays
        self.options = options or {}
        self.dtype = x.dtype

    @property
    def sizes(self) -> tuple[int, int]:
        """Units of the hidden states, and of the cells; they differ with a projection."""
        w_p = self.options.get("w_p")
        n = int(self.w_h.shape[0])
        return n, n if w_p is None else int(w_p.shape[0])

    def __copy__(self) -> RecurrentCache:
        return self

    def __deepcopy__(self, memo: Any) -> RecurrentCache:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a RecurrentCache is of one process and is not saved; run the forward pass again")

    def __repr__(self) -> str:
        return f"RecurrentCache({self.kind}, {self.steps.n_steps} steps, {self.steps.n} sequences, {self.dtype})"


def _same_dtype(arrays: dict[str, Any], dtype: np.dtype) -> None:
    for name, array in arrays.items():
        given = getattr(array, "dtype", dtype)
        if given is dtype:
            continue
        given = np.dtype(given)
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
    w_p: Any = None,
) -> tuple[str, Steps, Any, list[Any], Any, Any, list[Any]]:
    """Check the arguments of a forward pass; return (device, steps, x, states, w_x, w_h, biases).

    NaN and infinity are let through: they come out. ``w_p`` is the projection of the hidden states, which have as many
    units as it has columns; the first state is the hidden one.
    """
    given = {**states, "w_x": w_x, "w_h": w_h, **{name: bias for name, (bias, _) in biases.items()}}
    device = device_of(x=x, **given)
    x = as_floats(x, "x", 3, finite=False)
    dtype = np.dtype(x.dtype)
    _same_dtype({name: array for name, array in given.items() if array is not None}, dtype)
    w_x, w_h = as_floats(w_x, "w_x", 2, dtype, finite=False), as_floats(w_h, "w_h", 2, dtype, finite=False)
    n_steps, n, n_in = (int(size) for size in x.shape)
    units = h_units = int(w_h.shape[0])
    if units < 1:
        raise ShapeError("w_h has no rows, expected at least one unit")
    wanted = f"(H, {n_gates} H)" if n_gates > 1 else "(H, H)"
    if w_p is not None:
        shape = tuple(np.shape(w_p))
        if len(shape) != 2 or min(shape) < 1 or shape[1] != h_units:
            raise ShapeError(f"w_p has shape {shape}, expected (H, {h_units}): as many columns as w_h has rows")
        units = int(shape[0])
        wanted = f"({h_units}, {n_gates * units}) with a projection of {units} units"
    if tuple(w_h.shape) != (h_units, n_gates * units):
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
    first: list[Any] = []
    for name, state in states.items():
        size = units if first else h_units
        if state is None:
            state = to_same_device(np.zeros((n, size), dtype), device)
        state = as_floats(state, name, 2, dtype, finite=False)
        if tuple(state.shape) != (n, size):
            raise ShapeError(f"{name} has shape {tuple(state.shape)}, expected ({n}, {size})")
        first.append(state)
    return device, Steps(as_lengths(lengths, n_steps, n), n_steps, n, device), x, first, w_x, w_h, kept


def _keep(value: Any, name: str, shape: tuple[int, ...], dtype: Any, device: str) -> Any:
    if np.ndim(value) == 0 and not hasattr(value, "__cuda_array_interface__"):
        share = check_finite_number(value.item() if hasattr(value, "item") else value, name, 0.0, upper=1.0)
        return to_same_device(np.full(shape, share, dtype), device)
    return value


def check_options(
    device: str,
    steps: Steps,
    dtype: Any,
    sizes: tuple[int, int, int],
    *,
    peephole: Any = None,
    w_p: Any = None,
    norm: Any = None,
    keep_h: Any = None,
    keep_c: Any = None,
    mask_h: Any = None,
    clip_c: Any = None,
) -> dict[str, Any]:
    """Check the options of a cell; return those that are given, rows and sequences in the order of the bodies.

    ``sizes`` are the units of the hidden states and of the cells, and how many gates there are.
    """
    given = (peephole, w_p, norm, keep_h, keep_c, mask_h, clip_c)
    if all(option is None for option in given):
        # The plain cell: what follows took 7 of the 300 us of a small step.
        return {}
    h_units, units, n_gates = sizes
    if clip_c is not None:
        clip_c = check_finite_number(clip_c, "clip_c", 0.0, upper=float(np.finfo(dtype).max))
        if clip_c < float(np.finfo(dtype).tiny):
            raise ValueRangeError(f"clip_c is {clip_c}, expected a number above 0 (of {dtype}), or None")
    padded = (steps.n_steps, steps.n)
    arrays: dict[str, tuple[Any, tuple[int, ...]]] = {}
    arrays["peephole"], arrays["w_p"] = (peephole, (3, units)), (w_p, (units, h_units))
    for name, value, size in (("keep_h", keep_h, h_units), ("keep_c", keep_c, units)):
        if value is not None:
            arrays[name] = (_keep(value, name, (*padded, size), dtype, device), (*padded, size))
    arrays["mask_h"] = (mask_h, (steps.n, h_units))
    if norm is not None:
        names = ["gain_x", "gain_h"] + (["gain_c", "bias_c"] if n_gates == 4 else [])
        if not isinstance(norm, (tuple, list)) or len(norm) != len(names):
            raise ShapeError(f"norm is {type(norm).__name__}, expected {len(names)} arrays: {', '.join(names)}")
        for name, value in zip(names, norm):
            if value is None:
                raise ShapeError(f"{name} of norm is None, expected {len(names)} arrays: {', '.join(names)}")
            size = n_gates * units if name in ("gain_x", "gain_h") else units
            arrays[f"{name} of norm"] = (value, (size,))
    present = {name: value for name, (value, _) in arrays.items() if value is not None}
    device_of(**{"x": to_same_device(np.zeros(0), device), **present})
    _same_dtype(present, dtype)
    kept: dict[str, Any] = {}
    for name, (value, shape) in arrays.items():
        if value is None:
            continue
        array = as_floats(value, name, len(shape), dtype, finite=False)
        if tuple(array.shape) != shape:
            raise ShapeError(f"{name} has shape {tuple(array.shape)}, expected {shape}")
        kept[name] = array
    for name in ("keep_h", "keep_c"):
        if name in kept:
            keep = kept[name]
            if not (are_shares(keep.reshape(-1)) if device == "cpu" else not bool(((keep < 0) | (keep > 1)).any())):
                numbers = keep[keep == keep]
                raise ValueRangeError(f"{name} holds {float(numbers.min())} to {float(numbers.max())}, expected 0 to 1")
            kept[name] = steps.rows_of(keep)
    if "mask_h" in kept:
        kept["mask_h"] = steps.sorted(kept["mask_h"])
    if norm is not None:
        kept["norm"] = tuple(kept.pop(name) for name in list(kept) if name.endswith(" of norm"))
    if clip_c is not None:
        kept["clip_c"] = clip_c
    return kept


def as_gradients(cache: Any, kind: str, dh: Any, lasts: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Check the arguments of a backward pass; return (rows of the gradients by h, those by the last states)."""
    if not isinstance(cache, RecurrentCache) or cache.kind != kind:
        raise DTypeError(f"cache is {cache!r}, expected what {kind}_forward returned with train=True")
    device_of(dh=dh, x=cache.x, **lasts)
    given = {"dh": dh, **lasts}
    _same_dtype({name: array for name, array in given.items() if array is not None}, cache.dtype)
    steps, sizes = cache.steps, cache.sizes
    shape = (steps.n_steps, steps.n, sizes[0])
    if dh is None:
        dh = to_same_device(np.zeros(shape, cache.dtype), cache.device)
    dh = as_floats(dh, "dh", 3, cache.dtype, finite=False)
    if tuple(dh.shape) != shape:
        raise ShapeError(f"dh has shape {tuple(dh.shape)}, expected {shape}, that of h")
    kept: list[Any] = []
    for name, last in lasts.items():
        wanted = (steps.n, sizes[1] if kept else sizes[0])
        if last is None:
            last = to_same_device(np.zeros(wanted, cache.dtype), cache.device)
        last = as_floats(last, name, 2, cache.dtype, finite=False)
        if tuple(last.shape) != wanted:
            raise ShapeError(f"{name} has shape {tuple(last.shape)}, expected {wanted}")
        kept.append(steps.sorted(last))
    return steps.rows_of(dh), kept
