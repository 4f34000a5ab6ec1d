"""Language models beside PyTorch's on the CPU: words per second, memory, and perplexities after some epochs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .measure import forget_peak, peak_bytes, resident_bytes, run_task
from .rows import Settings, missing, record

__all__ = ["PARTS", "RECIPES", "ROWS"]

BATCH, BPTT = 20, 35
CLIP = 0.25
# The models of the book's sixth chapter: with one layer of 100, and the medium one of Zaremba et al. with tied weights.
MODELS: dict[str, dict[str, Any]] = {
    "LSTM 100": {"embedding_size": 100, "hidden_size": 100, "num_layers": 1},
    "2 x LSTM 650, tied, dropout 0.5": {
        "embedding_size": 650, "hidden_size": 650, "num_layers": 2, "dropout": 0.5, "tie_weights": True,
    },
}  # fmt: skip
QUICK_MODELS = {"LSTM 20": {"embedding_size": 20, "hidden_size": 20, "num_layers": 1}}


def _corpora(settings: Settings) -> tuple[Any, Any, str]:
    """Return training and validation text of Penn Treebank, or of what there is, and what it is called."""
    import fastseq as fs

    folder = Path(settings.get("data") or "") / "ptb"
    if (folder / "ptb.train.txt").is_file():
        train = fs.Corpus.from_file(folder / "ptb.train.txt", eos="<eos>")
        valid = fs.Corpus.from_file(folder / "ptb.valid.txt", eos="<eos>", vocab=train.vocab)
        name = "Penn Treebank"
    else:
        train = fs.datasets.docs(eos="<eos>", unk="<unk>")
        valid, name = _part(train, 20_000), "texts of installed packages"
    if settings["quick"]:
        train, valid, name = _part(train, 15_000), _part(valid, 3_000), f"some of {name}"
    return train, valid, name


def _part(corpus: Any, n: int) -> Any:
    import fastseq as fs

    n = min(n, corpus.n_tokens)
    return fs.Corpus(corpus.ids[:n], [0, n], corpus.vocab)


def _ours(options: dict[str, Any], n_words: int, rate: float, seed: int = 0) -> Any:
    """Return a trainer of a network."""
    import fastseq as fs
    from fastseq.models._language_network import LanguageNetwork

    model = fs.LanguageModel(**options, initial="xavier", random_state=seed)
    return fs.training.Trainer(LanguageNetwork(n_words, *model._options()), fs.SGD(rate), clip=CLIP)


class _Theirs:
    """The same in PyTorch, as its users write it."""

    def __init__(
        self, settings: Settings, options: dict[str, Any], n_words: int, rate: float, seed: int = 0, device: str = "cpu"
    ) -> None:
        import torch

        torch.set_num_threads(settings["threads"])
        # As the kernels here do: a softmax over 10,000 words gives gradients that are denormal numbers.
        torch.set_flush_denormal(True)
        torch.manual_seed(seed)
        self.torch = torch
        width, units, share = options["embedding_size"], options["hidden_size"], options.get("dropout", 0.0)
        layers = options["num_layers"]
        self.embedding = torch.nn.Embedding(n_words, width)
        self.dropout = torch.nn.Dropout(share)
        self.recurrent = torch.nn.LSTM(width, units, layers, dropout=share if layers > 1 else 0.0)
        self.output = torch.nn.Linear(units, n_words)
        if options.get("tie_weights"):
            self.output.weight = self.embedding.weight
        self.modules = torch.nn.ModuleList([self.embedding, self.dropout, self.recurrent, self.output]).to(device)
        self.device = device
        with torch.no_grad():
            # As the book begins, and as the other side does.
            self.output.weight.normal_(0.0, units**-0.5)
            self.embedding.weight.normal_(0.0, 0.01)
            for name, param in self.recurrent.named_parameters():
                param.zero_() if "bias" in name else param.normal_(0.0, param.shape[1] ** -0.5)
                # One bias is enough: with both the sum would step twice as far.
                param.requires_grad_("bias_hh" not in name)
            self.output.bias.zero_()
        self.params = [param for param in self.modules.parameters() if param.requires_grad]
        self.optimizer = torch.optim.SGD(self.params, rate)
        self.state: Any = None

    def take(self, network: Any) -> None:
        """Take over the weights of ours."""
        torch = self.torch
        params = {name: torch.from_numpy(param.value.copy()) for name, param in network.params.items()}
        with torch.no_grad():
            self.embedding.weight.copy_(params["embedding.weight"])
            if not network.options.tie_weights:
                self.output.weight.copy_(params["output.weight"].T)
            self.output.bias.copy_(params["output.bias"])
            for number, layer in enumerate(network.recurrent):
                for name, array in layer.to_torch().items():
                    getattr(self.recurrent, name.replace("_l0", f"_l{number}")).copy_(torch.from_numpy(array))

    def loss(self, inputs: Any, labels: Any) -> Any:
        x, y = (
            self.torch.from_numpy(np.ascontiguousarray(array.T)).to(self.device).long() for array in (inputs, labels)
        )
        h, state = self.recurrent(self.dropout(self.embedding(x)), self.state)
        self.state = tuple(part.detach() for part in state)
        scores = self.output(self.dropout(h))
        return self.torch.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1))

    def train(self, inputs: Any, labels: Any) -> None:
        self.optimizer.zero_grad()
        self.loss(inputs, labels).backward()
        self.torch.nn.utils.clip_grad_norm_(self.params, CLIP)
        self.optimizer.step()

    def perplexity(self, inputs: np.ndarray, labels: np.ndarray, counted: np.ndarray) -> float:
        """Return that of a text in rows, all of it from states of zeros."""
        self.modules.eval()
        self.state, total = None, 0.0
        with self.torch.inference_mode():
            for begin in range(0, inputs.shape[1], BPTT):
                part = slice(begin, begin + BPTT)
                x = self.torch.from_numpy(np.ascontiguousarray(inputs[:, part].T)).long()
                h, self.state = self.recurrent(self.embedding(x), self.state)
                logs = self.output(h).log_softmax(-1).numpy()
                asked = np.take_along_axis(logs, labels[:, part].T[..., None], axis=2)[..., 0]
                total -= float(np.sum(asked, where=counted[:, part].T, dtype=np.float64))
        self.modules.train()
        self.state = None
        return float(np.exp(total / counted.sum()))


def _batches(corpus: Any, n: int) -> list[Any]:
    from fastseq.training import TextBatches

    return [batch for _, batch in zip(range(n), TextBatches(corpus.ids, BATCH, BPTT).epoch(0))]


def same_start(network: Any, peer: _Theirs, batch: Any) -> tuple[bool, str]:
    """Give the peer the weights of ours; return whether both have the same loss then, and what to say of it."""
    peer.take(network)
    peer.modules.eval()
    top, _ = network.infer(batch.arrays[0])
    mine = float(network.losses(top, batch.arrays[1]).mean())
    other = peer.loss(*batch.arrays).item()
    peer.modules.train()
    return abs(mine - other) < 1e-4, f"same loss of the first batch, {mine:.4f} nats, with equal weights"


def words_per_second(settings: Settings) -> list[dict[str, Any]]:
    """Training steps: forward, backward, clipping and the optimizer's step."""
    import fastseq as fs

    corpus, _, name = _corpora(settings)
    found = []
    with fs.threads(settings["threads"]):
        for label, options in (QUICK_MODELS if settings["quick"] else MODELS).items():
            trainer = _ours(options, len(corpus.vocab), 1.0)
            try:
                peer = _Theirs(settings, options, len(corpus.vocab), 1.0)
            except ImportError:
                found.append(missing(f"{name}: training {label}", "PyTorch", "not installed"))
                continue
            steps = 20 if options["hidden_size"] <= 100 else 4
            batches = _batches(corpus, steps + 1)
            same = same_start(trainer.model, peer, batches[0])
            times: dict[str, list[float]] = {"ours": [], "peer": []}
            sides = {"ours": trainer._train, "peer": lambda batch: peer.train(*batch.arrays)}  # noqa: B023
            for turn in range(2 * settings["rounds"] + 1):
                for side, step in sides.items():
                    # Idle threads of the other side go on spinning for a while.
                    time.sleep(0.2)
                    step(batches[0])
                    begin = time.perf_counter()
                    for batch in batches[1:]:
                        step(batch)
                    if turn:
                        times[side].append((time.perf_counter() - begin) / steps)
            ours, theirs = (BATCH * BPTT / min(times[side]) for side in ("ours", "peer"))
            what, rounds = f"{name}: training {label}, V {len(corpus.vocab):,}", 2 * settings["rounds"]
            found.append(record(what, "PyTorch", ours, theirs, "words/s", rounds=rounds, same=same,
                                higher_is_better=True))  # fmt: skip
    return found


def training_memory_ours(settings: Settings) -> int:
    """Return the peak memory of a process that trains, above that before."""
    return _training_memory(settings, lambda options, n: _step_of(_ours(options, n, 1.0)))


def training_memory_peer(settings: Settings) -> int:
    """Return the same for PyTorch."""
    return _training_memory(settings, lambda options, n: _step_of_peer(_Theirs(settings, options, n, 1.0)))


def _step_of(trainer: Any) -> Any:
    return trainer._train


def _step_of_peer(peer: _Theirs) -> Any:
    return lambda batch: peer.train(*batch.arrays)


def _training_memory(settings: Settings, make: Any) -> int:
    import fastseq as fs

    corpus, _, _ = _corpora(settings)
    options = list((QUICK_MODELS if settings["quick"] else MODELS).values())[settings["model"]]
    batches = _batches(corpus, 8)
    with fs.threads(settings["threads"]):
        # One step beforehand with a small one: compiled kernels and libraries are not what is compared.
        make(QUICK_MODELS["LSTM 20"], len(corpus.vocab))(batches[0])
        forget_peak()
        before = resident_bytes() or 0
        step = make(options, len(corpus.vocab))
        for batch in batches:
            step(batch)
    return (peak_bytes() or 0) - before


def training_memory(settings: Settings) -> list[dict[str, Any]]:
    """Peak memory of training, each side in a process of its own."""
    found = []
    _, _, name = _corpora(settings)
    for number, label in enumerate(QUICK_MODELS if settings["quick"] else MODELS):
        what = f"{name}: training {label}, peak memory above that before"
        try:
            import torch  # noqa: F401
        except ImportError:
            found.append(missing(what, "PyTorch", "not installed"))
            continue
        ours = run_task("training_memory_ours", {**settings, "model": number})
        peer = run_task("training_memory_peer", {**settings, "model": number})
        found.append(record(what, "PyTorch", ours / 1e6, peer / 1e6, "MB"))
    return found


def perplexity_after_epochs(settings: Settings) -> list[dict[str, Any]]:
    """The book's Rnnlm, and the same in PyTorch: valid perplexity after 4 epochs, the mean of some seeds."""
    import fastseq as fs
    from fastseq.models.adaptation import streams

    train, valid, name = _corpora(settings)
    preset = fs.presets.get("rnnlm")
    epochs = 1 if settings["quick"] else preset.training["epochs"]
    rows = streams(valid.ids, BATCH)
    ours, theirs, seconds = [], [], {"ours": [], "peer": []}
    for seed in range(settings["seeds"]):
        begin = time.perf_counter()
        with fs.threads(settings["threads"]):
            model = preset.language_model(random_state=seed)
            model.fit(train, **preset.fit_options(epochs=epochs))
            seconds["ours"].append(time.perf_counter() - begin)
            ours.append(model.perplexity(valid, batch_size=BATCH))
        try:
            peer = _Theirs(settings, MODELS["LSTM 100"], len(train.vocab), 20.0, seed)
        except ImportError:
            return [missing(f"{name}: perplexity", "PyTorch", "not installed")]
        begin = time.perf_counter()
        for _ in range(epochs):
            peer.state = None
            for batch in fs.training.TextBatches(train.ids, BATCH, BPTT).epoch(0):
                peer.train(*batch.arrays)
        seconds["peer"].append(time.perf_counter() - begin)
        theirs.append(peer.perplexity(*rows))
    told = f"{epochs} epoch{'s' * (epochs > 1)} of the book's Rnnlm"
    spread = (f"quality, not speed; seeds: {', '.join(f'{value:.1f}' for value in ours)} and "
              f"{', '.join(f'{value:.1f}' for value in theirs)}")  # fmt: skip
    return [
        record(f"{name}: valid perplexity after {told}", "PyTorch", float(np.mean(ours)), float(np.mean(theirs)), "",
               note=spread),
        record(f"{name}: {told}", "PyTorch", min(seconds["ours"]), min(seconds["peer"]), "s"),
    ]  # fmt: skip


def _tell(model: Any, logs: dict[str, float]) -> None:
    """Say how far a training of half an hour has come."""
    print(f"  epoch {logs['epoch']:g}: valid {logs['valid_perplexity']:.2f}", file=sys.stderr, flush=True)


def better_rnnlm(settings: Settings) -> list[dict[str, Any]]:
    """The book's BetterRnnlm, its first 6 epochs."""
    import fastseq as fs

    train, valid, name = _corpora(settings)
    preset = fs.presets.get("better-rnnlm")
    small = {"embedding_size": 20, "hidden_size": 20} if settings["quick"] else {}
    epochs = 1 if settings["quick"] else 6
    begin = time.perf_counter()
    with fs.threads(settings["threads"]):
        model = preset.language_model(random_state=0, **small)
        history = model.fit(train, valid=valid, callbacks=[_tell], **preset.fit_options(epochs=epochs))
        seconds = time.perf_counter() - begin
        cached = model.perplexity(valid, cache=fs.ContinuousCache())
    curve = ", ".join(f"{value:.1f}" for value in history.valid_perplexity)
    return [
        {"fact": f"{name}: BetterRnnlm (2 x LSTM 650), valid perplexity epoch by epoch",
         "value": f"{curve} in {seconds / 60:.0f} minutes"},
        {"fact": f"{name}: the same with a cache of the last 500 words", "value": f"{cached:.1f}"},
    ]  # fmt: skip


def characters(settings: Settings) -> list[dict[str, Any]]:
    """A character model on tinyshakespeare, nine tenths of it to learn from."""
    import fastseq as fs

    path = Path(settings.get("data") or "") / "shakespeare" / "tinyshakespeare.txt"
    if not path.is_file():
        return [{"fact": "characters of tinyshakespeare", "value": "the text is not there"}]
    text = path.read_text(encoding="utf-8")
    text = text[:40_000] if settings["quick"] else text
    cut = len(text) * 9 // 10
    train = fs.Corpus.from_text(text[:cut], tokenizer="char", eos="\n")
    valid = fs.Corpus.from_text(text[cut:], tokenizer="char", eos="\n", vocab=train.vocab, unk=None)
    preset = fs.presets.get("char-lstm")
    options = preset.fit_options(**({"epochs": 1} if settings["quick"] else {}))
    begin = time.perf_counter()
    with fs.threads(settings["threads"]):
        model = preset.language_model(dropout=0.2, random_state=0)
        history = model.fit(train, valid=valid, callbacks=[_tell], **options)
    value = f"{min(history.valid_loss):.3f} nats a character in {(time.perf_counter() - begin) / 60:.1f} minutes"
    return [{"fact": "tinyshakespeare: 2 x LSTM 256, loss on the last tenth", "value": value}]


ROWS: dict[str, Any] = {
    task.__name__: task for task in (words_per_second, training_memory, perplexity_after_epochs)
}
RECIPES: dict[str, Any] = {task.__name__: task for task in (characters, better_rnnlm)}
PARTS = (training_memory_ours, training_memory_peer)
