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
BEFORE = {"before": (GRU, {"reset_after": False})}
SHAPES = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "added up": {"bidirectional": True, "merge": "sum", "num_layers": 2},
    "no biases": {"bias": False},
}


def make(kind, **options):
    layer, own = (KINDS | BEFORE)[kind]
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


VARIANTS = {
    "dropout": (LSTM, {"num_layers": 3, "dropout": 0.4}),
    "inputs": (GRU, {"num_layers": 2, "input_dropout": 0.3, "dropout": 0.2}),
    "states": (RNN, {"recurrent_dropout": 0.3, "bidirectional": True}),
    "weights": (LSTM, {"weight_dropout": 0.4, "num_layers": 2}),
    "zoneout": (LSTM, {"zoneout": (0.1, 0.5), "bidirectional": True}),
    "norm": (LSTM, {"layer_norm": True, "num_layers": 2}),
    "norm of a GRU": (GRU, {"layer_norm": True, "zoneout": 0.2}),
    "norm of an RNN": (RNN, {"layer_norm": True, "nonlinearity": "relu"}),
    "peephole": (LSTM, {"peephole": True, "forget_bias": 1.0, "cell_clip": 0.3}),
    "projection": (LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True, "merge": "sum"}),
    "reset before": (GRU, {"reset_after": False, "num_layers": 2, "bidirectional": True}),
    "all": (LSTM, {"peephole": True, "proj_size": 4, "cell_clip": 0.5, "layer_norm": True, "zoneout": 0.2,
                   "weight_dropout": 0.2, "recurrent_dropout": 0.2, "input_dropout": 0.2, "num_layers": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_gradients_of_variants(name, train, lengths):
    kind, options = VARIANTS[name]
    layer = kind(3, 5, dtype="float64", random_state=0, **options)
    x = np.random.default_rng(0).standard_normal((3, 4, 3))
    y, last, cache = layer.forward(x, lengths=lengths, train=train)
    by_last = [np.ones_like(part) for part in parts(last)]
    dx, _ = layer.backward(np.ones_like(y), cache, tuple(by_last) if kind is LSTM else by_last[0])

    def loss():
        # The same masks again.
        layer._passes = 0
        y, last, _ = layer.forward(x, lengths=lengths, train=train)
        return float(y.sum()) + sum(float(part.sum()) for part in parts(last))

    arrays = {name: param.value for name, param in layer.params.items()} | {"x": x}
    check_gradients(loss, arrays, {name: dense(param) for name, param in layer.params.items()} | {"x": dx})


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"norm", "peephole", "projection", "reset before"} -
                                        {"norm of a GRU", "norm of an RNN"}))  # fmt: skip
def test_masks_are_new_in_each_pass_and_off_without_training(name):
    kind, options = VARIANTS[name]
    layer, again = (kind(3, 50, random_state=0, **options) for _ in range(2))
    x = np.random.default_rng(0).standard_normal((2, 3, 3)).astype(np.float32)
    first, second = layer.forward(x)[0], layer.forward(x)[0]
    assert np.abs(first - second).max() > 1e-4
    np.testing.assert_array_equal(again.forward(x)[0], first)
    np.testing.assert_array_equal(layer.forward(x, train=False)[0], layer.forward(x, train=False)[0])


def test_the_book_s_gru():
    """Its equations: h = (1 - z) h_before + z tanh(x W + (r h_before) U), gates z, r and candidate side by side."""
    layer = GRU(3, 5, reset_after=False, dtype="float64", random_state=0)
    w_x, w_h, b = layer.to_book()
    rng = np.random.default_rng(0)
    x, h = rng.standard_normal((2, 6, 3)), rng.standard_normal((2, 5))
    y, _, _ = layer.forward(x, h[None])
    for t in range(6):
        sums = x[:, t] @ w_x[:, :10] + h @ w_h[:, :10] + b[:10]
        z, r = np.split(1 / (1 + np.exp(-sums)), 2, axis=1)
        new = np.tanh(x[:, t] @ w_x[:, 10:] + (r * h) @ w_h[:, 10:] + b[10:])
        h = (1 - z) * h + z * new
        np.testing.assert_allclose(y[:, t], h, atol=1e-14)


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
    for option in ("input_dropout", "recurrent_dropout", "weight_dropout", "zoneout"):
        with pytest.raises(ValueRangeError, match=f"{option} is"):
            LSTM(3, 4, **{option: 1.0})
    with pytest.raises(ValueRangeError, match="zoneout holds 2 shares"):
        GRU(3, 4, zoneout=(0.1, 0.2))
    with pytest.raises(ValueRangeError, match="proj_size is -1"):
        LSTM(3, 4, proj_size=-1)
    with pytest.raises(ValueRangeError, match="orthogonal"):
        LSTM(3, 4, proj_size=2, initial="orthogonal")
    with pytest.raises(ValueRangeError, match="cell_clip is 0"):
        LSTM(3, 4, cell_clip=0)
    with pytest.raises(ValueRangeError, match="layer_norm is True and reset_after False"):
        GRU(3, 4, layer_norm=True, reset_after=False)
    with pytest.raises(ValueRangeError, match="this layer has peephole"):
        LSTM(3, 4, peephole=True).to_torch()
    with pytest.raises(ValueRangeError, match="this layer has proj_size"):
        LSTM(3, 4, proj_size=2).to_keras()
    with pytest.raises(ValueRangeError, match="this layer has cell_clip"):
        LSTM(3, 4, cell_clip=1.0).to_torch()
    with pytest.raises(ValueRangeError, match="this layer has reset_after=False"):
        GRU(3, 4, reset_after=False).to_torch()
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


LAYOUTS = {"keras": ("lstm", "gru", "rnn", "before"), "book": ("lstm", "rnn", "before")}


@pytest.mark.parametrize(("layout", "kind"), [(layout, kind) for layout, kinds in LAYOUTS.items() for kind in kinds])
def test_other_layouts_come_back(layout, kind):
    layer, other = make(kind, num_layers=2, bidirectional=True), make(kind, num_layers=2, bidirectional=True,
                                                                      random_state=1)  # fmt: skip
    getattr(other, f"load_{layout}")(getattr(layer, f"to_{layout}")())
    for name, param in layer.params.items():
        np.testing.assert_array_equal(other.params[name].value, param.value)


def test_a_projection_as_wide_as_the_cells_is_kept():
    layer, other = LSTM(3, 5, proj_size=5, random_state=0), LSTM(3, 5, proj_size=5, random_state=1)
    state = layer.to_torch()
    assert state["weight_hr_l0"].shape == (5, 5)
    other.load_torch(state)
    np.testing.assert_array_equal(other.params["layer0.w_p"].value, layer.params["layer0.w_p"].value)
    with pytest.raises(ValueRangeError, match="this layer has proj_size"):
        layer.to_keras()


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


SHARED = ("one layer", "two layers", "both directions", "no biases", "both")
PAIRS = [(kind, shape) for kind in KINDS for shape in SHARED]


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize(("kind", "shape"), [*PAIRS, ("lstm", "projected")])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_states_and_gradients_are_those_of_torch(kind, shape, ragged, dtype):
    torch = pytest.importorskip("torch")
    both = {"bidirectional": True, "num_layers": 2}
    options = dict(SHAPES, both=both, projected=both | {"proj_size": 9})[shape]
    n, t, d, h = 5, 7, 6, 20
    own = {"rnn": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind]
    peer = own(d, h, batch_first=True, dtype=getattr(torch, dtype), **KINDS[kind][1], **options)
    layer = KINDS[kind][0](d, h, dtype=dtype, **KINDS[kind][1], **options)
    layer.load_torch(peer.state_dict())
    rng = np.random.default_rng(0)
    cells = layer.num_layers * (2 if layer.bidirectional else 1)
    x = rng.standard_normal((n, t, d)).astype(dtype)
    sizes = [options.get("proj_size", h)] + [h] * (kind == "lstm")
    first = [rng.standard_normal((cells, n, size)).astype(dtype) for size in sizes]
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
            want = getattr(peer, {"w_x": "weight_ih", "w_h": "weight_hh", "w_p": "weight_hr"}[part] + end).grad.T
        same(dense(param), want, f"gradient by {name}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_inference_and_time_first_give_what_a_pass_forward_gives(kind, shape, lengths):
    layer, other = make(kind, **SHAPES[shape]), make(kind, batch_first=False, **SHAPES[shape])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 3))
    y, last, cache = layer.forward(x, lengths=lengths, train=False)
    inferred, state = layer.infer(x, lengths=lengths)
    np.testing.assert_allclose(inferred, y, rtol=1e-13, atol=1e-15)
    turned, _, other_cache = other.forward(x.swapaxes(0, 1), lengths=lengths, train=False)
    np.testing.assert_array_equal(turned, y.swapaxes(0, 1))
    for one, two in zip(parts(state), parts(last)):
        np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-15)
    dy = rng.standard_normal(y.shape)
    dx, _ = layer.backward(dy, cache)
    other_dx, _ = other.backward(dy.swapaxes(0, 1), other_cache)
    np.testing.assert_array_equal(other_dx, dx.swapaxes(0, 1))
