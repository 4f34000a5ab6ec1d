"""Texts written word by word, each drawn from scores: temperature, top-k, top-p, words to pass over and to stop at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, ValueRangeError
from ..kernels._boundary import check_finite_number, check_integer
from ..random import as_key, random_bits
from ..text.vocabulary import Vocabulary
from ._language_network import LanguageNetwork

__all__ = ["Sampler", "write"]

# Draws of the words that stand for an empty prompt: no text gets as long.
_FIRST = (1 << 32) - 1


class Sampler:
    """Draws a word for each of some texts, step by step; see `fastseq.LanguageModel.generate`.

    Attributes
    ----------
    finished : (N,) bool ndarray
        Which texts have come to a word to stop at.
    """

    def __init__(
        self,
        vocab: Vocabulary,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        exclude: Sequence[str],
        stop: str | Sequence[str],
        random_state: Any,
    ) -> None:
        self.temperature = check_finite_number(temperature, "temperature", 0.0)
        self.top_k = None if top_k is None else check_integer(top_k, "top_k", 1)
        self.top_p = None if top_p is None else check_finite_number(top_p, "top_p", 0.0, upper=1.0, exclusive=True)
        if isinstance(exclude, (str, bytes)):
            raise DTypeError(f"exclude is the text {exclude[:20]!r}, expected a list of words")
        self._excluded = np.array([vocab[word] for word in exclude or ()], np.int64)
        if len(set(self._excluded.tolist())) == len(vocab):
            raise ValueRangeError("exclude holds every word of the vocabulary, expected some to be left")
        self._stops = np.array([vocab[word] for word in ([stop] if isinstance(stop, str) else stop or ())], np.int64)
        self._key = as_key(random_state, "generate")
        self._vocab = vocab
        self.finished = np.zeros(0, bool)

    def first(self, row: int) -> tuple[np.ndarray, bool]:
        """Return the word that stands for an empty prompt, and whether it is the text's own.

        That is the end of the sentence before, or a word drawn by frequency.
        """
        vocab = self._vocab
        if vocab.eos is not None:
            return np.array([vocab[vocab.eos]], np.int32), False
        counts = vocab.counts.astype(np.float64)
        counts = counts if counts.sum() > 0 else np.ones(len(vocab))
        counts[self._excluded] = 0.0
        shares = np.cumsum(counts)
        place = int(np.searchsorted(shares, self._uniform(np.array([row]), _FIRST)[0] * shares[-1], side="right"))
        return np.array([min(place, len(vocab) - 1)], np.int32), True

    def _uniform(self, rows: np.ndarray, draw: int) -> np.ndarray:
        bits = random_bits(self._key, rows.astype(np.uint64), np.uint64(draw))
        numbers: np.ndarray = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return numbers

    def draw(self, logits: np.ndarray, step: int) -> np.ndarray:
        """Return a word for each row of scores (N, V), -1 for texts that are finished."""
        scores = logits.astype(np.float64)
        n = scores.shape[0]
        if self.finished.shape[0] != n:
            self.finished = np.zeros(n, bool)
        if np.isnan(scores).any():
            raise ValueRangeError("the scores of the words hold NaN, expected numbers; is a parameter NaN?")
        scores[:, self._excluded] = -np.inf
        # Below 0 before they are divided, so that a low temperature makes none infinite but those that cannot be drawn.
        scores -= scores.max(axis=1, keepdims=True)
        with np.errstate(over="ignore"):
            words = self._likeliest(scores) if self.temperature == 0 else self._drawn(scores / self.temperature, step)
        words[self.finished] = -1
        self.finished |= np.isin(words, self._stops)
        return words.astype(np.int32)

    @staticmethod
    def _likeliest(scores: np.ndarray) -> np.ndarray:
        best: np.ndarray = scores.argmax(axis=1)
        return best

    def _drawn(self, scores: np.ndarray, step: int) -> np.ndarray:
        n, n_words = scores.shape
        # From the likeliest to the least likely, ties by number; only as many as can be drawn.
        k = n_words if self.top_k is None else min(self.top_k, n_words)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        ranked = np.take_along_axis(scores, order, axis=1)
        shares = np.exp(ranked - ranked[:, :1])
        shares /= shares.sum(axis=1, keepdims=True)
        sums = np.cumsum(shares, axis=1)
        if self.top_p is not None:
            # The word with which the sum reaches top_p is the last one.
            beyond = sums - shares >= self.top_p
            shares[beyond] = 0.0
            sums = np.cumsum(shares, axis=1)
        at = self._uniform(np.arange(n), step) * sums[:, -1]
        # The first whose sum is above the number; rounding cannot lead to a word without a share.
        place = (sums <= at[:, None]).sum(axis=1)
        place = np.minimum(place, (shares > 0).sum(axis=1) - 1)
        return np.take_along_axis(order, place[:, None], axis=1)[:, 0]


def write(
    network: LanguageNetwork, prompts: Sequence[np.ndarray], n_tokens: int, sampler: Sampler, state: Any = None
) -> tuple[list[np.ndarray], list[Any]]:
    """Write on from prompts, word by word.

    Parameters
    ----------
    network : LanguageNetwork
        On the host.
    prompts : sequence of (n,) int32 arrays
        Words; see `Sampler.first` for empty ones.
    n_tokens : int
        How many words to write, at most.
    sampler : Sampler
        What draws them.
    state : list or None
        Of the network, before the prompts.

    Returns
    -------
    texts : list of int32 arrays
        Prompts and what was written.
    state : list
        Behind all of each text.
    """
    if state is not None:
        if not isinstance(state, list) or len(state) != len(network.recurrent):
            raise DTypeError(f"state is {type(state).__name__}, expected what generate returned with return_state=True")
        if any(len(ids) == 0 for ids in prompts):
            raise ValueRangeError("prompt is empty and state is given, expected the words that follow the state")
    starts, shown = [], []
    for row, ids in enumerate(prompts):
        start, own = (ids, True) if len(ids) else sampler.first(row)
        starts.append(start)
        shown.append(start[: len(start) * own])
    lengths = np.array([len(ids) for ids in starts], np.int64)
    inputs = np.zeros((len(starts), int(lengths.max())), np.int32)
    for row, start in enumerate(starts):
        inputs[row, : len(start)] = start
    top, state = network.infer(inputs, state, lengths)
    last = top[lengths - 1, np.arange(len(starts))]
    written = np.full((len(starts), n_tokens), -1, np.int32)
    for step in range(n_tokens):
        words = sampler.draw(network.logits(last), step)
        written[:, step] = words
        # After the last word too: the state is the one behind all of the text. Texts that are finished stay.
        top, state = network.infer(np.maximum(words, 0)[:, None], state, (words >= 0).astype(np.int64))
        last = top[0]
        if sampler.finished.all():
            break
    return [np.concatenate((ids, row[row >= 0])) for ids, row in zip(shown, written)], state
