"""Every kernel against its oracle, and the table itself."""

from __future__ import annotations

import inspect
import pkgutil

import numpy as np
import pytest

import fastseq as fs
from fastseq import kernels
from fastseq.kernels.registry import REGISTRY

from .compare import check

KERNELS = list(REGISTRY.values())
NAMES = [kernel.name for kernel in KERNELS]


def families(room: str) -> set[str]:
    module = __import__(f"fastseq.kernels.{room}", fromlist=["x"])
    return {info.name for info in pkgutil.iter_modules(module.__path__) if not info.name.startswith("_")}


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_the_kernel_equals_its_oracle(kernel):
    ran = 0
    for case in kernel.cases():
        kept = [array.copy() if isinstance(array, np.ndarray) else array for array in case.arguments]
        got = kernel.call(kernel.public, case)
        try:
            check(kernel, case, got, kernel.call(kernel.oracle, case))
        except AssertionError as error:
            raise AssertionError(f"{kernel.name}, case {case.label!r}: {error}") from None
        for before, after in zip(kept, case.arguments):
            if isinstance(before, np.ndarray):
                np.testing.assert_array_equal(before, after, err_msg="an input was changed")
        ran += 1
    assert ran >= 3


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_any_number_of_threads_gives_the_same_bits(kernel):
    for case in list(kernel.cases())[-4:]:
        many = kernel.call(kernel.public, case)
        with fs.threads(1):
            one = kernel.call(kernel.public, case)
        for a, b in zip(many if isinstance(many, tuple) else (many,), one if isinstance(one, tuple) else (one,)):
            if isinstance(a, np.ndarray):
                assert a.tobytes() == b.tobytes(), case.label


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_contract_and_oracle_have_the_same_parameters(kernel):
    contract = list(inspect.signature(kernel.public).parameters)
    oracle = list(inspect.signature(kernel.oracle).parameters)
    assert [name for name in contract if name != "device"] == oracle


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_the_contract_is_documented(kernel):
    text = inspect.getdoc(kernel.public)
    for name in inspect.signature(kernel.public).parameters:
        assert name in text, f"{kernel.name} does not explain {name}"


def test_a_family_has_the_same_name_everywhere():
    listed = {kernel.family for kernel in KERNELS}
    # svd is made of other kernels and array functions that both devices have: one text for all.
    assert families("reference") == listed
    assert families("cpu") == listed - {"svd"}
    assert families("cuda") == listed - {"svd", "text"}


def test_a_kernel_that_is_not_in_the_table_is_noticed():
    public = {name for name in kernels.__all__ if name != "REGISTRY"}
    assert public == set(REGISTRY)
    for family in families("reference"):
        module = __import__(f"fastseq.kernels.{family}", fromlist=["x"])
        contracts = {name for name in module.__all__ if name in vars(module) and f"{name}_cases" in dir(
            __import__(f"fastseq.kernels.reference.{family}", fromlist=["x"]))}  # fmt: skip
        assert contracts <= set(REGISTRY)


def test_oracles_do_not_use_numba():
    import ast
    from pathlib import Path

    from fastseq.kernels import reference

    for path in Path(reference.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any("numba" in name or "_jit" in name or name.startswith("cpu") for name in names), path
