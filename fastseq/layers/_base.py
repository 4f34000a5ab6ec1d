"""What all layers share: parameters with their gradients, and the rules for passing and tying them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..device import to_host
from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels import sum_rows
from ..kernels._boundary import array_module, device_of, is_device_array, to_same_device

__all__ = [
    "Param",
    "RowSparseGrad",
    "Layer",
    "join_params",
    "distinct_params",
    "zero_grad",
    "get_weights",
    "set_weights",
    "check_names",
    "as_array",
    "as_input",
    "as_gradient",
    "room",
    "scaled",
]


def _module_of(array: Any) -> Any:
    """Return NumPy, or CuPy for an array on a device."""
    return array_module(device_of(array=array))


def room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an uninitialised array on the host, in memory that is used again: new memory is zeroed at first touch."""
    # Here, since it takes Numba with it, and layers are made without.
    from ..kernels.cpu._memory import pool

    array: np.ndarray = pool.array(shape, dtype)
    return array


def scaled(array: Any, by: Any) -> Any:
    """Return ``array * by``."""
    return array * by if is_device_array(array) else np.multiply(array, by, out=room(array.shape, array.dtype))


class RowSparseGrad:
    """A gradient of which only some rows are not zero: what an `Embedding` leaves behind.

    Parameters
    ----------
    rows : (n,) ndarray
        int32 numbers of rows, on the host; one may stand several times, and then its values add up.
    values : (n, ...) array
        float32 or float64, one row for each of ``rows``, on the host or a device. Neither array is copied.
    is_coalesced : bool
        Whether the caller knows that ``rows`` rise and none stands twice.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.
    """

    __slots__ = ("is_coalesced", "rows", "values")

    def __init__(self, rows: np.ndarray, values: np.ndarray, is_coalesced: bool = False) -> None:
        rows = np.asarray(rows)
        if rows.ndim != 1 or values.ndim < 1 or rows.shape[0] != values.shape[0]:
            raise ShapeError(
                f"rows has shape {rows.shape} and values {values.shape}, expected (n,) and (n, ...) with the same n"
            )
        if rows.dtype.kind not in "iu" and rows.size:
            raise DTypeError(f"rows has dtype {rows.dtype}, expected integers (they become int32)")
        if rows.size and int(rows.min()) < 0:
            raise ValueRangeError(f"rows holds {int(rows.min())}, expected 0 or more")
        self.rows = rows.astype(np.int32, copy=False)
        self.values = values
        self.is_coalesced = bool(is_coalesced)

    def coalesce(self) -> RowSparseGrad:
        """Return the same gradient with rising rows, each once.

        The values of a row are added up in the order in which they stand; on the host in float64, rounded once.
        """
        if self.is_coalesced:
            return self
        order = np.argsort(self.rows, kind="stable")
        rows = self.rows[order]
        if rows.shape[0] == 0:
            return RowSparseGrad(rows, self.values, is_coalesced=True)
        starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        grouped = np.concatenate((starts, [len(order)])), order.astype(np.int32)
        device = device_of(values=self.values)
        shape = self.values.shape[1:]
        flat = self.values.reshape(len(order), -1)
        sums = sum_rows(*(to_same_device(array, device) for array in grouped), flat)
        return RowSparseGrad(rows[starts], sums.reshape(len(starts), *shape), is_coalesced=True)

    def to_dense(self, n_rows: int) -> Any:
        """Return the gradient as an array of ``n_rows`` rows, zero where no row stands."""
        grad = self.coalesce()
        dense = _module_of(grad.values).zeros((n_rows, *grad.values.shape[1:]), grad.values.dtype)
        grad.add_to(dense)
        return dense

    def add_to(self, dense: np.ndarray) -> None:
        """Add the gradient to ``dense``, in place."""
        grad = self.coalesce()
        if grad.rows.size and int(grad.rows[-1]) >= dense.shape[0]:
            raise ValueRangeError(f"rows holds {int(grad.rows[-1])}, expected 0 to {dense.shape[0] - 1}")
        dense[to_same_device(grad.rows, device_of(dense=dense))] += grad.values

    def __add__(self, other: RowSparseGrad) -> RowSparseGrad:
        values = _module_of(self.values).concatenate((self.values, other.values))
        return RowSparseGrad(np.concatenate((self.rows, other.rows)), values)

    def __repr__(self) -> str:
        return f"RowSparseGrad({self.rows.shape[0]} rows of shape {self.values.shape[1:]}, {self.values.dtype})"


class Param:
    """A parameter: its value and the gradient that has been gathered for it.

    Parameters
    ----------
    value : ndarray
        float32 or float64. It is kept, not copied, where it is C-contiguous and can be written.
    grad : ndarray, RowSparseGrad or None
        None where nothing has been added since the last `zero_grad`.

    Notes
    -----
    Two uses of a parameter add into one gradient. Tying two layers is giving both the same Param. A gradient to be
    changed in place is what `dense_grad` returns; ``grad`` itself may be another's and read-only.

    Raises
    ------
    DTypeError, ShapeError, ValueRangeError
        An argument is not as described.
    """

    __slots__ = ("_is_own", "_lender", "_spare", "grad", "value")

    def __init__(self, value: np.ndarray, grad: np.ndarray | RowSparseGrad | None = None) -> None:
        if not is_device_array(value):
            value = np.asarray(value)
        if value.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise DTypeError(f"the value of a parameter has dtype {value.dtype}, expected float32 or float64")
        if is_device_array(value):
            value = to_same_device(value, "cuda")
        elif not (value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative):
            value = np.array(value, value.dtype.newbyteorder("="), order="C")
        self.value: np.ndarray = value
        self.grad: np.ndarray | RowSparseGrad | None = None
        self._spare: np.ndarray | None = None
        # Whether the gradient's memory was made here, and who has lent it to be read where it was not.
        self._is_own = True
        self._lender: weakref.ref[Any] | None = None
        if grad is not None:
            self.add_grad(grad)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the value."""
        return self.value.dtype

    def move(self, device: str) -> None:
        """Put the value on a device ("cpu" or "cuda") and forget the gradient."""
        if device != device_of(value=self.value):
            self.value = np.array(to_host(self.value)) if device == "cpu" else to_same_device(self.value, device)
            self.grad = self._spare = self._lender = None

    def zero_grad(self) -> None:
        """Forget the gradient. A dense one's memory is kept and written again by the next pass."""
        if not isinstance(self.grad, RowSparseGrad) and self.grad is not None and self._is_own:
            self._spare = self.grad
        self.grad = self._lender = None

    def add_grad(self, grad: np.ndarray | RowSparseGrad, *, given: bool = False, lender: Any = None) -> None:
        """Add ``grad`` to the gradient. A dense one is copied; the arrays of a row-sparse one are kept.

        One that is ``given`` is not copied: it was made for this, and nobody else has it. One that has a ``lender`` is
        only read, and copied before something is added to it, as long as the lender lives; then it is as if given, so
        it is lent to one parameter alone.
        """
        if isinstance(grad, RowSparseGrad):
            self._add_rows(grad)
            return
        if grad.shape != self.shape:
            raise ShapeError(f"the gradient has shape {grad.shape}, expected the parameter's {self.shape}")
        kept = (given or lender is not None) and grad.dtype == self.dtype and grad.flags.c_contiguous
        if self.grad is None and kept and (is_device_array(grad) or grad.flags.writeable):
            self.grad, self._is_own = grad, False
            if not given:
                self._lender = weakref.ref(lender)
            if not given and not is_device_array(grad):
                # Whoever would change it in place is told so; `dense_grad` gives an array to change.
                self.grad = grad.view()
                self.grad.flags.writeable = False
        elif self.grad is None:
            self.grad = self._memory()
            self.grad[...] = grad
        else:
            dense = self.dense_grad()
            dense += grad

    def add_product(self, a: np.ndarray, b: np.ndarray) -> None:
        """Add ``a.T @ b`` to the gradient: for weights, rows of inputs by rows of output gradients."""
        if self.grad is None:
            # Written where it belongs: no second array of the weights' size in each step.
            self.grad = _module_of(a).matmul(a.T, b, out=self._memory())
        else:
            self.add_grad(a.T @ b)

    def dense_grad(self) -> np.ndarray:
        """Return the gradient as an array to add to in place: zeros where there was none, dense where it was sparse."""
        if self.grad is None or isinstance(self.grad, RowSparseGrad):
            dense = self._memory()
            dense[...] = 0
            if self.grad is not None:
                self.grad.add_to(dense)
            self.grad = dense
        elif self._lender is not None and self._lender() is None:
            # A copy of 10,000 x 650 tied weights (26 MB), to which the embedding adds 300 rows, takes 1.2 to 1.9 ms.
            self._lender = None
            if not is_device_array(self.grad):
                self.grad.flags.writeable = True
        elif self._lender is not None:
            dense = self._memory()
            dense[...] = self.grad
            self.grad, self._lender = dense, None
        return self.grad

    def _add_rows(self, grad: RowSparseGrad) -> None:
        if grad.values.shape[1:] != self.shape[1:] or not self.shape:
            raise ShapeError(f"the gradient has rows of {grad.values.shape[1:]}, expected {self.shape[1:]}")
        if grad.values.dtype != self.dtype:
            raise DTypeError(f"the gradient has dtype {grad.values.dtype}, expected the parameter's {self.dtype}")
        if grad.rows.size and int(grad.rows.max()) >= self.shape[0]:
            raise ValueRangeError(f"the gradient has row {int(grad.rows.max())}, expected 0 to {self.shape[0] - 1}")
        if self.grad is None:
            self.grad = grad
        elif isinstance(self.grad, RowSparseGrad):
            self.grad = self.grad + grad
        else:
            grad.add_to(self.dense_grad())

    def _memory(self) -> np.ndarray:
        self._is_own = True
        if self._spare is None or self._spare.shape != self.shape or self._spare.dtype != self.dtype:
            memory: np.ndarray = _module_of(self.value).empty_like(self.value)
            return memory
        memory, self._spare = self._spare, None
        return memory

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # What copies are made from: two may not take over what was lent to one, and a lender cannot be pickled.
        state = {name: getattr(self, name) for name in self.__slots__}
        if self._lender is not None and not isinstance(self.grad, RowSparseGrad) and self.grad is not None:
            state |= {"grad": self.grad.copy(), "_is_own": True}
        return None, state | {"_lender": None, "_spare": None}

    def __repr__(self) -> str:
        return f"Param({self.value.shape}, {self.value.dtype})"


class Layer:
    """Base of the layers.

    A layer offers ``y, cache = layer.forward(x, train=True)`` and ``dx = layer.backward(dy, cache)``. The cache holds
    what the backward pass needs (often the input itself, not a copy) and belongs to one pass, so a layer can be used
    twice in one pass; every use adds to the gradients in ``params``. Gradients exist with ``train=False`` as well.

    Attributes
    ----------
    params : dict[str, Param]
        The parameters by name. A layer made of layers has them all here, under dotted names (`join_params`).
    """

    params: dict[str, Param]
    # How many passes have drawn random numbers: the next draws others. Checkpoints keep it.
    _passes: int = 0

    def __init__(self) -> None:
        self.params = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        zero_grad(self.params)

    def get_weights(self) -> dict[str, np.ndarray]:
        """Return copies of the parameters' values by name; see `fastseq.layers.get_weights`."""
        return get_weights(self.params)

    def set_weights(self, arrays: Mapping[str, Any]) -> None:
        """Copy ``arrays`` into the parameters; see `fastseq.layers.set_weights`."""
        set_weights(self.params, arrays)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={param.shape}" for name, param in self.params.items())
        return f"{type(self).__name__}({told})"


def join_params(**parts: Layer | Mapping[str, Param]) -> dict[str, Param]:
    """Return the parameters of several layers in one dict, under dotted names.

    Examples
    --------
    >>> from fastseq.layers import Embedding, Linear, join_params
    >>> embedding = Embedding(10, 4, random_state=0)
    >>> output = Linear(4, 10, weight=embedding.params["weight"], transposed=True, random_state=0)
    >>> params = join_params(embedding=embedding, output=output)
    >>> list(params)
    ['embedding.weight', 'output.weight', 'output.bias']
    >>> params["embedding.weight"] is params["output.weight"]
    True
    """
    joined = {}
    for part, layer in parts.items():
        for name, param in (layer.params if isinstance(layer, Layer) else layer).items():
            joined[f"{part}.{name}"] = param
    return joined


def distinct_params(params: Mapping[str, Param]) -> dict[str, Param]:
    """Return ``params`` with each Param once, under the first of its names."""
    seen: set[int] = set()
    distinct = {}
    for name, param in params.items():
        if id(param) not in seen:
            seen.add(id(param))
            distinct[name] = param
    return distinct


def zero_grad(params: Mapping[str, Param]) -> None:
    """Forget the gradients of ``params``."""
    for param in params.values():
        param.zero_grad()


def get_weights(params: Mapping[str, Param]) -> dict[str, np.ndarray]:
    """Return copies of the values by name, a tied one once, under its first name: what is saved in a file.

    They are on the host, wherever the parameters are.
    """
    return {name: np.array(to_host(param.value)) for name, param in distinct_params(params).items()}


def set_weights(params: Mapping[str, Param], arrays: Mapping[str, Any]) -> None:
    """Copy ``arrays``, as `get_weights` returns them, into the values, in place.

    Raises
    ------
    ValueRangeError
        Names are missing or unexpected.
    ShapeError, DTypeError
        An array does not fit. Nothing has been changed then.
    """
    distinct = distinct_params(params)
    check_names(distinct, arrays, "weights")
    fitting = {}
    for name, param in distinct.items():
        array = np.asarray(arrays[name])
        if array.dtype.kind != "f":
            raise DTypeError(f"{name} has dtype {array.dtype}, expected real numbers")
        if array.shape != param.shape:
            raise ShapeError(f"{name} has shape {array.shape}, expected {param.shape}")
        fitting[name] = array
    for name, param in distinct.items():
        param.value[...] = to_same_device(fitting[name], device_of(value=param.value))


def check_names(expected: Mapping[str, Any], given: Mapping[str, Any], what: str) -> None:
    """Raise `ValueRangeError` with the missing and the unexpected names, where there are any."""
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    if missing or unexpected:
        raise ValueRangeError(
            f"the {what} do not fit: missing {missing}, unexpected {unexpected}; were they saved by another model?"
        )


def as_array(x: Any, name: str) -> np.ndarray:
    """Return ``x`` as an array, on a device as it is; raise `ShapeError` where its rows have different lengths."""
    if is_device_array(x):
        return x
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ShapeError(f"{name} is ragged ({error}), expected axes of equal lengths") from None


def as_input(x: Any, name: str, width: int, dtype: np.dtype) -> np.ndarray:
    """Return ``x`` (..., width) in ``dtype``; NaN and infinity pass, so that they come out at the other end."""
    array = as_array(x, name)
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"{name} has dtype {array.dtype}, expected real numbers (they become {dtype})")
    if array.ndim < 1 or array.shape[-1] != width:
        raise ShapeError(f"{name} has shape {array.shape}, expected (..., {width})")
    return array.astype(dtype, copy=False)


def as_gradient(dy: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return ``dy`` in ``dtype``; raise where it has not the ``shape`` of the output it belongs to."""
    array = as_array(dy, "dy")
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"dy has dtype {array.dtype}, expected real numbers (they become {dtype})")
    if array.shape != shape:
        raise ShapeError(f"dy has shape {array.shape}, expected that of the output, {shape}")
    return array.astype(dtype, copy=False)
