"""The demo: it answers sensibly about its own text, and writes a picture and the vectors."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fastseq as fs
from fastseq import demo

FILES = ("fastseq-demo.safetensors", "fastseq-demo-skipgram.safetensors")


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
    assert sorted(path.name for path in folder.iterdir()) == [
        "fastseq-demo-lm.safetensors", "fastseq-demo-skipgram.safetensors", "fastseq-demo.png",
        "fastseq-demo.safetensors",
    ]  # fmt: skip
    assert (folder / "fastseq-demo.png").read_bytes().startswith(b"\x89PNG")
    for name in FILES:
        assert len(fs.WordVectors.load(folder / name)) > 3000


@pytest.mark.parametrize("name", FILES)
def test_neighbours_make_sense(shown, name):
    folder, printed = shown
    vectors = fs.WordVectors.load(folder / name)
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


@pytest.mark.parametrize("name", FILES)
def test_analogies_make_sense(shown, name):
    folder, _ = shown
    vectors = fs.WordVectors.load(folder / name)
    assert vectors.analogy("minimum", "maximum", "min", n=1)[0][0] == "max"
    assert vectors.analogy("row", "rows", "column", n=1)[0][0] == "columns"


def test_both_kinds_stand_side_by_side(shown):
    _, printed = shown
    lines = printed.splitlines()
    for head in ("Nearest words", "Analogies"):
        (columns,) = (line for line in lines if line.startswith(head))
        assert columns.index("by counting") < columns.index("by skip-gram")
    (answer,) = (line for line in lines if line.startswith("  minimum is to maximum as min is to"))
    assert answer.count("max (0.") == 2
    (month,) = (line for line in lines if line.startswith("  month "))
    assert month.count("year") == 2 or month.count("day") >= 2


def test_progress_is_told(shown):
    _, printed = shown
    assert "the kernels are compiled" in printed
    # A terminal gets a bar, all else a line for every fifth epoch.
    assert "epoch 5 of 20" in printed or sys.stderr.isatty()


def test_a_sentence_is_written(shown):
    folder, printed = shown
    model = fs.load(folder / "fastseq-demo-lm.safetensors")
    # What the words' frequencies alone tell, 408 where the model came to 268.
    shares = model.vocab_.counts[model.vocab_.counts > 0] / model.vocab_.counts.sum()
    alone = np.exp(-(shares * np.log(shares)).sum())
    assert model.history.perplexity[-1] < 0.8 * alone
    line = next(line for line in printed.splitlines() if line.startswith("  return the"))
    assert all(word in model.vocab_ for word in line.split())
    assert 3 < len(line.split()) <= 27
