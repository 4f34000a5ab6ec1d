"""Vector registers in compiled functions, for loops that must keep many sums in them.

LLVM vectorises simple loops by itself, but it stores a row of sums to memory and loads it again at every turn of an
outer loop: it cannot know that the row fits the registers. Here a row of up to eight vectors is one value, which stays
in registers for as long as the compiled function needs it. A sparse product does 85 instead of 32 GFLOP/s so.

LLVM splits vectors wider than the machine's into as many registers as it takes, so all of this runs on every processor;
the width decides the speed alone. It is part of the names in Numba's cache, which machines may share.

Values are tuples of vectors: a *row* holds neighbouring numbers of an array; a *tile* of n x m vectors holds the sums
that become the n x m dot products of some rows with others. Offsets count elements of flat, contiguous arrays. Loads
and stores are checked where Numba's bounds checks are on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, register_model

from ._vector_math import call, constant, exp, muladd, suffix

__all__ = [
    "BYTES",
    "Memory",
    "VectorType",
    "check_flat",
    "lanes",
    "prefetch",
    "row_add",
    "row_add_product",
    "row_lanes",
    "row_put",
    "row_store",
    "row_zeros",
    "rows_accumulate",
    "rows_exchange",
    "rows_factors",
    "rows_load",
    "rows_places",
    "rows_update",
    "rows_update_apart",
    "splat",
    "tile_add_products",
    "tile_totals",
    "tile_weigh",
    "tile_weigh_and_count",
]


def _register_bytes() -> int:
    # As Numba decides for which processor it compiles: one that was named, by default without features, or this one.
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features()
    return 64 if "+avx512f" in features.split(",") else 32


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


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector of copies of a number."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


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


def check_flat(array: Any) -> None:
    """Raise where Numba's type is none of a flat contiguous array: offsets would mean something else."""
    if not (isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"):
        raise TypeError(f"expected a flat contiguous array, got {array}")


@intrinsic(prefer_literal=True)
def _row_zeros(typing_context, array, n):
    check_flat(array)
    count = n.literal_value
    result = types.UniTuple(VectorType(array.dtype), count)

    def generate(context, builder, signature, arguments):
        zero = ir.Constant(_vector(array.dtype), [0.0] * (BYTES * 8 // array.dtype.bitwidth))
        return context.make_tuple(builder, result, [zero] * count)

    return result(array, n), generate


@intrinsic
def _row_lanes(typing_context, array):
    check_flat(array)

    def generate(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(types.int64), BYTES * 8 // array.dtype.bitwidth)

    return types.int64(array), generate


@intrinsic
def _row_add_product(typing_context, row, factor, array, offset):
    check_flat(array)

    def generate(context, builder, signature, arguments):
        sums, scalar, data, start = arguments
        vector = _vector(array.dtype)
        factors = splat(builder, scalar, vector)
        width = ir.Constant(start.type, vector.count)
        result = []
        for turn, total in enumerate(cgutils.unpack_tuple(builder, sums, row.count)):
            place = builder.add(start, ir.Constant(start.type, turn * vector.count))
            value = builder.load(_address(context, builder, array, data, place, width, vector))
            value.align = array.dtype.bitwidth // 8
            result.append(muladd(builder, factors, value, total))
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
    check_flat(array)

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
                mask = builder.icmp_signed("<", numbers, splat(builder, left, steps))
                align = ir.Constant(_INT32, array.dtype.bitwidth // 8)
                call(builder, f"llvm.masked.store.{suffix(vector)}.p0", ir.VoidType(), value, place, align, mask)
        return context.get_dummy_value()

    return types.void(row, array, types.int64, types.int64), generate


@intrinsic
def _row_put(typing_context, row, array, offset):
    def generate(context, builder, signature, arguments):
        values, data, start = arguments
        memory = Memory(context, builder, array, data)
        for turn, value in enumerate(cgutils.unpack_tuple(builder, values, row.count)):
            memory.store(value, _plus(builder, start, turn * memory.vector.count))
        return context.get_dummy_value()

    return types.void(row, array, types.int64), generate


class Memory:
    """Loads and stores of vectors while code is generated: one array, its type and the context."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        check_flat(array_type)
        self.context = context
        self.builder = builder
        self.array_type = array_type
        self.array = array
        self.vector = _vector(array_type.dtype)
        self.align = array_type.dtype.bitwidth // 8

    def _at(self, offset: Any, vector: Any) -> Any:
        count = ir.Constant(offset.type, vector.count)
        return _address(self.context, self.builder, self.array_type, self.array, offset, count, vector)

    def load(self, offset: Any, vector: Any = None) -> Any:
        value = self.builder.load(self._at(offset, vector or self.vector))
        value.align = self.align
        return value

    def store(self, value: Any, offset: Any) -> None:
        self.builder.store(value, self._at(offset, value.type)).align = self.align

    def scalar(self, index: Any) -> Any:
        """Return one element, not of a vector."""
        return _number(self.context, self.builder, self.array_type, self.array, index)

    def splat(self, index: Any) -> Any:
        """Return a vector of copies of one element."""
        return splat(self.builder, self.scalar(index), self.vector)


def _number(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Return one element of an array."""
    element = context.get_value_type(array_type.dtype)
    address = _address(context, builder, array_type, array, index, ir.Constant(index.type, 1), element)
    return builder.load(address)


def _plus(builder: Any, value: Any, number: int) -> Any:
    return builder.add(value, ir.Constant(value.type, number)) if number else value


@intrinsic
def _tile_add_products(typing_context, tile, like, a, a_at, i, b, b_at, j, d):
    columns = like.count
    rows = tile.count // columns

    def generate(context, builder, signature, arguments):
        sums, _, a_array, a_places, first_a, b_array, b_places, first_b, step = arguments
        left, right = Memory(context, builder, a, a_array), Memory(context, builder, b, b_array)

        def row(memory, places_type, places, first, turn):
            at = _number(context, builder, places_type, places, _plus(builder, first, turn))
            return memory.load(builder.add(at, step))

        new = cgutils.unpack_tuple(builder, sums, tile.count)
        # The fewer rows are kept and the others pass by one at a time, as in `_tiles.tile_sum`: 2 x 6 sums and 3 rows
        # are 15 of AVX's 16 registers (dim 100: 4.7 instead of 4.1 million words a second).
        if rows < columns:
            x = [row(left, a_at, a_places, first_a, t) for t in range(rows)]
            for j in range(columns):
                y = row(right, b_at, b_places, first_b, j)
                for i in range(rows):
                    new[i * columns + j] = muladd(builder, x[i], y, new[i * columns + j])
        else:
            y = [row(right, b_at, b_places, first_b, t) for t in range(columns)]
            for i in range(rows):
                x = row(left, a_at, a_places, first_a, i)
                for j in range(columns):
                    new[i * columns + j] = muladd(builder, x, y[j], new[i * columns + j])
        return context.make_tuple(builder, tile, new)

    return tile(tile, like, a, a_at, types.int64, b, b_at, types.int64, types.int64), generate


def _shuffle(builder: Any, a: Any, b: Any, lanes_wanted: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_INT32, len(lanes_wanted)), lanes_wanted)
    return builder.shuffle_vector(a, b, mask)


def _totals(builder: Any, vectors: list[Any]) -> Any:
    """Return one vector with the sum of each of ``vectors`` (a power of two of them) in its lanes.

    Two vectors are folded into one at each step, so n sums take n - 1 additions and 2 (n - 1) shuffles, where summing
    each by itself would take log2(lanes) of both for every one.
    """
    count = vectors[0].type.count
    width = count
    while len(vectors) > 1:
        half, middle = len(vectors) // 2, width // 2
        blocks = range(count // width)
        low = [start + lane for block in blocks for start in (block * width, count + block * width)
               for lane in range(middle)]  # fmt: skip
        high = [lane + middle for lane in low]
        vectors = [
            builder.fadd(_shuffle(builder, a, b, low), _shuffle(builder, a, b, high))
            for a, b in zip(vectors[:half], vectors[half:])
        ]
        width = middle
    (total,) = vectors
    blocks = range(count // width)
    while width > 1:
        turned = [block * (count // len(blocks)) + (lane + width // 2) % width for block in blocks
                  for lane in range(count // len(blocks))]  # fmt: skip
        total = builder.fadd(total, _shuffle(builder, total, total, turned))
        width //= 2
    return _shuffle(builder, total, total, [block * (count // len(blocks)) for block in blocks])


def _parts(builder: Any, tile: Any, vector: Any) -> Any:
    """Yield which sums come next, how many, and a vector of them: of a power of two, zeros behind them."""
    for begin in range(0, len(tile), vector.count):
        part = tile[begin : begin + vector.count]
        size = 1 << (len(part) - 1).bit_length()
        yield begin, len(part), _totals(builder, part + [constant(vector, 0)] * (size - len(part)))


@intrinsic
def _tile_totals(typing_context, tile, array, offset):
    def generate(context, builder, signature, arguments):
        sums, data, place = arguments
        memory = Memory(context, builder, array, data)
        for begin, _, total in _parts(builder, cgutils.unpack_tuple(builder, sums, tile.count), memory.vector):
            memory.store(total, _plus(builder, place, begin))
        return context.get_dummy_value()

    return types.void(tile, array, types.int64), generate


def _weigher(tile: Any, scores: Any, targets: Any, products: Any = None, linear: Any = None) -> Any:
    def generate(context, builder, signature, arguments):
        sums, data, place, wanted, first, rate, *losses = arguments
        memory, goals = Memory(context, builder, scores, data), Memory(context, builder, targets, wanted)
        for begin, n, x in _parts(builder, cgutils.unpack_tuple(builder, sums, tile.count), memory.vector):
            vector = x.type
            zero, one = constant(vector, 0), constant(vector, 1)
            goal = goals.load(_plus(builder, first, begin), vector)
            size = call(builder, f"llvm.fabs.{suffix(vector)}", vector, x)
            power = exp(builder, builder.fneg(size))
            below = builder.fadd(one, power)
            sigmoid = builder.fdiv(builder.select(builder.fcmp_ordered(">=", x, zero), one, power), below)
            weight = builder.fmul(splat(builder, rate, vector), builder.fsub(goal, sigmoid))
            counts = builder.fcmp_ordered(">=", goal, zero)
            memory.store(builder.select(counts, weight, zero), _plus(builder, place, begin))
            if losses:
                # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)) where z is the score, or minus it where it is wanted.
                here = ir.Constant(ir.VectorType(_BIT, vector.count), [turn < n for turn in range(vector.count)])
                counts = builder.and_(counts, here)
                z = builder.select(builder.fcmp_ordered(">", goal, zero), builder.fneg(x), x)
                z = builder.select(builder.fcmp_ordered("<", z, zero), zero, z)
                z = builder.select(counts, z, zero)
                factors, parts = (Memory(context, builder, kind, array) for kind, array in
                                  zip((products, linear), losses))  # fmt: skip
                at = ir.Constant(place.type, begin)
                product = builder.fmul(factors.load(at, vector), builder.select(counts, below, one))
                factors.store(product, at)
                doubles = ir.VectorType(ir.DoubleType(), vector.count)
                if isinstance(vector.element, ir.FloatType):
                    z = builder.fpext(z, doubles)
                parts.store(builder.fadd(parts.load(at, doubles), z), at)
        return context.get_dummy_value()

    return generate


@intrinsic
def _tile_weigh(typing_context, tile, scores, place, targets, first, rate):
    signature = types.void(tile, scores, types.int64, targets, types.int64, scores.dtype)
    return signature, _weigher(tile, scores, targets)


@intrinsic
def _tile_weigh_and_count(typing_context, tile, scores, place, targets, first, rate, products, linear):
    signature = types.void(tile, scores, types.int64, targets, types.int64, scores.dtype, products, linear)
    return signature, _weigher(tile, scores, targets, products, linear)


@intrinsic
def _rows_load(typing_context, like, array, at, j, d):
    check_flat(array)
    result = types.UniTuple(VectorType(array.dtype), like.count)

    def generate(context, builder, signature, arguments):
        _, data, places, first, step = arguments
        memory = Memory(context, builder, array, data)
        at_each = (_number(context, builder, at, places, _plus(builder, first, t)) for t in range(result.count))
        return context.make_tuple(builder, result, [memory.load(builder.add(place, step)) for place in at_each])

    return result(like, array, at, types.int64, types.int64), generate


def _updater(rows: Any, array: Any, deltas: Any) -> Any:
    def generate(context, builder, signature, arguments):
        values, sums, data, offset, *rest = arguments
        factors, first = rest[-2:]
        memory = Memory(context, builder, array, data)
        target, place = memory, offset
        if deltas is not None:
            target, place = Memory(context, builder, deltas, rest[0]), rest[1]
        scale = Memory(context, builder, signature.args[-2], factors)
        x = memory.load(offset)
        # Two sums: each addition of one waits four cycles for the last.
        sides = [target.load(place) if deltas is not None else x, None]
        result = []
        pairs = zip(cgutils.unpack_tuple(builder, values, rows.count), cgutils.unpack_tuple(builder, sums, rows.count))
        for t, (row, total) in enumerate(pairs):
            factor = scale.splat(_plus(builder, first, t))
            side = sides[t % 2]
            sides[t % 2] = builder.fmul(factor, row) if side is None else muladd(builder, factor, row, side)
            result.append(muladd(builder, factor, x, total))
        target.store(builder.fadd(*sides) if sides[1] is not None else sides[0], place)
        return context.make_tuple(builder, rows, result)

    return generate


@intrinsic
def _rows_update(typing_context, rows, sums, array, offset, factors, first):
    return rows(rows, sums, array, types.int64, factors, types.int64), _updater(rows, array, None)


@intrinsic
def _rows_update_apart(typing_context, rows, sums, array, offset, deltas, delta_offset, factors, first):
    signature = rows(rows, sums, array, types.int64, deltas, types.int64, factors, types.int64)
    return signature, _updater(rows, array, deltas)


@intrinsic
def _rows_accumulate(typing_context, sums, array, at, j, d):
    def generate(context, builder, signature, arguments):
        values, data, places, first, step = arguments
        memory = Memory(context, builder, array, data)
        # One after another: the same row may be named twice.
        for t, value in enumerate(cgutils.unpack_tuple(builder, values, sums.count)):
            place = builder.add(_number(context, builder, at, places, _plus(builder, first, t)), step)
            memory.store(builder.fadd(memory.load(place), value), place)
        return context.get_dummy_value()

    return types.void(sums, array, at, types.int64, types.int64), generate


@intrinsic
def _rows_places(typing_context, like, at, j):
    result = types.UniTuple(types.int64, like.count)

    def generate(context, builder, signature, arguments):
        _, places, first = arguments
        found = [_number(context, builder, at, places, _plus(builder, first, t)) for t in range(like.count)]
        return context.make_tuple(builder, result, found)

    return result(like, at, types.int64), generate


@intrinsic
def _rows_factors(typing_context, like, array, first):
    check_flat(array)

    def generate(context, builder, signature, arguments):
        _, data, begin = arguments
        memory = Memory(context, builder, array, data)
        return context.make_tuple(builder, like, [memory.splat(_plus(builder, begin, t)) for t in range(like.count)])

    return like(like, array, types.int64), generate


@intrinsic
def _rows_exchange(typing_context, x, factors, array, places, d):
    check_flat(array)

    def generate(context, builder, signature, arguments):
        value, weights, data, starts, step = arguments
        memory = Memory(context, builder, array, data)
        (value,) = cgutils.unpack_tuple(builder, value, 1)
        weights = cgutils.unpack_tuple(builder, weights, factors.count)
        at = [builder.add(start, step) for start in cgutils.unpack_tuple(builder, starts, factors.count)]
        # Two sums: each addition of one waits four cycles for the last.
        sums = [constant(value.type, 0)] * 2
        for t, weight in enumerate(weights):
            sums[t % 2] = muladd(builder, weight, memory.load(at[t]), sums[t % 2])
        # One after another: the same row may be named twice.
        for t, weight in enumerate(weights):
            memory.store(muladd(builder, weight, value, memory.load(at[t])), at[t])
        return context.make_tuple(builder, x, [builder.fadd(*sums)])

    return x(x, factors, array, places, types.int64), generate


@intrinsic
def _prefetch(typing_context, array, offset):
    def generate(context, builder, signature, arguments):
        struct = context.make_array(array)(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(struct.data, [arguments[1]]), ir.IntType(8).as_pointer())
        # To be written as well (1), to all caches (3), data and not instructions (1).
        hints = [ir.Constant(_INT32, number) for number in (1, 3, 1)]
        call(builder, "llvm.prefetch.p0", ir.VoidType(), address, *hints)
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


if config.DISABLE_JIT:
    from ._vector_plain import (
        prefetch,
        row_add,
        row_add_product,
        row_lanes,
        row_put,
        row_store,
        row_zeros,
        rows_accumulate,
        rows_exchange,
        rows_factors,
        rows_load,
        rows_places,
        rows_update,
        rows_update_apart,
        tile_add_products,
        tile_totals,
        tile_weigh,
        tile_weigh_and_count,
    )
else:
    # row_zeros(array, n): n vectors of zeros of the array's dtype, as a row or as a tile; n is a constant.
    row_zeros = _row_zeros
    # row_lanes(array): how many of the array's numbers a vector holds: a constant, so that loops by it unroll.
    row_lanes = _row_lanes
    # row_add_product(row, factor, array, offset): row + factor * array[offset:offset + length of the row].
    row_add_product = _row_add_product
    # row_add(row, other): their sum.
    row_add = _row_add
    # row_put(row, array, offset): array[offset:offset + length of the row] = row.
    row_put = _row_put
    # row_store(row, array, offset, count): array[offset:offset + count] = row[:count], by masks: row_put takes a third
    # of the time where the whole row is wanted.
    row_store = _row_store
    # tile_add_products(tile, like, a, a_at, i, b, b_at, j, d): add to each of the tile's n x m sums the product of the
    # vectors at a[a_at[i + p] + d] and b[b_at[j + q] + d]; `like` has m vectors.
    tile_add_products = _tile_add_products
    # tile_totals(tile, array, offset): array[offset + t] = sum of the lanes of vector t. What lies behind them, up to
    # the next power of two, is overwritten.
    tile_totals = _tile_totals
    # tile_weigh(tile, scores, place, targets, first, rate): the same with rate * (target - sigmoid(sum)) for each sum,
    # or 0 where its target, at targets[first + t], is below 0. Sigmoids in memory would wait for it: a load of what was
    # stored in pieces waits until all stores before it have left for the caches.
    tile_weigh = _tile_weigh
    # tile_weigh_and_count(..., products, linear): and the loss. products[t] is multiplied by 1 + exp(-|sum|), and
    # linear[t], float64, grows by the rest of it. Both have room for whole vectors.
    tile_weigh_and_count = _tile_weigh_and_count
    # rows_load(like, array, at, j, d): the vectors at array[at[j + q] + d], as many as `like` has.
    rows_load = _rows_load
    # rows_update(rows, sums, array, offset, factors, first): with x the vector at array[offset], add to it
    # factors[first + q] * rows[q] for all q, and return sums[q] + factors[first + q] * x.
    rows_update = _rows_update
    # rows_update_apart(rows, sums, array, offset, deltas, delta_offset, factors, first): the same, but what x changes
    # by is added to the vector at deltas[delta_offset].
    rows_update_apart = _rows_update_apart
    # rows_accumulate(sums, array, at, j, d): add sums[q] to the vector at array[at[j + q] + d], one after another.
    rows_accumulate = _rows_accumulate
    # rows_places(like, at, j): at[j + q] for all q, as many as `like` has; rows_factors(like, array, first): vectors of
    # copies of array[first + q]. Both are values: what arrays hold would be loaded anew after every store.
    rows_places = _rows_places
    rows_factors = _rows_factors
    # rows_exchange(x, factors, array, places, d): the sum of factors[q] times the vectors at array[places[q] + d]; then
    # factors[q] * x is added to these, one after another.
    rows_exchange = _rows_exchange
    # prefetch(array, offset): ask for the memory of array[offset], to be written soon.
    prefetch = _prefetch
