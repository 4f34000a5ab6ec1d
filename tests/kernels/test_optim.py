"""Steps of optimizers: PyTorch's, tiny averages, NaN, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.kernels import adagrad_step, adam_step, rmsprop_step, sgd_step, sum_of_squares

STEPS = {
    "sgd": (lambda v, g, m, s, n: sgd_step(v, g, learning_rate=0.1, weight_decay=0.01), "SGD", {"lr": 0.1}),
    "momentum": (
        lambda v, g, m, s, n: sgd_step(v, g, m, learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "adagrad": (
        lambda v, g, m, s, n: adagrad_step(v, g, s, learning_rate=0.1, weight_decay=0.01), "Adagrad", {"lr": 0.1}
    ),
    "rmsprop": (
        lambda v, g, m, s, n: rmsprop_step(v, g, s, learning_rate=0.1, weight_decay=0.01), "RMSprop", {"lr": 0.1}
    ),
    "adam": (
        lambda v, g, m, s, n: adam_step(v, g, m, s, n, learning_rate=0.1, weight_decay=0.01), "Adam", {"lr": 0.1}
    ),
    "adamw": (
        lambda v, g, m, s, n: adam_step(v, g, m, s, n, learning_rate=0.1, weight_decay=0.01, decoupled=True),
        "AdamW", {"lr": 0.1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)])
def test_ten_steps_are_pytorchs(name, dtype, tolerance, rng):
    torch = pytest.importorskip("torch")
    step, kind, options = STEPS[name]
    value = rng.standard_normal((7, 11)).astype(dtype)
    param = torch.nn.Parameter(torch.from_numpy(value.copy()))
    optimizer = getattr(torch.optim, kind)([param], weight_decay=0.01, **options)
    average, squares = np.zeros((2, 7, 11), dtype)
    for number in range(1, 11):
        grad = rng.standard_normal((7, 11)).astype(dtype)
        param.grad = torch.from_numpy(grad.copy())
        optimizer.step()
        step(value, grad, average, squares, number)
    np.testing.assert_allclose(value, param.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "step",
    [
        lambda v, g, m, s, **o: sgd_step(v, g, learning_rate=0.1, weight_decay=0.3, **o),
        lambda v, g, m, s, **o: sgd_step(v, g, m, learning_rate=0.1, momentum=0.9, **o),
        lambda v, g, m, s, **o: adagrad_step(v, g, s, learning_rate=0.1, weight_decay=0.3, **o),
        lambda v, g, m, s, **o: rmsprop_step(v, g, s, learning_rate=0.1, **o),
        lambda v, g, m, s, **o: adam_step(v, g, m, s, 3, learning_rate=0.1, weight_decay=0.3, **o),
    ],
)
def test_scaled_gradients_are_clipped_ones(step, rng):
    value, grad, average, squares = np.abs(rng.standard_normal((4, 50)))
    one, two = ([array.copy() for array in (value, average, squares)] for _ in range(2))
    step(one[0], grad, *one[1:], scale=0.25)
    step(two[0], grad * 0.25, *two[1:])
    for ours, theirs in zip(one, two):
        np.testing.assert_array_equal(ours, theirs)


def test_what_has_decayed_to_almost_nothing_becomes_zero():
    """Denormal numbers would follow, which are many times slower on some processors."""
    value, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    kept = np.array([1.05e-30, 1e-3, np.nan], np.float32)
    sgd_step(value, zero, kept, learning_rate=0.0, momentum=0.9)
    assert kept[:2].tolist() == [0.0, np.float32(0.9) * np.float32(1e-3)]
    assert np.isnan(kept[2])
    squares = np.array([1.05e-36, 1e-3, np.nan], np.float32)
    rmsprop_step(value, zero, squares, learning_rate=0.0, decay=0.9)
    assert squares[0] == 0
    assert np.isnan(squares[2])
    average, squares = np.array([[1.05e-30, 1.0], [1.05e-36, 1.0]], np.float32)
    adam_step(value[:2], zero[:2], average, squares, 1, learning_rate=0.0, beta2=0.9)
    assert (average[0], squares[0]) == (0, 0)
    assert (average[1], squares[1]) == pytest.approx((0.9, 0.9))
    small = np.array([1e-200])
    sgd_step(np.ones(1), np.zeros(1), small, learning_rate=0.0, momentum=0.5)
    assert small[0] == 5e-201


def test_nan_and_infinity_come_out():
    value = np.zeros(4, np.float32)
    sgd_step(value, np.array([np.nan, np.inf, -np.inf, 1], np.float32), learning_rate=0.5)
    np.testing.assert_array_equal(value, [np.nan, -np.inf, np.inf, -0.5])
    assert np.isnan(sum_of_squares(np.array([1.0, np.nan])))
    assert sum_of_squares(np.array([np.inf, 1.0])) == np.inf


def test_squares_are_added_up_in_float64():
    # In float32 the sum would stop to grow at 2**24.
    assert sum_of_squares(np.ones(2**24 + 3, np.float32)) == 2**24 + 3
    # The square of a float32 that its own dtype cannot hold.
    assert sum_of_squares(np.array([1e30], np.float32)) == pytest.approx(1e60, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda v: sgd_step(v, v[:2], learning_rate=1), ShapeError, r"grad has shape \(2,\), expected .*\(4,\)"),
        (lambda v: sgd_step(v, v.astype("f4"), learning_rate=1), DTypeError, "grad has dtype float32"),
        (lambda v: sgd_step(v.astype(int), v, learning_rate=1), DTypeError, "value has dtype int64"),
        (lambda v: sgd_step(v[::2], v[:2], learning_rate=1), ShapeError, "value is not contiguous"),
        (lambda v: sgd_step(v, v, learning_rate=1, momentum=0.9), ValueRangeError, "kept None"),
        (lambda v: sgd_step(v, v, learning_rate=np.nan), ValueRangeError, "learning_rate"),
        (lambda v: sgd_step(v, v, v[:1], learning_rate=1, momentum=0.5), ShapeError, r"kept has shape \(1,\)"),
        (lambda v: adagrad_step(v, v, v.astype("f4"), learning_rate=1), DTypeError, "square_sum has dtype float32"),
        (lambda v: rmsprop_step(v, v, [0.0] * 4, learning_rate=1), DTypeError, "square_average is list"),
        (lambda v: adam_step(v, v, v, v, 0, learning_rate=1), ValueRangeError, "steps is 0"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call(np.arange(4.0))


def test_read_only_values_are_refused():
    value = np.ones(3)
    value.flags.writeable = False
    with pytest.raises(ShapeError, match="read-only"):
        sgd_step(value, np.ones(3), learning_rate=0.1)
