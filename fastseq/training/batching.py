"""How examples and texts are cut into batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import DTypeError, ShapeError, TextError, ValueRangeError
from ..kernels._boundary import check_integer
from ..random import as_key, normal, random_bits, uniform

__all__ = ["Batch", "Batches", "ShuffledBatches", "TextBatches"]

# AWD-LSTM's lengths: so often half of the usual one, and a standard deviation and a least length in steps.
_HALF = 0.05
_DEVIATION = 5.0
_LEAST = 5


class Batch(NamedTuple):
    """What one step is trained on."""

    arrays: tuple[Any, ...]  # what the model's loss_and_grad is called with
    n_items: int  # what the step counts in the mean of the loss
    rate: float = 1.0  # what the learning rate is multiplied by in this step


class Batches(Protocol):
    """What a `Trainer` goes through: the same batches whenever the same epoch is asked for."""

    @property
    def n_items(self) -> int:
        """Items in an epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch ``number``, counted from 0."""


class ShuffledBatches:
    """Examples in another order in each epoch.

    Parameters
    ----------
    *arrays : arrays (n, ...)
        Example i is row i of each of them: inputs and labels, for example.
    batch_size : int
        Examples to a step. The last batch of an epoch may be smaller.
    random_state : None, int or numpy.random.Generator
        Of the order.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described, or there is no example.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.training import ShuffledBatches
    >>> batches = ShuffledBatches(np.arange(5), batch_size=2, random_state=0)
    >>> sorted(number for batch in batches.epoch(0) for number in batch.arrays[0].tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, *arrays: Any, batch_size: int = 32, random_state: Any = None) -> None:
        if not arrays:
            raise ValueRangeError("no array is given, expected one at least")
        self._arrays = tuple(np.asarray(array) for array in arrays)
        shapes = [array.shape for array in self._arrays]
        if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) != 1:
            raise ShapeError(f"the arrays have shapes {shapes}, expected as many rows in each")
        self.n_items = int(shapes[0][0])
        if self.n_items == 0:
            raise ValueRangeError("there is no example, expected one at least")
        self.batch_size = check_integer(batch_size, "batch_size", 1)
        self._key = as_key(random_state, "order of examples")

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch ``number``, counted from 0."""
        items = np.arange(self.n_items, dtype=np.uint64)
        order = np.argsort(random_bits(self._key, items, np.uint64(number)), kind="stable")
        for first in range(0, self.n_items, self.batch_size):
            rows = order[first : first + self.batch_size]
            yield Batch(tuple(array[rows] for array in self._arrays), len(rows))


class TextBatches:
    """A text in rows that are read side by side, some steps at a time: truncated backpropagation through time.

    The text is cut into ``batch_size`` parts of equal length; row i of the batches goes through part i from its start
    to its end, so that the states after one batch belong before the next. Each word's label is the one behind it.

    Parameters
    ----------
    ids : (n,) array
        The words of the text.
    batch_size : int
        Rows. What is left over when they are equally long, fewer words than rows, is not read.
    bptt : int
        Steps of a batch. The last one of an epoch may be shorter.
    vary : bool
        Whether lengths are drawn instead, from a normal distribution around ``bptt`` (in one case of twenty around half
        of it) with a standard deviation of 5, and at least 5; the learning rate of a batch goes with its length.
    random_state : None, int or numpy.random.Generator
        Of the lengths.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.
    TextError
        The text is too short for the rows.

    Notes
    -----
    Varied lengths: Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", ICLR 2018, section 5.

    Examples
    --------
    >>> from fastseq.training import TextBatches
    >>> for batch in TextBatches(range(9), batch_size=2, bptt=3).epoch(0):
    ...     inputs, labels = batch.arrays
    ...     print(inputs.tolist(), labels.tolist())
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]]
    [[3], [7]] [[4], [8]]
    """

    def __init__(
        self, ids: Any, batch_size: int = 20, bptt: int = 35, *, vary: bool = False, random_state: Any = None
    ) -> None:
        array = np.asarray(ids)
        if array.ndim != 1:
            raise ShapeError(f"ids has shape {array.shape}, expected one axis: the words of the text")
        if array.dtype.kind not in "iu" and array.size:
            raise DTypeError(f"ids has dtype {array.dtype}, expected integers")
        self.n_tokens = int(array.shape[0])
        self.batch_size = check_integer(batch_size, "batch_size", 1)
        self.bptt = check_integer(bptt, "bptt", 1)
        self.vary = bool(vary)
        self._key = int(as_key(random_state, "lengths of batches"))
        self.n_steps = (array.shape[0] - 1) // self.batch_size
        if self.n_steps < 1:
            raise TextError(
                f"the text has {array.shape[0]} tokens, expected at least {self.batch_size + 1} for batch_size "
                f"{self.batch_size}: each row needs a word and one behind it; use a smaller batch_size or more text"
            )
        n_read = self.n_steps * self.batch_size
        self._inputs = array[:n_read].reshape(self.batch_size, self.n_steps)
        self._labels = array[1 : n_read + 1].reshape(self.batch_size, self.n_steps)

    @property
    def n_items(self) -> int:
        """Words that an epoch predicts."""
        return self.n_steps * self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch ``number``, counted from 0: inputs and labels, both (N, T)."""
        begin = 0
        for length in self._lengths(number):
            end = min(begin + length, self.n_steps)
            arrays = self._inputs[:, begin:end], self._labels[:, begin:end]
            rate = (end - begin) / self.bptt if self.vary else 1.0
            yield Batch(arrays, (end - begin) * self.batch_size, rate)
            begin = end
            if begin == self.n_steps:
                return

    def _lengths(self, number: int) -> Iterator[int]:
        if not self.vary:
            while True:
                yield self.bptt
        most = math.ceil(self.n_steps / _LEAST)
        halved = uniform(as_key(self._key, f"halved {number}"), most) < _HALF
        drawn = np.where(halved, self.bptt / 2, self.bptt) + _DEVIATION * normal(as_key(self._key, str(number)), most)
        yield from np.maximum(drawn.astype(np.int64), _LEAST).tolist()
