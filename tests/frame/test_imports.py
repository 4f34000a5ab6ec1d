"""The direction of imports, and what importing the package may load."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "fastseq"

# A room may import the rooms named here (and itself); side rooms import the kernels, the errors and each other.
CHAIN = ("cli", "demo", "models", "training", "layers", "kernels")
SIDE = ("text", "vectors", "io", "random", "device", "parallel", "errors", "metrics", "plot", "sampling")
ALLOWED: dict[str, set[str]] = {room: {*CHAIN[CHAIN.index(room) :], *SIDE} for room in CHAIN if room != "kernels"}
ALLOWED["kernels"] = {"kernels", "errors"}
ALLOWED.update({room: {"kernels", *SIDE} for room in SIDE})
ALLOWED["errors"] = {"errors"}
EVERYWHERE = {"_lazy", "_version"}


def room_of(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported_rooms(path: Path, package: Path) -> set[str]:
    """Return the rooms that a file imports, wherever in the file, relative or absolute."""
    parts = ["fastseq", *path.relative_to(package).with_suffix("").parts]
    here = parts[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - (node.level - 1)] if node.level else []
            module = [*base, *([node.module] if node.module else [])]
            names = [".".join([*module, alias.name]) for alias in node.names]
        for name in names:
            if name == "fastseq":
                rooms.add("the package as a whole")
            if name.startswith("fastseq."):
                rooms.add(name.split(".")[1])
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # Only names that begin with the own room's package, or a lazy table's, are made at run time.
            text = ast.unparse(node.args[0])
            rooms |= {word for word in text.replace("'", ".").split(".") if word in ALLOWED}
    return rooms


def violations(package: Path) -> list[str]:
    found = []
    for path in sorted(package.rglob("*.py")):
        room = room_of(path, package)
        if room.startswith("__"):
            continue
        if room in EVERYWHERE:
            allowed: set[str] = set()
        else:
            assert room in ALLOWED, f"{path}: the room {room!r} has no rule"
            allowed = ALLOWED[room]
        for other in sorted(imported_rooms(path, package) - allowed - EVERYWHERE - {room}):
            found.append(f"{path.relative_to(package)} imports {other}")
    return found


def test_rooms_import_in_one_direction():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("kernels/cpu/bad.py", "from ...text.corpus import Corpus"),
        ("kernels/bad.py", "from .. import models"),
        ("text/bad.py", "import fastseq.models.count_vectors"),
        ("models/bad.py", "from fastseq.cli import main"),
        ("kernels/bad.py", "import fastseq as fs"),
        ("vectors/bad.py", "import importlib\nimportlib.import_module('fastseq.models.count_vectors')"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line):
    package = tmp_path / "fastseq"
    (package / file).parent.mkdir(parents=True)
    (package / file).write_text(line + "\n")
    assert len(violations(package)) == 1


def importers(module: str) -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(name == module or name.startswith(module + ".") for name in names):
                found.append(path.relative_to(PACKAGE).as_posix())
    return sorted(set(found))


def test_one_file_imports_numba_cuda():
    assert importers("numba.cuda") == ["kernels/_cuda.py"]


def test_models_and_side_rooms_do_not_compile():
    allowed = {"parallel.py", "cli/main.py"}  # these two ask Numba for its threads and its version
    assert {name for name in importers("numba") if not name.startswith("kernels/")} <= allowed


def test_one_file_compiles():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name in ("kernels/_jit.py", "kernels/_scalar.py", "kernels/_draws.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "numba":
                compilers = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "generated_jit"}
                assert not compilers & {alias.name for alias in node.names}, name
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("numba.njit", "numba.jit", "nb.njit", "nb.jit"), name


def test_peers_are_never_imported():
    for peer in ("torch", "gensim", "sklearn", "pandas"):
        assert importers(peer) == []


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("numba", "scipy", "numpy", "matplotlib", "tqdm")
    code = f"import sys, fastseq; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]\n"


def test_every_public_name_can_be_had():
    import fastseq

    for name in fastseq.__all__:
        assert getattr(fastseq, name) is not None
    assert set(fastseq.__all__) <= set(dir(fastseq))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fastseq.no_such_name


def test_every_module_imports_alone_and_has_a_text():
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} does not say what it is for"
        name = ".".join(["fastseq", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        if not name.endswith("__main__"):
            modules.append(name)
    code = "import importlib\nfor name in " + repr(modules) + ":\n    importlib.import_module(name)"
    run(code)


def test_no_pickle_and_no_eval():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path
    for module in ("pickle", "shelve", "marshal"):
        assert importers(module) == []
