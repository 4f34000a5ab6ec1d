"""What the kernels work on: sizes of a real corpus, made from fixed seeds by NumPy, written to before they are timed.

`WORKLOADS` has one entry for each kernel of the registry, a function that returns (arguments, options). A test sees to
it that none is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

# A corpus of this size takes the machine tens of milliseconds to count: long enough to be measured, short enough for
# two dozen kernels.
N_TOKENS = 2_000_000
N_WORDS = 20_000
N_TOPICS = 40
SENTENCE = 20
DIM = 100


@cache
def corpus(n_tokens: int = N_TOKENS, n_words: int = N_WORDS) -> tuple[np.ndarray, np.ndarray]:
    """Return (ids, offsets) of sentences on one topic each, with frequencies by Zipf's law.

    Word ``i`` belongs to topic ``i % N_TOPICS``, so its nearest neighbours should too; three words in four of a
    sentence come from anywhere, so that the structure is hard enough to find for quality to be seen falling. The words'
    counts fall with their ids but for chance.
    """
    rng = np.random.default_rng(1)
    n_sentences = n_tokens // SENTENCE
    per_topic = n_words // N_TOPICS
    weights = 1.0 / (np.arange(per_topic) + 3.0)
    ranks = rng.choice(per_topic, (n_sentences, SENTENCE), p=weights / weights.sum())
    topics = rng.integers(0, N_TOPICS, (n_sentences, 1))
    anywhere = rng.random((n_sentences, SENTENCE)) < 3 / 4
    topics = np.where(anywhere, rng.integers(0, N_TOPICS, (n_sentences, SENTENCE)), topics)
    ids = (ranks * N_TOPICS + topics).astype(np.int32).reshape(-1)
    return ids, np.arange(n_sentences + 1, dtype=np.int64) * SENTENCE


@cache
def text() -> bytes:
    """Return that corpus as text, a sentence a line, about 10 MB."""
    ids, offsets = corpus()
    words = np.array([f"w{i:x}" for i in range(N_WORDS)])[ids].reshape(len(offsets) - 1, SENTENCE)
    return "\n".join(map(" ".join, words.tolist())).encode() + b"\n"


def _kernel(name: str) -> Callable[..., Any]:
    from fastseq.kernels.registry import REGISTRY

    if name not in REGISTRY:
        # asv reads this as: skip.
        raise NotImplementedError(f"this version has no kernel {name}")
    return REGISTRY[name].public


@cache
def counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return its co-occurrence counts, window 5, as CSR arrays."""
    return _kernel("cooccurrence_counts")(*corpus(), N_WORDS, window=5)


@cache
def weighed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return their PPMI."""
    return _kernel("ppmi_weights")(*counts(), N_WORDS, smoothing=0.75)


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape, np.float32)


def _units(*shape: int) -> np.ndarray:
    rows = _normal(*shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


Workload = tuple[tuple[Any, ...], dict[str, Any]]


def _renumber() -> Workload:
    ids, offsets = corpus()
    return (ids, offsets, np.arange(N_WORDS, dtype=np.int32)[::-1].copy()), {}


def frequencies(n_words: int) -> np.ndarray:
    """Return counts by Zipf's law, half of them 1."""
    return np.maximum(n_words // 2 // (np.arange(n_words) + 1), 1)


def _sample_negatives() -> Workload:
    # Targets in proportion to their counts, as training has them: frequent ones are drawn and refused.
    return (*_kernel("unigram_table")(frequencies(N_WORDS)), corpus()[0][:400_000], 5), {"key": 1}


def _word2vec_train() -> Workload:
    rng = np.random.default_rng(3)
    stride = -(-DIM // 16) * 16
    inputs = np.zeros((N_WORDS, stride), np.float32)
    inputs[:, :DIM] = (rng.random((N_WORDS, DIM)) - 0.5) / DIM
    table = _kernel("unigram_table")(np.bincount(corpus()[0], minlength=N_WORDS))
    # Changed in place: each call goes on from the last one, which takes no less and no more time.
    return (*corpus(), inputs, np.zeros_like(inputs)), {"table": table, "end": 400_000}


# Steps, sequences, inputs, units of a medium language model.
RECURRENT = (35, 20, 650, 650)


def _recurrent(n_gates: int, n_states: int, n_biases: int, backward: bool) -> Workload:
    """Return the arguments of a forward pass and, for the backward pass, gradients by all that it returns."""
    t, n, d, h = RECURRENT
    scale = np.float32(1 / np.sqrt(h))
    states = [_normal(n, h) for _ in range(n_states)]
    biases = [_normal(size * h) for size in (n_gates, 1)[:n_biases]]
    arguments = [_normal(t, n, d), *states, scale * _normal(d, n_gates * h), scale * _normal(h, n_gates * h), *biases]
    return (*arguments, *([_normal(t, n, h), *states] if backward else [])), {}


def _groups(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each word's places begin, and the places by word."""
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order], prepend=-1, append=-1))
    return starts, order


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "random_uniform": lambda: ((np.uint64(1), 5_000_000), {}),
    "random_mask": lambda: ((np.uint64(1), 5_000_000, 0.5), {}),
    "random_normal": lambda: ((np.uint64(1), 2_000_000), {}),
    "unigram_table": lambda: ((frequencies(1_000_000),), {}),
    "sample_negatives": _sample_negatives,
    "word2vec_train": _word2vec_train,
    "huffman_tree": lambda: ((frequencies(1_000_000),), {}),
    "tokenize": lambda: ((np.frombuffer(text(), np.uint8),), {}),
    "renumber": _renumber,
    "cooccurrence_counts": lambda: ((*corpus(), N_WORDS), {"window": 5}),
    "ppmi_weights": lambda: ((*counts(), N_WORDS), {"smoothing": 0.75}),
    "csr_matmul": lambda: ((*weighed(), _normal(N_WORDS, 128)), {}),
    "csr_transpose": lambda: ((*weighed(), N_WORDS), {}),
    # The words of a step of a medium language model.
    "sum_rows": lambda: ((*_groups(corpus()[0][:700]), _normal(700, 650)), {}),
    "randomized_svd": lambda: ((*weighed(), N_WORDS, DIM), {"n_iter": 4}),
    # Rows and units of the same language model, and the words of Penn Treebank.
    "softmax_cross_entropy": lambda: (
        (_normal(700, 650), np.float32(0.05) * _normal(650, 10_000), None, np.arange(700) % 10_000),
        {},
    ),
    # Its output layer's parameters.
    "sum_of_squares": lambda: ((_normal(650, 10_000),), {}),
    "sgd_step": lambda: (tuple(_normal(650, 10_000) for _ in range(2)), {"learning_rate": 1e-9}),
    **{
        f"{name}_step": lambda n=n, steps=steps: (
            (_normal(650, 10_000), _normal(650, 10_000), *np.ones((n, 650, 10_000), np.float32), *steps),
            {"learning_rate": 1e-9},
        )
        for name, n, steps in (("adagrad", 1, ()), ("rmsprop", 1, ()), ("adam", 2, (1,)))
    },
    **{
        f"{cell}_{way}": lambda sizes=sizes, way=way: _recurrent(*sizes, backward=way == "backward")
        for cell, sizes in {"lstm": (4, 2, 1), "gru": (3, 1, 2), "rnn": (1, 1, 1)}.items()
        for way in ("forward", "backward")
    },
    "nearest_dot": lambda: ((_units(1000, DIM), _units(N_WORDS, DIM), 10), {}),
    "nearest_mul": lambda: ((_units(500, 2, DIM), _units(500, 1, DIM), _units(N_WORDS, DIM), 10), {}),
}
