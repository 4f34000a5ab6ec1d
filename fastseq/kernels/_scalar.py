"""Scalar equations that CPU and CUDA bodies share, written once.

Each is compiled inline into its caller, on either target; constants take the type of the argument, so that float32
kernels stay float32 (a bare ``1.0`` would promote them to float64).
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["mix64", "random_bits", "uniform_double"]

# Constants of the SplitMix64 finaliser: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014, in the variant 13 of Stafford, "Better bit mixing", 2011.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30 = np.uint64(30)
_S27 = np.uint64(27)
_S31 = np.uint64(31)
_S11 = np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@njit(inline="always")
def mix64(z):
    """Mix the 64 bits of ``z`` (uint64): a bijection in which every output bit depends on every input bit."""
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(inline="always")
def random_bits(key, item, draw):
    """Return 64 random bits for (key, item, draw), all uint64: counter-based, so order and threads do not matter."""
    return mix64(mix64(key + item * _GOLDEN) + (draw + np.uint64(1)) * _GOLDEN)


@njit(inline="always")
def uniform_double(bits):
    """Return 64 random bits as a float64 in [0, 1) with 53 bits."""
    return np.float64(bits >> _S11) * _TO_UNIT
