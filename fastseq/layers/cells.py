"""Single steps of recurrent networks, for loops of one's own: RNNCell, LSTMCell and GRUCell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import DTypeError, ShapeError, ValueRangeError
from ._base import Layer, as_input
from .recurrent import GRU, LSTM, RNN

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]

_MANY = ("num_layers", "bidirectional", "merge", "dropout", "batch_first")
# One mask serves for all steps of a sequence, and a cell does not know where one begins.
_WHOLE = ("input_dropout", "recurrent_dropout", "weight_dropout")


class _Cell(Layer):
    """What the three cells share; see them."""

    _kind: ClassVar[type[RNN] | type[LSTM] | type[GRU]]

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__()
        for name in _MANY:
            if name in options:
                raise ValueRangeError(f"{name} is given, expected an option of one cell; {name} is for fs.layers."
                                      f"{self._kind.__name__}")  # fmt: skip
        for name in _WHOLE:
            if name in options:
                raise ValueRangeError(f"{name} is given, expected none for single steps: its mask is the same for all "
                                      f"steps of a sequence; use fs.layers.{self._kind.__name__}")  # fmt: skip
        self._layer = self._kind(input_size, hidden_size, **options)
        self.input_size, self.hidden_size = self._layer.input_size, self._layer.hidden_size
        self.dtype = self._layer.dtype
        self.params = {name.removeprefix("layer0."): param for name, param in self._layer.params.items()}

    def _shared(self) -> Any:
        """Return the layer, with the parameters that are this one's now: one may have been put in another's place."""
        self._layer.params = {f"layer0.{name}": param for name, param in self.params.items()}
        return self._layer

    def _told(self, parts: list[np.ndarray]) -> Any:
        return parts[0] if len(parts) == 1 else tuple(parts)

    def _as_state(self, state: Any, n: int, what: str) -> Any:
        if state is None:
            return None
        sizes = self._layer._state_sizes
        parts = (state,) if len(sizes) == 1 else state
        if not isinstance(parts, (tuple, list)) or len(parts) != len(sizes):
            raise DTypeError(f"{what} is {type(state).__name__}, expected None or (h, c)")
        arrays = []
        for name, part, size in zip("hc", parts, sizes):
            array = None if part is None else as_input(part, f"{name} of {what}", size, self.dtype)
            if array is not None and array.shape != (n, size):
                raise ShapeError(f"{name} of {what} has shape {array.shape}, expected {(n, size)}")
            arrays.append(None if array is None else array[None])
        return arrays[0] if len(sizes) == 1 else tuple(arrays)

    def forward(self, x: Any, state: Any = None, train: bool = True) -> tuple[Any, Any]:
        """Run one step.

        Parameters
        ----------
        x : (N, D) array
            Real numbers; they become the cell's dtype.
        state : (N, H) array, for LSTM a pair (h, c) of them, or None
            The states before the step; None: zeros.
        train : bool
            Whether to drop out; gradients exist in both cases.

        Returns
        -------
        state : as the argument
            After the step; the hidden states are the output.
        cache
            For `backward`.

        Raises
        ------
        ShapeError, DTypeError
            An argument is not as described.
        """
        x = as_input(x, "x", self.input_size, self.dtype)
        if x.ndim != 2:
            raise ShapeError(f"x has shape {x.shape}, expected (N, {self.input_size})")
        _, after, cache = self._shared().forward(x[:, None], self._as_state(state, len(x), "state"), train=train)
        parts = after if isinstance(after, tuple) else (after,)
        return self._told([part[0] for part in parts]), cache

    def backward(self, dstate: Any, cache: Any) -> tuple[np.ndarray, Any]:
        """Add the gradients of the parameters, and return those of the input and of the state before the step.

        Parameters
        ----------
        dstate : as ``state``
            Gradient of the loss by the state that `forward` returned.
        cache
            From `forward`.

        Returns
        -------
        dx : (N, D) ndarray
        dstate : as ``state``

        Raises
        ------
        ShapeError, DTypeError
            An argument is not as described.
        """
        if not (isinstance(cache, tuple) and len(cache) == 4):
            raise DTypeError(f"cache is {type(cache).__name__}, expected what forward returned last")
        n = cache[3][1]
        after = self._as_state(dstate, n, "dstate")
        dx, before = self._shared().backward(np.zeros((n, 1, self._layer.output_size), self.dtype), cache, after)
        parts = before if isinstance(before, tuple) else (before,)
        return dx[:, 0], self._told([part[0] for part in parts])

    def load_torch(self, state_dict: Mapping[str, Any]) -> None:
        """Take the weights of a torch.nn.RNNCell, LSTMCell or GRUCell of the same sizes; raises as `RNN.load_torch`."""
        self._shared().load_torch({f"{name}_l0": value for name, value in state_dict.items()})

    def to_torch(self) -> dict[str, np.ndarray]:
        """Return arrays by the names of the ``state_dict`` of PyTorch's cell."""
        return {name.removesuffix("_l0"): value for name, value in self._shared().to_torch().items()}


class RNNCell(_Cell):
    """One step of `RNN`; takes its options but those of several layers and directions, and of masks for all steps.

    Attributes
    ----------
    params : dict[str, Param]
        w_x (D, H), w_h (H, H), b (H,), and what options add.
    """

    _kind = RNN


class LSTMCell(_Cell):
    """One step of `LSTM`; takes its options but those of several layers and directions, and of masks for all steps.

    Attributes
    ----------
    params : dict[str, Param]
        w_x (D, 4 H), w_h (H, 4 H), b (4 H,), and what options add.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq.layers import LSTMCell
    >>> cell = LSTMCell(3, 5, random_state=0)
    >>> (h, c), cache = cell.forward(np.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    _kind = LSTM


class GRUCell(_Cell):
    """One step of `GRU`; takes its options but those of several layers and directions, and of masks for all steps.

    Attributes
    ----------
    params : dict[str, Param]
        w_x (D, 3 H), w_h (H, 3 H), b (3 H,), b_n (H,), and what options add.
    """

    _kind = GRU
