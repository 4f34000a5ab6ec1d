"""The words of a corpus, numbered, with how often each occurs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError, UnknownWordError, ValueRangeError

__all__ = ["Vocabulary"]


class _Unknown:
    """The message about an unknown word, written when it is read: looking for close words takes milliseconds."""

    def __init__(self, word: str, words: tuple[str, ...]) -> None:
        self._word = word
        self._words = words

    def __str__(self) -> str:
        close = _close_words(self._word, self._words)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ", and none is much like it"
        count = f"{len(self._words):,} word{'' if len(self._words) == 1 else 's'}"
        return f"the word {self._word!r} is not in the vocabulary of {count}{hint}"

    __repr__ = __str__


def _close_words(word: str, words: Sequence[str]) -> list[str]:
    """Return up to three words like ``word``: the same in another case, or near it among words of about its length."""
    import difflib

    folded = word.casefold()
    # Frequent words first and about the same length: 50,000 candidates take some 50 ms.
    candidates = [w for w in words[:50_000] if abs(len(w) - len(word)) <= 2]
    same = [w for w in candidates if w.casefold() == folded]
    near = difflib.get_close_matches(word, candidates, n=3, cutoff=0.7) if len(word) <= 50 else []
    return list(dict.fromkeys(same + near))[:3]


class Vocabulary:
    """Words and their ids: ids are places in `words`, by falling frequency where a corpus made the vocabulary.

    A vocabulary does not change. `unk` names the word that stands for unknown ones, `eos` the one that ends sentences.

    Parameters
    ----------
    words : iterable of str
        V distinct words in the order of their ids.
    counts : array-like of int (V,), optional
        How often each word occurs; zeros where it is not known.
    unk, eos : str, optional
        One of ``words`` each.

    Attributes
    ----------
    words : tuple of str
        The words.
    counts : int64 (V,)
        Their counts, read-only.
    unk, eos : str or None
        The special words.

    Raises
    ------
    DTypeError
        A word is not text or a count not an integer.
    ShapeError
        There are not as many counts as words.
    ValueRangeError
        A word occurs twice, a count is negative, or ``unk`` or ``eos`` is not among the words.

    Examples
    --------
    >>> vocab = Vocabulary(["say", "you"], [2, 1])
    >>> vocab["you"], "hello" in vocab, vocab.encode(["you", "say"]).tolist(), vocab.decode([0, 1])
    (1, False, [1, 0], ['say', 'you'])
    """

    __slots__ = ("_counts", "_eos", "_index", "_unk", "_unk_id", "_words")

    def __init__(
        self, words: Iterable[str], counts: Any = None, *, unk: str | None = None, eos: str | None = None
    ) -> None:
        if isinstance(words, (str, bytes)):
            raise DTypeError(f"words is the text {words[:20]!r}, expected a list of words")
        if not isinstance(words, Iterable):
            raise DTypeError(f"words is {words!r} ({type(words).__name__}), expected a list of words")
        self._words = tuple(words)
        for word in self._words:
            if not isinstance(word, str):
                raise DTypeError(f"words holds {word!r} ({type(word).__name__}), expected text")
        self._index = {word: i for i, word in enumerate(self._words)}
        if len(self._index) < len(self._words):
            twice = next(word for i, word in enumerate(self._words) if self._index[word] != i)
            raise ValueRangeError(f"the word {twice!r} occurs more than once, expected distinct words")
        if counts is None:
            numbers = np.zeros(len(self._words), np.int64)
        else:
            given = np.asarray(counts)
            if given.shape != (len(self._words),):
                raise ShapeError(f"counts has shape {given.shape}, expected ({len(self._words)},), one for each word")
            if given.size and given.dtype.kind not in "iu":
                raise DTypeError(f"counts has dtype {given.dtype}, expected integers (they become int64)")
            numbers = given.astype(np.int64)
            if numbers.size and int(numbers.min()) < 0:
                raise ValueRangeError(f"counts holds {int(numbers.min())}, expected 0 or more")
        numbers.flags.writeable = False
        self._counts = numbers
        for name, special in (("unk", unk), ("eos", eos)):
            if special is not None and not isinstance(special, str):
                raise DTypeError(f"{name} is {special!r} ({type(special).__name__}), expected a word or None")
            if special is not None and special not in self._index:
                raise ValueRangeError(f"{name} is {special!r}, which is not among the words; add it to them")
        self._unk = unk
        self._eos = eos
        self._unk_id = -1 if unk is None else self._index[unk]

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        *,
        min_count: int = 1,
        max_vocab: int | None = None,
        unk: str | None = None,
        eos: str | None = None,
    ) -> Vocabulary:
        """Make a vocabulary from a mapping of words to counts, such as a ``collections.Counter``.

        Words are numbered by falling count, ties by their order in the mapping. Words below ``min_count``, and the
        rarest beyond ``max_vocab`` words, are left out; their counts go to ``unk`` where it is given. ``unk`` and
        ``eos`` are never left out.

        Raises
        ------
        DTypeError, ValueRangeError
            As for the class; or ``min_count`` or ``max_vocab`` is not an integer of 1 or more.
        """
        if not isinstance(counts, Mapping):
            raise DTypeError(
                f"counts is {type(counts).__name__}, expected a mapping of words to counts; collections.Counter(words) "
                "makes one"
            )
        words = list(counts)
        for word, count in counts.items():
            if not isinstance(word, str):
                raise DTypeError(f"counts holds the word {word!r} ({type(word).__name__}), expected text")
            if isinstance(count, (bool, np.bool_)) or not isinstance(count, (int, np.integer)):
                raise DTypeError(f"the count of {word!r} is {count!r} ({type(count).__name__}), expected an integer")
            if not 0 <= count < 2**63:
                raise ValueRangeError(f"the count of {word!r} is {count}, expected 0 to 2**63 - 1")
        for name, special in (("unk", unk), ("eos", eos)):
            if special is not None and not isinstance(special, str):
                raise DTypeError(f"{name} is {special!r} ({type(special).__name__}), expected a word or None")
        numbers = np.array([int(counts[word]) for word in words], np.int64)
        return choose_words(
            words, numbers, np.arange(len(words)), min_count=min_count, max_vocab=max_vocab, unk=unk, eos=eos
        )[0]

    @property
    def words(self) -> tuple[str, ...]:
        """The words, in the order of their ids."""
        return self._words

    @property
    def counts(self) -> np.ndarray:
        """How often each word occurs, int64 (V,), read-only."""
        return self._counts

    @property
    def unk(self) -> str | None:
        """The word that stands for unknown ones, or None."""
        return self._unk

    @property
    def eos(self) -> str | None:
        """The word that ends sentences, or None."""
        return self._eos

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._index

    def __getitem__(self, word: str) -> int:
        """Return the id of ``word``; raise `UnknownWordError`, a ``KeyError``, if it has none (see `get`)."""
        try:
            return self._index[word]
        except (KeyError, TypeError):
            if not isinstance(word, str):
                raise DTypeError(f"a word is {word!r} ({type(word).__name__}), expected text; see also words") from None
            raise UnknownWordError(_Unknown(word, self._words)) from None

    def get(self, word: str, default: Any = None) -> Any:
        """Return the id of ``word``, or ``default`` if it has none.

        Raises
        ------
        DTypeError
            ``word`` is not text.
        """
        if not isinstance(word, str):
            raise DTypeError(f"a word is {word!r} ({type(word).__name__}), expected text")
        return self._index.get(word, default)

    def encode(self, words: Iterable[str]) -> np.ndarray:
        """Return the ids of ``words``, int32 (n,); unknown words become `unk` where there is one.

        Raises
        ------
        UnknownWordError
            A word is not in the vocabulary and there is no `unk`.
        DTypeError
            ``words`` is a text instead of a list of words, or a word is not text.
        """
        if isinstance(words, (str, bytes)):
            raise DTypeError(f"words is the text {words[:20]!r}, expected a list of words: split it first")
        if not isinstance(words, Iterable):
            raise DTypeError(f"words is {words!r} ({type(words).__name__}), expected a list of words")
        words = list(words)
        for word in words:
            if not isinstance(word, str):
                raise DTypeError(f"words holds {word!r} ({type(word).__name__}), expected text")
        ids = [self._index.get(word, self._unk_id) for word in words]
        if self._unk_id < 0 and -1 in ids:
            self[words[ids.index(-1)]]  # raises, and says which
        return np.array(ids, np.int32)

    def decode(self, ids: Any) -> list[str]:
        """Return the words with the ``ids`` (n,).

        Raises
        ------
        DTypeError, ShapeError, ValueRangeError
            ``ids`` is not one axis of integers from 0 to V - 1.
        """
        from ..kernels._boundary import as_ids

        words = self._words
        return [words[i] for i in as_ids(ids, "ids", upper=len(words)).tolist()]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self is other or (
            self._words == other._words
            and np.array_equal(self._counts, other._counts)
            and (self._unk, self._eos) == (other._unk, other._eos)
        )

    def __hash__(self) -> int:
        return hash((self._words, self._unk, self._eos))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._words[:5])) + (", ..." if len(self) > 5 else "")
        special = "".join(f", {name}={value!r}" for name, value in (("unk", self._unk), ("eos", self._eos)) if value)
        return f"Vocabulary({len(self):,} word{'' if len(self) == 1 else 's'}: {shown}{special})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew: the flag that keeps the counts from being written is lost on their way.
        return _again, (self._words, self._counts, self._unk, self._eos)

    # --- on disk -----------------------------------------------------------------------------------------------------

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the JSON values from which `from_arrays` makes the vocabulary again."""
        encoded = [word.encode("utf-8", "surrogatepass") for word in self._words]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(word) for word in encoded], out=offsets[1:])
        arrays: dict[str, np.ndarray] = {
            "words": np.frombuffer(b"".join(encoded), np.uint8),
            "word_offsets": offsets,
            "counts": self._counts,
        }
        return arrays, {"unk": self._unk, "eos": self._eos}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> Vocabulary:
        """Make a vocabulary of what `to_arrays` returned; raise ``KeyError`` or ``ValueError`` if it is not that."""
        blob = np.asarray(arrays["words"], np.uint8).tobytes()
        bounds = np.asarray(arrays["word_offsets"]).tolist()
        if not bounds or bounds[0] != 0 or bounds[-1] != len(blob):
            raise ValueRangeError(f"word_offsets does not run from 0 to {len(blob)}, the length of words")
        if any(a > b for a, b in zip(bounds[:-1], bounds[1:])):
            raise ValueRangeError("word_offsets falls somewhere, expected places that rise")
        words = [blob[a:b].decode("utf-8", "surrogatepass") for a, b in zip(bounds[:-1], bounds[1:])]
        return cls(words, np.asarray(arrays["counts"]), unk=config.get("unk"), eos=config.get("eos"))


def _again(words: tuple[str, ...], counts: np.ndarray, unk: str | None, eos: str | None) -> Vocabulary:
    return Vocabulary(words, counts, unk=unk, eos=eos)


def choose_words(
    words: Sequence[str],
    counts: np.ndarray,
    appearance: np.ndarray,
    *,
    min_count: int,
    max_vocab: int | None,
    unk: str | None,
    eos: str | None,
) -> tuple[Vocabulary, np.ndarray]:
    """Choose and order the words of a vocabulary; return it and the id of each word given (int32, -1 if left out).

    Parameters
    ----------
    words : sequence of str
        n distinct words.
    counts, appearance : int64 (n,)
        How often each occurs, and a number that is lower the earlier it first appears.
    min_count, max_vocab, unk, eos
        As for `Vocabulary.from_counts`.
    """
    from ..kernels._boundary import check_integer

    check_integer(min_count, "min_count", 1)
    specials = list(dict.fromkeys(special for special in (unk, eos) if special is not None))
    if max_vocab is not None:
        check_integer(max_vocab, "max_vocab", max(1, len(specials)))
    n = len(words)
    place = dict.fromkeys(specials, -1)
    if specials:
        for i, word in enumerate(words):
            if word in place:
                place[word] = i
    is_special = np.zeros(n, bool)
    is_special[[i for i in place.values() if i >= 0]] = True

    keep = (counts >= min_count) & ~is_special
    if max_vocab is not None and int(keep.sum()) > max_vocab - len(specials):
        candidates = np.flatnonzero(keep)
        order = np.lexsort((appearance[candidates], -counts[candidates]))
        keep[candidates[order[max_vocab - len(specials) :]]] = False
    keep |= is_special

    kept = np.flatnonzero(keep)
    names = [words[i] for i in kept.tolist()]
    numbers = counts[kept]
    first = appearance[kept]
    absent = [special for special in specials if place[special] < 0]
    if absent:
        names += absent
        numbers = np.concatenate((numbers, np.zeros(len(absent), numbers.dtype)))
        first = np.concatenate((first, np.full(len(absent), np.iinfo(np.int64).max)))
    if unk is not None:
        # The rare words are the unknown word from here on: its count is theirs, and it appears where the first did.
        at = names.index(unk)
        rare = ~keep
        if rare.any():
            numbers[at] += counts[rare].sum()
            first[at] = min(first[at], appearance[rare].min())
    order = np.lexsort((first, -numbers))
    vocab = Vocabulary([names[i] for i in order.tolist()], numbers[order], unk=unk, eos=eos)
    new_ids = np.empty(len(names), np.int32)
    new_ids[order] = np.arange(len(names), dtype=np.int32)
    mapping = np.full(n, -1 if unk is None else vocab[unk], np.int32)
    mapping[kept] = new_ids[: kept.shape[0]]
    return vocab, mapping
