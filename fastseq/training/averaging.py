"""SGD whose result is the mean of the parameters over its last steps: averaged SGD, with the trigger of AWD-LSTM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..device import to_device, to_host
from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels._boundary import check_integer, device_of
from ..layers import Param, distinct_params
from .optimizers import SGD

__all__ = ["ASGD"]

_AVERAGE = ".average"


class ASGD(SGD):
    """Stochastic gradient descent that averages the parameters once it has come near its end.

    The steps are those of `SGD`; from a certain moment on the mean of the parameters after each step is kept beside
    them. `averaged` puts it in their place, as a `Trainer` does for each evaluation and at the end.

    Parameters
    ----------
    learning_rate : float
        0 or more.
    trigger : int, optional
        Averaging begins when an evaluation is worse than the best one of those that lie more than so many back (NT-ASGD
        with its logging interval of one evaluation). None: only ``start`` counts.
    start : int, optional
        Averaging begins after so many steps in any case.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient.

    Attributes
    ----------
    n_averaged : int
        Steps in the mean; 0 before it begins.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
    Optimization 1992; the trigger is algorithm 1 of Merity, Keskar and Socher, "Regularizing and optimizing LSTM
    language models", ICLR 2018, whose n is ``trigger``. The mean is kept in the dtype of the parameters.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        trigger: int | None = 5,
        start: int | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay)
        self.trigger = None if trigger is None else check_integer(trigger, "trigger", 1)
        self.start = None if start is None else check_integer(start, "start", 0)
        if self.trigger is None and self.start is None:
            raise ValueRangeError("trigger and start are both None, expected one of them: when is averaging to begin?")
        self.reset()

    def reset(self) -> None:
        """Forget everything about the parameters; the learning rate stays."""
        super().reset()
        self.n_averaged = 0
        self._n_steps = 0
        self._begun = False
        self._noted: list[float] = []
        self._averages: dict[str, np.ndarray] = {}

    def note(self, value: float) -> None:
        """Hear the loss of an evaluation, which may let averaging begin."""
        if self.trigger is not None and len(self._noted) > self.trigger:
            self._begun = self._begun or value > min(self._noted[: -self.trigger])
        self._noted.append(float(value))

    def step(self, params: Mapping[str, Param], scale: float = 1.0) -> None:
        """Step as `SGD` does, and add the parameters to the mean once that has begun."""
        super().step(params, scale)
        self._n_steps += 1
        if self.start is not None and self._n_steps > self.start:
            self._begun = True
        if not self._begun:
            return
        self.n_averaged += 1
        for name, param in distinct_params(params).items():
            if name not in self._averages:
                self._averages[name] = param.value.copy()
                continue
            average = self._fitting(name, param)
            average += (param.value - average) * (1.0 / self.n_averaged)

    @contextmanager
    def averaged(self, params: Mapping[str, Param]) -> Iterator[None]:
        """Put the mean in the place of the parameters inside the ``with`` block, where there is one."""
        distinct = {name: param for name, param in distinct_params(params).items() if name in self._averages}
        averages = {name: self._fitting(name, param) for name, param in distinct.items()}
        kept = {name: param.value.copy() for name, param in distinct.items()}
        try:
            for name, param in distinct.items():
                param.value[...] = averages[name]
            yield
        finally:
            for name, param in distinct.items():
                param.value[...] = kept[name]

    def finish(self, params: Mapping[str, Param]) -> None:
        """Give the parameters the values of the mean, where there is one."""
        for name, param in distinct_params(params).items():
            if name in self._averages:
                param.value[...] = self._fitting(name, param)

    def _fitting(self, name: str, param: Param) -> np.ndarray:
        """Return the mean of a parameter, where the parameter is."""
        average = self._averages[name] = to_device(self._averages[name], device_of(value=param.value))
        if average.shape != param.shape or average.dtype != param.dtype:
            raise ShapeError(
                f"the optimizer remembers {name!r} with shape {average.shape} in {average.dtype}, and it has "
                f"{param.shape} in {param.dtype} now; use another optimizer for another model, or call reset()"
            )
        return average

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what `SGD.state_dict` does, with the means and how far averaging has come."""
        arrays = super().state_dict()
        arrays["averaging"] = np.array([self.n_averaged, self._n_steps, self._begun], np.int64)
        arrays["noted"] = np.array(self._noted, np.float64)
        for name, average in self._averages.items():
            arrays[f"{name}{_AVERAGE}"] = np.array(to_host(average))
        return arrays

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Take over ``arrays``, as `state_dict` returned them; see `Optimizer.load_state_dict`."""
        rest = dict(arrays)
        missing = [name for name in ("averaging", "noted") if name not in rest]
        if missing:
            raise ValueRangeError(f"the state lacks {missing}, which ASGD keeps; was it saved by another optimizer?")
        averaging, noted = np.asarray(rest.pop("averaging")), np.asarray(rest.pop("noted"))
        if averaging.shape != (3,) or averaging.dtype.kind not in "iu" or noted.ndim != 1 or noted.dtype.kind != "f":
            raise DTypeError(
                f"averaging is {averaging} and noted {noted}, expected what ASGD keeps; was it another optimizer's?"
            )
        averages = {name: np.array(rest.pop(name)) for name in list(rest) if name.endswith(_AVERAGE)}
        for name, average in averages.items():
            if average.dtype not in (np.float32, np.float64):
                raise DTypeError(f"{name} has dtype {average.dtype}, expected float32 or float64")
        super().load_state_dict(rest)
        self.n_averaged, self._n_steps, self._begun = int(averaging[0]), int(averaging[1]), bool(averaging[2])
        self._noted = noted.tolist()
        self._averages = {name.removesuffix(_AVERAGE): average for name, average in averages.items()}
