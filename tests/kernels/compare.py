"""How a kernel's result is compared with its oracle's."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq.kernels.registry import Case, Kernel


def dense(parts: Any, n_columns: int) -> np.ndarray:
    """Return the matrix of (indptr, indices, data); columns must rise within each row."""
    indptr, indices, data = parts
    matrix = np.zeros((len(indptr) - 1, n_columns))
    for row in range(len(indptr) - 1):
        columns = indices[indptr[row] : indptr[row + 1]]
        assert (np.diff(columns) > 0).all(), "columns do not rise"
        matrix[row, columns] = data[indptr[row] : indptr[row + 1]]
    return matrix


def check(kernel: Kernel, case: Case, got: Any, want: Any) -> None:
    """Assert that ``got`` is what the oracle says, to the kernel's tolerance."""
    got = got if isinstance(got, tuple) else (got,)
    want = want if isinstance(want, tuple) else (want,)
    assert len(got) == len(want)
    floats = [array.dtype.name for array in got if array.dtype.kind == "f"]
    tolerance = max((kernel.tolerance[name] for name in floats), default=0.0)
    if kernel.result == "csr":
        indptr, indices, data = got
        assert (indptr.dtype, indices.dtype) == (np.int64, np.int32)
        assert (data > 0).all(), "an entry that is not above zero was kept"
        n_columns = case.arguments[3]
        got, want = (dense(got, n_columns),), (dense(want, n_columns),)
    elif kernel.result == "svd":
        (u, s, vt), (want_u, want_s, want_vt) = got, want
        width = np.eye(len(s))
        scale = max(float(want_s.max(initial=0.0)), 1.0)
        # Vectors of equal values may be turned: their product and their orthonormality are what is defined.
        pairs = [(s / scale, want_s / scale), ((u * s) @ vt / scale, (want_u * want_s) @ want_vt / scale)]
        pairs += [(u.T @ u, width), (vt @ vt.T, width)]
        got, want = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    for one, other in zip(got, want):
        assert one.shape == other.shape
        if one.dtype.kind in "iu":
            assert one.dtype.itemsize == 4 or one.dtype.kind == "i"
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
