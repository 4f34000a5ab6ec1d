"""Optimizers against their formulas written out number by number, row-sparse gradients, saved state, clipping."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastseq as fs
from fastseq import errors
from fastseq.layers import Param, RowSparseGrad
from fastseq.training import grad_norm

RECIPES = {
    "sgd": lambda **more: fs.SGD(0.1, **more),
    "sgd momentum": lambda **more: fs.SGD(0.1, momentum=0.9, **more),
    "sgd nesterov": lambda **more: fs.SGD(0.1, momentum=0.9, nesterov=True, **more),
    "adagrad": lambda **more: fs.AdaGrad(0.1, **more),
    "rmsprop": lambda **more: fs.RMSprop(0.1, **more),
    "adam": lambda **more: fs.Adam(0.1, **more),
    "adam hat": lambda **more: fs.Adam(0.1, epsilon=1e-3, epsilon_hat=True, **more),
    "adamw": lambda **more: fs.AdamW(0.1, **more),
}


def naive_run(recipe, value, gradients, decay):
    """One number through all steps, by the textbook's formulas and without an array."""
    rate, v, s, m, b = 0.1, 0.0, 0.0, 0.0, None
    for t, g in enumerate(gradients, start=1):
        if recipe == "adamw":
            value -= rate * decay * value
        else:
            g += decay * value
        if recipe.startswith("sgd"):
            momentum = 0.0 if recipe == "sgd" else 0.9
            b = g if b is None else momentum * b + g
            value -= rate * (g + momentum * b if recipe == "sgd nesterov" else b)
        elif recipe == "adagrad":
            s += g * g
            value -= rate * g / (math.sqrt(s) + 1e-10)
        elif recipe == "rmsprop":
            s = 0.99 * s + 0.01 * g * g
            value -= rate * g / (math.sqrt(s) + 1e-8)
        else:
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            if recipe == "adam hat":
                value -= rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-3)
            else:
                value -= rate * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return value


class TestFormulas:
    @pytest.mark.parametrize("decay", [0.0, 0.3])
    @pytest.mark.parametrize("recipe", RECIPES)
    def test_every_number(self, rng, recipe, decay):
        start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((20, 3, 2))
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
            param = Param(start.astype(dtype))
            optimizer = RECIPES[recipe](weight_decay=decay)
            for gradient in gradients:
                param.zero_grad()
                param.add_grad(gradient.astype(dtype))
                optimizer.step({"weight": param})
                np.testing.assert_array_equal(param.grad, gradient.astype(dtype))
            assert param.value.dtype == dtype
            assert all(array.dtype == dtype for slot, array in optimizer.state["weight"].items() if slot != "steps")
            want = [
                naive_run(recipe, start[index], [float(gradient[index]) for gradient in gradients], decay)
                for index in np.ndindex(3, 2)
            ]
            np.testing.assert_allclose(param.value.ravel(), want, rtol=tolerance, atol=tolerance)

    @pytest.mark.peer
    @pytest.mark.parametrize("decay", [0.0, 0.3])
    @pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "adam hat"])
    def test_equals_torch(self, rng, recipe, decay):
        torch = pytest.importorskip("torch")
        theirs = {
            "sgd": lambda p: torch.optim.SGD(p, 0.1, weight_decay=decay),
            "sgd momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=decay),
            "sgd nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=decay),
            "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, weight_decay=decay),
            "rmsprop": lambda p: torch.optim.RMSprop(p, 0.1, weight_decay=decay),
            "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=decay),
            "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=decay),
        }[recipe]
        start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((50, 3, 2))
        ours, other = Param(start.copy()), torch.tensor(start, requires_grad=True)
        optimizer, peer = RECIPES[recipe](weight_decay=decay), theirs([other])
        for gradient in gradients:
            ours.zero_grad()
            ours.add_grad(gradient)
            other.grad = torch.tensor(gradient)
            norm = float(torch.nn.utils.clip_grad_norm_([other], 2.0))
            assert fs.clip_grad_norm({"w": ours}, 2.0) == pytest.approx(norm, rel=1e-12)
            optimizer.step({"w": ours})
            peer.step()
        np.testing.assert_allclose(ours.value, other.detach().numpy(), rtol=1e-10, atol=1e-12)


class TestRowSparse:
    @pytest.mark.parametrize("decay", [0.0, 0.1])
    @pytest.mark.parametrize("recipe", RECIPES)
    @given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([np.float32, np.float64]))
    def test_means_the_same_as_dense(self, recipe, decay, seed, dtype):
        rng = np.random.default_rng(seed)
        start = rng.standard_normal((6, 3)).astype(dtype)
        sparse, dense = Param(start.copy()), Param(start.copy())
        one, two = RECIPES[recipe](weight_decay=decay), RECIPES[recipe](weight_decay=decay)
        for _ in range(5):
            rows = rng.integers(0, 6, rng.integers(0, 9))
            grad = RowSparseGrad(rows, rng.standard_normal((len(rows), 3)).astype(dtype))
            for param, part, optimizer in ((sparse, grad, one), (dense, grad.to_dense(6), two)):
                param.zero_grad()
                param.add_grad(part)
                optimizer.step({"weight": param})
        np.testing.assert_array_equal(sparse.value, dense.value)
        for slot, array in one.state["weight"].items():
            np.testing.assert_array_equal(array, two.state["weight"][slot])

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_lazy_leaves_other_rows_alone(self, rng, recipe):
        start = rng.standard_normal((6, 3))
        param, full = Param(start.copy()), Param(start.copy())
        lazy, dense = RECIPES[recipe](weight_decay=0.1, lazy=True), RECIPES[recipe](weight_decay=0.1)
        for rows in ([0, 1, 2], [1, 1], []):
            values = rng.standard_normal((len(rows), 3))
            before = param.value.copy()
            state = copy.deepcopy(lazy.state.get("weight", {}))
            for each in (param, full):
                each.zero_grad()
                each.add_grad(RowSparseGrad(np.array(rows, int), values))
            lazy.step({"weight": param})
            dense.step({"weight": full})
            others = np.setdiff1d(np.arange(6), rows)
            np.testing.assert_array_equal(param.value[others], before[others])
            assert (param.value[sorted(set(rows))] != before[sorted(set(rows))]).all()
            for slot in lazy.slots if state else ():
                np.testing.assert_array_equal(lazy.state["weight"][slot][others], state[slot][others])
        # Row 1 had a gradient in each step but the last, in which the others move on without it.
        assert not np.array_equal(full.value[5], start[5])

    def test_plain_sgd_visits_only_its_rows(self):
        # A dense array of this table would be 80 GB.
        shape = (200_000_000, 100)
        value = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (0, 0))
        param = Param(np.zeros((1, 100), np.float32))
        param.value = value
        param.add_grad(RowSparseGrad(np.array([199_999_999, 7, 7]), np.ones((3, 100), np.float32)))
        assert fs.clip_grad_norm({"w": param}, 1e9) == pytest.approx(math.sqrt(500))
        fs.SGD(0.0).step({"w": param})


class TestWalk:
    def test_a_tied_parameter_is_stepped_once(self):
        param = Param(np.ones(3), grad=np.ones(3))
        fs.SGD(0.1).step({"a": param, "b": param})
        np.testing.assert_allclose(param.value, 0.9)

    def test_without_a_gradient_nothing_moves(self):
        used, unused = Param(np.ones(3), grad=np.ones(3)), Param(np.ones(3))
        optimizer = fs.Adam(0.1, weight_decay=0.1)
        optimizer.step({"used": used, "unused": unused})
        np.testing.assert_array_equal(unused.value, 1)
        assert list(optimizer.state) == ["used"]
        # Its first step is corrected as a first step, however late it comes.
        unused.add_grad(np.ones(3))
        used.zero_grad()
        optimizer.step({"used": used, "unused": unused})
        np.testing.assert_array_equal(unused.value, used.value)

    def test_the_learning_rate_may_change(self):
        param = Param(np.ones(1), grad=np.ones(1))
        optimizer = fs.SGD(0.1)
        optimizer.learning_rate = 0.5
        optimizer.step({"w": param})
        assert param.value[0] == 0.5
        optimizer.learning_rate = math.nan
        with pytest.raises(errors.ValueRangeError, match="learning_rate is nan"):
            optimizer.step({"w": param})

    def test_a_rate_of_zero_changes_nothing(self):
        for recipe in (fs.SGD(0.0, momentum=0.9), fs.AdaGrad(0.0), fs.RMSprop(0.0), fs.Adam(0.0), fs.AdamW(0.0)):
            param = Param(np.ones(3), grad=np.ones(3))
            recipe.step({"w": param})
            np.testing.assert_array_equal(param.value, 1)

    def test_nan_is_not_hidden(self):
        for optimizer in (fs.SGD(), fs.SGD(momentum=0.9), fs.AdaGrad(), fs.RMSprop(), fs.Adam()):
            param = Param(np.ones(2, np.float32), grad=np.array([np.nan, 1.0], np.float32))
            for _ in range(64):
                optimizer.step({"w": param})
            for array in (param.value, *(optimizer.state["w"][slot] for slot in optimizer.slots)):
                assert np.isnan(array[0])
                assert np.isfinite(array[1])

    def test_averages_do_not_end_as_denormals(self):
        tiny = np.finfo(np.float32).tiny
        for optimizer, slot in (
            (fs.Adam(), "average"), (fs.SGD(momentum=0.9), "momentum"), (fs.RMSprop(decay=0.95), "square_average"),
        ):  # fmt: skip
            param = Param(np.ones(4, np.float32), grad=np.ones(4, np.float32))
            optimizer.step({"w": param})
            param.grad[:] = 0
            smallest = 1.0
            for _ in range(2500):
                optimizer.step({"w": param})
                kept = optimizer.state["w"][slot]
                smallest = min(smallest, float(kept[0])) if kept[0] else smallest
            assert kept[0] == 0
            assert smallest >= tiny


class TestState:
    @pytest.mark.parametrize("recipe", RECIPES)
    def test_going_on_equals_never_having_stopped(self, rng, recipe, tmp_path):
        gradients = rng.standard_normal((10, 3)).astype(np.float32)

        def run(param, optimizer, part):
            for gradient in part:
                param.zero_grad()
                param.add_grad(gradient)
                optimizer.step({"layer.weight": param})

        whole, stopped = Param(np.ones(3, np.float32)), Param(np.ones(3, np.float32))
        run(whole, RECIPES[recipe](), gradients)
        first, second = RECIPES[recipe](), RECIPES[recipe]()
        run(stopped, first, gradients[:4])
        second.learning_rate = 99.0
        fs.io.save_arrays(tmp_path / "state.safetensors", first.state_dict(), "optimizer")
        second.load_state_dict(fs.io.load_arrays(tmp_path / "state.safetensors", "optimizer")[0])
        run(stopped, second, gradients[4:])
        np.testing.assert_array_equal(stopped.value, whole.value)

    def test_names(self):
        optimizer = fs.Adam(0.5)
        assert list(optimizer.state_dict()) == ["learning_rate"]
        optimizer.step({"layer.weight": Param(np.ones((2, 2)), grad=np.ones((2, 2)))})
        arrays = optimizer.state_dict()
        assert list(arrays) == [
            "learning_rate", "layer.weight.steps", "layer.weight.average", "layer.weight.square_average",
        ]  # fmt: skip
        assert arrays["layer.weight.steps"] == 1
        assert all(type(array) is np.ndarray for array in arrays.values())
        arrays["layer.weight.average"][:] = 7
        assert not (optimizer.state["layer.weight"]["average"] == 7).any()
        optimizer.reset()
        assert list(optimizer.state_dict()) == ["learning_rate"]

    @pytest.mark.parametrize(("change", "error", "message"), [
        ({"learning_rate": None}, errors.ValueRangeError, "no learning_rate"),
        ({"learning_rate": np.zeros(2)}, errors.DTypeError, "learning_rate"),
        ({"learning_rate": np.array(np.inf)}, errors.ValueRangeError, "learning_rate"),
        ({"w.average": None}, errors.ValueRangeError, r"state of 'w' lacks \['average'\]"),
        ({"w.momentum": np.zeros(2)}, errors.ValueRangeError, "holds 'w.momentum', and Adam keeps only"),
        ({"steps": np.array(1)}, errors.ValueRangeError, "holds 'steps'"),
        ({"w.steps": np.array(1.0)}, errors.DTypeError, "w.steps"),
        ({"w.average": np.zeros(2, int)}, errors.DTypeError, "w.average has dtype int64"),
    ])  # fmt: skip
    def test_a_state_that_does_not_fit_changes_nothing(self, change, error, message):
        optimizer = fs.Adam()
        optimizer.step({"w": Param(np.ones(2), grad=np.ones(2))})
        before = optimizer.state_dict()
        arrays = {name: array for name, array in {**before, **change}.items() if array is not None}
        with pytest.raises(error, match=message):
            optimizer.load_state_dict(arrays)
        for name, array in optimizer.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    def test_another_model(self):
        optimizer = fs.Adam()
        optimizer.step({"w": Param(np.ones(2), grad=np.ones(2))})
        first = Param(np.ones(2), grad=np.ones(2))
        with pytest.raises(errors.ShapeError, match=r"remembers 'w' with shape \(2,\), and it has \(3,\) now"):
            optimizer.step({"first": first, "w": Param(np.ones(3), grad=np.ones(3))})
        np.testing.assert_array_equal(first.value, 1)
        with pytest.raises(errors.DTypeError, match="remembers 'w' in float64"):
            optimizer.step({"w": Param(np.ones(2, np.float32), grad=np.ones(2, np.float32))})


class TestClip:
    @given(seed=st.integers(0, 999), max_norm=st.floats(1e-3, 1e3), dtype=st.sampled_from([np.float32, np.float64]))
    def test_norm_and_factor(self, seed, max_norm, dtype):
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, 5, 8)
        sparse, values = Param(np.zeros((5, 2), dtype)), rng.standard_normal((8, 2)).astype(dtype)
        sparse.add_grad(RowSparseGrad(rows, values))
        dense = Param(np.zeros(4, dtype), grad=rng.standard_normal(4).astype(dtype))
        parts = [sparse.grad.to_dense(5), dense.grad.copy()]
        want = math.sqrt(sum(float((part.astype(np.float64) ** 2).sum()) for part in parts))
        params = {"a": sparse, "b": dense, "tied": dense, "none": Param(np.zeros(3))}
        assert grad_norm(params) == pytest.approx(want, rel=1e-6)
        kept = values.copy()
        norm = fs.clip_grad_norm(params, max_norm)
        assert isinstance(norm, float)
        assert norm == pytest.approx(want, rel=1e-6)
        np.testing.assert_array_equal(values, kept)
        factor = min(1.0, max_norm / (norm + 1e-6))
        for got, part in zip((sparse.grad.to_dense(5), dense.grad), parts):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, factor * part, rtol=1e-5, atol=1e-12)
        assert grad_norm(params) <= max_norm * (1 + 1e-6)

    def test_rows_given_coalesced_are_not_changed(self):
        values = np.full((1, 2), 10.0)
        param = Param(np.zeros((3, 2)), grad=RowSparseGrad(np.array([1]), values, is_coalesced=True))
        fs.clip_grad_norm({"w": param}, 1.0)
        np.testing.assert_array_equal(values, 10)
        assert np.linalg.norm(param.grad.values) == pytest.approx(1.0)

    def test_the_sum_is_float64(self):
        # Squares of 1e30 overflow in float32, and a million ones after 1e8 would be lost.
        param = Param(np.zeros(3, np.float32), grad=np.full(3, 1e30, np.float32))
        assert grad_norm({"w": param}) == pytest.approx(1e30 * math.sqrt(3), rel=1e-6)
        many = np.ones(1_000_001, np.float32)
        many[0] = 1e4
        assert grad_norm({"w": Param(many.copy(), grad=many)}) == pytest.approx(math.sqrt(101_000_000), rel=1e-12)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, bad):
        param = Param(np.zeros(2), grad=np.array([bad, 1.0]))
        assert not math.isfinite(fs.clip_grad_norm({"w": param}, 1.0))
        assert param.grad[1] == 1.0

    @pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
    def test_bad_norm(self, bad):
        with pytest.raises(errors.ValueRangeError, match="max_norm"):
            fs.clip_grad_norm({}, bad)
        assert fs.clip_grad_norm({}, 1.0) == 0.0


class TestArguments:
    @pytest.mark.parametrize(("make", "name"), [
        (lambda: fs.SGD(-1.0), "learning_rate"), (lambda: fs.SGD(math.nan), "learning_rate"),
        (lambda: fs.SGD(momentum=1.0), "momentum"), (lambda: fs.SGD(nesterov=True), "nesterov"),
        (lambda: fs.SGD(weight_decay=-0.1), "weight_decay"), (lambda: fs.AdaGrad(epsilon=0.0), "epsilon"),
        (lambda: fs.RMSprop(decay=1.5), "decay"), (lambda: fs.RMSprop(epsilon=-1.0), "epsilon"),
        (lambda: fs.Adam(beta1=1.0), "beta1"), (lambda: fs.Adam(beta2=-0.1), "beta2"),
        (lambda: fs.Adam(epsilon=math.inf), "epsilon"), (lambda: fs.AdamW(weight_decay=math.nan), "weight_decay"),
    ])  # fmt: skip
    def test_out_of_range(self, make, name):
        with pytest.raises(errors.ValueRangeError, match=name):
            make()

    def test_not_a_number(self):
        with pytest.raises(errors.DTypeError, match="learning_rate"):
            fs.Adam("fast")

    def test_text(self):
        told = "SGD(learning_rate=20.0, momentum=0.0, nesterov=False, weight_decay=0.0, lazy=False)"
        assert repr(fs.SGD(20.0)) == told
        assert repr(fs.AdamW()).startswith("AdamW(learning_rate=0.001, beta1=0.9")
