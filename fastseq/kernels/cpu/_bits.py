"""Single machine instructions that Python has no word for."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["count_trailing_zeros"]


@intrinsic
def count_trailing_zeros(typing_context, value):
    """Return the number of the lowest bit set in a uint64; 64 for 0."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code
