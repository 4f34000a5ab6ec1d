"""The layers of a language model, one on another: embedding, recurrent layers with dropout around them, softmax."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..device import to_device, to_host
from ..errors import ValueRangeError
from ..kernels._boundary import device_of
from ..layers import GRU, LSTM, RNN, Dropout, Embedding, Layer, LinearCrossEntropy, Param, distinct_params, join_params
from ..random import as_key, uniform

__all__ = ["CELLS", "INITIALS", "LanguageNetwork", "NetworkOptions"]

CELLS: dict[str, type[Any]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
INITIALS = ("uniform", "xavier")
# PyTorch's word_language_model and AWD-LSTM begin their tables so.
_TABLE = 0.1


class NetworkOptions(NamedTuple):
    """What a `LanguageNetwork` is made of; see `fastseq.LanguageModel`."""

    cell: str
    embedding_size: int
    hidden_size: int
    num_layers: int
    tie_weights: bool
    input_dropout: float
    hidden_dropout: float
    output_dropout: float
    embedding_dropout: float
    weight_dropout: float
    locked_dropout: bool
    activation_reg: float
    temporal_activation_reg: float
    label_smoothing: float
    forget_bias: float
    initial: str | float
    dtype: np.dtype


class LanguageNetwork:
    """The layers, their parameters and the states that are carried from batch to batch.

    Ids are (N, T) here, and what lies between the layers is (T, N, ...), as the kernels have it.

    Attributes
    ----------
    params : dict[str, Param]
        "embedding.weight" (V, D); "layer0.w_x", ... of each recurrent layer; "output.weight" (H, V), or the embedding's
        where they are tied; "output.bias" (V,).
    state : list or None
        For each recurrent layer its state after the last batch; None: zeros.
    """

    def __init__(self, n_words: int, options: NetworkOptions, key: int) -> None:
        self.options = options
        self.n_words = n_words
        told: dict[str, Any] = {"dtype": options.dtype}
        self.embedding = Embedding(
            n_words, options.embedding_size, dropout=options.embedding_dropout,
            random_state=int(as_key(key, "embedding")), **told,
        )  # fmt: skip
        self.recurrent: list[Any] = []
        width = options.embedding_size
        for number in range(options.num_layers):
            last = number == options.num_layers - 1
            # Tied weights want outputs as wide as the embedding: then the last layer is, as in AWD-LSTM.
            units = options.embedding_size if options.tie_weights and last else options.hidden_size
            more = {"forget_bias": options.forget_bias} if options.cell == "lstm" else {}
            self.recurrent.append(
                CELLS[options.cell](
                    width, units, weight_dropout=options.weight_dropout, batch_first=False,
                    initial=options.initial if isinstance(options.initial, str) else "uniform",
                    random_state=int(as_key(key, f"layer{number}")), **more, **told,
                )
            )  # fmt: skip
            width = units
        rates = [
            options.input_dropout,
            *[options.hidden_dropout] * (options.num_layers - 1),
            options.output_dropout,
        ]
        axes = (0,) if options.locked_dropout else ()
        self.dropouts = [
            Dropout(rate, shared_axes=axes, random_state=int(as_key(key, f"dropout{number}")), **told)
            for number, rate in enumerate(rates)
        ]
        self.output = LinearCrossEntropy(
            width, n_words, transposed=options.tie_weights, label_smoothing=options.label_smoothing,
            weight=self.embedding.params["weight"] if options.tie_weights else None, initial="xavier",
            random_state=int(as_key(key, "output")), **told,
        )  # fmt: skip
        self.params: dict[str, Param] = join_params(
            embedding=self.embedding,
            **{
                f"layer{number}": {name.removeprefix("layer0."): param for name, param in layer.params.items()}
                for number, layer in enumerate(self.recurrent)
            },
            output=self.output,
        )
        self._begin(key)
        self.state: list[Any] | None = None

    def _begin(self, key: int) -> None:
        """Give the parameters the first values that the layers do not give them on their own."""
        initial = self.options.initial
        bounds: dict[str, float] = {}
        if initial == "uniform":
            bounds = {"embedding.weight": _TABLE, "output.weight": _TABLE}
        elif not isinstance(initial, str):
            bounds = dict.fromkeys(self.params, float(initial))
        seen: set[int] = set()
        for name, bound in bounds.items():
            param = self.params[name]
            if id(param) not in seen:
                seen.add(id(param))
                drawn = uniform(as_key(key, f"{name} evenly"), param.value.size, dtype=param.dtype)
                param.value[...] = (drawn.reshape(param.shape) - param.dtype.type(0.5)) * param.dtype.type(2 * bound)
        if not isinstance(initial, str) and self.options.cell == "lstm":
            for number, layer in enumerate(self.recurrent):
                units = layer.hidden_size
                self.params[f"layer{number}.b"].value[units : 2 * units] += self.options.forget_bias

    @property
    def _parts(self) -> list[Layer]:
        """The layers that draw random numbers."""
        return [self.embedding, *self.recurrent, *self.dropouts]

    @property
    def device(self) -> str:
        """Where the parameters are."""
        return device_of(weight=self.embedding.params["weight"].value)

    def move(self, device: str) -> None:
        """Put parameters and states on a device."""
        for param in distinct_params(self.params).values():
            param.move(device)
        if self.state is not None:

            def moved(state: Any) -> Any:
                return tuple(map(moved, state)) if isinstance(state, tuple) else to_device(state, device)

            self.state = [moved(state) for state in self.state]

    @contextmanager
    def on(self, device: str) -> Iterator[None]:
        """Work on a device inside the ``with`` block."""
        before = self.device
        self.move(device)
        try:
            yield
        finally:
            self.move(before)

    def begin_epoch(self) -> None:
        """Forget the states: an epoch begins at the beginning of the text."""
        self.state = None

    def training_state(self) -> dict[str, np.ndarray]:
        """Return where the random numbers and the states stand."""
        arrays = {"passes": np.array([layer._passes for layer in self._parts], np.int64)}
        for number, state in enumerate(self.state or []):
            for name, part in zip("hc", state if isinstance(state, tuple) else (state,)):
                arrays[f"state{number}.{name}"] = np.array(to_host(part))
        return arrays

    def set_training_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `training_state` returned."""
        arrays = {name: to_device(array, self.device) if name != "passes" else array for name, array in arrays.items()}
        passes = arrays["passes"]
        if passes.shape != (len(self._parts),):
            raise ValueRangeError(f"passes has shape {passes.shape}, expected ({len(self._parts)},)")
        for layer, number in zip(self._parts, passes.tolist()):
            layer._passes = int(number)
        if "state0.h" not in arrays:
            self.state = None
        elif self.options.cell == "lstm":
            self.state = [(arrays[f"state{i}.h"], arrays[f"state{i}.c"]) for i in range(len(self.recurrent))]
        else:
            self.state = [arrays[f"state{i}.h"] for i in range(len(self.recurrent))]

    def loss_and_grad(self, inputs: Any, labels: Any) -> float:
        """Return the mean loss of a batch in nats a word, and add the gradients.

        Parameters
        ----------
        inputs, labels : (N, T) integer arrays
            Words, and the words behind them. The states go on from the last batch.
        """
        alpha, beta = self.options.activation_reg, self.options.temporal_activation_reg
        raw, top, caches, self.state = self._forward(np.asarray(inputs).T, self.state, train=True)
        loss, kept = self.output.forward(top, np.asarray(labels).T)
        assert kept is not None
        dtop = self.output.backward(1.0, kept)
        # Now the weights' gradient is the parameter's, and the embedding can add to it where it lies.
        del kept
        if alpha:
            dtop += top * top.dtype.type(2.0 * alpha / top.size)
        draw = self.dropouts[-1].backward(dtop, caches[-1])
        if beta and raw.shape[0] > 1:
            steps = (raw[1:] - raw[:-1]) * raw.dtype.type(2.0 * beta / (raw.size - raw[0].size))
            draw = draw.copy() if draw is dtop else draw
            draw[1:] += steps
            draw[:-1] -= steps
        self._backward(draw, caches)
        return loss

    def losses_and_grad(self, inputs: Any, labels: Any, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs (T, N, H) and the losses (T, N) of a batch with nothing dropped out; add the gradients.

        Parameters
        ----------
        inputs, labels : (N, T) integer arrays
            Words, and the words behind them.
        counted : (N, T) bool array
            The labels that count.
        """
        _, top, caches, self.state = self._forward(np.asarray(inputs).T, self.state, train=False)
        _, kept = self.output.forward(top, np.asarray(labels).T, counted.T, smooth=False)
        assert kept is not None
        losses = kept.losses.reshape(top.shape[:2])
        dtop = self.output.backward(1.0, kept)
        del kept
        self._backward(self.dropouts[-1].backward(dtop, caches[-1]), caches)
        return top, losses

    def _forward(
        self, ids: np.ndarray, state: Sequence[Any] | None, train: bool
    ) -> tuple[Any, Any, list[Any], list[Any]]:
        """Return the last layer's outputs, the same after dropout, all caches and the states behind."""
        caches: list[Any] = []
        states = []
        h, cache = self.embedding.forward(ids, train)
        caches.append(cache)
        for number, layer in enumerate(self.recurrent):
            h, cache = self.dropouts[number].forward(h, train)
            caches.append(cache)
            h, after, cache = layer.forward(h, None if state is None else state[number], train=train)
            caches.append(cache)
            states.append(after)
        raw = h
        h, cache = self.dropouts[-1].forward(h, train)
        caches.append(cache)
        return raw, h, caches, states

    def _backward(self, draw: np.ndarray, caches: Sequence[Any]) -> None:
        below = list(caches[:-1])
        gradient = draw
        for number in reversed(range(len(self.recurrent))):
            gradient, _ = self.recurrent[number].backward(gradient, below.pop())
            gradient = self.dropouts[number].backward(gradient, below.pop())
        self.embedding.backward(gradient, below.pop())

    def infer(self, ids: np.ndarray, state: Any = None, lengths: Any = None) -> tuple[np.ndarray, list[Any]]:
        """Return the outputs (T, N, H) for words (N, T), with nothing dropped out, and the states behind them."""
        h, _ = self.embedding.forward(np.asarray(ids).T, train=False)
        states = []
        for number, layer in enumerate(self.recurrent):
            h, after = layer.infer(h, None if state is None else state[number], lengths)
            states.append(after)
        return h, states

    def losses(self, top: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the loss of each label (N, T) in nats, (T, N) float64, for outputs (T, N, H)."""
        return self.output.losses(top, np.asarray(labels).T)

    def logits(self, top: np.ndarray) -> np.ndarray:
        """Return the scores (..., V) of all words for outputs (..., H)."""
        weight = self.output.params["weight"].value
        scores: np.ndarray = top @ (weight.T if self.output.transposed else weight)
        scores += self.output.params["bias"].value
        return scores
