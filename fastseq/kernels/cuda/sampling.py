"""Negative samples with CUDA: the numbers are those of the CPU. Tables are built on the host and moved."""

from __future__ import annotations

import types

import numpy as np

from .. import _cuda
from .._cuda import cuda
from .._draws import distinct_draw
from .._scalar import negative_draw, stream_of
from ..cpu import sampling as host


def _interpreted(function):
    """Return ``function`` and all it calls as plain Python: compiled functions do not take the simulator's arrays."""
    function = getattr(function, "py_func", function)
    names = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    own = {name: _interpreted(value) for name, value in names.items() if hasattr(value, "py_func")}
    return types.FunctionType(function.__code__, {**function.__globals__, **own})


if _cuda.SIMULATED:
    _negative_draw, _distinct_draw = _interpreted(negative_draw), _interpreted(distinct_draw)
else:
    _negative_draw, _distinct_draw = negative_draw, distinct_draw


@_cuda.cuda_jit
def _draw(
    thresholds,  # IN  uint32 (v,)
    aliases,     # IN  int32 (v,)
    weights,     # IN  uint64 (v,)
    targets,     # IN  int32 (n,)
    key,         # IN  uint64
    start,       # IN  uint64
    out,         # OUT int32 (n, k)
):
    # A thread has a sample, not a row: neighbours write side by side, and k times as many look-ups are under way.
    k = out.shape[1]
    for i in range(cuda.grid(1), out.shape[0] * k, cuda.gridsize(1)):
        row = i // k
        number = i - row * k
        stream = np.uint64(stream_of(key, start + np.uint64(row)))
        target = np.int64(targets[row])
        out[row, number] = _negative_draw(stream, np.uint64(number), target, thresholds, aliases, weights)


@_cuda.cuda_jit
def _draw_distinct(
    thresholds,  # IN  uint32 (v,)
    aliases,     # IN  int32 (v,)
    weights,     # IN  uint64 (v,)
    targets,     # IN  int32 (n,)
    key,         # IN  uint64
    start,       # IN  uint64
    out,         # OUT int32 (n, k)
):
    for row in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        stream = np.uint64(stream_of(key, start + np.uint64(row)))
        target = np.int64(targets[row])
        for j in range(out.shape[1]):
            out[row, j] = _distinct_draw(stream, j, target, row, out, thresholds, aliases, weights)


_SIGNATURE = "void(uint32[::1], int32[::1], uint64[::1], int32[::1], uint64, uint64, int32[:,::1])"
PTX = {"_draw": [_SIGNATURE], "_draw_distinct": [_SIGNATURE]}


def unigram_table(counts, power):
    """Build the table on the host and move it: it has V numbers and is built once, and its sums have an order."""
    return tuple(_cuda.asarray(part) for part in host.unigram_table(_cuda.asnumpy(counts), power))


def sample_negatives(thresholds, aliases, weights, targets, k, key, start, replace):
    """Draw; see the contract."""
    n = targets.shape[0]
    out = _cuda.asarray(_cuda.xp().empty((n, k), np.int32))
    body, items = (_draw, n * k) if replace else (_draw_distinct, n if k else 0)
    _cuda.launch(body, items, thresholds, aliases, weights, targets, np.uint64(key), np.uint64(start), out)
    return out
