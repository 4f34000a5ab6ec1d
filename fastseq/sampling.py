"""Words drawn at random in proportion to a power of their counts, for negative sampling."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from . import kernels
from .device import current_device, to_device, to_host
from .errors import DTypeError, ShapeError
from .kernels._boundary import INT32_MAX, check_integer, is_device_array
from .kernels.sampling import count_drawable, draw_checked
from .random import as_key

__all__ = ["UnigramTable"]

# Guards the tables' counters of rows. One for all of them: it is held for an addition, and tables can be pickled.
_COUNTING = threading.Lock()


class UnigramTable:
    """Draws word ids with probabilities proportional to ``counts ** power``, never a row's own target.

    Parameters
    ----------
    counts : (V,) int or float array
        How often each word occurs, such as ``corpus.vocab.counts``; none negative, at least one positive.
    power : float
        Any finite number; 0.75 is word2vec's. Words that occur keep a chance whatever their count, others have none.
    random_state : None, int or numpy.random.Generator
        Of the draws; an int makes them the same in every run.

    Attributes
    ----------
    power : float
    thresholds, aliases, weights : (V,) uint32, int32 and uint64 arrays
        The table, read-only; see `fastseq.kernels.unigram_table`.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        The counts or the power are not as described.

    Notes
    -----
    Negative sampling is due to Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed representations of words and
    phrases and their compositionality", NIPS 2013. Where they look up words in a list of 100 million entries, this is
    an alias table: Walker, "An efficient method for generating discrete random variables with general distributions",
    ACM TOMS 3, 1977, and Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE TSE
    17, 1991. It takes 16 bytes a word and one look-up a draw, and no word is too rare for it.

    Each row drawn has a number, counted from 0 over all calls, and its numbers depend on that and on ``random_state``
    only: not on how rows are divided into calls, on threads or on the device.

    Inside ``fastseq.use_device("cuda")``, and for targets that lie on a device, the draws are made there.

    Examples
    --------
    >>> import fastseq as fs
    >>> table = fs.UnigramTable([2, 1, 0, 1], power=1.0, random_state=0)
    >>> table.probabilities.tolist()
    [0.5, 0.25, 0.0, 0.25]
    >>> table.sample([0, 1, 3], 5).shape
    (3, 5)
    """

    def __init__(self, counts: Any, power: float = 0.75, random_state: Any = None) -> None:
        self._key = int(as_key(random_state, "negatives"))
        self._next_row = 0
        table = tuple(to_host(part) for part in kernels.unigram_table(counts, power))
        self.power = float(power)
        self.thresholds, self.aliases, self.weights = table
        self._n_drawable = count_drawable(self.weights)
        self._on_device: Any = None
        self._protect()

    def _protect(self) -> None:
        # Draws do not look whether the table is sound, since it was made here.
        for part in (self.thresholds, self.aliases, self.weights):
            part.flags.writeable = False

    def sample(self, targets: Any, size: int, replace: bool = True) -> Any:
        """Draw ``size`` ids for each target, none of them the target; the next call draws other ones.

        Parameters
        ----------
        targets : int or int array of any shape
            The ids that must not come; -1 excludes nothing.
        size : int
            How many ids for each target, 0 or more.
        replace : bool
            False makes the ids of one target distinct.

        Returns
        -------
        int32 array, the shape of ``targets`` followed by ``size``
            (N, size) for N targets; (size,) for a single one. It lies where the targets lie.

        Raises
        ------
        DTypeError, ValueRangeError
            The targets are no ids of the table, or there are not enough ids to draw from beside one of them.
        """
        size = check_integer(size, "size", 0, INT32_MAX)
        given = is_device_array(targets)
        if not given:
            targets = _as_integers(targets)
        on_device = given or current_device() == "cuda"
        shape = (*targets.shape, size)
        rows = targets.reshape(-1)
        with _COUNTING:
            start = self._next_row
            self._next_row += int(rows.shape[0])
        drawn = draw_checked(
            self._table_on(on_device),
            self._n_drawable,
            to_device(rows, "cuda") if on_device else rows,
            size,
            self._key,
            start,
            replace,
        )
        drawn = drawn.reshape(shape)
        return drawn if given else to_host(drawn)

    def _table_on(self, device: bool) -> tuple[Any, Any, Any]:
        if not device:
            return self.thresholds, self.aliases, self.weights
        if self._on_device is None:
            # Copies, since the simulator's device is the host's memory, and takes none that is read-only.
            table = (self.thresholds, self.aliases, self.weights)
            self._on_device = tuple(to_device(part.copy(), "cuda") for part in table)
        return self._on_device

    @property
    def probabilities(self) -> np.ndarray:
        """The probability of each id without a target, float64 (V,)."""
        return self.weights / (len(self) * 2.0**32)

    def __len__(self) -> int:
        return len(self.weights)

    def __repr__(self) -> str:
        return f"UnigramTable({len(self)} words, power={self.power:g})"

    def __getstate__(self) -> dict[str, Any]:
        # What lies on a device is not for other processes; it is moved again when it is needed.
        return {**self.__dict__, "_on_device": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._protect()


def _as_integers(targets: Any) -> np.ndarray:
    try:
        array = np.asarray(targets)
    except ValueError as error:
        raise ShapeError(f"targets is ragged ({error}), expected ids in rows of equal lengths") from None
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"targets is {type(targets).__name__} of dtype {array.dtype}, expected ids (integers)")
    return array if array.size else array.astype(np.int32)
