"""Skip-gram and CBOW: word vectors learned by predicting words from those around them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from .. import kernels
from ..device import to_device, to_host
from ..errors import DTypeError, FormatError, NotFittedError, TextError, UnknownWordError, ValueRangeError
from ..io import check_writable, load_arrays, save_arrays
from ..kernels._boundary import as_float_dtype, check_finite_number, check_integer
from ..kernels._word2vec import STRETCH_TOKENS
from ..kernels.word2vec import prepare_word2vec, vector_rows
from ..random import as_key, uniform
from ..text.corpus import Corpus
from ..text.vocabulary import Vocabulary
from ..training.history import History
from ..training.interrupts import Interrupts
from ..training.optimizers import Adam, Optimizer
from ..vectors.word_vectors import WordVectors
from ._base import Model
from .softmax_word2vec import SoftmaxWord2Vec, contexts_targets

__all__ = ["CBOW", "SkipGram"]

LOSSES = ("negative_sampling", "hierarchical_softmax", "softmax")
# Tokens between two looks at the clock and at Ctrl-C: 0.06 s of the fastest training. A multiple of what the
# deterministic mode trains before it adds up (8 x 128), so that a run that goes on from here is the same.
_BLOCK = 2**19
# Vectors begin within this, divided by dim, on both sides of 0. word2vec has 0.5 and gensim 1. For CBOW on 100 MB of
# Wikipedia analogies were 35.7 % with 0.5, 35.8 with 1, 36.2 with 2 and 36.6 with 4 (three seeds); on Penn Treebank, 50
# dimensions, the neighbours of months that are months were 62, 63, 64 and 58 % (skip-gram, four seeds).
_START = 2.0
# Tokens whose counts are taken at a time: NumPy's bincount makes an int64 copy of what it is given, which is to stay in
# the caches (17 million tokens: 0.03 instead of 0.06 to 0.14 s with four times as many).
_COUNTED = 2**20
# Random numbers that are drawn at a time for the vectors to start from.
_DRAWN = 2**20


def _whole_stretches(n_tokens: int) -> int:
    return -(-n_tokens // STRETCH_TOKENS) * STRETCH_TOKENS


@dataclass
class _Progress:
    """How far a training has come: enough to go on with it."""

    epochs: int
    n_tokens: int
    first_rate: float
    last_rate: float
    # Item of the run's first token: no two runs draw the same numbers.
    first_item: int
    epoch: int = 0
    token: int = 0
    # Of the epoch that has begun.
    loss: float = 0.0
    centres: int = 0
    products: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.epoch >= self.epochs

    def item(self, epoch: int) -> int:
        """Return the item of an epoch's first token: that of a stretch of text, so that no two epochs share a pool."""
        return _whole_stretches(self.first_item) + epoch * _whole_stretches(self.n_tokens)

    def rate(self, token: int) -> float:
        """Return the learning rate at a token of the current epoch: linear over all epochs."""
        done = (self.epoch * self.n_tokens + token) / max(self.epochs * self.n_tokens, 1)
        return self.first_rate + (self.last_rate - self.first_rate) * done


class _Word2Vec(Model):
    """What `SkipGram` and `CBOW` share."""

    _model = ""
    _rates: ClassVar[dict[str, float]] = {
        "negative_sampling": 0.025, "hierarchical_softmax": 0.025, "softmax": 0.001,
    }  # fmt: skip
    _optimizer_state: dict[str, Any] | None = None
    # What a file means that lacks a parameter, because it was written before there was one.
    _params_before: ClassVar[dict[str, Any]] = {}

    dim: int
    window: int
    negative: int
    epochs: int
    learning_rate: float | None
    min_learning_rate: float | None
    sample: float | None
    power: float
    loss: str
    shared_negatives: bool
    shrink_window: bool
    add_context: bool
    deterministic: bool
    compute_loss: bool
    batch_size: int
    optimizer: Optimizer | None
    dtype: Any
    random_state: Any

    # --- training ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        corpus: Any,
        *,
        vectors: WordVectors | None = None,
        frozen: Iterable[str] | None = None,
        callbacks: Sequence[Callable[..., Any]] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> Any:
        """Train from the beginning; return the model.

        Parameters
        ----------
        corpus : Corpus or iterable of lists of str
            The text. Lists of words become a corpus with `Corpus.from_sentences`; sequences of integers (baskets, walks
            on a graph) with `Corpus.from_ids`.
        vectors : WordVectors, optional
            Vectors to start from; words that it lacks start at random, and its other words are passed over.
        frozen : iterable of str, optional
            Words whose vectors do not change.
        callbacks : sequence of callables
            Each is called as ``callback(model, epoch, logs)`` when an epoch ends, with ``logs`` a dict of its numbers;
            training stops when one returns True.
        checkpoint : path, optional
            Written after each epoch, and when training is interrupted: ``load(path).resume(corpus)`` goes on from it.
        verbose : int
            1 shows progress on standard error.

        Raises
        ------
        TextError
            No word of the corpus has a neighbour, for example because ``sample`` thins out all.
        ShapeError, DTypeError, ValueRangeError
            An argument or a parameter is not as described.
        KeyboardInterrupt
            On Ctrl-C, after the model has been brought to order: it can be used, saved and resumed.
        """
        key = self._check_options()
        corpus = _as_corpus(corpus)
        if checkpoint is not None:
            check_writable(checkpoint)
        counts = _count(corpus)
        inputs, outputs = self._start(corpus.vocab, key, vectors)
        self._set_up(corpus.vocab, counts, inputs, outputs, int(key), frozen)
        if corpus.n_sentences == corpus.n_tokens:
            raise TextError(
                f"each of the {corpus.n_sentences} sentences has one word, so no word has a neighbour; sentences need "
                "two words at least"
            )
        self._progress = _Progress(self.epochs, corpus.n_tokens, self._rate(), self._last_rate(), 0)
        self.history_ = History()
        return self._train(corpus.ids, corpus.offsets, callbacks, checkpoint, verbose)

    def partial_fit(
        self,
        corpus: Any,
        *,
        epochs: int | None = None,
        frozen: Iterable[str] | None = None,
        callbacks: Sequence[Callable[..., Any]] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> Any:
        """Go on training on more text, whose new words join the vocabulary; return the model.

        The learning rate falls from ``learning_rate`` to ``min_learning_rate`` over ``epochs`` (the model's unless
        given) epochs of this text. Counts add up, so samples are drawn by the counts of all texts. Parameters, errors
        and what happens on Ctrl-C are those of `fit`.
        """
        if not hasattr(self, "_inputs"):
            if epochs is not None:
                raise NotFittedError(f"this {type(self).__name__} has seen no text yet; call fit(corpus) first")
            return self.fit(corpus, frozen=frozen, callbacks=callbacks, checkpoint=checkpoint, verbose=verbose)
        self._check_options()
        epochs = self.epochs if epochs is None else check_integer(epochs, "epochs", 1)
        corpus = _as_corpus(corpus)
        if checkpoint is not None:
            check_writable(checkpoint)
        mapping, added = _join(self.vocab_, corpus.vocab)
        if added and self.loss == "hierarchical_softmax":
            raise ValueRangeError(
                f"the text has {len(added)} new words, such as {added[0]!r}, but the tree of a hierarchical softmax is "
                "fixed by the first text; use loss='negative_sampling', or make the corpus with vocab=model.vocab_"
            )
        n_words = len(self.vocab_) + len(added)
        counts = np.zeros(n_words, np.int64)
        counts[: len(self.vocab_)] = self._counts
        counts[mapping] += _count(corpus)
        vocab = self.vocab_ if not added else Vocabulary([*self.vocab_.words, *added], counts)
        inputs, outputs = self._tables()
        if added:
            old = len(self.vocab_)
            more, _ = self._start(Vocabulary(added), as_key(self._key, f"words from {old}"), None)
            inputs, outputs = (_grown(table, n_words) for table in (inputs, outputs))
            inputs[old:] = more
        ids = corpus.ids if np.array_equal(mapping, np.arange(len(mapping))) else mapping[corpus.ids]
        before = self._progress
        first_item = before.item(before.epoch + 1)
        self._set_up(vocab, counts, inputs, outputs, self._key, frozen)
        self._progress = _Progress(epochs, corpus.n_tokens, self._rate(), self._last_rate(), first_item)
        return self._train(ids, corpus.offsets, callbacks, checkpoint, verbose)

    def resume(
        self,
        corpus: Any,
        *,
        callbacks: Sequence[Callable[..., Any]] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> Any:
        """Go on with a training that was interrupted, on the same text; return the model.

        With one thread, or with ``deterministic=True``, the result is that of an uninterrupted run. Parameters are
        those of `fit`.

        Raises
        ------
        NotFittedError
            No training has begun.
        ValueRangeError
            The text is not the one that the training began with.
        """
        self._check_fitted()
        self._check_options()
        corpus = _as_corpus(corpus)
        mapping, added = _join(self.vocab_, corpus.vocab)
        if added or corpus.n_tokens != self._progress.n_tokens:
            raise ValueRangeError(
                f"the text has {corpus.n_tokens} tokens and {len(added)} unknown words, expected the "
                f"{self._progress.n_tokens} tokens that the training began with, read in the same way (min_count, "
                "lowercase, ...); for another text use partial_fit"
            )
        ids = corpus.ids if np.array_equal(mapping, np.arange(len(mapping))) else mapping[corpus.ids]
        return self._train(ids, corpus.offsets, callbacks, checkpoint, verbose)

    def _check_options(self) -> Any:
        """Check every parameter before any work; return the key of all random numbers."""
        check_integer(self.dim, "dim", 1, 2**20)
        check_integer(self.window, "window", 1, 2**20)
        check_integer(self.epochs, "epochs", 1)
        check_integer(self.batch_size, "batch_size", 1)
        if self.loss not in LOSSES:
            raise ValueRangeError(f"loss is {self.loss!r}, expected one of {LOSSES}")
        check_integer(self.negative, "negative", 1, 2**20)
        if self.learning_rate is not None:
            check_finite_number(self.learning_rate, "learning_rate", 0.0, exclusive=True)
        if self.min_learning_rate is not None:
            check_finite_number(self.min_learning_rate, "min_learning_rate", 0.0)
        if self.loss != "softmax" and self._last_rate() > self._rate():
            raise ValueRangeError(
                f"min_learning_rate is {self.min_learning_rate}, expected at most learning_rate, {self._rate()}"
            )
        if self.sample is not None:
            check_finite_number(self.sample, "sample", 0.0)
        check_finite_number(self.power, "power", -1000.0, upper=1000.0)
        as_float_dtype(self.dtype)
        if self.optimizer is not None and not isinstance(self.optimizer, Optimizer):
            raise DTypeError(f"optimizer is {type(self.optimizer).__name__}, expected one such as fs.Adam()")
        for name in ("shared_negatives", "shrink_window", "add_context", "deterministic", "compute_loss",
                     *self._switches):  # fmt: skip
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise DTypeError(f"{name} is {getattr(self, name)!r}, expected True or False")
        return as_key(self.random_state, "word2vec")

    _switches: tuple[str, ...] = ()

    def _rate(self) -> float:
        return float(self._rates[self.loss] if self.learning_rate is None else self.learning_rate)

    def _last_rate(self) -> float:
        return min(1e-4, self._rate()) if self.min_learning_rate is None else float(self.min_learning_rate)

    def _start(self, vocab: Vocabulary, key: Any, vectors: WordVectors | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the tables to begin with: inputs uniform in +-`_START` / dim, outputs zero."""
        dtype, dim, n_words = as_float_dtype(self.dtype), int(self.dim), len(vocab)
        inputs = vector_rows(n_words, dim, dtype)
        n_rows = max(n_words - 1, 0) if self.loss == "hierarchical_softmax" else n_words
        outputs = vector_rows(n_rows, dim, dtype)
        if self.loss == "softmax":
            # Normal numbers times 0.01 for both, as the book has them.
            drawn = SoftmaxWord2Vec(n_words, dim, dtype=dtype, random_state=int(key)).params
            inputs[:, :dim] = drawn["input.weight"].value
            outputs[:, :dim] = drawn["output.weight"].value.T
        else:
            stream, share = as_key(int(key), "start"), dtype.type(2.0 * _START / dim)
            # Some rows at a time, since a table of numbers beside the vectors takes as much memory as they do, and
            # longer: 68,000 words, 300 dimensions 0.87 instead of 0.2 s.
            n_rows = max(_DRAWN // dim, 1)
            for first in range(0, n_words, n_rows):
                rows = inputs[first : first + n_rows, :dim]
                numbers = uniform(stream, rows.size, start=first * dim, dtype=dtype).reshape(rows.shape)
                numbers -= dtype.type(0.5)
                np.multiply(numbers, share, out=rows)
        if vectors is not None:
            if not isinstance(vectors, WordVectors):
                raise DTypeError(f"vectors is {type(vectors).__name__}, expected WordVectors (WordVectors.load)")
            if vectors.matrix.shape[1] != self.dim:
                raise ValueRangeError(f"vectors have {vectors.matrix.shape[1]} dimensions, expected dim, {self.dim}")
            rows = [(i, vectors.vocab.get(word)) for i, word in enumerate(vocab.words)]
            known = np.array([pair for pair in rows if pair[1] is not None], np.int64).reshape(-1, 2)
            inputs[known[:, 0], : self.dim] = vectors.matrix[known[:, 1]]
        return inputs, outputs

    def _set_up(
        self,
        vocab: Vocabulary,
        counts: np.ndarray,
        inputs: np.ndarray,
        outputs: np.ndarray,
        key: int,
        frozen: Iterable[str] | None,
    ) -> None:
        n_words = len(vocab)
        if n_words < 2:
            raise TextError(f"the text has {n_words} word, expected at least 2: one to predict and one to tell it from")
        if self.loss == "negative_sampling" and self.negative >= n_words:
            raise ValueRangeError(
                f"negative is {self.negative}, but the text has {n_words} words, so there are not as many others to "
                "draw; use a smaller number, more text, or loss='softmax' for a vocabulary this small"
            )
        mask = None
        if frozen is not None:
            if isinstance(frozen, (str, bytes)):
                raise DTypeError(f"frozen is the text {frozen[:20]!r}, expected a list of words")
            if self.loss == "softmax":
                raise ValueRangeError("frozen words need loss='negative_sampling' or 'hierarchical_softmax'")
            mask = np.zeros(n_words, bool)
            mask[[vocab[word] for word in frozen]] = True
        self._frozen = mask
        self.vocab_ = vocab
        self._counts = counts
        self._key = key
        self._inputs, self._outputs = inputs, outputs
        self._forget()

    def _prepare(self, ids: np.ndarray, offsets: np.ndarray) -> tuple[Any, Any, Any]:
        """Return the prepared training and its tables, where the current device has them."""
        table = tree = None
        counts = self._counts
        if self.loss == "hierarchical_softmax":
            tree = tuple(to_device(part) for part in kernels.huffman_tree(counts))
        else:
            table = tuple(to_device(part) for part in kernels.unigram_table(counts, self.power))
        inputs, outputs = (to_device(table_) for table_ in self._tables())
        training = prepare_word2vec(
            to_device(ids),
            to_device(offsets),
            inputs,
            outputs,
            model=self._model,
            table=table,
            tree=tree,
            negative=self.negative,
            window=self.window,
            shrink=self.shrink_window,
            keep=to_device(self._keep()),
            frozen=None if self._frozen is None else to_device(self._frozen),
            key=int(as_key(self._key, "training")),
            compute_loss=self.compute_loss,
            deterministic=self.deterministic,
            **self._training_options(),
        )
        return training, inputs, outputs

    def _training_options(self) -> dict[str, Any]:
        return {"shared": bool(self.shared_negatives)}

    def _keep(self) -> np.ndarray:
        """Return how often a token of each word is kept: ``sqrt(sample / f) + sample / f``, as in word2vec's code."""
        if not self.sample:
            return np.ones(len(self._counts), np.float32)
        share = self.sample * self._counts.sum() / np.maximum(self._counts, 1)
        return np.minimum(np.sqrt(share) + share, 1.0).astype(np.float32)

    def _train(
        self, ids: Any, offsets: Any, callbacks: Sequence[Callable[..., Any]], checkpoint: Any, verbose: int
    ) -> Any:
        from tqdm import tqdm

        if self.loss == "softmax":
            return self._train_softmax(ids, offsets, callbacks, checkpoint, verbose)
        progress = self._progress
        training, inputs, outputs = self._prepare(ids, offsets)
        total = progress.epochs * progress.n_tokens
        done = progress.epoch * progress.n_tokens + progress.token
        bar = tqdm(total=total, initial=done, disable=not verbose, unit=" words", unit_scale=True, desc=self._model)
        with Interrupts() as interrupts, bar:
            try:
                while not progress.finished:
                    first_item = progress.item(progress.epoch)
                    with training.scattered():
                        while progress.token < progress.n_tokens and not interrupts.asked:
                            begin = time.perf_counter()
                            end = min(progress.token + _BLOCK, progress.n_tokens)
                            loss, centres, products = training.run(
                                begin=progress.token,
                                end=end,
                                learning_rate=(progress.rate(progress.token), progress.rate(end)),
                                first_item=first_item,
                            )
                            progress.seconds += time.perf_counter() - begin
                            progress.loss += loss
                            progress.centres += centres
                            progress.products += products
                            bar.update(end - progress.token)
                            if self.compute_loss and progress.products:
                                bar.set_postfix(loss=f"{progress.loss / progress.products:.4f}", refresh=False)
                            progress.token = end
                            if not np.isfinite(loss):
                                raise self._diverged()
                    if interrupts.asked:
                        raise KeyboardInterrupt
                    stop = self._end_epoch(callbacks, (inputs, outputs))
                    if checkpoint is not None:
                        self.save(checkpoint)
                    if stop:
                        break
            except KeyboardInterrupt:
                self._take(inputs, outputs)
                if checkpoint is not None:
                    self.save(checkpoint)
                raise
        self._take(inputs, outputs)
        return self

    def _diverged(self) -> ValueRangeError:
        fewer = f" or fewer negatives than {self.negative}" if self.loss == "negative_sampling" else ""
        return ValueRangeError(
            f"the vectors grew without bound in epoch {self._progress.epoch + 1}; use a learning_rate below "
            f"{self._rate():g}{fewer}"
        )

    def _end_epoch(self, callbacks: Sequence[Callable[..., Any]], tables: Any) -> bool:
        """Note the epoch's numbers, call the callbacks; return whether one of them asks to stop."""
        progress = self._progress
        if progress.centres == 0:
            raise TextError(
                f"no word of the text ({progress.n_tokens} tokens, {len(self.vocab_)} words) has a neighbour"
                + (f" once frequent words are thinned out; raise sample above {self.sample:g}" if self.sample else "")
            )
        if not bool(np.isfinite(to_host(tables[0].sum()))):
            raise self._diverged()
        logs: dict[str, float] = {}
        if self.compute_loss:
            logs["loss"] = progress.loss / progress.products
        logs["learning_rate"] = progress.rate(progress.n_tokens)
        logs["words_per_second"] = progress.n_tokens / max(progress.seconds, 1e-9)
        self.history_.add(**logs)
        epoch = progress.epoch
        progress.epoch, progress.token = epoch + 1, 0
        progress.loss, progress.centres, progress.products, progress.seconds = 0.0, 0, 0, 0.0
        self._take(*tables)
        return _call(callbacks, self, epoch, logs)

    def _train_softmax(
        self, ids: Any, offsets: Any, callbacks: Sequence[Callable[..., Any]], checkpoint: Any, verbose: int
    ) -> Any:
        from tqdm import tqdm

        progress = self._progress
        contexts, targets = contexts_targets(ids, offsets, self.window, partial=True)
        if len(targets) == 0:
            raise TextError(f"no word of the text ({progress.n_tokens} tokens) has a neighbour")
        inputs, outputs = self._tables()
        start = inputs[:, : self.dim], np.ascontiguousarray(outputs[:, : self.dim].T)
        engine = SoftmaxWord2Vec(
            len(self.vocab_), self.dim, self._model, average=self._averages(), start=start, dtype=self.dtype,
            random_state=int(as_key(self._key, "training")),
        )  # fmt: skip
        optimizer = Adam(self._rate()) if self.optimizer is None else self.optimizer
        optimizer.reset()
        if self._optimizer_state:
            optimizer.load_state_dict(self._optimizer_state)
        epochs = engine.train(
            contexts, targets, epochs=progress.epochs - progress.epoch, batch_size=self.batch_size, optimizer=optimizer,
            first_epoch=progress.epoch,
        )  # fmt: skip

        def take() -> None:
            inputs[:, : self.dim] = engine.params["input.weight"].value
            outputs[:, : self.dim] = engine.params["output.weight"].value.T
            self._optimizer_state = optimizer.state_dict()
            self._take(inputs, outputs)

        bar = tqdm(total=progress.epochs, initial=progress.epoch, disable=not verbose, unit=" epochs", desc=self._model)
        with Interrupts() as interrupts, bar:
            while not progress.finished:
                begin = time.perf_counter()
                loss = next(epochs)
                seconds = time.perf_counter() - begin
                rate = float(optimizer.learning_rate)
                logs = {"loss": loss, "learning_rate": rate, "words_per_second": progress.n_tokens / max(seconds, 1e-9)}
                self.history_.add(**logs)
                progress.epoch += 1
                bar.update()
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                take()
                stop = _call(callbacks, self, progress.epoch - 1, logs)
                if checkpoint is not None:
                    self.save(checkpoint)
                if interrupts.asked:
                    raise KeyboardInterrupt
                if stop:
                    break
        return self

    def _averages(self) -> bool:
        return True

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        return self._inputs, self._outputs

    def _take(self, inputs: Any, outputs: Any) -> None:
        """Keep the tables that were trained, and forget what was made of older ones."""
        self._inputs, self._outputs = to_host(inputs), to_host(outputs)
        self._forget()

    def _forget(self) -> None:
        self._vectors: WordVectors | None = None
        self._context_vectors: WordVectors | None = None

    @property
    def progress(self) -> dict[str, int]:
        """How far training has come: ``epoch`` (whole ones), ``epochs`` and ``token`` within the one that has begun."""
        self._check_fitted()
        return {"epoch": self._progress.epoch, "epochs": self._progress.epochs, "token": self._progress.token}

    # --- what was learned --------------------------------------------------------------------------------------------

    @property
    def vectors(self) -> WordVectors:
        """The words' vectors, (V, D): the input vectors, or the sum of both kinds where ``add_context`` is set."""
        self._check_fitted()
        if self._vectors is None:
            matrix = self._inputs[:, : self.dim]
            if self.add_context:
                matrix = matrix + self._context_rows()
            self._vectors = WordVectors(matrix, self.vocab_)
        return self._vectors

    @property
    def context_vectors(self) -> WordVectors:
        """The words' output vectors, (V, D), by which they are predicted; a hierarchical softmax has none."""
        self._check_fitted()
        if self._context_vectors is None:
            self._context_vectors = WordVectors(self._context_rows(), self.vocab_)
        return self._context_vectors

    def _context_rows(self) -> np.ndarray:
        if self.loss == "hierarchical_softmax":
            raise ValueRangeError(
                "a hierarchical softmax has vectors of the tree's inner nodes, not of words; train with "
                "loss='negative_sampling' for context vectors"
            )
        rows: np.ndarray = self._outputs[:, : self.dim]
        return rows

    @property
    def history(self) -> History:
        """The numbers of each epoch.

        ``loss`` is the mean over all scores of -log of the likelihood, in nats, each taken before its update (for
        ``loss="softmax"`` the mean over examples); ``learning_rate`` that at the end; ``words_per_second``.
        """
        self._check_fitted()
        return self.history_

    def predict_center(self, words: Iterable[str], n: int = 10) -> list[tuple[str, float]]:
        """Return the ``n`` words most likely to stand in the middle of ``words``, with their probabilities.

        Parameters
        ----------
        words : iterable of str
            The words around; unknown ones are passed over.
        n : int
            How many.

        Returns
        -------
        list of (word, probability)
            From the mean of the words' vectors (the sum for CBOW with ``mean=False``), falling. With negative sampling
            the scores were not trained to be a distribution over all words; their softmax is given, as gensim does.

        Raises
        ------
        UnknownWordError
            No word is known.
        """
        self._check_fitted()
        if isinstance(words, (str, bytes)):
            raise DTypeError(f"words is the text {words[:20]!r}, expected a list of words")
        given = list(words)
        known = [i for i in (self.vocab_.get(word) for word in given) if i is not None]
        if not known:
            raise UnknownWordError(f"none of the words {given[:5]} is in the vocabulary of {len(self.vocab_)} words")
        rows = self._inputs[known].astype(np.float64)
        return self._most_likely(rows.mean(axis=0) if self._averages() else rows.sum(axis=0), n)

    def predict_context(self, word: str, n: int = 10) -> list[tuple[str, float]]:
        """Return the ``n`` words most likely to stand near ``word``, with their probabilities; see `predict_center`.

        Raises
        ------
        UnknownWordError
            The word is not known.
        """
        self._check_fitted()
        return self._most_likely(self._inputs[self.vocab_[word]].astype(np.float64), n)

    def _most_likely(self, hidden: np.ndarray, n: int) -> list[tuple[str, float]]:
        n = check_integer(n, "n", 1)
        scores = self._outputs @ hidden.astype(self._outputs.dtype)
        scores = scores.astype(np.float64)
        if self.loss == "hierarchical_softmax":
            roots, nodes, codes = (to_host(part) for part in kernels.huffman_tree(self._counts))
            # log sigmoid(score) where the path takes branch 0, of -score where it takes branch 1.
            logs = -np.logaddexp(0.0, np.where(codes == 0, -1.0, 1.0) * scores[nodes])
            likelihood = np.exp(np.add.reduceat(logs, roots[:-1]))
        else:
            likelihood = np.exp(scores - scores.max())
            likelihood /= likelihood.sum()
        best = np.argsort(-likelihood, kind="stable")[:n]
        return [(self.vocab_.words[i], float(likelihood[i])) for i in best]

    def _check_fitted(self) -> None:
        if not hasattr(self, "_inputs"):
            raise NotFittedError(f"this {type(self).__name__} has no vectors yet; call fit(corpus) first")

    # --- on disk -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a safetensors file, atomically: vectors, words, parameters, how far training has come.

        The vectors alone are saved by ``model.vectors.save(path)``. An ``optimizer`` is not written; set it again after
        loading.
        """
        self._check_fitted()
        params = self.get_params()
        for name in ("random_state", "optimizer"):
            params.pop(name)
        params["dtype"] = as_float_dtype(self.dtype).name
        arrays, special = self.vocab_.to_arrays()
        arrays = {f"vocab.{name}": array for name, array in arrays.items()}
        arrays |= {"inputs": self._inputs, "outputs": self._outputs, "counts": self._counts}
        if self._frozen is not None:
            arrays["frozen"] = self._frozen
        state = self._optimizer_state or {}
        arrays |= {f"optimizer.{name}": np.asarray(array) for name, array in state.items()}
        config = {
            "params": params, "vocab": special, "progress": asdict(self._progress), "history": dict(self.history_),
            "key": str(int(self._key)),
        }  # fmt: skip
        save_arrays(path, arrays, type(self).__name__, config)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Any:
        """Read a model that `save` wrote.

        Raises
        ------
        FormatError
            The file is damaged or holds something else.
        """
        arrays, config = load_arrays(path, cls.__name__)
        try:
            model = cls(**{**cls._params_before, **config["params"]})
            vocab = Vocabulary.from_arrays(
                {name[6:]: array for name, array in arrays.items() if name.startswith("vocab.")}, config["vocab"]
            )
            names = {field.name for field in fields(_Progress)}
            progress = _Progress(**{name: config["progress"][name] for name in names})
            history = History({name: list(map(float, numbers)) for name, numbers in config["history"].items()})
            key, counts = int(config["key"]), arrays["counts"]
            inputs, outputs, frozen = arrays["inputs"], arrays["outputs"], arrays.get("frozen")
            model._check_options()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"{path} is not a whole {cls.__name__} file ({type(error).__name__}: {error})") from None
        stride = vector_rows(0, model.dim, model.dtype).shape[1]
        rows = (len(vocab), len(vocab) - 1 if model.loss == "hierarchical_softmax" else len(vocab))
        for name, table, n_rows in (("inputs", inputs, rows[0]), ("outputs", outputs, rows[1])):
            if table.shape != (n_rows, stride) or table.dtype != as_float_dtype(model.dtype):
                raise FormatError(
                    f"{path} has {name} of shape {table.shape} and dtype {table.dtype}, expected {(n_rows, stride)} "
                    f"and {model.dtype}"
                )
        if counts.shape != (len(vocab),) or (frozen is not None and frozen.shape != counts.shape):
            raise FormatError(f"{path} has counts of shape {counts.shape}, expected ({len(vocab)},)")
        model.vocab_, model._counts, model._key = vocab, counts, key
        model._frozen = None if frozen is None else frozen.astype(bool)
        model._inputs, model._outputs = _aligned(inputs, model.dim), _aligned(outputs, model.dim)
        model._progress, model.history_ = progress, history
        state = {name[10:]: array for name, array in arrays.items() if name.startswith("optimizer.")}
        model._optimizer_state = state
        model._forget()
        return model


class SkipGram(_Word2Vec):
    """Word vectors by skip-gram: each word of a window is to tell the middle one from words drawn at random.

    Parameters
    ----------
    dim : int
        D, the width of the vectors.
    window : int
        Tokens to look at on each side, at most.
    negative : int
        Words drawn for each centre, for negative sampling; below the number of words.
    epochs : int
        Times to go through the text.
    learning_rate : float, optional
        At the beginning; 0.025 unless given (0.001 for ``loss="softmax"``). It falls linearly with the tokens of all
        epochs.
    min_learning_rate : float, optional
        At the end; 0.0001 unless given, or ``learning_rate`` where that is less.
    sample : float or None
        Thins out frequent words: a token of a word with share f of the text is kept with probability
        ``sqrt(sample / f) + sample / f``. 0 or None keeps all.
    power : float
        Negatives are drawn by counts to this power.
    loss : {"negative_sampling", "hierarchical_softmax", "softmax"}
        The last one is exact, is trained in batches by an optimizer, and is for small vocabularies: its time grows with
        their size.
    shared_negatives : bool
        Whether the words of a window share the negatives, and 2,048 tokens those that were drawn for them (40 to 100
        times ``negative``: the wider the vectors and the more negatives, the fewer), which is several times as fast;
        False draws them for each pair, as word2vec does. The comparison with peers measures both.
    shrink_window : bool
        Whether the reach of each window is drawn from 1 to ``window``, so that near words count more.
    add_context : bool
        Whether `vectors` is the sum of the input and output vectors (w + c).
    deterministic : bool
        Whether the result has the same bits for any number of threads; otherwise threads share the vectors without
        locks, and only a run with one thread (``fs.threads(1)``) can be repeated.
    compute_loss : bool
        Whether `history` has the loss.
    batch_size : int
        For ``loss="softmax"``.
    optimizer : Optimizer, optional
        For ``loss="softmax"``; Adam with ``learning_rate`` unless given.
    dtype : {"float32", "float64"}
        Of the vectors.
    random_state : None, int or numpy.random.Generator

    Attributes
    ----------
    vectors, context_vectors : WordVectors
        (V, D).
    history : History
        By epoch: ``loss``, ``learning_rate``, ``words_per_second``.
    vocab_ : Vocabulary

    Notes
    -----
    Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed representations of words and phrases and their
    compositionality", NIPS 2013. Threads without locks: Niu, Recht, Ré and Wright, "Hogwild!", NIPS 2011. Shared
    negatives: Ji, Satish, Li and Dubey, "Parallelizing word2vec in shared and distributed memory", 2016.

    Examples
    --------
    >>> import fastseq as fs
    >>> corpus = fs.Corpus.from_text("you say goodbye and i say hello .")
    >>> model = fs.SkipGram(dim=5, window=1, negative=2, sample=None, epochs=10, random_state=0).fit(corpus)
    >>> model.vectors.matrix.shape
    (7, 5)
    """

    _model = "skipgram"

    def __init__(
        self,
        dim: int = 100,
        window: int = 5,
        negative: int = 5,
        epochs: int = 5,
        learning_rate: float | None = None,
        min_learning_rate: float | None = None,
        sample: float | None = 1e-4,
        power: float = 0.75,
        loss: str = "negative_sampling",
        shared_negatives: bool = True,
        shrink_window: bool = True,
        add_context: bool = False,
        deterministic: bool = False,
        compute_loss: bool = True,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        dtype: Any = "float32",
        random_state: Any = 0,
    ) -> None:
        self.dim = dim
        self.window = window
        self.negative = negative
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.min_learning_rate = min_learning_rate
        self.sample = sample
        self.power = power
        self.loss = loss
        self.shared_negatives = shared_negatives
        self.shrink_window = shrink_window
        self.add_context = add_context
        self.deterministic = deterministic
        self.compute_loss = compute_loss
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.dtype = dtype
        self.random_state = random_state


class CBOW(_Word2Vec):
    """Word vectors by CBOW: the words of a window together are to tell the middle one from words drawn at random.

    Parameters
    ----------
    dim, window, negative, epochs, sample, power, loss, shrink_window, add_context, deterministic, compute_loss, \
batch_size, optimizer, dtype, random_state
        As for `SkipGram`.
    learning_rate : float, optional
        At the beginning; 0.05 unless given (0.001 for ``loss="softmax"``).
    min_learning_rate : float, optional
        At the end; a tenth of ``learning_rate`` unless given.
    shared_negatives : bool
        Whether 2,048 tokens share the negatives that were drawn for them (as for `SkipGram`; each centre takes its own
        of them), which is faster; False draws them for each centre, as word2vec does.
    mean : bool
        Whether the middle word is predicted from the mean of the words' vectors or from their sum.
    divide_gradient : bool
        With ``mean``: whether what a window's words learn is divided by their number, as the gradient of a mean asks;
        False gives each of them the whole, as word2vec and gensim do (see İrsoy, Benton and Stratos, "Corrected CBOW
        performs as well as skip-gram", 2021).

    Attributes
    ----------
    vectors, context_vectors, history, vocab_
        As for `SkipGram`.

    Notes
    -----
    Mikolov, Chen, Corrado and Dean, "Efficient estimation of word representations in vector space", 2013.

    Examples
    --------
    >>> import fastseq as fs
    >>> corpus = fs.Corpus.from_text("you say goodbye and i say hello .")
    >>> model = fs.CBOW(dim=5, window=1, loss="softmax", epochs=1000, batch_size=3, random_state=0).fit(corpus)
    >>> model.history.loss[-1] < 1.0 < model.history.loss[0]
    True
    """

    _model = "cbow"
    _rates: ClassVar[dict[str, float]] = {"negative_sampling": 0.05, "hierarchical_softmax": 0.05, "softmax": 0.001}
    _switches = ("mean", "divide_gradient")
    _params_before: ClassVar[dict[str, Any]] = {"shared_negatives": False}

    def __init__(
        self,
        dim: int = 100,
        window: int = 5,
        negative: int = 5,
        epochs: int = 5,
        learning_rate: float | None = None,
        min_learning_rate: float | None = None,
        sample: float | None = 1e-4,
        power: float = 0.75,
        loss: str = "negative_sampling",
        mean: bool = True,
        divide_gradient: bool = False,
        shared_negatives: bool = True,
        shrink_window: bool = True,
        add_context: bool = False,
        deterministic: bool = False,
        compute_loss: bool = True,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        dtype: Any = "float32",
        random_state: Any = 0,
    ) -> None:
        self.dim = dim
        self.window = window
        self.negative = negative
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.min_learning_rate = min_learning_rate
        self.sample = sample
        self.power = power
        self.loss = loss
        self.mean = mean
        self.divide_gradient = divide_gradient
        self.shared_negatives = shared_negatives
        self.shrink_window = shrink_window
        self.add_context = add_context
        self.deterministic = deterministic
        self.compute_loss = compute_loss
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.dtype = dtype
        self.random_state = random_state

    def _training_options(self) -> dict[str, Any]:
        return {**super()._training_options(), "mean": bool(self.mean), "divided": bool(self.divide_gradient)}

    def _averages(self) -> bool:
        return bool(self.mean)

    def _last_rate(self) -> float:
        # 100 MB of Wikipedia, 5 epochs (four seeds): analogies 36.2 % where the rate falls to 0.0001, 36.9 where it
        # falls to a tenth, as gensim's does with corpus_file, two workers and five epochs: each worker counts its own
        # half. One epoch 9.9 and 11.1 %, 300 dimensions and two epochs 22.2 and 24.2. Skip-gram gains 0.2 points there
        # and loses on Penn Treebank.
        return self._rate() / 10 if self.min_learning_rate is None else float(self.min_learning_rate)


def _as_corpus(corpus: Any) -> Corpus:
    if isinstance(corpus, Corpus):
        return corpus
    if isinstance(corpus, (str, bytes)):
        raise DTypeError("corpus is a text, expected a Corpus; make one with Corpus.from_text or Corpus.from_file")
    if not isinstance(corpus, Iterable) or isinstance(corpus, np.ndarray):
        raise DTypeError(
            f"corpus is {type(corpus).__name__}, expected a Corpus (Corpus.from_file, from_text, from_sentences, "
            "from_ids) or lists of words"
        )
    return Corpus.from_sentences(corpus)


def _count(corpus: Corpus) -> np.ndarray:
    """Return how often each word occurs in the text itself: a vocabulary's counts may be those of another text."""
    n_words = len(corpus.vocab)
    counts = np.zeros(n_words, np.int64)
    # No less than there are words: each block's counts are an array of all of them.
    size = max(_COUNTED, n_words)
    for begin in range(0, corpus.n_tokens, size):
        counts += np.bincount(corpus.ids[begin : begin + size], minlength=n_words)
    return counts


def _join(known: Vocabulary, other: Vocabulary) -> tuple[np.ndarray, list[str]]:
    """Return the id that each of the other words has or gets behind the known ones, and the words that get one."""
    if known is other or known.words == other.words:
        return np.arange(len(other), dtype=np.int32), []
    added = [word for word in other.words if word not in known]
    fresh = {word: len(known) + i for i, word in enumerate(added)}
    return np.array([fresh.get(word, known.get(word, -1)) for word in other.words], np.int32), added


def _grown(table: np.ndarray, n_rows: int) -> np.ndarray:
    grown: np.ndarray = vector_rows(n_rows, table.shape[1], table.dtype)
    grown[: len(table)] = table
    return grown


def _aligned(table: np.ndarray, dim: int) -> np.ndarray:
    rows: np.ndarray = vector_rows(len(table), dim, table.dtype)
    rows[:] = table
    return rows


def _call(callbacks: Sequence[Callable[..., Any]], model: Any, epoch: int, logs: dict[str, float]) -> bool:
    answers = [callback(model, epoch, logs) for callback in callbacks]
    return any(answer is True for answer in answers)
