"""Vector registers in compiled functions, for loops that must keep many sums in them.

LLVM vectorises simple loops by itself, but it stores a row of sums to memory and loads it again at every turn of an
outer loop: it cannot know that the row fits the registers. Here a row of up to eight vectors is one value, which stays
in registers for as long as the compiled function needs it. A sparse product does 85 instead of 32 GFLOP/s so.

LLVM splits vectors wider than the machine's into as many registers as it takes, so all of this runs on every processor;
the width only decides the speed.

A `Row` is a tuple of vectors that together hold neighbouring numbers of an array. Offsets count elements of flat,
contiguous arrays. Loads and stores are checked where Numba's bounds checks are on.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = ["BYTES", "lanes", "row_zeros", "row_add_product", "row_add", "row_store"]


def _register_bytes() -> int:
    features = config.CPU_FEATURES
    names = set(features.split(",")) if features else {f"+{n}" for n, on in llvm.get_host_cpu_features().items() if on}
    return 64 if "+avx512f" in names else 32


# Bytes in a vector: what one register holds on processors with AVX-512, or with AVX.
BYTES = _register_bytes()


def lanes(dtype: Any) -> int:
    """Return how many numbers of ``dtype`` a vector holds."""
    return BYTES // np.dtype(dtype).itemsize


class VectorType(types.Type):
    """Numba's type of a vector register."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.count = BYTES // (dtype.bitwidth // 8)
        super().__init__(name=f"vector({dtype} x {self.count})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, ir.VectorType(manager.lookup(of.dtype).get_value_type(), of.count))


_INT32 = ir.IntType(32)
_BIT = ir.IntType(1)


def _vector(dtype: Any) -> Any:
    return ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[dtype.bitwidth], BYTES * 8 // dtype.bitwidth)


def _suffix(vector: Any) -> str:
    return f"v{vector.count}{'f32' if isinstance(vector.element, ir.FloatType) else 'f64'}"


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, count: Any, vector: Any) -> Any:
    """Return the address of ``array[offset]`` as one of a vector, checked for ``count`` elements where asked for."""
    struct = context.make_array(array_type)(context, builder, array)
    if config.BOUNDSCHECK:
        end = builder.add(offset, count)
        size = cgutils.unpack_tuple(builder, struct.shape, 1)[0]
        outside = builder.or_(
            builder.icmp_signed("<", offset, ir.Constant(offset.type, 0)), builder.icmp_signed(">", end, size)
        )
        with builder.if_then(outside, likely=False):
            context.call_conv.return_user_exc(builder, IndexError, ("vector outside the array",))
    return builder.bitcast(builder.gep(struct.data, [offset]), vector.as_pointer())


def _check(array: Any) -> None:
    if not (isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"):
        raise TypeError(f"expected a flat contiguous array, got {array}")


@intrinsic(prefer_literal=True)
def _row_zeros(typing_context, array, n):
    _check(array)
    count = n.literal_value
    result = types.UniTuple(VectorType(array.dtype), count)

    def generate(context, builder, signature, arguments):
        zero = ir.Constant(_vector(array.dtype), [0.0] * (BYTES * 8 // array.dtype.bitwidth))
        return context.make_tuple(builder, result, [zero] * count)

    return result(array, n), generate


@intrinsic
def _row_add_product(typing_context, row, factor, array, offset):
    _check(array)

    def generate(context, builder, signature, arguments):
        sums, scalar, data, start = arguments
        vector = _vector(array.dtype)
        factors = _splat(builder, scalar, vector)
        width = ir.Constant(start.type, vector.count)
        result = []
        for turn, total in enumerate(cgutils.unpack_tuple(builder, sums, row.count)):
            place = builder.add(start, ir.Constant(start.type, turn * vector.count))
            value = builder.load(_address(context, builder, array, data, place, width, vector))
            value.align = array.dtype.bitwidth // 8
            # Fused where the processor can, else a product and a sum.
            result.append(_call(builder, f"llvm.fmuladd.{_suffix(vector)}", vector, factors, value, total))
        return context.make_tuple(builder, row, result)

    return row(row, array.dtype, array, types.int64), generate


@intrinsic
def _row_add(typing_context, row, other):
    def generate(context, builder, signature, arguments):
        left, right = (cgutils.unpack_tuple(builder, argument, row.count) for argument in arguments)
        return context.make_tuple(builder, row, [builder.fadd(a, b) for a, b in zip(left, right)])

    return row(row, row), generate


@intrinsic
def _row_store(typing_context, row, array, offset, count):
    _check(array)

    def generate(context, builder, signature, arguments):
        values, data, start, length = arguments
        vector = _vector(array.dtype)
        steps = ir.VectorType(length.type, vector.count)
        numbers = ir.Constant(steps, list(range(vector.count)))
        for turn, value in enumerate(cgutils.unpack_tuple(builder, values, row.count)):
            skipped = ir.Constant(length.type, turn * vector.count)
            left = builder.sub(length, skipped)
            some = builder.icmp_signed(">", left, ir.Constant(length.type, 0))
            with builder.if_then(some):
                full = ir.Constant(length.type, vector.count)
                here = builder.select(builder.icmp_signed("<", left, full), left, full)
                place = _address(context, builder, array, data, builder.add(start, skipped), here, vector)
                mask = builder.icmp_signed("<", numbers, _splat(builder, left, steps))
                align = ir.Constant(_INT32, array.dtype.bitwidth // 8)
                _call(builder, f"llvm.masked.store.{_suffix(vector)}.p0", ir.VoidType(), value, place, align, mask)
        return context.get_dummy_value()

    return types.void(row, array, types.int64, types.int64), generate


# Without compilation (NUMBA_DISABLE_JIT) the same by NumPy: a row is one array.


def _plain_zeros(array: np.ndarray, n: int) -> np.ndarray:
    return np.zeros(n * lanes(array.dtype), array.dtype)


def _plain_add_product(row: np.ndarray, factor: Any, array: np.ndarray, offset: int) -> np.ndarray:
    return row + factor * array[offset:offset + len(row)]


def _plain_add(row: np.ndarray, other: np.ndarray) -> np.ndarray:
    return row + other


def _plain_store(row: np.ndarray, array: np.ndarray, offset: int, count: int) -> None:
    count = min(count, len(row))
    array[offset:offset + count] = row[:count]


# row_zeros(array, n): a row of n vectors of zeros of the array's dtype; n is a constant.
row_zeros = _plain_zeros if config.DISABLE_JIT else _row_zeros
# row_add_product(row, factor, array, offset): row + factor * array[offset:offset + length of the row].
row_add_product = _plain_add_product if config.DISABLE_JIT else _row_add_product
# row_add(row, other): their sum.
row_add = _plain_add if config.DISABLE_JIT else _row_add
# row_store(row, array, offset, count): array[offset:offset + count] = row[:count].
row_store = _plain_store if config.DISABLE_JIT else _row_store
