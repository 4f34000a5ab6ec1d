"""The loop that trains: batches, steps, evaluations, checkpoints. It does not know what the model is for."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import DTypeError, FormatError, ValueRangeError
from ..io import check_writable, load_arrays, save_arrays
from ..kernels._boundary import check_finite_number, check_integer
from ..layers import Param, distinct_params, get_weights, set_weights, zero_grad
from ._config import from_config, to_config
from .averaging import ASGD
from .batching import Batches
from .history import History
from .interrupts import Interrupts
from .optimizers import OPTIMIZERS as STEPPING
from .optimizers import Adam, Optimizer, clip_factor, grad_norm
from .schedules import SCHEDULES, Schedule

__all__ = ["Trainable", "Trainer", "as_callbacks"]

_KIND = "checkpoint"
#: Those that a checkpoint can name.
OPTIMIZERS: dict[str, type[Optimizer]] = {**STEPPING, "ASGD": ASGD}


class Trainable(Protocol):
    """What a `Trainer` trains.

    It may offer more: ``begin_epoch()``, called before the first batch of each epoch; ``training_state()``, which
    returns arrays by name that tell, beside the parameters, where its random numbers and states stand; and
    ``set_training_state(arrays)``, which takes them over.
    """

    params: dict[str, Param]

    def loss_and_grad(self, *arrays: Any) -> float:
        """Return the mean loss of a batch, and add its gradients to those of the parameters."""


def as_callbacks(callbacks: Any, what: str) -> tuple[Callable[..., Any], ...]:
    """Return callbacks as a tuple; raise `DTypeError` where one cannot be called with ``what``."""
    try:
        kept = tuple(callbacks)
    except TypeError:
        raise DTypeError(f"callbacks is {callbacks!r}, expected a list of functions of {what}") from None
    if isinstance(callbacks, (str, bytes)) or not all(map(callable, kept)):
        raise DTypeError(f"callbacks holds something that cannot be called, expected functions of {what}")
    return kept


class Trainer:
    """Trains a model: steps of an optimizer on one batch after the other.

    Parameters
    ----------
    model : Trainable
        Has ``params`` and ``loss_and_grad(*arrays)``.
    optimizer : Optimizer, optional
        ``Adam()`` unless given. Its learning rate is the one that the schedule starts from.
    clip : float, optional
        Gradients are scaled down together to a norm of at most this.
    schedule : Schedule, optional
        How the learning rate changes.
    patience : int, optional
        Training stops early after more than so many evaluations in turn that were no better than the best one.
    keep_best : bool
        Whether the model has, when training ends, the parameters with which an evaluation was best, instead of the
        last ones. Matters only where there are evaluations.
    evaluate_every : int, optional
        Steps between evaluations and lines of the history; without it they are made at the end of each epoch.
    callbacks : sequence of callables
        Each is called as ``callback(trainer, logs)`` after a line was added to the history, ``logs`` being that line;
        training stops when one returns True.
    verbose : int
        1 shows progress on standard error.
    unit : str
        What the items of a batch are called there.

    Attributes
    ----------
    history : History
        A line for each evaluation: ``epoch`` (with its part of the next), ``step``, ``loss`` (the mean since the line
        before), what the evaluation returned, ``learning_rate`` (of the last step) and ``items_per_second``.
    epoch, step : int
        How many epochs are finished, and how many steps were made in all.
    whole : bool
        Whether no step was broken off by an error or by a second Ctrl-C; only then can training go on as if nothing had
        happened.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import fastseq as fs
    >>> class Line:
    ...     def __init__(self):
    ...         self.params = {"slope": fs.layers.Param(np.zeros(1))}
    ...     def loss_and_grad(self, x, y):
    ...         error = x * self.params["slope"].value - y
    ...         self.params["slope"].add_grad(np.mean(2 * error * x, keepdims=True))
    ...         return float(np.mean(error**2))
    >>> x = np.arange(-3.0, 4.0)
    >>> trainer = fs.training.Trainer(Line(), fs.SGD(0.05))
    >>> batches = fs.training.ShuffledBatches(x, 2 * x, batch_size=7, random_state=0)
    >>> history = trainer.fit(batches, epochs=50)
    >>> round(float(trainer.model.params["slope"].value[0]), 3)
    2.0
    """

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer | None = None,
        *,
        clip: float | None = None,
        schedule: Schedule | None = None,
        patience: int | None = None,
        keep_best: bool = True,
        evaluate_every: int | None = None,
        callbacks: Sequence[Callable[..., Any]] = (),
        verbose: int = 0,
        unit: str = "items",
    ) -> None:
        self.model = model
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise DTypeError(f"optimizer is {optimizer!r}, expected an Optimizer, for example fastseq.Adam()")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise DTypeError(f"schedule is {schedule!r}, expected a Schedule, for example training.PlateauDecay()")
        self.optimizer = Adam() if optimizer is None else optimizer
        self.schedule = schedule
        self.clip = None if clip is None else check_finite_number(clip, "clip", 0.0, exclusive=True)
        self.patience = None if patience is None else check_integer(patience, "patience", 0)
        self.keep_best = bool(keep_best)
        self.evaluate_every = None if evaluate_every is None else check_integer(evaluate_every, "evaluate_every", 1)
        self.callbacks = as_callbacks(callbacks, "(trainer, logs)")
        self.verbose = verbose
        self.unit = unit
        self.history = History()
        self.epoch = self.step = 0
        # The rate that the schedule starts from, and what the optimizer was given last: whoever sets another in between
        # means the former.
        self._rate = self._written = float(self.optimizer.learning_rate)
        self._factor = 1.0
        self._step_of_epoch = 0
        # Whether nothing is half done, and the parameters of the last step where others have taken their place.
        self.whole = True
        self._last_weights: dict[str, np.ndarray] | None = None
        self._loss, self._items, self._seconds = 0.0, 0, 0.0
        self._best, self._waited = math.inf, 0
        self._best_weights: dict[str, np.ndarray] | None = None

    def fit(
        self,
        batches: Batches,
        *,
        epochs: int = 1,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        measure: Callable[[float], Mapping[str, float]] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        write: Callable[[Any], None] | None = None,
    ) -> History:
        """Train until ``epochs`` epochs are finished; return the history.

        A trainer that has been given a checkpoint goes on where that one stands; one that has finished its epochs goes
        on with more where ``epochs`` is larger, from the parameters of its last step.

        Parameters
        ----------
        batches : Batches
            `ShuffledBatches`, `TextBatches` or one's own.
        epochs : int
            How often to go through them, in all.
        evaluate : callable, optional
            Returns the numbers of an evaluation by name. The first is the one that has to fall: the schedule, the best
            parameters and ``patience`` go by it. Without evaluations the schedule goes by the loss that is trained.
        measure : callable, optional
            Makes of a line's mean loss more numbers for the line, by name.
        checkpoint : path, optional
            Written after each line of the history, and when training is interrupted.
        write : callable, optional
            Writes the checkpoint to the path that it is given, in the place of `save`.

        Returns
        -------
        History

        Raises
        ------
        ValueRangeError
            The loss or the gradients are no longer finite: the parameters are those before the step. There is
            ``patience`` and nothing to be patient with, or evaluations have been made and there are to be none now.
        KeyboardInterrupt
            On Ctrl-C, between two steps and after the checkpoint was written.
        """
        from tqdm import tqdm

        epochs = check_integer(epochs, "epochs", 1)
        if evaluate is None and self.patience is not None:
            raise ValueRangeError(f"patience is {self.patience} and evaluate None, expected evaluations with it")
        if evaluate is None and self._best < math.inf:
            raise ValueRangeError(
                "this training has been evaluated until now, expected evaluate again: without it the best parameters "
                "would be those of an evaluation that is long past"
            )
        write = self.save if write is None else write
        if checkpoint is not None:
            check_writable(checkpoint)
        bar = tqdm(
            total=epochs * batches.n_items, initial=self.epoch * batches.n_items, disable=not self.verbose,
            unit=f" {self.unit}", unit_scale=True,
        )  # fmt: skip
        with Interrupts() as interrupts, bar:

            def pause() -> None:
                """Stop where Ctrl-C asks for it. A second one breaks a step off, and nothing is written then."""
                if interrupts.asked:
                    if checkpoint is not None:
                        write(checkpoint)
                    raise KeyboardInterrupt

            if self._last_weights is not None:
                set_weights(self.model.params, self._last_weights)
                self._last_weights = None
            try:
                # Patience may have run out just before the checkpoint that this is.
                stopped = self._is_out_of_patience()
                while self.epoch < epochs and not stopped:
                    stopped = self._run_epoch(batches, evaluate, measure, checkpoint, write, pause, bar)
            finally:
                self._give_rate(self._rate)
        self.finish()
        return self.history

    def _run_epoch(
        self, batches: Batches, evaluate: Any, measure: Any, checkpoint: Any, write: Any, pause: Any, bar: Any
    ) -> bool:
        """Train until the end of the epoch; return whether to stop there."""
        if self._step_of_epoch == 0 and hasattr(self.model, "begin_epoch"):
            self.model.begin_epoch()
        begin = time.perf_counter()
        done = 0
        for number, batch in enumerate(batches.epoch(self.epoch)):
            done += batch.n_items
            if number < self._step_of_epoch:
                bar.update(batch.n_items)
                continue
            self._train(batch)
            bar.update(batch.n_items)
            if self.verbose:
                shown = {"loss": self._loss / self._items}
                shown.update(measure(shown["loss"]) if measure else {})
                bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()}, refresh=False)
            now = time.perf_counter()
            self._seconds += now - begin
            if self.evaluate_every and self.step % self.evaluate_every == 0 and done < batches.n_items:
                stop = self._report(self.epoch + done / batches.n_items, evaluate, measure)
                if checkpoint is not None:
                    write(checkpoint)
                pause()
                if stop:
                    return True
            pause()
            begin = time.perf_counter()
        if done == 0:
            raise ValueRangeError("an epoch has no batch, expected one at least")
        self.epoch, self._step_of_epoch = self.epoch + 1, 0
        stop = self._report(float(self.epoch), evaluate, measure)
        if checkpoint is not None:
            write(checkpoint)
        pause()
        return stop

    def _train(self, batch: Any) -> None:
        self._take_rate()
        self.whole = False
        self._factor = 1.0 if self.schedule is None else self.schedule.factor(self.epoch, self.step)
        rate = self._rate * self._factor * batch.rate
        zero_grad(self.model.params)
        loss = self.model.loss_and_grad(*batch.arrays)
        if self.clip is None:
            # Looked at all the same: gradients that are not finite would spoil the parameters without a word.
            norm, scale = grad_norm(self.model.params), 1.0
        else:
            norm, scale = clip_factor(self.model.params, self.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = "the norm of the gradients" if math.isfinite(loss) else "the loss"
            value = norm if math.isfinite(loss) else loss
            raise ValueRangeError(
                f"{what} became {value} in epoch {self.epoch + 1}, step {self.step + 1}, expected a finite number; use "
                f"a smaller learning rate than {rate:g}"
                + ("" if self.clip is not None else ", or clip the gradients (clip=5.0, for example)")
            )
        self._give_rate(rate)
        self.optimizer.step(self.model.params, scale)
        self.step += 1
        self._step_of_epoch += 1
        self._loss += loss * batch.n_items
        self._items += batch.n_items
        self.whole = True

    def _take_rate(self) -> None:
        """Take over a rate that a callback has given the optimizer."""
        if self.optimizer.learning_rate != self._written:
            self._rate = self._written = float(self.optimizer.learning_rate)

    def _give_rate(self, rate: float) -> None:
        self.optimizer.learning_rate = self._written = float(rate)

    def _report(self, epoch: float, evaluate: Any, measure: Any) -> bool:
        """Evaluate and add a line to the history; return whether to stop."""
        logs: dict[str, float] = {"epoch": epoch, "step": self.step, "loss": self._loss / max(self._items, 1)}
        if measure is not None:
            logs.update(measure(logs["loss"]))
        stop = False
        if evaluate is not None:
            with self.optimizer.averaged(self.model.params):
                found = {name: float(number) for name, number in evaluate().items()}
                taken = sorted({*found} & {*logs, "learning_rate", "items_per_second"})
                if taken or not found:
                    raise ValueRangeError(
                        f"evaluate returned {sorted(found)}, expected numbers under names other than {taken or 'none'}"
                    )
                stop = self._judge(next(iter(found.values())))
            logs.update(found)
        elif self.schedule is not None:
            self.schedule.note(logs["loss"])
        logs["learning_rate"] = self._rate * self._factor
        logs["items_per_second"] = self._items / max(self._seconds, 1e-9)
        self.history.add(**logs)
        self._loss, self._items, self._seconds = 0.0, 0, 0.0
        # What a callback sees and may change is the rate that the schedule starts from.
        self._give_rate(self._rate)
        for callback in self.callbacks:
            stop = bool(callback(self, logs)) or stop
        self._take_rate()
        return stop

    def _judge(self, value: float) -> bool:
        """Note the number that has to fall; return whether it has not fallen for too long."""
        if value < self._best:
            self._best, self._waited = value, 0
            if self.keep_best:
                self._best_weights = get_weights(self.model.params)
        else:
            self._waited += 1
        self.optimizer.note(value)
        if self.schedule is not None:
            self.schedule.note(value)
        return self._is_out_of_patience()

    def _is_out_of_patience(self) -> bool:
        return self.patience is not None and self._waited > self.patience

    def finish(self) -> None:
        """Give the model the parameters to be used: the best ones, or the optimizer's mean. `fit` takes them back."""
        last = get_weights(self.model.params)
        if self._best_weights is not None:
            set_weights(self.model.params, self._best_weights)
        else:
            self.optimizer.finish(self.model.params)
        used = get_weights(self.model.params)
        if any(not np.array_equal(last[name], used[name]) for name in last):
            self._last_weights = last

    # --- on disk -----------------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and JSON values with which training goes on as if it had not been broken off."""
        self._take_rate()
        self._give_rate(self._rate)
        weights = get_weights(self.model.params) if self._last_weights is None else self._last_weights
        arrays = {f"params.{name}": array for name, array in weights.items()}
        arrays |= {f"best.{name}": array for name, array in (self._best_weights or {}).items()}
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.state_dict().items()}
        if hasattr(self.model, "training_state"):
            arrays |= {f"model.{name}": array for name, array in self.model.training_state().items()}
        for name, numbers in self.history.items():
            arrays[f"history.{name}"] = np.array(numbers, np.float64)
        # In an array: JSON has no infinity.
        arrays["sums"] = np.array([self._loss, self._seconds, self._best], np.float64)
        config = {
            "optimizer": to_config(self.optimizer),
            "schedule": to_config(self.schedule),
            "schedule_state": {} if self.schedule is None else self.schedule.state,
            "clip": self.clip,
            "patience": self.patience,
            "keep_best": self.keep_best,
            "evaluate_every": self.evaluate_every,
            "epoch": self.epoch,
            "step": self.step,
            "step_of_epoch": self._step_of_epoch,
            "items": self._items,
            "waited": self._waited,
        }
        return arrays, config

    def restore(self, arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
        """Take over what `state` returned, for a model of the same parameters.

        The optimizer and the schedule are made anew as the state describes them, unless they are of classes of one's
        own: then those that the trainer was given take over what the state knows of them.

        Raises
        ------
        FormatError
            Something is missing, or of another model.
        """

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

        try:
            self.optimizer = self._again(self.optimizer, config["optimizer"], OPTIMIZERS, "optimizer")
            self.schedule = self._again(self.schedule, config["schedule"], SCHEDULES, "schedule")
            if self.schedule is not None:
                self.schedule.load_state(config["schedule_state"])
            for name in ("clip", "patience", "keep_best", "evaluate_every"):
                setattr(self, name, config[name])
            self.epoch, self.step = int(config["epoch"]), int(config["step"])
            self._step_of_epoch, self._items = int(config["step_of_epoch"]), int(config["items"])
            self._waited = int(config["waited"])
            self._loss, self._seconds, self._best = (float(number) for number in arrays["sums"])
            best = part("best.")
            weights = part("params.")
            self._check_best(best)
            set_weights(self.model.params, weights)
            self._best_weights = best or None
            self.optimizer.load_state_dict(part("optimizer."))
            self._rate = self._written = float(self.optimizer.learning_rate)
            self._last_weights, self.whole = None, True
            self.history = History({name: array.tolist() for name, array in part("history.").items()})
            if hasattr(self.model, "set_training_state"):
                self.model.set_training_state(part("model."))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(
                f"this is no checkpoint of this model ({type(error).__name__}: {error}); was it made by another model?"
            ) from None

    def _check_best(self, best: Mapping[str, np.ndarray]) -> None:
        for name, param in distinct_params(self.model.params).items() if best else ():
            if best[name].shape != param.shape:
                raise ValueRangeError(f"best.{name} has shape {best[name].shape}, expected {param.shape}")

    @staticmethod
    def _again(given: Any, config: Any, kinds: Mapping[str, Any], what: str) -> Any:
        if config is not None and config.get("class") not in kinds and type(given).__name__ == config.get("class"):
            return given
        return from_config(config, kinds, what)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint to a safetensors file, atomically."""
        arrays, config = self.state()
        save_arrays(path, arrays, _KIND, config)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a checkpoint that `save` wrote, for a model of the same parameters; `fit` goes on from there.

        Raises
        ------
        FormatError
            The file is damaged, holds something else or belongs to another model.
        """
        self.restore(*load_arrays(path, _KIND))
