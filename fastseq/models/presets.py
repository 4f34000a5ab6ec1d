"""Language models of the literature by name: how they are made and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ValueRangeError
from ..training import ASGD, SGD, Adam, PlateauDecay, StepDecay
from .language_model import LanguageModel

__all__ = ["Preset", "get", "names"]


@dataclass(frozen=True)
class Preset:
    """How a language model of the literature is made and trained.

    Attributes
    ----------
    name : str
        By which `get` finds it.
    source : str
        Where the settings are from.
    model : dict
        Arguments of `fastseq.LanguageModel`.
    training : dict
        Arguments of its ``fit``. What has a memory, the optimizer and the schedule, is made anew by `fit_options`.
    """

    name: str
    source: str
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    optimizer: Callable[[], Any]
    schedule: Callable[[], Any] | None = None

    def language_model(self, **changes: Any) -> LanguageModel:
        """Return the model, not trained yet; ``changes`` are arguments in the place of the preset's or beside them.

        Examples
        --------
        >>> import fastseq as fs
        >>> fs.presets.get("zaremba-small").language_model(hidden_size=50, random_state=0).hidden_size
        50
        """
        return LanguageModel(**{**self.model, **changes})

    def fit_options(self, **changes: Any) -> dict[str, Any]:
        """Return the arguments of ``fit`` beside the texts, ``changes`` in the place of the preset's or beside them."""
        made: dict[str, Any] = {"optimizer": self.optimizer()}
        if self.schedule is not None:
            made["schedule"] = self.schedule()
        return {**self.training, **made, **changes}


_BOOK = "Saito, Deep Learning from Scratch 2, chapter {}"
# The loss there is summed over the steps of a batch, here it is their mean: so rates are theirs times the steps, and
# bounds of the gradients' norm theirs divided by them.
_ZAREMBA = "Zaremba, Sutskever and Vinyals, Recurrent neural network regularization, 2014 ({})"
_PRESETS = (
    Preset(
        "simple-rnnlm", _BOOK.format(5),
        {"cell": "rnn", "embedding_size": 100, "hidden_size": 100, "num_layers": 1, "initial": "xavier"},
        {"epochs": 100, "batch_size": 10, "bptt": 5, "clip": None}, lambda: SGD(0.1),
    ),
    Preset(
        "rnnlm", _BOOK.format(6),
        {"cell": "lstm", "embedding_size": 100, "hidden_size": 100, "num_layers": 1, "initial": "xavier"},
        {"epochs": 4, "batch_size": 20, "bptt": 35, "clip": 0.25}, lambda: SGD(20.0),
    ),
    Preset(
        "better-rnnlm", _BOOK.format(6),
        {"cell": "lstm", "embedding_size": 650, "hidden_size": 650, "num_layers": 2, "dropout": 0.5,
         "tie_weights": True, "initial": "xavier"},
        {"epochs": 40, "batch_size": 20, "bptt": 35, "clip": 0.25}, lambda: SGD(20.0), lambda: PlateauDecay(0.25),
    ),
    Preset(
        "zaremba-small", _ZAREMBA.format("small"),
        {"cell": "lstm", "embedding_size": 200, "hidden_size": 200, "num_layers": 2, "initial": 0.1},
        {"epochs": 13, "batch_size": 20, "bptt": 20, "clip": 5.0 / 20}, lambda: SGD(20.0),
        lambda: StepDecay(0.5, after=4),
    ),
    Preset(
        "zaremba-medium", _ZAREMBA.format("medium"),
        {"cell": "lstm", "embedding_size": 650, "hidden_size": 650, "num_layers": 2, "dropout": 0.5, "initial": 0.05},
        {"epochs": 39, "batch_size": 20, "bptt": 35, "clip": 5.0 / 35}, lambda: SGD(35.0),
        lambda: StepDecay(1 / 1.2, after=6),
    ),
    Preset(
        "zaremba-large", _ZAREMBA.format("large"),
        {"cell": "lstm", "embedding_size": 1500, "hidden_size": 1500, "num_layers": 2, "dropout": 0.65,
         "initial": 0.04},
        {"epochs": 55, "batch_size": 20, "bptt": 35, "clip": 10.0 / 35}, lambda: SGD(35.0),
        lambda: StepDecay(1 / 1.15, after=14),
    ),
    Preset(
        "awd-lstm", "Merity, Keskar and Socher, Regularizing and optimizing LSTM language models, ICLR 2018 (Penn "
        "Treebank)",
        {"cell": "lstm", "embedding_size": 400, "hidden_size": 1150, "num_layers": 3, "tie_weights": True,
         "input_dropout": 0.4, "hidden_dropout": 0.25, "output_dropout": 0.4, "locked_dropout": True,
         "embedding_dropout": 0.1, "weight_dropout": 0.5, "activation_reg": 2.0, "temporal_activation_reg": 1.0},
        {"epochs": 500, "batch_size": 20, "bptt": 70, "variable_bptt": True, "clip": 0.25},
        lambda: ASGD(30.0, trigger=5, weight_decay=1.2e-6),
    ),
    Preset(
        "char-lstm", "Karpathy, char-rnn, 2015, with a higher rate",
        {"cell": "lstm", "embedding_size": 64, "hidden_size": 256, "num_layers": 2, "tokenizer": "char"},
        {"epochs": 10, "batch_size": 50, "bptt": 50, "clip": 5.0}, lambda: Adam(0.002),
        lambda: StepDecay(0.8, after=5),
    ),
)  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return tuple(preset.name for preset in _PRESETS)


def get(name: str) -> Preset:
    """Return a preset.

    Raises
    ------
    ValueRangeError
        There is none of that name.

    Examples
    --------
    >>> import fastseq as fs
    >>> preset = fs.presets.get("rnnlm")
    >>> lm, options = preset.language_model(random_state=0), preset.fit_options(epochs=1)
    >>> lm.hidden_size, options["optimizer"]
    (100, SGD(learning_rate=20.0, momentum=0.0, nesterov=False, weight_decay=0.0, lazy=False))
    """
    for preset in _PRESETS:
        if preset.name == name:
            return preset
    raise ValueRangeError(f"there is no preset {name!r}, expected one of {names()}")
