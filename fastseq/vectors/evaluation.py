"""Word vectors against people's judgement: word pairs with scores, and analogy questions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import metrics
from ..errors import DTypeError, ValueRangeError
from ..kernels._boundary import check_integer
from ..text.datasets.evaluation_sets import read_pairs, read_questions

if TYPE_CHECKING:
    from .word_vectors import WordVectors

__all__ = ["SimilarityResult", "AnalogySection", "AnalogyResult", "evaluate_similarity", "evaluate_analogies"]

# The five best answers are looked at for one that is no other spelling of the question's words, as gensim does.
_CANDIDATES = 5
_BLOCK = 4096  # questions at a time: their vectors take 3.3 MB in float64 with D = 100


@dataclass(frozen=True)
class SimilarityResult:
    """How well cosines agree with people's scores of word pairs.

    Attributes
    ----------
    spearman, pearson : float
        Correlations, NaN where one side is constant.
    spearman_pvalue, pearson_pvalue : float
        Two-sided.
    used, skipped : int
        Pairs that were compared, and pairs with an unknown word that were left out.
    restrict_vocab : int or None
    lowercase : bool
    unknown : str
        The options: which words were known, and what happened to pairs with an unknown one.
    """

    spearman: float
    pearson: float
    spearman_pvalue: float
    pearson_pvalue: float
    used: int
    skipped: int
    restrict_vocab: int | None
    lowercase: bool
    unknown: str

    def __str__(self) -> str:
        known = "all words known" if self.restrict_vocab is None else f"first {self.restrict_vocab} words known"
        return (
            f"Spearman {self.spearman:.4f}, Pearson {self.pearson:.4f} ({self.used} pairs used, "
            f"{self.skipped} skipped; {known}, unknown: {self.unknown})"
        )


@dataclass(frozen=True)
class AnalogySection:
    """One section of the questions: its name, right answers, questions used and questions skipped."""

    name: str
    correct: int
    total: int
    skipped: int

    @property
    def accuracy(self) -> float:
        """The share of right answers, from 0 to 1; NaN without questions."""
        return self.correct / self.total if self.total else float("nan")

    @property
    def is_syntactic(self) -> bool:
        """Whether the section is about word forms: its name begins with ``gram``."""
        return self.name.startswith("gram")


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.2f} %"


@dataclass(frozen=True)
class AnalogyResult:
    """How many analogy questions were answered rightly.

    Attributes
    ----------
    accuracy, semantic, syntactic : float
        Shares of right answers, from 0 to 1: of all, of the sections with another name than ``gram...``, and of those
        so named. NaN where there were no questions.
    used, skipped : int
        Questions that were asked, and questions with an unknown word that were left out.
    sections : tuple of AnalogySection
        In the order of the file.
    method : str
    restrict_vocab : int or None
    lowercase : bool
    unknown : str
        The options: how answers were found, which words were known and could be answers, and what happened to
        questions with an unknown one.
    """

    accuracy: float
    semantic: float
    syntactic: float
    used: int
    skipped: int
    sections: tuple[AnalogySection, ...]
    method: str
    restrict_vocab: int | None
    lowercase: bool
    unknown: str

    def __str__(self) -> str:
        known = "all words" if self.restrict_vocab is None else f"first {self.restrict_vocab} words"
        return (
            f"{_percent(self.accuracy)} right (semantic {_percent(self.semantic)}, syntactic "
            f"{_percent(self.syntactic)}; {self.used} questions used, {self.skipped} skipped; {known}, method "
            f"{self.method}, unknown: {self.unknown})"
        )


def _entries(entries: Any, what: str, form: str) -> Any:
    if isinstance(entries, (str, bytes)) or not hasattr(entries, "__iter__"):
        raise DTypeError(f"{what} is {entries!r} ({type(entries).__name__}), expected a file or a list of {form}")
    return entries


def _given_pairs(pairs: Any) -> Iterator[tuple[str, str, float]]:
    for i, pair in enumerate(_entries(pairs, "pairs", "(word, word, score)")):
        try:
            a, b, score = pair
            score = float(score)
        except (TypeError, ValueError):
            raise DTypeError(f"pair {i} is {pair!r}, expected (word, word, score)") from None
        if not isinstance(a, str) or not isinstance(b, str):
            raise DTypeError(f"pair {i} is {pair!r}, expected (word, word, score)")
        if not np.isfinite(score):
            raise ValueRangeError(f"pair {i} has the score {score}, expected a finite number")
        yield a, b, score


def _given_questions(questions: Any) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    if not isinstance(questions, Mapping):
        yield from _questions_of("", questions, "questions")
        return
    for name, section in questions.items():
        if not isinstance(name, str):
            raise DTypeError(f"questions has the section {name!r}, expected text as its name")
        yield name, None
        yield from _questions_of(name, section, f"section {name!r}")


def _questions_of(name: str, questions: Any, what: str) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    for i, question in enumerate(_entries(questions, what, "(a, b, c, d)")):
        words = () if isinstance(question, str) or not hasattr(question, "__iter__") else tuple(question)
        if len(words) != 4 or not all(isinstance(word, str) for word in words):
            place = f" of section {name!r}" if name else ""
            raise DTypeError(f"question {i}{place} is {question!r}, expected four words")
        yield name, words


class _Known:
    """The words that count as known: the first ``restrict_vocab``, with or without regard to case."""

    def __init__(self, words: Sequence[str], restrict_vocab: int | None, lowercase: bool) -> None:
        self.limit = len(words)
        if restrict_vocab is not None:
            self.limit = min(self.limit, check_integer(restrict_vocab, "restrict_vocab", 1))
        self.lowercase = lowercase
        self._ids: dict[str, int] = {}
        # The first word of each spelling stands for all of them.
        self.spelling = np.array(
            [self._ids.setdefault(self._fold(word), i) for i, word in enumerate(words[: self.limit])], np.int64
        )

    def _fold(self, word: str) -> str:
        # Upper case, as gensim has it; lower case would tell other words apart ("ß" and "ss", for one).
        return word.upper() if self.lowercase else word

    def ids(self, words: Iterable[str]) -> list[int]:
        """Return the row of each word, -1 for unknown ones."""
        return [self._ids.get(self._fold(word), -1) for word in words]


def _check_option(value: Any, name: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueRangeError(f"{name} is {value!r}, expected one of {options}")


def evaluate_similarity(
    vectors: WordVectors, pairs: Any, *, restrict_vocab: int | None, lowercase: bool, unknown: str
) -> SimilarityResult:
    """Compare cosines with people's scores; see `WordVectors.evaluate_similarity`."""
    _check_option(unknown, "unknown", ("skip", "zero"))
    known = _Known(vectors.words, restrict_vocab, lowercase)
    is_path = isinstance(pairs, (str, os.PathLike))
    ids, gold = [], []
    for a, b, score in read_pairs(pairs) if is_path else _given_pairs(pairs):
        ids.append(known.ids((a, b)))
        gold.append(score)
    rows = np.array(ids, np.int64).reshape(-1, 2)
    scores = np.array(gold, np.float64)
    found = (rows >= 0).all(axis=1)
    cosines = np.zeros(scores.size)
    cosines[found] = np.einsum("ij,ij->i", vectors._units(rows[found, 0]), vectors._units(rows[found, 1]))
    skipped = 0
    if unknown == "skip":
        skipped = int(scores.size - found.sum())
        cosines, scores = cosines[found], scores[found]
    if scores.size < 2:
        raise ValueRangeError(
            f"{scores.size} of {scores.size + skipped} pairs can be used, expected at least 2; "
            "are the words of the pairs in the vocabulary?"
        )
    spearman, pearson = metrics.spearman(scores, cosines), metrics.pearson(scores, cosines)
    return SimilarityResult(
        spearman=spearman,
        pearson=pearson,
        spearman_pvalue=metrics.correlation_p_value(spearman, scores.size),
        pearson_pvalue=metrics.correlation_p_value(pearson, scores.size),
        used=int(scores.size),
        skipped=skipped,
        restrict_vocab=restrict_vocab,
        lowercase=lowercase,
        unknown=unknown,
    )


def _answered_rightly(vectors: WordVectors, known: _Known, questions: np.ndarray, method: str) -> np.ndarray:
    """Return for each question (a, b, c, expected) of rows, shape (Q, 4), whether its answer is right."""
    right = np.zeros(questions.shape[0], bool)
    for start in range(0, questions.shape[0], _BLOCK):
        asked = questions[start : start + _BLOCK]
        a, b, c = (vectors._units(asked[:, i]) for i in range(3))
        exclude = asked[:, :3]
        if method == "add":
            best, _ = vectors._nearest(b - a + c, _CANDIDATES, exclude, known.limit)
        else:
            best, _ = vectors._nearest_mul(np.stack([b, c], axis=1), a[:, None], _CANDIDATES, exclude, known.limit)
        spelling = np.where(best >= 0, known.spelling[best], -1)
        is_answer = (spelling >= 0) & (spelling[:, :, None] != exclude[:, None, :]).all(axis=2)
        first = is_answer.argmax(axis=1)
        answer = spelling[np.arange(asked.shape[0]), first]
        right[start : start + _BLOCK] = is_answer.any(axis=1) & (answer == asked[:, 3])
    return right


def _share(sections: Iterable[AnalogySection]) -> float:
    sections = list(sections)
    total = sum(section.total for section in sections)
    return sum(section.correct for section in sections) / total if total else float("nan")


def evaluate_analogies(
    vectors: WordVectors, questions: Any, *, restrict_vocab: int | None, method: str, lowercase: bool, unknown: str
) -> AnalogyResult:
    """Answer analogy questions; see `WordVectors.evaluate_analogies`."""
    _check_option(method, "method", ("add", "mul"))
    _check_option(unknown, "unknown", ("skip", "wrong"))
    known = _Known(vectors.words, restrict_vocab, lowercase)
    is_path = isinstance(questions, (str, os.PathLike))
    names: list[str] = []
    rows: list[list[int]] = []
    section_of: list[int] = []
    read = ((name, words) for _, name, words in read_questions(questions)) if is_path else _given_questions(questions)
    for name, words in read:
        if words is None or not names:
            names.append(name)
        if words is not None:
            rows.append(known.ids(words))
            section_of.append(len(names) - 1)
    asked = np.array(rows, np.int64).reshape(-1, 4)
    place = np.array(section_of, np.int64)
    found = (asked >= 0).all(axis=1)
    right = np.zeros(asked.shape[0], bool)
    right[found] = _answered_rightly(vectors, known, asked[found], method)
    counted = found if unknown == "skip" else np.ones_like(found)
    n = len(names)
    correct = np.bincount(place[right], minlength=n).tolist()
    total = np.bincount(place[counted], minlength=n).tolist()
    skipped = np.bincount(place[~counted], minlength=n).tolist()
    sections = tuple(AnalogySection(*entry) for entry in zip(names, correct, total, skipped))
    return AnalogyResult(
        accuracy=_share(sections),
        semantic=_share(section for section in sections if section.name and not section.is_syntactic),
        syntactic=_share(section for section in sections if section.is_syntactic),
        used=int(counted.sum()),
        skipped=int((~counted).sum()),
        sections=sections,
        method=method,
        restrict_vocab=restrict_vocab,
        lowercase=lowercase,
        unknown=unknown,
    )
