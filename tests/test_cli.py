"""The command, as a user types it: right input, wrong input, one line for a mistake, never a traceback."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys

import numpy as np
import pytest

import fastseq as fs
from fastseq.cli import main


def command(*arguments, cwd=None, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "fastseq", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, timeout=120, env=os.environ.copy(), input=stdin,
    )  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("cli") / "text.txt"
    animals = ["cat", "dog", "horse", "cow", "sheep", "goat"]
    tools = ["hammer", "saw", "drill", "axe", "file", "pliers"]
    lines = []
    for _ in range(400):
        group = animals if rng.random() < 0.5 else tools
        lines.append(" ".join(["the", *rng.choice(group, 6)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def vectors(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "v.vec"
    assert main(["train", "count", str(text), "-o", str(path), "--dim", "6", "--quiet"]) == 0
    return path


def failure(capsys, *arguments):
    """Run a command that must fail; return its one line."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("fastseq"), err
    assert "Traceback" not in err
    return err


class TestRight:
    def test_train_and_ask(self, vectors, capsys):
        assert main(["similar", str(vectors), "cat", "-n", "5"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split()[0] for line in lines} == {"dog", "horse", "cow", "sheep", "goat"}
        assert all(0.5 < float(line.split()[1]) <= 1 for line in lines)

    def test_analogy(self, vectors, capsys):
        assert main(["analogy", str(vectors), "cat", "dog", "hammer", "-n", "3", "--method", "mul"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3

    def test_several_words_and_without(self, vectors, capsys):
        assert main(["similar", str(vectors), "cat", "dog", "--without", "hammer", "-n", "2"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2

    def test_evaluate(self, vectors, tmp_path, capsys):
        (tmp_path / "pairs.txt").write_text("cat dog 9\ncat hammer 1\ncow sheep 8\nsaw goat 2\ncat unicorn 3\n")
        (tmp_path / "questions.txt").write_text(": animals\ncat dog horse cow\ncat dog unicorn cow\n")
        options = ["--similarity", str(tmp_path / "pairs.txt"), "--analogies", str(tmp_path / "questions.txt")]
        assert main(["evaluate", str(vectors), *options]) == 0
        out = capsys.readouterr().out
        assert "4 pairs used, 1 skipped" in out
        assert "1 questions used, 1 skipped" in out

    @pytest.mark.parametrize("suffix", [".vec", ".txt", ".bin", ".npz", ".safetensors"])
    def test_every_format(self, text, tmp_path, suffix):
        path = tmp_path / f"v{suffix}"
        assert main(["train", "count", str(text), "-o", str(path), "--dim", "3", "--quiet"]) == 0
        assert fs.WordVectors.load(path).matrix.shape == (13, 3)

    def test_gzip_and_options(self, text, tmp_path, capsys):
        packed = tmp_path / "text.txt.gz"
        packed.write_bytes(gzip.compress(text.read_bytes()))
        options = "--dim 2 --window 2 --weighting harmonic --add-context --dtype float16 --max-vocab 5 --threads 1"
        path = tmp_path / "v.safetensors"
        assert main(["train", "count", str(packed), "-o", str(path), *options.split()]) == 0
        assert "wrote 5 vectors of 2 numbers" in capsys.readouterr().err

    def test_quiet(self, text, tmp_path, capfd):
        assert main(["train", "count", str(text), "-o", str(tmp_path / "v.vec"), "--dim", "2", "--quiet"]) == 0
        assert capfd.readouterr() == ("", "")

    def test_info_and_version_and_help(self, capsys):
        assert main(["info"]) == 0
        out = capsys.readouterr().out
        for word in ("numba", "threads", "CUDA", "BLAS"):
            assert word in out
        assert main([]) == 0
        out = capsys.readouterr().out
        for name in ("demo", "train", "similar", "analogy", "evaluate", "warmup", "info"):
            assert name in out
        with pytest.raises(SystemExit) as stop:
            main(["--version"])
        assert stop.value.code == 0
        assert fs.__version__ in capsys.readouterr().out

    def test_a_reader_that_goes_away(self, vectors):
        script = f'"{sys.executable}" -m fastseq similar "{vectors}" cat | true'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=120)
        assert done.stderr == ""

    def test_as_a_module(self, vectors):
        done = command("similar", vectors, "cat", "-n", "1")
        assert (done.returncode, done.stderr) == (0, "")


class TestWrong:
    def test_no_file(self, capsys, tmp_path):
        assert "no.vec" in failure(capsys, "similar", tmp_path / "no.vec", "cat")
        assert "no.txt" in failure(capsys, "train", "count", tmp_path / "no.txt", "-o", tmp_path / "v.vec")

    def test_unknown_word(self, capsys, vectors):
        assert "'catt'" in failure(capsys, "similar", vectors, "catt")
        assert "'unicorn'" in failure(capsys, "analogy", vectors, "cat", "dog", "unicorn")

    def test_unknown_command_and_option(self, capsys, vectors):
        assert "invalid choice" in failure(capsys, "fly")
        assert "--wings" in failure(capsys, "similar", vectors, "cat", "--wings")

    def test_nothing_to_evaluate(self, capsys, vectors):
        assert "--similarity FILE" in failure(capsys, "evaluate", vectors)

    @pytest.mark.parametrize("options", [
        ["--dim", "0"], ["--dim", "x"], ["--window", "-1"], ["--min-count", "0"], ["--weighting", "cubic"],
        ["--dim", "500"], ["--shift", "0"], ["--smoothing", "nan"], ["--threads", "0"], ["--seed", "-1"],
    ])  # fmt: skip
    def test_bad_options(self, capsys, text, tmp_path, options):
        path = tmp_path / "v.vec"
        failure(capsys, "train", "count", text, "-o", path, "--quiet", *options)
        assert not path.exists()

    def test_no_place_to_write_is_told_before_training(self, capsys, text, tmp_path):
        assert "does not exist" in failure(capsys, "train", "count", text, "-o", tmp_path / "no" / "v.vec")
        assert ".safetensors" in failure(capsys, "train", "count", text, "-o", tmp_path / "v.doc")
        failure(capsys, "train", "count", text, "-o", tmp_path)

    @pytest.mark.parametrize("content", [b"", b"\n\n\n", b"word\n", b"\xff\xfe\x00\x01\n", b"\x1f\x8b\x08broken"])
    def test_text_that_cannot_be_used(self, capsys, tmp_path, content):
        path = tmp_path / "text.txt"
        path.write_bytes(content)
        failure(capsys, "train", "count", path, "-o", tmp_path / "v.vec", "--min-count", "1", "--dim", "1", "--quiet")
        assert not (tmp_path / "v.vec").exists()

    def test_a_file_that_holds_no_vectors(self, capsys, text, tmp_path):
        failure(capsys, "similar", text, "cat")
        (tmp_path / "v.safetensors").write_bytes(b"nonsense")
        failure(capsys, "similar", tmp_path / "v.safetensors", "cat")
        failure(capsys, "similar", tmp_path, "cat")

    def test_bad_evaluation_file(self, capsys, vectors, tmp_path):
        (tmp_path / "pairs.txt").write_text("cat dog 5\ncat dog nine\n")
        assert "pairs.txt" in failure(capsys, "evaluate", vectors, "--similarity", tmp_path / "pairs.txt")
