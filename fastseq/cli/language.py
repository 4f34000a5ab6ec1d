"""The commands of language models: train lm, generate, perplexity."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..errors import ValueRangeError
from ..kernels._boundary import check_finite_number
from ._shared import (
    add,
    add_run_options,
    add_text_options,
    at_least,
    in_all,
    is_same_file,
    number,
    read_corpus,
    shows_bar,
)

if TYPE_CHECKING:
    from ..models.language_model import LanguageModel

__all__ = ["add_commands", "add_training"]

_UNK = "<unk>"


def add_training(kinds: Any) -> None:
    """Add ``train lm``."""
    sub = add(
        kinds, "lm", _train, "a language model, which writes on and tells how likely a text is",
        "Train a recurrent language model. Settings are those of a preset of the literature, and options change them. "
        "Ctrl-C ends the training and writes the model as it is then.",
    )  # fmt: skip
    add_text_options(
        sub, "file to write: .safetensors", min_count=1, unk=f"{_UNK}, none for characters",
        eos="<eos>, the line break for characters",
    )  # fmt: skip
    one = at_least(1)
    sub.add_argument("--valid", metavar="TEXT", help="a text to evaluate on after each epoch")
    sub.add_argument(
        "--preset", metavar="NAME",
        help="simple-rnnlm, rnnlm, better-rnnlm, zaremba-small, zaremba-medium, zaremba-large, awd-lstm or char-lstm "
        "(default: zaremba-small; char-lstm with --tokenizer char)",
    )  # fmt: skip

    def change(flag: str, name: str, help_text: str, **options: Any) -> None:
        sub.add_argument(flag, dest=name, default=None, help=f"{help_text} (default: the preset's)", **options)

    change("--cell", "model.cell", "lstm, gru or rnn", choices=("lstm", "gru", "rnn"), metavar="KIND")
    change("--embedding-size", "model.embedding_size", "width of the words' vectors", type=one, metavar="N")
    change("--hidden-size", "model.hidden_size", "width of the recurrent layers", type=one, metavar="N")
    change("--num-layers", "model.num_layers", "recurrent layers", type=one, metavar="N")
    change("--dropout", "model.dropout", "share of the numbers between layers set to zero", type=float, metavar="X")
    sub.add_argument(
        "--tie-weights", dest="model.tie_weights", action="store_const", const=True,
        help="let the output layer have the words' vectors for weights",
    )  # fmt: skip
    change("--epochs", "fit.epochs", "times to go through the text", type=one, metavar="N")
    change("--batch-size", "fit.batch_size", "parts of the text that are read side by side", type=one, metavar="N")
    change("--bptt", "fit.bptt", "words after which gradients go no further back", type=one, metavar="N")
    change("--learning-rate", "learning_rate", "of the preset's optimizer", type=float, metavar="X")
    change("--clip", "fit.clip", "largest norm of the gradients", type=float, metavar="X")
    sub.add_argument(
        "--patience", dest="fit.patience", type=at_least(0), metavar="N",
        help="stop after more than N evaluations in turn that were no better than the best one",
    )  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers")
    sub.add_argument(
        "--checkpoint", metavar="FILE", help="write how far training has come after each epoch, and on Ctrl-C"
    )
    sub.add_argument(
        "--resume", metavar="FILE",
        help="go on from this checkpoint with the same texts, and write to it again unless --checkpoint is given",
    )  # fmt: skip
    add_run_options(sub)


def add_commands(commands: Any) -> None:
    """Add ``generate`` and ``perplexity``."""
    generate = add(
        commands, "generate", _generate, "write on from a beginning with a language model",
        "Write on from a beginning, word by word, with a language model that `fastseq train lm` has made.",
    )  # fmt: skip
    generate.add_argument("model", metavar="FILE", help="file of the model")
    generate.add_argument("prompt", metavar="TEXT", nargs="?", default="", help="the beginning; none: a new sentence")
    generate.add_argument("-n", type=at_least(0), default=50, metavar="N", help="words to write, at most")
    generate.add_argument("--samples", type=at_least(1), default=1, metavar="N", help="texts to write")
    generate.add_argument(
        "--temperature", type=float, default=1.0, metavar="X", help="below 1 likelier words, 0 the likeliest always"
    )
    generate.add_argument("--top-k", type=at_least(1), metavar="N", help="draw from the N likeliest words only")
    generate.add_argument(
        "--top-p", type=float, metavar="X", help="draw only from the likeliest words that together have this share"
    )
    generate.add_argument(
        "--stop", action="append", default=[], metavar="WORD", help="end behind this word; may be given several times"
    )
    generate.add_argument("--with-unk", action="store_true", help="write the word for unknown words too")
    generate.add_argument("--seed", type=int, metavar="N", help="of the random numbers; another each time unless given")

    perplexity = add(
        commands, "perplexity", _perplexity, "tell how well a language model predicts a text",
        "Tell how well a language model predicts the words of a text: exp of the mean loss of a word.",
    )  # fmt: skip
    perplexity.add_argument("model", metavar="FILE", help="file of the model")
    perplexity.add_argument("text", metavar="TEXT", help="UTF-8 text, read as the model's was; - for standard input")
    perplexity.add_argument(
        "--batch-size", type=at_least(1), default=20, metavar="N", help="parts that are read side by side; 1 is exact"
    )
    perplexity.add_argument("--lowercase", action="store_true", help="put the text in lower case")
    perplexity.add_argument(
        "--cache", type=at_least(1), metavar="N", help="mix in a cache of the last N words (Grave et al. 2017)"
    )
    perplexity.add_argument("--dynamic", type=float, metavar="RATE", help="go on learning at this rate while reading")


def _given(arguments: argparse.Namespace, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in vars(arguments).items()
        if name.startswith(prefix) and value is not None
    }


def _check_files(arguments: argparse.Namespace, checkpoint: str | None) -> None:
    """Check the files that shall be written before any work."""
    from ..io import check_writable

    if not arguments.output.endswith(".safetensors"):
        raise ValueRangeError(f"{arguments.output} is named as another kind of file, expected a name in .safetensors")
    targets = [arguments.output, *([checkpoint] if checkpoint else [])]
    for i, path in enumerate(targets):
        for other in (arguments.corpus, arguments.valid, *targets[:i]):
            if other is not None and is_same_file(other, path):
                raise ValueRangeError(f"{path} is given for two files, expected a name for each")
        check_writable(path)


def _train(arguments: argparse.Namespace) -> None:
    from ..models import presets
    from ..models.language_model import LanguageModel
    from ..parallel import threads

    model_options, fit_options = _given(arguments, "model."), _given(arguments, "fit.")
    preset = presets.get(arguments.preset or ("char-lstm" if arguments.tokenizer == "char" else "zaremba-small"))
    if arguments.tokenizer == "words" and "tokenizer" in preset.model:
        arguments.tokenizer = preset.model["tokenizer"]
    characters = arguments.tokenizer == "char"
    checkpoint = arguments.checkpoint or arguments.resume
    _check_files(arguments, checkpoint)
    if arguments.learning_rate is not None:
        check_finite_number(arguments.learning_rate, "learning_rate", 0.0)
    if arguments.valid and not os.path.isfile(arguments.valid):
        raise FileNotFoundError(f"{arguments.valid}, the text to evaluate on, does not exist")
    begin = time.perf_counter()
    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "callbacks": [] if arguments.quiet or shows_bar(arguments) else [_tell],
        "verbose": int(shows_bar(arguments)),
    }
    with threads(arguments.threads):
        if arguments.resume:
            changed = sorted({*model_options, *fit_options} - {"epochs"})
            if changed or arguments.preset or arguments.learning_rate is not None:
                raise ValueRangeError(
                    f"--resume goes on with the settings of {arguments.resume}; leave out others, or train anew"
                )
            model = LanguageModel.load(arguments.resume)
            model._resumable()
            # The text is read as the model's words ask for.
            for name, known in (("unk", model.vocab_.unk), ("eos", model.vocab_.eos)):
                given = getattr(arguments, name)
                if given not in (None, known):
                    raise ValueRangeError(f"--{name} is {given!r} and {known!r} in {arguments.resume}; leave it out")
            arguments.unk, arguments.eos = None, model.vocab_.eos
            arguments.tokenizer = model.tokenizer or "words"
        else:
            if arguments.eos is None:
                arguments.eos = "\n" if characters else "<eos>"
            if arguments.unk is None and not characters:
                arguments.unk = _UNK
            tokenizer = None if arguments.tokenizer == "words" else arguments.tokenizer
            model = preset.language_model(**{"tokenizer": tokenizer, **model_options}, random_state=arguments.seed)
            fit = preset.fit_options(**fit_options)
            if arguments.learning_rate is not None:
                fit["optimizer"].learning_rate = arguments.learning_rate
            model._options()
        corpus = read_corpus(arguments, model.vocab_ if arguments.resume else None)
        valid = None
        if arguments.valid:
            settings = argparse.Namespace(**{**vars(arguments), "corpus": arguments.valid})
            valid = read_corpus(settings, corpus.vocab)
        try:
            if arguments.resume:
                model.resume(corpus, valid=valid, epochs=fit_options.get("epochs"), **options)
            else:
                model.fit(corpus, valid=valid, **fit, **options)
        except KeyboardInterrupt:
            if not hasattr(model, "_network"):
                raise
            model.save(arguments.output, dtype=arguments.dtype)
            again = f"; go on with --resume {checkpoint}" if checkpoint and os.path.exists(checkpoint) else ""
            done = len(model.history.get("epoch", ()))
            raise KeyboardInterrupt(
                f"after {number(done, 'evaluation')}; wrote the model to {arguments.output}{again}"
            ) from None
    model.save(arguments.output, dtype=arguments.dtype)
    if not arguments.quiet:
        size = sum(param.value.size for param in {id(param): param for param in model.params.values()}.values())
        print(f"wrote {number(size, 'parameter')} to {arguments.output} ({in_all(begin)})", file=sys.stderr)


def _tell(model: LanguageModel, logs: dict[str, float]) -> None:
    valid = f", valid {logs['valid_perplexity']:.2f}" if "valid_perplexity" in logs else ""
    speed = number(round(logs["items_per_second"]), "token")
    print(
        f"epoch {logs['epoch']:g}: perplexity {logs['perplexity']:.2f}{valid}, {speed}/s", file=sys.stderr, flush=True
    )


def _generate(arguments: argparse.Namespace) -> None:
    from ..models.language_model import LanguageModel

    model = LanguageModel.load(arguments.model)
    unk = model.vocab_.unk or (_UNK if _UNK in model.vocab_ else None)
    exclude = [unk] if unk is not None and not arguments.with_unk else []
    texts = model.generate(
        arguments.prompt,
        arguments.n,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        exclude=exclude,
        stop=arguments.stop,
        n_samples=arguments.samples,
        random_state=arguments.seed,
    )
    print("\n\n".join(texts))


def _perplexity(arguments: argparse.Namespace) -> None:
    from ..models.adaptation import ContinuousCache, DynamicEvaluation
    from ..models.language_model import LanguageModel
    from ..text.corpus import Corpus

    model = LanguageModel.load(arguments.model)
    vocab = model.vocab_
    corpus = Corpus.from_file(
        arguments.text, vocab=vocab, eos=vocab.eos, lowercase=arguments.lowercase, tokenizer=model.tokenizer
    )
    value = model.perplexity(
        corpus,
        batch_size=arguments.batch_size,
        cache=None if arguments.cache is None else ContinuousCache(arguments.cache),
        dynamic=None if arguments.dynamic is None else DynamicEvaluation(arguments.dynamic),
    )
    print(f"perplexity {value:.2f}  ({math.log(value):.4f} nats a token, {number(corpus.n_tokens, 'token')})")
