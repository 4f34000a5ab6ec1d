"""Word vectors that answer questions: neighbours, analogies, similarity, the odd one out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, FormatError, ShapeError, ValueRangeError
from ..kernels._boundary import check_integer
from ..text.vocabulary import Vocabulary
from . import formats
from .evaluation import AnalogyResult, SimilarityResult, evaluate_analogies, evaluate_similarity

__all__ = ["WordVectors"]

# Added to every length before dividing by it, so that zero vectors have cosine 0 with everything.
_EPS = 1e-8
_ROWS = 8192  # rows whose lengths are computed at a time, in float64
_METHODS = ("add", "mul")

Term = Any  # a word, or a vector of shape (D,)


def _as_vocabulary(vocab: Any) -> Vocabulary:
    if isinstance(vocab, Vocabulary):
        return vocab
    if isinstance(vocab, (str, bytes)):
        raise DTypeError(f"vocab is the text {vocab[:20]!r}, expected a Vocabulary or a list of words")
    return Vocabulary(vocab)


def _as_matrix(matrix: Any, copy: bool) -> np.ndarray:
    try:
        array = np.asarray(matrix)
    except ValueError:
        raise ShapeError("matrix is ragged, expected rows of equal length (V, D)") from None
    if array.dtype.kind not in "fiu":
        raise DTypeError(f"matrix has dtype {array.dtype}, expected real numbers (they become float32)")
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 1:
        raise ShapeError(f"matrix has shape {array.shape}, expected (V, D) with at least one word and one dimension")
    dtype = np.float64 if array.dtype.kind == "f" and array.dtype.itemsize == 8 else np.float32
    if copy or array.dtype != dtype or not array.flags.c_contiguous:
        with np.errstate(over="ignore"):
            array = np.array(array, dtype, order="C")
    result = array.view()
    result.flags.writeable = False
    return result


def _lengths(matrix: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """Return the length of each row (V,) float64; raise where one is not finite."""
    lengths = np.empty(matrix.shape[0])
    for start in range(0, matrix.shape[0], _ROWS):
        rows = matrix[start : start + _ROWS].astype(np.float64)
        np.sqrt(np.einsum("ij,ij->i", rows, rows), out=lengths[start : start + _ROWS])
    bad = np.flatnonzero(~np.isfinite(lengths))
    if bad.size:
        raise ValueRangeError(
            f"matrix holds NaN, infinity or numbers too large to square in {bad.size} rows, the first is {bad[0]} "
            f"({words[bad[0]]!r}); expected finite numbers"
        )
    return lengths


class WordVectors:
    """Vectors of words, and what one asks of them. Nothing in it changes after it is made.

    Parameters
    ----------
    matrix : array, shape (V, D)
        One row for each word: float64 stays so, other numbers become float32.
    vocab : Vocabulary or list of str
        The words of the rows, each once.
    copy : bool
        Whether to copy ``matrix``. Without a copy it must not be written to afterwards:
        lengths are computed once.

    Attributes
    ----------
    matrix : ndarray, shape (V, D), read-only
    vocab : Vocabulary
    words : tuple of str
    dim : int
        D.
    norms : ndarray, float64, shape (V,), read-only
        The Euclidean length of each row.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        ``matrix`` is not (V, D) finite numbers, its rows are not as many as the words, or a word is there twice.

    Notes
    -----
    Similarity is the cosine, with 1e-8 added to each length: a zero vector has similarity 0 with every word. Words with
    equal scores come in the order of the vocabulary. Neighbours are computed on all cores by the kernel
    `fastseq.kernels.nearest_dot`, and are the same for any number of threads.

    Examples
    --------
    >>> wv = WordVectors([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ["cat", "dog", "sky"])
    >>> [word for word, score in wv.most_similar("cat", n=2)]
    ['dog', 'sky']
    """

    def __init__(self, matrix: Any, vocab: Vocabulary | Iterable[str], *, copy: bool = True) -> None:
        self._vocab = _as_vocabulary(vocab)
        self._matrix = _as_matrix(matrix, copy)
        if self._matrix.shape[0] != len(self._vocab):
            raise ShapeError(
                f"matrix has {self._matrix.shape[0]} rows and vocab {len(self._vocab)} words, expected as many of each"
            )
        self._norms = _lengths(self._matrix, self._vocab.words)
        self._norms.flags.writeable = False
        self._scales = (1.0 / (self._norms + _EPS)).astype(self._matrix.dtype)
        self._scales.flags.writeable = False

    @property
    def matrix(self) -> np.ndarray:
        """The vectors, read-only, shape (V, D)."""
        return self._matrix

    @property
    def vocab(self) -> Vocabulary:
        """The vocabulary: words to rows."""
        return self._vocab

    @property
    def words(self) -> tuple[str, ...]:
        """The words, in the order of the rows."""
        return self._vocab.words

    @property
    def dim(self) -> int:
        """The number of dimensions, D."""
        return int(self._matrix.shape[1])

    @property
    def norms(self) -> np.ndarray:
        """The length of each row, read-only, float64, shape (V,)."""
        return self._norms

    def __len__(self) -> int:
        return int(self._matrix.shape[0])

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word in self._vocab

    def __iter__(self) -> Iterator[str]:
        return iter(self._vocab.words)

    def __repr__(self) -> str:
        return f"WordVectors({len(self)} words, {self.dim} dimensions, {self._matrix.dtype})"

    def __getitem__(self, word: str | Sequence[str]) -> np.ndarray:
        """Return the vector of a word, read-only, shape (D,); or of each of a list of words, shape (n, D)."""
        if isinstance(word, str):
            return self._matrix[self._id(word)]
        if not isinstance(word, (list, tuple)):
            raise DTypeError(f"a word is {word!r} ({type(word).__name__}), expected text or a list of words")
        return self._matrix[self._ids(word)]

    def get(self, word: str, default: Any = None) -> Any:
        """Return the vector of a word, read-only, shape (D,); ``default`` where the vocabulary lacks the word.

        Raises
        ------
        DTypeError
            ``word`` is no text.
        """
        if isinstance(word, str) and word not in self._vocab:
            return default
        return self._matrix[self._id(word)]

    def subset(self, words: Iterable[str]) -> WordVectors:
        """Return the vectors of ``words`` alone, in the order given, each once; counts go along.

        Raises
        ------
        UnknownWordError
            A word is not in the vocabulary.
        ShapeError, DTypeError
            There are no words, or they are no list of text.
        """
        if isinstance(words, (str, bytes)) or not hasattr(words, "__iter__"):
            raise DTypeError(f"words is {words!r}, expected a list of words")
        ids = self._ids(dict.fromkeys(words))
        names = [self._vocab.words[i] for i in ids.tolist()]
        counts = None if self._vocab.counts is None else self._vocab.counts[ids]
        unk, eos = (name if name in names else None for name in (self._vocab.unk, self._vocab.eos))
        return WordVectors(self._matrix[ids], Vocabulary(names, counts, unk=unk, eos=eos), copy=False)

    def _id(self, word: Any) -> int:
        if not isinstance(word, str):
            raise DTypeError(f"a word is {word!r} ({type(word).__name__}), expected text")
        return int(self._vocab[word])

    def _ids(self, words: Iterable[Any]) -> np.ndarray:
        return np.array([self._id(word) for word in words], np.int64).reshape(-1)

    def _units(self, ids: np.ndarray) -> np.ndarray:
        """Return rows of unit length, float64."""
        return self._matrix[ids].astype(np.float64) / (self._norms[ids] + _EPS)[..., None]

    def _unit_vectors(self, vectors: Any, name: str, ndim: int) -> np.ndarray:
        """Check ``vectors`` (..., D) and return them at unit length, float64."""
        try:
            array = np.asarray(vectors)
        except ValueError:
            raise ShapeError(f"{name} is ragged, expected rows of {self.dim} numbers") from None
        if array.dtype.kind not in "fiu":
            raise DTypeError(f"{name} has dtype {array.dtype}, expected words or real numbers")
        if array.ndim != ndim or array.shape[-1] != self.dim:
            wanted = f"({self.dim},)" if ndim == 1 else f"(Q, {self.dim})"
            raise ShapeError(f"{name} has shape {array.shape}, expected {wanted}")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueRangeError(f"{name} holds NaN or infinity, expected finite numbers")
        # Divided by the largest number first, so that the squares do not overflow.
        largest = np.abs(array).max(axis=-1, keepdims=True)
        shrunk = array / np.maximum(largest, 1.0)
        length = np.linalg.norm(shrunk, axis=-1, keepdims=True) * np.maximum(largest, 1.0)
        return np.asarray(array / (length + _EPS))

    def _term(self, term: Term) -> tuple[int, np.ndarray]:
        """Return (row or -1, unit vector (D,) float64) of a word or vector."""
        if isinstance(term, str):
            identity = self._id(term)
            return identity, self._units(np.array([identity]))[0]
        return -1, self._unit_vectors(term, "a vector", 1)

    def _terms(self, terms: Any, name: str) -> tuple[list[int], np.ndarray]:
        """Return rows or -1, and unit vectors (n, D) float64, of a word, a vector or a list of either."""
        if terms is None:
            terms = []
        elif isinstance(terms, str) or (
            isinstance(terms, np.ndarray) and terms.ndim == 1 and terms.dtype.kind in "fiu"
        ):
            terms = [terms]
        elif isinstance(terms, (int, float)) or not hasattr(terms, "__iter__"):
            raise DTypeError(f"{name} is {terms!r} ({type(terms).__name__}), expected words or vectors")
        pairs = [self._term(term) for term in terms]
        vectors = np.array([vector for _, vector in pairs]).reshape(len(pairs), self.dim)
        return [identity for identity, _ in pairs], vectors

    def _restricted(self, restrict_vocab: int | None) -> int:
        if restrict_vocab is None:
            return len(self)
        return min(len(self), check_integer(restrict_vocab, "restrict_vocab", 1))

    def _pairs(self, ids: np.ndarray, scores: np.ndarray) -> list[tuple[str, float]]:
        words = self._vocab.words
        return [(words[i], float(score)) for i, score in zip(ids.tolist(), scores.tolist()) if i >= 0]

    def _nearest(self, queries: np.ndarray, n: int, exclude: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (ids, cosines) for unit ``queries`` (Q, D) among the first ``limit`` words."""
        from ..kernels.nearest import nearest_dot

        exclude = np.where(exclude < limit, exclude, -1)
        n = min(n, limit)
        dtype = self._matrix.dtype
        return nearest_dot(queries.astype(dtype), self._matrix[:limit], n, exclude=exclude, scales=self._scales[:limit])

    def _nearest_mul(
        self, positive: np.ndarray, negative: np.ndarray, n: int, exclude: np.ndarray, limit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (ids, 3CosMul scores) for unit terms (Q, P, D) and (Q, M, D) among the first ``limit`` words."""
        from ..kernels.nearest import nearest_mul

        exclude = np.where(exclude < limit, exclude, -1)
        n = min(n, limit)
        dtype = self._matrix.dtype
        return nearest_mul(
            positive.astype(dtype),
            negative.astype(dtype),
            self._matrix[:limit],
            n,
            exclude=exclude,
            scales=self._scales[:limit],
        )

    def similarity(self, a: Term, b: Term) -> float:
        """Return the cosine similarity of two words or vectors, from -1 to 1; 0 where one of them is a zero vector.

        Raises
        ------
        UnknownWordError
            A word is not in the vocabulary.
        """
        return float(self._term(a)[1] @ self._term(b)[1])

    def most_similar(
        self,
        positive: Term | Sequence[Term] | None = None,
        negative: Term | Sequence[Term] | None = None,
        n: int = 5,
        *,
        restrict_vocab: int | None = None,
        method: str = "add",
    ) -> list[tuple[str, float]]:
        """Return the ``n`` words most similar to the positive and least similar to the negative ones.

        Parameters
        ----------
        positive, negative : word, vector (D,), or list of either
            What to be near to and far from; at least one in all. Each counts with unit length. A list is one question;
            `most_similar_batch` asks one for each word.
        n : int
            How many words; the words given are never among them.
        restrict_vocab : int, optional
            Answer only with the first, most frequent, so many words.
        method : {"add", "mul"}
            "add": the cosine with the sum of the positive less the negative (Mikolov and others 2013). "mul": the
            product of the positive similarities over that of the negative ones, each moved to [0, 1] (3CosMul, Levy and
            Goldberg 2014); needs a positive one.

        Returns
        -------
        list of (str, float)
            Words and scores, best first.

        Raises
        ------
        UnknownWordError
            A word is not in the vocabulary.
        ValueRangeError, ShapeError, DTypeError
            Nothing is given, an option is unknown, or a vector does not fit.
        """
        n = check_integer(n, "n", 0)
        limit = self._restricted(restrict_vocab)
        if method not in _METHODS:
            raise ValueRangeError(f"method is {method!r}, expected one of {_METHODS}")
        near_ids, near = self._terms(positive, "positive")
        far_ids, far = self._terms(negative, "negative")
        if not near_ids and not far_ids:
            raise ValueRangeError("neither positive nor negative words are given, expected at least one")
        exclude = np.array([near_ids + far_ids], np.int64)
        if method == "mul":
            if not near_ids:
                raise ValueRangeError("no positive words are given, expected at least one with method='mul'")
            ids, scores = self._nearest_mul(near[None], far[None], n, exclude, limit)
        else:
            query = near.sum(axis=0) - far.sum(axis=0)
            if exclude.size > 1:  # one term has unit length already
                query = query / (np.linalg.norm(query) + _EPS)
            ids, scores = self._nearest(query[None], n, exclude, limit)
        return self._pairs(ids[0], scores[0])

    def most_similar_batch(
        self, words: Sequence[str], n: int = 5, *, restrict_vocab: int | None = None
    ) -> list[list[tuple[str, float]]]:
        """Return for each of ``words`` its ``n`` most similar words, itself left out, all in one go on every core.

        Parameters are those of `most_similar`; the result is one list of (word, cosine) for each word.
        """
        if isinstance(words, str):
            raise DTypeError(f"words is the text {words!r}, expected a list of words; use most_similar for one")
        n = check_integer(n, "n", 0)
        limit = self._restricted(restrict_vocab)
        asked = self._ids(words)
        ids, scores = self._nearest(self._units(asked), n, asked[:, None], limit)
        return [self._pairs(*row) for row in zip(ids, scores)]

    def nearest(self, vectors: Any, n: int = 5, *, restrict_vocab: int | None = None) -> list[list[tuple[str, float]]]:
        """Return for each of ``vectors`` (Q, D) the ``n`` words whose vectors are nearest by cosine.

        Parameters
        ----------
        vectors : array, shape (Q, D)
            Vectors of any length.
        n : int
            How many words for each.
        restrict_vocab : int, optional
            Answer only with the first, most frequent, so many words.

        Returns
        -------
        list of list of (str, float)
            Words and cosines, best first, for each vector.
        """
        n = check_integer(n, "n", 0)
        limit = self._restricted(restrict_vocab)
        queries = self._unit_vectors(vectors, "vectors", 2)
        ids, scores = self._nearest(queries, n, np.empty((queries.shape[0], 0), np.int64), limit)
        return [self._pairs(*row) for row in zip(ids, scores)]

    def analogy(
        self, a: Term, b: Term, c: Term, n: int = 1, *, method: str = "add", restrict_vocab: int | None = None
    ) -> list[tuple[str, float]]:
        """Answer "``a`` is to ``b`` as ``c`` is to what?" with the ``n`` best words.

        ``analogy("man", "king", "woman")`` asks for the word nearest to king - man + woman; the three words themselves
        are no answers. Parameters, result and errors are those of `most_similar`.

        Notes
        -----
        "add" is 3CosAdd: Mikolov, Yih and Zweig, "Linguistic Regularities in Continuous Space Word Representations",
        NAACL 2013. "mul" is 3CosMul: Levy and Goldberg, "Linguistic Regularities in Sparse and Explicit Word
        Representations", CoNLL 2014.
        """
        return self.most_similar([b, c], [a], n, method=method, restrict_vocab=restrict_vocab)

    def doesnt_match(self, words: Sequence[str]) -> str:
        """Return the one of ``words`` that is least similar to the mean of them all (each at unit length).

        Raises
        ------
        ValueRangeError
            There are no words.
        UnknownWordError
            A word is not in the vocabulary.
        """
        if isinstance(words, str):
            raise DTypeError(f"words is the text {words!r}, expected a list of words")
        words = list(words)
        if not words:
            raise ValueRangeError("words is empty, expected at least one")
        units = self._units(self._ids(words))
        return words[int(np.argmin(units @ units.mean(axis=0)))]

    def closer_than(self, a: str, b: str) -> list[str]:
        """Return the words that are more similar to ``a`` than ``b`` is, most similar first."""
        identity, other = self._id(a), self._id(b)
        ids, scores = self._nearest(
            self._units(np.array([identity])), len(self), np.array([[identity]], np.int64), len(self)
        )
        # The scores of one pass are compared, so that rounding cannot put b before itself.
        own = 1.0 if identity == other else float(scores[0][ids[0] == other][0])
        words = self._vocab.words
        return [words[i] for i, score in zip(ids[0].tolist(), scores[0].tolist()) if i >= 0 and score > own]

    def rank(self, a: str, b: str) -> int:
        """Return the place of ``b`` among the words most similar to ``a``: 1 for the most similar."""
        return len(self.closer_than(a, b)) + 1

    def evaluate_similarity(
        self,
        pairs: str | os.PathLike[str] | Iterable[tuple[str, str, float]],
        *,
        restrict_vocab: int | None = 300000,
        lowercase: bool = True,
        unknown: str = "skip",
    ) -> SimilarityResult:
        """Compare the cosines of word pairs with scores that people gave them.

        Parameters
        ----------
        pairs : path, or iterable of (str, str, float)
            A UTF-8 file with two words and a number on each line, separated by tabs, else commas, else spaces. Lines
            that begin with ``#`` and empty lines are passed over, and so is line 1 where it names the columns: its
            third field is no number and holds no digit. Or the pairs, as `fastseq.datasets.word_pairs` returns them.
        restrict_vocab : int or None
            Only the first, most frequent, so many words count as known; None for all.
        lowercase : bool
            Whether upper and lower case are the same; of words that differ in nothing else the first is taken.
        unknown : {"skip", "zero"}
            What happens to a pair with an unknown word: it is left out, or its similarity counts as 0.

        Returns
        -------
        SimilarityResult
            ``spearman``, ``pearson``, their p-values, ``used``, ``skipped``, and the options.

        Raises
        ------
        FormatError
            A line is not two words and a number, which the message names, or there is none.
        ValueRangeError
            Fewer than 2 pairs can be used.

        Notes
        -----
        The numbers are those of gensim's ``KeyedVectors.evaluate_word_pairs`` with the same options.
        """
        return evaluate_similarity(self, pairs, restrict_vocab=restrict_vocab, lowercase=lowercase, unknown=unknown)

    def evaluate_analogies(
        self,
        questions: (
            str
            | os.PathLike[str]
            | Iterable[tuple[str, str, str, str]]
            | Mapping[str, Iterable[tuple[str, str, str, str]]]
        ),
        *,
        restrict_vocab: int | None = 30000,
        method: str = "add",
        lowercase: bool = True,
        unknown: str = "skip",
    ) -> AnalogyResult:
        """Answer analogy questions and count the right answers.

        Parameters
        ----------
        questions : path, iterable of (str, str, str, str), or dict of such by section
            A UTF-8 file with four words on each line, "a b c d" for a : b = c : d; a line that begins with ``:`` names
            the section that follows. Sections named ``gram...`` are syntactic, the others semantic. A dict, as
            `fastseq.datasets.analogies` returns it, has the sections' names as keys.
        restrict_vocab : int or None
            Only the first, most frequent, so many words are known and may be answers; None for all. The accuracy
            depends on it strongly: state it with the number.
        method : {"add", "mul"}
            As in `most_similar`.
        lowercase : bool
            Whether upper and lower case are the same; of words that differ in nothing else the first is taken.
        unknown : {"skip", "wrong"}
            What happens to a question with an unknown word: it is left out, or counts as answered wrongly.

        Returns
        -------
        AnalogyResult
            ``accuracy``, ``semantic``, ``syntactic`` (shares from 0 to 1, NaN where there were no questions), ``used``,
            ``skipped``, ``sections`` (each with ``name``, ``correct``, ``total``, ``skipped``), and the options.

        Raises
        ------
        FormatError
            A line is not four words, which the message names, or there is no question.

        Notes
        -----
        With ``method="add"`` the numbers are those of gensim's ``KeyedVectors.evaluate_word_analogies`` with the same
        options: the three words of the question are no answers, and as there, only the five best words are looked at
        for one that is not another spelling of them.
        """
        return evaluate_analogies(
            self, questions, restrict_vocab=restrict_vocab, method=method, lowercase=lowercase, unknown=unknown
        )

    def save(self, path: str | os.PathLike[str], dtype: Any = None) -> None:
        """Write the vectors to a file; the suffix tells the format, and the old file stays until the new one is whole.

        Parameters
        ----------
        path : path
            ``.safetensors`` (can be mapped) or ``.npz`` hold everything, counts included; ``.txt`` and ``.vec`` are
            word2vec's text format and ``.bin`` its binary format, which gensim and others read; they hold no counts.
        dtype : {"float16", "float32", "float64"}, optional
            How numbers are stored; that of ``matrix`` by default. float16 halves a file, keeps 3 digits and loads as
            float32. ``.bin`` always has float32.

        Raises
        ------
        FormatError
            The suffix is unknown, or a word holds a space or line break and the format is word2vec's.
        DTypeError, ValueRangeError
            ``dtype`` is not one of these, or a number is too large for it.
        """
        vocab = self._vocab
        contents = formats.Contents(self._matrix, vocab.words, vocab.counts, vocab.unk, vocab.eos)
        formats.write(path, contents, dtype)

    @classmethod
    def load(cls, path: str | os.PathLike[str], mmap: bool = False) -> WordVectors:
        """Read vectors written by `save`, gensim or word2vec, .vec of fastText, or GloVe's text format (no header).

        Parameters
        ----------
        path : path
            A ``.safetensors``, ``.npz``, ``.txt``, ``.vec`` or ``.bin`` file. Text and binary files give float32.
        mmap : bool
            Map the matrix of a ``.safetensors`` file instead of reading it, so that processes share it. It is read
            once to check and measure it. A file stored as float16 is converted, so nothing is gained there.

        Raises
        ------
        FormatError
            The file is truncated, damaged or of another format; the message names the line or entry.
        FileNotFoundError, IsADirectoryError
            There is no such file.

        Notes
        -----
        A mapped file must not be shortened or written over in place while it is in use: the system would end the
        process at the next look at what is gone. Replace it atomically instead, as `save` does; who has mapped the old
        file then keeps it.
        """
        contents = formats.read(path, mmap)
        try:
            vocab = Vocabulary(contents.words, contents.counts, unk=contents.unk, eos=contents.eos)
            return cls(contents.matrix, vocab, copy=False)
        except (DTypeError, ShapeError, ValueRangeError) as error:
            raise FormatError(f"{path} cannot be used: {error}") from None
