"""Training of word2vec's vectors, the specification: one window after the other, in float64."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .._word2vec import SHARDS, shard_tokens
from ..registry import Case
from .random import random_bits
from .sampling import unigram_table

_UNIT = 2.0**-24


@lru_cache(maxsize=2**18)
def _bits(key, item, draw):
    return int(random_bits(np.uint64(key), np.uint64(item), np.uint64(draw)))


def _negative(key, item, number, target, thresholds, aliases, weights):
    """Return sample ``number`` of a token: tries from the alias table, then an exact draw among the other words."""
    n_words = len(weights)
    for attempt in range(63):
        bits = _bits(key, item, 64 * (number + 1) + attempt)
        place = (bits >> 32) * n_words + (((bits & 0xFFFFFFFF) * n_words) >> 32)
        slot = place >> 32
        drawn = slot if (place & 0xFFFFFFFF) < int(thresholds[slot]) else int(aliases[slot])
        if drawn != target:
            return drawn
    point = _bits(key, item, 64 * (number + 1) + 63) % (n_words * 2**32 - int(weights[target]))
    for word in range(n_words):
        if word != target:
            if point < int(weights[word]):
                return word
            point -= int(weights[word])
    raise AssertionError("the weights do not add up to 2**32 for each word")


def _pooled(key, item, number, target, negative, stride, table):
    """Return sample ``number`` of a token: one of those that were drawn for its stretch of 2048 tokens."""
    size = min(min(100, max(40, 2**16 // (negative * stride))) * negative, 2**16)
    place = (_bits(key, item, 2 + number // 4) >> 16 * (number % 4)) % 2**16 * size // 2**16
    return _negative(key, 2**63 + item // 2048, place, target, *table)


def _log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def _learn(rows, outputs, samples, labels, rate):
    """Return what some input vectors change by, and update the samples' output vectors."""
    old = outputs[samples].copy()
    scores = rows @ old.T
    loss = -np.sum(_log_sigmoid(np.where(labels == 1, scores, -scores)))
    gradient = rate * (labels - np.exp(_log_sigmoid(scores)))
    return gradient, old, loss


def word2vec_train(
    ids, offsets, inputs, outputs, *, model="skipgram", table=None, tree=None, negative=5, shared=True, window=5,
    shrink=True, keep=None, mean=True, divided=False, frozen=None, learning_rate=0.025, begin=0, end=None, key=0,
    first_item=0, compute_loss=False, deterministic=False,
):  # fmt: skip
    """Train in place; return (loss, centres, products)."""
    given = inputs, outputs
    inputs, outputs = (np.array(table_, np.float64) for table_ in given)
    end = len(ids) if end is None else end
    first, last = learning_rate if isinstance(learning_rate, tuple) else (learning_rate, learning_rate)
    slope = (last - first) / max(end - begin, 1)
    keep = np.ones(len(inputs), np.float32) if keep is None else np.asarray(keep, np.float32)
    frozen = np.zeros(len(inputs), bool) if frozen is None else np.asarray(frozen, bool)

    def is_kept(t):
        return keep[ids[t]] >= 1 or (_bits(key, first_item + t, 0) >> 40) * _UNIT < keep[ids[t]]

    def train(begin_part, end_part, inputs, outputs):
        loss, centres, products = 0.0, 0, 0
        for left, right in zip(offsets[:-1], offsets[1:]):
            if right <= begin_part or left >= end_part:
                continue
            kept = [t for t in range(left, right) if is_kept(t)]
            for i, t in enumerate(kept):
                if not begin_part <= t < end_part:
                    continue
                reach = 1 + _bits(key, first_item + t, 1) % window if shrink else window
                contexts = [ids[kept[j]] for j in range(max(0, i - reach), min(len(kept), i + reach + 1)) if j != i]
                if not contexts:
                    continue
                rate = first + slope * (t - begin)
                if tree is None:
                    # Taken from the stretch's for the whole window; or drawn for each pair in turn, or for the centre.
                    rounds = [contexts] if shared or model == "cbow" else [[context] for context in contexts]
                    item, word = first_item + t, int(ids[t])
                    drawn = [
                        [word]
                        + [_pooled(key, item, k, word, negative, inputs.shape[1], table) if shared
                           else _negative(key, item, turn * negative + k, word, *table) for k in range(negative)]
                        for turn in range(len(rounds))
                    ]  # fmt: skip
                    labels = np.array([1] + [0] * negative)
                else:
                    roots, nodes, codes = tree
                    path = slice(roots[ids[t]], roots[ids[t] + 1])
                    rounds, drawn, labels = [contexts], [list(nodes[path])], 1 - codes[path].astype(int)
                    if len(labels) == 0:
                        continue
                centres += 1
                for around, samples in zip(rounds, drawn):
                    if model == "cbow":
                        share = 1.0 / len(around) if mean else 1.0
                        hidden = share * inputs[around].sum(axis=0)[None]
                        gradient, old, own = _learn(hidden, outputs, samples, labels, rate)
                        change = (gradient @ old)[0] * (share if divided else 1.0)
                        for context in around:
                            if not frozen[context]:
                                inputs[context] += change
                        np.add.at(outputs, samples, gradient.T @ hidden)
                    else:
                        gradient, old, own = _learn(inputs[around], outputs, samples, labels, rate)
                        total = np.zeros_like(old)
                        before = inputs[around].copy()
                        for c, context in enumerate(around):
                            total += np.outer(gradient[c], before[c])
                            if not frozen[context]:
                                inputs[context] += gradient[c] @ old
                        np.add.at(outputs, samples, total)
                    loss += own
                    products += gradient.size
        return loss, centres, products

    if not deterministic:
        loss, centres, products = train(begin, end, inputs, outputs)
    else:
        loss, centres, products = 0.0, 0, 0
        size = shard_tokens(len(inputs))
        for start in range(begin, end, SHARDS * size):
            stop = min(end, start + SHARDS * size)
            changed = []
            for part in range(start, stop, size):
                copies = inputs.copy(), outputs.copy()
                found = train(part, min(stop, part + size), *copies)
                changed.append((copies[0] - inputs, copies[1] - outputs))
                loss, centres, products = loss + found[0], centres + found[1], products + found[2]
            for inward, outward in changed:
                inputs += inward
                outputs += outward
    given[0][:], given[1][:] = inputs, outputs
    return (loss if compute_loss else 0.0), centres, products


def huffman_tree(counts):
    """Return (roots, nodes, codes), by repeated merging of the two least."""
    n_words = len(counts)
    # The least count first; of equal ones the later word first, and words before inner nodes.
    heap = [(int(count), 0, -word, word) for word, count in enumerate(counts)]
    parent, branch = {}, {}
    for node in range(n_words, 2 * n_words - 1):
        heap.sort()
        (one, _, _, left), (two, _, _, right) = heap[:2]
        parent[left], branch[left] = node, 0
        parent[right], branch[right] = node, 1
        heap = [*heap[2:], (one + two, 1, node, node)]
    roots, nodes, codes = [0], [], []
    for word in range(n_words):
        path, at = [], word
        while at in parent:
            path.append((parent[at] - n_words, branch[at]))
            at = parent[at]
        nodes += [node for node, _ in reversed(path)]
        codes += [code for _, code in reversed(path)]
        roots.append(len(nodes))
    return np.array(roots, np.int64), np.array(nodes, np.int32), np.array(codes, np.uint8)


def _text(rng, n_words):
    """Return ids and offsets: an empty sentence, one of one word, and a long one that is cut into parts."""
    return rng.integers(0, n_words, 1100).astype(np.int32), np.array([0, 0, 5, 6, 300, 1100], np.int64)


def _tables(rng, n_words, dim, dtype, tree=False):
    """Return inputs and outputs with zeros beyond the dimension, in rows of a multiple of 64 bytes."""
    stride = -(-dim * np.dtype(dtype).itemsize // 64) * 64 // np.dtype(dtype).itemsize
    tables = [np.zeros((rows, stride), dtype) for rows in (n_words, n_words - tree)]
    for table in tables:
        table[:, :dim] = 0.3 * rng.standard_normal((len(table), dim))
    return tables


def word2vec_train_cases():
    """Yield every mode, lock-free (one part, so the result is defined) and deterministic."""
    rng = np.random.default_rng(31)
    n_words = 30
    ids, offsets = _text(rng, n_words)
    counts = np.bincount(ids, minlength=n_words)
    table, tree = unigram_table(counts), huffman_tree(counts)
    modes: dict[str, dict[str, Any]] = {
        "skip-gram": {},
        "skip-gram, negatives for each pair": {"shared": False},
        "skip-gram, eleven negatives, so words come twice": {"negative": 11},
        "skip-gram, fixed window": {"window": 2, "shrink": False},
        "skip-gram, window beyond every sentence": {"window": 5000, "learning_rate": 0.001, "begin": 290, "end": 310},
        "skip-gram, frozen rows": {"frozen": np.arange(n_words) % 2 == 0},
        "skip-gram, frozen rows, pairs": {"frozen": np.arange(n_words) % 2 == 0, "shared": False, "negative": 11},
        "a part of a text that is thinned out": {
            "begin": 3, "end": 450, "keep": rng.random(n_words), "learning_rate": (0.1, 0.01), "first_item": 10**6},
        "skip-gram, two stretches of text": {"first_item": 2048 * 3 - 300, "negative": 2},
        "nothing is kept": {"keep": np.zeros(n_words)},
        "CBOW": {"model": "cbow"},
        "CBOW, negatives of its own": {"model": "cbow", "shared": False},
        "CBOW, two stretches of text": {"model": "cbow", "first_item": 2**61 + 1900, "begin": 40},
        "CBOW, eleven negatives": {"model": "cbow", "negative": 11},
        "CBOW, sum": {"model": "cbow", "mean": False},
        "CBOW, divided": {"model": "cbow", "divided": True, "frozen": np.arange(n_words) < 9},
        "skip-gram, tree": {"tree": tree},
        "CBOW, tree": {"tree": tree, "model": "cbow"},
    }  # fmt: skip
    for dtype in ("float32", "float64"):
        for deterministic in (False, True):
            for label, own in modes.items():
                options = {"learning_rate": 0.05, "key": 7, "compute_loss": True, "deterministic": deterministic, **own}
                if "tree" not in own:
                    options["table"] = table
                arguments = (ids, offsets, *_tables(rng, n_words, 20, dtype, "tree" in own))
                yield Case(f"{label}, {dtype}{', deterministic' if deterministic else ''}", arguments, options)
    for dim, label in ((1, "one dimension"), (16, "one line"), (33, "three lines")):
        yield Case(label, (ids, offsets, *_tables(rng, n_words, dim, "float32")), {"table": table, "key": 2**64 - 1})
    # Several blocks of vectors and a rest: 7 blocks and 2 vectors of 32 bytes, 3 blocks, 2 vectors and 1 of 64.
    wide = {"table": table, "model": "cbow", "divided": True, "frozen": np.arange(n_words) < 9, "key": 3}
    for dim, dtype, negative in ((230, "float32", 5), (115, "float64", 5), (230, "float32", 11)):
        arguments = (ids, offsets, *_tables(rng, n_words, dim, dtype))
        label = f"CBOW, {dim} dimensions, {dtype}, {negative} negatives"
        yield Case(label, arguments, {**wide, "begin": 250, "end": 350, "negative": negative})
    two = np.zeros(40, np.int32)
    two[::7] = 1
    arguments = (two, np.array([0, 40]), *_tables(rng, 2, 5, "float32"))
    # The centre's share is 98 %, so nearly all tries give it.
    rare = unigram_table([10**6, 1], 1.0)
    yield Case("two words, one of them nearly always", arguments, {"table": rare, "window": 2})
    nothing = np.zeros(0, np.int32), np.zeros(1, np.int64)
    yield Case("no text", (*nothing, *_tables(rng, 3, 5, "float32")), {"table": unigram_table([1, 1, 1])})


def huffman_tree_cases():
    """Yield no word, one, two, equal counts, zeros, and counts by Zipf's law."""
    rng = np.random.default_rng(37)
    for counts in ([], [3], [0, 0], [1, 2], [5] * 9, 1000 // np.arange(1, 65), rng.integers(0, 50, 33)):
        yield Case(f"{len(counts)} words", (np.asarray(counts, np.int64),))
    yield Case("int32, backwards", (np.arange(20, dtype=np.int32)[::-1],))
