"""How the learning rate changes while training goes on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..kernels._boundary import check_finite_number, check_integer
from ._config import Configured

__all__ = ["Schedule", "StepDecay", "PlateauDecay", "LinearWarmup", "InverseSquareRoot", "SCHEDULES"]


class Schedule(Configured, ABC):
    """Base of the schedules: the learning rate of a step is the optimizer's own, times `factor`.

    A schedule that looks at the course of training is told of it by `note` and keeps what it has to in `state`.
    """

    def __init__(self) -> None:
        self.state: dict[str, float] = {}

    @abstractmethod
    def factor(self, epoch: int, step: int) -> float:
        """Return what the learning rate is multiplied by in epoch number ``epoch``, at step ``step`` of all; from 0."""

    def note(self, value: float) -> None:
        """Hear the loss that an evaluation has found."""

    def reset(self) -> None:
        """Forget what was noted."""
        self.state = {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a ``state`` that was saved.

        Raises
        ------
        FormatError
            It holds something else than numbers by name.
        """
        try:
            self.state = {str(name): float(number) for name, number in state.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise FormatError(f"the state of {type(self).__name__} holds more than numbers by name ({error})") from None


class StepDecay(Schedule):
    """The rate is multiplied by ``decay`` again and again, every so many epochs.

    Parameters
    ----------
    decay : float
        Above 0.
    every : int
        Epochs between two changes.
    after : int, optional
        Epochs before the first change; ``every`` unless given.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Examples
    --------
    >>> from fastseq.training import StepDecay
    >>> schedule = StepDecay(0.5, after=4)
    >>> [schedule.factor(epoch, 0) for epoch in (0, 3, 4, 5)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, decay: float, *, every: int = 1, after: int | None = None) -> None:
        super().__init__()
        self.decay = check_finite_number(decay, "decay", 0.0, exclusive=True)
        self.every = check_integer(every, "every", 1)
        self.after = None if after is None else check_integer(after, "after", 0)

    def factor(self, epoch: int, step: int) -> float:
        """See `Schedule.factor`."""
        after = self.every if self.after is None else self.after
        times = 0 if epoch < after else (epoch - after) // self.every + 1
        return float(self.decay**times)


class PlateauDecay(Schedule):
    """The rate is multiplied by ``decay`` when the loss of the evaluations (or of training) has stopped to fall.

    Parameters
    ----------
    decay : float
        Above 0, up to 1. *Deep Learning from Scratch 2* divides by 4.
    patience : int
        Evaluations without a new best one that are let pass before.
    least : float
        The factor does not fall below this.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Examples
    --------
    >>> from fastseq.training import PlateauDecay
    >>> schedule = PlateauDecay(0.25)
    >>> for loss in (5.0, 4.5, 4.6):
    ...     schedule.note(loss)
    >>> schedule.factor(3, 0)
    0.25
    """

    def __init__(self, decay: float = 0.25, *, patience: int = 0, least: float = 0.0) -> None:
        super().__init__()
        self.decay = check_finite_number(decay, "decay", 0.0, upper=1.0, exclusive=True)
        self.patience = check_integer(patience, "patience", 0)
        self.least = check_finite_number(least, "least", 0.0, upper=1.0)

    def factor(self, epoch: int, step: int) -> float:
        """See `Schedule.factor`."""
        return float(max(self.decay ** self.state.get("times", 0.0), self.least))

    def note(self, value: float) -> None:
        """See `Schedule.note`."""
        if value < self.state.get("best", math.inf):
            self.state.update(best=value, waited=0.0)
            return
        self.state["waited"] = self.state.get("waited", 0.0) + 1
        if self.state["waited"] > self.patience:
            self.state.update(times=self.state.get("times", 0.0) + 1, waited=0.0)


class LinearWarmup(Schedule):
    """The rate rises evenly to its full height over the first steps, and may fall evenly to 0 afterwards.

    Parameters
    ----------
    steps : int
        Steps until the full rate is reached.
    total : int, optional
        Steps until 0 is reached; without it the rate stays.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.
    """

    def __init__(self, steps: int, *, total: int | None = None) -> None:
        super().__init__()
        self.steps = check_integer(steps, "steps", 1)
        self.total = None if total is None else check_integer(total, "total", self.steps + 1)

    def factor(self, epoch: int, step: int) -> float:
        """See `Schedule.factor`."""
        if step < self.steps:
            return (step + 1) / self.steps
        if self.total is None:
            return 1.0
        return max(0.0, (self.total - step) / (self.total - self.steps))


class InverseSquareRoot(Schedule):
    """The rate rises evenly over the first steps, and falls with the root of their number from then on.

    Parameters
    ----------
    warmup : int
        Steps until the full rate is reached.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Vaswani et al., "Attention is all you need", NIPS 2017, section 5.3, with the full rate in the place of theirs.
    """

    def __init__(self, warmup: int) -> None:
        super().__init__()
        self.warmup = check_integer(warmup, "warmup", 1)

    def factor(self, epoch: int, step: int) -> float:
        """See `Schedule.factor`."""
        number = step + 1
        return min(number / self.warmup, math.sqrt(self.warmup / number))


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (StepDecay, PlateauDecay, LinearWarmup, InverseSquareRoot)
}
