"""The CUDA kernels and models, beside PyTorch with cuDNN on the same card: one group, for machines that have one.

All arrays lie on the card before the clock starts, and it stops when the card has finished. PyTorch multiplies float32
with all their bits here (no TF32), as the kernels do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import language, recurrent
from .rows import Settings, _scores, missing, record

__all__ = ["ROWS", "available", "card_name"]

PEER = "PyTorch, cuDNN"
# Beside those of the CPU: one sequence, as in writing a text, and a large batch.
SHAPES = (*recurrent.SHAPES, (35, 1, 650, 650), (35, 128, 650, 650))


def available() -> bool:
    """Whether there is a card (or Numba's simulator, for a test of this module)."""
    from fastseq.device import cuda_available

    return cuda_available()


def card_name() -> str:
    """Return what the card is called."""
    from fastseq.kernels import _cuda

    if _cuda.SIMULATED:
        return "Numba's simulator"
    name = _cuda.cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def _wait() -> None:
    from fastseq.kernels import _cuda

    _cuda.cuda.synchronize()


def _torch() -> Any:
    """Return PyTorch where it is installed and sees the card, else None: rows say so then."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch


def _least(sides: dict[str, Callable[[], Any]], settings: Settings) -> dict[str, float]:
    """Return the least time of each side, per call, over rounds A B A B ... of some calls each."""
    rounds, calls = 2 * settings["rounds"], 1 if settings["quick"] else 10
    least = dict.fromkeys(sides, float("inf"))
    for turn in range(rounds + 1):
        for name, function in sides.items():
            _wait()
            begin = time.perf_counter()
            for _ in range(calls):
                function()
            _wait()
            if turn:
                least[name] = min(least[name], (time.perf_counter() - begin) / calls)
    return least


def _rows(label: str, ours: Callable[[], Any], theirs: Callable[[], Any] | None, settings: Settings,
          same: tuple[bool, str]) -> list[dict[str, Any]]:  # fmt: skip
    least = _least({"ours": ours} if theirs is None else {"ours": ours, "peer": theirs}, settings)
    if theirs is None:
        return [missing(label, PEER, f"not installed; fastseq {1e3 * least['ours']:.3g} ms")]
    return [record(label, PEER, least["ours"], least["peer"], "s", rounds=2 * settings["rounds"], same=same)]


def _layer_of(torch: Any, cell: str, arrays: dict[str, np.ndarray]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return PyTorch's training and inference on the card."""
    layer = recurrent._torch_layer(torch, cell, arrays).cuda()
    layer.flatten_parameters()
    x, dh = (torch.from_numpy(arrays[name]).cuda() for name in ("x", "dh"))

    def train() -> Any:
        layer.zero_grad(set_to_none=True)
        given = x.detach().requires_grad_(True)
        h = layer(given)[0]
        h.backward(dh)
        return h.detach(), [given.grad, layer.weight_ih_l0.grad, layer.weight_hh_l0.grad]

    def infer() -> Any:
        with torch.inference_mode():
            return layer(x)[0]

    return train, infer


def _on_host(result: Any) -> Any:
    """Return arrays of the card, in tuples or lists, as NumPy's."""
    from fastseq.device import to_host

    if isinstance(result, (tuple, list)):
        return [_on_host(part) for part in result]
    return result.cpu().numpy() if hasattr(result, "cpu") else to_host(result)


def _recurrent(settings: Settings, cell: str) -> list[dict[str, Any]]:
    from fastseq.device import to_device
    from fastseq.kernels.cuda import _persistent

    found: list[dict[str, Any]] = []
    torch = _torch()
    for shape in recurrent.QUICK_SHAPES if settings["quick"] else SHAPES:
        arrays = recurrent._arrays(cell, shape)
        there = {name: to_device(array, "cuda") for name, array in arrays.items() if name != "lengths"}
        ours = recurrent._ours(cell, there, None)
        theirs = (None, None) if torch is None else _layer_of(torch, cell, arrays)
        same = (True, "")
        if theirs[0] is not None:
            same = recurrent._agree(cell, _on_host(ours[0]()), _on_host(theirs[0]()))
        size = f"T {shape[0]}, N {shape[1]}, D {shape[2]}, H {shape[3]}"
        for way, mine, other in zip(("training", "inference"), ours, theirs):
            found += _rows(f"{recurrent.SHOWN[cell]} {way}, {size}", mine, other, settings, same)
        # The same with a product and a kernel a step, which is what there is for weights that do not fit the chip.
        most, _persistent._MOST_SEQUENCES = _persistent._MOST_SEQUENCES, -1
        try:
            stepwise = _least({"ours": ours[0]}, settings)["ours"]
        finally:
            _persistent._MOST_SEQUENCES = most
        what = f"{recurrent.SHOWN[cell]} training step by step, {size}"
        found.append({"fact": what, "value": f"{1e3 * stepwise:.3g} ms"})
    return found


def card_lstm(settings: Settings) -> list[dict[str, Any]]:
    """LSTM on the card."""
    return _recurrent(settings, "lstm")


def card_gru(settings: Settings) -> list[dict[str, Any]]:
    """GRU on the card."""
    return _recurrent(settings, "gru")


def card_rnn(settings: Settings) -> list[dict[str, Any]]:
    """RNN on the card."""
    return _recurrent(settings, "rnn")


def card_output_layer(settings: Settings) -> list[dict[str, Any]]:
    """Projection, softmax and cross-entropy on the card."""
    import fastseq as fs
    from fastseq.device import to_device

    found = []
    torch = _torch()
    for n_rows, units, n_words in recurrent.QUICK_OUTPUTS if settings["quick"] else recurrent.OUTPUTS:
        rng = np.random.default_rng(0)
        h = rng.standard_normal((n_rows, units)).astype(np.float32)
        w = (rng.standard_normal((n_words, units)) / np.sqrt(units)).astype(np.float32)
        b, labels = np.zeros(n_words, np.float32), rng.integers(0, n_words, n_rows).astype(np.int32)
        given = [to_device(array, "cuda") for array in (h, w, b, labels)]

        def ours(given: Any = given) -> Any:
            return fs.kernels.softmax_cross_entropy(*given, by_word=True)

        theirs, same = None, (True, "")
        if torch is not None:
            leaves = [torch.from_numpy(a.copy()).cuda().requires_grad_(True) for a in (h, w, b)]
            asked = torch.from_numpy(labels).cuda().long()

            def train(leaves: Any = leaves, asked: Any = asked) -> Any:
                for leaf in leaves:
                    leaf.grad = None
                functions = torch.nn.functional
                functions.cross_entropy(functions.linear(*leaves), asked).backward()
                return [leaf.grad for leaf in leaves]

            theirs = train
            mine, other = _on_host(ours()[1:]), _on_host(theirs())
            worst = max(float(np.abs(a - c).max() / np.abs(c).max()) for a, c in zip(mine, other))
            same = worst < 1e-4, f"gradients within {worst:.0e} of the largest"
        label = f"projection, softmax, cross-entropy, {n_rows} rows, H {units}, V {n_words:,}"
        found += _rows(label, ours, theirs, settings, same)
    return found


def card_words_per_second(settings: Settings) -> list[dict[str, Any]]:
    """Training steps of language models on the card: forward, backward, clipping and the optimizer's step."""
    from fastseq.device import use_device

    corpus, _, name = language._corpora(settings)
    found = []
    for label, options in (language.QUICK_MODELS if settings["quick"] else language.MODELS).items():
        steps = 20
        batches = language._batches(corpus, steps + 1)
        peer, same = None, (True, "")
        if _torch() is not None:
            peer = language._Theirs(settings, options, len(corpus.vocab), 1.0, device="cuda")
            # The twin on the host has the weights that ours begins with on the card.
            twin = language._ours(options, len(corpus.vocab), 1.0).model
            same = language.same_start(twin, peer, batches[0])
        with use_device("cuda"):
            trainer = language._ours(options, len(corpus.vocab), 1.0)
            times: dict[str, list[float]] = {"ours": [], "peer": []}
            sides = {"ours": trainer._train}
            if peer is not None:
                sides["peer"] = lambda batch, peer=peer: peer.train(*batch.arrays)
            for turn in range(2 * settings["rounds"] + 1):
                for side, step in sides.items():
                    step(batches[0])
                    _wait()
                    begin = time.perf_counter()
                    for batch in batches[1:]:
                        step(batch)
                    _wait()
                    if turn:
                        times[side].append((time.perf_counter() - begin) / steps)
        n_words = language.BATCH * language.BPTT
        ours = n_words / min(times["ours"])
        what = f"{name}: training {label}, V {len(corpus.vocab):,}"
        if peer is not None:
            found.append(record(what, PEER, ours, n_words / min(times["peer"]), "words/s",
                                rounds=2 * settings["rounds"], same=same, higher_is_better=True))  # fmt: skip
        else:
            found.append(missing(what, PEER, f"not installed; fastseq {ours:,.0f} words/s"))
    return found


def card_word2vec(settings: Settings) -> list[dict[str, Any]]:
    """Training of word2vec on the card, beside the CPU's quality."""
    import fastseq as fs
    from fastseq.device import use_device

    found = []
    corpus = fs.Corpus.from_file(settings["corpus"], min_count=settings["min_count"])
    some = min(20_000, corpus.n_tokens)
    warm = fs.Corpus(corpus.ids[:some], [0, some], corpus.vocab)
    options = {"dim": settings["dim"], "compute_loss": False, "random_state": 0}
    for kind, label in ((fs.SkipGram, "skip-gram"), (fs.CBOW, "CBOW")):
        told = []
        for device in ("cuda", "cpu"):
            with use_device(device), fs.threads(settings["threads"]):
                kind(**options, epochs=1).fit(warm)
                begin = time.perf_counter()
                model = kind(**options, epochs=settings["epochs"]).fit(corpus)
                seconds = time.perf_counter() - begin
            scores = _scores(model.vectors.matrix, list(corpus.vocab.words), {"score": True, **settings})
            speed = corpus.n_tokens * settings["epochs"] / seconds / 1e6
            quality = [f"{score} {value:.3f}" for score, value in scores.items()]
            told.append(", ".join([f"{speed:.3g} M words/s", *quality]))
        what = f"{label}, dim {settings['dim']}, epochs {settings['epochs']}: on the card; on the CPU"
        found.append({"fact": what, "value": "; ".join(told)})
    return found


ROWS: dict[str, Any] = {
    task.__name__: task
    for task in (card_lstm, card_gru, card_rnn, card_output_layer, card_words_per_second, card_word2vec)
}
