"""Recurrent language models: trained on text, they say how likely a text is, and write on."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..device import current_device
from ..errors import DTypeError, FormatError, NotFittedError, TextError, ValueRangeError
from ..io import check_writable, load_arrays, save_arrays
from ..kernels._boundary import as_float_dtype, check_finite_number, check_integer
from ..layers import Param, get_weights, set_weights
from ..layers.dropout import as_share
from ..random import as_key
from ..text.corpus import Corpus
from ..text.vocabulary import Vocabulary
from ..training import SGD, History, Optimizer, TextBatches, Trainer
from ..training.schedules import SCHEDULES
from ..training.trainer import OPTIMIZERS, as_callbacks
from ._base import Model
from ._generation import Sampler, write
from ._language_network import CELLS, INITIALS, LanguageNetwork, NetworkOptions
from .adaptation import ContinuousCache, DynamicEvaluation, text_loss, text_losses

__all__ = ["LanguageModel"]

_KIND = "LanguageModel"
_TOKENIZERS = (None, "char", "japanese")
# What `fit` takes that a checkpoint has to know.
_FIT_OPTIONS = ("batch_size", "bptt", "variable_bptt", "epochs", "text", "valid")


class LanguageModel(Model):
    """A recurrent language model: embedding, RNN, LSTM or GRU layers, softmax over the words.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        Of the recurrent layers.
    embedding_size : int
        D, the width of the words' vectors.
    hidden_size : int
        H, the width of the recurrent layers.
    num_layers : int
        How many lie on one another.
    tie_weights : bool
        Whether the output layer has the embedding's table for its weights (Press and Wolf, "Using the output embedding
        to improve language models", EACL 2017). The last recurrent layer has ``embedding_size`` units then.
    dropout : float
        Share of the numbers set to zero while training: after the embedding, between the layers and before the output
        (Zaremba, Sutskever and Vinyals, "Recurrent neural network regularization", 2014).
    input_dropout, hidden_dropout, output_dropout : float, optional
        The same for one of the three places; ``dropout`` unless given.
    locked_dropout : bool
        Whether these masks are the same at all steps of a batch (Gal and Ghahramani, NIPS 2016).
    embedding_dropout : float
        Share of the words whose vectors are zeros in a step of training.
    weight_dropout : float
        Share of the recurrent weights set to zero in a step of training: DropConnect, as in AWD-LSTM.
    activation_reg, temporal_activation_reg : float
        What the mean square of the last layer's outputs (after dropout), and that of their changes from step to step
        (before it), add to the loss that is trained: AR and TAR of AWD-LSTM.
    label_smoothing : float
        Share of each target that is spread evenly over all words while training.
    forget_bias : float
        Added to the forget gates' first biases; LSTM only.
    initial : {"uniform", "xavier"} or float
        How parameters begin. "uniform": as PyTorch's layers and its word language model do, tables even over 0.1 on
        both sides of 0. "xavier": as in *Deep Learning from Scratch 2*. A number: all of them even over so much on both
        sides of 0, as in Zaremba et al.
    tokenizer : {None, "char", "japanese"}
        How prompts are cut into words, and how words are joined to text again: as the corpus was made. None: at white
        space.
    dtype : {"float32", "float64"}
        Of the parameters.
    random_state : None, int or numpy.random.Generator
        Of the first parameters, of dropout and of the lengths of batches.

    Attributes
    ----------
    vocab_ : Vocabulary
        The words.
    params : dict[str, Param]
        The parameters by name, once there are any.
    history_ : History
        A line for each evaluation of the last `fit`: loss (nats a word), perplexity, valid_loss, valid_perplexity, ...

    Notes
    -----
    The model reads a corpus as one row of words; sentences are told apart by the corpus' ``eos``. Inside
    ``fs.use_device("cuda")`` it trains, and tells plain perplexities, on the device; the rest is done on the CPU, where
    the parameters are in between. Mikolov et al., "Recurrent neural network based language model", Interspeech 2010.
    AWD-LSTM: Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", ICLR 2018;
    `fastseq.presets` has its settings and others'.

    Examples
    --------
    >>> import fastseq as fs
    >>> corpus = fs.Corpus.from_text("you say goodbye and i say hello . " * 40)
    >>> lm = fs.LanguageModel(embedding_size=16, hidden_size=16, num_layers=1, initial="xavier", random_state=0)
    >>> history = lm.fit(corpus, epochs=30, batch_size=4, bptt=10, optimizer=fs.Adam(0.01), clip=5.0)
    >>> lm.perplexity(corpus) < 1.5
    True
    >>> lm.generate("you say", n_tokens=3, temperature=0)
    'you say goodbye and i'
    """

    def __init__(
        self,
        cell: str = "lstm",
        embedding_size: int = 200,
        hidden_size: int = 200,
        num_layers: int = 2,
        *,
        tie_weights: bool = False,
        dropout: float = 0.0,
        input_dropout: float | None = None,
        hidden_dropout: float | None = None,
        output_dropout: float | None = None,
        locked_dropout: bool = False,
        embedding_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        activation_reg: float = 0.0,
        temporal_activation_reg: float = 0.0,
        label_smoothing: float = 0.0,
        forget_bias: float = 0.0,
        initial: str | float = "uniform",
        tokenizer: str | None = None,
        dtype: Any = "float32",
        random_state: Any = None,
    ) -> None:
        self.cell = cell
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.tie_weights = tie_weights
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.hidden_dropout = hidden_dropout
        self.output_dropout = output_dropout
        self.locked_dropout = locked_dropout
        self.embedding_dropout = embedding_dropout
        self.weight_dropout = weight_dropout
        self.activation_reg = activation_reg
        self.temporal_activation_reg = temporal_activation_reg
        self.label_smoothing = label_smoothing
        self.forget_bias = forget_bias
        self.initial = initial
        self.tokenizer = tokenizer
        self.dtype = dtype
        self.random_state = random_state

    # What `fit` makes: the network, the key of its random numbers, what training was told, and where it stands.
    _network: LanguageNetwork
    _key: int
    _told: dict[str, Any]
    _made_of: dict[str, Any]
    _trainer: Trainer | None = None

    # --- training ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        corpus: Any,
        *,
        valid: Any = None,
        epochs: int = 1,
        batch_size: int = 20,
        bptt: int = 35,
        variable_bptt: bool = False,
        optimizer: Optimizer | None = None,
        clip: float | None = 0.25,
        schedule: Any = None,
        patience: int | None = None,
        keep_best: bool = True,
        evaluate_every: int | None = None,
        callbacks: Sequence[Callable[..., Any]] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> History:
        """Train from the beginning; return the history.

        Parameters
        ----------
        corpus : Corpus
            The text.
        valid : Corpus, optional
            A text to evaluate on, read as the other and with its vocabulary (``Corpus.from_file(..., eos="<eos>",
            vocab=corpus.vocab)``).
        epochs : int
            How often to go through the text.
        batch_size, bptt, variable_bptt : int, int, bool
            Rows that the text is cut into, and steps after which gradients go no further back; see
            `fastseq.training.TextBatches`.
        optimizer : Optimizer, optional
            ``SGD(20.0)`` unless given, as in *Deep Learning from Scratch 2*. What it remembers is forgotten first.
        clip : float, optional
            Gradients are scaled down together to a norm of at most this; None leaves them.
        schedule, patience, keep_best, evaluate_every, callbacks, verbose
            See `fastseq.training.Trainer`. A callback is called as ``callback(model, logs)``.
        checkpoint : path, optional
            Written after each evaluation, and when training is interrupted: ``LanguageModel.load(path).resume(corpus,
            valid=valid)`` goes on from there. Optimizer and schedule have to be of this package then.

        Returns
        -------
        History
            Lines with ``epoch``, ``step``, ``loss`` (nats a word, with dropout), ``perplexity``, ``valid_loss``,
            ``valid_perplexity``, ``learning_rate`` (of the last step) and ``items_per_second``, words that is.

        Raises
        ------
        TextError
            The text is shorter than ``batch_size`` + 1 words.
        ShapeError, DTypeError, ValueRangeError
            An argument or a parameter is not as described, or the loss is no longer finite.
        KeyboardInterrupt
            On Ctrl-C, between two steps: the model can be used, saved and, with a checkpoint, resumed.
        """
        options, key = self._options()
        corpus = _as_corpus(corpus, "corpus")
        told: dict[str, Any] = {
            "batch_size": check_integer(batch_size, "batch_size", 1),
            "bptt": check_integer(bptt, "bptt", 1),
            "variable_bptt": bool(variable_bptt),
            "epochs": check_integer(epochs, "epochs", 1),
        }
        batches = _batches(corpus, told, key)
        optimizer = SGD(20.0) if optimizer is None else optimizer
        network = LanguageNetwork(len(corpus.vocab), options, key)
        trainer = Trainer(
            network, optimizer, clip=clip, schedule=schedule, patience=patience, keep_best=keep_best,
            evaluate_every=evaluate_every, callbacks=self._callbacks(callbacks), verbose=verbose, unit="tokens",
        )  # fmt: skip
        trainer.optimizer.reset()
        if trainer.schedule is not None:
            trainer.schedule.reset()
        valid = self._as_valid(valid, corpus.vocab)
        if patience is not None and valid is None:
            raise ValueRangeError(f"patience is {patience} and valid None, expected a text to evaluate on with it")
        if checkpoint is not None:
            check_writable(checkpoint)
            for what, part, kinds in (
                ("optimizer", optimizer, (*OPTIMIZERS.values(),)), ("schedule", schedule, (*SCHEDULES.values(),))
            ):  # fmt: skip
                if part is not None and type(part) not in kinds:
                    raise ValueRangeError(
                        f"{what} is of the class {type(part).__name__}, which a checkpoint cannot be read back with; "
                        "expected one of this package, or no checkpoint"
                    )
        told["text"], told["valid"] = _digest(corpus), _digest(valid)
        self.vocab_, self._network, self._key, self._told = corpus.vocab, network, key, told
        self._made_of = self._params_to_keep()
        return self._train(trainer, batches, valid, checkpoint)

    def resume(
        self,
        corpus: Any,
        *,
        valid: Any = None,
        epochs: int | None = None,
        callbacks: Sequence[Callable[..., Any]] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> History:
        """Go on with a training whose checkpoint was loaded, on the same text; return the history of the whole.

        The result is that of an uninterrupted training, bit for bit.

        Parameters
        ----------
        corpus, valid
            As they were given to `fit`.
        epochs : int, optional
            In all; as many as `fit` was asked for unless given.
        callbacks, checkpoint, verbose
            As of `fit`.

        Raises
        ------
        NotFittedError
            The model was not loaded from a checkpoint.
        ValueRangeError
            The text is not the one that the training began with.
        """
        trainer, told = self._resumable(), dict(self._told)
        corpus = _as_corpus(corpus, "corpus")
        _check_same(corpus, self.vocab_, "corpus")
        valid = self._as_valid(valid, self.vocab_)
        for name, text in (("text", corpus), ("valid", valid)):
            if _digest(text) != told[name]:
                given = "none" if text is None else f"one of {text.n_tokens} tokens"
                wanted = "none" if told[name] is None else "the one that the training began with"
                raise ValueRangeError(
                    f"{'corpus' if name == 'text' else name} is {given}, expected {wanted}; read the same file in the "
                    "same way (eos, unk, lowercase, ...)"
                )
        if epochs is not None:
            told["epochs"] = check_integer(epochs, "epochs", 1)
        trainer.callbacks, trainer.verbose = tuple(self._callbacks(callbacks)), verbose
        if checkpoint is not None:
            check_writable(checkpoint)
        self._told = told
        return self._train(trainer, _batches(corpus, told, self._key), valid, checkpoint)

    def _resumable(self) -> Trainer:
        """Return what goes on with the training."""
        self._check_fitted()
        if self._trainer is None:
            raise NotFittedError(
                "this model does not know how far its training had come; load a checkpoint (fit with checkpoint=path)"
            )
        return self._trainer

    def _train(self, trainer: Trainer, batches: TextBatches, valid: Any, checkpoint: Any) -> History:
        self._trainer = trainer
        evaluate = None if valid is None else (lambda: self._evaluated(valid))
        try:
            with self._network.on(current_device()):
                trainer.fit(
                    batches, epochs=self._told["epochs"], evaluate=evaluate, measure=_measured, checkpoint=checkpoint,
                    write=self._write_checkpoint,
                )  # fmt: skip
        finally:
            self.history_ = trainer.history
            if not trainer.whole:
                # A step was broken off: the states are those behind a batch that was not learned from.
                self._trainer = None
        self._trainer = None
        return self.history_

    def _callbacks(self, callbacks: Any) -> list[Callable[..., Any]]:
        def told(callback: Callable[..., Any]) -> Callable[..., Any]:
            def call(trainer: Trainer, logs: dict[str, float]) -> Any:
                self.history_ = trainer.history
                return callback(self, logs)

            return call

        return [told(callback) for callback in as_callbacks(callbacks, "(model, logs)")]

    def _evaluated(self, valid: Corpus) -> dict[str, float]:
        loss = text_loss(self._network, valid.ids, 20)
        return {"valid_loss": loss, "valid_perplexity": _exp(loss)}

    def _options(self) -> tuple[NetworkOptions, int]:
        """Check every parameter before any work; return what the network is made of and the key of random numbers."""
        if self.cell not in CELLS:
            raise ValueRangeError(f"cell is {self.cell!r}, expected one of {sorted(CELLS)}")
        if self.tokenizer not in _TOKENIZERS:
            raise ValueRangeError(f"tokenizer is {self.tokenizer!r}, expected one of {_TOKENIZERS}")
        for name in ("tie_weights", "locked_dropout"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise DTypeError(f"{name} is {getattr(self, name)!r}, expected True or False")
        initial = self.initial
        if isinstance(initial, str):
            if initial not in INITIALS:
                raise ValueRangeError(f"initial is {initial!r}, expected one of {INITIALS} or a number")
        else:
            initial = check_finite_number(initial, "initial", 0.0, exclusive=True)
        if self.forget_bias and self.cell != "lstm":
            raise ValueRangeError(f"forget_bias is {self.forget_bias} and cell {self.cell!r}, expected 'lstm' with it")

        def place(name: str) -> float:
            given = getattr(self, name)
            return as_share(self.dropout, "dropout") if given is None else as_share(given, name)

        options = NetworkOptions(
            cell=self.cell,
            embedding_size=check_integer(self.embedding_size, "embedding_size", 1),
            hidden_size=check_integer(self.hidden_size, "hidden_size", 1),
            num_layers=check_integer(self.num_layers, "num_layers", 1),
            tie_weights=bool(self.tie_weights),
            input_dropout=place("input_dropout"),
            hidden_dropout=place("hidden_dropout"),
            output_dropout=place("output_dropout"),
            embedding_dropout=as_share(self.embedding_dropout, "embedding_dropout"),
            weight_dropout=as_share(self.weight_dropout, "weight_dropout"),
            locked_dropout=bool(self.locked_dropout),
            activation_reg=check_finite_number(self.activation_reg, "activation_reg", 0.0),
            temporal_activation_reg=check_finite_number(self.temporal_activation_reg, "temporal_activation_reg", 0.0),
            label_smoothing=check_finite_number(self.label_smoothing, "label_smoothing", 0.0, upper=1.0),
            forget_bias=check_finite_number(self.forget_bias, "forget_bias", -1e6, upper=1e6),
            initial=initial,
            dtype=as_float_dtype(self.dtype),
        )
        return options, int(as_key(self.random_state, "language model"))

    def _as_valid(self, valid: Any, vocab: Vocabulary) -> Corpus | None:
        if valid is None:
            return None
        corpus = _as_corpus(valid, "valid")
        _check_same(corpus, vocab, "valid")
        if corpus.n_tokens < 2:
            raise TextError(f"valid has {corpus.n_tokens} tokens, expected 2 at least: a word and one behind it")
        return corpus

    @property
    def params(self) -> dict[str, Param]:
        """The parameters by name; a tied one stands under both of its names."""
        self._check_fitted()
        return self._network.params

    @property
    def history(self) -> History:
        """The numbers of each evaluation; see `fit`."""
        self._check_fitted()
        return self.history_

    def _check_fitted(self) -> None:
        if not hasattr(self, "_network"):
            raise NotFittedError("this LanguageModel has not been trained yet; call fit(corpus) first")

    # --- what was learned --------------------------------------------------------------------------------------------

    def perplexity(
        self,
        corpus: Any,
        *,
        batch_size: int = 20,
        dynamic: DynamicEvaluation | None = None,
        cache: ContinuousCache | None = None,
    ) -> float:
        """Return exp of the mean loss of a word, over all words of a text but the first.

        Parameters
        ----------
        corpus : Corpus
            A text with the model's vocabulary.
        batch_size : int
            Parts that the text is cut into, to be read side by side, each from a state of zeros. 1 reads it as a whole:
            slower, and a little lower, since no part begins without what stands before it.
        dynamic : DynamicEvaluation, optional
            Go on learning from the text as it is read. The parameters are put back afterwards.
        cache : ContinuousCache, optional
            Mix in a distribution over the words just read.

        Returns
        -------
        float
            Infinity where it is more than a float can hold.

        Raises
        ------
        TextError
            The text has fewer than 2 words.
        ValueRangeError
            It has another vocabulary.
        """
        self._check_fitted()
        corpus = _as_corpus(corpus, "corpus")
        _check_same(corpus, self.vocab_, "corpus")
        batch_size = check_integer(batch_size, "batch_size", 1)
        if corpus.n_tokens < 2:
            raise TextError(f"the text has {corpus.n_tokens} tokens, expected 2 at least: a word and one behind it")
        if dynamic is not None and not isinstance(dynamic, DynamicEvaluation):
            raise DTypeError(f"dynamic is {type(dynamic).__name__}, expected a DynamicEvaluation")
        if dynamic is not None and dynamic.corpus is not None:
            _check_same(dynamic.corpus, self.vocab_, "corpus of dynamic")
            if dynamic.corpus.n_tokens < 2:
                raise TextError(f"corpus of dynamic has {dynamic.corpus.n_tokens} tokens, expected 2 at least")
        if cache is not None and not isinstance(cache, ContinuousCache):
            raise DTypeError(f"cache is {type(cache).__name__}, expected a ContinuousCache")
        # Both kinds of adapting are NumPy's work.
        with self._network.on(current_device() if dynamic is None and cache is None else "cpu"):
            if dynamic is not None:
                return _exp(dynamic.loss(self._network, corpus.ids, batch_size, cache))
            return _exp(text_loss(self._network, corpus.ids, batch_size, cache))

    def score(self, text: Any, per_token: bool = False) -> Any:
        """Return the logarithm of the probability of a text, in nats.

        Parameters
        ----------
        text : str or list of str
            The text, or its words. Where the vocabulary has an ``eos`` the text is taken to stand behind one, and every
            word counts; else the first word is given and counts nothing.
        per_token : bool
            Whether to return the parts that the words have in it, as an array.

        Returns
        -------
        float, or (n,) float64 ndarray

        Raises
        ------
        TextError
            The text has no word that could be scored.
        UnknownWordError
            A word is not in the vocabulary, which has no ``unk``.
        """
        self._check_fitted()
        ids = self._encode(text)
        if self.vocab_.eos is not None:
            ids = np.concatenate(([self.vocab_[self.vocab_.eos]], ids)).astype(np.int32)
        if ids.shape[0] < 2:
            raise TextError("the text has no word to be scored, expected more of it")
        with self._network.on("cpu"):
            parts = text_losses(self._network, ids[None, :-1], ids[None, 1:])
            logs = -np.concatenate([losses[:, 0] for losses in parts])
        return logs if per_token else float(logs.sum())

    def generate(
        self,
        prompt: Any = "",
        n_tokens: int = 50,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        exclude: Sequence[str] = (),
        stop: str | Sequence[str] = (),
        n_samples: int | None = None,
        random_state: Any = None,
        state: Any = None,
        return_state: bool = False,
    ) -> Any:
        """Write on from a prompt, word by word.

        Parameters
        ----------
        prompt : str or list of str
            How the text begins, or several beginnings, each of which is gone on with. An empty one begins behind the
            ``eos``, or with a word drawn by the words' frequencies where the vocabulary has none; ``n_tokens`` does not
            count that one.
        n_tokens : int
            How many words to write, at most.
        temperature : float
            Scores are divided by it: below 1 the likely words become likelier; 0 always takes the likeliest.
        top_k : int, optional
            Only the so many likeliest words are drawn from.
        top_p : float, optional
            Only the likeliest words whose probabilities together reach this are drawn from (Holtzman et al., "The
            curious case of neural text degeneration", ICLR 2020); above 0, up to 1.
        exclude : sequence of str
            Words that are never written, ``["<unk>"]`` for example.
        stop : str or sequence of str
            Words behind which a text ends.
        n_samples : int, optional
            Write so many texts for a single prompt, and return them as a list.
        random_state : None, int or numpy.random.Generator
            Of the words drawn. Text i depends on it and on i, not on how many are written.
        state : optional
            What ``return_state`` gave: go on from there. The prompt is what follows then, and is not empty.
        return_state : bool
            Whether to return, beside the text, the state behind it.

        Returns
        -------
        str, or list of str for several prompts or samples
            The prompt and what was written. Where ``return_state``, a pair with the state.

        Raises
        ------
        UnknownWordError
            A word is not in the vocabulary, which has no ``unk``.
        ValueRangeError, DTypeError
            An argument is not as described.

        Examples
        --------
        See `LanguageModel`.
        """
        self._check_fitted()
        n_tokens = check_integer(n_tokens, "n_tokens", 0)
        sampler = Sampler(
            self.vocab_, temperature=temperature, top_k=top_k, top_p=top_p, exclude=exclude, stop=stop,
            random_state=random_state,
        )  # fmt: skip
        several = not isinstance(prompt, str)
        if several and (not isinstance(prompt, (list, tuple)) or not all(isinstance(one, str) for one in prompt)):
            raise DTypeError(f"prompt is {type(prompt).__name__}, expected a text or a list of texts")
        if n_samples is not None:
            if several:
                raise ValueRangeError("n_samples is given with several prompts, expected it with a single one")
            several, prompt = True, [prompt] * check_integer(n_samples, "n_samples", 1)
        prompts = list(prompt) if several else [prompt]
        if not prompts:
            return ([], state) if return_state else []
        given = [self._encode(one) for one in prompts]
        # A word at a time is too little for a device.
        with self._network.on("cpu"):
            written, after = write(self._network, given, n_tokens, sampler, state)
        texts = [self._join(ids) for ids in written]
        result: Any = texts if several else texts[0]
        return (result, after) if return_state else result

    def _encode(self, text: Any) -> np.ndarray:
        """Return the ids of a text or of words."""
        if not isinstance(text, str):
            return self.vocab_.encode(text)
        if self.tokenizer == "char":
            words = list(text)
        elif self.tokenizer == "japanese":
            from ..text.tokenizers import japanese

            words = list(japanese()(text))
        else:
            # As a corpus has it: each line but the one that goes on ends in the word for that.
            end = [] if self.vocab_.eos is None else [self.vocab_.eos]
            first, *rest = text.splitlines() or [""]
            words = first.split() + [word for line in rest for word in (*end, *line.split())]
        return self.vocab_.encode(words)

    def _join(self, ids: np.ndarray) -> str:
        return ("" if self.tokenizer else " ").join(self.vocab_.decode(ids))

    # --- on disk -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], dtype: str | None = None) -> None:
        """Write the model to a safetensors file, atomically: parameters, words, history.

        Parameters
        ----------
        path : path
            The file.
        dtype : {"float32", "float16"}, optional
            Of the parameters in the file; their own unless given. float16 halves the file; `load` makes them float32
            again.
        """
        self._check_fitted()
        if dtype not in (None, "float32", "float16"):
            raise ValueRangeError(f"dtype is {dtype!r}, expected 'float32', 'float16' or None")
        weights = get_weights(self._network.params)
        with np.errstate(over="ignore"):
            arrays = {f"params.{name}": array.astype(dtype or array.dtype) for name, array in weights.items()}
        if dtype == "float16":
            for name, array in weights.items():
                if np.isfinite(array).all() and not np.isfinite(arrays[f"params.{name}"]).all():
                    raise ValueRangeError(
                        f"{name} holds a number above 65504, the largest one of float16; save it as float32"
                    )
        for name, numbers in self.history_.items():
            arrays[f"history.{name}"] = np.array(numbers, np.float64)
        save_arrays(path, {**arrays, **self._vocab_arrays()}, _KIND, self._config())

    def _vocab_arrays(self) -> dict[str, np.ndarray]:
        return {f"vocab.{name}": array for name, array in self.vocab_.to_arrays()[0].items()}

    def _params_to_keep(self) -> dict[str, Any]:
        """Return the parameters that the network is made of, which may be set to others later."""
        params = self.get_params()
        params.pop("random_state")
        params["dtype"] = as_float_dtype(self.dtype).name
        return params

    def _config(self) -> dict[str, Any]:
        return {"params": self._made_of, "vocab": self.vocab_.to_arrays()[1], "key": str(self._key)}

    def _write_checkpoint(self, path: str | os.PathLike[str]) -> None:
        assert self._trainer is not None
        arrays, training = self._trainer.state()
        config = {**self._config(), "training": training, "fit": self._told}
        save_arrays(path, {**arrays, **self._vocab_arrays()}, _KIND, config)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LanguageModel:
        """Read a model that `save` wrote, or a checkpoint of `fit`: with the best parameters until then, or their mean.

        Raises
        ------
        FormatError
            The file is damaged or holds something else.
        """
        arrays, config = load_arrays(path, _KIND)

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

        try:
            model = cls(**config["params"])
            options, _ = model._options()
            model._made_of = model._params_to_keep()
            model.vocab_ = Vocabulary.from_arrays(part("vocab."), config["vocab"])
            model._key = int(config["key"])
            network = LanguageNetwork(len(model.vocab_), options, model._key)
            model._told = dict(config.get("fit") or {})
            model._trainer = None
            if config.get("training") is not None:
                model._trainer = Trainer(network, unit="tokens")
                model._trainer.restore(arrays, config["training"])
                for name in _FIT_OPTIONS:
                    model._told[name]
                # Until it goes on it is asked with the best parameters, or the mean.
                model._trainer.finish()
            else:
                set_weights(network.params, part("params."))
            model.history_ = History({name: array.tolist() for name, array in part("history.").items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"{path} is not a whole {_KIND} file ({type(error).__name__}: {error})") from None
        model._network = network
        return model


def _batches(corpus: Corpus, told: dict[str, Any], key: int) -> TextBatches:
    return TextBatches(
        corpus.ids, told["batch_size"], told["bptt"], vary=told["variable_bptt"],
        random_state=int(as_key(key, "lengths of batches")),
    )  # fmt: skip


def _measured(loss: float) -> dict[str, float]:
    return {"perplexity": _exp(loss)}


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _as_corpus(corpus: Any, name: str) -> Corpus:
    if isinstance(corpus, Corpus):
        return corpus
    raise DTypeError(
        f"{name} is {type(corpus).__name__}, expected a Corpus; make one with Corpus.from_file, from_text or "
        "from_sentences"
    )


def _check_same(corpus: Corpus, known: Vocabulary, name: str) -> None:
    vocab = corpus.vocab
    if vocab is not known and vocab.words != known.words:
        raise ValueRangeError(
            f"{name} has a vocabulary of {len(vocab)} words that is not the model's ({len(known)} words), expected the "
            "same words; make the corpus with vocab=model.vocab_ (or that of the training corpus)"
        )
    if known.eos is not None and corpus.n_sentences > 1 and not (corpus.ids == known[known.eos]).any():
        raise ValueRangeError(
            f"{name} has {corpus.n_sentences} sentences and no {known.eos!r} behind any, expected it as the model has "
            f"learned it; read the text with eos={known.eos!r}"
        )


def _digest(corpus: Corpus | None) -> str | None:
    """Return what tells a text from others."""
    if corpus is None:
        return None
    return hashlib.blake2b(np.ascontiguousarray(corpus.ids).data, digest_size=16).hexdigest()
