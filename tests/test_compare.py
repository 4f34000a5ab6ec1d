"""The parts of the comparison with peers that decide what its table says, and the suites' completeness."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastseq.kernels.registry import REGISTRY

BENCHMARKS = Path(__file__).resolve().parent.parent / "asv_benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def table(load):
    return load("compare.table")


@pytest.fixture
def rows(load):
    return load("compare.rows")


def test_a_ratio_says_how_many_times_better_fastseq_is(rows, table):
    assert table.ratio(rows.record("a", "p", 2.0, 6.0, "s")) == 3
    assert table.ratio(rows.record("a", "p", 6.0, 2.0, "GFLOP/s", higher_is_better=True)) == 3
    assert table.ratio(rows.missing("a", "p", "not installed")) is None


def test_losing_rows_are_shown_in_bold_and_listed(rows, table):
    records = [
        rows.record("won", "p", 1.0, 2.0, "s", same=(True, "same 3 words")),
        rows.record("lost", "q", 3.0, 1.5, "s", same=(False, "same")),
        rows.record("even", "p", 1.0, 0.99, "s"),
        rows.missing("gone", "r", "not installed"),
    ]
    text = table.markdown_rows(records)
    assert "| won | 1 s | 2 s | p | 2.0 | same 3 words |" in text
    assert "| lost | 3 s | 1.5 s | q | **0.50** | NOT same |" in text
    assert "| even | 1 s | 0.99 s | p | 0.99 | |" in text.replace("|  |", "| |")
    assert "| gone | | not installed | r | | |" in text
    whole = table.markdown(
        {
            "date": "2000-01-01", "threads": 2, "rounds": 3, "corpus": "some", "records": records, "facts": [],
            "svd": [], "failed": ["x ended with status 1"], "versions": {"numpy": "2"},
            "machine": {"processor": "P", "cores": 2, "memory": "1 GB", "system": "S", "python": "3"},
        }
    )  # fmt: skip
    assert "Lost: 1 of 3 rows:\n- lost, against q" in whole
    assert "Failed: x ended with status 1." in whole


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(12.345, "s", "12.3 s"), (0.01234, "s", "12.3 ms"), (2e-5, "s", "20 µs"), (1234.5, "MB", "1,234 MB")],
)
def test_numbers_have_three_digits(table, value, unit, text):
    assert table.number(value, unit) == text


def test_a_readme_keeps_what_is_outside_the_markers(table):
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    once = table.replace_between(text, "new\n")
    assert once == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    assert table.replace_between(once, "new") == once
    for wrong in ("no markers", text + text, f"{table.END}{table.BEGIN}"):
        with pytest.raises(ValueError, match="expected one"):
            table.replace_between(wrong, "new")


def test_sides_run_in_turn_after_a_warm_up(load, monkeypatch):
    measure = load("compare.measure")
    monkeypatch.setattr(measure, "SHORT", 0.0)
    calls = []
    sides = {name: lambda name=name: calls.append(name) or name for name in "ab"}
    times, results = measure.interleave(sides, 2, {"a": lambda: calls.append("warm")})
    assert calls == ["warm", "a", "b", "a", "b"]
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}
    assert results == {"a": "a", "b": "b"}


@pytest.fixture
def small_text(tmp_path):
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]
    lines = [" ".join(words[i] for i in (rng.zipf(1.5, 12) - 1).clip(0, 29)) for _ in range(80)]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_peers_count_and_weigh_what_fastseq_does(load, small_text):
    import fastseq as fs

    peers = load("compare.peers")
    corpus = fs.Corpus.from_file(small_text, min_count=2)
    words, frequencies = peers.count_words(small_text, 2)
    assert dict(zip(words, frequencies)) == dict(zip(corpus.vocab.words, corpus.vocab.counts.tolist()))
    ids, offsets = peers.encode(small_text, list(corpus.vocab.words))
    np.testing.assert_array_equal(ids, corpus.ids)
    ours = fs.cooccurrence(corpus, 3)
    theirs = peers.scipy_counts(ids, offsets, len(words), 3)
    assert abs(ours - theirs).max() == 0
    one_line = fs.cooccurrence(fs.Corpus(ids, np.array([0, len(ids)]), corpus.vocab), 3).tocoo()
    pairs = zip(one_line.row.tolist(), one_line.col.tolist())
    assert peers.counter_counts(ids, 3) == Counter(dict(zip(pairs, one_line.data.tolist())))
    weighed = fs.ppmi(ours, shift=1.5, smoothing=0.75)
    for function in (peers.scipy_ppmi, peers.scipy_ppmi_tuned):
        assert abs(weighed - function(theirs, 0.75, 1.5)).max() < 1e-5


def test_every_kernel_has_a_workload(load):
    assert set(load("benchmarks.workloads").WORKLOADS) == set(REGISTRY)


def test_the_planted_corpus_has_its_structure(load):
    models = load("benchmarks.models")
    workloads = load("benchmarks.workloads")
    corpus = models.planted_corpus(200_000)
    assert corpus.n_tokens == 200_000
    rng = np.random.default_rng(0)
    topics = np.eye(workloads.N_TOPICS)[np.arange(workloads.N_WORDS) % workloads.N_TOPICS]
    assert models.share_of_own_topic(topics + 0.01 * rng.random(topics.shape)) == 1
    assert models.share_of_own_topic(rng.standard_normal(topics.shape)) < 0.1


def test_the_smoke_run_reads_what_asv_prints(load):
    timed = load("smoke").timed
    assert timed("     ppmi_weights  140±0ms \n   nearest_dot    n/a   \n  csr_matmul   failed\n") == {"ppmi_weights"}
    assert timed("[50.00%] ··· startup.Import.timeraw_import     691±0μs\n[60%] ··· a.time_b   1.2s") == {
        "timeraw_import", "time_b",
    }  # fmt: skip


@pytest.mark.peer
def test_the_comparison_runs_from_the_command_line(tmp_path):
    pytest.importorskip("sklearn", reason="the peers extra is not installed")
    readme = tmp_path / "README.md"
    readme.write_text("# A\n<!-- peers:begin -->\n<!-- peers:end -->\nend\n")
    command = [
        sys.executable, str(BENCHMARKS / "compare"), "--quick", "--rounds", "1", "--dim", "8", "--date", "2000-01-01",
        "--only", "weighing", "-o", str(tmp_path / "peers"), "--readme", str(readme),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "peers.json").read_text())
    assert [record["name"][:5] for record in results["records"]] == ["SciPy", "SciPy"]
    assert all(record["ratio"] > 0 and not record["problem"] for record in results["records"])
    assert "Measured on 2000-01-01" in readme.read_text()
    assert readme.read_text().endswith("<!-- peers:end -->\nend\n")
