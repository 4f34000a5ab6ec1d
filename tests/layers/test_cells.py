"""Single steps, and gradients on their way back through time."""

from __future__ import annotations

import numpy as np
import pytest

from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.layers import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell, gradient_norms

from ..gradcheck import check_gradients, dense

CELLS = {
    "rnn": (RNNCell, RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTMCell, LSTM, {"peephole": True}),
    "projected": (LSTMCell, LSTM, {"proj_size": 2}),
    "gru": (GRUCell, GRU, {}),
    "reset before": (GRUCell, GRU, {"reset_after": False}),
}


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def told(arrays):
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


@pytest.mark.parametrize("name", CELLS)
def test_steps_are_those_of_the_layer(name):
    kind, layer, options = CELLS[name]
    cell, whole = (each(3, 5, random_state=0, dtype="float64", **options) for each in (kind, layer))
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    y, last, _ = whole.forward(x)
    state = None
    for t in range(4):
        state, _ = cell.forward(x[:, t], state)
        np.testing.assert_allclose(parts(state)[0], y[:, t], atol=1e-14)
    for one, two in zip(parts(state), parts(last)):
        np.testing.assert_allclose(one, two[0], atol=1e-14)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_differences(name):
    kind, _, options = CELLS[name]
    cell = kind(3, 5, random_state=0, dtype="float64", **options)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3))
    first = [rng.standard_normal(part.shape) for part in parts(cell.forward(x)[0])]
    state, cache = cell.forward(x, told(first))
    by = [rng.standard_normal(part.shape) for part in parts(state)]
    dx, dfirst = cell.backward(told(by), cache)

    def loss():
        return sum(float((a * b).sum()) for a, b in zip(parts(cell.forward(x, told(first))[0]), by))

    arrays = {name: param.value for name, param in cell.params.items()} | {"x": x}
    gradients = {name: dense(param) for name, param in cell.params.items()} | {"x": dx}
    for i, (part, d) in enumerate(zip(first, parts(dfirst))):
        arrays[f"state {i}"], gradients[f"state {i}"] = part, d
    check_gradients(loss, arrays, gradients)


@pytest.mark.peer
@pytest.mark.parametrize(("ours", "theirs"), [(RNNCell, "RNNCell"), (LSTMCell, "LSTMCell"), (GRUCell, "GRUCell")])
def test_a_step_is_that_of_torch(ours, theirs):
    torch = pytest.importorskip("torch")
    peer = getattr(torch.nn, theirs)(3, 5)
    cell = ours(3, 5)
    cell.load_torch(peer.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    want = peer(torch.from_numpy(x))
    got, _ = cell.forward(x)
    for one, two in zip(parts(got), parts(want)):
        np.testing.assert_allclose(one, two.detach().numpy(), atol=1e-6)
    assert set(cell.to_torch()) == set(peer.state_dict())


def test_a_parameter_may_be_put_in_another_s_place():
    one, two = (LSTMCell(3, 5, random_state=seed) for seed in (0, 1))
    for name, param in two.params.items():
        one.params[name] = param
    x = np.ones((2, 3))
    np.testing.assert_array_equal(one.forward(x)[0][0], two.forward(x)[0][0])
    _, cache = one.forward(x)
    one.backward((np.ones((2, 5)), None), cache)
    assert all(param.grad is not None for param in two.params.values())


def test_bad_arguments_of_a_cell():
    with pytest.raises(ValueRangeError, match="num_layers is given"):
        LSTMCell(3, 4, num_layers=2)
    with pytest.raises(ValueRangeError, match="input_dropout is given"):
        GRUCell(3, 4, input_dropout=0.5)
    cell = LSTMCell(3, 4)
    with pytest.raises(ShapeError, match="x has shape"):
        cell.forward(np.zeros((2, 5, 3)))
    with pytest.raises(DTypeError, match="state is ndarray, expected None or"):
        cell.forward(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ShapeError, match="c of state has shape"):
        cell.forward(np.zeros((2, 3)), (None, np.zeros((3, 4))))
    with pytest.raises(DTypeError, match="cache is"):
        cell.backward(None, None)


class TestGradientNorms:
    @pytest.mark.parametrize("name", CELLS)
    @pytest.mark.parametrize("of", ["h", "c"])
    def test_they_are_those_of_the_states(self, name, of):
        """The gradient by the states before step t is that by the first states of what begins there."""
        _, kind, options = CELLS[name]
        layer = kind(3, 5, 2, random_state=0, dtype="float64", **options)
        if of == "c" and kind is not LSTM:
            with pytest.raises(ValueRangeError, match="of is 'c', expected 'h'"):
                gradient_norms(layer, np.zeros((1, 2, 3)), of=of)
            return
        x = np.random.default_rng(0).standard_normal((2, 4, 3))
        norms = gradient_norms(layer, x, of=of)
        assert all(param.grad is None for param in layer.params.values())
        for t in range(4):
            _, state, _ = layer.forward(x[:, :t])
            y, _, cache = layer.forward(x[:, t:], state)
            dy = np.zeros_like(y)
            dy[:, -1] = 1
            _, dstate = layer.backward(dy, cache)
            part = parts(dstate)["hc".index(of)]
            np.testing.assert_allclose(norms[:, t], np.linalg.norm(part, axis=2).mean(axis=1), rtol=1e-10)

    def test_they_vanish_and_explode(self):
        x = np.random.default_rng(0).standard_normal((2, 30, 3))
        layer = RNN(3, 20, random_state=0, nonlinearity="relu", initial="orthogonal", dtype="float64")
        for scale, grows in ((0.5, False), (4.0, True)):
            wide = RNN(3, 20, random_state=0, nonlinearity="relu", initial="orthogonal", dtype="float64")
            wide.params["layer0.w_h"].value[:] = scale * layer.params["layer0.w_h"].value
            norms = gradient_norms(wide, x)[0]
            assert (norms[0] > 100 * norms[-1]) if grows else (norms[0] < norms[-1] / 100)

    def test_bad_arguments(self):
        with pytest.raises(DTypeError, match="layer is int"):
            gradient_norms(3, np.zeros((1, 2, 3)))
        with pytest.raises(ValueRangeError, match="bidirectional"):
            gradient_norms(LSTM(3, 4, bidirectional=True), np.zeros((1, 2, 3)))
        with pytest.raises(ShapeError, match="x has shape"):
            gradient_norms(LSTM(3, 4), np.zeros((2, 3)))
        with pytest.raises(ShapeError, match="dy has shape"):
            gradient_norms(LSTM(3, 4), np.zeros((1, 2, 3)), np.zeros((1, 2, 3)))
        with pytest.raises(ValueRangeError, match="of is 'hc'"):
            gradient_norms(LSTM(3, 4), np.zeros((1, 2, 3)), of="hc")
