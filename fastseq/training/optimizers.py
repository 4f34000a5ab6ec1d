"""Optimizers: what a step does with gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..device import to_device, to_host
from ..errors import DTypeError, ShapeError, ValueRangeError
from ..kernels import adagrad_step, adam_step, rmsprop_step, sgd_step, sum_of_squares
from ..kernels._boundary import array_module, check_finite_number, device_of, to_same_device
from ..layers import Param, RowSparseGrad, distinct_params
from ._config import Configured

__all__ = [
    "OPTIMIZERS", "Optimizer", "SGD", "AdaGrad", "RMSprop", "Adam", "AdamW", "grad_norm", "clip_factor",
    "clip_grad_norm",
]  # fmt: skip


class Optimizer(Configured, ABC):
    """Base of the optimizers.

    An optimizer walks distinct parameters: one that stands under two names is stepped once. It passes over those
    without a gradient. What it remembers of a parameter is kept under the first of its names.

    A row-sparse gradient means the same as the dense array that it stands for, and the result has the same bits. Where
    the other rows would not change anyway (plain SGD; AdaGrad; both without weight decay) only the rows that the
    gradient names are visited. Elsewhere all rows move, as momentum and decay demand; ``lazy=True`` leaves rows without
    a gradient as they are, and so are their momentum and averages: much less work where the vocabulary is large, and
    other numbers.

    Attributes
    ----------
    learning_rate : float
        May be set between steps.
    state : dict[str, dict[str, ndarray]]
        By parameter: "steps" (int64, no axes) and the optimizer's own arrays.
    """

    #: Names of the arrays that are kept for each parameter.
    slots: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, weight_decay: float = 0.0, lazy: bool = False) -> None:
        self.learning_rate = check_finite_number(learning_rate, "learning_rate", 0.0)
        self.weight_decay = check_finite_number(weight_decay, "weight_decay", 0.0)
        self.lazy = bool(lazy)
        self.state: dict[str, dict[str, np.ndarray]] = {}

    def step(self, params: Mapping[str, Param], scale: float = 1.0) -> None:
        """Change the values of ``params`` by their gradients, which stay as they are.

        Parameters
        ----------
        params : dict[str, Param]
            As `Layer.params` and `fastseq.layers.join_params` give them.
        scale : float
            What the gradients are multiplied by first: see `clip_factor`.

        Raises
        ------
        ShapeError, DTypeError
            What is remembered under a name does not fit the parameter of that name. Nothing has been changed then.
        ValueRangeError
            ``learning_rate`` was set to something that is no finite number of at least 0.
        """
        check_finite_number(self.learning_rate, "learning_rate", 0.0)
        active = {name: param for name, param in distinct_params(params).items() if param.grad is not None}
        states = {name: self._state_of(name, param) for name, param in active.items()}
        for name, param in active.items():
            state = states[name]
            state["steps"] += 1
            steps = int(state["steps"])
            grad = param.grad
            if isinstance(grad, RowSparseGrad):
                # Kept, so that clipping and stepping add equal rows up once.
                param.grad = grad = grad.coalesce()
                if self.lazy or self._other_rows_stay():
                    rows = to_same_device(grad.rows, device_of(value=param.value))
                    value = param.value[rows]
                    part = {slot: state[slot][rows] for slot in self.slots}
                    self._update(value, grad.values, part, steps, scale)
                    param.value[rows] = value
                    for slot in self.slots:
                        state[slot][rows] = part[slot]
                    continue
                grad = grad.to_dense(param.shape[0])
            assert grad is not None
            self._update(param.value, grad, state, steps, scale)

    def reset(self) -> None:
        """Forget everything about the parameters; the learning rate stays."""
        self.state = {}

    def note(self, value: float) -> None:
        """Hear the loss that an evaluation has found."""

    @contextmanager
    def averaged(self, params: Mapping[str, Param]) -> Iterator[None]:
        """Put in the place of the parameters, inside the ``with`` block, what they are to be evaluated with."""
        yield

    def finish(self, params: Mapping[str, Param]) -> None:
        """Give the parameters, when training ends, the values that they are to be used with."""

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what has to be saved to go on later: plain arrays by dotted name.

        "learning_rate" (float64, no axes) and, for each parameter that was stepped, "<name>.steps" and the optimizer's
        own arrays. The constructor's other arguments are not in it.
        """
        arrays = {"learning_rate": np.array(self.learning_rate, np.float64)}
        for name, state in self.state.items():
            for slot, array in state.items():
                arrays[f"{name}.{slot}"] = np.array(to_host(array))
        return arrays

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Take over ``arrays``, as `state_dict` returned them.

        Raises
        ------
        ValueRangeError
            Names are missing or unexpected: the state is that of another optimizer.
        ShapeError, DTypeError
            An array has another shape or kind than it should. Nothing has been changed in any of these cases.
        """
        if "learning_rate" not in arrays:
            raise ValueRangeError(
                f"the state has no learning_rate, only {sorted(arrays)}; pass what state_dict returned"
            )
        rate = np.asarray(arrays["learning_rate"])
        if rate.size != 1 or rate.dtype.kind not in "fiu":
            raise DTypeError(f"learning_rate has shape {rate.shape} and dtype {rate.dtype}, expected one number")
        learning_rate = check_finite_number(float(rate.reshape(())), "learning_rate", 0.0)
        allowed = ("steps", *self.slots)
        states: dict[str, dict[str, np.ndarray]] = {}
        for key, array in arrays.items():
            if key == "learning_rate":
                continue
            name, _, slot = key.rpartition(".")
            if not name or slot not in allowed:
                raise ValueRangeError(
                    f"the state holds {key!r}, and {type(self).__name__} keeps only {allowed} of each parameter; was "
                    "it saved by another optimizer?"
                )
            states.setdefault(name, {})[slot] = self._loaded(key, slot, array)
        for name, state in states.items():
            missing = [slot for slot in allowed if slot not in state]
            if missing:
                raise ValueRangeError(
                    f"the state of {name!r} lacks {missing}, which {type(self).__name__} keeps; was it saved by "
                    "another optimizer?"
                )
        self.learning_rate = learning_rate
        self.state = states

    @staticmethod
    def _loaded(key: str, slot: str, array: Any) -> np.ndarray:
        array = np.array(array)
        if slot == "steps":
            if array.dtype.kind not in "iu" or array.size != 1:
                raise DTypeError(f"{key} has shape {array.shape} and dtype {array.dtype}, expected one integer")
            return array.reshape(()).astype(np.int64)
        if array.dtype not in (np.float32, np.float64):
            raise DTypeError(f"{key} has dtype {array.dtype}, expected float32 or float64")
        return array

    def _state_of(self, name: str, param: Param) -> dict[str, np.ndarray]:
        device = device_of(value=param.value)
        if name not in self.state:
            zeros = {slot: array_module(device).zeros_like(param.value) for slot in self.slots}
            self.state[name] = {"steps": np.zeros((), np.int64), **zeros}
        state = self.state[name]
        for slot in self.slots:
            # The parameters may have been moved since.
            state[slot] = to_device(state[slot], device)
            if state[slot].shape != param.shape:
                raise ShapeError(
                    f"the optimizer remembers {name!r} with shape {state[slot].shape}, and it has {param.shape} now; "
                    "use another optimizer for another model, or call reset()"
                )
            if state[slot].dtype != param.dtype:
                raise DTypeError(
                    f"the optimizer remembers {name!r} in {state[slot].dtype}, and it has {param.dtype} now; use "
                    "another optimizer for another model, or call reset()"
                )
        return state

    def _other_rows_stay(self) -> bool:
        """Whether rows whose gradient is 0 stay as they are."""
        return False

    @abstractmethod
    def _update(
        self, value: np.ndarray, grad: np.ndarray, state: dict[str, np.ndarray], steps: int, scale: float
    ) -> None:
        """Change ``value`` and the arrays of ``state`` in place by ``scale * grad``. This is step number ``steps``."""


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where asked for.

    Parameters
    ----------
    learning_rate : float
        0 or more.
    momentum : float
        0 up to 1 (not included). What is kept of the last step's direction.
    nesterov : bool
        Whether the gradient is taken as if one step ahead. Needs momentum.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient.
    lazy : bool
        See `Optimizer`.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    ``b = momentum * b + g``; then ``w -= learning_rate * b``, or with ``nesterov``
    ``w -= learning_rate * (g + momentum * b)``. This is PyTorch's convention, in which a new learning rate acts on old
    momentum at once. With a constant rate the steps are those of ``v = momentum * v - learning_rate * g``; ``w += v``
    (Saito, *Deep Learning from Scratch 2*), and Nesterov's in the form of Bengio, Boulanger-Lewandowski and Pascanu,
    "Advances in optimizing recurrent networks", ICASSP 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import fastseq as fs
    >>> weight = fs.layers.Param(np.array([1.0, 2.0]), grad=np.array([0.5, 0.0]))
    >>> fs.SGD(0.1).step({"weight": weight})
    >>> weight.value
    array([0.95, 2.  ])
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        lazy: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay, lazy)
        self.momentum = _check_part(momentum, "momentum")
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueRangeError("nesterov is True and momentum 0, expected a momentum above 0; pass momentum=0.9")
        # Without momentum nothing is kept: no second array of the weights' size.
        self.slots = ("momentum",) if self.momentum else ()

    def _other_rows_stay(self) -> bool:
        return not self.momentum and not self.weight_decay

    def _update(
        self, value: np.ndarray, grad: np.ndarray, state: dict[str, np.ndarray], steps: int, scale: float
    ) -> None:
        sgd_step(
            value, grad, state.get("momentum"), learning_rate=self.learning_rate, momentum=self.momentum,
            nesterov=self.nesterov, weight_decay=self.weight_decay, scale=scale,
        )  # fmt: skip


class AdaGrad(Optimizer):
    """Steps that shrink with the sum of the squared gradients seen so far.

    Parameters
    ----------
    learning_rate : float
        0 or more.
    epsilon : float
        Added to the root. PyTorch has 1e-10, the book 1e-7.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient.
    lazy : bool
        See `Optimizer`. It matters only with weight decay.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    ``s += g**2``; ``w -= learning_rate * g / (sqrt(s) + epsilon)``. Duchi, Hazan and Singer, "Adaptive subgradient
    methods for online learning and stochastic optimization", JMLR 12, 2011.
    """

    slots = ("square_sum",)

    def __init__(
        self, learning_rate: float = 0.01, *, epsilon: float = 1e-10, weight_decay: float = 0.0, lazy: bool = False
    ) -> None:
        super().__init__(learning_rate, weight_decay, lazy)
        self.epsilon = check_finite_number(epsilon, "epsilon", 0.0, exclusive=True)

    def _other_rows_stay(self) -> bool:
        return not self.weight_decay

    def _update(
        self, value: np.ndarray, grad: np.ndarray, state: dict[str, np.ndarray], steps: int, scale: float
    ) -> None:
        adagrad_step(
            value, grad, state["square_sum"], learning_rate=self.learning_rate, epsilon=self.epsilon,
            weight_decay=self.weight_decay, scale=scale,
        )  # fmt: skip


class RMSprop(Optimizer):
    """Steps divided by the root of a moving average of the squared gradients.

    Parameters
    ----------
    learning_rate : float
        0 or more.
    decay : float
        0 up to 1 (not included). What the average keeps at each step.
    epsilon : float
        Added to the root. PyTorch has 1e-8, the book 1e-7.
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient.
    lazy : bool
        See `Optimizer`.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    ``s = decay * s + (1 - decay) * g**2``; ``w -= learning_rate * g / (sqrt(s) + epsilon)``. Tieleman and Hinton,
    *Neural Networks for Machine Learning*, lecture 6.5, 2012.
    """

    slots = ("square_average",)

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        lazy: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay, lazy)
        self.decay = _check_part(decay, "decay")
        self.epsilon = check_finite_number(epsilon, "epsilon", 0.0, exclusive=True)

    def _update(
        self, value: np.ndarray, grad: np.ndarray, state: dict[str, np.ndarray], steps: int, scale: float
    ) -> None:
        rmsprop_step(
            value, grad, state["square_average"], learning_rate=self.learning_rate, decay=self.decay,
            epsilon=self.epsilon, weight_decay=self.weight_decay, scale=scale,
        )  # fmt: skip


class Adam(Optimizer):
    """Moving averages of gradients and of their squares, corrected for their start at zero.

    Parameters
    ----------
    learning_rate : float
        0 or more.
    beta1, beta2 : float
        0 up to 1 (not included). What the averages of the gradients and of their squares keep at each step.
    epsilon : float
        Added to the root.
    epsilon_hat : bool
        Where epsilon is added: to the root of the corrected average (False; PyTorch, and algorithm 1 of the paper), or
        to that of the plain one (True; the faster form at the end of section 2 of the paper, and the book).
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient.
    lazy : bool
        See `Optimizer`. False, the default, moves every row of an embedding at each step; True only those with a
        gradient, as PyTorch's SparseAdam does. The steps are counted for the parameter as a whole in both.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * g``; ``v = beta2 * v + (1 - beta2) * g**2``; with ``c1 = 1 - beta1**t`` and
    ``c2 = 1 - beta2**t``

    * ``w -= learning_rate / c1 * m / (sqrt(v) / sqrt(c2) + epsilon)``, or
    * ``w -= learning_rate * sqrt(c2) / c1 * m / (sqrt(v) + epsilon)`` with ``epsilon_hat``.

    ``Adam(0.001, epsilon=1e-7, epsilon_hat=True)`` is the Adam of Saito, *Deep Learning from Scratch 2*. Kingma and Ba,
    "Adam: a method for stochastic optimization", ICLR 2015.
    """

    slots = ("average", "square_average")
    _decoupled = False

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        epsilon_hat: bool = False,
        weight_decay: float = 0.0,
        lazy: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay, lazy)
        self.beta1 = _check_part(beta1, "beta1")
        self.beta2 = _check_part(beta2, "beta2")
        self.epsilon = check_finite_number(epsilon, "epsilon", 0.0, exclusive=True)
        self.epsilon_hat = bool(epsilon_hat)

    def _update(
        self, value: np.ndarray, grad: np.ndarray, state: dict[str, np.ndarray], steps: int, scale: float
    ) -> None:
        adam_step(
            value, grad, state["average"], state["square_average"], steps, learning_rate=self.learning_rate,
            beta1=self.beta1, beta2=self.beta2, epsilon=self.epsilon, epsilon_hat=self.epsilon_hat,
            weight_decay=self.weight_decay, decoupled=self._decoupled, scale=scale,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with weight decay beside the gradient instead of in it.

    Parameters
    ----------
    learning_rate : float
        0 or more.
    beta1, beta2 : float
        0 up to 1 (not included). What the averages of the gradients and of their squares keep at each step.
    epsilon : float
        Added to the root.
    epsilon_hat : bool
        Where epsilon is added; see `Adam`.
    weight_decay : float
        Each step first multiplies the value by ``1 - learning_rate * weight_decay``.
    lazy : bool
        See `Optimizer` and `Adam`.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    Notes
    -----
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    _decoupled = True

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        epsilon_hat: bool = False,
        weight_decay: float = 0.01,
        lazy: bool = False,
    ) -> None:
        super().__init__(
            learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            epsilon_hat=epsilon_hat,
            weight_decay=weight_decay,
            lazy=lazy,
        )


def grad_norm(params: Mapping[str, Param]) -> float:
    """Return the Euclidean norm of all gradients taken together, summed in float64.

    Parameters
    ----------
    params : dict[str, Param]
        Those without a gradient count nothing; one under two names counts once.

    Returns
    -------
    float
        NaN or infinity where a gradient holds one.
    """
    total = 0.0
    for param in distinct_params(params).values():
        if param.grad is not None:
            total += sum_of_squares(_values_of(param))
    return math.sqrt(total)


def clip_factor(params: Mapping[str, Param], max_norm: float) -> tuple[float, float]:
    """Return the norm of all gradients, and what they are to be multiplied by so that it is at most ``max_norm``.

    ``optimizer.step(params, factor)`` does so on the way, which saves `clip_grad_norm`'s pass over the gradients.

    Parameters
    ----------
    params : dict[str, Param]
        They stay as they are.
    max_norm : float
        Above 0.

    Returns
    -------
    norm, factor : float
        The factor is 1 where the norm is NaN or infinite.

    Raises
    ------
    DTypeError, ValueRangeError
        ``max_norm`` is no finite number above 0.
    """
    max_norm = check_finite_number(max_norm, "max_norm", 0.0, exclusive=True)
    norm = grad_norm(params)
    factor = max_norm / (norm + 1e-6)
    return norm, factor if math.isfinite(norm) and factor < 1.0 else 1.0


def clip_grad_norm(params: Mapping[str, Param], max_norm: float) -> float:
    """Scale all gradients down together, so that their norm is at most ``max_norm``.

    Parameters
    ----------
    params : dict[str, Param]
        Their gradients are changed.
    max_norm : float
        Above 0.

    Returns
    -------
    float
        The norm before. Where it is NaN or infinite the gradients stay as they are: no factor would help.

    Raises
    ------
    DTypeError, ValueRangeError
        ``max_norm`` is no finite number above 0.

    Notes
    -----
    The factor is ``max_norm / (norm + 1e-6)`` where that is below 1, as PyTorch and Saito, *Deep Learning from Scratch
    2*, have it. Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.
    """
    norm, factor = clip_factor(params, max_norm)
    if factor < 1.0:
        for param in distinct_params(params).values():
            if isinstance(param.grad, RowSparseGrad):
                # Not in place: the arrays may be those that a caller gave.
                grad = param.grad.coalesce()
                param.grad = RowSparseGrad(grad.rows, grad.values * factor, is_coalesced=True)
            elif param.grad is not None:
                dense = param.dense_grad()
                dense *= factor
    return norm


def _values_of(param: Param) -> np.ndarray:
    """Return the numbers of the gradient; of a row-sparse one those of distinct rows, which the Param keeps then."""
    grad = param.grad
    if isinstance(grad, RowSparseGrad):
        param.grad = grad = grad.coalesce()
        return grad.values
    assert grad is not None
    return grad


def _check_part(value: Any, name: str) -> float:
    """Return ``value`` as a number from 0 up to 1, which is not included."""
    number = check_finite_number(value, name, 0.0)
    if number >= 1.0:
        raise ValueRangeError(f"{name} is {value}, expected 0 up to 1 (not included)")
    return number


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, AdaGrad, RMSprop, Adam, AdamW)}
