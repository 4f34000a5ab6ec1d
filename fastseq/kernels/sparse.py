"""Products and the transpose of sparse (CSR) matrices, and sums of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ._boundary import as_floats, as_ids, as_offsets, check_csr, device_of, variant

__all__ = ["csr_matmul", "csr_transpose", "sum_rows"]


def csr_matmul(indptr: Any, indices: Any, data: Any, dense: Any) -> Any:
    """Return the product of a CSR matrix and a dense matrix.

    Parameters
    ----------
    indptr, indices, data : (n_rows + 1,), (nnz,), (nnz,) arrays
        The sparse matrix; float32 or float64 (integers become float64).
    dense : (n_columns, D) array
        float32 or float64.

    Returns
    -------
    (n_rows, D) array
        float32 where both are, else float64. The order in which the terms of a sum are added depends on the row alone,
        so the bits do not depend on the number of threads.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        The arrays are no CSR matrix or do not fit together.
    DeviceError
        They lie on different devices.
    """
    device = device_of(indptr=indptr, indices=indices, data=data, dense=dense)
    data = as_floats(data, "data", 1, finite=False)
    dense = as_floats(dense, "dense", 2, finite=False)
    dtype = np.result_type(data.dtype, dense.dtype)
    data = as_floats(data, "data", 1, dtype, finite=False)
    dense = as_floats(dense, "dense", 2, dtype, finite=False)
    indptr, indices = check_csr(indptr, indices, data, int(dense.shape[0]))
    return variant(device, "sparse").csr_matmul(indptr, indices, data, dense)


def csr_transpose(indptr: Any, indices: Any, data: Any, n_columns: int) -> tuple[Any, Any, Any]:
    """Return the transpose of a CSR matrix as a CSR matrix.

    Parameters
    ----------
    indptr, indices, data : (n_rows + 1,), (nnz,), (nnz,) arrays
        The matrix; float32 or float64 (integers become float64).
    n_columns : int
        Its number of columns.

    Returns
    -------
    indptr : (n_columns + 1,) int64
    indices : (nnz,) int32
        In rising order.
    data : (nnz,) array

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        The arrays are no CSR matrix.
    DeviceError
        They lie on different devices.

    Notes
    -----
    Gustavson, "Two fast algorithms for sparse matrices: multiplication and permuted transposition", ACM TOMS 4, 1978.
    """
    device = device_of(indptr=indptr, indices=indices, data=data)
    data = as_floats(data, "data", 1, finite=False)
    indptr, indices = check_csr(indptr, indices, data, n_columns)
    if indptr.shape[0] - 1 > 2**31 - 1:
        raise ShapeError(f"indptr tells of {indptr.shape[0] - 1} rows, expected at most 2**31 - 1")
    return variant(device, "sparse").csr_transpose(indptr, indices, data, int(n_columns))


def sum_rows(indptr: Any, indices: Any, rows: Any) -> Any:
    """Return the sums of groups of rows: what an embedding's gradient is made of.

    Parameters
    ----------
    indptr : (n + 1,) integers
        Where each group begins in ``indices``.
    indices : (m,) integers
        Which rows belong to it; one may stand several times.
    rows : (r, D) array
        float32 or float64.

    Returns
    -------
    (n, D) array
        Of the dtype of ``rows``; zeros for a group of none. Rows are added in the order of ``indices``: on the CPU in
        float64, rounded once, on a device in the dtype of ``rows``.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        The arrays do not fit together.
    DeviceError
        They lie on different devices.
    """
    device = device_of(indptr=indptr, indices=indices, rows=rows)
    rows = as_floats(rows, "rows", 2, finite=False)
    indices = as_ids(indices, "indices", upper=int(rows.shape[0]))
    indptr = as_offsets(indptr, "indptr", int(indices.shape[0]), "indices")
    return variant(device, "sparse").sum_rows(indptr, indices, rows)
