"""Projection, softmax and cross-entropy: numeric gradients, cutting into pieces, NaN, bad input."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq as fs
from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.kernels import softmax_cross_entropy
from fastseq.kernels._tiles import vector_exp, vector_load, vector_store
from fastseq.kernels.cpu import softmax as body

from ..gradcheck import check_gradients


def some(n_rows=5, units=4, n_words=70, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    h, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((n_rows, units), (units, n_words), n_words))
    return h, w, b, rng.integers(0, n_words, n_rows), rng.random(n_rows).astype(dtype)


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_those_of_differences(by_word, smoothing):
    h, w, b, labels, weights = some()
    weights[2] = 0
    w = np.ascontiguousarray(w.T) if by_word else w
    options = {"by_word": by_word, "label_smoothing": smoothing}
    _, dh, dw, db = softmax_cross_entropy(h, w, b, labels, weights, **options)

    def loss():
        return float(softmax_cross_entropy(h, w, b, labels, weights, **options, train=False)[0] @ weights)

    check_gradients(loss, {"h": h, "w": w, "b": b}, {"h": dh, "w": dw, "b": db})
    assert not dh[2].any()


@given(n_rows=st.integers(0, 300), units=st.integers(0, 30), n_words=st.integers(1, 150), by_word=st.booleans(),
       smoothing=st.sampled_from([0.0, 0.2]), threads=st.integers(1, 2))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_pieces_and_threads(n_rows, units, n_words, by_word, smoothing, threads):
    h, w, b, labels, weights = some(n_rows, units, n_words, np.float32)
    w = np.ascontiguousarray(w.T) if by_word else w
    options = {"by_word": by_word, "label_smoothing": smoothing}
    whole = softmax_cross_entropy(h, w, b, labels, weights, **options)
    pieces = []
    with pytest.MonkeyPatch.context() as patch, fs.threads(threads):
        # As few rows at a time as there can be.
        patch.setattr(body, "_LOGITS_BYTES", 1)
        made = body._Words.losses_and_grad
        patch.setattr(body._Words, "losses_and_grad", lambda *given: pieces.append(given[-1]) or made(*given))
        cut = softmax_cross_entropy(h, w, b, labels, weights, **options)
    assert pieces == [turn > 0 for turn in range(-(-n_rows // (4 * body.lanes(np.float32))))]
    for one, two in zip(whole, cut):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-7), (np.float64, 1e-15)])
def test_exponentials_of_all_that_may_be_asked(dtype, tolerance):
    lane = body.lanes(dtype)
    x = np.linspace(-87, 80, 1000 * lane).astype(dtype)
    out = np.empty_like(x)

    @numba.njit
    def fill(x, out):
        for at in range(0, len(x), lane):
            vector_store(vector_exp(vector_load(x, at)), out, at)

    fill(x, out)
    np.testing.assert_allclose(out, np.exp(x.astype(np.float64)), rtol=tolerance)


def slowly(h, w, b, labels, weights, smoothing=0.0):
    """The losses and the gradients, in float64."""
    h, w, b, weights = (np.asarray(array, np.float64) for array in (h, w, b, weights))
    rows = np.arange(len(h))
    logits = h @ w + b
    logits -= logits.max(axis=1, keepdims=True)
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    losses = np.where(weights > 0, -(1 - smoothing) * log[rows, labels] - smoothing * log.mean(axis=1), 0)
    gradient = np.exp(log) - smoothing / len(b)
    gradient[rows, labels] -= 1 - smoothing
    gradient *= weights[:, None]
    return losses, gradient @ w.T, h.T @ gradient, gradient.sum(axis=0)


# Chunks of 512 words in float32 and four parts, more rows than are taken at a time, and vectors that are cut.
SIZES = [(5, 0, 700), (3, 5, 520), (400, 7, 1000), (60, 20, 9000), (1600, 3, 2100), (1, 33, 9000)]


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("rise", [0.0, 15.0, 100.0, -100.0])
@pytest.mark.parametrize("sizes", SIZES)
def test_logits_that_rise_from_word_to_word(sizes, rise, by_word):
    h, w, b, labels, weights = some(*sizes, np.float32)
    # The largest of the first words is left behind again and again, or, falling, never met again.
    b += np.linspace(0, rise, len(b), dtype=np.float32)
    weights[::3] = 0
    lying = np.ascontiguousarray(w.T) if by_word else w
    losses, dh, dw, db = softmax_cross_entropy(h, lying, b, labels, weights, by_word=by_word, label_smoothing=0.1)
    for got, want in zip((losses, dh, dw.T if by_word else dw, db), slowly(h, w, b, labels, weights, 0.1)):
        # Logits of 100 have seven digits.
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max(initial=1))
    (alone,) = softmax_cross_entropy(h, lying, b, labels, weights, by_word=by_word, label_smoothing=0.1, train=False)
    np.testing.assert_array_equal(alone, losses)


@pytest.mark.parametrize("by_word", [False, True])
def test_a_label_far_below_the_others(by_word):
    # In parts of the words of their own: what makes up for the label's part must not become infinite.
    h, w, b, _, weights = some(40, 4, 9000, np.float32)
    b[:] = np.where(np.arange(9000) < 4500, 0, -200)
    labels = np.where(np.arange(40) % 2, 8999, 0)
    lying = np.ascontiguousarray(w.T) if by_word else w
    losses, dh, dw, db = softmax_cross_entropy(h, lying, b, labels, weights, by_word=by_word)
    for got, want in zip((losses, dh, dw.T if by_word else dw, db), slowly(h, w, b, labels, weights)):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max(initial=1))


def test_evaluation_keeps_no_logits():
    h, w, b, labels, weights = some(700, 8, 20_000, np.float32)
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        take = body.pool.take
        patch.setattr(body.pool, "take", lambda n, dtype: taken.append(n) or take(n, dtype))
        softmax_cross_entropy(h, w, b, labels, weights, train=False)
    # All of them would be 14 million.
    assert max(taken) < 2_000_000


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sizes", [(3000, 300, 70), (100, 40, 700), (100, 40, 9000)])
def test_threads_do_not_change_bits(by_word, smoothing, sizes):
    h, w, b, labels, weights = some(*sizes, np.float32)
    weights[::4] = 0
    w = np.ascontiguousarray(w.T) if by_word else w
    results = []
    for threads in (1, 2):
        with fs.threads(threads):
            results.append(
                softmax_cross_entropy(h, w, b, labels, weights, by_word=by_word, label_smoothing=smoothing)
            )
    for one, two in zip(*results):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_come_out_in_their_rows_only(dtype, bad):
    h, w, b, labels, weights = some(5, 4, 70, dtype)
    clean, clean_dh, *_ = softmax_cross_entropy(h, w, b, labels, weights)
    h[3, 1] = bad
    losses, dh, *_ = softmax_cross_entropy(h, w, b, labels, weights)
    others = [0, 1, 2, 4]
    np.testing.assert_array_equal(losses[others], clean[others])
    np.testing.assert_array_equal(dh[others], clean_dh[others])
    assert np.isnan(losses[3])
    assert np.isnan(dh[3]).any()


def test_a_bias_of_minus_infinity_is_a_word_that_cannot_be():
    h, w, b, _, weights = some(dtype=np.float32)
    b[:69] = -np.inf
    losses, dh, dw, db = softmax_cross_entropy(h, w, b, np.full(5, 69), weights)
    np.testing.assert_allclose(losses, 0, atol=1e-6)
    for part in (dh, dw, db):
        np.testing.assert_allclose(part, 0, atol=1e-6)
    assert np.isinf(softmax_cross_entropy(h, w, b, np.zeros(5, int), weights)[0]).all()


@pytest.mark.parametrize("by_word", [False, True])
def test_rows_of_no_weight_may_have_any_label_and_any_state(by_word):
    h, w, b, labels, weights = some()
    w = np.ascontiguousarray(w.T) if by_word else w
    weights[1] = 0
    clean = softmax_cross_entropy(h, w, b, labels, weights, by_word=by_word, label_smoothing=0.1)
    labels[1], h[1] = -100, np.nan
    for got, want in zip(softmax_cross_entropy(h, w, b, labels, weights, by_word=by_word, label_smoothing=0.1), clean):
        np.testing.assert_array_equal(got, want)
    assert clean[0][1] == 0
    assert not clean[1][1].any()


def test_many_words():
    # The sum of 200,000 equal exponentials in float32 must not lose digits.
    h, w = np.zeros((2, 3), np.float32), np.zeros((3, 200_000), np.float32)
    losses, *_ = softmax_cross_entropy(h, w, None, [0, 199_999])
    np.testing.assert_allclose(losses, np.log(200_000), rtol=1e-7)


class TestBadInput:
    def change(self, error, text, **changes):
        given = dict(zip(("h", "w", "b", "labels", "weights"), some()))
        options = {name: changes.pop(name) for name in ("by_word", "label_smoothing") if name in changes}
        given.update(changes)
        with pytest.raises(error, match=text):
            softmax_cross_entropy(**given, **options)

    def test_shapes(self):
        self.change(ShapeError, "h has shape", h=np.zeros(3))
        self.change(ShapeError, "w has shape .*expected .4, V", w=np.zeros((70, 4)))
        self.change(ShapeError, "w has shape .*expected .V, 4", by_word=True)
        self.change(ShapeError, "at least one word", w=np.zeros((4, 0)))
        self.change(ShapeError, "b has shape", b=np.zeros(4))
        self.change(ShapeError, "labels has shape", labels=[1, 2])
        self.change(ShapeError, "weights has shape", weights=np.ones(4))

    def test_values_and_dtypes(self):
        self.change(ValueRangeError, "labels holds 70", labels=[1, 2, 3, 4, 70])
        self.change(ValueRangeError, "labels holds -1", labels=[1, 2, 3, -1, 0])
        self.change(DTypeError, "labels has dtype", labels=np.ones(5))
        self.change(ValueRangeError, "weights holds a negative", weights=-np.ones(5))
        self.change(ValueRangeError, "weights", weights=np.full(5, np.nan))
        self.change(ValueRangeError, "label_smoothing is 2", label_smoothing=2.0)
        self.change(DTypeError, "w is float32 and h float64", w=np.zeros((4, 70), np.float32))
