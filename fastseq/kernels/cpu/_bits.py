"""Single machine instructions that Python has no word for."""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

__all__ = ["count_trailing_zeros"]


@intrinsic
def _count_trailing_zeros(typing_context, value):
    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


def _in_plain_python(value):
    value = int(value)
    return (value & -value).bit_length() - 1 if value else 64


# The number of the lowest bit set in a uint64; 64 for 0.
count_trailing_zeros = _in_plain_python if config.DISABLE_JIT else _count_trailing_zeros
