"""Regression checks of speed: ratios inside one process, never seconds.

Each kernel is compared with what a good user of NumPy and SciPy would write, on one thread both, in turn, the least of
several rounds after a warm-up; results are asserted equal. One thread, since then neither the number of cores nor other
processes on the machine move the ratio much. What more threads bring is a check of its own.

How a floor is kept: `FLOORS` holds half of the ratio that was measured, and that ratio stands beside it. A ratio below
its floor is measured again, twice at most, before it counts. Whoever makes a kernel faster raises its floor with it; a
floor is lowered only with the reason in the commit.

``pytest tests/benchmarks --benchmark-enable`` also times each of our sides with pytest-benchmark.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

import fastseq as fs
from fastseq import kernels

# Half of the ratio measured on one core of an AMD EPYC (Zen 5), NumPy 2.4, SciPy 1.17, Numba 0.68.
FLOORS = {
    "cooccurrence": 1.25,  # 2.5 times SciPy's matrices of ones, added up distance by distance
    "ppmi": 0.55,  # 1.1 times NumPy in float32 without a needless operation
    "csr_matmul": 0.7,  # 1.4 times SciPy's product
    "tokenize": 4.2,  # 8.5 times str.split, Counter and a list of ids
    "negatives": 4.8,  # 9.6 times Generator.choice with the same probabilities, which may draw the target
    "analogies": 1.0,  # 2.0 times one matrix-vector product of BLAS a question
    "softmax": 1.0,  # 2.0 times PyTorch's product and cross-entropy, forward and backward
    "lstm": 0.48,  # 0.97 times PyTorch's LSTM on one core, forward and backward with the layer's copies
    "gru": 1.4,  # 2.8 times its GRU
    "rnn": 0.9,  # 1.8 times its RNN
    "lengths": 1.7,  # 3.5 times its LSTM on packed sequences of different lengths
    "language model": 0.75,  # 1.5 times PyTorch's training step of an LSTM of 100 units and 10,000 words
    "skip-gram": 4.2,  # 8.5 times gensim's
    "cbow": 2.1,  # 4.3 times, on one core of a Zen 3, without AVX-512
    # Not the half of 1.9, which would be met by one thread.
    "two threads": 1.2,
}

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK),
    reason="kernels are interpreted or check bounds, so their speed says nothing",
)

N_WORDS = 20_000


def _ratio(ours, theirs, rounds):
    """Return the least time of ``theirs`` over the least of ``ours``, called in turn."""
    least = [float("inf"), float("inf")]
    for _ in range(rounds):
        for side, function in enumerate((ours, theirs)):
            begin = time.perf_counter()
            function()
            least[side] = min(least[side], time.perf_counter() - begin)
    return least[1] / least[0]


def check(name, ours, theirs, rounds=5):
    """Assert that ``ours`` is at least ``FLOORS[name]`` times as fast as ``theirs``; both have been called before."""
    ratios = []
    for _ in range(3):
        ratios.append(_ratio(ours, theirs, rounds))
        if ratios[-1] >= FLOORS[name]:
            break
    print(f"{name}: {' '.join(f'{ratio:.2f}' for ratio in ratios)} (floor {FLOORS[name]})")
    assert max(ratios) >= FLOORS[name], (
        f"{name} is {max(ratios):.2f} times as fast as the other side, expected at least {FLOORS[name]}"
    )


@pytest.fixture
def one_thread():
    with fs.threads(1):
        yield


@pytest.fixture(scope="module")
def corpus():
    """Return ids and offsets of half a million tokens with frequencies by Zipf's law, 20 a sentence."""
    rng = np.random.default_rng(0)
    weights = 1.0 / (np.arange(N_WORDS) + 3.0)
    ids = rng.choice(N_WORDS, 500_000, p=weights / weights.sum()).astype(np.int32)
    return ids, np.arange(0, len(ids) + 1, 20, dtype=np.int64)


@pytest.fixture(scope="module")
def counts(corpus):
    return kernels.cooccurrence_counts(*corpus, N_WORDS, window=5, dtype="int32")


@pytest.fixture(scope="module")
def weights(counts):
    return kernels.ppmi_weights(*counts, N_WORDS, smoothing=0.75)


def as_matrix(parts):
    indptr, indices, data = parts
    return csr_array((data, indices, indptr), shape=(N_WORDS, N_WORDS))


def scipy_counts(ids, offsets, window):
    sentence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    total = csr_array((N_WORDS, N_WORDS), dtype=np.int32)
    for distance in range(1, window + 1):
        same = sentence[:-distance] == sentence[distance:]
        places = (ids[:-distance][same], ids[distance:][same])
        total = total + coo_array((np.ones(len(places[0]), np.int32), places), shape=total.shape).tocsr()
    return (total + total.T).tocsr()


@pytest.mark.usefixtures("one_thread")
def test_cooccurrence_against_scipy(benchmark, corpus):
    def ours():
        return kernels.cooccurrence_counts(*corpus, N_WORDS, window=5, dtype="int32")

    def theirs():
        return scipy_counts(*corpus, 5)

    assert (as_matrix(benchmark(ours)) != theirs()).nnz == 0
    check("cooccurrence", ours, theirs, rounds=3)


@pytest.mark.usefixtures("one_thread")
def test_ppmi_against_scipy(benchmark, counts):
    matrix = as_matrix(counts)

    def ours():
        return kernels.ppmi_weights(*counts, N_WORDS, smoothing=0.75)

    def theirs():
        rows = matrix.sum(axis=1).astype(np.float64)
        contexts = matrix.sum(axis=0).astype(np.float64) ** 0.75
        with np.errstate(divide="ignore"):
            by_row = (contexts.sum() / rows).astype(np.float32)
            by_column = (1.0 / contexts).astype(np.float32)
        values = matrix.data.astype(np.float32)
        values *= np.repeat(by_row, np.diff(matrix.indptr))
        values *= by_column[matrix.indices]
        kept = values > 1
        starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
        return csr_array((np.log(values[kept]), matrix.indices[kept], starts), shape=matrix.shape)

    assert abs(as_matrix(benchmark(ours)) - theirs()).max() < 1e-5
    check("ppmi", ours, theirs)


@pytest.mark.usefixtures("one_thread")
def test_sparse_product_against_scipy(benchmark, weights):
    matrix = as_matrix(weights)
    dense = np.random.default_rng(1).standard_normal((N_WORDS, 128), np.float32)

    def ours():
        return kernels.csr_matmul(*weights, dense)

    np.testing.assert_allclose(benchmark(ours), matrix @ dense, rtol=1e-3, atol=1e-3)
    check("csr_matmul", ours, lambda: matrix @ dense)


@pytest.mark.usefixtures("one_thread")
def test_tokenizer_against_split_and_counter(benchmark, corpus):
    ids, offsets = corpus
    words = np.array([f"w{i:x}" for i in range(N_WORDS)])
    data = "\n".join(" ".join(words[ids[a:b]]) for a, b in zip(offsets[:-1], offsets[1:])).encode()

    def ours():
        return kernels.tokenize(data)

    def theirs():
        tokens = data.decode().split()
        frequencies = Counter(tokens)
        index = {word: i for i, word in enumerate(frequencies)}
        return np.array([index[token] for token in tokens], np.int32), list(frequencies.values())

    found, expected = benchmark(ours), theirs()
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[-1], expected[1])
    check("tokenize", ours, theirs, rounds=3)


@pytest.mark.usefixtures("one_thread")
def test_negatives_against_choice(benchmark, corpus):
    ids = corpus[0]
    counts = np.bincount(ids, minlength=N_WORDS)
    table = fs.UnigramTable(counts, power=0.75, random_state=0)
    generator = np.random.default_rng(4)
    probabilities = counts**0.75 / (counts**0.75).sum()
    targets = ids[:100_000]

    def ours():
        return table.sample(targets, 5)

    def theirs():
        return generator.choice(N_WORDS, (len(targets), 5), p=probabilities)

    drawn, expected = benchmark(ours), theirs()
    assert (drawn != targets[:, None]).all()
    # One word in 25 is the most frequent one, and it is not drawn for itself.
    free = targets > 0
    assert abs((drawn[free] == 0).mean() - (expected == 0).mean()) < 0.002
    check("negatives", ours, theirs)


@pytest.mark.usefixtures("one_thread")
def test_analogies_against_a_numpy_loop(benchmark):
    rng = np.random.default_rng(2)
    words = [f"w{i}" for i in range(10_000)]
    vectors = fs.WordVectors(rng.standard_normal((len(words), 100), np.float32), words)
    asked = np.array([rng.choice(5000, 4, replace=False) for _ in range(2000)])
    units = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)

    def answer(a, b, c):
        scores = units @ (units[b] - units[a] + units[c])
        scores[[a, b, c]] = -np.inf
        return scores.argmax()

    # Half of the questions have an answer that the vectors give, so that the shares of right ones say something.
    for question in asked[::2]:
        question[3] = answer(*question[:3])
    questions = [tuple(words[i] for i in question) for question in asked]

    def ours():
        return vectors.evaluate_analogies(questions, restrict_vocab=None)

    def theirs():
        return sum(int(answer(a, b, c) == d) for a, b, c, d in asked)

    result = benchmark(ours)
    assert result.used == 2000
    assert result.sections[0].correct == theirs() >= 1000
    check("analogies", ours, theirs, rounds=3)


def _hash_twice(data, pool):
    """Hash ``data`` twice, in two Python threads or in one after the other; hashing holds no lock of Python's."""
    if pool is None:
        return [hashlib.sha256(data).digest() for _ in range(2)]
    return list(pool.map(lambda block: hashlib.sha256(block).digest(), [data, data]))


@pytest.mark.peer
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "lengths"])
def test_recurrent_training_against_torch(benchmark, name):
    torch = pytest.importorskip("torch")
    cell = "lstm" if name == "lengths" else name
    t, n, d, h = 35, 20, 100, 100
    rng = np.random.default_rng(4)
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell](d, h)
    mine = {"lstm": fs.layers.LSTM, "gru": fs.layers.GRU, "rnn": fs.layers.RNN}[cell](d, h)
    mine.load_torch(layer.state_dict())
    x, dy = (rng.standard_normal((n, t, size)).astype(np.float32) for size in (d, h))
    lengths = rng.integers(1, t + 1, n) if name == "lengths" else None
    # Time first, as PyTorch takes it by default.
    given, by = (torch.from_numpy(a.swapaxes(0, 1).copy()) for a in (x, dy))

    def ours():
        mine.zero_grad()
        y, _, cache = mine.forward(x, lengths=lengths)
        return y, mine.backward(dy, cache)[0]

    def theirs():
        layer.zero_grad(set_to_none=True)
        leaf = given.detach().requires_grad_(True)
        if lengths is None:
            y = layer(leaf)[0]
        else:
            rnn = torch.nn.utils.rnn
            packed = rnn.pack_padded_sequence(leaf, torch.from_numpy(lengths), enforce_sorted=False)
            y = rnn.pad_packed_sequence(layer(packed)[0], total_length=t)[0]
        y.backward(by)
        return y.detach().numpy().swapaxes(0, 1), leaf.grad.numpy().swapaxes(0, 1)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for one, other in zip(benchmark(ours), theirs()):
            np.testing.assert_allclose(one, other, atol=2e-5)
        check(name, ours, theirs, rounds=20)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.peer
@pytest.mark.usefixtures("one_thread")
def test_softmax_cross_entropy_against_torch(benchmark):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    h, w = rng.standard_normal((350, 100), np.float32), rng.standard_normal((10_000, 100), np.float32) / 10
    labels = rng.integers(0, 10_000, len(h))
    leaves = [torch.from_numpy(a.copy()).requires_grad_(True) for a in (h, w)]
    asked = torch.from_numpy(labels)

    def ours():
        return kernels.softmax_cross_entropy(h, w, None, labels, by_word=True)

    def theirs():
        for leaf in leaves:
            leaf.grad = None
        loss = torch.nn.functional.cross_entropy(leaves[0] @ leaves[1].T, asked)
        loss.backward()
        return loss.item()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        losses, dh, dw, _ = benchmark(ours)
        assert losses.mean() == pytest.approx(theirs(), rel=1e-5)
        for one, leaf in zip((dh, dw), leaves):
            np.testing.assert_allclose(one, leaf.grad.numpy(), atol=1e-6)
        check("softmax", ours, theirs, rounds=10)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.peer
@pytest.mark.usefixtures("one_thread")
def test_language_model_against_torch(benchmark):
    torch = pytest.importorskip("torch")
    from fastseq.models._language_network import LanguageNetwork

    n_words, units = 10_000, 100
    lm = fs.LanguageModel(embedding_size=units, hidden_size=units, num_layers=1, initial="xavier", random_state=0)
    trainer = fs.training.Trainer(LanguageNetwork(n_words, *lm._options()), fs.SGD(1.0), clip=0.25)
    ids = np.random.default_rng(5).integers(0, n_words, 10 * 20 + 1)
    (batch,) = fs.training.TextBatches(ids, batch_size=10, bptt=20).epoch(0)
    embedding, recurrent = torch.nn.Embedding(n_words, units), torch.nn.LSTM(units, units)
    output = torch.nn.Linear(units, n_words)
    params = [*embedding.parameters(), *recurrent.parameters(), *output.parameters()]
    optimizer = torch.optim.SGD(params, 1.0)
    x, y = (torch.from_numpy(np.ascontiguousarray(array.T)).long() for array in batch.arrays)

    def ours():
        trainer._train(batch)
        return trainer._loss / trainer._items

    def theirs():
        optimizer.zero_grad()
        scores = output(recurrent(embedding(x))[0])
        loss = torch.nn.functional.cross_entropy(scores.reshape(-1, n_words), y.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 0.25)
        optimizer.step()
        return loss.item()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Nothing is learned of words at random.
        assert benchmark(ours) == pytest.approx(np.log(n_words), abs=0.5)
        assert theirs() == pytest.approx(np.log(n_words), abs=0.5)
        check("language model", ours, theirs, rounds=8)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "model", "skip_gram"), [("skip-gram", fs.SkipGram, 1), ("cbow", fs.CBOW, 0)], ids=["skip-gram", "cbow"]
)
@pytest.mark.usefixtures("one_thread")
def test_word2vec_against_gensim(benchmark, corpus, name, model, skip_gram):
    gensim = pytest.importorskip("gensim")
    ids, offsets = corpus
    sentences = [[f"w{word}" for word in ids[a:b]] for a, b in zip(offsets[:10_001], offsets[1:10_001])]
    text = fs.Corpus.from_sentences(sentences)
    options = {"window": 5, "negative": 5, "sample": 1e-4, "epochs": 1}
    peer = gensim.models.Word2Vec(vector_size=100, sg=skip_gram, min_count=1, workers=1, seed=0, **options)
    peer.build_vocab(sentences)

    def ours():
        return model(dim=100, random_state=0, compute_loss=False, **options).fit(text)

    def theirs():
        peer.train(sentences, total_examples=len(sentences), epochs=1)

    benchmark(ours)
    theirs()
    check(name, ours, theirs, rounds=3)


def test_two_threads_against_one(benchmark, weights):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if min(cores, numba.config.NUMBA_NUM_THREADS) < 2:
        pytest.skip("one core or one thread: nothing to compare")
    dense = np.random.default_rng(3).standard_normal((N_WORDS, 128), np.float32)

    def product(n):
        with fs.threads(n):
            return kernels.csr_matmul(*weights, dense)

    np.testing.assert_array_equal(benchmark(product, 2), product(1))
    try:
        check("two threads", lambda: product(2), lambda: product(1), rounds=10)
    except AssertionError:
        # Are there two cores to be had at all? Something that does not go through Numba tells.
        # 30 ms a piece: with 5 ms the threads' own start hid the second core.
        data = bytes(32_000_000)
        with ThreadPoolExecutor(2) as pool:
            free = _ratio(lambda: _hash_twice(data, pool), lambda: _hash_twice(data, None), rounds=5)
        if free < 1.7:
            pytest.skip(f"other processes keep the cores: two threads hash {free:.2f} times as fast as one")
        raise
