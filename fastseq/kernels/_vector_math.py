"""Functions of vector registers, as LLVM code that the intrinsics of ``_vector`` put together.

The compiler of Numba from PyPI has no vectorised library of functions: a call of ``exp`` on a vector becomes one call
for each number. For float32 these are polynomials; for float64 they are those calls.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

__all__ = ["call", "constant", "exp", "muladd", "sigmoid", "suffix", "tanh"]

# Cephes' expf (S. Moshier, public domain): 2**n times a polynomial of the rest, from -ln(2) / 2 to ln(2) / 2. The
# logarithm of 2 is in two parts, the first of which is exact when multiplied by any exponent.
_LOG2_E = 1.44269504088896341
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
_EXP_COEFFICIENTS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_EXP_LEAST = -87.0

_BITS = ir.IntType(32)
# Added to a float32 it leaves the nearest whole number in the lowest bits: its last place is one.
_TO_WHOLE = 12582912.0
_MANTISSA_BITS = 23
_ONE_BITS = 0x3F800000


def constant(vector: Any, value: float) -> Any:
    """Return a vector of copies of one number that is known when the code is made."""
    return ir.Constant(vector, [float(value)] * vector.count)


def suffix(vector: Any) -> str:
    """Return what the names of LLVM's intrinsics end in for a type of vector."""
    return f"v{vector.count}{'f32' if isinstance(vector.element, ir.FloatType) else 'f64'}"


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call one of LLVM's intrinsics."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def muladd(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c: fused where the processor can, else a product and a sum."""
    return call(builder, f"llvm.fmuladd.{suffix(c.type)}", c.type, a, b, c)


def exp(builder: Any, x: Any) -> Any:
    """Return e**x for numbers up to 80; NaN stays NaN. Below e**-87 there is 0 for float32."""
    vector = x.type
    if not isinstance(vector.element, ir.FloatType):
        return call(builder, f"llvm.exp.{suffix(vector)}", vector, x)

    def of(value: float) -> Any:
        return constant(vector, value)

    least = of(_EXP_LEAST)
    below = builder.fcmp_ordered("<", x, least)
    x = builder.select(below, least, x)
    shifted = muladd(builder, x, of(_LOG2_E), of(_TO_WHOLE))
    whole = builder.fsub(shifted, of(_TO_WHOLE))
    rest = muladd(builder, whole, of(-_LN2_HIGH), x)
    rest = muladd(builder, whole, of(-_LN2_LOW), rest)
    # Pairs of terms first (Estrin): fewer steps that wait for one another.
    square = builder.fmul(rest, rest)
    pairs = [muladd(builder, of(a), rest, of(b)) for a, b in zip(_EXP_COEFFICIENTS[::2], _EXP_COEFFICIENTS[1::2])]
    pairs.append(builder.fadd(rest, of(1.0)))
    y = pairs[0]
    for pair in pairs[1:]:
        y = muladd(builder, y, square, pair)
    bits = ir.VectorType(_BITS, vector.count)
    power = builder.shl(builder.bitcast(shifted, bits), ir.Constant(bits, [_MANTISSA_BITS] * vector.count))
    power = builder.add(power, ir.Constant(bits, [_ONE_BITS] * vector.count))
    value = builder.fmul(y, builder.bitcast(power, vector))
    return builder.select(below, of(0), value)


def sigmoid(builder: Any, x: Any) -> Any:
    """Return 1 / (1 + e**-x); NaN stays NaN. For float32 to 2 units in the last place (measured)."""
    vector = x.type
    one, zero = constant(vector, 1), constant(vector, 0)
    size = call(builder, f"llvm.fabs.{suffix(vector)}", vector, x)
    power = exp(builder, builder.fneg(size))
    above = builder.select(builder.fcmp_ordered(">=", x, zero), one, power)
    return builder.fdiv(above, builder.fadd(one, power))


# A quotient of polynomials for tanh in float32 (the form that Eigen and XLA use): x * P(x**2) / Q(x**2).
_TANH_MOST = 7.90531110763549805
_TANH_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
# Its series, for float64 near 0, where 1 - e**-2x would lose digits.
_TANH_SERIES = (62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0, 1.0)
_TANH_SMALL = 0.02


def _polynomial(builder: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    value = constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        value = muladd(builder, value, x, constant(x.type, coefficient))
    return value


def tanh(builder: Any, x: Any) -> Any:
    """Return the hyperbolic tangent; NaN stays NaN. For float32 to 4 units in the last place (measured)."""
    vector = x.type
    if isinstance(vector.element, ir.FloatType):
        # A comparison with NaN is false, so NaN passes.
        most, least = constant(vector, _TANH_MOST), constant(vector, -_TANH_MOST)
        x = builder.select(builder.fcmp_ordered(">", x, most), most, x)
        x = builder.select(builder.fcmp_ordered("<", x, least), least, x)
        square = builder.fmul(x, x)
        above = builder.fmul(x, _polynomial(builder, square, _TANH_P))
        return builder.fdiv(above, _polynomial(builder, square, _TANH_Q))
    one, zero = constant(vector, 1), constant(vector, 0)
    size = call(builder, f"llvm.fabs.{suffix(vector)}", vector, x)
    power = exp(builder, builder.fmul(size, constant(vector, -2)))
    large = builder.fdiv(builder.fsub(one, power), builder.fadd(one, power))
    large = builder.select(builder.fcmp_ordered("<", x, zero), builder.fneg(large), large)
    square = builder.fmul(x, x)
    small = builder.fmul(x, _polynomial(builder, square, _TANH_SERIES))
    return builder.select(builder.fcmp_ordered("<", size, constant(vector, _TANH_SMALL)), small, large)
