"""What a language model makes of a text: its loss, with a cache of what was just read, or learning while reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import DTypeError
from ..kernels._boundary import check_finite_number, check_integer
from ..layers import RowSparseGrad, distinct_params, get_weights, set_weights, zero_grad
from ._language_network import LanguageNetwork

__all__ = ["ContinuousCache", "DynamicEvaluation", "streams", "text_loss", "text_losses"]

# Steps at a time where nothing is trained: outputs of 64 steps of 20 rows of 650 numbers are 3.3 MB.
_STEPS = 64


def streams(ids: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a text into rows to be read side by side, so that every word but the first is a label once.

    Parameters
    ----------
    ids : (n,) int array
        The text, of two words at least.
    batch_size : int
        Rows, at most.

    Returns
    -------
    inputs, labels : (rows, steps) int32 array
        Words, and the words behind them.
    counted : (rows, steps) bool array
        Where a label is one of the text; the end of the last row may be filled up.
    """
    n = len(ids) - 1
    rows = min(batch_size, n)
    steps = -(-n // rows)
    rows = -(-n // steps)
    inputs, labels = np.zeros((2, rows * steps), np.int32)
    inputs[:n], labels[:n] = ids[:-1], ids[1:]
    counted = np.arange(rows * steps) < n
    return inputs.reshape(rows, steps), labels.reshape(rows, steps), counted.reshape(rows, steps)


def text_losses(
    network: LanguageNetwork, inputs: np.ndarray, labels: np.ndarray, cache: ContinuousCache | None = None
) -> Iterator[np.ndarray]:
    """Yield the losses (t, N) in nats of some steps at a time, of words (N, T) that are read from zeros on."""
    memory = None if cache is None else CacheMemory(cache)
    state = None
    for begin in range(0, inputs.shape[1], _STEPS):
        part = slice(begin, begin + _STEPS)
        top, state = network.infer(inputs[:, part], state)
        losses = network.losses(top, labels[:, part])
        yield losses if memory is None else memory.mixed(top, labels[:, part], losses)


def text_loss(
    network: LanguageNetwork, ids: np.ndarray, batch_size: int, cache: ContinuousCache | None = None
) -> float:
    """Return the mean loss of a text in nats a word, with a cache mixed in where there is one."""
    inputs, labels, counted = streams(ids, batch_size)
    total, begin = 0.0, 0
    for losses in text_losses(network, inputs, labels, cache):
        total += float(np.sum(losses, where=counted[:, begin : begin + len(losses)].T))
        begin += len(losses)
    return total / (len(ids) - 1)


class ContinuousCache:
    """A distribution over the words just read, mixed into the model's.

    Each of the last words counts by how alike the model's outputs were where it was to be told and are now.

    Parameters
    ----------
    window : int
        How many words back.
    theta : float
        How sharply alikeness counts.
    weight : float
        The cache's share in the mixture, 0 up to 1.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    ``p = (1 - weight) p_model + weight * sum over the window of softmax(theta h_t . h_i) [w_i]``. Grave, Joulin and
    Usunier, "Improving neural language models with a continuous cache", ICLR 2017. AWD-LSTM's settings for the Penn
    Treebank are a window of 500, theta 1 and a weight of 0.1.
    """

    def __init__(self, window: int = 500, *, theta: float = 1.0, weight: float = 0.1) -> None:
        self.window = check_integer(window, "window", 1)
        self.theta = check_finite_number(theta, "theta", 0.0)
        self.weight = check_finite_number(weight, "weight", 0.0, upper=1.0)


class CacheMemory:
    """What a `ContinuousCache` remembers of the rows of a text."""

    def __init__(self, cache: ContinuousCache) -> None:
        self.cache = cache
        self._tops: np.ndarray | None = None
        self._labels: np.ndarray | None = None

    def mixed(self, top: np.ndarray, labels: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """Return the losses (T, N) of the mixture for outputs (T, N, H), and remember the outputs and labels (N, T)."""
        cache = self.cache
        tops = top if self._tops is None else np.concatenate((self._tops, top))
        words = labels.T if self._labels is None else np.concatenate((self._labels, labels.T))
        n_before, n_steps = tops.shape[0] - top.shape[0], top.shape[0]
        # Step t sees the labels of the `window` steps before it; its own is what it has to tell.
        now = n_before + np.arange(n_steps)[:, None]
        then = np.arange(tops.shape[0])[None, :]
        seen = (then < now) & (then >= now - cache.window)
        shares = np.zeros_like(losses)
        for row in range(top.shape[1]):
            scores = cache.theta * (top[:, row].astype(np.float64) @ tops[:, row].T.astype(np.float64))
            scores[~seen] = -np.inf
            height = scores.max(axis=1, keepdims=True)
            parts = np.exp(scores - np.where(np.isfinite(height), height, 0.0))
            sums = parts.sum(axis=1)
            told = (parts * (words[None, :, row] == labels[row][:, None])).sum(axis=1)
            shares[:, row] = np.divide(told, sums, out=np.zeros_like(told), where=sums > 0)
        # Before anything was read there is no cache, and the model's own distribution is all there is.
        weight = np.where(seen.any(axis=1), cache.weight, 0.0)[:, None]
        self._tops, self._labels = tops[-cache.window :], words[-cache.window :]
        with np.errstate(divide="ignore"):
            mixed: np.ndarray = -np.log((1.0 - weight) * np.exp(-losses) + weight * shares)
        return mixed


class DynamicEvaluation:
    """Learning from a text while it is read: what was just read makes what comes next likelier.

    Parameters
    ----------
    learning_rate : float
        Of the steps. Without ``corpus`` they are plain gradient descent.
    decay : float
        How far the parameters are drawn back to where they began in each step, 0 up to 1.
    epsilon : float
        Added to the roots of the mean squares.
    bptt : int
        Words that are read, in each row, before a step is made.
    corpus : Corpus, optional
        The text that the model was trained on. Its gradients' mean squares tell how far each parameter may go: the RMS
        form, which is better.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    ``w += decay * min(r, 1 / decay) * (w_0 - w) - learning_rate * g / (s + epsilon)``, s being the root of the mean
    square of the gradient over the training text, and r that root by its mean over all parameters. Krause, Kahembwe,
    Murray and Renals, "Dynamic evaluation of neural sequence models", ICML 2018, equations 5 to 7.
    """

    def __init__(
        self,
        learning_rate: float = 0.002,
        *,
        decay: float = 0.002,
        epsilon: float = 1e-5,
        bptt: int = 5,
        corpus: Any = None,
    ) -> None:
        self.learning_rate = check_finite_number(learning_rate, "learning_rate", 0.0)
        self.decay = check_finite_number(decay, "decay", 0.0, upper=1.0)
        self.epsilon = check_finite_number(epsilon, "epsilon", 0.0, exclusive=True)
        self.bptt = check_integer(bptt, "bptt", 1)
        if corpus is not None and not hasattr(corpus, "ids"):
            raise DTypeError(f"corpus is {type(corpus).__name__}, expected a Corpus")
        self.corpus = corpus

    def loss(
        self, network: LanguageNetwork, ids: np.ndarray, batch_size: int, cache: ContinuousCache | None = None
    ) -> float:
        """Return the mean loss of a text in nats a word. The parameters are put back afterwards."""
        first = get_weights(network.params)
        kept = network.state
        try:
            roots = None if self.corpus is None else self._roots(network, self.corpus.ids, max(batch_size, 20))
            inputs, labels, counted = streams(ids, batch_size)
            memory = None if cache is None else CacheMemory(cache)
            total, network.state = 0.0, None
            for begin in range(0, inputs.shape[1], self.bptt):
                part = slice(begin, begin + self.bptt)
                zero_grad(network.params)
                top, losses = network.losses_and_grad(inputs[:, part], labels[:, part], counted[:, part])
                if memory is not None:
                    losses = memory.mixed(top, labels[:, part], losses)
                total += float(np.sum(losses, where=counted[:, part].T))
                self._step(network, first, roots)
            return total / (len(ids) - 1)
        finally:
            set_weights(network.params, first)
            zero_grad(network.params)
            network.state = kept

    def _roots(self, network: LanguageNetwork, ids: np.ndarray, batch_size: int) -> dict[str, np.ndarray]:
        """Return the roots of the mean squares of the gradients over a text."""
        squares = {name: np.zeros_like(param.value) for name, param in distinct_params(network.params).items()}
        inputs, labels, counted = streams(ids, batch_size)
        network.state = None
        n_steps = 0
        for begin in range(0, inputs.shape[1], self.bptt):
            part = slice(begin, begin + self.bptt)
            zero_grad(network.params)
            network.losses_and_grad(inputs[:, part], labels[:, part], counted[:, part])
            for name, param in distinct_params(network.params).items():
                grad = param.grad
                if isinstance(grad, RowSparseGrad):
                    rows = grad.coalesce()
                    squares[name][rows.rows] += np.square(rows.values)
                elif grad is not None:
                    squares[name] += np.square(grad)
            n_steps += 1
        return {name: np.sqrt(square / n_steps) for name, square in squares.items()}

    def _step(self, network: LanguageNetwork, first: Any, roots: dict[str, np.ndarray] | None) -> None:
        mean = 1.0
        if roots is not None:
            n = sum(root.size for root in roots.values())
            mean = max(sum(float(root.sum(dtype=np.float64)) for root in roots.values()) / n, 1e-30)
        for name, param in distinct_params(network.params).items():
            if param.grad is None:
                continue
            grad = param.dense_grad()
            if roots is None:
                param.value += self.decay * (first[name] - param.value) - self.learning_rate * grad
                continue
            back = np.minimum(self.decay * roots[name] / mean, 1.0)
            param.value += back * (first[name] - param.value) - self.learning_rate * grad / (roots[name] + self.epsilon)
