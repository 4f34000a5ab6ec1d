"""Truncated singular value decomposition of a sparse matrix, from a random start."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError, ValueRangeError
from ._boundary import array_module, as_floats, check_csr, check_integer, device_of, variant
from ._dense import Device, Host
from .random import random_normal

__all__ = ["randomized_svd"]

_METHODS = ("krylov", "power")
# A new block is taken off the known ones until it overlaps with them no more than this: once as a rule, a few times
# where it is nothing but rounding error.
_ORTHOGONAL = 1e-3
_MOST_BITS = 10
_MOST_PASSES = 6
_DEFAULT_ITERATIONS = {"krylov": 16, "power": 5}


def randomized_svd(
    indptr: Any,
    indices: Any,
    data: Any,
    n_columns: int,
    k: int,
    *,
    method: str = "krylov",
    n_iter: int | None = None,
    block: int | None = None,
    n_oversamples: int = 10,
    key: Any = 0,
    start: Any = None,
) -> tuple[Any, Any, Any]:
    """Return the ``k`` largest singular values of a CSR matrix and their vectors.

    Parameters
    ----------
    indptr, indices, data : (n_rows + 1,), (nnz,), (nnz,) arrays
        The matrix; float32 or float64 (integers become float64).
    n_columns : int
        Its number of columns.
    k : int
        1 to min(n_rows, n_columns).
    method : {"krylov", "power"}
        "krylov" seeks the vectors among everything that the iterations have seen; "power" among the last step's result
        alone, as scikit-learn's ``randomized_svd`` does, which takes more and wider products to come as close.
    n_iter : int, optional
        Iterations, each one product with the matrix and one with its transpose: 16 for "krylov", 5 for "power".
    block : int, optional
        For "krylov": the width of these products; a third of ``k``, rounded up to a multiple of 16, unless given. The
        basis has ``(n_iter + 1) * block`` columns; where that is no less than the matrix has, the result is exact.
    n_oversamples : int
        For "power": the products are ``k + n_oversamples`` wide.
    key : uint64
        Stream of the random start; see `fastseq.random.as_key`.
    start : (n_columns, width) array, optional
        Use this instead of a random start.

    Returns
    -------
    u : (n_rows, k) array
    s : (k,) array
        Falling.
    vt : (k, n_columns) array
        All of the matrix's dtype. The sign of each pair of vectors is such that the entry of ``u`` with the largest
        magnitude is positive.

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        The arrays are no CSR matrix, hold NaN or infinity, or an option is out of range.
    DeviceError
        The arrays lie on different devices.

    Notes
    -----
    "krylov" is the block Lanczos method with full reorthogonalisation on ``AᵀA`` (Golub, Luk and Overton, "A block
    Lanczos method for computing the singular values and corresponding singular vectors of a matrix", ACM TOMS 7, 1981;
    from a random start: Musco and Musco, "Randomized block Krylov methods", NIPS 2015). "power" is algorithm 4.4 of
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011.

    How many of each word's ten nearest neighbours by the exact factorisation the settings keep is measured in the
    comparison with peers; the defaults were chosen there.

    On the CPU the result is the same bits for any number of threads.
    """
    device = device_of(indptr=indptr, indices=indices, data=data)
    data = as_floats(data, "data", 1)
    indptr, indices = check_csr(indptr, indices, data, n_columns)
    n_rows = int(indptr.shape[0]) - 1
    limit = min(n_rows, n_columns)
    if limit < 1:
        raise ShapeError(f"the matrix is {n_rows} x {n_columns}, expected at least one row and one column")
    k = check_integer(k, "k", 1, limit)
    n_columns = int(n_columns)
    if method not in _METHODS:
        raise ValueRangeError(f"method is {method!r}, expected one of {_METHODS}")
    n_iter = check_integer(_DEFAULT_ITERATIONS[method] if n_iter is None else n_iter, "n_iter", 0)
    n_oversamples = check_integer(n_oversamples, "n_oversamples", 0)
    if method == "power":
        width = min(k + n_oversamples, limit)
    else:
        width = check_integer(16 * -(-k // 48) if block is None else block, "block", 1)
        width = max(width, -(-k // (n_iter + 1)))
        if (n_iter + 1) * width >= limit:
            width, n_iter = limit, 0
    if start is not None:
        start = as_floats(start, "start", 2, data.dtype)
        if tuple(start.shape) != (n_columns, width):
            raise ShapeError(f"start has shape {tuple(start.shape)}, expected {(n_columns, width)}")
        device_of(data=data, start=start)

    # Products with AᵀA square the scale of the numbers, so one far from 1 is taken out, by an exact power of two.
    xp = array_module(device)
    exponent = int(np.frexp(float(xp.abs(data).max()) if data.size else 1.0)[1])
    scale = 2.0**exponent if abs(exponent) > _MOST_BITS else 1.0
    if scale != 1.0:
        data = xp.ldexp(data, -exponent)
    sparse = variant(device, "sparse")
    with Host() if device == "cpu" else Device(xp) as dense:
        transposed = sparse.csr_transpose(indptr, indices, data, n_columns)
        solver = _Solver(dense, sparse, (indptr, indices, data), transposed)
        if start is None and not (method == "krylov" and width == limit):
            start = random_normal(key, n_columns * width, dtype=data.dtype, device=device).reshape(n_columns, width)
        if method == "power":
            u, s, vt = solver.triplets(k, left=solver.power(start, n_iter))
        else:
            right = solver.complete() if width == limit else solver.krylov(start, n_iter, k)
            u, s, vt = solver.triplets(k, right=right)
    return u, (s * scale).astype(data.dtype), vt


class _Solver:
    """The matrix, its transpose, and the steps that the methods are made of."""

    def __init__(self, dense: Any, sparse: Any, matrix: Any, transposed: Any) -> None:
        self.dense = dense
        self.xp = dense.xp
        self.sparse = sparse
        self.matrix = matrix
        self.transposed = transposed

    def forward(self, right: Any) -> Any:
        """Return ``A @ right``."""
        return self.sparse.csr_matmul(*self.matrix, self.xp.ascontiguousarray(right))

    def back(self, left: Any) -> Any:
        """Return ``A.T @ left``."""
        return self.sparse.csr_matmul(*self.transposed, self.xp.ascontiguousarray(left))

    def orthonormal(self, tall: Any) -> Any:
        """Return an orthonormal basis of the columns of ``tall``.

        By Cholesky's factor of the Gram matrix in float64, twice for float64 (Fukaya et al., "CholeskyQR2", ScalA
        2014); by Householder's QR where that matrix is too close to singular.
        """
        basis = tall
        for _ in range(1 if tall.dtype == np.float32 else 2):
            upper = self._cholesky(self.dense.inner(basis, basis, exact=True))
            if upper is None:
                basis, _ = self.xp.linalg.qr(tall.astype(np.float64))
                return self.xp.ascontiguousarray(basis.astype(tall.dtype))
            basis = self.dense.product(basis, self.xp.linalg.inv(upper))
        return basis

    def _cholesky(self, gram: Any) -> Any:
        """Return the upper factor of ``gram``, or None where it is too close to singular for an orthonormal basis."""
        try:
            upper = self.xp.linalg.cholesky(gram).T
        except np.linalg.LinAlgError:
            return None
        diagonal = self.xp.abs(self.xp.diagonal(upper))
        # CuPy gives NaN instead of an error. A ratio below 1e-6 leaves fewer than four digits of orthogonality.
        return upper if bool(diagonal.min() > 1e-6 * diagonal.max()) else None

    def power(self, start: Any, n_iter: int) -> Any:
        """Return a basis of the left space by power iteration."""
        basis = self.orthonormal(self.forward(start))
        for _ in range(n_iter):
            basis = self.orthonormal(self.forward(self.orthonormal(self.back(basis))))
        return basis

    def complete(self) -> Any:
        """Return a basis of the right space in which the whole matrix lies."""
        n_rows, n_columns = int(self.matrix[0].shape[0]) - 1, int(self.transposed[0].shape[0]) - 1
        dtype = self.matrix[2].dtype
        if n_columns <= n_rows:
            return self.xp.eye(n_columns, dtype=dtype)
        return self.orthonormal(self.back(self.xp.eye(n_rows, dtype=dtype)))

    def krylov(self, start: Any, n_iter: int, k: int) -> Any:
        """Return ``k`` approximate right singular vectors from the block Krylov space of ``AᵀA``."""
        xp, dense = self.xp, self.dense
        n_columns, width = start.shape
        basis = xp.empty((n_columns, (n_iter + 1) * width), start.dtype)
        # Only the upper half of Q.T AᵀA Q is filled, and made symmetric at the end.
        projected = np.zeros((basis.shape[1], basis.shape[1]))
        block = self.orthonormal(start)
        for turn in range(n_iter + 1):
            begin, end = turn * width, (turn + 1) * width
            basis[:, begin:end] = block
            image = self.forward(block)
            if turn == n_iter:
                projected[begin:end, begin:end] = self._host(dense.inner(image, image, exact=True))
                break
            image = self.back(image)
            # In exact arithmetic only the last two blocks have a share in the image. Where values differ by many
            # orders of magnitude, or the rank is used up and the next block is rounding error, all of them have.
            known = basis[:, :end]
            share = dense.inner(known, image)
            projected[:end, begin:end] = self._host(share)
            dense.subtract_product(image, known, share)
            block = self.orthonormal(image)
            for _ in range(_MOST_PASSES):
                overlap = dense.inner(known, block)
                dense.subtract_product(block, known, overlap)
                block = self.orthonormal(block)
                if float(xp.abs(overlap).max()) < _ORTHOGONAL:
                    break
        upper = np.triu(projected)
        _, vectors = np.linalg.eigh(upper + np.triu(upper, 1).T)
        leading = np.ascontiguousarray(vectors[:, ::-1][:, :k])
        return self.orthonormal(dense.product(basis, self._here(leading)))

    def triplets(self, k: int, left: Any = None, right: Any = None) -> tuple[Any, Any, Any]:
        """Return the singular values and vectors of the matrix restricted to a basis of its left or right space."""
        xp, dense = self.xp, self.dense
        basis = right if left is None else left
        image = self.forward(basis) if left is None else self.back(basis)
        other = self.orthonormal(image)
        small_u, s, small_vt = xp.linalg.svd(dense.inner(other, image, exact=True))
        u, v = dense.product(other, small_u[:, :k]), dense.product(basis, small_vt[:k].T)
        if left is not None:
            u, v = v, u
        # The sign of the entry with the largest magnitude.
        signs = xp.where(u.max(axis=0) < -u.min(axis=0), -1, 1).astype(u.dtype)
        return u * signs, s[:k].astype(u.dtype), xp.ascontiguousarray((v * signs).T)

    def _host(self, small: Any) -> np.ndarray:
        """Return a small device matrix as a NumPy array."""
        if self.xp is np:
            return small
        from . import _cuda

        return _cuda.asnumpy(small)

    def _here(self, small: np.ndarray) -> Any:
        """Return a small NumPy array where the matrix lies."""
        if self.xp is np:
            return small
        from . import _cuda

        return _cuda.asarray(small)
