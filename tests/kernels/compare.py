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


def _of(*positions: int) -> Any:
    """Return a rule: the dtype of these arguments together, float16 and float32 as float32, all else as float64."""

    def rule(case: Case) -> str:
        kinds = [np.asarray(case.arguments[position]).dtype for position in positions]
        return "float32" if all(kind.kind == "f" and kind.itemsize <= 4 for kind in kinds) else "float64"

    return rule


def _weighted(case: Case) -> str:
    given = case.options.get("dtype")
    return given if given in ("float32", "float64") else "float64"


# The dtype of the floats that each kernel must return. A kernel that is not here returns no floats.
FLOATS: dict[str, Any] = {
    "random_uniform": lambda case: case.options.get("dtype", "float32"),
    "random_mask": lambda case: case.options.get("dtype", "float32"),
    "random_normal": lambda case: case.options.get("dtype", "float32"),
    "cooccurrence_counts": _weighted,
    "ppmi_weights": lambda case: case.options.get("dtype", "float32"),
    "csr_matmul": _of(2, 3),
    "csr_transpose": _of(2),
    "sum_rows": _of(2),
    "randomized_svd": _of(2),
    "nearest_dot": _of(1),
    "nearest_mul": _of(2),
    "word2vec_train": _of(2),
    "softmax_cross_entropy": _of(0),
    **{name: _of(0) for name in ("sum_of_squares", "sgd_step", "adagrad_step", "rmsprop_step", "adam_step")},
    **{f"{cell}_{way}": _of(0) for cell in ("lstm", "gru", "rnn") for way in ("forward", "backward")},
}


# Results that are float64 whatever is given.
_ALWAYS_DOUBLE = {"softmax_cross_entropy": 1, "sum_of_squares": 1}


def check(kernel: Kernel, case: Case, got: Any, want: Any) -> None:
    """Assert that ``got`` is what the oracle says, to the kernel's tolerance."""
    got = got if isinstance(got, tuple) else (got,)
    want = want if isinstance(want, tuple) else (want,)
    assert len(got) == len(want)
    floats = [array.dtype.name for array in got if array.dtype.kind == "f"]
    doubles = _ALWAYS_DOUBLE.get(kernel.name, 0)
    assert floats[:doubles] == ["float64"] * doubles
    assert all(name == FLOATS[kernel.name](case) for name in floats[doubles:]), f"floats of {floats}"
    for one, other in zip(got, want):
        if one.dtype.kind in "iu" and one.size:
            wanted = case.options.get("dtype")
            assert wanted == "auto" or one.dtype.name in (other.dtype.name, wanted), f"integers of {one.dtype}"
    tolerance = max((kernel.tolerance[name] for name in floats[doubles:]), default=0.0)
    if doubles:
        tolerance = kernel.tolerance[FLOATS[kernel.name](case)]
    if kernel.result == "csr":
        indptr, indices, data = got
        assert (indptr.dtype, indices.dtype) == (np.int64, np.int32)
        assert (data > 0).all(), "an entry that is not above zero was kept"
        n_columns = case.arguments[3]
        got, want = (dense(got, n_columns),), (dense(want, n_columns),)
    elif kernel.result == "svd":
        (u, s, vt), (want_u, want_s, want_vt) = got, want
        width = np.eye(len(s))
        scale = float(want_s.max(initial=0.0)) or 1.0
        # Vectors of equal values may be turned: their product and their orthonormality are what is defined.
        pairs = [(s / scale, want_s / scale), ((u * s) @ vt / scale, (want_u * want_s) @ want_vt / scale)]
        pairs += [(u.T @ u, width), (vt @ vt.T, width)]
        got, want = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    for one, other in zip(got, want):
        assert one.shape == other.shape
        if one.dtype.kind in "iu":
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
