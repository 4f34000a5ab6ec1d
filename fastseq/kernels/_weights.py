"""The scales of pointwise mutual information, which both devices take from the sums of rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ValueRangeError

__all__ = ["scales"]


def scales(xp: Any, rows: Any, columns: Any, shift: float, smoothing: float) -> tuple[Any, Any]:
    """Return float64 ``a`` (n_rows,) and ``b`` (n_columns,) with ``exp(PMI) / shift = count * a[i] * b[j]``.

    They are 0 for empty rows and columns.

    Raises
    ------
    ValueRangeError
        The sums are so large or so small that their inverses are no numbers.
    """
    if rows.shape[0] == 0 or columns.shape[0] == 0:
        return xp.zeros(rows.shape[0]), xp.zeros(columns.shape[0])
    largest = float(columns.max())
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # Relative to the largest, so that no power overflows.
        relative = columns / (largest or 1.0)
        smoothed = xp.where(columns > 0, relative**smoothing, 0.0)
        row_scale = xp.where(rows > 0, 1.0 / (xp.where(rows > 0, rows, 1.0) * shift), 0.0)
        column_scale = xp.where(smoothed > 0, smoothed.sum() / xp.where(smoothed > 0, smoothed, 1.0), 0.0)
    sound = bool(xp.isfinite(row_scale).all()) and bool(xp.isfinite(column_scale).all())
    if not sound or not largest < float("inf") or bool(((columns > 0) & (smoothed <= 0)).any()):
        raise ValueRangeError(
            f"data has sums of up to {largest:g}, which float64 cannot weigh with shift {shift:g} and smoothing "
            f"{smoothing:g}; scale the counts nearer to 1"
        )
    return row_scale, column_scale
