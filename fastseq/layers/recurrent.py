"""Recurrent layers: RNN, LSTM and GRU, of several layers and in one or both directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels import gru_backward, gru_forward, lstm_backward, lstm_forward, rnn_backward, rnn_forward
from ..kernels._boundary import (
    array_module,
    as_float_dtype,
    check_finite_number,
    check_integer,
    device_of,
    to_same_device,
)
from ..kernels._sequences import as_lengths
from ..random import as_key
from . import _convert, _initial
from ._base import Layer, Param, as_gradient, as_input
from .dropout import as_share, drawn_below, dropout_mask

__all__ = ["GRU", "LSTM", "RNN"]

_INITIALS = (*_initial.INITIALS, "orthogonal")
_MERGES = ("concat", "sum")


def _orthogonal(n: int, key: Any, dtype: np.dtype) -> np.ndarray:
    """Return a random orthogonal matrix (n, n), evenly drawn from all of them."""
    q, r = np.linalg.qr(_initial.normal((n, n), 1.0, key, np.dtype(np.float64)))
    return np.ascontiguousarray(q * np.sign(np.diag(r)), dtype)


def _reversed_in_time(x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Return sequences (t, n, ...) from their last step to their first; what is behind their ends stays there."""
    if lengths is None:
        return x[::-1]
    steps = np.arange(len(x))[:, None]
    turned = np.where(steps < lengths, lengths - 1 - steps, steps)
    device = device_of(x=x)
    result: np.ndarray = x[to_same_device(turned, device), to_same_device(np.arange(x.shape[1]), device)]
    return result


class _Recurrent(Layer):
    """What RNN, LSTM and GRU share; see them."""

    _gates = 1
    _states = 1
    # The kernels, and what else they are told in every pass.
    _kernels: tuple[Callable[..., Any], Callable[..., Any]]
    _fixed: Mapping[str, Any] = {}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        merge: str = "concat",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: Any = 0.0,
        layer_norm: bool = False,
        batch_first: bool = True,
        initial: str = "uniform",
        dtype: Any = "float32",
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.batch_first = bool(batch_first)
        self.input_size = check_integer(input_size, "input_size", 1)
        self.hidden_size = check_integer(hidden_size, "hidden_size", 1)
        self.num_layers = check_integer(num_layers, "num_layers", 1)
        self.bidirectional = bool(bidirectional)
        self.bias = bool(bias)
        if merge not in _MERGES:
            raise ValueRangeError(f"merge is {merge!r}, expected one of {_MERGES}")
        self.merge = merge
        self.dropout = as_share(dropout, "dropout")
        self.input_dropout = as_share(input_dropout, "input_dropout")
        self.recurrent_dropout = as_share(recurrent_dropout, "recurrent_dropout")
        self.weight_dropout = as_share(weight_dropout, "weight_dropout")
        self.zoneout = self._as_zoneout(zoneout)
        self.layer_norm = bool(layer_norm)
        if initial not in _INITIALS:
            raise ValueRangeError(f"initial is {initial!r}, expected one of {_INITIALS}")
        self.dtype = as_float_dtype(dtype)
        self._key = int(as_key(random_state, type(self).__name__.lower()))
        self._passes = 0
        for name, width in self._cells():
            self._begin(name, width, initial)

    def _as_zoneout(self, given: Any) -> tuple[float, ...]:
        parts = given if isinstance(given, (tuple, list)) else (given,) * self._states
        if len(parts) != self._states:
            raise ValueRangeError(f"zoneout holds {len(parts)} shares, expected one number or one for each of h and c")
        return tuple(as_share(part, "zoneout") for part in parts)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The width of the output: ``hidden_size``, or twice that where both directions are side by side."""
        return self._state_sizes[0] * (2 if self.bidirectional and self.merge == "concat" else 1)

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        """Return the width of each part of a state."""
        return (self.hidden_size,)

    def _cells(self) -> list[tuple[str, int]]:
        """Return the name and the width of the input of each cell: layer by layer, forwards and then backwards."""
        names = []
        for number in range(self.num_layers):
            width = self.input_size if number == 0 else self.output_size
            names.append((f"layer{number}", width))
            if self.bidirectional:
                names.append((f"layer{number}.reverse", width))
        return names

    def _begin(self, name: str, width: int, initial: str) -> None:
        units, gates = self.hidden_size, self._gates

        def key(part: str) -> Any:
            return as_key(self._key, f"{name}.{part}")

        kind = "xavier" if initial == "orthogonal" else initial
        # PyTorch takes 1 / sqrt(H) for all of them, the book each matrix's own number of inputs.
        from_x = units if initial == "uniform" else width
        w_x = _initial.fan_in(kind, (width, gates * units), from_x, key("w_x"), self.dtype)
        if initial == "orthogonal":
            parts = [_orthogonal(units, key(f"w_h.{gate}"), self.dtype) for gate in range(gates)]
            w_h = np.concatenate(parts, axis=1)
        else:
            w_h = _initial.fan_in(kind, (self._state_sizes[0], gates * units), units, key("w_h"), self.dtype)
        self.params[f"{name}.w_x"] = Param(w_x)
        self.params[f"{name}.w_h"] = Param(w_h)
        for part, size in self._biases():
            if initial == "uniform":
                start = _initial.uniform((size,), 1.0 / math.sqrt(units), key(part), self.dtype)
            else:
                start = np.zeros(size, self.dtype)
            self.params[f"{name}.{part}"] = Param(start)
        for part, shape in self._extras():
            if part.startswith("gain"):
                start = np.ones(shape, self.dtype)
            elif part == "w_p" or (part == "peephole" and initial == "uniform"):
                start = _initial.fan_in("uniform" if initial == "uniform" else "xavier", shape, units, key(part),
                                        self.dtype)  # fmt: skip
            else:
                start = np.zeros(shape, self.dtype)
            self.params[f"{name}.{part}"] = Param(start)

    def _norms(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return names and shapes of the arrays of layer normalisation."""
        rows = (self._gates * self.hidden_size,)
        return [("gain_x", rows), ("gain_h", rows)] if self.layer_norm else []

    def _extras(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return names and shapes of the parameters that options add, in the order of the kernels' gradients."""
        return self._norms()

    # Biases as the kernels take them, whether the layer has them or not.
    _bias_names: tuple[str, ...] = ("b",)

    def _biases(self) -> list[tuple[str, int]]:
        return [("b", self._gates * self.hidden_size)] if self.bias else []

    @property
    def _device(self) -> str:
        """Where the parameters are, and where masks are drawn."""
        return device_of(w_x=self.params["layer0.w_x"].value)

    def _value(self, name: str) -> np.ndarray | None:
        param = self.params.get(name)
        return None if param is None else param.value

    def _mask_key(self, what: str) -> Any:
        """Return the key of a mask: another one in each pass."""
        return as_key(self._key, f"{what}.{self._passes}")

    def _left(self, what: str, shape: tuple[int, ...], share: float) -> np.ndarray:
        return dropout_mask(self._mask_key(what), shape, share, self.dtype, self._device)

    def _options(self, name: str, n_steps: int, n: int, train: bool) -> tuple[dict[str, Any], np.ndarray | None]:
        """Return what the kernel is told for this pass, and the mask of the recurrent weights."""
        told: dict[str, Any] = dict(self._fixed)
        if self.layer_norm:
            told["norm"] = tuple(self.params[f"{name}.{part}"].value for part, _ in self._norms())
        for part, share, size in zip("hc", self.zoneout, self._state_sizes):
            if share:
                shape = (n_steps, n, size)
                key = self._mask_key(f"{name}.zoneout.{part}")
                told[f"keep_{part}"] = drawn_below(key, shape, share, self.dtype, self._device) if train else share
        if train and self.recurrent_dropout:
            told["mask_h"] = self._left(f"{name}.states", (n, self._state_sizes[0]), self.recurrent_dropout)
        if not (train and self.weight_dropout):
            return told, None
        return told, self._left(f"{name}.weights", self.params[f"{name}.w_h"].shape, self.weight_dropout)

    def _run(
        self, name: str, x: Any, state: Sequence[Any], lengths: Any, train: bool, keep: bool
    ) -> tuple[Any, tuple[Any, ...], Any]:
        """Run a cell; return (hidden states of all steps, last states, what `_run_back` takes if it is to be kept)."""
        told, mask = self._options(name, x.shape[0], x.shape[1], train)
        w_h = self.params[f"{name}.w_h"].value
        given = (x, *state, self._value(f"{name}.w_x"), w_h if mask is None else w_h * mask)
        biases = [self._value(f"{name}.{part}") for part in self._bias_names]
        h, *rest = self._kernels[0](*given, *biases, **told, lengths=lengths, train=keep)
        cache = rest.pop() if keep else None
        return h, tuple(rest[-self._states :]), (cache, mask)

    def _run_back(self, dh: Any, dstate: Sequence[Any], kept: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """Return the gradients by the input, by the first states and by the parameters, by name."""
        cache, mask = kept
        dx, *rest = self._kernels[1](dh, *dstate, cache)
        names = ["w_x", "w_h", *self._bias_names, *(part for part, _ in self._extras())]
        gradients = dict(zip(names, rest[self._states :], strict=True))
        if mask is not None:
            gradients["w_h"] *= mask
        return dx, tuple(rest[: self._states]), gradients

    def _as_state(self, state: Any, n: int, what: str) -> list[np.ndarray | None]:
        """Return the parts of a state, each (cells, n, h) or None."""
        if state is None:
            return [None] * self._states
        parts = (state,) if self._states == 1 else state
        if not isinstance(parts, (tuple, list)) or len(parts) != self._states:
            raise DTypeError(f"{what} is {type(state).__name__}, expected None or (h, c)")
        kept = []
        for name, part, size in zip("hc", parts, self._state_sizes):
            shape = (self.num_layers * self._directions, n, size)
            array = None if part is None else as_input(part, f"{name} of {what}", size, self.dtype)
            if array is not None and array.shape != shape:
                raise ShapeError(f"{name} of {what} has shape {array.shape}, expected {shape}")
            kept.append(array)
        return kept

    def _told(self, parts: Sequence[Any]) -> Any:
        return parts[0] if self._states == 1 else tuple(parts)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, train: bool = True
    ) -> tuple[np.ndarray, Any, Any]:
        """Run over sequences.

        Parameters
        ----------
        x : (N, T, D) array
            Batch first, unless the layer has ``batch_first=False``. Real numbers; they become the layer's dtype.
        state : (cells, N, H) array, for LSTM a pair (h, c) of them, or None
            The states before the first step, in the order of `params`: layer by layer, forwards and then backwards.
            None: zeros.
        lengths : (N,) integers, optional
            Steps of each sequence, 0 to T; outputs behind the end of a sequence are zeros and cost nothing. The
            backward direction begins at each sequence's own end.
        train : bool
            Whether to drop out; gradients exist in both cases.

        Returns
        -------
        y : (N, T, H) ndarray, (N, T, 2 H) where both directions are side by side
        state : as the argument
            After the last step of each sequence: give it to the next pass to go on.
        cache
            For `backward`. Neither the input nor the parameters may change before that.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            An argument is not as described.
        """
        x, first, ends = self._given(x, state, lengths)
        if train:
            self._passes += 1
        h, last, caches, masks = self._up(x, first, ends, train, keep=True)
        return self._laid(h), last, (caches, masks, ends, x.shape)

    def infer(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[np.ndarray, Any]:
        """Run over sequences where no gradient will be asked for: nothing is dropped out and nothing kept.

        Parameters
        ----------
        x, state, lengths
            As of `forward`.

        Returns
        -------
        y, state
            As of `forward`, without its cache.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            An argument is not as described.
        """
        x, first, ends = self._given(x, state, lengths)
        h, last, _, _ = self._up(x, first, ends, train=False, keep=False)
        return self._laid(h), last

    def _given(self, x: Any, state: Any, lengths: Any) -> tuple[np.ndarray, list[Any], np.ndarray | None]:
        """Return the input, time first, the parts of the state and the lengths, checked."""
        x = as_input(x, "x", self.input_size, self.dtype)
        if x.ndim != 3:
            axes = "N, T" if self.batch_first else "T, N"
            raise ShapeError(f"x has shape {x.shape}, expected ({axes}, {self.input_size})")
        if self.batch_first:
            x = x.swapaxes(0, 1)
        n_steps, n = x.shape[:2]
        return x, self._as_state(state, n, "state"), as_lengths(lengths, n_steps, n)

    def _laid(self, h: np.ndarray) -> np.ndarray:
        """Return what is time first as the layer gives it."""
        h = h.swapaxes(0, 1) if self.batch_first else h
        laid: np.ndarray = array_module(device_of(h=h)).ascontiguousarray(h)
        return laid

    def _stacked(self, states: Sequence[Sequence[np.ndarray]]) -> Any:
        """Return the parts of a state, each of the cells' one after the other."""
        if len(states[0]) == 1:
            # The kernel's own, made for this pass.
            return self._told([parts[0][None] for parts in states])
        return self._told([array_module(device_of(h=parts[0])).stack(parts) for parts in states])

    def _up(
        self, h: np.ndarray, first: Sequence[Any], ends: np.ndarray | None, train: bool, keep: bool
    ) -> tuple[np.ndarray, Any, list[tuple[str, Any]], list[Any]]:
        """Run layer on layer; return the outputs, the last states, and what `backward` needs where it is to be kept."""
        lasts: list[list[np.ndarray]] = [[] for _ in range(self._states)]
        caches: list[tuple[str, Any]] = []
        masks: list[Any] = []
        cells = iter(self._cells())
        for number in range(self.num_layers):
            mask: Any = None
            if number and train and self.dropout:
                mask = self._left(f"dropout.{number}", h.shape, self.dropout)
            if train and self.input_dropout:
                same = self._left(f"inputs.{number}", h.shape[1:], self.input_dropout)
                mask = same if mask is None else mask * same
            if mask is not None:
                h = h * mask
            masks.append(mask)
            outputs = []
            for direction in range(self._directions):
                name, _ = next(cells)
                at = number * self._directions + direction
                start = [None if part is None else part[at] for part in first]
                given = _reversed_in_time(h, ends) if direction else h
                out, last, cache = self._run(name, given, start, ends, train, keep)
                outputs.append(_reversed_in_time(out, ends) if direction else out)
                for kept, part in zip(lasts, last):
                    kept.append(part)
                caches.append((name, cache))
            if len(outputs) == 1:
                h = outputs[0]
            elif self.merge == "concat":
                h = array_module(device_of(h=h)).concatenate(outputs, axis=2)
            else:
                h = outputs[0] + outputs[1]
        return h, self._stacked(lasts), caches, masks

    def backward(self, dy: Any, cache: Any, dstate: Any = None) -> tuple[np.ndarray, Any]:
        """Add the gradients of the parameters, and return those of the input and of the first states.

        Parameters
        ----------
        dy : (N, T, H) array, (N, T, 2 H) where both directions are side by side
            Gradient of the loss by the output.
        cache
            From `forward`.
        dstate : as ``state``
            Gradient by the state that `forward` returned, beside what ``dy`` says of it. None: zeros.

        Returns
        -------
        dx : (N, T, D) ndarray
        dstate : as ``state``
            Gradient by the states before the first step.

        Raises
        ------
        ShapeError, DTypeError
            An argument is not as described.
        """
        if not (isinstance(cache, tuple) and len(cache) == 4):
            raise DTypeError(f"cache is {type(cache).__name__}, expected what forward returned last")
        caches, masks, ends, (n_steps, n, _) = cache
        if self.batch_first:
            dh = as_gradient(dy, (n, n_steps, self.output_size), self.dtype).swapaxes(0, 1)
        else:
            dh = as_gradient(dy, (n_steps, n, self.output_size), self.dtype)
        after = self._as_state(dstate, n, "dstate")
        befores: list[list[np.ndarray]] = [[] for _ in range(self._states)]
        for number in reversed(range(self.num_layers)):
            total: Any = None
            for direction in reversed(range(self._directions)):
                at = number * self._directions + direction
                name, kept = caches[at]
                mine = dh
                if self.bidirectional and self.merge == "concat":
                    mine = dh[:, :, direction * self._state_sizes[0] : (direction + 1) * self._state_sizes[0]]
                if direction:
                    mine = _reversed_in_time(mine, ends)
                behind = [None if part is None else part[at] for part in after]
                dx, before, gradients = self._run_back(mine, behind, kept)
                if direction:
                    dx = _reversed_in_time(dx, ends)
                total = dx if total is None else total + dx
                for parts, part in zip(befores, before):
                    parts.insert(0, part)
                for part, gradient in gradients.items():
                    if f"{name}.{part}" in self.params:
                        # Made by the kernel for this call.
                        self.params[f"{name}.{part}"].add_grad(gradient, given=True)
            dh = total if masks[number] is None else total * masks[number]
        return self._laid(dh), self._stacked(befores)

    def load_torch(self, state_dict: Mapping[str, Any]) -> None:
        """Take the weights of a torch.nn.RNN, LSTM or GRU of the same sizes, ``proj_size`` too.

        Parameters
        ----------
        state_dict : mapping
            Tensors or arrays by PyTorch's names. Its two biases of a gate are added up.

        Raises
        ------
        ValueRangeError, ShapeError, DTypeError
            Names or arrays do not fit. Nothing has been changed then.
        """
        self._check_plain("PyTorch")
        self.set_weights(_convert.from_torch(self._sizes(), state_dict, self.dtype))

    def to_torch(self) -> dict[str, np.ndarray]:
        """Return arrays by the names of the ``state_dict`` of PyTorch's layer."""
        if self.merge == "sum" and self.bidirectional and self.num_layers > 1:
            raise ValueRangeError("merge is 'sum' with several layers, expected 'concat': PyTorch has no such layers")
        self._check_plain("PyTorch")
        return _convert.to_torch(self._sizes(), self.get_weights())

    def _sizes(self) -> _convert.Sizes:
        return _convert.Sizes(
            self._cells(), self._gates, self.hidden_size, self.bias, getattr(self, "proj_size", 0),
            getattr(self, "reset_after", True),
        )  # fmt: skip

    def _check_plain(self, whose: str) -> None:
        """Refuse to give or take weights of layers that ``whose`` users do not have."""
        told = {
            "layer_norm": self.layer_norm,
            "peephole": getattr(self, "peephole", False),
            "cell_clip": getattr(self, "cell_clip", None) is not None,
        }
        if whose == "PyTorch":
            told["reset_after=False"] = not getattr(self, "reset_after", True)
        else:
            told["proj_size"] = bool(getattr(self, "proj_size", 0))
        for name, on in told.items():
            if on:
                raise ValueRangeError(f"this layer has {name}, expected one without it: {whose}'s layers have no such")

    def load_keras(self, weights: Sequence[Any]) -> None:
        """Take what ``get_weights()`` of a Keras layer, or of its Bidirectional wrapper, returns.

        Layers above it follow behind. Raises as `load_torch`.
        """
        self._load("keras", weights)

    def to_keras(self) -> list[np.ndarray]:
        """Return arrays for ``set_weights`` of Keras' layer."""
        return self._arrays("keras")

    def load_book(self, params: Sequence[Any]) -> None:
        """Take ``params`` of TimeRNN, TimeLSTM or TimeGRU of *Deep Learning from Scratch 2*.

        A GRU is to have ``reset_after=False``. Raises as `load_torch`.
        """
        self._load("book", params)

    def to_book(self) -> list[np.ndarray]:
        """Return arrays in the book's layout."""
        return self._arrays("book")

    def _load(self, layout: str, given: Sequence[Any]) -> None:
        self._check_plain(layout)
        self.set_weights(_convert.from_layout(layout, self._sizes(), given, self.dtype))

    def _arrays(self, layout: str) -> list[np.ndarray]:
        self._check_plain(layout)
        return _convert.to_layout(layout, self._sizes(), self.get_weights())


_SHARED = """Parameters
    ----------
    input_size : int
        D.
    hidden_size : int
        H.
    num_layers : int
        How many lie on one another; each takes the outputs of the one below.
    bias : bool
        Whether there are biases.
    bidirectional : bool
        Whether each layer also runs from the end of the sequences to their beginning.
    merge : {"concat", "sum"}
        Whether the outputs of both directions stand side by side or are added up.
    dropout : float
        Share of the outputs of every layer but the last that is set to zero in training; the rest is scaled up.
    input_dropout, recurrent_dropout : float
        The same for each layer's inputs, and for its hidden states where they go into the gates, but with one mask for
        all steps: variational dropout (Gal and Ghahramani, NIPS 2016).
    weight_dropout : float
        The same for the recurrent weights: DropConnect, as in AWD-LSTM (Merity, Keskar and Socher, "Regularizing and
        optimizing LSTM language models", ICLR 2018).
    zoneout : float, for LSTM also a pair (of h, of c)
        Share of the states that stays as it was in a step of training; without training each is such a mean (Krueger et
        al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", ICLR 2017).
    layer_norm : bool
        Whether both parts of the sums are normalised (Ba, Kiros and Hinton, "Layer normalization", 2016), and in the
        LSTM the cell states before their tanh.
    batch_first : bool
        Whether inputs and outputs are (N, T, D), or (T, N, D), as the kernels have them: then nothing is copied.
    initial : {"uniform", "xavier", "orthogonal"}
        All parameters even over 1 / sqrt(H) on both sides of 0; or weights normal with a deviation of 1 / sqrt of
        their inputs, and no biases; or the same with orthogonal recurrent weights.
    dtype : {"float32", "float64"}
        Of the parameters and of the output.
    random_state : None, int or numpy.random.Generator
        Of the first weights and of dropout."""


def _documented(layer: type) -> type:
    """Put what all three layers take in the place of {shared} of a class's text."""
    layer.__doc__ = str(layer.__doc__).replace("{shared}", _SHARED)
    return layer


@_documented
class RNN(_Recurrent):
    """The simple recurrent network: ``h' = f(x w_x + h w_h + b)``, f being tanh or relu.

    {shared}
    nonlinearity : {"tanh", "relu"}
        What the sums are put through.

    Attributes
    ----------
    params : dict[str, Param]
        For each layer and direction w_x (D, H), w_h (H, H) and b (H,): "layer0.w_x", "layer0.reverse.w_x", ...

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Elman, "Finding structure in time", Cognitive Science 1990. "uniform" is how PyTorch begins; "xavier" is what Saito,
    *Deep Learning from Scratch 2*, calls so.
    """

    _kernels = (rnn_forward, rnn_backward)

    def __init__(self, *arguments: Any, nonlinearity: str = "tanh", **options: Any) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueRangeError(f"nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        self._fixed = {"nonlinearity": nonlinearity}
        super().__init__(*arguments, **options)


@_documented
class LSTM(_Recurrent):
    """Long short-term memory.

    {shared}
    forget_bias : float
        Added to the forget gate's first biases: 1 or more lets memory last from the start.
    peephole : bool
        Whether the gates see the cell state of their own unit (Gers and Schmidhuber, "Recurrent nets that time and
        count", IJCNN 2000).
    proj_size : int
        Width P of a projection of the hidden states (Sak, Senior and Beaufays, Interspeech 2014); 0: none.
    cell_clip : float, optional
        Cell states are held between this and its negative.

    Attributes
    ----------
    params : dict[str, Param]
        For each layer and direction w_x (D, 4 H), w_h (H, 4 H) and b (4 H,): "layer0.w_x", "layer0.reverse.w_x", ...
        The gates are input, forget, candidate and output, side by side. Options add peephole (3, H), w_p (H, P), and
        gain_x, gain_h (4 H,), gain_c and bias_c (H,) of layer normalisation.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 1997, with the forget gate of Gers,
    Schmidhuber and Cummins, "Learning to forget", Neural Computation 2000. "uniform" is how PyTorch begins; "xavier" is
    what Saito, *Deep Learning from Scratch 2*, calls so. Forget biases: Jozefowicz, Zaremba and Sutskever, "An
    empirical exploration of recurrent network architectures", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.layers import LSTM
    >>> layer = LSTM(3, 5, random_state=0)
    >>> y, (h, c), cache = layer.forward(np.ones((2, 4, 3)))
    >>> y.shape, h.shape
    ((2, 4, 5), (1, 2, 5))
    >>> dx, dstate = layer.backward(np.ones_like(y), cache)
    >>> dx.shape
    (2, 4, 3)
    """

    _gates = 4
    _states = 2
    _kernels = (lstm_forward, lstm_backward)

    def __init__(
        self,
        *arguments: Any,
        forget_bias: float = 0.0,
        peephole: bool = False,
        proj_size: int = 0,
        cell_clip: float | None = None,
        **options: Any,
    ) -> None:
        self.forget_bias = check_finite_number(forget_bias, "forget_bias", -1e6, upper=1e6)
        self.peephole = bool(peephole)
        self.proj_size = check_integer(proj_size, "proj_size", 0)
        self.cell_clip = None if cell_clip is None else check_finite_number(cell_clip, "cell_clip", 0.0)
        if self.cell_clip == 0.0:
            raise ValueRangeError("cell_clip is 0, expected a number above it, or None")
        if self.proj_size and options.get("initial") == "orthogonal":
            raise ValueRangeError("initial is 'orthogonal' with proj_size, expected another: w_h is not square then")
        self._fixed = {"with_c": False, **({"clip_c": self.cell_clip} if self.cell_clip else {})}
        super().__init__(*arguments, **options)
        if self.forget_bias and not self.bias:
            raise ValueRangeError(f"forget_bias is {forget_bias} and bias is False, expected no forget_bias then")
        for name, _ in self._cells():
            if self.bias:
                self.params[f"{name}.b"].value[self.hidden_size : 2 * self.hidden_size] += self.forget_bias

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def _norms(self) -> list[tuple[str, tuple[int, ...]]]:
        own = [("gain_c", (self.hidden_size,)), ("bias_c", (self.hidden_size,))] if self.layer_norm else []
        return [*super()._norms(), *own]

    def _extras(self) -> list[tuple[str, tuple[int, ...]]]:
        more: list[tuple[str, tuple[int, ...]]] = []
        if self.peephole:
            more.append(("peephole", (3, self.hidden_size)))
        if self.proj_size:
            more.append(("w_p", (self.hidden_size, self.proj_size)))
        return [*more, *self._norms()]

    def _options(self, name: str, n_steps: int, n: int, train: bool) -> tuple[dict[str, Any], np.ndarray | None]:
        told, mask = super()._options(name, n_steps, n, train)
        for part in ("peephole", "w_p"):
            if f"{name}.{part}" in self.params:
                told[part] = self.params[f"{name}.{part}"].value
        return told, mask


@_documented
class GRU(_Recurrent):
    """Gated recurrent unit.

    {shared}
    reset_after : bool
        Whether the reset gate is applied to the candidate's product with ``w_h``, as PyTorch and cuDNN do, or to the
        hidden states before it, as in *Deep Learning from Scratch 2*; then there is no b_n and no layer_norm.

    Attributes
    ----------
    params : dict[str, Param]
        For each layer and direction w_x (D, 3 H), w_h (H, 3 H), b (3 H,) and b_n (H,): "layer0.w_x",
        "layer0.reverse.w_x", ... The gates are reset, update and candidate, side by side; b_n is the candidate's second
        bias, which is reset with its part of the hidden state.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP
    2014. "uniform" is how PyTorch begins; "xavier" is what Saito, *Deep Learning from Scratch 2*, calls so.
    """

    _gates = 3
    _kernels = (gru_forward, gru_backward)
    _bias_names = ("b", "b_n")

    def __init__(self, *arguments: Any, reset_after: bool = True, **options: Any) -> None:
        self.reset_after = bool(reset_after)
        self._fixed = {"reset_after": self.reset_after}
        super().__init__(*arguments, **options)
        if self.layer_norm and not self.reset_after:
            raise ValueRangeError("layer_norm is True and reset_after False, expected reset_after=True with it")

    def _biases(self) -> list[tuple[str, int]]:
        biases = super()._biases()
        return [*biases, ("b_n", self.hidden_size)] if biases and self.reset_after else biases
