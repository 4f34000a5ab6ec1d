"""Register tiles of a matrix product, and arithmetic on single vectors, in compiled functions.

A *tile* of r x v vectors is a value: r rows of a product, each of v vectors of neighbouring columns. `tile_sum` adds
outer products to it and keeps all of the tile in registers: with packed panels (see ``cpu/_panels.py``) one load feeds
r products and one broadcast v. How many vectors a row has is told by a second value ``like`` of that many.

A single vector is a number to the code that uses it: ``a * b + c`` works, and so do `vector_sigmoid` and the others.
A cell of a recurrent network is written so once for float32 and float64.
"""

from __future__ import annotations

import operator
import platform
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin
from numba.np.arrayobj import populate_array

from ._vector import Memory, VectorType, check_flat, splat
from ._vector_math import call, constant, exp, muladd, sigmoid, suffix, tanh

__all__ = [
    "array_at",
    "block_transposed",
    "call_at",
    "flush_denormals",
    "restore_denormals",
    "tile_load",
    "tile_load_part",
    "tile_store",
    "tile_store_part",
    "tile_sum",
    "vector_clip",
    "vector_exp",
    "vector_largest",
    "vector_load",
    "vector_max",
    "vector_muladd",
    "vector_of",
    "vector_relu",
    "vector_sigmoid",
    "vector_store",
    "vector_tanh",
    "vector_total",
    "vector_where_positive",
    "vector_where_within",
]

_INT32 = ir.IntType(32)
_INT64 = types.int64


def _places(builder: Any, at: Any, row_stride: Any, rows: int) -> list[Any]:
    """Return where each row begins."""
    result = [at]
    for _ in range(1, rows):
        result.append(builder.add(result[-1], row_stride))
    return result


def _move(builder: Any, at: Any, count: int) -> Any:
    return builder.add(at, ir.Constant(at.type, count)) if count else at


@intrinsic
def _tile_load(typing_context, tile, like, array, at, row_stride):
    def generate(context, builder, sig, arguments):
        _, _, data, first, stride = arguments
        memory = Memory(context, builder, array, data)
        rows = _places(builder, first, stride, tile.count // like.count)
        width = memory.vector.count
        values = [memory.load(_move(builder, row, v * width)) for row in rows for v in range(like.count)]
        return context.make_tuple(builder, tile, values)

    return tile(tile, like, array, _INT64, _INT64), generate


@intrinsic
def _tile_store(typing_context, tile, like, array, at, row_stride):
    def generate(context, builder, sig, arguments):
        values, _, data, first, stride = arguments
        memory = Memory(context, builder, array, data)
        rows = _places(builder, first, stride, tile.count // like.count)
        width = memory.vector.count
        for turn, value in enumerate(cgutils.unpack_tuple(builder, values, tile.count)):
            row, v = divmod(turn, like.count)
            memory.store(value, _move(builder, rows[row], v * width))
        return context.get_dummy_value()

    return types.void(tile, like, array, _INT64, _INT64), generate


def _partial(tile: Any, like: Any, array: Any, stores: bool) -> Any:
    check_flat(array)

    def generate(context, builder, sig, arguments):
        values, _, data, first, row_stride, vector_stride, turn_by, count, less = arguments
        memory = Memory(context, builder, array, data)
        vector = memory.vector
        rows = _places(builder, first, row_stride, tile.count // like.count)
        numbers = ir.Constant(ir.VectorType(_INT32, vector.count), list(range(vector.count)))
        masks, steps = [], []
        for v in range(like.count):
            left = builder.sub(count, builder.mul(less, ir.Constant(less.type, v)))
            # Small numbers: what is left is first brought into the range of a vector's lanes.
            zero, full = ir.Constant(left.type, 0), ir.Constant(left.type, vector.count)
            left = builder.select(builder.icmp_signed("<", left, zero), zero, left)
            left = builder.select(builder.icmp_signed(">", left, full), full, left)
            least = left
            wide = splat(builder, builder.trunc(left, _INT32), numbers.type)
            masks.append(builder.icmp_signed("<", numbers, wide))
            turned = _move(builder, turn_by, v)
            size = ir.Constant(turned.type, like.count)
            back = builder.sub(turned, size)
            turned = builder.select(builder.icmp_signed("<", turned, size), turned, back)
            steps.append(builder.mul(vector_stride, turned))
        parts = cgutils.unpack_tuple(builder, values, tile.count)
        places = [builder.add(rows[turn // like.count], steps[turn % like.count]) for turn in range(tile.count)]
        struct = context.make_array(array)(context, builder, data)
        align, name = ir.Constant(_INT32, array.dtype.bitwidth // 8), suffix(vector)
        # Masks only where something is left out: a masked store takes some processors with AVX tens of cycles.
        with builder.if_else(builder.icmp_signed(">=", least, full)) as (whole, cut):
            with whole:
                if stores:
                    for place, value in zip(places, parts):
                        memory.store(value, place)
                loaded = [] if stores else [memory.load(place) for place in places]
                whole_end = builder.block
            with cut:
                masked = []
                for turn, (place, value) in enumerate(zip(places, parts)):
                    mask = masks[turn % like.count]
                    pointer = builder.bitcast(builder.gep(struct.data, [place]), vector.as_pointer())
                    if stores:
                        call(builder, f"llvm.masked.store.{name}.p0", ir.VoidType(), value, pointer, align, mask)
                    else:
                        other = constant(vector, 0)
                        masked.append(
                            call(builder, f"llvm.masked.load.{name}.p0", vector, pointer, align, mask, other)
                        )
                cut_end = builder.block
        if stores:
            return context.get_dummy_value()
        result = []
        for plain, some in zip(loaded, masked):
            both = builder.phi(vector)
            both.add_incoming(plain, whole_end)
            both.add_incoming(some, cut_end)
            result.append(both)
        return context.make_tuple(builder, tile, result)

    result = types.void if stores else tile
    return result(tile, like, array, _INT64, _INT64, _INT64, _INT64, _INT64, _INT64), generate


@intrinsic
def _tile_load_part(typing_context, tile, like, array, at, row_stride, vector_stride, turn_by, count, less):
    return _partial(tile, like, array, stores=False)


@intrinsic
def _tile_store_part(typing_context, tile, like, array, at, row_stride, vector_stride, turn_by, count, less):
    return _partial(tile, like, array, stores=True)


def _not_unrolled(builder: Any, branch: Any) -> None:
    """Keep LLVM from copying the body of a loop, whose last branch is given."""
    module = builder.module
    # What tells one loop from another is a node whose first operand is itself, which llvmlite cannot make in one step,
    # nor compare with another: `add_metadata`, which looks for one that is the same, would not end.
    name = ir.MDValue(module, [], name=str(len(module.metadata)))
    name.operands = (name, module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")]))
    branch.set_metadata("llvm.loop", name)


@intrinsic
def _tile_sum(typing_context, tile, like, n, a, a_at, a_row, a_step, b, b_at, b_step):
    def generate(context, builder, sig, arguments):
        sums, _, count, a_data, a_first, a_stride, a_next, b_data, b_first, b_next = arguments
        left, right = Memory(context, builder, a, a_data), Memory(context, builder, b, b_data)
        width = right.vector.count
        # The loop is written here and not around the call to say that its body stays one: of two turns LLVM mixed the
        # products so that 6 x 4 of AVX-512 ran at 30 to 75 GFLOP/s, one turn at a time at 115 (one core of a Zen 4).
        before = builder.block
        begin, end = builder.append_basic_block("tile.sum"), builder.append_basic_block("tile.sum.end")
        old = cgutils.unpack_tuple(builder, sums, tile.count)
        zero = ir.Constant(count.type, 0)
        builder.cbranch(builder.icmp_signed(">", count, zero), begin, end)

        builder.position_at_end(begin)
        turn, a_place, b_place = (builder.phi(count.type) for _ in range(3))
        new = [builder.phi(right.vector) for _ in old]
        joined = [turn, a_place, b_place, *new]
        for phi, value in zip(joined, [zero, a_first, b_first, *old]):
            phi.add_incoming(value, before)
        places = _places(builder, a_place, a_stride, tile.count // like.count)
        # The side that has fewer is loaded first and kept, the other passes by one at a time, and LLVM keeps the order.
        # 3 x 4 sums, 3 factors and one column are the 16 registers of AVX; with 4 columns kept there were moves and
        # stores between the products (1024 x 1024 x 1024 at 75 instead of 186 GFLOP/s, two cores of a Zen 3).
        factors = [left.splat(place) for place in places] if len(places) < like.count else []
        columns = [] if factors else [right.load(_move(builder, b_place, v * width)) for v in range(like.count)]
        if factors:
            for v in range(like.count):
                column = right.load(_move(builder, b_place, v * width))
                for row, factor in enumerate(factors):
                    at = row * like.count + v
                    new[at] = muladd(builder, factor, column, new[at])
        else:
            for row, place in enumerate(places):
                factor = left.splat(place)
                for v, column in enumerate(columns):
                    at = row * like.count + v
                    new[at] = muladd(builder, factor, column, new[at])
        following = builder.add(turn, ir.Constant(count.type, 1))
        steps = [following, builder.add(a_place, a_next), builder.add(b_place, b_next)]
        # Where bounds are checked, the body has more than one block.
        last = builder.block
        for phi, value in zip(joined, [*steps, *new]):
            phi.add_incoming(value, last)
        _not_unrolled(builder, builder.cbranch(builder.icmp_signed("<", following, count), begin, end))

        builder.position_at_end(end)
        result = []
        for first, value in zip(old, new):
            either = builder.phi(right.vector)
            either.add_incoming(first, before)
            either.add_incoming(value, last)
            result.append(either)
        return context.make_tuple(builder, tile, result)

    return tile(tile, like, _INT64, a, _INT64, _INT64, _INT64, b, _INT64, _INT64), generate


@intrinsic
def _array_at(typing_context, table, place, like):
    check_flat(like)

    def generate(context, builder, sig, arguments):
        data, at, _ = arguments
        numbers = context.make_array(table)(context, builder, data).data
        address, size = (builder.load(builder.gep(numbers, [_move(builder, at, i)])) for i in range(2))
        result = context.make_array(like)(context, builder)
        item = ir.Constant(address.type, like.dtype.bitwidth // 8)
        populate_array(
            result, builder.inttoptr(address, result.data.type), cgutils.pack_array(builder, [size]),
            cgutils.pack_array(builder, [item]), item, None,
        )  # fmt: skip
        return result._getvalue()

    return like(table, _INT64, like), generate


@intrinsic
def _call_at(typing_context, address, given):
    for each in given:
        # Nobody looks at what arrives: of an array that is not contiguous the wrong numbers would be taken.
        if not (isinstance(each, types.Integer | types.Boolean | types.Float) or (
            isinstance(each, types.Array) and each.layout == "C"
        )):  # fmt: skip
            raise TypeError(f"expected contiguous arrays and numbers, got {each}")
    wanted = tuple(_INT64 if isinstance(each, types.Integer) else each for each in given)

    def generate(context, builder, sig, arguments):
        place, values = arguments
        parts = cgutils.unpack_tuple(builder, values, len(wanted))
        parts = [context.cast(builder, *each) for each in zip(parts, given, wanted)]
        function_type = context.call_conv.get_function_type(types.none, wanted)
        pointer = builder.inttoptr(place, function_type.as_pointer())
        status, _ = context.call_conv.call_function(builder, pointer, types.none, wanted, parts)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(_INT64, given), generate


@intrinsic
def _block_transposed(typing_context, source, at, stride, target, to, target_stride):
    def generate(context, builder, sig, arguments):
        data, first, row, out, place, out_row = arguments
        memory, goal = Memory(context, builder, source, data), Memory(context, builder, target, out)
        n = memory.vector.count
        rows = [memory.load(start) for start in _places(builder, first, row, n)]
        # Blocks of s x s change places with their neighbours across the diagonal, for s = 1, 2, 4, ...
        s = 1
        while s < n:
            for i in range(n):
                if i & s:
                    continue
                low = [lane if not lane & s else n + lane - s for lane in range(n)]
                high = [lane + s if not lane & s else n + lane for lane in range(n)]
                a, b = rows[i], rows[i | s]
                masks = (ir.Constant(ir.VectorType(_INT32, n), lanes) for lanes in (low, high))
                rows[i], rows[i | s] = (builder.shuffle_vector(a, b, mask) for mask in masks)
            s *= 2
        for value, start in zip(rows, _places(builder, place, out_row, n)):
            goal.store(value, start)
        return context.get_dummy_value()

    return types.void(source, _INT64, _INT64, target, _INT64, _INT64), generate


# ---------------------------------------------------------------------------------------------------------------------
# Single vectors


@intrinsic
def _vector_load(typing_context, array, at):
    def generate(context, builder, sig, arguments):
        return Memory(context, builder, array, arguments[0]).load(arguments[1])

    return VectorType(array.dtype)(array, _INT64), generate


@intrinsic
def _vector_store(typing_context, value, array, at):
    def generate(context, builder, sig, arguments):
        Memory(context, builder, array, arguments[1]).store(arguments[0], arguments[2])
        return context.get_dummy_value()

    return types.void(value, array, _INT64), generate


@intrinsic
def _vector_of(typing_context, array, number):
    check_flat(array)
    result = VectorType(array.dtype)

    def generate(context, builder, sig, arguments):
        return splat(builder, arguments[1], context.get_value_type(result))

    return result(array, array.dtype), generate


def _function(make: Any, n: int) -> Any:
    """Return the generator of code for a function of ``n`` vectors."""

    def typed(typing_context, *values):
        def generate(context, builder, sig, arguments):
            return make(builder, *arguments)

        return values[0](*values), generate

    return typed


@intrinsic
def _vector_muladd(typing_context, a, b, c):
    return _function(muladd, 3)(typing_context, a, b, c)


@intrinsic
def _vector_sigmoid(typing_context, x):
    return _function(sigmoid, 1)(typing_context, x)


@intrinsic
def _vector_tanh(typing_context, x):
    return _function(tanh, 1)(typing_context, x)


@intrinsic
def _vector_exp(typing_context, x):
    return _function(exp, 1)(typing_context, x)


def _max(builder: Any, a: Any, b: Any) -> Any:
    # b where it is larger or NaN; a NaN in a is not below b, so it stays.
    larger = builder.or_(builder.fcmp_ordered(">", b, a), builder.fcmp_unordered("uno", b, b))
    return builder.select(larger, b, a)


@intrinsic
def _vector_max(typing_context, a, b):
    return _function(_max, 2)(typing_context, a, b)


@intrinsic
def _vector_largest(typing_context, x):
    def generate(context, builder, sig, arguments):
        (value,) = arguments
        # Halves against each other: no intrinsic of LLVM's that keeps NaN is made for all processors.
        half = value.type.count // 2
        while half:
            lanes = [(i + half) % value.type.count for i in range(value.type.count)]
            mask = ir.Constant(ir.VectorType(_INT32, value.type.count), lanes)
            value = _max(builder, value, builder.shuffle_vector(value, value, mask))
            half //= 2
        return builder.extract_element(value, ir.Constant(_INT32, 0))

    return x.dtype(x), generate


def _relu(builder: Any, x: Any) -> Any:
    # NaN is not below 0, so it passes.
    zero = constant(x.type, 0)
    return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)


@intrinsic
def _vector_relu(typing_context, x):
    return _function(_relu, 1)(typing_context, x)


def _where_positive(builder: Any, condition: Any, x: Any) -> Any:
    zero = constant(x.type, 0)
    return builder.select(builder.fcmp_unordered(">", condition, zero), x, zero)


@intrinsic
def _vector_where_positive(typing_context, condition, x):
    return _function(_where_positive, 2)(typing_context, condition, x)


def _clip(builder: Any, x: Any, most: Any) -> Any:
    # Comparisons with NaN are false, so NaN passes.
    least = builder.fneg(most)
    x = builder.select(builder.fcmp_ordered(">", x, most), most, x)
    return builder.select(builder.fcmp_ordered("<", x, least), least, x)


@intrinsic
def _vector_clip(typing_context, x, most):
    return _function(_clip, 2)(typing_context, x, most)


def _where_within(builder: Any, condition: Any, most: Any, x: Any) -> Any:
    size = call(builder, f"llvm.fabs.{suffix(x.type)}", x.type, condition)
    return builder.select(builder.fcmp_ordered(">", size, most), constant(x.type, 0), x)


@intrinsic
def _vector_where_within(typing_context, condition, most, x):
    return _function(_where_within, 3)(typing_context, condition, most, x)


@intrinsic
def _vector_total(typing_context, x):
    def generate(context, builder, sig, arguments):
        (value,) = arguments
        element = value.type.element
        return call(builder, f"llvm.vector.reduce.fadd.{suffix(value.type)}", element, ir.Constant(element, 0.0), value)

    return x.dtype(x), generate


def _operator(function: Any, instruction: str) -> None:
    class Typed(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    infer_global(function)(Typed)

    @lower_builtin(function, VectorType, VectorType)
    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


for _each, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_each, _name)

# Bits of the control register of x86 that take denormal inputs and results for zero.
_FLUSH = 0x8040
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def _control(builder: Any, name: str, pointer: Any) -> None:
    call(builder, f"llvm.x86.sse.{name}", ir.VoidType(), builder.bitcast(pointer, ir.IntType(8).as_pointer()))


@intrinsic
def _flush_denormals(typing_context):
    def generate(context, builder, sig, arguments):
        if not _IS_X86:
            return ir.Constant(_INT32, 0)
        place = cgutils.alloca_once(builder, _INT32)
        _control(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(_INT32, _FLUSH)), place)
        _control(builder, "ldmxcsr", place)
        return before

    return types.int32(), generate


@intrinsic
def _restore_denormals(typing_context, before):
    def generate(context, builder, sig, arguments):
        if _IS_X86:
            place = cgutils.alloca_once(builder, _INT32)
            builder.store(arguments[0], place)
            _control(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), generate


if config.DISABLE_JIT:
    from ._tiles_plain import (
        array_at,
        block_transposed,
        call_at,
        flush_denormals,
        restore_denormals,
        tile_load,
        tile_load_part,
        tile_store,
        tile_store_part,
        tile_sum,
        vector_clip,
        vector_exp,
        vector_largest,
        vector_load,
        vector_max,
        vector_muladd,
        vector_of,
        vector_relu,
        vector_sigmoid,
        vector_store,
        vector_tanh,
        vector_total,
        vector_where_positive,
        vector_where_within,
    )
else:
    # array_at(table, place, like): the array, flat and of the type of ``like``, whose address and length are there.
    array_at = _array_at
    # call_at(address, arguments): call a compiled function that returns nothing, by its address (see _jit.address_of);
    # arguments are a tuple of contiguous arrays, integers, which all become int64, and other numbers, of the types that
    # the address was asked for.
    call_at = _call_at
    # tile_load(tile, like, array, at, row_stride): the vectors at array[at + r * row_stride + v * lanes].
    tile_load = _tile_load
    # tile_store(tile, like, array, at, row_stride): write them there.
    tile_store = _tile_store
    # tile_load_part(tile, like, array, at, row_stride, vector_stride, turn_by, count, less): vectors which begin
    # vector_stride apart, of which vector v has count - v * less numbers (0 to all); zeros for the rest.
    tile_load_part = _tile_load_part
    # tile_store_part(...): write as many of each.
    tile_store_part = _tile_store_part
    # tile_sum(tile, like, n, a, a_at, a_row, a_step, b, b_at, b_step): add n products, of number k of them
    # a[a_at + r * a_row + k * a_step] * (the vectors from b[b_at + k * b_step] on).
    tile_sum = _tile_sum
    # block_transposed(source, at, stride, target, to, target_stride): write the transpose of the square block of
    # as many rows as a vector has lanes.
    block_transposed = _block_transposed
    # vector_load(array, at) and vector_store(value, array, at).
    vector_load = _vector_load
    vector_store = _vector_store
    # vector_of(array, number): a vector of copies of a number of the array's dtype.
    vector_of = _vector_of
    # vector_muladd(a, b, c): a * b + c, fused where the processor can.
    vector_muladd = _vector_muladd
    # vector_exp(x): e**x for numbers up to 80.
    vector_exp = _vector_exp
    # vector_max(a, b): the larger ones; NaN where either is.
    vector_max = _vector_max
    # vector_largest(x): the largest of its numbers; NaN where one is.
    vector_largest = _vector_largest
    vector_sigmoid = _vector_sigmoid
    vector_tanh = _vector_tanh
    # vector_relu(x): 0 where x is below 0.
    vector_relu = _vector_relu
    # vector_clip(x, most): x, but not beyond most on either side of 0.
    vector_clip = _vector_clip
    # vector_where_within(condition, most, x): 0 where condition is beyond most on either side of 0; else x.
    vector_where_within = _vector_where_within
    # vector_total(x): the sum of its numbers, from the first to the last.
    vector_total = _vector_total
    # vector_where_positive(condition, x): 0 where condition is 0 or below; where it is NaN, x.
    vector_where_positive = _vector_where_positive
    # flush_denormals(): take denormal numbers for zero on this thread from now on; returns what restore_denormals needs
    # to go back. Nothing happens on processors other than x86.
    flush_denormals = _flush_denormals
    restore_denormals = _restore_denormals
