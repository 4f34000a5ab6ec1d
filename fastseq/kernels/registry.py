"""The table of kernels: tests, benchmarks, warm-up and documentation read it and nothing else.

A kernel ``name`` of a family has, by convention,

* its contract at ``fastseq.kernels.<family>.<name>``: documentation, checks, choice of variant;
* its oracle at ``fastseq.kernels.reference.<family>.<name>`` (NumPy, float64) with the same parameters, and cases for
  all of them at ``<name>_cases`` beside it;
* its bodies at ``fastseq.kernels.cpu.<family>.<name>`` and ``fastseq.kernels.cuda.<family>.<name>``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["REGISTRY", "Case", "Kernel"]


@dataclass(frozen=True)
class Case:
    """One call of a kernel: positional arguments and options, the same for the contract and the oracle."""

    label: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kernel:
    """One entry of the table.

    Parameters
    ----------
    name, family : str
        See the module's text.
    tolerance : dict
        Largest difference from the oracle by dtype, absolute and relative together (as ``numpy.allclose`` has it);
        integers are always compared exactly.
    result : {"arrays", "csr", "svd"}
        What comes back: arrays to compare one by one; a CSR matrix (indptr, indices, data) compared as a matrix, since
        an entry at the threshold may be kept or not; or (U, s, Vt), compared by s and by the product.
    cuda : bool
        Whether there is a CUDA twin (only the family ``text`` has none).
    changes : tuple of int
        Which of its arguments it changes in place.
    after : (str, int) or None
        A kernel of the family that runs before it, and how many of a case's arguments are that one's, which also takes
        the options; the last thing that it returns is the last argument here.
    """

    name: str
    family: str
    tolerance: dict[str, float] = field(default_factory=lambda: {"float32": 1e-5, "float64": 1e-12})
    result: str = "arrays"
    cuda: bool = True
    changes: tuple[int, ...] = ()
    after: tuple[str, int] | None = None

    def call(self, function: Callable[..., Any], case: Case, convert: Callable[[Any], Any] | None = None) -> Any:
        """Call the contract or the oracle with a case; arguments that are changed in place are copied before.

        What was changed is returned behind the result, and numbers as arrays, so that all can be compared.
        """
        given = [np.array(a) if i in self.changes else a for i, a in enumerate(case.arguments)]
        options = case.options
        if convert is not None:
            given = [convert(value) for value in given]
            options = {
                name: tuple(map(convert, value)) if isinstance(value, tuple) else convert(value)
                for name, value in options.items()
            }
        if self.after:
            before, n = self.after
            *_, cache = getattr(sys.modules[function.__module__], before)(*given[:n], **options, train=True)
            return function(*given[n:], cache)
        result = function(*given, **options)
        if not self.changes:
            return np.asarray(result) if isinstance(result, float) else result
        changed = [given[i] for i in self.changes]
        numbers = (np.asarray(number) for number in result or ())
        return (*changed, *(n.astype(changed[0].dtype if n.dtype.kind == "f" else np.int64) for n in numbers))

    def _attribute(self, module: str, name: str) -> Any:
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)

    @property
    def public(self) -> Callable[..., Any]:
        """The contract."""
        return self._attribute(self.family, self.name)

    @property
    def oracle(self) -> Callable[..., Any]:
        """The specification."""
        return self._attribute(f"reference.{self.family}", self.name)

    def cases(self) -> Iterator[Case]:
        """Yield the cases."""
        yield from self._attribute(f"reference.{self.family}", f"{self.name}_cases")()

    def body(self, device: str) -> Callable[..., Any]:
        """Return the variant for ``device``: plain Python that allocates and launches."""
        return self._attribute(f"{device}.{self.family}", self.name)


_KERNELS = (
    Kernel("tokenize", "text", {}, cuda=False),
    Kernel("renumber", "text", {}, cuda=False),
    Kernel("random_uniform", "random", {"float32": 6e-8, "float64": 0.0}),
    Kernel("random_mask", "random", {"float32": 0.0, "float64": 0.0}),
    Kernel("random_normal", "random", {"float32": 1e-6, "float64": 1e-13}),
    Kernel("unigram_table", "sampling", {}),
    Kernel("sample_negatives", "sampling", {}),
    Kernel("cooccurrence_counts", "cooccurrence", {"float32": 1e-7, "float64": 1e-14}),
    Kernel("ppmi_weights", "ppmi", {"float32": 2e-6, "float64": 1e-12}, result="csr"),
    Kernel("csr_matmul", "sparse", {"float32": 1e-5, "float64": 1e-12}),
    Kernel("csr_transpose", "sparse", {"float32": 0.0, "float64": 0.0}),
    Kernel("sum_rows", "sparse", {"float32": 1e-5, "float64": 1e-12}),
    Kernel("randomized_svd", "svd", {"float32": 2e-4, "float64": 1e-8}, result="svd"),
    Kernel("nearest_dot", "nearest", {"float32": 1e-5, "float64": 1e-12}),
    Kernel("nearest_mul", "nearest", {"float32": 1e-4, "float64": 1e-12}),
    Kernel("word2vec_train", "word2vec", {"float32": 3e-5, "float64": 1e-11}, changes=(2, 3)),
    Kernel("huffman_tree", "word2vec", {}),
    Kernel("softmax_cross_entropy", "softmax", {"float32": 2e-5, "float64": 1e-11}),
    Kernel("sum_of_squares", "optim", {"float32": 1e-12, "float64": 1e-12}),
    Kernel("sgd_step", "optim", {"float32": 1e-6, "float64": 1e-14}, changes=(0, 2)),
    Kernel("adagrad_step", "optim", {"float32": 1e-6, "float64": 1e-14}, changes=(0, 2)),
    Kernel("rmsprop_step", "optim", {"float32": 2e-6, "float64": 1e-14}, changes=(0, 2)),
    Kernel("adam_step", "optim", {"float32": 2e-6, "float64": 1e-14}, changes=(0, 2, 3)),
    *(
        kernel
        for family, n in (("lstm", 6), ("gru", 6), ("rnn", 5))
        for kernel in (
            Kernel(f"{family}_forward", family, {"float32": 1e-5, "float64": 1e-12}),
            Kernel(f"{family}_backward", family, {"float32": 5e-5, "float64": 1e-11}, after=(f"{family}_forward", n)),
        )
    ),
)

REGISTRY: dict[str, Kernel] = {kernel.name: kernel for kernel in _KERNELS}
