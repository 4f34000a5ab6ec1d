"""CBOW and skip-gram with a full softmax: the book's equations step by step, gradients, windows, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastseq as fs
from fastseq import errors
from fastseq.models.softmax_word2vec import (
    MODES,
    SoftmaxWord2Vec,
    contexts_targets,
    train_softmax_word2vec,
)
from tests.gradcheck import check_gradients, dense

# "You say goodbye and I say hello." numbered by first appearance: you say goodbye and i hello .
BOOK_IDS = np.array([0, 1, 2, 3, 4, 1, 5, 6], np.int32)
BOOK_OFFSETS = np.array([0, 8], np.int64)


# No model can come lower: "goodbye" and "i" stand between the same two words, so CBOW can only guess which of the two
# it is; the neighbours of a word are two equally likely ones, and those of "say" four.
FLOOR = {"cbow": 2 * math.log(2) / 6, "skipgram": (2 * 2 * math.log(4) + 4 * 2 * math.log(2)) / 6}


class BookAdam:
    """Adam as the book has it: epsilon of 1e-7 beside the root of the average that is not corrected."""

    def __init__(self):
        self.t, self.m, self.v = 0, None, None

    def update(self, params, grads):
        if self.m is None:
            self.m, self.v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
        self.t += 1
        rate = 0.001 * np.sqrt(1.0 - 0.999**self.t) / (1.0 - 0.9**self.t)
        for p, g, m, v in zip(params, grads, self.m, self.v):
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.999) * (g**2 - v)
            p -= rate * m / (np.sqrt(v) + 1e-7)


def softmax(scores):
    exps = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def book_step(mode, w_in, w_out, contexts, targets, floor=0.0):
    """Loss and gradients with one-hot rows and plain matrix products; ``floor`` is the book's 1e-7 in the logarithm."""
    eye = np.eye(len(w_in))
    n = len(targets)
    if mode == "cbow":
        x = [eye[contexts[:, i]] for i in range(contexts.shape[1])]
        h = sum(each @ w_in for each in x) / len(x)
        y, t = softmax(h @ w_out), eye[targets]
        loss = -np.log((y * t).sum(axis=1) + floor).sum() / n
        ds = (y - t) / n
        dh = ds @ w_out.T / len(x)
        return loss, [sum(each.T @ dh for each in x), h.T @ ds]
    x = eye[targets]
    h = x @ w_in
    y = softmax(h @ w_out)
    loss, ds = 0.0, np.zeros_like(y)
    for i in range(contexts.shape[1]):
        t = eye[contexts[:, i]]
        loss += -np.log((y * t).sum(axis=1) + floor).sum() / n
        ds += (y - t) / n
    return loss, [x.T @ (ds @ w_out.T), h.T @ ds]


def book_start(seed):
    """The book's first weights: float32, input first."""
    random = np.random.RandomState(seed)
    return 0.01 * random.randn(7, 5).astype("f"), 0.01 * random.randn(5, 7).astype("f"), random


def book_adam():
    return fs.Adam(0.001, epsilon=1e-7, epsilon_hat=True)


@pytest.fixture
def book():
    return contexts_targets(BOOK_IDS, BOOK_OFFSETS, window=1)


class TestBook:
    """Chapter 3 of Deep Learning from Scratch 2: window 1, hidden 5, batch 3, 1000 epochs, Adam."""

    def test_contexts_and_targets(self, book):
        contexts, targets = book
        assert targets.tolist() == [1, 2, 3, 4, 1, 5]
        assert contexts.tolist() == [[0, 2], [1, 3], [2, 4], [3, 1], [4, 5], [1, 6]]
        assert contexts.dtype == targets.dtype == np.int32

    @pytest.mark.parametrize("mode", MODES)
    def test_every_step_of_the_whole_training(self, book, mode):
        contexts, targets = book
        w_in, w_out, random = book_start(0)
        model = SoftmaxWord2Vec(7, 5, mode, start=(w_in, w_out), dtype="float64")
        ours, theirs, plain = book_adam(), BookAdam(), [w_in.astype(float), w_out.astype(float)]
        values = [model.params["input.weight"].value, model.params["output.weight"].value]
        losses = []
        for _ in range(1000):
            # The book shuffles what it shuffled before.
            order = random.permutation(6)
            contexts, targets = contexts[order], targets[order]
            for batch in (slice(0, 3), slice(3, 6)):
                want, grads = book_step(mode, *plain, contexts[batch], targets[batch])
                fs.layers.zero_grad(model.params)
                loss = model.loss_and_grad(contexts[batch], targets[batch])
                assert loss == pytest.approx(want, rel=1e-6)
                with_floor, _ = book_step(mode, *plain, contexts[batch], targets[batch], floor=1e-7)
                assert loss == pytest.approx(with_floor, rel=1e-5)
                theirs.update(plain, grads)
                ours.step(model.params)
                for value, other in zip(values, plain):
                    np.testing.assert_allclose(value, other, rtol=1e-6, atol=1e-9)
                losses.append(loss)
        assert np.mean(losses[:40]) == pytest.approx(math.log(7) * (1 if mode == "cbow" else 2), rel=1e-2)
        assert FLOOR[mode] < np.mean(losses[-40:]) < (0.5 if mode == "cbow" else 2.1)

    @pytest.mark.parametrize("mode", MODES)
    def test_float32_follows(self, book, mode):
        w_in, w_out, _ = book_start(2)
        plain, theirs, want = [w_in.astype(float), w_out.astype(float)], BookAdam(), []
        order = np.random.RandomState(3)
        orders = [order.permutation(6) for _ in range(100)]
        for rows in orders:
            total = 0.0
            for batch in (rows[:3], rows[3:]):
                loss, grads = book_step(mode, *plain, book[0][batch], book[1][batch])
                theirs.update(plain, grads)
                total += 3 * loss
            want.append(total / 6)
        model = SoftmaxWord2Vec(7, 5, mode, start=(w_in, w_out))
        losses = list(
            model.train(*book, epochs=100, batch_size=3, optimizer=book_adam(), order=lambda epoch: orders[epoch])
        )
        np.testing.assert_allclose(losses, want, rtol=1e-5)
        np.testing.assert_allclose(model.params["input.weight"].value, plain[0], rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("optimizer", [None, fs.SGD(0.5), fs.SGD(0.1, momentum=0.9), fs.AdaGrad(0.1)])
    def test_it_learns(self, book, optimizer):
        w_in, w_out, losses = train_softmax_word2vec(*book, 7, 5, optimizer=optimizer)
        assert (w_in.shape, w_out.shape, len(losses)) == ((7, 5), (5, 7), 1000)
        assert w_in.dtype == w_out.dtype == np.float32
        assert losses[0] == pytest.approx(math.log(7), abs=0.02)
        assert losses[-1] < 0.8

    def test_what_was_learned(self, book):
        model = SoftmaxWord2Vec(7, 5, random_state=0)
        losses = list(model.train(*book, epochs=1500, batch_size=3, optimizer=fs.Adam(0.01)))
        assert losses[-1] == pytest.approx(FLOOR["cbow"], rel=0.02)
        # "you _ goodbye" is "say"; "and _ say" is "goodbye" or "i". Rows with room for two more words mean the same.
        chances = model.probabilities([[0, 2, -1, -1], [3, 1, -1, -1]])
        np.testing.assert_allclose(chances[0, 1], 1, atol=0.02)
        np.testing.assert_allclose(chances[1, [2, 4]], 0.5, atol=0.05)
        np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
        pairs = SoftmaxWord2Vec(7, 5, "skipgram", random_state=0)
        losses = list(pairs.train(*book, epochs=1500, batch_size=3, optimizer=fs.Adam(0.01)))
        assert losses[-1] == pytest.approx(FLOOR["skipgram"], rel=0.02)
        chances = pairs.probabilities([2, 1])
        np.testing.assert_allclose(chances[0, [1, 3]], 0.5, atol=0.02)
        np.testing.assert_allclose(chances[1, [0, 2, 4, 5]], 0.25, atol=0.02)


class TestEngine:
    @given(
        mode=st.sampled_from(MODES), average=st.booleans(), n=st.integers(1, 4), width=st.integers(1, 4),
        seed=st.integers(0, 999),
    )  # fmt: skip
    def test_gradients(self, mode, average, n, width, seed):
        rng = np.random.default_rng(seed)
        start = rng.standard_normal((5, 3)), rng.standard_normal((3, 5))
        model = SoftmaxWord2Vec(5, 3, mode, average=average, dtype="float64", start=start)
        contexts = rng.integers(-1, 5, (n, width))
        contexts[:, rng.integers(width)] = rng.integers(0, 5, n)
        targets = rng.integers(0, 5, n)

        def loss():
            return model.loss_and_grad(contexts, targets)

        loss()
        gradients = {name: dense(param).copy() for name, param in model.params.items()}
        check_gradients(loss, {name: param.value for name, param in model.params.items()}, gradients)

    def test_partial_windows_by_hand(self, rng):
        w_in, w_out = rng.standard_normal((4, 3)), rng.standard_normal((3, 4))
        contexts, targets = np.array([[-1, 1], [0, 2]]), np.array([0, 1])

        def chance(hidden, word):
            return softmax((hidden @ w_out)[None])[0, word]

        cbow = SoftmaxWord2Vec(4, 3, start=(w_in, w_out), dtype="float64")
        want = -(math.log(chance(w_in[1], 0)) + math.log(chance((w_in[0] + w_in[2]) / 2, 1))) / 2
        assert cbow.loss_and_grad(contexts, targets) == pytest.approx(want, rel=1e-12)
        sums = SoftmaxWord2Vec(4, 3, average=False, start=(w_in, w_out), dtype="float64")
        want = -(math.log(chance(w_in[1], 0)) + math.log(chance(w_in[0] + w_in[2], 1))) / 2
        assert sums.loss_and_grad(contexts, targets) == pytest.approx(want, rel=1e-12)
        pairs = SoftmaxWord2Vec(4, 3, "skipgram", start=(w_in, w_out), dtype="float64")
        want = -sum(math.log(chance(w_in[t], c)) for t, c in ((0, 1), (1, 0), (1, 2))) / 2
        assert pairs.loss_and_grad(contexts, targets) == pytest.approx(want, rel=1e-12)

    def test_reproducible_whatever_the_threads(self, book):
        runs = []
        for n_threads in (1, 2):
            with fs.threads(n_threads):
                runs.append(train_softmax_word2vec(*book, 7, 5, epochs=20, random_state=5))
        np.testing.assert_array_equal(runs[0][0], runs[1][0])
        assert runs[0][2] == runs[1][2]
        other = train_softmax_word2vec(*book, 7, 5, epochs=20, random_state=6)
        assert other[2] != runs[0][2]
        given_generator = train_softmax_word2vec(*book, 7, 5, epochs=2, random_state=np.random.default_rng(0))
        assert len(given_generator[2]) == 2

    def test_the_optimizer_starts_afresh(self, book):
        optimizer = fs.Adam()
        first = train_softmax_word2vec(*book, 7, 5, epochs=5, optimizer=optimizer)
        assert train_softmax_word2vec(*book, 7, 5, epochs=5, optimizer=optimizer)[2] == first[2]

    def test_going_on_equals_never_having_stopped(self, book):
        whole = SoftmaxWord2Vec(7, 5, random_state=1)
        losses = list(whole.train(*book, epochs=6, batch_size=4, optimizer=fs.Adam()))
        stopped, optimizer = SoftmaxWord2Vec(7, 5, random_state=1), fs.Adam()
        part = list(stopped.train(*book, epochs=2, batch_size=4, optimizer=optimizer))
        other, later = SoftmaxWord2Vec(7, 5, random_state=1), fs.Adam()
        fs.layers.set_weights(other.params, fs.layers.get_weights(stopped.params))
        later.load_state_dict(optimizer.state_dict())
        part += other.train(*book, epochs=4, batch_size=4, optimizer=later, first_epoch=2)
        assert part == losses
        np.testing.assert_array_equal(other.params["input.weight"].value, whole.params["input.weight"].value)

    def test_a_broken_off_run_keeps_what_it_learned(self, book):
        model = SoftmaxWord2Vec(7, 5, random_state=0)
        before = model.params["input.weight"].value.copy()
        for epoch, _ in enumerate(model.train(*book, epochs=1000)):
            if epoch == 3:
                break
        assert not np.array_equal(model.params["input.weight"].value, before)

    def test_start_is_copied(self, book):
        start = np.ones((7, 5)), np.zeros((5, 7))
        train_softmax_word2vec(*book, 7, 5, start=start, epochs=3)
        assert (start[0] == 1).all()
        assert (start[1] == 0).all()

    def test_no_epochs(self, book):
        assert train_softmax_word2vec(*book, 7, 5, epochs=0)[2] == []

    def test_the_loss_is_a_mean_over_examples(self, book):
        model = SoftmaxWord2Vec(7, 5, random_state=0)
        model.params["input.weight"].value[:] *= 100
        whole = model.loss_and_grad(*book)
        # Batches of 4 and 2; nothing moves.
        assert list(model.train(*book, batch_size=4, optimizer=fs.SGD(0.0))) == [pytest.approx(whole, rel=1e-6)]

    def test_the_order_depends_on_the_random_state(self, rng):
        examples = rng.integers(0, 20, (50, 2)), rng.integers(0, 20, 50)
        start = rng.standard_normal((20, 3)), rng.standard_normal((3, 20))
        one, other = (
            list(SoftmaxWord2Vec(20, 3, start=start, random_state=seed).train(*examples, optimizer=fs.SGD(0.1)))
            for seed in (0, 1)
        )
        assert one != other

    def test_every_example_is_seen_once_an_epoch(self, rng):
        contexts, targets = rng.integers(0, 50, (101, 2)), rng.integers(0, 50, 101)
        seen = []

        class Watching(SoftmaxWord2Vec):
            def _loss_and_grad(self, contexts, targets):
                seen.append(contexts)
                return super()._loss_and_grad(contexts, targets)

        list(Watching(50, 2, random_state=0).train(contexts, targets, epochs=2, batch_size=10))
        assert [len(batch) for batch in seen] == [*[10] * 10, 1] * 2
        first, second = np.concatenate(seen[:11]), np.concatenate(seen[11:])
        assert not np.array_equal(first, second)
        for epoch in (first, second):
            np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(contexts, axis=0))


def naive_windows(sentences, window, partial):
    listed = []
    for sentence in sentences:
        for i, target in enumerate(sentence):
            around = [
                sentence[j] if 0 <= j < len(sentence) else -1 for j in range(i - window, i + window + 1) if j != i
            ]
            if (partial or -1 not in around) and set(around) != {-1}:
                listed.append((around, target))
    return listed


class TestWindows:
    @given(
        lengths=st.lists(st.integers(0, 9), max_size=5), window=st.integers(1, 5), partial=st.booleans(),
        seed=st.integers(0, 99),
    )  # fmt: skip
    def test_as_written_out(self, lengths, window, partial, seed):
        rng = np.random.default_rng(seed)
        sentences = [rng.integers(0, 30, length).tolist() for length in lengths]
        ids = np.array([word for sentence in sentences for word in sentence], np.int32)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        contexts, targets = contexts_targets(ids, offsets, window, partial=partial)
        if partial:
            window = min(window, max(max(lengths, default=0) - 1, 1))
        want = naive_windows(sentences, window, partial)
        assert contexts.shape == (len(want), 2 * window)
        assert contexts.tolist() == [around for around, _ in want]
        assert targets.tolist() == [target for _, target in want]

    def test_a_window_longer_than_every_sentence(self):
        contexts, targets = contexts_targets([0, 1, 2], [0, 3], window=2**40)
        assert len(contexts) == len(targets) == 0
        contexts, targets = contexts_targets([0, 1, 2], [0, 3], window=2**40, partial=True)
        assert contexts.tolist() == [[-1, -1, 1, 2], [-1, 0, 2, -1], [0, 1, -1, -1]]

    def test_one_word_alone(self):
        assert len(contexts_targets([0, 1], [0, 1, 2], partial=True)[1]) == 0
        assert len(contexts_targets([], [0])[1]) == 0

    @pytest.mark.parametrize(("arguments", "error", "message"), [
        (([0.5], [0, 1]), errors.DTypeError, "ids"), (([-1], [0, 1]), errors.ValueRangeError, "ids holds -1"),
        (([0, 1], [0, 1]), errors.ValueRangeError, "offsets"),
        (([0], [0, 1], 0), errors.ValueRangeError, "window is 0"), (([0], [0, 1], 1.5), errors.DTypeError, "window"),
    ])  # fmt: skip
    def test_bad_input(self, arguments, error, message):
        with pytest.raises(error, match=message):
            contexts_targets(*arguments)


class TestBadInput:
    @pytest.mark.parametrize(("contexts", "targets", "error", "message"), [
        ([[0, 7]], [1], errors.ValueRangeError, "contexts holds 7, expected -1 to 6"),
        ([[0, -2]], [1], errors.ValueRangeError, "contexts holds -2"),
        ([[0, 1]], [-1], errors.ValueRangeError, "targets holds -1"),
        ([[0, 1], [-1, -1]], [1, 1], errors.ValueRangeError, "row of -1 only"),
        ([[0, 1]], [1, 2], errors.ShapeError, "contexts has 1 rows and targets 2"),
        ([0, 1], [1, 2], errors.ShapeError, "contexts has shape"),
        ([[0.0, 1.0]], [1], errors.DTypeError, "contexts has dtype"),
        (np.zeros((0, 2), int), np.zeros(0, int), errors.ValueRangeError, "no examples .* partial=True"),
    ])  # fmt: skip
    def test_examples(self, contexts, targets, error, message):
        with pytest.raises(error, match=message):
            train_softmax_word2vec(contexts, targets, 7, 5)

    def test_nothing_is_read_before_it_is_checked(self, book):
        # Raised by the call, not when the first loss is asked for.
        with pytest.raises(errors.ValueRangeError, match="batch_size is 0"):
            SoftmaxWord2Vec(7, 5).train(*book, batch_size=0)
        with pytest.raises(errors.DTypeError, match="optimizer is 'adam', expected an Optimizer"):
            SoftmaxWord2Vec(7, 5).train(*book, optimizer="adam")
        with pytest.raises(errors.ValueRangeError, match="epochs is -1"):
            SoftmaxWord2Vec(7, 5).train(*book, epochs=-1)

    @pytest.mark.parametrize("order", [[0, 0, 1, 2, 3, 4], [0, 1], [0, 1, 2, 3, 4, 6]])
    def test_no_permutation(self, book, order):
        with pytest.raises(errors.ValueRangeError, match="order"):
            list(SoftmaxWord2Vec(7, 5).train(*book, order=lambda epoch: order))

    def test_a_loss_that_runs_away(self, book):
        with np.errstate(all="ignore"), pytest.raises(errors.ValueRangeError, match=r"loss became .* learning rate"):
            train_softmax_word2vec(*book, 7, 5, optimizer=fs.SGD(1e30))

    @pytest.mark.parametrize(("options", "error"), [
        ({"mode": "glove"}, errors.ValueRangeError), ({"n_words": 0}, errors.ValueRangeError),
        ({"dim": 0}, errors.ValueRangeError), ({"dtype": "int32"}, errors.DTypeError),
        ({"random_state": -1}, errors.ValueRangeError),
    ])  # fmt: skip
    def test_arguments(self, options, error):
        with pytest.raises(error, match=next(iter(options))):
            SoftmaxWord2Vec(**{"n_words": 7, "dim": 5, **options})

    def test_start_of_another_shape(self):
        with pytest.raises(errors.ShapeError, match=r"weight has shape \(7, 5\), expected \(5, 7\)"):
            SoftmaxWord2Vec(7, 5, start=(np.zeros((7, 5)), np.zeros((7, 5))))

    def test_inputs_of_the_wrong_kind(self):
        with pytest.raises(errors.ShapeError, match="contexts has shape"):
            SoftmaxWord2Vec(7, 5).probabilities([1, 2])
        with pytest.raises(errors.ShapeError, match="inputs has shape"):
            SoftmaxWord2Vec(7, 5, "skipgram").probabilities([[1, 2]])

    def test_sizes_of_one(self):
        _, _, losses = train_softmax_word2vec([[0, 0]], [0], 1, 1, epochs=2)
        assert losses == [0.0, 0.0]
        assert SoftmaxWord2Vec(1, 1).probabilities(np.zeros((0, 2), int)).shape == (0, 1)
