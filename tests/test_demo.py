"""The demo: it answers sensibly about its own text, and writes a picture and the vectors."""

from __future__ import annotations

import pytest

import fastseq as fs
from fastseq import demo


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    import contextlib
    import io
    import os

    folder = tmp_path_factory.mktemp("demo")
    printed = io.StringIO()
    here = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(printed):
            demo.run()
    finally:
        os.chdir(here)
    return folder, printed.getvalue()


def test_files(shown):
    folder, _ = shown
    assert sorted(path.name for path in folder.iterdir()) == ["fastseq-demo.png", "fastseq-demo.safetensors"]
    assert (folder / "fastseq-demo.png").read_bytes().startswith(b"\x89PNG")
    assert len(fs.WordVectors.load(folder / "fastseq-demo.safetensors")) > 3000


def test_neighbours_make_sense(shown):
    folder, printed = shown
    vectors = fs.WordVectors.load(folder / "fastseq-demo.safetensors")
    for word, others in {
        "matrix": {"matrices", "diagonal", "sparse", "triangular"},
        "string": {"strings", "characters", "character"},
        "integer": {"integers", "signed", "unsigned"},
        "month": {"day", "year"},
        "thread": {"threads", "lock"},
    }.items():
        near = {other for other, _ in vectors.most_similar(word, n=10)}
        assert near & others, (word, near)
        assert f"  {word}" in printed


def test_analogies_make_sense(shown):
    folder, printed = shown
    vectors = fs.WordVectors.load(folder / "fastseq-demo.safetensors")
    assert vectors.analogy("minimum", "maximum", "min", n=1)[0][0] == "max"
    assert vectors.analogy("row", "rows", "column", n=1)[0][0] == "columns"
    assert "minimum is to maximum as min is to max" in printed
