"""The generated sequence tasks of *Deep Learning from Scratch 2*: sums of numbers and dates in words."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...errors import DTypeError, ValueRangeError
from ...io import atomic_write
from ...random import as_key, random_bits

__all__ = ["addition", "dates", "write_pairs"]

# Most pairs that can be asked for. Distinct ones are drawn by throwing repeats away, which takes ever longer as fewer
# are left; 500,500 sums and 169,256 dates exist.
_MOST_SUMS = 250_000
_MOST_DATES = 150_000

# The days of the book's file.
_FIRST_DAY = datetime.date(1970, 1, 1).toordinal()
_LAST_DAY = datetime.date(2017, 7, 24).toordinal()

# Not taken from the locale: the text must not depend on the machine.
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def _check_number(n: Any, most: int) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise DTypeError(f"n is {type(n).__name__}, expected an int")
    if not 1 <= n <= most:
        raise ValueRangeError(f"n is {n}, expected 1 to {most} distinct pairs")
    return int(n)


def _below(key: np.uint64, items: np.ndarray, draw: int, bound: int) -> np.ndarray:
    """Return int64 numbers from 0 to bound - 1; with 64 bits the remainder favours none by more than bound / 2**64."""
    return (random_bits(key, items, draw) % np.uint64(bound)).astype(np.int64)


def _first_distinct(n: int, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the first ``n`` items whose codes, given by ``draw``, were not seen before; in the order of the items."""
    size = n
    while True:
        size += size // 2 + 16
        codes = draw(np.arange(size, dtype=np.uint64))
        first = np.sort(np.unique(codes, return_index=True)[1])
        if len(first) >= n:
            return first[:n].astype(np.uint64)


def addition(n: int = 50_000, random_state: Any = 0) -> list[tuple[str, str]]:
    """Return ``n`` distinct sums such as ``("16+75", "91")``.

    Parameters
    ----------
    n : int
        How many, 1 to 250,000.
    random_state : None, int or numpy.random.Generator
        The same int gives the same pairs on every machine; fewer pairs are the beginning of more.

    Returns
    -------
    list of (str, str)
        Question and answer, without padding.

    Raises
    ------
    DTypeError, ValueRangeError
        ``n`` or ``random_state`` is of another type or out of range.

    Notes
    -----
    Made by the rules of the book's ``addition.txt`` (after an example of Keras): each number has one, two or three
    digits with equal chance, each digit is drawn from 0 to 9, zeros in front are dropped, and no two questions hold the
    same two numbers in either order.
    """
    n = _check_number(n, _MOST_SUMS)
    key = as_key(random_state, "datasets.addition")

    def numbers(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Draws 0 and 1 are the numbers of digits, 2 and 3 the digits.
        first, second = (
            _below(key, items, 2 + side, 1000) % 10 ** (1 + _below(key, items, side, 3)) for side in (0, 1)
        )
        return first, second

    def codes(items: np.ndarray) -> np.ndarray:
        first, second = numbers(items)
        return np.minimum(first, second) * 1000 + np.maximum(first, second)

    first, second = numbers(_first_distinct(n, codes))
    return [(f"{a}+{b}", str(a + b)) for a, b in zip(first.tolist(), second.tolist())]


def dates(n: int = 50_000, random_state: Any = 0) -> list[tuple[str, str]]:
    """Return ``n`` distinct dates as people write them with their ISO form, as ``("may 3, 1988", "1988-05-03")``.

    Parameters
    ----------
    n : int
        How many, 1 to 150,000.
    random_state : None, int or numpy.random.Generator
        The same int gives the same pairs on every machine; fewer pairs are the beginning of more.

    Returns
    -------
    list of (str, str)
        Question and answer, without padding.

    Raises
    ------
    DTypeError, ValueRangeError
        ``n`` or ``random_state`` is of another type or out of range.

    Notes
    -----
    The days, from 1970-01-01 to 2017-07-24, and the forms are those of the book's ``date.txt``: "September 27, 1994",
    "Sep 27, 1994", "Tuesday, September 27, 1994" and "9/27/94" drawn with equal chance; those with names half of the
    time so, else all in lower or all in upper case. Here no question comes twice, while the book's 50,000 hold 41,578
    distinct ones. So the form in digits, of which there are fewest, makes 21 per cent of 50,000 instead of 25.
    """
    n = _check_number(n, _MOST_DATES)
    key = as_key(random_state, "datasets.dates")
    n_days = _LAST_DAY - _FIRST_DAY + 1
    is_may = np.array([datetime.date.fromordinal(_FIRST_DAY + day).month == 5 for day in range(n_days)])

    def choices(items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        day = _below(key, items, 0, n_days)
        form = _below(key, items, 1, 4)
        case = _below(key, items, 2, 4) // 2 * (1 + _below(key, items, 3, 2))
        # "May" is its own short form (1 like 0), and digits (3) have no case.
        form = np.where((form == 1) & is_may[day], 0, form)
        return day, form, np.where(form == 3, 0, case)

    def codes(items: np.ndarray) -> np.ndarray:
        day, form, case = choices(items)
        return (day * 4 + form) * 3 + case

    pairs = []
    for day, form, case in zip(*(part.tolist() for part in choices(_first_distinct(n, codes)))):
        date = datetime.date.fromordinal(_FIRST_DAY + day)
        month = _MONTHS[date.month - 1]
        if form == 3:
            text = f"{date.month}/{date.day}/{date.year % 100:02d}"
        else:
            text = f"{month[:3] if form == 1 else month} {date.day}, {date.year}"
            if form == 2:
                text = f"{_WEEKDAYS[date.weekday()]}, {text}"
        pairs.append(((text, text.lower(), text.upper())[case], date.isoformat()))
    return pairs


def write_pairs(
    path: str | os.PathLike[str], pairs: Iterable[tuple[str, str]], separator: str = "_", pad: bool = True
) -> None:
    """Write pairs of texts one a line, ``source separator target``, as the book's files have them.

    Parameters
    ----------
    path : path
        The file, UTF-8; replaced when all is written, never half written.
    pairs : iterable of (str, str)
        Sources and targets.
    separator : str
        What stands between; it may not occur in the texts.
    pad : bool
        Fill sources and targets with spaces to the longest of each, so that all lines have one length.

    Raises
    ------
    ValueRangeError
        No pairs, an empty separator, or a text that holds the separator, a line break or half a surrogate pair.
    DTypeError
        ``pairs`` is no list of pairs of text.
    """
    if isinstance(pairs, (str, bytes)) or not hasattr(pairs, "__iter__"):
        raise DTypeError(f"pairs is {pairs!r}, expected a list of (source, target)")
    pairs = list(pairs)
    if not pairs:
        raise ValueRangeError("pairs is empty; give at least one (source, target)")
    if not separator or len(separator.splitlines()) != 1 or separator.splitlines()[0] != separator:
        raise ValueRangeError(f"separator is {separator!r}, expected at least one character and no line break")
    for number, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise DTypeError(f"pairs[{number}] is {pair!r}, expected two str")
        for text in pair:
            if separator in text or len(text.splitlines()) > 1 or (text and text.splitlines()[0] != text):
                raise ValueRangeError(
                    f"pairs[{number}] holds {text!r} with the separator {separator!r} or a line break in it; "
                    "give another separator"
                )
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueRangeError(
                    f"pairs[{number}] holds {text!r} with half a surrogate pair, which UTF-8 cannot hold"
                )
    width = max(len(source) for source, _ in pairs) if pad else 0
    target_width = max(len(target) for _, target in pairs) if pad else 0
    with atomic_write(path) as file:
        for source, target in pairs:
            file.write(f"{source:<{width}}{separator}{target:<{target_width}}\n".encode())
