"""Functions that parallel loops call by their address: nothing but these tests compares what is passed and expected."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numba import types

from fastseq.kernels._tiles import call_at
from fastseq.kernels.cpu import _recurrent, _softmax_rows, word2vec
from fastseq.kernels.registry import REGISTRY

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")

# A kernel, a loop of it, what that calls, and how many numbers it puts in front of those that it was given.
LOOPS = [
    ("lstm_forward", _recurrent._forward, _recurrent._share_forward, 3),
    ("lstm_backward", _recurrent._backward, _recurrent._share_back, 3),
    ("softmax_cross_entropy", _softmax_rows._sweep, _softmax_rows._sweep_share, 1),
    ("softmax_cross_entropy", _softmax_rows._finish, _softmax_rows._finish_share, 1),
    ("word2vec_train", word2vec._train_apart, word2vec._shard_trainer(6), 3),
]


def passed(given):
    """Return what arrives of Numba's type: by itself, or for an array its numbers, dimensions and order."""
    if isinstance(given, types.Array):
        return given.dtype, given.ndim, given.layout
    return types.int64 if isinstance(given, types.Integer) else given


@pytest.mark.parametrize(("name", "loop", "share", "in_front"), LOOPS, ids=lambda each: getattr(each, "__name__", None))
def test_what_is_passed_is_what_is_expected(name, loop, share, in_front):
    kernel = REGISTRY[name]
    for case in kernel.cases():
        kernel.call(kernel.public, case)
    expected = {tuple(map(passed, signature)) for signature in share.signatures}
    # Of a loop the first argument is the address.
    found = {
        (types.int64,) * in_front + tuple(map(passed, signature[1:])) for signature in loop.dispatcher.signatures
    }
    assert len(found) >= 2, "float32 and float64"
    assert found <= expected


def test_arrays_that_are_not_contiguous_are_refused():
    @numba.njit
    def call(address, array):
        call_at(address, (array,))

    with pytest.raises(TypeError, match="expected contiguous arrays"):
        call(0, np.zeros(8)[::2])
