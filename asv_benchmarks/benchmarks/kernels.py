"""Time of every kernel of the registry, on the CPU and on a CUDA device."""

from __future__ import annotations

from typing import Any

from .workloads import WORKLOADS

try:
    from fastseq.kernels.registry import REGISTRY
except ImportError:  # a version from before the registry
    REGISTRY = {}


def _on_device(value: Any) -> Any:
    import numpy as np

    from fastseq.device import to_device

    return to_device(value, "cuda") if isinstance(value, np.ndarray) else value


def _after(name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments; of a backward pass with the cache of the forward pass instead of what that one takes."""
    if not REGISTRY[name].after:
        return arguments
    before, n = REGISTRY[name].after
    *_, cache = REGISTRY[before].public(*arguments[:n], train=True)
    return (*arguments[n:], cache)


class Kernels:
    """Each kernel through its contract, so checks at the boundary are part of the time."""

    param_names = ("kernel",)
    params = (sorted(WORKLOADS),)
    timeout = 300

    def setup(self, name: str) -> None:
        if name not in REGISTRY:
            raise NotImplementedError(f"this version has no kernel {name}")
        self.kernel = REGISTRY[name].public
        arguments, self.options = WORKLOADS[name]()
        self.arguments = _after(name, arguments)
        # A round is a new process: without this call it would time the compiler.
        self.kernel(*self.arguments, **self.options)

    def time_kernel(self, name: str) -> None:
        self.kernel(*self.arguments, **self.options)


class OneThread(Kernels):
    """The same with one thread; the difference is what the other cores bring."""

    def setup(self, name: str) -> None:
        import numba

        super().setup(name)
        numba.set_num_threads(1)

    def teardown(self, name: str) -> None:
        import numba

        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


class CudaKernels:
    """Each kernel's CUDA twin, arrays on the device before and after; skipped where there is no device."""

    param_names = ("kernel",)
    params = (sorted(WORKLOADS),)
    timeout = 300

    def setup(self, name: str) -> None:
        if name not in REGISTRY:
            raise NotImplementedError(f"this version has no kernel {name}")
        if not REGISTRY[name].cuda:
            raise NotImplementedError(f"{name} has no CUDA twin")
        from fastseq.device import cuda_available
        from fastseq.kernels import _cuda

        if not cuda_available() or _cuda.SIMULATED:
            raise NotImplementedError("no CUDA device")
        self.synchronize = _cuda.cuda.synchronize
        self.kernel = REGISTRY[name].public
        arguments, self.options = WORKLOADS[name]()
        self.arguments = _after(name, tuple(map(_on_device, arguments)))
        if name.startswith("random_"):
            # No array to follow, so the device is named.
            self.options = {**self.options, "device": "cuda"}
        self.kernel(*self.arguments, **self.options)
        self.synchronize()

    def time_kernel(self, name: str) -> None:
        self.kernel(*self.arguments, **self.options)
        self.synchronize()
