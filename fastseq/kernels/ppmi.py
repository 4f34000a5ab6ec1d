"""Positive pointwise mutual information of a count matrix."""

from __future__ import annotations

from typing import Any

from ..errors import ValueRangeError
from ._boundary import (
    array_module,
    as_float_dtype,
    as_floats,
    check_csr,
    check_finite_number,
    device_of,
    is_device_array,
    variant,
)

__all__ = ["ppmi_weights"]

MOST_SMOOTHING = 10.0


def ppmi_weights(
    indptr: Any,
    indices: Any,
    data: Any,
    n_columns: int,
    *,
    shift: float = 1.0,
    smoothing: float = 1.0,
    dtype: Any = "float32",
) -> tuple[Any, Any, Any]:
    """Return the positive pointwise mutual information of a CSR matrix of counts, as a CSR matrix.

    Parameters
    ----------
    indptr, indices, data : (n_rows + 1,), (nnz,), (nnz,) arrays
        The counts: integers or floats, none negative. A column stands in a row once.
    n_columns : int
        Number of columns.
    shift : float
        The k of shifted PPMI, above 0: ``log(shift)`` is taken off. 1 is plain PPMI.
    smoothing : float
        Exponent of the context distribution, 0 to 10; 1 leaves it as it is, 0.75 is word2vec's.
    dtype : {"float32", "float64"}
        Of the result.

    Returns
    -------
    indptr : (n_rows + 1,) int64
    indices : (m,) int32
    data : (m,) array of ``dtype``
        Only what is above zero.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        The arrays are no CSR matrix, or a count is negative, NaN or infinite, or an option is out of range.
    DeviceError
        The arrays lie on different devices.

    Notes
    -----
    ``max(0, log(P(i, j) / (P(i) P(j))) - log(shift))`` with ``P(j)`` proportional to (sum of column j) ** smoothing:
    Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NIPS 2014; Levy, Goldberg and Dagan,
    "Improving distributional similarity with lessons learned from word embeddings", TACL 3, 2015.
    """
    device = device_of(indptr=indptr, indices=indices, data=data)
    check_finite_number(shift, "shift", 0.0, exclusive=True)
    check_finite_number(smoothing, "smoothing", 0.0, upper=MOST_SMOOTHING)
    result = as_float_dtype(dtype)
    data = _as_counts(data)
    indptr, indices = check_csr(indptr, indices, data, n_columns)
    body = variant(device, "ppmi")
    return body.ppmi_weights(indptr, indices, data, int(n_columns), float(shift), float(smoothing), result)


def _as_counts(data: Any) -> Any:
    """Return the counts as float64 or an integer or float array in native order; refuse negative ones."""
    from ._boundary import _as_array, _plain

    array = _as_array(data, "data", 1)
    # Counts are read once, so integers are taken as they are instead of being copied to float64.
    if array.dtype.kind in "iu" and array.dtype.itemsize >= 4:
        counts = _plain(array, "int32" if array.dtype.itemsize == 4 and array.dtype.kind == "i" else "int64")
    else:
        counts = as_floats(array, "data", 1)
    if counts.size:
        xp = array_module("cuda" if is_device_array(counts) else "cpu")
        lowest = counts.min()
        if bool(xp.isnan(lowest)) or float(lowest) < 0:
            raise ValueRangeError(f"data holds {lowest}, expected counts that are not negative")
    return counts
