"""Word vectors with a full softmax: CBOW and skip-gram over whole windows, made of layers.

Each example costs a product with all V words, so this is for small vocabularies and for seeing how the models work; for
large ones there are negative sampling and hierarchical softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels._boundary import as_float_dtype, as_ids, as_offsets, check_integer
from ..layers import Embedding, Linear, Param, SoftmaxCrossEntropy, join_params, zero_grad
from ..random import as_key, normal, random_bits
from ..training import Adam, Optimizer

__all__ = ["ABSENT", "MODES", "SoftmaxWord2Vec", "contexts_targets", "train_softmax_word2vec"]

MODES = ("cbow", "skipgram")
# Stands in contexts where a window reaches beyond its sentence.
ABSENT = -1


def contexts_targets(
    ids: Any, offsets: Any, window: int = 1, *, partial: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """List every word with the words around it.

    Parameters
    ----------
    ids : (n_tokens,) array
        The words of all sentences, one after the other.
    offsets : (n_sentences + 1,) array
        Where sentences begin and end.
    window : int
        Tokens to look at on each side.
    partial : bool
        Whether windows that reach beyond their sentence are listed as well, with -1 where there is no word. A word
        without any context is left out in any case.

    Returns
    -------
    contexts : (n, C) ndarray
        int32, the words around each target from left to right. C is ``2 * window``; with ``partial`` at most twice the
        tokens that the longest sentence has beside the target.
    targets : (n,) ndarray
        int32, in the order of the text.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.

    Examples
    --------
    >>> from fastseq.models.softmax_word2vec import contexts_targets
    >>> contexts, targets = contexts_targets([0, 1, 2, 3], [0, 4], window=1)
    >>> contexts.tolist(), targets.tolist()
    ([[0, 2], [1, 3]], [1, 2])
    >>> contexts_targets([0, 1, 2, 3], [0, 4], window=1, partial=True)[0].tolist()
    [[-1, 1], [0, 2], [1, 3], [2, -1]]
    """
    ids = as_ids(ids, "ids")
    offsets = as_offsets(offsets, "offsets", int(ids.shape[0]), "ids")
    window = check_integer(window, "window", 1)
    lengths = np.diff(offsets)
    reach = int(lengths.max(initial=1)) - 1
    if partial:
        window = min(window, max(reach, 1))
    elif 2 * window > reach:
        # No sentence holds a whole window; a window of billions must not be laid out to find that.
        width = min(2 * window, 2**31 - 1)
        return np.empty((0, width), np.int32), np.empty(0, np.int32)
    begin = np.repeat(offsets[:-1], lengths)
    end = np.repeat(offsets[1:], lengths)
    position = np.arange(ids.shape[0], dtype=np.int64)
    if partial:
        kept = np.flatnonzero(end - begin > 1)
    else:
        kept = np.flatnonzero((position - window >= begin) & (position + window < end))
    shifts = [*range(-window, 0), *range(1, window + 1)]
    contexts = np.full((kept.shape[0], len(shifts)), ABSENT, np.int32)
    for column, shift in enumerate(shifts):
        other = position[kept] + shift
        inside = (other >= begin[kept]) & (other < end[kept])
        contexts[inside, column] = ids[other[inside]]
    return contexts, ids[kept]


class SoftmaxWord2Vec:
    """CBOW or skip-gram with a softmax over all words, made of an `Embedding`, a `Linear` and a `SoftmaxCrossEntropy`.

    Parameters
    ----------
    n_words : int
        V.
    dim : int
        D.
    mode : {"cbow", "skipgram"}
        Guess the word from those around it, or those around it from the word.
    average : bool
        Whether CBOW takes the mean of the context vectors; False takes their sum. Skip-gram does not ask.
    start : (array (V, D), array (D, V)), optional
        Weights to begin with (copied) instead of random ones, normal with a standard deviation of 0.01.
    dtype : {"float32", "float64"}
        Of the weights.
    random_state : None, int or numpy.random.Generator
        Of the weights and of the order of the examples.

    Attributes
    ----------
    params : dict[str, Param]
        "input.weight" (V, D) and "output.weight" (D, V). They change in place while training runs, so a run that is
        broken off leaves what it has learned.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Mikolov, Chen, Corrado and Dean, "Efficient estimation of word representations in vector space", 2013. With whole
    windows these are SimpleCBOW and SimpleSkipGram of Saito, *Deep Learning from Scratch 2*, chapter 3. The loss of
    skip-gram is the sum over a word's contexts, averaged over words.

    Examples
    --------
    >>> import fastseq as fs
    >>> from fastseq.models.softmax_word2vec import SoftmaxWord2Vec, contexts_targets
    >>> contexts, targets = contexts_targets([0, 1, 2, 3, 4, 1, 5, 6], [0, 8], window=1)
    >>> model = SoftmaxWord2Vec(7, 5, random_state=0)
    >>> losses = list(model.train(contexts, targets, epochs=1000, batch_size=3, optimizer=fs.Adam()))
    >>> losses[-1] < 0.7 < losses[0]
    True
    """

    def __init__(
        self,
        n_words: int,
        dim: int,
        mode: str = "cbow",
        *,
        average: bool = True,
        start: tuple[Any, Any] | None = None,
        dtype: Any = "float32",
        random_state: Any = 0,
    ) -> None:
        if mode not in MODES:
            raise ValueRangeError(f"mode is {mode!r}, expected one of {MODES}")
        self.n_words = check_integer(n_words, "n_words", 1, 2**31 - 1)
        self.dim = check_integer(dim, "dim", 1)
        self.mode = mode
        self.average = bool(average)
        self.dtype = as_float_dtype(dtype)
        # One number for several keys: a Generator gives another each time it is asked.
        seed = int(as_key(random_state, "softmax word2vec"))
        self._order_key = as_key(seed, "order")
        w_in, w_out = start if start is not None else (None, None)
        self._input = Embedding(self.n_words, self.dim, weight=w_in, dtype=self.dtype, random_state=seed)
        if w_out is None:
            key = as_key(seed, "output")
            w_out = 0.01 * normal(key, self.dim * self.n_words, dtype=self.dtype).reshape(self.dim, self.n_words)
        self._output = Linear(self.dim, self.n_words, bias=False, weight=w_out, dtype=self.dtype, random_state=seed)
        self._loss = SoftmaxCrossEntropy(dtype=self.dtype)
        self.params: dict[str, Param] = join_params(input=self._input, output=self._output)

    def loss_and_grad(self, contexts: Any, targets: Any) -> float:
        """Return the loss of a batch, in nats, and add its gradients to those in ``params``.

        Parameters
        ----------
        contexts : (n, C) array
            Ids, -1 where there is none; every row holds one at least.
        targets : (n,) array
            Ids.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            An argument is not as described.
        """
        contexts, targets = self._checked(contexts, targets)
        return self._loss_and_grad(contexts, targets)

    def probabilities(self, inputs: Any) -> np.ndarray:
        """Return the probability of each word.

        Parameters
        ----------
        inputs : (n, C) or (n,) array
            CBOW: the words around a gap, -1 where there is none. Skip-gram: the words whose neighbours are asked for.

        Returns
        -------
        (n, V) ndarray

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            ``inputs`` is not as described.
        """
        if self.mode == "cbow":
            hidden, _ = self._hidden(self._checked_contexts(inputs))
        else:
            hidden, _ = self._input.forward(as_ids(inputs, "inputs", upper=self.n_words))
        logits, _ = self._output.forward(hidden)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: np.ndarray = weights / weights.sum(axis=1, keepdims=True, dtype=np.float64).astype(self.dtype)
        return result

    def train(
        self,
        contexts: Any,
        targets: Any,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        order: Callable[[int], Any] | None = None,
        first_epoch: int = 0,
    ) -> Iterator[float]:
        """Train; yield the mean loss of each epoch as it ends.

        Parameters
        ----------
        contexts : (n, C) array
            Ids, -1 where there is none; every row holds one at least.
        targets : (n,) array
            Ids.
        epochs : int
            How often to go through the examples.
        batch_size : int
            Examples to a step. The last batch of an epoch may be smaller; none is left out.
        optimizer : Optimizer, optional
            ``Adam()`` unless given. What it remembers is used and changed: `Optimizer.reset` starts it afresh.
        order : callable, optional
            Takes the number of an epoch and returns the order of its examples, a permutation. A new shuffle for each
            epoch unless given; it depends on ``random_state`` and the number of the epoch only.
        first_epoch : int
            Number of the first epoch: with it and the optimizer's state a run that was broken off goes on as if it had
            not been.

        Yields
        ------
        float
            Nats: the mean over the epoch's examples, each at the weights its batch was computed with.

        Raises
        ------
        ShapeError, DTypeError, ValueRangeError
            An argument is not as described (raised by the call, before the first epoch), or the loss is no longer
            finite.
        """
        contexts, targets = self._checked(contexts, targets)
        epochs = check_integer(epochs, "epochs", 0)
        batch_size = check_integer(batch_size, "batch_size", 1)
        first_epoch = check_integer(first_epoch, "first_epoch", 0)
        if targets.shape[0] == 0:
            raise ValueRangeError(
                "there are no examples to train on, expected one at least; are all sentences shorter than the window? "
                "partial=True lists windows that reach beyond their sentence"
            )
        if optimizer is None:
            optimizer = Adam()
        elif not isinstance(optimizer, Optimizer):
            raise DTypeError(f"optimizer is {optimizer!r}, expected an Optimizer, for example fastseq.Adam()")
        order = self._shuffled(targets.shape[0]) if order is None else order
        return self._run(contexts, targets, range(first_epoch, first_epoch + epochs), batch_size, optimizer, order)

    def _run(
        self,
        contexts: np.ndarray,
        targets: np.ndarray,
        epochs: range,
        batch_size: int,
        optimizer: Optimizer,
        order: Callable[[int], Any],
    ) -> Iterator[float]:
        n = targets.shape[0]
        for epoch in epochs:
            rows = as_ids(order(epoch), "order", upper=n)
            if rows.shape[0] != n or (np.bincount(rows, minlength=n) != 1).any():
                raise ValueRangeError(f"order({epoch}) is no permutation, expected each of 0 to {n - 1} once")
            total = 0.0
            for first in range(0, n, batch_size):
                batch = rows[first : first + batch_size]
                zero_grad(self.params)
                loss = self._loss_and_grad(contexts[batch], targets[batch])
                if not math.isfinite(loss):
                    raise ValueRangeError(
                        f"the loss became {loss} in epoch {epoch}, expected a finite number; use a smaller learning "
                        f"rate than {optimizer.learning_rate:g}"
                    )
                optimizer.step(self.params)
                total += loss * batch.shape[0]
            yield total / n

    def _loss_and_grad(self, contexts: np.ndarray, targets: np.ndarray) -> float:
        if self.mode == "cbow":
            return self._cbow(contexts, targets)
        return self._skipgram(contexts, targets)

    def _hidden(self, contexts: np.ndarray) -> tuple[np.ndarray, tuple[Any, np.ndarray]]:
        """Return the mean (or sum) of each row's context vectors, and what the backward pass needs."""
        present = contexts != ABSENT
        counts = present.sum(axis=1)
        vectors, cache = self._input.forward(contexts[present])
        # No row is empty, so every part between two starts holds a vector.
        starts = np.cumsum(counts) - counts
        hidden = np.add.reduceat(vectors, starts, axis=0) if counts.shape[0] else vectors
        if self.average:
            hidden /= counts[:, None].astype(self.dtype)
        return hidden, (cache, counts)

    def _cbow(self, contexts: np.ndarray, targets: np.ndarray) -> float:
        hidden, (embedded, counts) = self._hidden(contexts)
        logits, projected = self._output.forward(hidden)
        loss, compared = self._loss.forward(logits, targets)
        dhidden = self._output.backward(self._loss.backward(1.0, compared), projected)
        if self.average:
            dhidden /= counts[:, None].astype(self.dtype)
        self._input.backward(np.repeat(dhidden, counts, axis=0), embedded)
        return loss

    def _skipgram(self, contexts: np.ndarray, targets: np.ndarray) -> float:
        # A word has one row of logits and c contexts as its labels. The sum of c cross-entropies with the same logits
        # is c times one with the mean of the labels, so the softmax is taken once, not c times.
        row, column = np.nonzero(contexts != ABSENT)
        counts = np.bincount(row, minlength=targets.shape[0])
        labels = np.zeros((targets.shape[0], self.n_words), self.dtype)
        np.add.at(labels, (row, contexts[row, column]), 1)
        labels /= counts[:, None].astype(self.dtype)
        hidden, embedded = self._input.forward(targets)
        logits, projected = self._output.forward(hidden)
        mean, compared = self._loss.forward(logits, labels, weights=counts)
        # The mean is that over pairs; the loss is that over words.
        contexts_per_word = row.shape[0] / max(targets.shape[0], 1)
        dhidden = self._output.backward(self._loss.backward(contexts_per_word, compared), projected)
        self._input.backward(dhidden, embedded)
        return mean * contexts_per_word

    def _shuffled(self, n: int) -> Callable[[int], np.ndarray]:
        items = np.arange(n, dtype=np.uint64)

        def order(epoch: int) -> np.ndarray:
            shuffled: np.ndarray = np.argsort(random_bits(self._order_key, items, np.uint64(epoch)), kind="stable")
            return shuffled

        return order

    def _checked_contexts(self, contexts: Any) -> np.ndarray:
        contexts = as_ids(contexts, "contexts", upper=self.n_words, lower=ABSENT, ndim=2)
        if (contexts == ABSENT).all(axis=1).any():
            raise ValueRangeError("contexts holds a row of -1 only, expected one word at least in every row")
        result: np.ndarray = contexts
        return result

    def _checked(self, contexts: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
        contexts = self._checked_contexts(contexts)
        targets = as_ids(targets, "targets", upper=self.n_words)
        if contexts.shape[0] != targets.shape[0]:
            raise ShapeError(
                f"contexts has {contexts.shape[0]} rows and targets {targets.shape[0]}, expected as many of each"
            )
        return contexts, targets


def train_softmax_word2vec(
    contexts: Any,
    targets: Any,
    n_words: int,
    dim: int,
    mode: str = "cbow",
    *,
    average: bool = True,
    epochs: int = 1000,
    batch_size: int = 3,
    optimizer: Optimizer | None = None,
    start: tuple[Any, Any] | None = None,
    dtype: Any = "float32",
    random_state: Any = 0,
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Train CBOW or skip-gram with a full softmax.

    Parameters
    ----------
    contexts : (n, C) array
        Ids, -1 where there is none, as `contexts_targets` lists them.
    targets : (n,) array
        Ids.
    n_words, dim : int
        V and D.
    mode : {"cbow", "skipgram"}
        See `SoftmaxWord2Vec`.
    average : bool
        Whether CBOW takes the mean of the context vectors; False takes their sum.
    epochs, batch_size, optimizer
        See `SoftmaxWord2Vec.train`. The optimizer starts afresh.
    start, dtype, random_state
        See `SoftmaxWord2Vec`.

    Returns
    -------
    w_in : (V, D) ndarray
        The word vectors.
    w_out : (D, V) ndarray
        The context vectors, as columns.
    losses : list of float
        The mean loss of each epoch, in nats.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described, or the loss is no longer finite.
    """
    model = SoftmaxWord2Vec(n_words, dim, mode, average=average, start=start, dtype=dtype, random_state=random_state)
    if isinstance(optimizer, Optimizer):
        optimizer.reset()
    losses = list(model.train(contexts, targets, epochs=epochs, batch_size=batch_size, optimizer=optimizer))
    return model.params["input.weight"].value, model.params["output.weight"].value, losses
