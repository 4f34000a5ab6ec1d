"""Training of word2vec's vectors: skip-gram and CBOW with negative sampling or hierarchical softmax."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._boundary import (
    INT32_MAX,
    _as_array,
    _plain,
    array_module,
    as_ids,
    as_offsets,
    check_finite_number,
    check_integer,
    device_of,
    is_device_array,
    to_same_device,
    variant,
)
from ._word2vec import CBOW, DIVIDED, LINE_BYTES, MEAN, PAIRS, POOLED, TREE

__all__ = ["huffman_tree", "word2vec_train", "prepare_word2vec", "Word2VecTraining", "vector_rows"]

_MODELS = ("skipgram", "cbow")


def word2vec_train(
    ids: Any,
    offsets: Any,
    inputs: Any,
    outputs: Any,
    *,
    model: str = "skipgram",
    table: Any = None,
    tree: Any = None,
    negative: int = 5,
    shared: bool = True,
    window: int = 5,
    shrink: bool = True,
    keep: Any = None,
    mean: bool = True,
    divided: bool = False,
    frozen: Any = None,
    learning_rate: Any = 0.025,
    begin: int = 0,
    end: int | None = None,
    key: int = 0,
    first_item: int = 0,
    compute_loss: bool = False,
    deterministic: bool = False,
) -> tuple[float, int, int]:
    """Train the vectors of words on a part of a text, in place.

    Each token that is kept is a centre. Its contexts are the kept tokens next to it in its sentence, up to a reach that
    is ``window`` or is drawn from 1 to ``window``. In skip-gram the input vector of each context is to tell the centre
    from samples by their output vectors; in CBOW the contexts' mean or sum is.

    Parameters
    ----------
    ids : (n_tokens,) int32
        Words.
    offsets : (n_sentences + 1,) int64
        Where sentences begin in ``ids``, and the end. No window reaches over a border; a sentence may have any length.
    inputs : (V, S) float32 or float64
        The vectors, changed in place. S is the dimension rounded up so that a row takes a multiple of 64 bytes; what is
        beyond the dimension holds zeros and stays zero (`vector_rows` makes such arrays).
    outputs : (V, S) or (V - 1, S) array of the same dtype
        The context vectors (with ``tree`` those of its inner nodes), changed in place.
    model : {"skipgram", "cbow"}
    table : (thresholds, aliases, weights)
        What negatives are drawn from, of `unigram_table`. Exactly one of ``table`` and ``tree`` must be given.
    tree : (roots, nodes, codes)
        For hierarchical softmax: each word's path, of `huffman_tree`.
    negative : int
        Samples for each centre beside itself; they are never the centre.
    shared : bool
        Whether the contexts of a centre share its negatives, and they are taken from 40 to 100 times ``negative`` (at
        most 65,536; the wider the rows and the more negatives, the fewer) that were drawn for the 2,048 tokens around,
        whose rows so stay in the caches. False draws negatives for each pair of centre and context, as word2vec does: a
        fifth to a third of the speed, and no better scores, in the comparison with peers. With CBOW, False draws them
        for each centre.
    window : int
    shrink : bool
        Whether the reach is drawn from 1 to ``window`` for each centre (word2vec's way) or is always ``window``.
    keep : (V,) float32, optional
        How often a token of each word is kept, 0 to 1; the others are passed over as if they were not in the text.
    mean : bool
        For CBOW: the mean of the contexts' vectors, or their sum.
    divided : bool
        For CBOW with ``mean``: divide what the contexts' vectors learn by their number, as the gradient of a mean asks;
        False gives each the whole, as word2vec does.
    frozen : (V,) bool, optional
        Words whose input vectors do not change.
    learning_rate : float or (first, last)
        At the token ``begin`` and at ``end``, linear in between.
    begin, end : int
        The tokens to train on; contexts may lie outside.
    key : uint64
        Stream of random numbers; see `fastseq.random.as_key`.
    first_item : int
        Item of token 0: the epoch times the number of tokens, rounded up to a multiple of 2,048, gives each epoch
        numbers of its own, and with ``shared`` a pool.
    compute_loss : bool
    deterministic : bool
        Whether the result is to have the same bits for any number of threads: parts of the text are then trained apart
        on copies of their rows, and what they changed is added up in order. Otherwise threads share the arrays without
        locks (Niu et al. 2011) and the result varies from run to run with more than one thread.

    Returns
    -------
    loss : float
        The sum of ``-log sigmoid(score)`` over the predicted and ``-log sigmoid(-score)`` over the other samples, in
        float64, before each update; 0 unless ``compute_loss``.
    n_centres : int
        Kept tokens with at least one context.
    n_products : int
        Scores that were computed: what ``loss`` is the sum over.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.
    DeviceError
        The arrays lie on different devices.

    Notes
    -----
    Mikolov, Chen, Corrado and Dean, "Efficient estimation of word representations in vector space", ICLR workshop 2013;
    Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed representations of words and phrases and their
    compositionality", NIPS 2013; negatives shared by a window: Ji, Satish, Li and Dubey, "Parallelizing word2vec in
    shared and distributed memory", 2016.

    All scores of a window come from the vectors before it. Its contexts are then updated, each from the samples' old
    vectors, and the samples from the contexts' old ones.
    """
    training = prepare_word2vec(
        ids, offsets, inputs, outputs, model=model, table=table, tree=tree, negative=negative, shared=shared,
        window=window, shrink=shrink, keep=keep, mean=mean, divided=divided, frozen=frozen, key=key,
        compute_loss=compute_loss, deterministic=deterministic,
    )  # fmt: skip
    return training.run(begin=begin, end=end, learning_rate=learning_rate, first_item=first_item)


class Word2VecTraining:
    """Arrays and options that have been checked, to train on part after part of a text; see `prepare_word2vec`."""

    def __init__(self, body: Any, arrays: tuple[Any, ...], options: tuple[Any, ...], flags: tuple[bool, bool]) -> None:
        self._body = body
        self._arrays = arrays
        self._options = options
        self._flags = flags
        self._layout: Any = None
        self.n_tokens = int(arrays[1].shape[0])

    def run(
        self, *, begin: int = 0, end: int | None = None, learning_rate: Any = 0.025, first_item: int = 0
    ) -> tuple[float, int, int]:
        """Train on a part of the text; parameters and result as for `word2vec_train`."""
        end = check_integer(self.n_tokens if end is None else end, "end", 0, self.n_tokens)
        begin = check_integer(begin, "begin", 0, end)
        first_item = check_integer(first_item, "first_item", 0, 2**62)
        first, last = learning_rate if isinstance(learning_rate, (tuple, list)) else (learning_rate, learning_rate)
        first, last = (check_finite_number(rate, "learning_rate", 0.0) for rate in (first, last))
        if begin == end:
            return 0.0, 0, 0
        mode, ids, offsets, *rest = self._arrays
        train = self._body.word2vec_train
        if self._layout is not None:
            train = partial(self._body.train_scattered, self._layout)
        loss, centres, products = train(
            mode, ids, offsets, begin, end, *rest, *self._options, first_item, first, (last - first) / (end - begin),
            *self._flags,
        )  # fmt: skip
        return float(loss), int(centres), int(products)

    @contextmanager
    def scattered(self) -> Iterator[None]:
        """Keep the rows of frequent words apart from each other, where several threads train faster so.

        Until the end, whatever ends it, rows of both tables are not in the order of the words, and nobody else may use
        the tables; `run` alone, as `word2vec_train`, leaves them where they are. Such a span within another does
        nothing.
        """
        plan = getattr(self._body, "scatter_rows", None)
        if plan is None or self._layout is not None:
            yield
            return
        _, _, _, _, _, _, weights, roots, _, _, inputs, outputs, _ = self._arrays
        layout = plan(self.n_tokens, weights, roots, inputs, outputs, self._flags[1])
        if layout is None:
            yield
            return
        try:
            layout.spread()
            self._layout = layout
            yield
        finally:
            try:
                layout.restore()
            finally:
                # Once more, should an interrupt have come before it began: of tables in order it changes nothing.
                layout.restore()
                self._layout = None


def prepare_word2vec(
    ids: Any,
    offsets: Any,
    inputs: Any,
    outputs: Any,
    *,
    model: str = "skipgram",
    table: Any = None,
    tree: Any = None,
    negative: int = 5,
    shared: bool = True,
    window: int = 5,
    shrink: bool = True,
    keep: Any = None,
    mean: bool = True,
    divided: bool = False,
    frozen: Any = None,
    key: int = 0,
    compute_loss: bool = False,
    deterministic: bool = False,
) -> Word2VecTraining:
    """Check everything that `word2vec_train` checks, once, and return an object that trains part after part.

    Parameters, and errors, are those of `word2vec_train`.
    """
    device = device_of(ids=ids, inputs=inputs, outputs=outputs)
    inputs, outputs = _as_table(inputs, "inputs"), _as_table(outputs, "outputs")
    if inputs.dtype != outputs.dtype or inputs.shape[1] != outputs.shape[1]:
        raise ShapeError(
            f"inputs is {tuple(inputs.shape)} {inputs.dtype} and outputs {tuple(outputs.shape)} {outputs.dtype}, "
            "expected the same dtype and length of rows"
        )
    n_words = int(inputs.shape[0])
    ids = as_ids(ids, "ids", upper=n_words)
    n_tokens = int(ids.shape[0])
    offsets = as_offsets(offsets, "offsets", n_tokens, "ids")
    if model not in _MODELS:
        raise ValueRangeError(f"model is {model!r}, expected one of {_MODELS}")
    if (table is None) == (tree is None):
        raise ValueRangeError("expected either table or tree, of unigram_table or huffman_tree, and not both")
    negative = check_integer(negative, "negative", 1, 2**20) if tree is None else 0
    window = check_integer(window, "window", 1, 2**20)
    key = check_integer(key, "key", 0, 2**64 - 1)
    xp = array_module(device)
    if keep is None:
        keep = to_same_device(np.ones(n_words, np.float32), device)
    keep = _vector_of(keep, "keep", np.float32, n_words)
    if n_words and not (float(keep.min()) >= 0 and float(keep.max()) <= 1):
        low, high = float(keep.min()), float(keep.max())
        raise ValueRangeError(f"keep runs from {low} to {high}, expected 0 to 1 for each word")
    mode = (CBOW if model == "cbow" else 0) | (MEAN if mean else 0) | (DIVIDED if mean and divided else 0)
    mode |= TREE if tree is not None else POOLED if shared else 0 if model == "cbow" else PAIRS
    none = [to_same_device(np.empty(0, dtype), device) for dtype in (np.uint32, np.int32, np.uint64)]
    if table is not None:
        if n_words < 2:
            raise ValueRangeError(
                f"the vocabulary has {n_words} word; negative sampling needs at least 2, one to predict and one to draw"
            )
        given = (np.uint32, np.int32, np.uint64)
        names = ("thresholds", "aliases", "weights")
        table = [_vector_of(part, f"table's {name}", dtype, n_words) for part, name, dtype in zip(table, names, given)]
        table[1] = as_ids(table[1], "table's aliases", upper=n_words)
        if int((table[2] > 0).sum()) < 2:
            raise ValueRangeError("table draws only one word; negative sampling needs at least 2 with a count")
        n_rows, paths = n_words, [to_same_device(np.zeros(1, np.int64), device), none[1], none[1].astype(np.uint8)]
    else:
        table, n_rows = none, max(n_words - 1, 0)
        roots = as_offsets(tree[0], "tree's roots", int(tree[1].shape[0]), "nodes")
        nodes = as_ids(tree[1], "tree's nodes", upper=max(n_rows, 1))
        codes = _vector_of(tree[2], "tree's codes", np.uint8, int(nodes.shape[0]))
        if int(roots.shape[0]) != n_words + 1:
            raise ShapeError(f"tree's roots has {int(roots.shape[0])} entries, expected one for each word and the end")
        paths = [roots, nodes, codes]
    if int(outputs.shape[0]) != n_rows:
        raise ShapeError(f"outputs has {int(outputs.shape[0])} rows, expected {n_rows} for {n_words} words")
    if frozen is None:
        frozen = none[1].astype(np.uint8)
    else:
        frozen = _vector_of(xp.asarray(frozen).astype(np.uint8), "frozen", np.uint8, n_words)
    device_of(ids=ids, keep=keep, weights=table[2], nodes=paths[1], frozen=frozen)
    arrays = (mode, ids, offsets, keep, *table, *paths, inputs, outputs, frozen)
    options = (window, bool(shrink), negative, np.uint64(key))
    return Word2VecTraining(variant(device, "word2vec"), arrays, options, (bool(compute_loss), bool(deterministic)))


def huffman_tree(counts: Any) -> tuple[Any, Any, Any]:
    """Return the Huffman tree of words by their counts: for each word the inner nodes from the root to it.

    Parameters
    ----------
    counts : (V,) integers
        None negative.

    Returns
    -------
    roots : (V + 1,) int64
        Where each word's path begins in ``nodes`` and ``codes``, and the end.
    nodes : (n,) int32
        Inner nodes, 0 to V - 2; the last one is the root of the tree.
    codes : (n,) uint8
        Which branch leads on: 0 or 1.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        ``counts`` is not as described or adds up to more than 2**62.

    Notes
    -----
    Huffman, "A method for the construction of minimum-redundancy codes", Proceedings of the IRE 40, 1952. Of equal
    counts the later word, and of a word and an inner node the word, is taken first. The tree is built on the host.
    """
    device = device_of(counts=counts)
    counts = _as_array(counts, "counts", 1)
    if counts.dtype.kind not in "iu":
        raise DTypeError(f"counts has dtype {counts.dtype}, expected integers")
    if counts.shape[0] > INT32_MAX:
        raise ShapeError(f"counts has {counts.shape[0]} entries, expected at most 2**31 - 1")
    if counts.shape[0] and int(counts.min()) < 0:
        raise ValueRangeError(f"counts holds {int(counts.min())}, expected none below 0")
    if float(counts.astype(np.float64).sum()) > 2.0**62:
        raise ValueRangeError("counts add up to more than 2**62")
    return variant(device, "word2vec").huffman_tree(_plain(counts, np.int64))


def vector_rows(n_rows: int, dim: int, dtype: Any = "float32", device: str = "cpu") -> Any:
    """Return zeros (n_rows, S) for `word2vec_train`: S is ``dim`` rounded up to whole lines of 64 bytes."""
    size = np.dtype(dtype).itemsize
    stride = -(-dim * size // LINE_BYTES) * LINE_BYTES // size
    if device != "cpu":
        return to_same_device(np.zeros((n_rows, stride), dtype), device)
    # A vector register that crosses a border of 64 bytes costs two loads.
    memory = np.zeros(n_rows * stride + LINE_BYTES // size, dtype)
    skipped = -memory.ctypes.data % LINE_BYTES // size
    return memory[skipped : skipped + n_rows * stride].reshape(n_rows, stride)


def _as_table(array: Any, name: str) -> Any:
    """Return ``array`` as it is: it is changed in place, so nothing may be converted."""
    device_array = is_device_array(array)
    if not device_array and not isinstance(array, np.ndarray):
        raise DTypeError(f"{name} is {type(array).__name__}, expected an array that can be changed in place")
    if array.ndim != 2 or array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DTypeError(f"{name} has shape {tuple(array.shape)} and dtype {array.dtype}, expected two axes of float32")
    if not array.flags["C_CONTIGUOUS"] or (not device_array and not array.flags.writeable):
        raise ShapeError(f"{name} must be C-contiguous and writeable: it is changed in place; pass a copy")
    if array.shape[1] * array.dtype.itemsize % LINE_BYTES or array.shape[1] == 0:
        raise ShapeError(
            f"{name} has rows of {array.shape[1]} numbers, expected a multiple of {LINE_BYTES // array.dtype.itemsize} "
            "(zeros beyond the dimension); make it with fastseq.kernels.word2vec.vector_rows"
        )
    return array


def _vector_of(array: Any, name: str, dtype: Any, length: int) -> Any:
    array = _as_array(array, name, 1)
    if array.shape[0] != length:
        raise ShapeError(f"{name} has {array.shape[0]} entries, expected {length}")
    if array.dtype.kind not in "fiub" or (np.dtype(dtype).kind in "iu" and array.dtype.kind == "f"):
        raise DTypeError(f"{name} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    return _plain(array, dtype)
