"""Parameters and their gradients: adding up, tying, row-sparse rows, weights by name."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastseq as fs
from fastseq import errors
from fastseq.layers import (
    Embedding,
    Linear,
    Param,
    RowSparseGrad,
    distinct_params,
    get_weights,
    join_params,
    set_weights,
    zero_grad,
)


class TestRowSparse:
    @given(
        rows=hnp.arrays(np.int32, st.integers(0, 20), elements=st.integers(0, 6)),
        width=st.integers(0, 3),
        dtype=st.sampled_from([np.float32, np.float64]),
    )
    def test_equal_rows_add_up(self, rows, width, dtype):
        values = np.random.default_rng(len(rows)).standard_normal((len(rows), width)).astype(dtype)
        want = np.zeros((7, width))
        for row, value in zip(rows, values):
            want[row] += value
        grad = RowSparseGrad(rows, values)
        once = grad.coalesce()
        assert (np.diff(once.rows) > 0).all()
        assert set(once.rows) == set(rows)
        assert once.values.dtype == dtype
        assert once.coalesce() is once
        np.testing.assert_allclose(grad.to_dense(7), want, rtol=1e-6, atol=1e-14)

    def test_sums_are_exact(self):
        # In float32 ones are lost beside the large numbers: 2**24 + 1 is 2**24.
        values = np.tile(np.array([2.0**24, 1.0, -(2.0**24), 1.0], np.float32), 250)[:, None]
        once = RowSparseGrad(np.full(1000, 3, np.int32), values).coalesce()
        assert once.rows.tolist() == [3]
        assert once.values[0, 0] == 500

    def test_bits_do_not_depend_on_what_else_is_there(self, rng):
        rows = rng.integers(0, 50, 400)
        values = rng.standard_normal((400, 5)).astype(np.float32)
        whole = RowSparseGrad(rows, values).to_dense(50)
        with fs.threads(1):
            np.testing.assert_array_equal(RowSparseGrad(rows, values).to_dense(50), whole)
        alone = RowSparseGrad(rows[rows == 7], values[rows == 7]).to_dense(50)
        np.testing.assert_array_equal(alone[7], whole[7])

    def test_text(self):
        assert repr(RowSparseGrad(np.zeros(2, int), np.zeros((2, 3)))) == "RowSparseGrad(2 rows of shape (3,), float64)"

    @pytest.mark.parametrize(("rows", "error"), [
        ([[0, 1]], errors.ShapeError), ([0], errors.ShapeError), ([0.0, 1.0], errors.DTypeError),
        ([-1, 0], errors.ValueRangeError),
    ])  # fmt: skip
    def test_bad_rows(self, rows, error):
        with pytest.raises(error, match="rows"):
            RowSparseGrad(np.array(rows), np.zeros((2, 3)))

    def test_row_beyond_the_array(self):
        with pytest.raises(errors.ValueRangeError, match="rows holds 5, expected 0 to 4"):
            RowSparseGrad(np.array([5]), np.zeros((1, 3))).to_dense(5)


class TestParam:
    def test_gradients_add_up(self):
        param = Param(np.zeros((2, 3)))
        assert param.grad is None
        ones = np.ones((2, 3))
        param.add_grad(ones)
        param.add_grad(ones)
        np.testing.assert_array_equal(param.grad, 2 * ones)
        np.testing.assert_array_equal(ones, 1)
        param.zero_grad()
        assert param.grad is None

    def test_memory_is_used_again(self):
        param = Param(np.zeros((2, 3), np.float32))
        param.add_product(np.ones((4, 2), np.float32), np.ones((4, 3), np.float32))
        first = param.grad
        param.zero_grad()
        param.add_product(np.ones((1, 2), np.float32), np.ones((1, 3), np.float32))
        assert param.grad is first
        np.testing.assert_array_equal(param.grad, 1)
        param.add_product(np.ones((4, 2), np.float32), np.ones((4, 3), np.float32))
        np.testing.assert_array_equal(param.grad, 5)

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
    def test_sparse_and_dense_in_any_order(self, order):
        parts = [
            RowSparseGrad(np.array([2, 0, 2]), np.ones((3, 2))),
            np.full((4, 2), 10.0),
            RowSparseGrad(np.array([3]), np.full((1, 2), 5.0)),
        ]
        param = Param(np.zeros((4, 2)))
        for i in order:
            param.add_grad(parts[i])
        np.testing.assert_array_equal(param.grad[:, 0], [11, 10, 12, 15])

    def test_dense_grad_is_added_to_in_place(self):
        param = Param(np.zeros((3, 2)), grad=RowSparseGrad(np.array([1]), np.ones((1, 2))))
        array = param.dense_grad()
        array += 1
        assert param.grad is array
        np.testing.assert_array_equal(param.grad[:, 0], [1, 2, 1])
        param.zero_grad()
        np.testing.assert_array_equal(param.dense_grad(), 0)

    def test_value_is_kept_where_it_can_be(self):
        value = np.zeros((2, 3))
        assert Param(value).value is value
        locked = np.zeros((2, 3))
        locked.flags.writeable = False
        for other in (locked, np.zeros((3, 2)).T, np.zeros((2, 3), ">f4")):
            param = Param(other)
            assert param.shape == (2, 3)
            assert param.value.flags.c_contiguous
            assert param.value.flags.writeable
            assert param.value.dtype.isnative
        assert Param(np.array(1.0)).shape == ()
        assert repr(Param(value)) == "Param((2, 3), float64)"

    @pytest.mark.parametrize("value", [np.zeros(3, int), np.zeros(3, np.float16), np.array(["a"])])
    def test_bad_values(self, value):
        with pytest.raises(errors.DTypeError, match="float32 or float64"):
            Param(value)

    @pytest.mark.parametrize(("grad", "error"), [
        (np.zeros((3, 2)), errors.ShapeError),
        (RowSparseGrad(np.array([0]), np.zeros((1, 2))), errors.ShapeError),
        (RowSparseGrad(np.array([0]), np.zeros((1, 3), np.float32)), errors.DTypeError),
        (RowSparseGrad(np.array([2]), np.zeros((1, 3))), errors.ValueRangeError),
    ])  # fmt: skip
    def test_bad_gradients(self, grad, error):
        with pytest.raises(error, match="the gradient has"):
            Param(np.zeros((2, 3))).add_grad(grad)


class TestNames:
    def test_join_and_tie(self):
        embedding = Embedding(5, 3, random_state=0)
        output = Linear(3, 5, weight=embedding.params["weight"], transposed=True, random_state=0)
        params = join_params(embedding=embedding, rest={"a.b": output.params["weight"]}, output=output)
        assert list(params) == ["embedding.weight", "rest.a.b", "output.weight", "output.bias"]
        assert list(distinct_params(params)) == ["embedding.weight", "output.bias"]
        weights = get_weights(params)
        assert list(weights) == ["embedding.weight", "output.bias"]
        weights["embedding.weight"][:] = 7
        assert not (embedding.params["weight"].value == 7).any()
        set_weights(params, weights)
        np.testing.assert_array_equal(output.params["weight"].value, 7)

    def test_zero_grad(self):
        layer = Linear(2, 2, random_state=0)
        layer.backward(np.ones((1, 2)), layer.forward(np.ones((1, 2)))[1])
        assert layer.params["bias"].grad is not None
        zero_grad(layer.params)
        assert all(param.grad is None for param in layer.params.values())

    def test_weights_of_a_layer(self):
        one, two = Linear(2, 3, random_state=1), Linear(2, 3, random_state=2)
        two.set_weights(one.get_weights())
        np.testing.assert_array_equal(one.params["weight"].value, two.params["weight"].value)
        assert repr(one) == "Linear(weight=(2, 3), bias=(3,))"

    @pytest.mark.parametrize(("change", "error", "message"), [
        ({"bias": None}, errors.ValueRangeError, r"missing \['bias'\], unexpected \[\]"),
        ({"more": np.zeros(1)}, errors.ValueRangeError, r"unexpected \['more'\]"),
        ({"bias": np.zeros(4)}, errors.ShapeError, r"bias has shape \(4,\), expected \(3,\)"),
        ({"bias": np.zeros(3, int)}, errors.DTypeError, "bias has dtype int64"),
    ])  # fmt: skip
    def test_weights_that_do_not_fit_change_nothing(self, change, error, message):
        layer = Linear(2, 3, random_state=1)
        before = layer.get_weights()
        arrays = {"weight": np.zeros((2, 3)), "bias": np.zeros(3), **change}
        with pytest.raises(error, match=message):
            layer.set_weights({name: array for name, array in arrays.items() if array is not None})
        for name, array in layer.get_weights().items():
            np.testing.assert_array_equal(array, before[name])

    def test_weights_go_through_a_file(self, tmp_path):
        layer = Linear(2, 3, random_state=1)
        fs.io.save_arrays(tmp_path / "layer.safetensors", layer.get_weights(), "layer")
        other = Linear(2, 3, random_state=2)
        other.set_weights(fs.io.load_arrays(tmp_path / "layer.safetensors", "layer")[0])
        for name, array in layer.get_weights().items():
            np.testing.assert_array_equal(other.params[name].value, array)


class Lender:
    """Whoever has something to lend."""


def test_a_gradient_that_is_lent_cannot_be_changed_where_it_is():
    param, lent, lender = Param(np.zeros(3)), np.ones(3), Lender()
    param.add_grad(lent, lender=lender)
    assert np.shares_memory(param.grad, lent)
    with pytest.raises(ValueError, match="read-only"):
        param.grad *= 2
    mine = param.dense_grad()
    mine *= 2
    assert lent.tolist() == [1, 1, 1]
    assert param.grad.tolist() == [2, 2, 2]
    param.zero_grad()
    param.add_grad(lent, lender=lender)
    param.add_grad(np.full(3, 5.0))
    assert (lent.tolist(), param.grad.tolist()) == ([1, 1, 1], [6, 6, 6])


def test_a_gradient_whose_lender_is_gone_is_changed_where_it_is():
    param, lent, lender = Param(np.zeros(3)), np.ones(3), Lender()
    param.add_grad(lent, lender=lender)
    del lender
    param.add_grad(np.full(3, 5.0))
    assert np.shares_memory(param.grad, lent)
    assert param.grad.tolist() == [6, 6, 6]
    # The memory is not the parameter's to be written by the next pass.
    param.zero_grad()
    param.add_grad(np.ones(3))
    assert not np.shares_memory(param.grad, lent)


def test_copies_of_a_parameter_have_a_copy_of_what_is_lent():
    param, lent, lender = Param(np.zeros(3)), np.ones(3), Lender()
    param.add_grad(lent, lender=lender)
    for other in (copy.copy(param), copy.deepcopy(param)):
        other.dense_grad()[:] = 7
        assert (param.grad.tolist(), lent.tolist()) == ([1, 1, 1], [1, 1, 1])
    del lender
    assert copy.copy(param).dense_grad() is not param.dense_grad()


def test_what_is_lent_read_only_is_copied():
    param, lent, lender = Param(np.zeros(3)), np.ones(3), Lender()
    lent.flags.writeable = False
    param.add_grad(lent, lender=lender)
    del lender
    param.add_grad(np.full(3, 5.0))
    assert (lent.tolist(), param.grad.tolist()) == ([1, 1, 1], [6, 6, 6])


def test_a_gradient_that_is_given_is_changed_where_it_is():
    param, given = Param(np.zeros(3)), np.ones(3)
    param.add_grad(given, given=True)
    param.add_grad(np.full(3, 5.0))
    assert np.shares_memory(param.grad, given)
    assert given.tolist() == [6, 6, 6]
