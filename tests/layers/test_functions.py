"""Dropout, and small layers without parameters: values, gradients, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.layers import (
    Dropout,
    Embedding,
    MatMul,
    ReLU,
    Repeat,
    Sigmoid,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Sum,
    Tanh,
)
from tests.gradcheck import check_gradients, check_layer, numeric_gradient


class TestDropout:
    def test_shares_and_scale(self):
        y, _ = Dropout(0.3, random_state=0).forward(np.ones((100, 200)))
        assert y.dtype == np.float32
        assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
        # Five deviations of 20,000 draws.
        assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / y.size)

    @pytest.mark.parametrize(("axes", "same"), [((1,), [1]), ((-1,), [2]), ((0, 1), [0, 1])])
    def test_axes_that_share_a_mask(self, axes, same):
        y, _ = Dropout(0.5, shared_axes=axes, random_state=0).forward(np.ones((20, 20, 20)))
        for axis in range(3):
            equal = bool((y == np.take(y, [0], axis=axis)).all())
            assert equal == (axis in same)

    def test_passes_differ_and_seeds_agree(self):
        x = np.ones((5, 50))
        one, two = Dropout(0.5, random_state=3), Dropout(0.5, random_state=3)
        first = one.forward(x)[0]
        np.testing.assert_array_equal(two.forward(x)[0], first)
        assert (one.forward(x)[0] != first).any()
        np.testing.assert_array_equal(one.forward(x, train=False)[0], x)

    @pytest.mark.parametrize("train", [True, False])
    def test_gradient(self, rng, train):
        layer = Dropout(0.4, shared_axes=(1,), dtype="float64", random_state=0)
        x, by = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4))
        _, cache = layer.forward(x, train=train)

        def loss():
            layer._passes = 0
            return float((layer.forward(x, train=train)[0] * by).sum())

        check_gradients(loss, {"x": x}, {"x": layer.backward(by, cache)})

    def test_bad_arguments(self):
        with pytest.raises(ValueRangeError, match="rate is 1, expected less"):
            Dropout(1.0)
        with pytest.raises(ValueRangeError, match=r"rate is -0\.1"):
            Dropout(-0.1)
        with pytest.raises(ShapeError, match="expected an axis 2"):
            Dropout(0.5, shared_axes=(2,)).forward(np.ones((2, 3)))
        with pytest.raises(DTypeError, match="x has dtype"):
            Dropout(0.5).forward(["a"])
        layer = Dropout(0.5)
        with pytest.raises(ShapeError, match="dy has shape"):
            layer.backward(np.ones(3), layer.forward(np.ones(4))[1])


class TestEmbeddingDropout:
    def test_a_word_is_dropped_everywhere(self):
        layer = Embedding(200, 3, scale=1.0, dropout=0.5, random_state=0)
        ids = np.tile(np.arange(200), (4, 1))
        y, _ = layer.forward(ids)
        gone = ~y.any(axis=2)
        assert (gone == gone[0]).all()
        assert 60 < gone[0].sum() < 140
        np.testing.assert_allclose(y[0][~gone[0]], 2 * layer.params["weight"].value[~gone[0]])
        assert (gone[0] != ~layer.forward(ids[0])[0].any(axis=1)).any(), "each pass drops others"
        np.testing.assert_array_equal(layer.forward(ids, train=False)[0], layer.params["weight"].value[ids])

    def test_gradient(self, rng):
        layer = Embedding(6, 2, scale=1.0, dropout=0.5, dtype="float64", random_state=0)
        ids, by = rng.integers(0, 6, (3, 4)), rng.standard_normal((3, 4, 2))
        _, cache = layer.forward(ids)
        layer.backward(by, cache)

        def loss():
            layer._passes = 0
            return float((layer.forward(ids)[0] * by).sum())

        weight = layer.params["weight"]
        check_gradients(loss, {"weight": weight.value}, {"weight": weight.grad.to_dense(6)})


class TestFunctions:
    @pytest.mark.parametrize("kind", [Sigmoid, Tanh, ReLU])
    @given(shape=st.lists(st.integers(0, 4), max_size=3).map(tuple), seed=st.integers(0, 9))
    def test_gradients(self, kind, shape, seed):
        rng = np.random.default_rng(seed)
        check_layer(kind(dtype="float64"), rng.standard_normal(shape), rng)

    def test_values(self):
        x = np.array([-1000.0, -1.0, 0.0, 2.0, 1000.0, np.nan])
        want = [0.0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1.0, np.nan]
        np.testing.assert_allclose(Sigmoid(dtype="float64").forward(x)[0], want)
        np.testing.assert_allclose(Tanh(dtype="float64").forward(x)[0], np.tanh(x))
        np.testing.assert_array_equal(ReLU(dtype="float64").forward(x)[0], [0, 0, 0, 2, 1000, np.nan])

    @pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
    def test_products(self, rng, lead):
        layer = MatMul(dtype="float64")
        a, b = rng.standard_normal((*lead, 2, 4)), rng.standard_normal((*lead, 4, 3))
        y, cache = layer.forward(a, b)
        by = rng.standard_normal(y.shape)
        da, db = layer.backward(by, cache)
        check_gradients(lambda: float((layer.forward(a, b)[0] * by).sum()), {"a": a, "b": b}, {"a": da, "b": db})

    @pytest.mark.parametrize("axis", [0, 1, -1, -2])
    def test_repeat_and_sum(self, rng, axis):
        x = rng.standard_normal((2, 3))
        y, _ = Repeat(4, axis, dtype="float64").forward(x)
        assert y.shape[axis] == 4
        np.testing.assert_allclose(Sum(axis, dtype="float64").forward(y)[0], 4 * x)
        check_layer(Repeat(4, axis, dtype="float64"), x, rng)
        check_layer(Sum(axis, dtype="float64"), rng.standard_normal((2, 3, 4)), rng)

    def test_sigmoid_cross_entropy(self, rng):
        layer = SigmoidCrossEntropy(dtype="float64")
        x, labels = rng.standard_normal((3, 4)), rng.random((3, 4))
        loss, cache = layer.forward(x, labels)
        p = 1 / (1 + np.exp(-x))
        assert loss == pytest.approx(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())
        want = numeric_gradient(lambda: 2 * layer.forward(x, labels)[0], x)
        np.testing.assert_allclose(layer.backward(2.0, cache), want, atol=1e-9)
        # Two words are a softmax of their difference.
        both = np.stack((np.zeros(3), x[:, 0]), axis=1)
        softmax, _ = SoftmaxCrossEntropy(dtype="float64").forward(both, [1, 0, 1])
        assert layer.forward(x[:, 0], [1, 0, 1])[0] == pytest.approx(softmax)
        assert layer.forward([1e4, -1e4], [1, 0])[0] == 0
        assert layer.forward([1e4], [0])[0] == 1e4
        assert layer.forward([], [])[0] == 0

    def test_bad_arguments(self):
        with pytest.raises(DTypeError, match="x has dtype"):
            Sigmoid().forward(["a"])
        with pytest.raises(ShapeError, match=r"a has shape .* and b"):
            MatMul().forward(np.ones((2, 3)), np.ones((2, 3)))
        with pytest.raises(ShapeError, match="for the new one"):
            Repeat(2, 3).forward(np.ones(2))
        with pytest.raises(ValueRangeError, match="n is 0"):
            Repeat(0)
        with pytest.raises(ShapeError, match="expected an axis 1"):
            Sum(1).forward(np.ones(2))
        with pytest.raises(ShapeError, match="labels has shape"):
            SigmoidCrossEntropy().forward([1.0], [1, 0])
        with pytest.raises(ValueRangeError, match="outside of 0 to 1"):
            SigmoidCrossEntropy().forward([1.0], [2])
