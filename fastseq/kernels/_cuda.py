"""The one place that imports ``numba.cuda``: kernels on a GPU, in Numba's CUDA simulator, or compiled to PTX only.

On a device, arrays are CuPy's. In the simulator (``NUMBA_ENABLE_CUDASIM=1``) they are `SimulatedArray`, a NumPy array
that says of itself that it lies on a device, so that everything above runs the same way without a GPU.
"""

from __future__ import annotations

import functools
import os
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DeviceError

with warnings.catch_warnings():
    # Numba's built-in target announces its successor; numba-cuda, where installed, takes its place by itself.
    warnings.simplefilter("ignore")
    from numba import cuda

__all__ = [
    "cuda",
    "SIMULATED",
    "available",
    "require",
    "xp",
    "asarray",
    "asnumpy",
    "cuda_jit",
    "device_jit",
    "exchange",
    "launch",
    "together",
    "side_by_side",
    "blocks_at_once",
    "multiprocessors",
    "running_sum",
    "ptx",
]

SIMULATED: bool = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")

# Threads in a block for kernels with one thread an element: a multiple of the warp (32) with which eight blocks
# fill the 2048 threads of a multiprocessor.
BLOCK = 256
_LEAST_BLOCKS = 128


class SimulatedArray(np.ndarray):
    """A NumPy array that stands for a device array under Numba's CUDA simulator."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self.__array_interface__)


class _SimulatedModule:
    """NumPy, but its functions return arrays of the simulated device, as CuPy's return arrays of the device."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._module, name)
        if isinstance(attribute, types.ModuleType):
            return _SimulatedModule(attribute)
        if isinstance(attribute, type) or not callable(attribute):
            return attribute

        @functools.wraps(attribute)
        def function(*arguments: Any, **options: Any) -> Any:
            return _simulated(attribute(*arguments, **options))

        return function


def _simulated(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_simulated(part) for part in result)
    return result.view(SimulatedArray) if type(result) is np.ndarray else result


_simulated_numpy = _SimulatedModule(np)


@functools.cache
def _why_not() -> str:
    """Return why CUDA cannot be used here, or an empty string."""
    if SIMULATED:
        return ""
    try:
        if not cuda.is_available():
            return "no CUDA device or driver was found"
    except Exception as error:  # a broken driver raises many kinds; the caller is told which
        return f"the CUDA driver could not be started ({type(error).__name__}: {error})"
    try:
        import cupy  # noqa: F401
    except ImportError:
        return "a CUDA device is there but CuPy is not; install it with: pip install 'fastseq-numba[cuda]'"
    return ""


def available() -> bool:
    """Whether kernels can run on a CUDA device or in the simulator."""
    return not _why_not()


def require() -> None:
    """Raise `DeviceError` with the reason where CUDA cannot be used."""
    why = _why_not()
    if why:
        raise DeviceError(f"device 'cuda' was asked for, but {why}; use device 'cpu'")


def xp() -> Any:
    """Return the array module of the device: CuPy, or NumPy in the simulator."""
    if SIMULATED:
        return _simulated_numpy
    import cupy

    return cupy


def asarray(array: Any, dtype: Any = None) -> Any:
    """Return ``array`` on the device, C-contiguous."""
    if SIMULATED:
        return np.ascontiguousarray(array, dtype).view(SimulatedArray)
    import cupy

    return cupy.ascontiguousarray(cupy.asarray(array, dtype))


def asnumpy(array: Any) -> Any:
    """Return a device array as a NumPy array."""
    if isinstance(array, SimulatedArray):
        return array.view(np.ndarray)
    import cupy

    return cupy.asnumpy(array)


def cuda_jit(function: Any) -> Any:
    """Compile a CUDA kernel on its first launch (no eager signature, so importing needs no device)."""
    kernel = cuda.jit(_quiet(function) if SIMULATED else function)
    kernel.body = function
    return kernel


def device_jit(function: Any) -> Any:
    """Compile a function that kernels call."""
    return cuda.jit(device=True)(function)


@device_jit
def exchange(value, mask):
    """Return what lane ``lane ^ mask`` of the warp gives; all its lanes must take part. Not for the simulator."""
    return cuda.shfl_xor_sync(0xFFFFFFFF, value, mask)


def _quiet(function: types.FunctionType) -> types.FunctionType:
    """Return ``function`` without NumPy's warnings of overflow and NaN, of which a device knows nothing."""

    def quiet(*arguments: Any) -> None:
        with silence(all="ignore"):
            function(*arguments)

    silence = np.errstate
    # The simulator puts its own ``cuda`` into the globals of what it runs: these must be those of the kernel's module.
    return types.FunctionType(quiet.__code__, function.__globals__, function.__name__, None, quiet.__closure__)


def launch(kernel: Any, n: int, *arguments: Any, block: int = BLOCK, shared: int | None = None) -> None:
    """Launch ``kernel`` for ``n`` items; nothing is launched where ``n`` is 0.

    Kernels walk over their items with ``range(cuda.grid(1), n, cuda.gridsize(1))``, so any number of threads is right.
    With ``shared`` an item is a block's, which has just ``block`` threads and so many bytes of shared memory; there may
    be blocks beyond the last item.
    """
    if n <= 0:
        return
    if shared is not None:
        kernel[n if SIMULATED else max(_LEAST_BLOCKS, n), block, 0, shared](*arguments)
        return
    if SIMULATED:
        # Each thread is a Python thread here: few of them, in two blocks, so that items are shared as on a device.
        kernel[2, min(block, max(1, n // 2), 8)](*arguments)
        return
    # At least 128 blocks: idle ones cost nothing to speak of, and Numba warns of fewer.
    kernel[max(_LEAST_BLOCKS, (n + block - 1) // block), block](*arguments)


def side_by_side() -> bool:
    """Whether blocks of a grid can wait for one another: Numba's simulator runs one after the other."""
    return not SIMULATED and bool(cuda.get_current_device().COOPERATIVE_LAUNCH)


def together(kernel: Any, blocks: int, block: int, shared: int, *arguments: Any) -> Callable[..., None]:
    """Return what launches a kernel whose blocks wait for one another: ``cuda.cg.this_grid().sync()``.

    For arguments of these types, and no more blocks than `blocks_at_once` says.
    """
    with warnings.catch_warnings():
        # Numba's advice on grids of fewer blocks than it thinks a device has use for.
        warnings.simplefilter("ignore")
        launcher: Callable[..., None] = kernel.specialize(*arguments)[blocks, block, 0, shared]
    return launcher


def blocks_at_once(kernel: Any, block: int, shared: int, *arguments: Any) -> int:
    """Return how many blocks of ``block`` threads and so many bytes of shared memory the device runs side by side.

    The kernel is compiled for such arguments.
    """
    (compiled,) = kernel.specialize(*arguments).overloads.values()
    return int(compiled.max_cooperative_grid_blocks(block, shared))


def multiprocessors() -> tuple[int, int]:
    """Return the number of the current device, and how many multiprocessors it has."""
    device = cuda.get_current_device()
    return int(device.id), int(device.MULTIPROCESSOR_COUNT)


def running_sum(sizes: Any) -> Any:
    """Return int64 offsets (n + 1,): where each of ``n`` parts of the given sizes begins, and the end."""
    offsets = xp().zeros(int(sizes.shape[0]) + 1, np.int64)
    if sizes.shape[0]:
        offsets[1:] = xp().cumsum(sizes, dtype=np.int64)
    return offsets


def ptx(function: Any, signature: Any, compute_capability: tuple[int, int] = (8, 0)) -> str:
    """Compile the Python function of a kernel to PTX; needs NVIDIA's compiler libraries but no driver and no GPU."""
    from unittest import mock

    from numba.core import sigutils
    from numba.cuda import dispatcher

    arguments, _ = sigutils.normalize_signature(signature)
    # Functions that a kernel calls are compiled for the device at hand: here it is one that is only named.
    named = types.SimpleNamespace(compute_capability=compute_capability)
    with warnings.catch_warnings(), mock.patch.object(dispatcher, "get_current_device", return_value=named):
        warnings.simplefilter("ignore")
        code, _ = cuda.compile_ptx(function, arguments, cc=compute_capability)
    return str(code)
