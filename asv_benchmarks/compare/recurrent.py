"""LSTM, GRU and RNN beside PyTorch's on the CPU: training (forward and backward), inference, and different lengths.

And what options cost, and the output layer of a language model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Settings, missing, record

__all__ = ["ROWS"]

# Steps, sequences, inputs, units: a small and a medium language model, one of AWD-LSTM's layers, a square one, and the
# decoder of a small translator.
SHAPES = ((35, 20, 100, 100), (35, 20, 650, 650), (70, 20, 400, 1150), (50, 128, 512, 512), (29, 128, 16, 256))
QUICK_SHAPES = ((7, 5, 20, 30),)
# Rows, units, words: small and medium language models on Penn Treebank, WikiText-2, and characters.
OUTPUTS = ((700, 100, 10_000), (700, 650, 10_000), (1400, 400, 33_278), (3200, 256, 65))
QUICK_OUTPUTS = ((50, 20, 300),)
OPTIONS: dict[str, dict[str, Any]] = {
    "layer norm": {"layer_norm": True},
    "zoneout": {"zoneout": 0.1},
    "DropConnect": {"weight_dropout": 0.3},
    "peephole": {"peephole": True},
    "dropout of states": {"recurrent_dropout": 0.3},
}
CELLS = ("lstm", "gru", "rnn")
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
SHOWN = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


def _torch(settings: Settings) -> Any:
    import torch

    torch.set_num_threads(settings["threads"])
    # As the kernels here do: a gradient that fades away must not slow either side down.
    torch.set_flush_denormal(True)
    return torch


def _torch_layer(torch: Any, cell: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return PyTorch's layer with the same weights."""
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    layer = kind(arrays["w_x"].shape[0], arrays["w_h"].shape[0])
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.from_numpy(arrays["w_x"].T.copy()))
        layer.weight_hh_l0.copy_(torch.from_numpy(arrays["w_h"].T.copy()))
        layer.bias_ih_l0.copy_(torch.from_numpy(arrays["b"]))
        layer.bias_hh_l0.zero_()
        if cell == "gru":
            layer.bias_hh_l0[-len(arrays["b_n"]):] = torch.from_numpy(arrays["b_n"])
    return layer


def _arrays(cell: str, shape: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
    t, n, d, h = shape
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(h)

    def even(*size: int) -> np.ndarray:
        return rng.uniform(-scale, scale, size).astype(np.float32)

    arrays = {"w_x": even(d, GATES[cell] * h), "w_h": even(h, GATES[cell] * h), "b": even(GATES[cell] * h)}
    if cell == "gru":
        arrays["b_n"] = even(h)
    arrays["x"] = rng.standard_normal((t, n, d)).astype(np.float32)
    arrays["dh"] = rng.standard_normal((t, n, h)).astype(np.float32)
    arrays["lengths"] = rng.integers(1, t + 1, n)
    return arrays


def _ours(cell: str, arrays: dict[str, np.ndarray], lengths: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return training and inference."""
    from fastseq import kernels

    run = getattr(kernels, f"{cell}_forward")
    back = getattr(kernels, f"{cell}_backward")
    states = (None, None) if cell == "lstm" else (None,)
    # PyTorch returns no cell states but the last.
    options = {"with_c": False} if cell == "lstm" else {}
    weights = [arrays[name] for name in ("w_x", "w_h", "b", "b_n") if name in arrays]

    def train() -> Any:
        *result, cache = run(arrays["x"], *states, *weights, lengths=lengths, train=True, **options)
        return result[0], back(arrays["dh"], *states, cache)

    def infer() -> Any:
        return run(arrays["x"], *states, *weights, lengths=lengths, **options)[0]

    return train, infer


def _theirs(
    torch: Any, cell: str, arrays: dict[str, np.ndarray], lengths: Any
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    layer = _torch_layer(torch, cell, arrays)
    x, dh = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["dh"])
    rnn = torch.nn.utils.rnn
    if lengths is not None:
        lengths = torch.from_numpy(np.asarray(lengths))

    def run(x: Any) -> Any:
        if lengths is None:
            return layer(x)[0]
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(packed)[0], total_length=x.shape[0])[0]

    def train() -> Any:
        layer.zero_grad(set_to_none=True)
        given = x.detach().requires_grad_(True)
        h = run(given)
        h.backward(dh)
        gradients = (given.grad, layer.weight_ih_l0.grad, layer.weight_hh_l0.grad)
        return h.detach().numpy(), [gradient.numpy() for gradient in gradients]

    def infer() -> Any:
        with torch.inference_mode():
            return run(x).numpy()

    return train, infer


def _in_turn(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the least time of each side over rounds A B A B ...; a short one is called several times a round.

    A side's idle threads go on spinning for a while after its last call, so there is a pause between the sides.
    """
    least = dict.fromkeys(sides, float("inf"))
    calls = {}
    for name, function in sides.items():
        function()
        begin = time.perf_counter()
        function()
        calls[name] = max(1, min(20, int(0.2 / (time.perf_counter() - begin))))
    for _ in range(rounds):
        for name, function in sides.items():
            time.sleep(0.05)
            function()
            for _ in range(calls[name]):
                begin = time.perf_counter()
                function()
                least[name] = min(least[name], time.perf_counter() - begin)
    return least


def _against(first: str, sides: dict[str, Callable[[], Any]], quick: bool) -> dict[str, float]:
    """Return the median, over rounds A B C A B C ..., of each side's time as a multiple of the first's in that round.

    The machine's speed changes by a tenth and more from one second to the next, and all of a round has the same. Least
    times may come of different seconds: by them one option cost 1.05 times the plain cell in one run, 1.16 in the next.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for function in sides.values():
        function()
    begin = time.perf_counter()
    for function in sides.values():
        function()
    rounds = 3 if quick else max(12, min(300, int(8 / (time.perf_counter() - begin))))
    names = list(sides)
    for turn in range(rounds):
        # Not always behind the same one, which leaves the caches to it.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begin = time.perf_counter()
            sides[name]()
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(np.array(each) / times[first])) for name, each in times.items()}


def _agree(cell: str, ours: Any, theirs: Any) -> tuple[bool, str]:
    """Whether outputs and gradients of a training are the same."""
    mine = {"h": ours[0], "dx": ours[1][0], "dw_x": ours[1][-3 if cell != "gru" else -4],
            "dw_h": ours[1][-2 if cell != "gru" else -3]}  # fmt: skip
    other = {"h": theirs[0], "dx": theirs[1][0], "dw_x": theirs[1][1].T, "dw_h": theirs[1][2].T}
    worst = max(float(np.abs(mine[name] - other[name]).max() / np.abs(other[name]).max()) for name in mine)
    return worst < 1e-4, f"outputs and gradients within {worst:.0e} of the largest"


def _rows(settings: Settings, cell: str, ragged: bool) -> list[dict[str, Any]]:
    import fastseq as fs

    found: list[dict[str, Any]] = []
    shapes = QUICK_SHAPES if settings["quick"] else SHAPES
    kind = ", lengths 1 to T" if ragged else ""
    try:
        torch = _torch(settings)
    except ImportError:
        return [missing(f"{SHOWN[cell]}{kind}", "PyTorch", "not installed")]
    ratios: dict[str, list[float]] = {"training": [], "inference": []}
    for shape in shapes:
        arrays = _arrays(cell, shape)
        lengths = arrays["lengths"] if ragged else None
        ours, theirs = _ours(cell, arrays, lengths), _theirs(torch, cell, arrays, lengths)
        with fs.threads(settings["threads"]):
            same = _agree(cell, ours[0](), theirs[0]())
            for way, (mine, other) in zip(("training", "inference"), zip(ours, theirs)):
                least = _in_turn({"ours": mine, "peer": other}, 2 * settings["rounds"])
                label = f"{SHOWN[cell]} {way}, T {shape[0]}, N {shape[1]}, D {shape[2]}, H {shape[3]}{kind}"
                ratios[way].append(least["peer"] / least["ours"])
                rounds = 2 * settings["rounds"]
                found.append(record(label, "PyTorch", least["ours"], least["peer"], "s", rounds=rounds, same=same))
    for way, each in ratios.items():
        mean = f"{np.exp(np.mean(np.log(each))):.2f}, least {min(each):.2f}"
        found.append({"fact": f"{SHOWN[cell]} {way}{kind}: geometric mean of the ratios to PyTorch", "value": mean})
    return found


def lstm(settings: Settings) -> list[dict[str, Any]]:
    """LSTM on full batches."""
    return _rows(settings, "lstm", ragged=False)


def gru(settings: Settings) -> list[dict[str, Any]]:
    """GRU on full batches."""
    return _rows(settings, "gru", ragged=False)


def rnn(settings: Settings) -> list[dict[str, Any]]:
    """RNN on full batches."""
    return _rows(settings, "rnn", ragged=False)


def lengths(settings: Settings) -> list[dict[str, Any]]:
    """LSTM and GRU on sequences of different lengths."""
    return _rows(settings, "lstm", ragged=True) + _rows(settings, "gru", ragged=True)


def options(settings: Settings) -> list[dict[str, Any]]:
    """What options add to the time of a training step of an LSTM layer."""
    import fastseq as fs

    found = []
    for t, n, d, h in QUICK_SHAPES if settings["quick"] else SHAPES:
        rng = np.random.default_rng(0)
        x, dy = (rng.standard_normal((n, t, size)).astype(np.float32) for size in (d, h))

        def step(layer: Any, x: np.ndarray = x, dy: np.ndarray = dy) -> Any:
            def run() -> None:
                layer.zero_grad()
                _, _, cache = layer.forward(x)
                layer.backward(dy, cache)

            return run

        kinds = {"plain": {}, **OPTIONS}
        with fs.threads(settings["threads"]):
            sides = {name: step(fs.layers.LSTM(d, h, random_state=0, **told)) for name, told in kinds.items()}
            ratios = _against("plain", sides, settings["quick"])
        value = ", ".join(f"{name} {ratios[name]:.2f}" for name in OPTIONS)
        found.append({"fact": "LSTM training with an option, times the plain one (median of the rounds' ratios), "
                      f"T {t}, N {n}, D {d}, H {h}", "value": value})  # fmt: skip
    return found


def output_layer(settings: Settings) -> list[dict[str, Any]]:
    """Projection, softmax and cross-entropy, forward and backward, the weights a table of words."""
    import fastseq as fs

    try:
        torch = _torch(settings)
    except ImportError:
        return [missing("projection, softmax, cross-entropy", "PyTorch", "not installed")]
    found = []
    for n_rows, units, n_words in QUICK_OUTPUTS if settings["quick"] else OUTPUTS:
        rng = np.random.default_rng(0)
        h = rng.standard_normal((n_rows, units)).astype(np.float32)
        w = (rng.standard_normal((n_words, units)) / np.sqrt(units)).astype(np.float32)
        b, labels = np.zeros(n_words, np.float32), rng.integers(0, n_words, n_rows)
        leaves = [torch.from_numpy(a.copy()).requires_grad_(True) for a in (h, w, b)]
        asked = torch.from_numpy(labels)

        def ours(given: Any = (h, w, b, labels)) -> Any:
            return fs.kernels.softmax_cross_entropy(*given, by_word=True)

        def theirs(leaves: Any = leaves, asked: Any = asked) -> Any:
            for leaf in leaves:
                leaf.grad = None
            functions = torch.nn.functional
            loss = functions.cross_entropy(functions.linear(*leaves), asked)
            loss.backward()
            return loss.item(), [leaf.grad.numpy() for leaf in leaves]

        with fs.threads(settings["threads"]):
            losses, *mine = ours()
            loss, other = theirs()
            worst = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(mine, other))
            same = (worst < 1e-4 and abs(losses.mean() - loss) < 1e-5 * abs(loss),
                    f"loss and gradients within {worst:.0e} of the largest")  # fmt: skip
            least = _in_turn({"ours": ours, "peer": theirs}, 2 * settings["rounds"])
        label = f"projection, softmax, cross-entropy, {n_rows} rows, H {units}, V {n_words:,}"
        rounds = 2 * settings["rounds"]
        found.append(record(label, "PyTorch", least["ours"], least["peer"], "s", rounds=rounds, same=same))
    return found


ROWS: dict[str, Any] = {task.__name__: task for task in (lstm, gru, rnn, lengths, options, output_layer)}
