"""The command, as a user types it: right input, wrong input, one line for a mistake, never a traceback."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastseq as fs
from fastseq.cli import main


def command(*arguments, cwd=None, stdin=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastseq", *map(str, arguments)], encoding="utf-8",
        capture_output=True, cwd=cwd, timeout=120, env={**os.environ, **environment}, input=stdin,
    )  # fmt: skip


def shell(script, *arguments):
    """Run ``script`` in a shell, with the interpreter as $0 and ``arguments`` as $1, $2, ..."""
    if os.name == "nt":
        pytest.skip("needs a POSIX shell")
    return subprocess.run(
        ["sh", "-c", script, sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


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
        assert "1 question used, 1 skipped" in out

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

    @pytest.mark.parametrize("stream", [">&-", "2>&-", ">&- 2>&-"])
    def test_a_closed_stream(self, text, tmp_path, stream):
        path = tmp_path / "v.vec"
        for script in (
            f'"$0" -m fastseq train count "$1" -o "$2" --dim 3 {stream}',
            f'"$0" -m fastseq similar "$2" cat {stream}',
        ):
            done = shell(script, text, path)
            assert done.returncode == 0
            assert "Traceback" not in done.stderr
        assert fs.WordVectors.load(path).matrix.shape == (13, 3)
        assert shell(f'"$0" -m fastseq similar "$1" unicorn {stream}', path).returncode == 2

    def test_a_terminal_that_lacks_the_characters(self, tmp_path):
        (tmp_path / "v.vec").write_text("3 2\n猫 1 0\n犬 1 1\n馬 0 1\n", encoding="utf-8")
        done = command("similar", tmp_path / "v.vec", "猫", "-n", "1", PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("\\u72ac  0.7")
        done = command("similar", tmp_path / "v.vec", "鳥", PYTHONIOENCODING="ascii")
        assert done.returncode == 2
        assert "\\u9ce5" in done.stderr
        assert "Traceback" not in done.stderr

    def test_wide_characters_are_aligned(self, tmp_path, capsys):
        (tmp_path / "v.vec").write_text("4 2\na 1 0\n犬 1 1\nか\u3099x 0 1\nabcd 1 2\n", encoding="utf-8")
        assert main(["similar", str(tmp_path / "v.vec"), "a"]) == 0
        places = {line.split()[0]: line.index("0.") for line in capsys.readouterr().out.splitlines()}
        assert places == {"犬": 5, "abcd": 6, "か\u3099x": 6}

    @pytest.mark.parametrize("source", ["-", "/dev/stdin"])
    def test_text_from_a_pipe(self, text, vectors, tmp_path, source):
        path = tmp_path / "v.vec"
        done = shell('cat "$1" | "$0" -m fastseq train count "$2" -o "$3" --dim 6', text, source, path)
        assert done.returncode == 0, done.stderr
        assert path.read_bytes() == vectors.read_bytes()
        done = shell('"$0" -m fastseq train count "$2" -o "$3" --dim 6 < "$1"', text, source, path)
        assert done.returncode == 0, done.stderr
        assert path.read_bytes() == vectors.read_bytes()

    def test_two_lines_and_no_bar_where_no_terminal_is(self, text, tmp_path, capfd):
        assert main(["train", "count", str(text), "-o", str(tmp_path / "v.vec"), "--dim", "1"]) == 0
        err = capfd.readouterr().err
        assert "\r" not in err
        lines = err.splitlines()
        assert [line.split()[0] for line in lines] == ["read", "wrote"]
        assert "13 vectors of 1 number to" in lines[1]

    def test_without_takes_one_word(self, vectors, capsys):
        assert main(["similar", str(vectors), "--without", "hammer", "--without", "saw", "cat", "-n", "1"]) == 0
        want = fs.WordVectors.load(vectors).most_similar(positive=["cat"], negative=["hammer", "saw"], n=1)
        assert capsys.readouterr().out == f"{want[0][0]}  {want[0][1]:.4f}\n"

    @pytest.mark.parametrize("name", [
        "demo", "train", "train count", "train skipgram", "train cbow", "similar", "analogy", "evaluate", "warmup",
        "info",
    ])  # fmt: skip
    def test_help_of_every_command(self, name, capsys):
        with pytest.raises(SystemExit) as stop:
            main([*name.split(), "--help"])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert "(default: None)" not in out
        assert "(default: False)" not in out
        assert "(default: [])" not in out
        paragraphs = out.split("\n\n")
        assert paragraphs[1].rstrip().endswith((".", "?", "woman.")), out  # the description

    def test_as_a_module(self, vectors):
        done = command("similar", vectors, "cat", "-n", "1")
        assert (done.returncode, done.stderr) == (0, "")


class TestOptionsReachTheLibrary:
    """Each option is seen where it belongs: one that is dropped on the way changes nothing that a user would notice."""

    @pytest.fixture
    def seen(self, monkeypatch):
        from contextlib import contextmanager

        import fastseq.parallel
        from fastseq.models.count_vectors import CountVectors
        from fastseq.text.corpus import Corpus

        calls = {}
        from_file, fit, threads = Corpus.from_file, CountVectors.fit, fastseq.parallel.threads

        def spy_file(path, **options):
            calls["file"] = options
            return from_file(path, **options)

        def spy_fit(self, *arguments, **options):
            calls["model"] = self.get_params()
            return fit(self, *arguments, **options)

        @contextmanager
        def spy_threads(n):
            calls["threads"] = n
            with threads(n):
                yield

        monkeypatch.setattr(Corpus, "from_file", spy_file)
        monkeypatch.setattr(CountVectors, "fit", spy_fit)
        monkeypatch.setattr(fastseq.parallel, "threads", spy_threads)
        return calls

    def train(self, text, tmp_path, *options):
        assert main(["train", "count", str(text), "-o", str(tmp_path / "v.vec"), "--quiet", *options]) == 0

    @pytest.mark.parametrize(("option", "value", "group", "name", "want"), [
        ("--dim", "4", "model", "dim", 4),
        ("--window", "3", "model", "window", 3),
        ("--weighting", "linear", "model", "weighting", "linear"),
        ("--smoothing", "0.5", "model", "smoothing", 0.5),
        ("--shift", "1.5", "model", "shift", 1.5),
        ("--eigenvalue-weight", "0.25", "model", "eigenvalue_weight", 0.25),
        ("--n-iter", "7", "model", "n_iter", 7),
        ("--seed", "9", "model", "random_state", 9),
        ("--add-context", None, "model", "add_context", True),
        ("--min-count", "2", "file", "min_count", 2),
        ("--max-vocab", "9", "file", "max_vocab", 9),
        ("--lowercase", None, "file", "lowercase", True),
        ("--unk", "?", "file", "unk", "?"),
        ("--eos", "$", "file", "eos", "$"),
        ("--encoding-errors", "ignore", "file", "encoding_errors", "ignore"),
        ("--threads", "1", "threads", None, 1),
    ])  # fmt: skip
    def test_train(self, seen, text, tmp_path, option, value, group, name, want):
        self.train(text, tmp_path, "--dim", "2", option, *([] if value is None else [value]))
        assert (seen[group] if name is None else seen[group][name]) == want

    def test_tokenizer(self, seen, text, tmp_path):
        assert main([
            "train", "count", str(text), "-o", str(tmp_path / "v.npz"), "--quiet", "--dim", "2", "--tokenizer", "char",
        ]) == 0  # fmt: skip
        assert seen["file"]["tokenizer"] == "char"

    def test_defaults_are_those_of_the_library(self, seen, text, tmp_path):
        self.train(text, tmp_path, "--dim", "6")
        assert seen["model"] == fs.CountVectors(dim=6).get_params()

    def test_evaluate_and_analogy(self, vectors, tmp_path, monkeypatch):
        (tmp_path / "q.txt").write_text(": animals\ncat dog horse cow\n")
        calls = []
        evaluate, analogy = fs.WordVectors.evaluate_analogies, fs.WordVectors.analogy

        def spy_evaluate(self, path, **options):
            calls.append(options)
            return evaluate(self, path, **options)

        def spy_analogy(self, *words, **options):
            calls.append((*words, options))
            return analogy(self, *words, **options)

        monkeypatch.setattr(fs.WordVectors, "evaluate_analogies", spy_evaluate)
        monkeypatch.setattr(fs.WordVectors, "analogy", spy_analogy)
        options = ["--restrict-vocab", "7", "--method", "mul"]
        assert main(["evaluate", str(vectors), "--analogies", str(tmp_path / "q.txt"), *options]) == 0
        assert main(["analogy", str(vectors), "cat", "dog", "saw", "-n", "2", "--method", "mul"]) == 0
        assert calls == [
            {"restrict_vocab": 7, "method": "mul"}, ("cat", "dog", "saw", {"n": 2, "method": "mul"}),
        ]  # fmt: skip


class TestWord2Vec:
    """``train skipgram`` and ``train cbow``."""

    @pytest.fixture
    def checkpoint(self, text, tmp_path):
        """A checkpoint of a training that is done."""
        path = tmp_path / "half"
        assert train("skipgram", text, tmp_path / "begun.vec", "--epochs", "2", "--checkpoint", path) == 0
        return path

    @pytest.mark.parametrize("kind", ["skipgram", "cbow"])
    def test_train_and_ask(self, text, tmp_path, kind, capsys):
        path = tmp_path / "v.vec"
        assert train(kind, text, path, "--epochs", "20", "--sample", "0", "--learning-rate", "0.05") == 0
        assert capsys.readouterr() == ("", "")
        near = {word for word, _ in fs.WordVectors.load(path).most_similar("cat", n=5)}
        assert near == {"dog", "horse", "cow", "sheep", "goat"}

    def test_it_tells_of_epochs_where_no_terminal_is(self, text, tmp_path, capfd):
        arguments = ["train", "cbow", str(text), "-o", str(tmp_path / "v.vec"), "--dim", "4", "--epochs", "2"]
        assert main(arguments) == 0
        out, err = capfd.readouterr()
        lines = err.splitlines()
        assert out == ""
        assert "\r" not in err
        assert [line.split()[0] for line in lines] == ["read", "epoch", "epoch", "wrote"]
        assert lines[1].startswith("epoch 1 of 2: loss 0.")
        assert "13 vectors of 4 numbers to" in lines[3]
        assert "(loss 0." in lines[3]
        assert main([*arguments, "--no-loss"]) == 0
        assert "loss" not in capfd.readouterr().err

    def test_a_bar_where_a_terminal_is(self, text, tmp_path, capfd, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert main(["train", "skipgram", str(text), "-o", str(tmp_path / "v.vec"), "--dim", "4"]) == 0
        err = capfd.readouterr().err
        assert "100%" in err
        assert "epoch 1" not in err

    def test_context_vectors(self, text, tmp_path, capsys):
        path, other = tmp_path / "v.npz", tmp_path / "c.npz"
        arguments = ["train", "skipgram", str(text), "-o", str(path), "--context-vectors", str(other), "--threads", "1"]
        assert main([*arguments, "--dim", "4"]) == 0
        assert f"to {path} and {other}" in capsys.readouterr().err
        corpus = fs.Corpus.from_file(text, min_count=5)
        with fs.threads(1):
            model = fs.SkipGram(dim=4).fit(corpus)
        for file, vectors in ((path, model.vectors), (other, model.context_vectors)):
            np.testing.assert_array_equal(fs.WordVectors.load(file).matrix, vectors.matrix)

    def test_start_from_vectors(self, text, vectors, tmp_path):
        path = tmp_path / "v.npz"
        options = ["--epochs", "1", "--learning-rate", "1e-9", "--min-learning-rate", "0", "--sample", "0"]
        assert train("cbow", text, path, "--vectors", vectors, *options, dim=None) == 0
        begun, ended = fs.WordVectors.load(vectors), fs.WordVectors.load(path)
        assert ended.dim == begun.dim == 6
        np.testing.assert_allclose(ended["cat"], begun["cat"], atol=1e-4)

    def test_resume_goes_on_as_if_nothing_had_happened(self, text, tmp_path, monkeypatch):
        from fastseq.cli import vectors as commands

        whole, half, rest = tmp_path / "whole.npz", tmp_path / "half.npz", tmp_path / "rest.npz"
        options = ["--epochs", "4", "--threads", "1", "--seed", "3", "--lowercase", "--eos", "$"]
        assert train("skipgram", text, whole, *options) == 0

        def stop(model, epoch, logs):
            if epoch == 1:
                signal.raise_signal(signal.SIGINT)

        # A callback stands in for Ctrl-C in the middle.
        monkeypatch.setattr(commands, "_tell_epoch", stop)
        checkpoint = tmp_path / "checkpoint"
        arguments = ["train", "skipgram", text, "-o", half, "--dim", "6", *options, "--checkpoint", checkpoint]
        assert main([str(argument) for argument in arguments]) == 130
        monkeypatch.undo()
        assert fs.WordVectors.load(half).matrix.shape == (14, 6)
        assert not np.array_equal(fs.WordVectors.load(half).matrix, fs.WordVectors.load(whole).matrix)
        before = checkpoint.read_bytes()
        options = ["--threads", "1", "--lowercase", "--resume", checkpoint]
        assert train("skipgram", text, rest, *options, dim=None) == 0
        np.testing.assert_array_equal(fs.WordVectors.load(rest).matrix, fs.WordVectors.load(whole).matrix)
        assert checkpoint.read_bytes() != before  # it is written again
        assert train("skipgram", text, rest, *options, dim=None) == 0  # nothing is left to do
        np.testing.assert_array_equal(fs.WordVectors.load(rest).matrix, fs.WordVectors.load(whole).matrix)

    @pytest.mark.parametrize("keep", [True, False])
    def test_ctrl_c_keeps_what_there_is(self, text, tmp_path, keep):
        if os.name == "nt":
            pytest.skip("needs POSIX signals")
        path, checkpoint = tmp_path / "v.vec", tmp_path / "half"
        options = ["--checkpoint", str(checkpoint)] if keep else []
        command = ["train", "skipgram", str(text), "-o", str(path), "--dim", "6", "--epochs", "1000000", *options]
        process = subprocess.Popen([sys.executable, "-m", "fastseq", *command], stderr=subprocess.PIPE, text=True)
        try:
            # Compiling comes before the first epoch; only then is there something to keep.
            while not (line := process.stderr.readline()).startswith("epoch"):
                assert line, "it ended"
            process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=60)[1]
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 130, err
        last = err.splitlines()[-1]
        assert last.startswith(("fastseq: stopped in epoch", "fastseq: stopped after epoch"))
        assert "of 1000000; wrote 13 vectors of 6 numbers" in last
        assert ("--resume" in last) == keep
        assert "Traceback" not in err
        assert fs.WordVectors.load(path).matrix.shape == (13, 6)
        assert checkpoint.exists() == keep
        if keep:
            assert fs.SkipGram.load(checkpoint).vectors.dim == 6

    def test_ctrl_c_before_training_writes_nothing(self, text, tmp_path, monkeypatch, capsys):
        from fastseq.text.corpus import Corpus

        def interrupted(*arguments, **options):
            raise KeyboardInterrupt

        path = tmp_path / "v.vec"
        monkeypatch.setattr(Corpus, "from_file", interrupted)
        assert train("cbow", text, path) == 130
        assert capsys.readouterr().err == "fastseq: stopped\n"
        monkeypatch.undo()
        monkeypatch.setattr(fs.CBOW, "_train", interrupted)
        assert train("cbow", text, path) == 130
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("kind", "options", "name", "want"), [
        ("skipgram", "--dim 4", "dim", 4),
        ("cbow", "--window 3", "window", 3),
        ("skipgram", "--negative 2", "negative", 2),
        ("cbow", "--epochs 1", "epochs", 1),
        ("skipgram", "--learning-rate 0.1", "learning_rate", 0.1),
        ("cbow", "--min-learning-rate 0.01", "min_learning_rate", 0.01),
        ("skipgram", "--sample 0.001", "sample", 0.001),
        ("cbow", "--power 0.5", "power", 0.5),
        ("skipgram", "--loss hierarchical_softmax", "loss", "hierarchical_softmax"),
        ("skipgram", "--shared", "shared_negatives", True),
        ("skipgram", "--per-pair", "shared_negatives", False),
        ("cbow", "--shared", "shared_negatives", True),
        ("cbow", "--per-centre", "shared_negatives", False),
        ("cbow", "--sum", "mean", False),
        ("cbow", "--divide-gradient", "divide_gradient", True),
        ("cbow", "--fixed-window", "shrink_window", False),
        ("skipgram", "--add-context", "add_context", True),
        ("cbow", "--deterministic", "deterministic", True),
        ("skipgram", "--no-loss", "compute_loss", False),
        ("cbow", "--batch-size 7", "batch_size", 7),
        ("skipgram", "--seed 9", "random_state", 9),
    ])  # fmt: skip
    def test_options_reach_the_model(self, text, tmp_path, monkeypatch, kind, options, name, want):
        seen = []

        def look(self, *arguments, **options):
            seen.append(self.get_params())
            raise KeyboardInterrupt

        model = fs.SkipGram if kind == "skipgram" else fs.CBOW
        monkeypatch.setattr(model, "fit", look)
        assert train(kind, text, tmp_path / "v.vec", *options.split(), dim=None) == 130
        # All others keep the library's default.
        assert seen == [{**model().get_params(), name: want}]

    @pytest.mark.parametrize("kind", ["skipgram", "cbow"])
    def test_help_names_the_defaults_of_the_library(self, kind, capsys):
        with pytest.raises(SystemExit):
            main(["train", kind, "--help"])
        out = " ".join(capsys.readouterr().out.split())
        model = fs.SkipGram() if kind == "skipgram" else fs.CBOW()
        for flag, name in (
            ("--dim N", "dim"), ("--window N", "window"), ("--negative N", "negative"), ("--epochs N", "epochs"),
            ("--sample X", "sample"), ("--power X", "power"),
            ("--loss HOW", "loss"), ("--batch-size N", "batch_size"), ("--seed N", "random_state"),
        ):  # fmt: skip
            told = out.split("options:")[1].split(f"{flag} ")[1].split("(default: ")[1].split(")")[0]
            assert told == str(getattr(model, name)), flag
        assert f"(default: {model._rate()}, with" in out
        least = model._last_rate()
        assert least == (1e-4 if kind == "skipgram" else model._rate() / 10)
        told = out.split("options:")[1].split("--min-learning-rate X ")[1]
        assert told.startswith(f"at the end (default: {least if kind == 'skipgram' else 'a tenth of --learning-rate'})")

    @pytest.mark.parametrize("options", [
        "--dim 0", "--dim x", "--dim 99999999", "--window 0", "--negative 0", "--epochs 0", "--learning-rate 0",
        "--learning-rate nan", "--learning-rate x", "--min-learning-rate 1", "--sample -1", "--sample nan",
        "--power nan", "--loss fast", "--seed -1", "--threads 0", "--threads 100000", "--batch-size 0",
        "--shared --per-pair", "--sum", "--vectors no.vec", "--context-vectors v.doc", "--context-vectors no/v.vec",
        "--context-vectors c.npz --loss hierarchical_softmax", "--checkpoint no/half", "--resume no.safetensors",
        "--unk ? --eos ?",
    ])  # fmt: skip
    def test_options_are_refused_before_anything_is_read(self, capsys, text, tmp_path, monkeypatch, options):
        from fastseq.text import corpus

        def read(path):
            raise AssertionError("the text was read")

        monkeypatch.setattr(corpus, "map_bytes", read)
        monkeypatch.chdir(tmp_path)
        failure(capsys, "train", "skipgram", text, "-o", "v.vec", *options.split())
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("options", [
        "--negative 13", "--sample 1e-30", "--learning-rate 1e9", "--min-count 500", "--max-vocab 1",
    ])  # fmt: skip
    def test_what_the_text_does_not_allow(self, capsys, text, tmp_path, options):
        failure(capsys, "train", "skipgram", text, "-o", tmp_path / "v.vec", "--quiet", *options.split())
        assert list(tmp_path.iterdir()) == []

    def test_a_training_that_diverges_says_so(self, capsys, text, tmp_path):
        arguments = ["train", "skipgram", text, "-o", tmp_path / "v.vec", "--quiet", "--learning-rate", "1e9"]
        assert "use a learning_rate below 1e+09" in failure(capsys, *arguments)
        assert not (tmp_path / "v.vec").exists()

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"word\n", b"a\nb\nc\nd\ne\nf\ng\n", b"\xff\xfe\x00\x01\n"])
    def test_text_that_cannot_be_used(self, capsys, tmp_path, content):
        path = tmp_path / "text.txt"
        path.write_bytes(content)
        failure(capsys, "train", "cbow", path, "-o", tmp_path / "v.vec", "--min-count", "1", "--quiet")
        assert not (tmp_path / "v.vec").exists()

    def test_no_file_is_written_over_by_another(self, capsys, text, tmp_path):
        copy, path = tmp_path / "text.txt", tmp_path / "v.vec"
        copy.write_bytes(text.read_bytes())
        for option in ("--checkpoint", "--context-vectors"):
            err = failure(capsys, "train", "skipgram", copy, "-o", path, option, copy)
            assert "is the text itself" in err
            err = failure(capsys, "train", "skipgram", copy, "-o", path, option, tmp_path / "." / "v.vec")
            assert "given for two files" in err
        assert copy.read_bytes() == text.read_bytes()
        assert not path.exists()

    def test_widths_that_differ(self, capsys, text, vectors, tmp_path):
        err = failure(capsys, "train", "cbow", text, "-o", tmp_path / "v.vec", "--vectors", vectors, "--dim", "3")
        assert "--dim is 3" in err
        assert "6 numbers" in err

    def test_words_that_the_format_lacks(self, capsys, text, tmp_path, monkeypatch):
        monkeypatch.setattr(fs.SkipGram, "fit", None)  # calling it would be a TypeError
        path, other = tmp_path / "v.npz", tmp_path / "c.vec"
        options = ["--tokenizer", "char", "--quiet", "--context-vectors", other]
        assert "save as .safetensors" in failure(capsys, "train", "skipgram", text, "-o", path, *options)

    def test_resume_refuses_another_training(self, capsys, text, checkpoint, vectors, tmp_path):
        before = checkpoint.read_bytes()
        base = ["train", "skipgram", text, "-o", tmp_path / "v.vec", "--quiet", "--resume", checkpoint]
        assert "dim is 3 here and 6" in failure(capsys, *base, "--dim", "3")
        assert "shared_negatives is False" in failure(capsys, *base, "--per-pair")
        assert "--vectors and --resume" in failure(capsys, *base, "--vectors", vectors)
        other = tmp_path / "other.txt"
        other.write_text("the cat and the dog\n" * 9)
        base[2] = other
        assert "tokens" in failure(capsys, *base)
        base[1:3] = ["cbow", text]
        assert "'SkipGram'" in failure(capsys, *base)
        assert checkpoint.read_bytes() == before

    def test_resume_takes_options_that_say_the_same(self, text, checkpoint, tmp_path):
        options = ["--dim", "6", "--epochs", "2", "--min-count", "5", "--resume", checkpoint]
        assert train("skipgram", text, tmp_path / "v.vec", *options, dim=None) == 0


def train(kind, text, path, *options, dim="6"):
    """Run a quiet training; return its exit status."""
    width = [] if dim is None else ["--dim", dim]
    return main([*map(str, ("train", kind, text, "-o", path, "--quiet", *width, *options))])


class TestWrong:
    def test_no_file(self, capsys, tmp_path):
        assert "no.vec" in failure(capsys, "similar", tmp_path / "no.vec", "cat")
        assert "no.txt" in failure(capsys, "train", "count", tmp_path / "no.txt", "-o", tmp_path / "v.vec")

    def test_unknown_word(self, capsys, vectors):
        assert "'catt'" in failure(capsys, "similar", vectors, "catt")
        assert "'unicorn'" in failure(capsys, "analogy", vectors, "cat", "dog", "unicorn")

    def test_unknown_command_and_option(self, capsys, vectors):
        assert "invalid choice" in failure(capsys, "fly")
        told = failure(capsys, "similar", vectors, "cat", "--wings")
        assert "unrecognized arguments: --wings" in told
        assert "see fastseq similar --help" in told

    def test_nothing_to_evaluate(self, capsys, vectors):
        assert "--similarity FILE" in failure(capsys, "evaluate", vectors)

    @pytest.mark.parametrize("options", [
        ["--dim", "0"], ["--dim", "x"], ["--window", "-1"], ["--min-count", "0"], ["--weighting", "cubic"],
        ["--dim", "500"], ["--n-iter", "-1"], ["--eigenvalue-weight", "nan"], ["--unk", ""],
        ["--shift", "0"], ["--smoothing", "nan"], ["--threads", "0"], ["--seed", "-1"],
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

    @pytest.mark.parametrize("options", [
        ["--shift", "-1"], ["--smoothing", "inf"], ["--eigenvalue-weight", "-1"], ["--seed", "-1"],
        ["--threads", "100000"], ["--window", "9999999999999"], ["--unk", "a b"], ["--eos", "\n"],
        ["--unk", "?", "--eos", "?"], ["--unk", "?", "--eos", "$", "--max-vocab", "1"],
    ])  # fmt: skip
    def test_options_are_refused_before_anything_is_read(self, capsys, text, tmp_path, monkeypatch, options):
        from fastseq.text import corpus

        def read(path):
            raise AssertionError("the text was read")

        monkeypatch.setattr(corpus, "map_bytes", read)
        failure(capsys, "train", "count", text, "-o", tmp_path / "v.vec", "--dim", "2", *options)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_written_is_told_before_reading(self, capsys, text, tmp_path, monkeypatch):
        from fastseq import io
        from fastseq.text import corpus

        def refuse(path):
            raise PermissionError(f"{path} may not be written")

        def read(path):
            raise AssertionError("the text was read")

        monkeypatch.setattr(io, "check_writable", refuse)
        monkeypatch.setattr(corpus, "map_bytes", read)
        assert "may not be written" in failure(capsys, "train", "count", text, "-o", tmp_path / "v.vec")

    def test_the_text_itself_is_not_overwritten(self, capsys, text, tmp_path):
        path = tmp_path / "text.txt"
        path.write_bytes(text.read_bytes())
        (tmp_path / "other.txt").symlink_to(path)
        for target in (path, tmp_path / "other.txt"):
            assert "is the text itself" in failure(capsys, "train", "count", path, "-o", target, "--dim", "2")
        assert path.read_bytes() == text.read_bytes()

    @pytest.mark.parametrize("suffix", [".vec", ".txt", ".bin", ".VEC"])
    def test_words_that_the_format_lacks_are_told_before_training(self, capsys, text, tmp_path, monkeypatch, suffix):
        from fastseq.models.count_vectors import CountVectors

        def fit(self, corpus, verbose):
            raise AssertionError("it was trained")

        monkeypatch.setattr(CountVectors, "fit", fit)
        path = tmp_path / f"v{suffix}"
        options = ["--dim", "2", "--tokenizer", "char", "--quiet"]
        assert "save as .safetensors" in failure(capsys, "train", "count", text, "-o", path, *options)

    def test_errors_name_the_option_of_the_command(self, capsys, tmp_path):
        path = tmp_path / "t.txt"
        path.write_bytes(b"caf\xe9 au lait")
        assert "--encoding-errors replace" in failure(capsys, "train", "count", path, "-o", tmp_path / "v.vec")
        path.write_bytes("吾輩は猫である。".encode("cp932"))
        assert "iconv -f CP932" in failure(capsys, "train", "count", path, "-o", tmp_path / "v.vec")


@pytest.fixture(scope="module")
def model(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "lm.safetensors"
    options = ["--preset", "rnnlm", "--hidden-size", "16", "--embedding-size", "16", "--batch-size", "5", "--quiet"]
    assert main(["train", "lm", str(text), "-o", str(path), "--valid", str(text), *options]) == 0
    return path


class TestLanguageModels:
    def test_train_generate_and_perplexity(self, model, text, capsys):
        assert main(["generate", str(model), "the cat", "-n", "3", "--seed", "1", "--samples", "2"]) == 0
        texts = capsys.readouterr().out.strip().split("\n\n")
        assert len(texts) == 2
        assert all(line.startswith("the cat ") and "<unk>" not in line for line in texts)
        assert main(["perplexity", str(model), str(text)]) == 0
        shown = capsys.readouterr().out
        value = float(shown.split()[1])
        assert value < 13
        assert "3,200 tokens" in shown
        assert main(["perplexity", str(model), str(text), "--cache", "20", "--dynamic", "0.1"]) == 0
        assert float(capsys.readouterr().out.split()[1]) < value

    def test_a_preset_is_changed_and_told(self, text, tmp_path, capsys):
        path = tmp_path / "lm.safetensors"
        told = ["--preset", "rnnlm", "--cell", "gru", "--epochs", "1", "--dtype", "float16", "--learning-rate", "1"]
        assert main(["train", "lm", str(text), "-o", str(path), "--hidden-size", "8", *told]) == 0
        shown = capsys.readouterr().err
        assert "epoch 1: perplexity" in shown
        assert "tokens/s" in shown
        model = fs.load(path)
        assert (model.cell, model.hidden_size, model.embedding_size) == ("gru", 8, 100)
        assert "parameters to" in shown

    def test_characters(self, text, tmp_path, capsys):
        path = tmp_path / "lm.safetensors"
        small = ["--hidden-size", "8", "--epochs", "1", "--quiet"]
        assert main(["train", "lm", str(text), "-o", str(path), "--tokenizer", "char", *small]) == 0
        assert fs.load(path).vocab_.eos == "\n"
        assert main(["generate", str(path), "the c", "-n", "5", "--seed", "0"]) == 0
        assert capsys.readouterr().out.startswith("the c")

    def test_a_preset_of_characters_is_one_of_characters(self, text, tmp_path):
        checkpoint, path = str(tmp_path / "c.safetensors"), str(tmp_path / "lm.safetensors")
        small = ["train", "lm", str(text), "-o", path, "--quiet"]
        options = ["--preset", "char-lstm", "--hidden-size", "8", "--epochs", "1", "--checkpoint", checkpoint]
        assert main([*small, *options]) == 0
        assert fs.load(path).tokenizer == "char"
        # Read as the model's words ask for, without a word of how.
        assert main([*small, "--resume", checkpoint, "--epochs", "2"]) == 0
        assert fs.load(path).history.epoch == [1, 2]

    def test_resume(self, text, tmp_path):
        checkpoint, whole, rest = (str(tmp_path / f"{name}.safetensors") for name in ("c", "whole", "rest"))
        small = [
            "train", "lm", str(text), "--hidden-size", "8", "--embedding-size", "8", "--batch-size", "5", "--quiet",
        ]  # fmt: skip
        assert main([*small, "--epochs", "3", "-o", whole]) == 0
        assert main([*small, "--epochs", "1", "-o", rest, "--checkpoint", checkpoint]) == 0
        assert main(["train", "lm", str(text), "-o", rest, "--resume", checkpoint, "--epochs", "3", "--quiet"]) == 0
        for name, param in fs.load(whole).params.items():
            assert np.array_equal(param.value, fs.load(rest).params[name].value)

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            (["train", "lm", "{text}", "-o", "{new}.vec"], "expected a name in .safetensors"),
            (["train", "lm", "{text}", "-o", "{new}", "--preset", "gpt"], "no preset 'gpt'"),
            (["train", "lm", "{text}", "-o", "{new}", "--dropout", "2"], "dropout is 2"),
            (["train", "lm", "{text}", "-o", "{new}", "--learning-rate", "-1"], "learning_rate is -1"),
            (["train", "lm", "{text}", "-o", "{new}", "--batch-size", "99999", "--quiet"], "smaller batch_size"),
            (["train", "lm", "{text}", "-o", "{new}", "--valid", "{new}"], "given for two files"),
            (["train", "lm", "{text}", "-o", "{new}", "--valid", "{none}"], "none"),
            (["train", "lm", "{text}", "-o", "{new}", "--resume", "{lm}"], "load a checkpoint"),
            (["train", "lm", "{text}", "-o", "{new}", "--resume", "{lm}", "--dropout", "0.1"], "leave out others"),
            (["generate", "{none}", "the"], "does not exist"),
            (["generate", "{text}", "the"], "not a whole safetensors file"),
            (["generate", "{lm}", "the", "--temperature", "-1"], "temperature is -1"),
            (["generate", "{lm}", "the", "--top-p", "0"], "top_p is 0"),
            (["generate", "{lm}", "the", "--top-p", "1.2"], "top_p is 1.2"),
            (["generate", "{lm}", "the", "--top-k", "0"], "0 is below 1"),
            (["generate", "{lm}", "the", "--stop", "zebra"], "zebra"),
            (["perplexity", "{lm}", "{none}"], "none"),
            (["perplexity", "{lm}", "{empty}"], "holds no"),
            (["perplexity", "{lm}", "{text}", "--dynamic", "-1"], "learning_rate is -1"),
        ],
    )
    def test_mistakes_take_one_line(self, model, text, tmp_path, capsys, arguments, match):
        empty = tmp_path / "empty.txt"
        empty.write_text("")
        new = tmp_path / "new.safetensors"
        places = {"text": text, "lm": model, "new": new, "none": tmp_path / "none", "empty": empty}
        line = failure(capsys, *(argument.format(**places) for argument in arguments))
        assert match in line
        assert not new.exists()
