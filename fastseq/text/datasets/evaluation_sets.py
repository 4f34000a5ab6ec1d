"""The files that word vectors are judged by: scored word pairs and analogy questions, read in one way everywhere."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import FormatError

__all__ = ["read_pairs", "read_questions"]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, stripped line) of each line that holds something and is no comment, lines counted from 1.

    Only ``\\n`` and ``\\r\\n`` end a line: other separators may stand inside words.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise FormatError(f"{path}, line {number}: not UTF-8 text ({error.reason}); convert the file") from None
            if text and not text.startswith("#"):
                yield number, text


def _split(line: str) -> list[str]:
    for separator in ("\t", ","):
        if separator in line:
            return [field.strip() for field in line.split(separator)]
    return line.split()


def _score(text: str) -> float:
    """Return the number that ``text`` is; NaN where it is none."""
    try:
        # float() also takes underscores between digits, which no other reader would.
        return float("nan" if "_" in text else text)
    except ValueError:
        return math.nan


def _is_heading(fields: list[str]) -> bool:
    """Whether the fields of line 1 name columns: where a score is expected there is no number and not one digit."""
    if len(fields) < 3 or any(character.isdigit() for field in fields[2:] for character in field):
        return False
    try:
        float(fields[2])  # "nan" and "inf" are scores, bad ones
    except ValueError:
        return True
    return False


def read_pairs(path: str | os.PathLike[str]) -> Iterator[tuple[str, str, float]]:
    """Yield the pairs of a file, two words and a number a line, apart by tabs, else by commas, else by white space.

    Raises
    ------
    FormatError
        A line is not of that form (it is named), or there is none.
    FileNotFoundError, IsADirectoryError
        There is no such file.
    """
    path = Path(path)
    n_pairs = 0
    for number, line in _lines(path):
        fields = _split(line)
        if number == 1 and _is_heading(fields):
            continue
        score = _score(fields[2]) if len(fields) == 3 else math.nan
        if not math.isfinite(score) or not fields[0] or not fields[1]:
            raise FormatError(
                f"{path}, line {number}: {line[:60]!r}, expected two words and a finite number, separated by tabs, "
                "commas or spaces (names of columns may stand on line 1 only)"
            )
        n_pairs += 1
        yield fields[0], fields[1], score
    if not n_pairs:
        raise FormatError(f"{path} holds no pairs, expected two words and a number a line")


def read_questions(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, tuple[str, str, str, str] | None]]:
    """Yield (line, section, None) where a section begins and (line, section, four words) for each question.

    Raises
    ------
    FormatError
        A line is not of that form (it is named), or there is no question.
    FileNotFoundError, IsADirectoryError
        There is no such file.
    """
    path = Path(path)
    section, n_questions = "", 0
    for number, line in _lines(path):
        if line.startswith(":"):
            section = line[1:].strip()
            yield number, section, None
            continue
        words = line.split()
        if len(words) != 4:
            raise FormatError(f"{path}, line {number}: {line[:60]!r}, expected four words, or ':' and a section's name")
        n_questions += 1
        yield number, section, (words[0], words[1], words[2], words[3])
    if not n_questions:
        raise FormatError(f"{path} holds no questions, expected four words a line")
