"""Word vectors by counting: co-occurrence counts, positive pointwise mutual information, truncated SVD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..device import current_device, to_device, to_host
from ..errors import DTypeError, NotFittedError, ShapeError, TextError, ValueRangeError
from ..kernels._boundary import check_finite_number, check_integer
from ..kernels.cooccurrence import MAX_WINDOW, WEIGHTINGS
from ..kernels.ppmi import MOST_SMOOTHING
from ..random import as_key
from ..text.corpus import Corpus
from ..vectors.word_vectors import WordVectors
from ._base import Model

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["CountVectors", "cooccurrence", "ppmi", "truncated_svd"]

# Below this many words the whole dense matrix is decomposed: exact, and faster than a projection.
_DENSE_WORDS = 600


def cooccurrence(
    corpus: Corpus,
    window: int = 5,
    weighting: str = "uniform",
    symmetric: bool = True,
    dtype: Any = None,
) -> csr_array:
    """Count how often each word stands near each other word.

    Parameters
    ----------
    corpus : Corpus
        The text. Windows end at the borders of its sentences.
    window : int
        Tokens to look at on each side.
    weighting : {"uniform", "harmonic", "linear"}
        What a pair at distance d adds: 1, 1 / d, or (window + 1 - d) / window.
    symmetric : bool
        Whether both sides count; False counts contexts to the left only.
    dtype : dtype, optional
        int64 for uniform counts and float64 for weighted ones unless given.

    Returns
    -------
    csr_array (V, V)
        Row i, column j: word j near word i. Columns rise within each row.

    Raises
    ------
    DTypeError, ValueRangeError
        An argument is not as described.

    See Also
    --------
    fastseq.kernels.cooccurrence_counts : the same over plain arrays.

    Examples
    --------
    >>> import fastseq as fs
    >>> corpus = fs.Corpus.from_text("you say goodbye and i say hello .")
    >>> counts = fs.cooccurrence(corpus, window=1)
    >>> int(counts[corpus.vocab["say"], corpus.vocab["you"]])
    1
    """
    _check_corpus(corpus)
    n_words = len(corpus.vocab)
    ids, offsets = to_device(corpus.ids), to_device(corpus.offsets)
    counts = kernels.cooccurrence_counts(
        ids, offsets, n_words, window=window, weighting=weighting, symmetric=symmetric, dtype=dtype
    )
    return _as_matrix(counts, (n_words, n_words))


def ppmi(counts: Any, shift: float = 1.0, smoothing: float = 1.0, dtype: Any = "float32") -> csr_array:
    """Return the positive pointwise mutual information of a matrix of counts, in nats.

    Parameters
    ----------
    counts : sparse or dense matrix (n, m)
        Counts, none negative.
    shift : float
        The k of shifted PPMI: log(k) is taken off every value. 1 is plain PPMI.
    smoothing : float
        Exponent of the context distribution: 1 is plain, 0.75 is what Levy, Goldberg and Dagan (2015) recommend.
    dtype : {"float32", "float64"}
        Of the result.

    Returns
    -------
    csr_array (n, m)
        Divide by ``numpy.log(2)`` for bits.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described.
    """
    matrix = _as_csr(counts, "counts")
    on_device = [to_device(part) for part in (matrix.indptr, matrix.indices, matrix.data)]
    weighed = kernels.ppmi_weights(*on_device, matrix.shape[1], shift=shift, smoothing=smoothing, dtype=dtype)
    return _as_matrix(weighed, matrix.shape)


def truncated_svd(
    matrix: Any,
    k: int,
    *,
    method: str = "krylov",
    n_iter: int | None = None,
    block: int | None = None,
    n_oversamples: int = 10,
    random_state: Any = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ``k`` largest singular values of a sparse matrix and their vectors.

    Parameters
    ----------
    matrix : sparse or dense matrix (n, m)
        float32 or float64.
    k : int
        1 to min(n, m).
    method, n_iter, block, n_oversamples
        How close to the exact factorisation; see `fastseq.kernels.randomized_svd`.
    random_state : None, int or numpy.random.Generator
        Of the random start.

    Returns
    -------
    u : (n, k) ndarray
    s : (k,) ndarray
        Falling.
    vt : (k, m) ndarray

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        An argument is not as described, or the matrix holds NaN or infinity.
    """
    key = as_key(random_state, "svd")
    csr = _as_csr(matrix, "matrix")
    on_device = [to_device(part) for part in (csr.indptr, csr.indices, csr.data)]
    result = kernels.randomized_svd(
        *on_device,
        csr.shape[1],
        k,
        method=method,
        n_iter=n_iter,
        block=block,
        n_oversamples=n_oversamples,
        key=key,
    )
    u, s, vt = (to_host(part) for part in result)
    return u, s, vt


class CountVectors(Model):
    """Word vectors from counts: a window's co-occurrences, weighed by PPMI and factorised by a truncated SVD.

    Parameters
    ----------
    dim : int
        D, the width of the vectors; at most the number of words.
    window : int
        Tokens to look at on each side.
    weighting : {"uniform", "harmonic", "linear"}
        What a pair at distance d adds: 1, 1 / d, or (window + 1 - d) / window.
    symmetric : bool
        Whether contexts on both sides count.
    smoothing : float
        Exponent of the context distribution.
    shift : float
        The k of shifted PPMI.
    eigenvalue_weight : float
        The p in ``U * S**p``: 0 and 0.5 do well, 1 (the plain SVD) does not.
    add_context : bool
        Whether a word's vector is the sum of its row's and its column's (w + c).
    n_iter : int
        Iterations of the SVD: more come closer to the exact one; see `fastseq.kernels.randomized_svd`. Up to 600 words
        it is exact.
    random_state : None, int or numpy.random.Generator
        Of the SVD's random start.

    Attributes
    ----------
    vectors : WordVectors
        (V, D) float32.
    context_vectors : WordVectors
        The columns' vectors, ``V * S**p``.
    singular_values_ : (D,) ndarray
        Falling.
    n_counts_ : int
        Pairs of words that were seen.

    Notes
    -----
    Levy, Goldberg and Dagan, "Improving distributional similarity with lessons learned from word embeddings", TACL 3,
    2015.

    Examples
    --------
    >>> import fastseq as fs
    >>> corpus = fs.Corpus.from_text("you say goodbye and i say hello .")
    >>> model = fs.CountVectors(dim=2, window=1).fit(corpus)
    >>> model.vectors.matrix.shape
    (7, 2)
    """

    def __init__(
        self,
        dim: int = 100,
        window: int = 5,
        weighting: str = "uniform",
        symmetric: bool = True,
        smoothing: float = 0.75,
        shift: float = 1.0,
        eigenvalue_weight: float = 0.5,
        add_context: bool = False,
        n_iter: int = 16,
        random_state: Any = 0,
    ) -> None:
        self.dim = dim
        self.window = window
        self.weighting = weighting
        self.symmetric = symmetric
        self.smoothing = smoothing
        self.shift = shift
        self.eigenvalue_weight = eigenvalue_weight
        self.add_context = add_context
        self.n_iter = n_iter
        self.random_state = random_state

    def fit(self, corpus: Corpus, verbose: int = 0) -> CountVectors:
        """Count, weigh and factorise ``corpus``; return the model.

        Parameters
        ----------
        corpus : Corpus
            The text.
        verbose : int
            1 shows progress on standard error.

        Raises
        ------
        TextError
            The corpus holds no two words near each other.
        ShapeError
            ``dim`` is larger than the number of words.
        DTypeError, ValueRangeError
            A parameter is not as described.
        """
        from tqdm import tqdm

        key = self._check_options()
        _check_corpus(corpus)
        n_words = len(corpus.vocab)
        if self.dim > n_words:
            raise ShapeError(
                f"dim is {self.dim} but the corpus has {n_words} words; a count matrix has no more dimensions than "
                "words: use a smaller dim, more text or a lower min_count"
            )
        with tqdm(total=3, disable=not verbose, desc="counting", unit="step", leave=False) as progress:
            counts = kernels.cooccurrence_counts(
                to_device(corpus.ids),
                to_device(corpus.offsets),
                n_words,
                window=self.window,
                weighting=self.weighting,
                symmetric=self.symmetric,
                # As narrow as is safe: half the memory.
                dtype="auto",
            )
            n_counts = int(counts[1].shape[0])
            progress.update()
            progress.set_description("weighing")
            weighed = kernels.ppmi_weights(*counts, n_words, shift=self.shift, smoothing=self.smoothing)
            del counts
            if weighed[1].shape[0] == 0:
                raise TextError(
                    f"no two words of the corpus ({corpus.n_tokens} tokens, {n_words} words) stand near each other "
                    f"more often than by chance; use more text, a larger window than {self.window} or a shift below "
                    f"{self.shift:g}"
                )
            progress.update()
            progress.set_description("factorising")
            u, s, vt = self._factorise(weighed, n_words, key)
            progress.update()
        scale = np.power(s.astype(np.float64), float(self.eigenvalue_weight)).astype(np.float32)
        words = u * scale
        contexts = vt.T * scale
        self.singular_values_ = s
        self.n_counts_ = n_counts
        self.vectors_ = WordVectors(words + contexts if self.add_context else words, corpus.vocab)
        self.context_vectors_ = WordVectors(np.ascontiguousarray(contexts), corpus.vocab)
        return self

    @property
    def vectors(self) -> WordVectors:
        """The words' vectors."""
        self._check_fitted()
        return self.vectors_

    @property
    def context_vectors(self) -> WordVectors:
        """The contexts' vectors."""
        self._check_fitted()
        return self.context_vectors_

    def _check_fitted(self) -> None:
        if not hasattr(self, "vectors_"):
            raise NotFittedError("this CountVectors has no vectors yet; call fit(corpus) first")

    def _check_options(self) -> Any:
        """Check every parameter before any work; return the key of the random start."""
        check_integer(self.dim, "dim", 1)
        check_integer(self.window, "window", 1, MAX_WINDOW)
        check_integer(self.n_iter, "n_iter", 0)
        if self.weighting not in WEIGHTINGS:
            raise ValueRangeError(f"weighting is {self.weighting!r}, expected one of {WEIGHTINGS}")
        for name in ("symmetric", "add_context"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise DTypeError(f"{name} is {getattr(self, name)!r}, expected True or False")
        check_finite_number(self.shift, "shift", 0.0, exclusive=True)
        check_finite_number(self.smoothing, "smoothing", 0.0, upper=MOST_SMOOTHING)
        check_finite_number(self.eigenvalue_weight, "eigenvalue_weight", 0.0, upper=1.0)
        return as_key(self.random_state, "svd")

    def _factorise(self, weighed: Any, n_words: int, key: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if n_words <= _DENSE_WORDS and current_device() == "cpu":
            dense = _as_matrix(weighed, (n_words, n_words)).toarray().astype(np.float64)
            u, s, vt = np.linalg.svd(dense)
            u, s, vt = u[:, : self.dim], s[: self.dim], vt[: self.dim]
            signs = np.where(u[np.abs(u).argmax(axis=0), np.arange(self.dim)] < 0, -1.0, 1.0)
            return (u * signs).astype(np.float32), s.astype(np.float32), (vt * signs[:, None]).astype(np.float32)
        parts = kernels.randomized_svd(
            *weighed,
            n_words,
            self.dim,
            n_iter=self.n_iter,
            key=key,
        )
        u, s, vt = (to_host(part) for part in parts)
        return u, s, vt


def _check_corpus(corpus: Any) -> None:
    if not isinstance(corpus, Corpus):
        raise DTypeError(
            f"corpus is {type(corpus).__name__}, expected a fastseq.Corpus; make one with Corpus.from_file, "
            "Corpus.from_text or Corpus.from_sentences"
        )


def _as_matrix(parts: Any, shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    indptr, indices, data = (to_host(part) for part in parts)
    # SciPy gives both index arrays the wider dtype of the two: int64 offsets would double the memory of the indices.
    if indptr[-1] <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    matrix = csr_array((data, indices, indptr), shape=shape)
    # Known, so SciPy need not look: columns rise and stand in a row once.
    matrix.has_canonical_format = True
    return matrix


def _as_csr(matrix: Any, name: str) -> Any:
    """Return any matrix as a csr_array in native byte order whose columns rise and stand in a row once."""
    from scipy.sparse import csr_array, issparse

    if not issparse(matrix):
        try:
            matrix = np.asarray(matrix)
        except ValueError:
            raise ShapeError(f"{name} is ragged, expected a matrix with two axes") from None
    if matrix.ndim != 2:
        raise ShapeError(f"{name} has shape {matrix.shape}, expected a matrix with two axes")
    if matrix.dtype.kind not in "fiub":
        raise DTypeError(f"{name} has dtype {matrix.dtype}, expected real numbers")
    # SciPy's sparse arrays take neither float16 nor foreign byte orders.
    dtype = np.dtype(np.float32) if matrix.dtype == np.float16 else matrix.dtype.newbyteorder("=")
    csr = matrix if isinstance(matrix, csr_array) and matrix.dtype == dtype else csr_array(matrix.astype(dtype))
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr
