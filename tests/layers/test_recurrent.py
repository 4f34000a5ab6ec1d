"""RNN, LSTM and GRU as layers: gradients, lengths, states, PyTorch's results, other layouts of weights."""

from __future__ import annotations

import numpy as np
import pytest

from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.layers import GRU, LSTM, RNN

from ..gradcheck import check_gradients, dense

KINDS = {
    "rnn": (RNN, {}),
    "relu": (RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "gru": (GRU, {}),
}
SHAPES = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "added up": {"bidirectional": True, "merge": "sum", "num_layers": 2},
    "no biases": {"bias": False},
}


def make(kind, **options):
    layer, own = KINDS[kind]
    return layer(3, 5, **own, **{"dtype": "float64", "random_state": 0, **options})


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_gradients_are_those_of_differences(kind, shape, lengths):
    layer = make(kind, **SHAPES[shape])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 3))
    cells = layer.num_layers * (2 if layer.bidirectional else 1)
    first = [rng.standard_normal((cells, 3, 5)) for _ in range(2 if kind == "lstm" else 1)]

    def told(arrays):
        return tuple(arrays) if kind == "lstm" else arrays[0]

    y, last, cache = layer.forward(x, told(first), lengths)
    by_y, by_last = rng.standard_normal(y.shape), [rng.standard_normal(part.shape) for part in parts(last)]

    def loss():
        y, last, _ = layer.forward(x, told(first), lengths, train=False)
        return float((y * by_y).sum()) + sum(float((a * b).sum()) for a, b in zip(parts(last), by_last))

    layer.zero_grad()
    dx, dfirst = layer.backward(by_y, cache, told(by_last))
    arrays = {name: param.value for name, param in layer.params.items()}
    gradients = {name: dense(param) for name, param in layer.params.items()}
    arrays |= {"x": x, **{f"state {i}": part for i, part in enumerate(first)}}
    gradients |= {"x": dx, **{f"state {i}": part for i, part in enumerate(parts(dfirst))}}
    check_gradients(loss, arrays, gradients)


def test_gradients_with_dropout():
    layer = LSTM(3, 5, 3, dropout=0.4, dtype="float64", random_state=0)
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    y, _, cache = layer.forward(x)
    layer.backward(np.ones_like(y), cache)

    def loss():
        # The same masks again.
        layer._passes = 0
        return float(layer.forward(x)[0].sum())

    arrays = {name: param.value for name, param in layer.params.items()}
    check_gradients(loss, arrays, {name: dense(param) for name, param in layer.params.items()})


def test_dropout_is_new_in_each_pass_and_off_without_training():
    layer = GRU(3, 50, 2, dropout=0.5, random_state=0)
    x = np.ones((2, 3, 3), np.float32)
    first, second = layer.forward(x)[0], layer.forward(x)[0]
    assert np.abs(first - second).max() > 1e-4
    np.testing.assert_array_equal(layer.forward(x, train=False)[0], layer.forward(x, train=False)[0])
    again = GRU(3, 50, 2, dropout=0.5, random_state=0)
    np.testing.assert_array_equal(again.forward(x)[0], first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_on(kind):
    layer = make(kind, num_layers=2)
    x = np.random.default_rng(0).standard_normal((2, 6, 3))
    whole, last, _ = layer.forward(x)
    first, state, _ = layer.forward(x[:, :2])
    second, state, _ = layer.forward(x[:, 2:], state)
    np.testing.assert_allclose(np.concatenate((first, second), axis=1), whole, atol=1e-12)
    for one, two in zip(parts(state), parts(last)):
        np.testing.assert_allclose(one, two, atol=1e-12)


def test_initial_weights():
    even = LSTM(10, 400, random_state=0)
    w = even.params["layer0.w_x"].value
    assert np.abs(w).max() <= 1 / 20
    assert w.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)
    assert even.params["layer0.b"].value.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.1)
    normal = LSTM(100, 400, initial="xavier", random_state=0, forget_bias=1.0)
    assert normal.params["layer0.w_x"].value.std() == pytest.approx(0.1, rel=0.02)
    assert normal.params["layer0.w_h"].value.std() == pytest.approx(0.05, rel=0.02)
    np.testing.assert_array_equal(normal.params["layer0.b"].value, np.repeat([0, 1, 0, 0], 400))
    turned = GRU(10, 30, initial="orthogonal", random_state=0, dtype="float64")
    for gate in np.split(turned.params["layer0.w_h"].value, 3, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(30), atol=1e-12)


def test_bad_arguments():
    with pytest.raises(ValueRangeError, match="hidden_size is 0"):
        LSTM(3, 0)
    with pytest.raises(ValueRangeError, match="merge is 'mean'"):
        GRU(3, 4, merge="mean")
    with pytest.raises(ValueRangeError, match="dropout is 1"):
        GRU(3, 4, dropout=1.0)
    with pytest.raises(ValueRangeError, match="initial is 'zeros'"):
        RNN(3, 4, initial="zeros")
    with pytest.raises(ValueRangeError, match="nonlinearity is 'sin'"):
        RNN(3, 4, nonlinearity="sin")
    with pytest.raises(ValueRangeError, match="forget_bias is 1"):
        LSTM(3, 4, forget_bias=1.0, bias=False)
    layer = LSTM(3, 4)
    with pytest.raises(ShapeError, match="x has shape"):
        layer.forward(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="x has"):
        layer.forward(np.zeros((2, 5, 4)))
    with pytest.raises(DTypeError, match="state is ndarray, expected None or "):
        layer.forward(np.zeros((2, 5, 3)), np.zeros((1, 2, 4)))
    with pytest.raises(ShapeError, match="h of state has shape"):
        layer.forward(np.zeros((2, 5, 3)), (np.zeros((1, 3, 4)), None))


LAYOUTS = {"keras": ("lstm", "gru", "rnn"), "book": ("lstm", "rnn")}


@pytest.mark.parametrize(("layout", "kind"), [(layout, kind) for layout, kinds in LAYOUTS.items() for kind in kinds])
def test_other_layouts_come_back(layout, kind):
    layer, other = make(kind, num_layers=2, bidirectional=True), make(kind, num_layers=2, bidirectional=True,
                                                                      random_state=1)  # fmt: skip
    getattr(other, f"load_{layout}")(getattr(layer, f"to_{layout}")())
    for name, param in layer.params.items():
        np.testing.assert_array_equal(other.params[name].value, param.value)


def test_gates_of_other_layouts_stand_where_they_belong():
    layer = LSTM(1, 1, dtype="float64", random_state=0)
    i, f, g, o = layer.params["layer0.w_x"].value[0]
    np.testing.assert_array_equal(layer.to_book()[0][0], [f, g, i, o])
    np.testing.assert_array_equal(layer.to_keras()[0][0], [i, f, g, o])
    gru = GRU(1, 1, dtype="float64", random_state=0)
    r, z, n = gru.params["layer0.w_x"].value[0]
    np.testing.assert_array_equal(gru.to_keras()[0][0], [z, r, n])
    b_r, b_z, b_n = gru.params["layer0.b"].value
    np.testing.assert_array_equal(gru.to_keras()[2], [[b_z, b_r, b_n], [0, 0, gru.params["layer0.b_n"].value[0]]])
    with pytest.raises(ValueRangeError, match="the book's GRU"):
        gru.to_book()


def test_weights_that_do_not_fit_change_nothing():
    layer = LSTM(3, 4, random_state=0)
    before = layer.get_weights()
    with pytest.raises(ValueRangeError, match="weight_ih_l0"):
        layer.load_torch({})
    state = layer.to_torch()
    with pytest.raises(ValueRangeError, match="weight_hr_l0"):
        layer.load_torch({**state, "weight_hr_l0": np.zeros(3)})
    with pytest.raises(ShapeError, match="weight_hh_l0 has shape"):
        layer.load_torch({**state, "weight_hh_l0": np.zeros((4, 16))})
    with pytest.raises(ShapeError, match="2 arrays, expected 3"):
        layer.load_keras(layer.to_keras()[:2])
    for name, value in layer.get_weights().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.peer
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["one layer", "two layers", "both directions", "no biases", "both"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_states_and_gradients_are_those_of_torch(kind, shape, ragged, dtype):
    torch = pytest.importorskip("torch")
    options = dict(SHAPES, both={"bidirectional": True, "num_layers": 2})[shape]
    n, t, d, h = 5, 7, 6, 20
    own = {"rnn": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind]
    peer = own(d, h, batch_first=True, dtype=getattr(torch, dtype), **KINDS[kind][1], **options)
    layer = KINDS[kind][0](d, h, dtype=dtype, **KINDS[kind][1], **options)
    layer.load_torch(peer.state_dict())
    rng = np.random.default_rng(0)
    cells = layer.num_layers * (2 if layer.bidirectional else 1)
    x = rng.standard_normal((n, t, d)).astype(dtype)
    first = [rng.standard_normal((cells, n, h)).astype(dtype) for _ in range(2 if kind == "lstm" else 1)]
    lengths = np.array([7, 2, 5, 1, 7]) if ragged else None

    given = torch.from_numpy(x).requires_grad_(True)
    states = [torch.from_numpy(part).requires_grad_(True) for part in first]
    told = tuple(states) if kind == "lstm" else states[0]
    rnn = torch.nn.utils.rnn
    if ragged:
        packed = rnn.pack_padded_sequence(given, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False)
        out, last = peer(packed, told)
        out = rnn.pad_packed_sequence(out, batch_first=True, total_length=t)[0]
    else:
        out, last = peer(given, told)
    last = last if kind == "lstm" else (last,)
    y, own_last, cache = layer.forward(x, tuple(first) if kind == "lstm" else first[0], lengths)
    by_y = rng.standard_normal(y.shape).astype(dtype)
    by_last = [rng.standard_normal(part.shape).astype(dtype) for part in parts(own_last)]
    loss = (out * torch.from_numpy(by_y)).sum()
    loss = loss + sum((part * torch.from_numpy(by)).sum() for part, by in zip(last, by_last))
    loss.backward()
    layer.zero_grad()
    dx, dfirst = layer.backward(by_y, cache, tuple(by_last) if kind == "lstm" else by_last[0])

    tolerance = 1e-5 if dtype == "float32" else 1e-10

    def same(mine, other, what):
        other = other.detach().numpy()
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * max(1, np.abs(other).max()), err_msg=what)

    same(y, out, "output")
    for mine, other in zip(parts(own_last), last):
        same(mine, other, "last state")
    same(dx, given.grad, "gradient by x")
    for mine, other in zip(parts(dfirst), states):
        same(mine, other.grad, "gradient by the first state")
    for name, param in layer.params.items():
        cell, part = name.rsplit(".", 1)
        end = "_l" + cell.removeprefix("layer").replace(".reverse", "_reverse")
        if part == "b_n":
            want = getattr(peer, f"bias_hh{end}").grad[2 * h:]
        elif part == "b":
            want = getattr(peer, f"bias_ih{end}").grad
        else:
            want = getattr(peer, {"w_x": "weight_ih", "w_h": "weight_hh"}[part] + end).grad.T
        same(dense(param), want, f"gradient by {name}")
