"""Every CUDA body compiles to PTX, which needs no GPU; where no float64 goes in, none is computed with."""

from __future__ import annotations

import importlib.util
import pkgutil
import re

import pytest

import fastseq.kernels.cuda
from fastseq.kernels import _cuda


def _why_not():
    if _cuda.SIMULATED:
        return "the simulator compiles nothing; run this without NUMBA_ENABLE_CUDASIM"
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed (the ptx extra); Numba's built-in target asks for a driver"

    def probe(out):
        out[0] = out[1]

    try:
        _cuda.ptx(probe, "void(float32[::1])")
    except Exception as error:  # Numba and its CUDA target have many ways to say that a library is not there
        first = (str(error).splitlines() or [""])[0]
        return f"NVIDIA's compiler libraries are not installed (the ptx extra): {type(error).__name__}: {first}"
    return ""


pytestmark = [pytest.mark.ptx]
WHY_NOT = _why_not()
needs_compiler = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

MODULES = {
    info.name: importlib.import_module(f"fastseq.kernels.cuda.{info.name}")
    for info in pkgutil.iter_modules(fastseq.kernels.cuda.__path__)
}
BODIES = {
    (name, attribute): value.body
    for name, module in MODULES.items()
    for attribute, value in vars(module).items()
    if getattr(value, "body", None) is not None and value.body.__module__ == module.__name__
}
DOUBLE = re.compile(r"\.f64\b")


def signatures(module, body):
    return MODULES[module].PTX[body]


def test_there_are_bodies():
    assert len(BODIES) > 10


@pytest.mark.parametrize("name", MODULES)
def test_every_body_is_in_the_table_of_its_module(name):
    listed = getattr(MODULES[name], "PTX", {})
    assert set(listed) == {body for module, body in BODIES if module == name}
    assert all(len(entries) > 0 for entries in listed.values())
    assert set(getattr(MODULES[name], "FLOAT64", {})) <= set(listed)


@pytest.mark.parametrize("name", MODULES)
def test_float32_comes_first(name):
    for body, entries in getattr(MODULES[name], "PTX", {}).items():
        if any("float32" in entry for entry in entries):
            assert "float32" in entries[0], body


@needs_compiler
@pytest.mark.parametrize("capability", [(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
@pytest.mark.parametrize(("module", "body"), BODIES, ids=lambda part: part)
def test_body_compiles_and_keeps_its_precision(module, body, capability):
    reason = getattr(MODULES[module], "FLOAT64", {}).get(body)
    for position, signature in enumerate(signatures(module, body)):
        code = _cuda.ptx(BODIES[module, body], signature, capability)
        assert f".target sm_{capability[0]}{capability[1]}" in code
        assert ".entry" in code
        must_be_free = "float64" not in signature or (position == 0 and "float32" in signature)
        if must_be_free and reason is None:
            found = [line.strip() for line in code.splitlines() if DOUBLE.search(line)]
            assert not found, f"{module}.{body} computes in float64 for {signature}: {found[:3]}"


@needs_compiler
def test_a_promoted_literal_is_seen():
    def body(out):
        out[0] = out[1] * 0.1

    assert DOUBLE.search(_cuda.ptx(body, "void(float32[::1])"))


@needs_compiler
def test_declared_float64_is_used():
    # A declaration that is no longer true hides the next promotion.
    for name, module in MODULES.items():
        for body, reason in getattr(module, "FLOAT64", {}).items():
            assert len(reason) > 10
            assert DOUBLE.search(_cuda.ptx(BODIES[name, body], module.PTX[body][0])), body
