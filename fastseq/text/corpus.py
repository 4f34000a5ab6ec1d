"""A corpus: a text as numbers, two arrays and a vocabulary."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import DTypeError, FormatError, TextError, ValueRangeError
from .readers import ENCODING_ERRORS, invalid_utf8, map_bytes, read_lines
from .tokenizers import Tokenizer, resolve_tokenizer
from .vocabulary import Vocabulary, choose_words

__all__ = ["Corpus"]

_KIND = "corpus"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Where fewer than this share of the tokens is kept, the ids move to an array of their size.
_WORTH_MOVING = 0.75
# So many ids are counted at a time: bincount makes 8 bytes of each.
_COUNT_BLOCK = 1 << 22


class Corpus:
    """A text as numbers: the ids of all its words one after the other, and where sentences begin and end.

    `len` is the number of sentences, and iteration gives the sentences as lists of words; `n_tokens` is the number of
    words in all.

    Parameters
    ----------
    ids : int array (n_tokens,)
        Places in the vocabulary; they become int32.
    offsets : int array (n_sentences + 1,)
        Sentence s is ``ids[offsets[s]:offsets[s + 1]]``; they become int64.
    vocab : Vocabulary
        The words.

    Attributes
    ----------
    ids : int32 (n_tokens,)
        Read-only.
    offsets : int64 (n_sentences + 1,)
        Read-only.
    vocab : Vocabulary
        The words; their counts are those of the corpus that the vocabulary was made from.

    Raises
    ------
    DTypeError, ShapeError, ValueRangeError
        An array is not as described, or ids lie outside the vocabulary.

    Notes
    -----
    How text becomes a corpus, in `from_file`, `from_text` and `from_sentences`:

    * A sentence is a line. With ``eos`` every line, also an empty one, ends in that word; what follows the last line
      break is a line if it is not empty.
    * Words are numbered by falling frequency in the corpus, ties by first appearance.
    * Words outside the vocabulary (rarer than ``min_count``, beyond the ``max_vocab`` most frequent, or not in a given
      ``vocab``) become ``unk``; without ``unk`` they are taken out before anything else is done, so that the words
      around them become neighbours (Mikolov, Chen, Corrado and Dean 2013). A sentence left empty goes too.
    * ``unk`` and ``eos`` are words like others: they have their place by frequency, and a text that already holds
      ``<unk>`` as a word means the same one. ``min_count`` and ``max_vocab`` do not remove them.

    Examples
    --------
    >>> corpus = Corpus.from_text("you say goodbye and i say hello .")
    >>> corpus.ids.tolist()
    [1, 0, 2, 3, 4, 0, 5, 6]
    >>> corpus.vocab.words
    ('say', 'you', 'goodbye', 'and', 'i', 'hello', '.')
    """

    __slots__ = ("_ids", "_offsets", "_vocab")

    def __init__(self, ids: Any, offsets: Any, vocab: Vocabulary) -> None:
        from ..kernels._boundary import as_ids, as_offsets

        if not isinstance(vocab, Vocabulary):
            raise DTypeError(
                f"vocab is {type(vocab).__name__}, expected a Vocabulary; fastseq.Vocabulary(words) makes one"
            )
        ids = np.asarray(ids) if isinstance(ids, (list, tuple)) else ids
        checked = as_ids(ids, "ids", upper=len(vocab))
        self._set(checked, as_offsets(np.asarray(offsets), "offsets", checked.shape[0], "ids"), vocab)

    def _set(self, ids: np.ndarray, offsets: np.ndarray, vocab: Vocabulary) -> None:
        # Views, so that the flag is not set on the user's own arrays.
        self._ids, self._offsets = ids.view(), offsets.view()
        self._ids.flags.writeable = False
        self._offsets.flags.writeable = False
        self._vocab = vocab

    @classmethod
    def _of(cls, ids: np.ndarray, offsets: np.ndarray, vocab: Vocabulary) -> Corpus:
        """Make a corpus of arrays that were made here and need no check."""
        corpus = cls.__new__(cls)
        corpus._set(ids, offsets, vocab)
        return corpus

    # --- making one --------------------------------------------------------------------------------------------------

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        min_count: int = 1,
        max_vocab: int | None = None,
        lowercase: bool = False,
        unk: str | None = None,
        eos: str | None = None,
        vocab: Vocabulary | None = None,
        tokenizer: str | Tokenizer | None = None,
        encoding_errors: str = "strict",
    ) -> Corpus:
        r"""Make a corpus of a UTF-8 text file, one sentence a line; gzip files are known by their content.

        The file is mapped, not read: beside it there are 4 bytes a token and the distinct words.

        Parameters
        ----------
        path : path
            The file.
        min_count : int
            How often a word must occur at least.
        max_vocab : int, optional
            How many words the vocabulary has at most, ``unk`` and ``eos`` included.
        lowercase : bool
            Whether each token is replaced by its lower-case form (``str.lower``).
        unk : str, optional
            The word that takes the place of words outside the vocabulary; without it they are taken out. Where
            ``vocab`` is given, it follows ``vocab.unk`` unless given too.
        eos : str, optional
            A word added to the end of every line.
        vocab : Vocabulary, optional
            Use this one instead of making one; ``min_count`` and ``max_vocab`` must then be left alone.
        tokenizer : None, "char", "japanese" or function
            None cuts at white space as ``str.split()`` does. ``"char"`` makes every character of a line a token,
            spaces included (``eos="\n"`` keeps the line breaks). ``"japanese"`` cuts Japanese into words (the extra
            ``ja``). A function takes a line and returns its tokens. Empty tokens are passed over.
        encoding_errors : {"strict", "replace", "ignore"}
            What happens to bytes that are not UTF-8: an error, U+FFFD in their place, or nothing in their place.

        Returns
        -------
        Corpus
            The corpus.

        Raises
        ------
        FileNotFoundError, IsADirectoryError, PermissionError
            The file cannot be read.
        FormatError
            A gzip file is truncated or damaged.
        TextError
            The text is not UTF-8, holds no word, no word is left, or the file changed while it was read.
        ValueRangeError, DTypeError
            An option is not as described.
        MissingExtraError
            ``tokenizer="japanese"`` lacks its packages.

        Notes
        -----
        ``~`` is the home folder and ``"-"`` the standard input. A pipe is copied to a temporary file first. A file must
        not change while it is read: growth is an error afterwards, but where another program cuts a mapped file short,
        the system ends this process (SIGBUS). Programs that write a new file and rename it do no harm.
        """
        options = _Options(min_count, max_vocab, lowercase, unk, eos, vocab)
        unit, function = resolve_tokenizer(tokenizer)
        _check_encoding_errors(encoding_errors)
        data, release = map_bytes(path)
        name = str(path)
        corpus = _from_bytes(data, unit, function, encoding_errors, options, name, release)
        release.check_size(name)
        return corpus

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        min_count: int = 1,
        max_vocab: int | None = None,
        lowercase: bool = False,
        unk: str | None = None,
        eos: str | None = None,
        vocab: Vocabulary | None = None,
        tokenizer: str | Tokenizer | None = None,
        encoding_errors: str = "strict",
    ) -> Corpus:
        """Make a corpus of a text, one sentence a line; the options are those of `from_file`.

        Raises
        ------
        DTypeError
            ``text`` is no str.
        TextError
            The text holds a lone surrogate, which no encoding can hold, or no word, or no word is left.
        """
        if not isinstance(text, str):
            raise DTypeError(f"text is {type(text).__name__}, expected str; bytes have .decode(), files from_file")
        options = _Options(min_count, max_vocab, lowercase, unk, eos, vocab)
        unit, function = resolve_tokenizer(tokenizer)
        _check_encoding_errors(encoding_errors)
        try:
            encoded = text.encode("utf-8")
        except UnicodeEncodeError as error:
            if encoding_errors == "strict":
                raise TextError(
                    f"the text holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}; "
                    'pass encoding_errors="replace" (--encoding-errors replace), or "ignore"'
                ) from None
            encoded = _LONE_SURROGATE.sub("\ufffd" if encoding_errors == "replace" else "", text).encode("utf-8")
        return _from_bytes(np.frombuffer(encoded, np.uint8), unit, function, encoding_errors, options, "the text")

    @classmethod
    def from_sentences(
        cls,
        sentences: Iterable[Iterable[str]],
        *,
        min_count: int = 1,
        max_vocab: int | None = None,
        lowercase: bool = False,
        unk: str | None = None,
        eos: str | None = None,
        vocab: Vocabulary | None = None,
    ) -> Corpus:
        """Make a corpus of sentences that are lists of words; the options are those of `from_file`.

        Parameters
        ----------
        sentences : iterable of list of str
            Any iterable, a generator too: it is gone through once, and only numbers are kept. Empty words are passed
            over.

        Raises
        ------
        DTypeError
            A sentence is a str (split it first) or holds something that is not text.
        TextError
            There is no word, or none is left.
        """
        options = _Options(min_count, max_vocab, lowercase, unk, eos, vocab)
        if isinstance(sentences, (str, bytes)):
            raise DTypeError(
                f"sentences is the text {sentences[:20]!r}, expected a list of lists of words; from_text takes a text"
            )
        return _from_lists(_checked_sentences(sentences), options, "the list of sentences")

    @classmethod
    def from_ids(cls, ids: Any, offsets: Any = None, n_words: int | None = None) -> Corpus:
        """Make a corpus of sequences of integers: baskets of items, walks on a graph, text that is encoded already.

        Parameters
        ----------
        ids : (n_tokens,) integers
            The sequences one after the other; they are named by their digits, ``"0"``, ``"1"``, ...
        offsets : (n_sequences + 1,) integers, optional
            Where each sequence begins, and the end; one sequence unless given.
        n_words : int, optional
            How many ids there are; the largest one and 1 unless given.

        Raises
        ------
        DTypeError, ShapeError, ValueRangeError
            An argument is not as described.
        TextError
            There is no id.

        Examples
        --------
        >>> baskets = Corpus.from_ids([0, 1, 2, 0, 3], offsets=[0, 3, 5])
        >>> [list(basket) for basket in baskets]
        [['0', '1', '2'], ['0', '3']]
        """
        from ..kernels._boundary import as_ids, as_offsets, check_integer

        checked = as_ids(np.asarray(ids) if isinstance(ids, (list, tuple)) else ids, "ids")
        if checked.shape[0] == 0:
            raise TextError("ids is empty; a corpus needs at least one")
        most = int(checked.max()) + 1
        n_words = most if n_words is None else check_integer(n_words, "n_words", most, 2**31 - 1)
        borders = [0, checked.shape[0]] if offsets is None else offsets
        counts = np.zeros(n_words, np.int64)
        np.add.at(counts, checked, 1)
        vocab = Vocabulary(map(str, range(n_words)), counts)
        return cls._of(checked, as_offsets(np.asarray(borders), "offsets", checked.shape[0], "ids"), vocab)

    # --- looking at it -----------------------------------------------------------------------------------------------

    @property
    def ids(self) -> np.ndarray:
        """The ids of all words one after the other, int32 (n_tokens,), read-only."""
        return self._ids

    @property
    def offsets(self) -> np.ndarray:
        """Where sentences begin and the last one ends, int64 (n_sentences + 1,), read-only."""
        return self._offsets

    @property
    def vocab(self) -> Vocabulary:
        """The words."""
        return self._vocab

    @property
    def n_tokens(self) -> int:
        """How many words there are in all, repeats included."""
        return int(self._ids.shape[0])

    @property
    def n_sentences(self) -> int:
        """How many sentences there are."""
        return int(self._offsets.shape[0] - 1)

    def __len__(self) -> int:
        return self.n_sentences

    def __iter__(self) -> Iterator[list[str]]:
        words = self._vocab.words
        # Some sentences at a time: a Python number for every token of a large corpus would fill the memory.
        step = 1024
        for first in range(0, self.n_sentences, step):
            bounds = self._offsets[first : first + step + 1].tolist()
            for begin, end in zip(bounds[:-1], bounds[1:]):
                yield [words[i] for i in self._ids[begin:end].tolist()]

    def sentence(self, i: int) -> list[str]:
        """Return sentence ``i`` as a list of words; -1 is the last one.

        Raises
        ------
        ValueRangeError, DTypeError
            There is no such sentence, or ``i`` is no integer.
        """
        from ..kernels._boundary import check_integer

        if not self.n_sentences:
            raise ValueRangeError(f"i is {i!r} but the corpus has no sentences")
        i = check_integer(i, "i", -self.n_sentences, self.n_sentences - 1) % self.n_sentences
        return self._words(self._ids[int(self._offsets[i]) : int(self._offsets[i + 1])])

    def _words(self, ids: np.ndarray) -> list[str]:
        words = self._vocab.words
        return [words[i] for i in ids.tolist()]

    def decode(self, ids: Any = None) -> list[str]:
        """Return the words with the ``ids`` (n,), or all words of the corpus in order."""
        return self._words(self._ids) if ids is None else self._vocab.decode(ids)

    def __repr__(self) -> str:
        parts = [
            f"{number:,} {name}{'' if number == 1 else 's'}"
            for number, name in ((self.n_tokens, "token"), (self.n_sentences, "sentence"), (len(self._vocab), "word"))
        ]
        return f"Corpus({parts[0]} in {parts[1]}, vocabulary of {parts[2]})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew: the flags that keep the arrays from being written are lost on their way.
        return Corpus._of, (self._ids, self._offsets, self._vocab)

    # --- on disk -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the corpus with its vocabulary to a safetensors file, atomically.

        Raises
        ------
        FileNotFoundError, IsADirectoryError
            The folder is missing, or ``path`` is a folder.
        """
        from ..io import save_arrays

        arrays, config = self._vocab.to_arrays()
        save_arrays(path, {"ids": self._ids, "offsets": self._offsets, **arrays}, _KIND, config)

    @classmethod
    def load(cls, path: str | os.PathLike[str], mmap: bool = False) -> Corpus:
        """Read a corpus that `save` wrote.

        Parameters
        ----------
        path : path
            The file.
        mmap : bool
            Whether ids and offsets are mapped and read when used, rather than now: for a corpus larger than the memory.

        Raises
        ------
        FormatError
            The file is truncated, damaged or holds something else.
        FileNotFoundError, IsADirectoryError
            There is no such file.

        Notes
        -----
        A mapped file must stay as it is while the corpus is used: where another program cuts it short, the system ends
        this process (SIGBUS). `save` puts a new file in the place of the old one and does no harm.
        """
        from ..io import load_arrays

        arrays, config = load_arrays(path, _KIND, mmap=mmap)
        try:
            vocab = Vocabulary.from_arrays(arrays, config)
            return cls(arrays["ids"], arrays["offsets"], vocab)
        except KeyError as error:
            raise FormatError(f"{path} lacks the array {error}, which a corpus has; the file is damaged") from None
        except (TypeError, ValueError) as error:
            raise FormatError(f"{path} holds arrays that do not make a corpus: {error}") from None


class _Options:
    """The options that all ways of making a corpus share, checked."""

    def __init__(
        self,
        min_count: int,
        max_vocab: int | None,
        lowercase: bool,
        unk: str | None,
        eos: str | None,
        vocab: Vocabulary | None,
    ) -> None:
        from ..kernels._boundary import check_integer

        check_integer(min_count, "min_count", 1)
        for name, word in (("unk", unk), ("eos", eos)):
            if word is not None and not isinstance(word, str):
                raise DTypeError(f"{name} is {word!r} ({type(word).__name__}), expected a word or None")
            if word == "":
                raise ValueRangeError(f"{name} is empty, expected a word or None")
        if unk is not None and unk == eos:
            raise ValueRangeError(f"unk and eos are both {unk!r}, expected two different words")
        if max_vocab is not None:
            check_integer(max_vocab, "max_vocab", max(1, (unk is not None) + (eos is not None)))
        if vocab is not None:
            if not isinstance(vocab, Vocabulary):
                raise DTypeError(f"vocab is {type(vocab).__name__}, expected a Vocabulary such as corpus.vocab")
            if min_count != 1 or max_vocab is not None:
                raise ValueRangeError("vocab is given together with min_count or max_vocab; leave these out")
            unk = vocab.unk if unk is None else unk
            for name, word in (("unk", unk), ("eos", eos)):
                if word is not None and word not in vocab:
                    raise ValueRangeError(
                        f"{name} is {word!r}, which is not in the given vocab; make the vocab with {name}={word!r}"
                    )
        self.min_count = min_count
        self.max_vocab = max_vocab
        self.lowercase = bool(lowercase)
        self.unk = unk
        self.eos = eos
        self.vocab = vocab


def _check_encoding_errors(encoding_errors: str) -> None:
    if encoding_errors not in ENCODING_ERRORS:
        raise ValueRangeError(f"encoding_errors is {encoding_errors!r}, expected one of {ENCODING_ERRORS}")


def _from_bytes(
    data: np.ndarray,
    unit: str,
    function: Tokenizer | None,
    encoding_errors: str,
    options: _Options,
    name: str,
    release: Callable[[int, int], None] | None = None,
) -> Corpus:
    if function is not None:
        lines = (_checked_tokens(function, line) for line in read_lines(data, encoding_errors, name))
        return _from_lists(lines, options, name)
    from ..kernels.text import tokenize

    ids, offsets, starts, lengths, counts = tokenize(
        data, unit=unit, mark_lines=options.eos is not None, release=release
    )
    types = _decode_types(data, starts, lengths, encoding_errors, name, release)
    # Different bytes are different words, unless some were replaced or left out.
    return _build(types, counts, ids, offsets, options, name, distinct=encoding_errors == "strict")


def _decode_types(
    data: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    encoding_errors: str,
    name: str,
    release: Callable[[int, int], None] | None,
) -> list[str]:
    """Return the types as text. They hold no line break, so all are decoded at once, joined by one."""
    if starts.shape[0] == 0:
        return []
    joined = _join_types(data, starts, lengths, release)
    try:
        return joined.decode("utf-8", encoding_errors).split("\n")
    except UnicodeDecodeError as error:
        begins = np.cumsum(lengths + 1) - (lengths + 1)
        at = int(np.searchsorted(begins, error.start, side="right")) - 1
        # Types are in the order of the text, so the first that is ill-formed holds the first bad byte.
        raise invalid_utf8(name, int(starts[at]) + error.start - int(begins[at]), data) from None


def _join_types(
    data: np.ndarray, starts: np.ndarray, lengths: np.ndarray, release: Callable[[int, int], None] | None
) -> bytes:
    """Return the bytes of the types, joined by line feeds: gathered in blocks, without an object for each type."""
    joined = np.empty(int(lengths.sum()) + lengths.shape[0], np.uint8)
    ends = np.cumsum(lengths + 1)
    begins = ends - (lengths + 1)
    block = 1 << 14
    for first in range(0, starts.shape[0], block):
        last = min(first + block, starts.shape[0])
        if int(ends[last - 1] - begins[first]) > 64 * block:
            # Words that are longer than most: copied one by one, or the indices would take eight times their bytes.
            for i in range(first, last):
                joined[begins[i] : ends[i] - 1] = data[starts[i] : starts[i] + lengths[i]]
        else:
            shift = np.repeat(starts[first:last] - begins[first:last], lengths[first:last] + 1)
            places = np.arange(begins[first], ends[last - 1]) + shift
            joined[begins[first] : ends[last - 1]] = data.take(places, mode="clip")
        if release is not None:
            release(int(starts[first]), int(starts[last - 1] + lengths[last - 1]))
    joined[ends - 1] = 10
    return joined[:-1].tobytes()


class _Numbering(dict[str, int]):
    """Words numbered as they are first asked for."""

    def __missing__(self, word: Any) -> int:
        if not isinstance(word, str):
            raise DTypeError(f"a sentence holds {word!r} ({type(word).__name__}), expected words (str)")
        number = len(self)
        self[word] = number
        return number


def _checked_sentences(sentences: Iterable[Iterable[str]]) -> Iterator[Iterable[str]]:
    if not isinstance(sentences, Iterable):
        raise DTypeError(f"sentences is {type(sentences).__name__}, expected an iterable of lists of words")
    for i, sentence in enumerate(sentences):
        if isinstance(sentence, (str, bytes)):
            raise DTypeError(
                f"sentence {i} is the text {sentence[:20]!r}, expected a list of words: split it first, for example "
                "with .split()"
            )
        if not isinstance(sentence, Iterable):
            raise DTypeError(f"sentence {i} is {sentence!r} ({type(sentence).__name__}), expected a list of words")
        yield sentence


def _checked_tokens(tokenizer: Tokenizer, line: str) -> Iterable[str]:
    tokens = tokenizer(line)
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
        raise DTypeError(f"the tokenizer returned {type(tokens).__name__} for a line, expected a list of str")
    return tokens


def _from_lists(sentences: Iterable[Iterable[str]], options: _Options, name: str) -> Corpus:
    """Number words as they come; only numbers are kept."""
    numbers = _Numbering()
    # Empty words count as none; they have a number of their own, to be dropped later with the rare ones.
    ids, ends = array("i"), array("q")
    mark = options.eos is not None
    for sentence in sentences:
        try:
            ids.extend([numbers[word] for word in sentence])
        except TypeError as error:
            if isinstance(error, DTypeError):
                raise
            raise DTypeError(f"a sentence holds what is no word ({error}), expected words (str)") from error
        if mark:
            ids.append(-1)
        ends.append(len(ids))
    flat = np.frombuffer(ids, np.int32) if len(ids) else np.zeros(0, np.int32)
    offsets = np.zeros(len(ends) + 1, np.int64)
    offsets[1:] = np.frombuffer(ends, np.int64) if len(ends) else 0
    counts = np.zeros(len(numbers), np.int64)
    for begin in range(0, flat.shape[0], _COUNT_BLOCK):
        part = flat[begin : begin + _COUNT_BLOCK]
        counts += np.bincount(part[part >= 0], minlength=len(numbers))
    return _build(list(numbers), counts, flat, offsets, options, name, distinct="" not in numbers)


def _merge_types(types: list[str], lowercase: bool) -> tuple[list[str], np.ndarray]:
    """Return distinct words in order of first appearance, and the place of each type among them (-1 for no word)."""
    places: dict[str, int] = {}
    merged = np.empty(len(types), np.int64)
    for i, word in enumerate(types):
        word = word.lower() if lowercase else word
        merged[i] = places.setdefault(word, len(places)) if word else -1
    return list(places), merged


def _build(
    types: list[str],
    counts: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    options: _Options,
    name: str,
    distinct: bool,
) -> Corpus:
    """Choose the words, renumber the tokens (in place) and make the corpus.

    ``types`` (n) are numbered by first appearance; unless ``distinct``, they may repeat and one may be empty.
    ``counts`` (n) are theirs. ``ids`` hold type numbers, and -1 where a line ends if there is an ``eos``.
    """
    from ..kernels.text import renumber

    # Twice the place, so that the end of a line can come between two types.
    appearance = 2 * np.arange(len(types), dtype=np.int64)
    merged = np.arange(len(types))
    words = types
    if options.lowercase or not distinct:
        words, merged = _merge_types(types, options.lowercase)
        real = merged >= 0
        total = np.zeros(len(words), np.int64)
        np.add.at(total, merged[real], counts[real])
        first = np.full(len(words), np.iinfo(np.int64).max)
        np.minimum.at(first, merged[real], appearance[real])
        counts, appearance = total, first
    if not words and (options.eos is None or ids.shape[0] == 0):
        raise TextError(f"{name} holds no words; a corpus needs at least one")

    if options.vocab is not None:
        vocab = options.vocab
        unk_id = -1 if options.unk is None else vocab[options.unk]
        chosen = np.array([vocab.get(word, unk_id) for word in words], np.int32)
    else:
        vocab, chosen = _make_vocabulary(words, counts, appearance, ids, offsets, options, name)
    # The additional last entry serves merged == -1.
    mapping = np.append(chosen, np.int32(-1))[merged]
    line = -1 if options.eos is None else vocab[options.eos]
    n_tokens = ids.shape[0]
    ids, offsets = renumber(ids, offsets, mapping, line=line, overwrite=True)
    if ids.shape[0] == 0:
        raise TextError(f"{name} has {n_tokens:,} tokens and none is in the given vocab; is it that of another text?")
    if ids.shape[0] < _WORTH_MOVING * n_tokens:
        ids = ids.copy()
    return Corpus._of(ids, offsets, vocab)


def _make_vocabulary(
    words: list[str],
    counts: np.ndarray,
    appearance: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    options: _Options,
    name: str,
) -> tuple[Vocabulary, np.ndarray]:
    """Return the vocabulary of a corpus and the id of each word."""
    n = len(words)
    names = words
    if options.eos is not None:
        n_lines = offsets.shape[0] - 1  # each ends in a mark, so none is empty
        # The first line ends after the types that it holds and before all others.
        first_line = ids[: int(offsets[1])] if n_lines else ids[:0]
        after = 2 * int(first_line.max(initial=-1)) + 1
        if options.eos in words:
            at = words.index(options.eos)
            counts = counts.copy()
            counts[at] += n_lines
            appearance = appearance.copy()
            appearance[at] = min(int(appearance[at]), after)
        else:
            names = [*words, options.eos]
            counts = np.append(counts, n_lines)
            appearance = np.append(appearance, after)
    vocab, chosen = choose_words(
        names,
        counts,
        appearance,
        min_count=options.min_count,
        max_vocab=options.max_vocab,
        unk=options.unk,
        eos=options.eos,
    )
    special = {options.unk, options.eos}
    if n and not any(word not in special for word in vocab) and any(word not in special for word in words):
        raise TextError(
            f"{name} has {n:,} different words and none is left with min_count={options.min_count}"
            + ("; lower it" if options.max_vocab is None else f" and max_vocab={options.max_vocab}; change these")
        )
    return vocab, chosen[:n]
