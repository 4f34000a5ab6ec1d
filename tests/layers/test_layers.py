"""Embedding, Linear and the softmax with cross-entropy: values, gradients, tying, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq import errors
from fastseq.layers import (
    Embedding,
    Linear,
    LinearCrossEntropy,
    Param,
    RowSparseGrad,
    SoftmaxCrossEntropy,
    join_params,
)
from tests.gradcheck import check_gradients, check_layer, dense, numeric_gradient

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


class TestGradcheck:
    """The check itself must see a wrong gradient."""

    @pytest.mark.parametrize("fault", ["weight", "bias", "input"])
    def test_a_planted_fault_is_seen(self, rng, fault):
        class Wrong(Linear):
            def backward(self, dy, cache):
                dx = super().backward(dy, cache)
                if fault == "input":
                    return dx * 1.00001
                grad = self.params[fault].grad
                grad.flat[0] *= 1.00001
                return dx

        with pytest.raises(AssertionError, match=f"gradient by .*{fault}"):
            check_layer(Wrong(3, 2, dtype="float64", random_state=0), rng.standard_normal((4, 3)), rng)

    def test_numeric_gradient(self):
        x = np.array([1.0, 2.0])
        np.testing.assert_allclose(numeric_gradient(lambda: x[0] ** 3 * x[1], x), [6.0, 1.0], rtol=1e-9)
        np.testing.assert_array_equal(x, [1.0, 2.0])


class TestEmbedding:
    @given(shape=SHAPES, n_words=st.integers(1, 5), dim=st.integers(1, 4), seed=st.integers(0, 99))
    def test_rows_and_gradients(self, shape, n_words, dim, seed):
        rng = np.random.default_rng(seed)
        layer = Embedding(n_words, dim, dtype="float64", random_state=seed)
        ids = rng.integers(0, n_words, shape)
        y, cache = layer.forward(ids)
        assert y.shape == (*shape, dim)
        np.testing.assert_array_equal(y, layer.params["weight"].value[ids])
        assert layer.backward(y, cache) is None
        check_layer(layer, ids, rng)
        assert isinstance(layer.params["weight"].grad, RowSparseGrad)

    def test_two_uses_in_one_pass_add_up(self, rng):
        layer = Embedding(5, 2, dtype="float64", random_state=0)
        one, two = np.array([1, 4]), np.array([4, 0])
        weights = rng.standard_normal((2, 2))

        def loss():
            return float((layer.forward(one)[0] * layer.forward(two)[0] * weights).sum())

        (y1, cache1), (y2, cache2) = layer.forward(one), layer.forward(two)
        layer.backward(weights * y2, cache1)
        layer.backward(weights * y1, cache2)
        param = layer.params["weight"]
        assert param.grad.coalesce().rows.tolist() == [0, 1, 4]
        check_gradients(loss, {"weight": param.value}, {"weight": dense(param)})

    def test_the_gradient_does_not_see_later_changes(self):
        layer = Embedding(5, 2, random_state=0)
        ids, dy = np.array([1, 2], np.int32), np.ones((2, 2), np.float32)
        _, cache = layer.forward(ids)
        layer.backward(dy, cache)
        ids[:] = 0
        dy[:] = 9
        np.testing.assert_array_equal(layer.params["weight"].grad.to_dense(5)[:, 0], [0, 1, 1, 0, 0])

    def test_start(self):
        layer = Embedding(500, 100, random_state=3)
        value = layer.params["weight"].value
        assert value.dtype == np.float32
        assert abs(value.std() - 0.01) < 2e-4
        assert abs(value.mean()) < 2e-4
        np.testing.assert_array_equal(value, Embedding(500, 100, random_state=3).params["weight"].value)
        assert not np.array_equal(value, Embedding(500, 100, random_state=4).params["weight"].value)
        table = np.arange(6.0).reshape(3, 2)
        given_table = Embedding(3, 2, weight=table)
        given_table.params["weight"].value[:] = 0
        assert table[2, 1] == 5

    @pytest.mark.parametrize(("ids", "error", "message"), [
        ([0, 3], errors.ValueRangeError, "ids holds 3, expected 0 to 2"), ([-1], errors.ValueRangeError, "holds -1"),
        ([0.0], errors.DTypeError, "ids has dtype float64"), ([[1], [1, 2]], errors.ShapeError, "ragged"),
        (["a"], errors.DTypeError, "ids has dtype"),
    ])  # fmt: skip
    def test_bad_ids(self, ids, error, message):
        with pytest.raises(error, match=message):
            Embedding(3, 2, random_state=0).forward(ids)

    def test_bad_gradient(self):
        layer = Embedding(3, 2, random_state=0)
        _, cache = layer.forward([0, 1])
        with pytest.raises(errors.ShapeError, match=r"dy has shape \(2, 3\), expected that of the output, \(2, 2\)"):
            layer.backward(np.zeros((2, 3)), cache)

    @pytest.mark.parametrize(("options", "error"), [
        ({"n_words": 0}, errors.ValueRangeError), ({"dim": 0}, errors.ValueRangeError),
        ({"dim": 2.0}, errors.DTypeError), ({"dtype": "float16"}, errors.DTypeError),
        ({"scale": math.nan}, errors.ValueRangeError),
        ({"weight": np.zeros((2, 3))}, errors.ShapeError), ({"weight": [["a"] * 2] * 3}, errors.DTypeError),
        ({"weight": Param(np.zeros((2, 3)))}, errors.ShapeError), ({"random_state": "x"}, errors.DTypeError),
    ])  # fmt: skip
    def test_bad_arguments(self, options, error):
        with pytest.raises(error, match=next(iter(options))):
            Embedding(**{"n_words": 3, "dim": 2, **options})


class TestLinear:
    @given(
        shape=SHAPES, width=st.integers(1, 4), out=st.integers(1, 4), bias=st.booleans(), transposed=st.booleans(),
        seed=st.integers(0, 99),
    )  # fmt: skip
    def test_values_and_gradients(self, shape, width, out, bias, transposed, seed):
        rng = np.random.default_rng(seed)
        layer = Linear(width, out, bias=bias, transposed=transposed, dtype="float64", random_state=seed)
        x = rng.standard_normal((*shape, width))
        weight = layer.params["weight"].value
        assert weight.shape == ((out, width) if transposed else (width, out))
        want = np.einsum("...i,oi->...o" if transposed else "...i,io->...o", x, weight)
        if bias:
            want = want + layer.params["bias"].value
        np.testing.assert_allclose(layer.forward(x)[0], want, rtol=1e-12, atol=1e-14)
        check_layer(layer, x, rng)
        check_layer(layer, x, rng, train=False)

    def test_float32(self, rng):
        layer = Linear(30, 20, random_state=0)
        x = rng.standard_normal((5, 30))
        y, cache = layer.forward(x)
        dx = layer.backward(y, cache)
        assert {array.dtype for array in (y, dx, layer.params["weight"].grad, layer.params["bias"].grad)} == {
            np.dtype(np.float32)
        }

    def test_any_layout(self, rng):
        layer = Linear(3, 2, dtype="float64", random_state=0)
        x = rng.standard_normal((3, 5)).T
        plain = layer.forward(np.ascontiguousarray(x))
        odd = layer.forward(x)
        np.testing.assert_allclose(odd[0], plain[0], rtol=1e-14)
        dy = rng.standard_normal((2, 5)).T
        dy.flags.writeable = False
        np.testing.assert_allclose(layer.backward(dy, odd[1]), layer.backward(dy.copy(), plain[1]), rtol=1e-14)

    def test_a_pass_leaves_its_input_and_cache_alone(self, rng):
        layer = Linear(3, 2, dtype="float64", random_state=0)
        x = rng.standard_normal((4, 3))
        kept = x.copy()
        y, cache = layer.forward(x)
        dy = np.ones_like(y)
        once = layer.backward(dy, cache)
        twice = layer.backward(dy, cache)
        np.testing.assert_array_equal(once, twice)
        np.testing.assert_array_equal(x, kept)
        np.testing.assert_array_equal(dy, 1)
        np.testing.assert_allclose(layer.params["weight"].grad, 2 * kept.T @ dy, rtol=1e-14)

    def test_nan_comes_out(self):
        layer = Linear(2, 2, random_state=0)
        y, _ = layer.forward(np.array([[np.nan, 1.0], [1.0, 1.0]]))
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()

    def test_tied_with_an_embedding(self, rng):
        """One Param as the table and, transposed, as the output weights: both uses add into one gradient."""
        embedding = Embedding(6, 3, scale=1.0, dtype="float64", random_state=0)
        output = Linear(3, 6, weight=embedding.params["weight"], transposed=True, random_state=1)
        loss_layer = SoftmaxCrossEntropy(dtype="float64")
        ids, labels = rng.integers(0, 6, (2, 4)), rng.integers(0, 6, (2, 4))

        def run():
            hidden, embedded = embedding.forward(ids)
            logits, projected = output.forward(hidden)
            loss, compared = loss_layer.forward(logits, labels)
            return loss, embedded, projected, compared

        _, embedded, projected, compared = run()
        embedding.backward(output.backward(loss_layer.backward(1.0, compared), projected), embedded)
        params = join_params(embedding=embedding, output=output)
        assert output.dtype == np.float64
        assert params["embedding.weight"] is params["output.weight"]
        distinct = {name: params[name] for name in ("embedding.weight", "output.bias")}
        check_gradients(
            lambda: run()[0],
            {name: param.value for name, param in distinct.items()},
            {name: dense(param) for name, param in distinct.items()},
        )

    def test_starts(self):
        even = Linear(400, 300, random_state=0)
        for param in even.params.values():
            assert np.abs(param.value).max() <= 0.05
            assert abs(param.value.std() - 0.05 / math.sqrt(3)) < 0.002
        normal = Linear(400, 300, initial="xavier", random_state=0)
        assert abs(normal.params["weight"].value.std() - 0.05) < 1e-3
        assert not normal.params["bias"].value.any()
        again = Linear(400, 300, random_state=0)
        np.testing.assert_array_equal(even.params["bias"].value, again.params["bias"].value)
        generator = np.random.default_rng(0)
        assert not np.array_equal(
            Linear(4, 3, random_state=generator).params["weight"].value,
            Linear(4, 3, random_state=generator).params["weight"].value,
        )

    @pytest.mark.parametrize(("x", "error"), [
        (np.zeros((2, 4)), errors.ShapeError), (np.float64(3.0), errors.ShapeError), ([["a"] * 3], errors.DTypeError),
        (np.zeros((2, 3), complex), errors.DTypeError), ([[1.0, 2.0], [3.0]], errors.ShapeError),
    ])  # fmt: skip
    def test_bad_input(self, x, error):
        with pytest.raises(error, match="x "):
            Linear(3, 2, random_state=0).forward(x)

    @pytest.mark.parametrize(("dy", "error"), [
        (np.zeros((2, 3)), errors.ShapeError), (np.zeros(2), errors.ShapeError), ([["a", "b"]], errors.DTypeError),
    ])  # fmt: skip
    def test_bad_gradient(self, dy, error):
        layer = Linear(3, 2, random_state=0)
        _, cache = layer.forward(np.zeros((1, 3)))
        with pytest.raises(error, match="dy has"):
            layer.backward(dy, cache)

    @pytest.mark.parametrize(("options", "error"), [
        ({"input_size": 0}, errors.ValueRangeError), ({"output_size": True}, errors.DTypeError),
        ({"initial": "zeros"}, errors.ValueRangeError), ({"bias": None}, errors.DTypeError),
        ({"bias": np.zeros(3)}, errors.ShapeError), ({"weight": np.zeros((2, 3))}, errors.ShapeError),
        ({"weight": Param(np.zeros((3, 2))), "transposed": True}, errors.ShapeError),
    ])  # fmt: skip
    def test_bad_arguments(self, options, error):
        with pytest.raises(error, match=next(iter(options))):
            Linear(**{"input_size": 3, "output_size": 2, **options})


def naive_loss(logits, labels, weights):
    """Row by row with the textbook's formula."""
    total = 0.0
    for row, label, weight in zip(logits, labels, weights):
        exps = [math.exp(value) for value in row]
        total -= weight * sum(t * math.log(e / sum(exps)) for t, e in zip(label, exps) if t)
    return total / sum(weights)


class TestSoftmaxCrossEntropy:
    @given(n=st.integers(1, 4), n_words=st.integers(1, 5), as_rows=st.booleans(), weighted=st.booleans(),
           ignore=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
    def test_loss_and_gradients(self, n, n_words, as_rows, weighted, ignore, seed):
        rng = np.random.default_rng(seed)
        logits = rng.standard_normal((n, n_words))
        if as_rows:
            labels = rng.dirichlet(np.ones(n_words), n)
            rows = labels
        else:
            labels = rng.integers(0, n_words, n)
            rows = np.eye(n_words)[labels]
        counts = rng.random(n) + 0.1 if weighted else np.ones(n)
        given_weights = counts.copy() if weighted else None
        if ignore and not as_rows:
            labels[0] = -100
            counts[0] = 0
        layer = SoftmaxCrossEntropy(ignore_index=-100 if ignore else None, dtype="float64")
        loss, _ = layer.forward(logits, labels, given_weights)
        assert isinstance(loss, float)
        if counts.sum():
            assert loss == pytest.approx(naive_loss(logits, rows, counts), rel=1e-12, abs=1e-14)
        else:
            assert loss == 0.0
        check_layer(layer, logits, rng, labels=labels, weights=given_weights)

    def test_more_axes(self, rng):
        logits, labels = rng.standard_normal((2, 3, 5)), rng.integers(0, 5, (2, 3))
        layer = SoftmaxCrossEntropy(dtype="float64")
        loss, cache = layer.forward(logits, labels)
        flat, flat_cache = layer.forward(logits.reshape(6, 5), labels.ravel())
        assert loss == flat
        gradient = layer.backward(1.0, cache)
        assert gradient.shape == (2, 3, 5)
        np.testing.assert_array_equal(gradient.reshape(6, 5), layer.backward(1.0, flat_cache))
        one, one_cache = layer.forward(logits[0, 0], labels[0, 0])
        assert one == layer.forward(logits[0, :1], labels[0, :1])[0]
        assert layer.backward(1.0, one_cache).shape == (5,)

    def test_one_hot_integers(self, rng):
        logits, labels = rng.standard_normal((3, 4)), np.array([1, 0, 3])
        layer = SoftmaxCrossEntropy(dtype="float64")
        assert layer.forward(logits, np.eye(4, dtype=int)[labels])[0] == pytest.approx(layer.forward(logits, labels)[0])

    def test_backward_can_be_called_again(self, rng):
        layer = SoftmaxCrossEntropy()
        _, cache = layer.forward(rng.standard_normal((3, 4)), [0, 1, 2])
        first = layer.backward(1.0, cache)
        np.testing.assert_array_equal(layer.backward(2.0, cache), 2 * first)
        np.testing.assert_array_equal(layer.backward(1.0, cache), first)
        assert first.dtype == np.float32

    def test_large_logits(self):
        layer = SoftmaxCrossEntropy()
        loss, cache = layer.forward(np.array([[1e4, 0.0], [-1e30, 1e30]], np.float32), [0, 1])
        assert loss == 0.0
        np.testing.assert_array_equal(layer.backward(1.0, cache), 0)
        loss, _ = layer.forward(np.array([[1e4, 0.0]]), [1])
        assert loss == 1e4

    def test_words_that_cannot_be(self):
        layer = SoftmaxCrossEntropy(dtype="float64")
        for labels in ([0], [[0.5, 0.5, 0.0]]):
            loss, cache = layer.forward(np.array([[0.0, 0.0, -np.inf]]), labels)
            assert loss == pytest.approx(math.log(2))
            assert layer.backward(1.0, cache)[0, 2] == 0
        assert layer.forward(np.array([[0.0, -np.inf]]), [1])[0] == np.inf

    def test_nan_comes_out_unless_its_row_is_passed_over(self):
        logits = np.array([[np.nan, 1.0], [0.0, 0.0]])
        layer = SoftmaxCrossEntropy(ignore_index=-1)
        assert math.isnan(layer.forward(logits, [0, 0])[0])
        assert math.isnan(layer.forward(np.array([[np.inf, 1.0]]), [0])[0])
        loss, cache = layer.forward(logits, [-1, 0])
        assert loss == pytest.approx(math.log(2))
        np.testing.assert_allclose(layer.backward(1.0, cache), [[0, 0], [-0.5, 0.5]])

    def test_the_sum_is_float64(self):
        # 1e5 rows of log(3) in float32 one by one would be off in the fourth digit.
        loss, _ = SoftmaxCrossEntropy().forward(np.zeros((100_000, 3), np.float32), np.zeros(100_000, int))
        assert loss == pytest.approx(math.log(3), rel=1e-12)

    def test_no_denormal_gradients(self):
        logits = np.linspace(-110, 0, 400, dtype=np.float32)[None]
        layer = SoftmaxCrossEntropy()
        _, cache = layer.forward(np.repeat(logits, 1000, axis=0), np.full(1000, 399))
        gradient = np.abs(layer.backward(1.0, cache))
        assert (gradient[gradient > 0] >= np.finfo(np.float32).tiny).all()

    def test_nothing_counts(self):
        layer = SoftmaxCrossEntropy(ignore_index=0)
        for logits, labels in ((np.zeros((2, 3)), [0, 0]), (np.zeros((0, 3)), np.zeros(0, int))):
            loss, cache = layer.forward(logits, labels)
            assert loss == 0.0
            np.testing.assert_array_equal(layer.backward(1.0, cache), np.zeros_like(logits))

    @pytest.mark.parametrize(("logits", "labels", "weights", "error", "message"), [
        (np.zeros((2, 3)), [0, 3], None, errors.ValueRangeError, "labels holds 3, expected 0 to 2$"),
        (np.zeros((2, 3)), [0, -1], None, errors.ValueRangeError, "labels holds -1"),
        (np.zeros((2, 3)), [0.0, 1.0], None, errors.DTypeError, "labels has dtype float64"),
        (np.zeros((2, 3)), [0], None, errors.ShapeError, r"labels has shape \(1,\), expected \(2,\) .* or \(2, 3\)"),
        (np.zeros((2, 3)), np.full((2, 3), 0.5), None, errors.ValueRangeError, "add up to 1"),
        (np.zeros((1, 2)), [[-1.0, 2.0]], None, errors.ValueRangeError, "no probabilities"),
        (np.zeros((1, 2)), [[np.nan, 1.0]], None, errors.ValueRangeError, "no probabilities"),
        (np.zeros((2, 0)), [0, 0], None, errors.ShapeError, "logits has shape"),
        (np.float64(0.0), 0, None, errors.ShapeError, "logits has shape"),
        ([["a"]], [0], None, errors.DTypeError, "logits has dtype"),
        (np.zeros((2, 3)), [0, 0], [1.0], errors.ShapeError, "weights has shape"),
        (np.zeros((2, 3)), [0, 0], [1.0, -1.0], errors.ValueRangeError, "weights holds"),
        (np.zeros((2, 3)), [0, 0], [1.0, np.inf], errors.ValueRangeError, "weights holds"),
        (np.zeros((2, 3)), [0, 0], ["a", "b"], errors.DTypeError, "weights has dtype"),
    ])  # fmt: skip
    def test_bad_input(self, logits, labels, weights, error, message):
        with pytest.raises(error, match=message):
            SoftmaxCrossEntropy().forward(logits, labels, weights)

    def test_bad_label_beside_the_ignored(self):
        with pytest.raises(errors.ValueRangeError, match=r"labels holds -2, expected 0 to 2 or -1 \(ignore_index\)"):
            SoftmaxCrossEntropy(ignore_index=-1).forward(np.zeros((2, 3)), [-2, -1])

    def test_bad_gradient(self):
        layer = SoftmaxCrossEntropy()
        _, cache = layer.forward(np.zeros((2, 3)), [0, 0])
        with pytest.raises(errors.ValueRangeError, match="dy is nan"):
            layer.backward(math.nan, cache)
        with pytest.raises(errors.DTypeError, match="ignore_index"):
            SoftmaxCrossEntropy(ignore_index=0.5)


@pytest.mark.peer
class TestTorch:
    def test_values_and_gradients(self, rng):
        torch = pytest.importorskip("torch")
        ids, labels = rng.integers(0, 7, (3, 4)), rng.integers(0, 7, (3, 4))
        labels[0, 0] = -100
        embedding = Embedding(7, 5, scale=1.0, dtype="float64", random_state=0)
        linear = Linear(5, 7, dtype="float64", random_state=0)
        loss_layer = SoftmaxCrossEntropy(ignore_index=-100, dtype="float64")
        hidden, embedded = embedding.forward(ids)
        logits, projected = linear.forward(hidden)
        loss, compared = loss_layer.forward(logits, labels)
        embedding.backward(linear.backward(loss_layer.backward(1.0, compared), projected), embedded)

        def leaf(array):
            return torch.tensor(array, requires_grad=True)

        table, weight = leaf(embedding.params["weight"].value), leaf(linear.params["weight"].value)
        bias = leaf(linear.params["bias"].value)
        theirs = torch.nn.functional.cross_entropy(
            (table[torch.tensor(ids)] @ weight + bias).reshape(-1, 7), torch.tensor(labels).reshape(-1)
        )
        theirs.backward()
        assert loss == pytest.approx(theirs.item(), rel=1e-12)
        for ours, want in (
            (dense(embedding.params["weight"]), table), (linear.params["weight"].grad, weight),
            (linear.params["bias"].grad, bias),
        ):  # fmt: skip
            np.testing.assert_allclose(ours, want.grad.numpy(), rtol=1e-10, atol=1e-14)


class TestLinearCrossEntropy:
    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize("ignore", [None, -1])
    @pytest.mark.parametrize("weighed", [False, True])
    def test_it_is_the_two_layers(self, rng, transposed, ignore, weighed):
        options = {"transposed": transposed, "dtype": "float64", "random_state": 0}
        layer = LinearCrossEntropy(4, 70, ignore_index=ignore, **options)
        linear, softmax = Linear(4, 70, **options), SoftmaxCrossEntropy(ignore_index=ignore, dtype="float64")
        h, labels = rng.standard_normal((3, 5, 4)), rng.integers(0, 70, (3, 5))
        if ignore is not None:
            labels[1, 2:] = ignore
        weights = rng.random((3, 5)) if weighed else None
        logits, before = linear.forward(h)
        want, cache = softmax.forward(logits, labels, weights)
        loss, mine = layer.forward(h, labels, weights)
        assert loss == pytest.approx(want, rel=1e-12)
        assert layer.forward(h, labels, weights, train=False) == (pytest.approx(want, rel=1e-12), None)
        dh = layer.backward(0.5, mine)
        np.testing.assert_allclose(dh, linear.backward(softmax.backward(0.5, cache), before), atol=1e-14)
        for name, param in linear.params.items():
            np.testing.assert_allclose(layer.params[name].grad, param.grad, atol=1e-14)
        layer.backward(0.5, mine)
        for name, param in linear.params.items():
            # A cache serves more than once.
            np.testing.assert_allclose(layer.params[name].grad, 2 * param.grad, atol=1e-14)
        losses = layer.losses(h, labels)
        assert losses.shape == (3, 5)
        counted = labels != -1
        assert not losses[~counted].any()
        if not weighed:
            assert losses[counted].mean() == pytest.approx(want, rel=1e-12)

    def test_a_table_is_shared(self, rng):
        table = Embedding(70, 4, dtype="float64", scale=0.5, random_state=0)
        layer = LinearCrossEntropy(4, 70, transposed=True, weight=table.params["weight"], bias=False, dtype="float64")
        ids, labels = rng.integers(0, 70, 6), rng.integers(0, 70, 6)

        def loss():
            return layer.forward(table.forward(ids)[0], labels)[0]

        rows, before = table.forward(ids)
        _, cache = layer.forward(rows, labels)
        table.backward(layer.backward(1.0, cache), before)
        weight = table.params["weight"]
        check_gradients(loss, {"weight": weight.value}, {"weight": dense(weight)})

    @pytest.mark.peer
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_it_is_torch_s(self, rng, dtype):
        torch = pytest.importorskip("torch")
        layer = LinearCrossEntropy(6, 90, label_smoothing=0.1, ignore_index=-100, dtype=dtype, random_state=0)
        h, labels = rng.standard_normal((20, 6)).astype(dtype), rng.integers(0, 90, 20)
        labels[3] = -100
        leaf, w, b = (
            torch.from_numpy(a.copy()).requires_grad_(True) for a in (h, *(p.value for p in layer.params.values()))
        )
        loss = torch.nn.functional.cross_entropy(leaf @ w + b, torch.from_numpy(labels), label_smoothing=0.1)
        loss.backward()
        mine, cache = layer.forward(h, labels)
        tolerance = 1e-6 if dtype == "float32" else 1e-12
        assert mine == pytest.approx(loss.item(), rel=tolerance)
        np.testing.assert_allclose(layer.backward(1.0, cache), leaf.grad.numpy(), atol=tolerance)
        np.testing.assert_allclose(layer.params["weight"].grad, w.grad.numpy(), atol=tolerance)
        np.testing.assert_allclose(layer.params["bias"].grad, b.grad.numpy(), atol=tolerance)

    def test_bad_arguments(self):
        layer = LinearCrossEntropy(3, 4)
        with pytest.raises(errors.ShapeError, match="labels has shape"):
            layer.forward(np.zeros((2, 3)), [1])
        with pytest.raises(errors.DTypeError, match="labels has dtype"):
            layer.forward(np.zeros((2, 3)), [1.0, 2.0])
        with pytest.raises(errors.ValueRangeError, match="labels holds 4"):
            layer.forward(np.zeros((2, 3)), [1, 4])
        with pytest.raises(errors.ShapeError, match="h has"):
            layer.forward(np.zeros((2, 4)), [1, 2])
        with pytest.raises(errors.DTypeError, match="cache is None"):
            layer.backward(1.0, None)
        with pytest.raises(errors.ValueRangeError, match="label_smoothing"):
            LinearCrossEntropy(3, 4, label_smoothing=-0.1)
        assert layer.forward(np.zeros((0, 3)), np.zeros(0, int))[0] == 0
