"""Nearest rows of a matrix for many queries at once, with words left out and ties in a fixed order."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError
from ._boundary import (
    INT32_MAX,
    array_module,
    as_floats,
    as_ids,
    check_finite_number,
    check_integer,
    device_of,
    variant,
)

__all__ = ["nearest_dot", "nearest_mul"]


def _as_matrix(matrix: Any, scales: Any, device: str) -> tuple[Any, Any]:
    # NaN in the matrix is not looked for, which would read it once more at every call; a row with NaN is never found.
    matrix = as_floats(matrix, "matrix", 2, finite=False)
    if matrix.shape[0] > INT32_MAX:
        raise ShapeError(f"matrix has {matrix.shape[0]} rows, expected at most {INT32_MAX} (row numbers are int32)")
    if scales is None:
        return matrix, array_module(device).ones(matrix.shape[0], matrix.dtype)
    scales = as_floats(scales, "scales", 1, dtype=matrix.dtype, finite=False)
    if scales.shape[0] != matrix.shape[0]:
        raise ShapeError(f"scales holds {scales.shape[0]} numbers, expected one for each of the {matrix.shape[0]} rows")
    return matrix, scales


def _as_exclude(exclude: Any, n_queries: int, n_rows: int, device: str) -> Any:
    if exclude is None:
        return array_module(device).empty((n_queries, 0), "int32")
    if getattr(exclude, "size", 1) == 0:
        # An empty array has no ids whose type could matter; only its shape is checked.
        exclude = array_module(device).empty(tuple(exclude.shape), "int32")
    exclude = as_ids(exclude, "exclude", upper=n_rows, lower=-1, ndim=2)
    if exclude.shape[0] != n_queries:
        raise ShapeError(f"exclude has {exclude.shape[0]} rows, expected one for each of the {n_queries} queries")
    return exclude


def _check_width(array: Any, name: str, matrix: Any) -> None:
    if array.shape[-1] != matrix.shape[1]:
        raise ShapeError(
            f"{name} has shape {tuple(array.shape)} and matrix {tuple(matrix.shape)}, expected the same last axis (D)"
        )


def nearest_dot(queries: Any, matrix: Any, k: int, *, exclude: Any = None, scales: Any = None) -> tuple[Any, Any]:
    """Find the ``k`` rows of ``matrix`` with the largest dot product with each query.

    Parameters
    ----------
    queries : array, float32 or float64, shape (Q, D)
        One query a row; taken in the dtype of ``matrix``.
    matrix : array, float32 or float64, shape (V, D)
        The rows to look through. Rows of unit length make the scores cosines, if the queries have it too.
    k : int
        How many rows to find for each query, 0 or more.
    exclude : array, integers, shape (Q, E), optional
        Row numbers that are not answers for their query; -1 stands for none.
    scales : array, same dtype as ``matrix``, shape (V,), optional
        Multiplies the scores of each row. With one over the length of each row, ``matrix`` needs no unit copy.

    Returns
    -------
    ids : array, int32, shape (Q, k)
        Row numbers, best first; -1 where fewer than ``k`` rows are left.
    scores : array, dtype of ``matrix``, shape (Q, k)
        Their scores; -inf where the id is -1.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        Arrays do not fit each other, an id is no row of ``matrix``, ``k`` is negative, or a query holds NaN.
    DeviceError
        The arrays lie on different devices.

    Notes
    -----
    Rows with equal scores come in the order of their numbers, and a score does not depend on which other rows there
    are, so equal rows have equal scores and results are the same for any number of threads. Fewer than four queries at
    once are multiplied another way than more, so their scores may differ from those in the last bits. Rows whose
    score is NaN or -inf are left out. Products are summed in the dtype of ``matrix``. Memory beside the
    result and a copy of the queries is bounded (about 50 MB for small ``k``), however many queries and rows there are.

    The oracle is `fastseq.kernels.reference.nearest.nearest_dot`.

    Examples
    --------
    >>> import numpy as np
    >>> matrix = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    >>> ids, scores = nearest_dot(matrix[:1], matrix, 2)
    >>> ids.tolist(), scores.tolist()
    ([[0, 2]], [[1.0, 1.0]])
    """
    device = device_of(queries=queries, matrix=matrix, exclude=exclude, scales=scales)
    k = check_integer(k, "k", 0, INT32_MAX)
    matrix, scales = _as_matrix(matrix, scales, device)
    queries = as_floats(queries, "queries", 2, dtype=matrix.dtype)
    _check_width(queries, "queries", matrix)
    exclude = _as_exclude(exclude, queries.shape[0], matrix.shape[0], device)
    return variant(device, "nearest").nearest_dot(queries, matrix, k, exclude, scales)


def nearest_mul(
    positive: Any,
    negative: Any,
    matrix: Any,
    k: int,
    *,
    exclude: Any = None,
    scales: Any = None,
    epsilon: float = 1e-3,
) -> tuple[Any, Any]:
    """Find the ``k`` rows that are near all positive and far from all negative vectors, by products (3CosMul).

    The score of row x is ``prod_p c(x, p) / (prod_m c(x, m) + epsilon)``, where ``c(x, y) = (1 + x . y) / 2`` is the
    cosine, moved from [-1, 1] to [0, 1], for rows and vectors of unit length.

    Parameters
    ----------
    positive : array, float32 or float64, shape (Q, P, D)
        The vectors of each query to be near to, at least one, of unit length; taken in the dtype of ``matrix``.
    negative : array, float32 or float64, shape (Q, M, D)
        The vectors to be far from; M may be 0.
    matrix : array, float32 or float64, shape (V, D)
        The rows to look through, of unit length after ``scales``.
    k : int
        How many rows to find for each query, 0 or more.
    exclude : array, integers, shape (Q, E), optional
        Row numbers that are not answers for their query; -1 stands for none.
    scales : array, same dtype as ``matrix``, shape (V,), optional
        Multiplies the dot products of each row.
    epsilon : float
        Keeps the denominator above 0. The paper has 0.001, gensim 0.000001.

    Returns
    -------
    ids : array, int32, shape (Q, k)
        Row numbers, best first; -1 where fewer than ``k`` rows are left.
    scores : array, dtype of ``matrix``, shape (Q, k)
        Their scores; -inf where the id is -1.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        As for `nearest_dot`; also where ``positive`` holds no vectors or ``epsilon`` is not above 0.
    DeviceError
        The arrays lie on different devices.

    Notes
    -----
    Levy and Goldberg, "Linguistic Regularities in Sparse and Explicit Word Representations", CoNLL 2014, equation 4
    and footnote 7. Ties, threads and memory are as for `nearest_dot`. The oracle is
    `fastseq.kernels.reference.nearest.nearest_mul`.
    """
    device = device_of(positive=positive, negative=negative, matrix=matrix, exclude=exclude, scales=scales)
    k = check_integer(k, "k", 0, INT32_MAX)
    epsilon = check_finite_number(epsilon, "epsilon", 0.0, exclusive=True)
    matrix, scales = _as_matrix(matrix, scales, device)
    positive = as_floats(positive, "positive", 3, dtype=matrix.dtype)
    negative = as_floats(negative, "negative", 3, dtype=matrix.dtype)
    if positive.shape[1] == 0:
        raise ShapeError(f"positive has shape {tuple(positive.shape)}, expected at least one vector for each query")
    if negative.shape[0] != positive.shape[0]:
        raise ShapeError(
            f"negative has {negative.shape[0]} queries and positive {positive.shape[0]}, expected as many of each"
        )
    _check_width(positive, "positive", matrix)
    _check_width(negative, "negative", matrix)
    exclude = _as_exclude(exclude, positive.shape[0], matrix.shape[0], device)
    return variant(device, "nearest").nearest_mul(positive, negative, matrix, k, exclude, scales, epsilon)
