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

from fastseq.kernels import _cuda
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
            "machine": {"processor": "P", "vectors": "vectors of 8 bits", "cores": 2, "memory": "1 GB", "system": "S",
                        "python": "3"},
        }
    )  # fmt: skip
    assert ": P, vectors of 8 bits, 2 of 2 cores, 1 GB, S, Python 3; numpy 2." in whole
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


def test_lines_are_cut_where_gensim_would_leave_words_out(load, tmp_path):
    word2vec = load("compare.word2vec")
    lines = ["a b c d e f g", "", "h", "i j k"]
    source, target = tmp_path / "source.txt", tmp_path / "target.txt"
    source.write_text("\n".join(lines))
    word2vec.cut_lines(source, target, most=3)
    assert target.read_text() == "a b c\nd e f\ng\nh\ni j k\n"
    # One line of several blocks, with words that lie across their borders.
    words = [f"word{i}" for i in range(300_000)]
    source.write_text(" ".join(words))
    word2vec.cut_lines(source, target)
    found = target.read_text().splitlines()
    assert " ".join(found).split() == words
    assert {len(line.split()) for line in found} == {1000}


# What word2vec.c and pWord2Vec do as far as the comparison goes: options, reports of progress, vectors.
PROGRAM = """#!{python}
import sys
from collections import Counter
import numpy as np
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for _ in range(2):
    sys.stdout.write("\\rAlpha: 0.02  Progress: 50%")
    sys.stdout.flush()
counts = Counter(open(options["-train"]).read().split())
words = ["</s>"] + [word for word, n in counts.most_common() if n >= int(options["-min-count"])]
dim = int(options["-size"])
with open(options["-output"], "wb") as file:
    file.write(f"{{len(words)}} {{dim}}\\n".encode())
    for i, word in enumerate(words):
        row = np.random.default_rng(i).standard_normal(dim, np.float32)
        file.write(word.encode() + b" " + row.tobytes() + b"\\n")
"""


@pytest.fixture
def word2vec_settings(load, monkeypatch, small_text, tmp_path):
    """Give the settings of a quick run whose tasks run in this process."""
    word2vec, tasks = load("compare.word2vec"), load("compare.tasks")
    monkeypatch.setattr(word2vec, "run_task", lambda name, settings: tasks.TASKS[name](settings))
    for name in ("word2vec", "pWord2Vec"):
        program = tmp_path / name
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
    pairs, questions = tmp_path / "pairs.txt", tmp_path / "questions.txt"
    pairs.write_text("".join(f"w{i} w{i + 1} {i}\n" for i in range(8)))
    questions.write_text(": some\n" + "".join(f"w{i} w{i + 1} w{i + 2} w{i + 3}\n" for i in range(6)))
    lines = tmp_path / "lines.txt"
    word2vec.cut_lines(small_text, lines)
    return {
        "corpus": str(small_text), "corpus_name": "a text", "lines": str(lines), "pairs": str(pairs),
        "questions": str(questions), "word2vec": str(tmp_path), "pword2vec": str(tmp_path), "threads": 1, "rounds": 1,
        "seeds": 2, "dim": 8, "wide": 24, "epochs": 2, "min_count": 2, "quick": True,
    }  # fmt: skip


@pytest.mark.peer
def test_word2vec_is_compared_with_all_peers(load, table, word2vec_settings):
    pytest.importorskip("gensim", reason="the peers extra is not installed")
    word2vec, tasks = load("compare.word2vec"), load("compare.tasks")
    kinds = tasks.sort(word2vec.skip_gram(word2vec_settings))
    assert {record["name"].split()[0] for record in kinds["records"]} == {"gensim", "word2vec.c", "pWord2Vec"}
    assert not any(record["problem"] for record in kinds["records"])
    assert all(table.ratio(record) > 0 for record in kinds["records"])
    speeds = [record for record in kinds["records"] if "text file to vectors" in record["what"]]
    assert len(speeds) == 6  # three peers, and gensim against three variants
    assert [run["seeds"] for run in kinds["runs"]] == [2, 2, 1, 1, 2, 2, 2, 1]
    assert all(run["speed"] > 0 and run["accuracy"] is not None for run in kinds["runs"])
    kinds = tasks.sort(word2vec.cbow(word2vec_settings))
    assert [run["run"] for run in kinds["runs"] if not run.get("alone")] == [
        "CBOW: gensim, corpus_file", "CBOW: fastseq",
    ]  # fmt: skip
    wide = word2vec.wide(word2vec_settings)
    assert sum("dim 24, 1 epoch: training alone" in record["what"] for record in wide) == 2
    kinds = tasks.sort(word2vec.iterable(word2vec_settings))
    assert [record["name"] for record in kinds["records"]] == ["gensim Word2Vec(iterable)"]
    assert "2 epochs" in kinds["facts"][0]["fact"]


def test_facts_on_word2vec_need_no_peer(load, word2vec_settings, monkeypatch):
    import numba

    word2vec = load("compare.word2vec")
    assert [fact["value"] for fact in word2vec.scaling(word2vec_settings)] == ["needs two cores"]
    if numba.config.NUMBA_NUM_THREADS > 1:
        *facts, cores = word2vec.scaling({**word2vec_settings, "threads": 2})
        assert len(facts) == 2
        assert all("1 thread: " in fact["value"] and "2 threads: " in fact["value"] for fact in facts)
        assert "from core to core" in cores["fact"]
        assert cores["value"].endswith(" ns")
    mapped, loss = word2vec.mapped(word2vec_settings)
    assert "x that in memory" in mapped["value"]
    assert "x that without" in loss["value"]
    monkeypatch.setattr(word2vec, "_absent", lambda name: True)
    missing = [
        record for task in (word2vec.skip_gram, word2vec.cbow, word2vec.wide, word2vec.iterable)
        for record in task({**word2vec_settings, "word2vec": None, "pword2vec": None, "seeds": 1}) if "what" in record
    ]  # fmt: skip
    assert {record["status"] for record in missing} == {"not installed", "not given"}


def test_it_says_when_cores_were_far_from_each_other(load, monkeypatch):
    cores, word2vec = load("compare.cores"), load("compare.word2vec")
    assert cores.described([31.2, 29.0, 160.4, None, 170.0, 33.0]) == "3 times 29 to 33 ns and 2 times 160 to 170 ns"
    assert cores.described([95.0]) == "1 times 95 to 95 ns"
    assert cores.described([None]) == ""
    assert word2vec._apart({"lines": [30.0, None]}) == ""
    assert word2vec._apart({"lines": [160.4, 30.0]}) == "a line took 160 ns between fastseq's cores"
    # No two cores of a machine are nearer than a few cycles.
    found = cores.line_nanoseconds()
    assert found is None or 1 < found < 1e6
    # Where the other thread does not run, waiting ends.
    monkeypatch.setattr(cores, "_MOST", 0)
    assert cores.line_nanoseconds() is None


def test_speed_is_the_best_and_quality_the_mean_of_seeds(load):
    word2vec = load("compare.word2vec")
    one = {"seconds": 3.0, "train": 2.0, "peak": 10, "accuracy": 0.5, "tokens": 6_000_000, "epochs": 2}
    two = {**one, "seconds": 4.0, "train": 1.0, "peak": 20, "accuracy": 0.7}
    merged = word2vec._merge([one, two])
    assert merged["accuracy"] == pytest.approx(0.6)
    assert (merged["peak"], merged["runs"]) == (20, 2)
    assert (word2vec._speed(merged), word2vec._speed(merged, "train")) == (4.0, 12.0)
    order = []
    sides = {name: lambda seed, name=name: order.append((name, seed)) or one for name in "abc"}
    word2vec._in_turn(sides, 2, once=("c",))
    assert order == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1)]


def test_a_peer_that_left_text_out_is_a_problem(load):
    word2vec = load("compare.word2vec")
    ours = {"words": 5, "tokens": 100, "epochs": 2, "seconds": 1.0, "train": 1.0, "peak": 1, "runs": 1}
    assert not any(row["problem"] for row in word2vec._against("a", "p", ours, {**ours, "seen": 200}))
    assert "went through 120" in word2vec._against("a", "p", ours, {**ours, "seen": 120})[0]["problem"]
    assert word2vec._against("a", "p", ours, {**ours, "words": 6})[0]["problem"] == "NOT same 5 words, same 100 tokens"


def test_a_run_of_one_group_keeps_the_others(load, monkeypatch, tmp_path, capsys):
    main, tasks = load("compare.__main__"), load("compare.tasks")
    monkeypatch.setattr(load("compare.card"), "available", lambda: False)

    def answers(name, settings):
        return [{"fact": name, "value": f"run {len(ran)}"}]

    ran = []
    monkeypatch.setattr(main, "run_task", lambda name, settings: ran.append(name) or answers(name, settings))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- peers:begin -->\n<!-- peers:end -->\n")
    common = ["--quick", "--data", str(tmp_path), "-o", str(tmp_path / "peers"), "--readme", str(readme)]
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki" / "enwiki100m.txt").write_text("some words and some more\n")
    assert main.main([*common, "--date", "2000-01-01"]) == 0
    assert ran == [name for name in tasks.NAMES if name not in tasks.GROUPS["card"]]
    ran.clear()
    assert main.main([*common, "--group", "word2vec", "--date", "2000-01-02"]) == 0
    assert ran == list(tasks.GROUPS["word2vec"])
    groups = json.loads((tmp_path / "peers.json").read_text())["groups"]
    assert {name: group["date"] for name, group in groups.items()} == {
        "counting": "2000-01-01", "word2vec": "2000-01-02", "recurrent": "2000-01-01", "language": "2000-01-01",
        "recipes": "2000-01-01",
    }  # fmt: skip
    text = readme.read_text()
    assert text.index("Measured on 2000-01-01") < text.index("Measured on 2000-01-02")
    assert "| weighing |" in text
    assert "| scaling |" in text
    # A file from before there were groups holds the first one.
    old = {key: value for key, value in groups["counting"].items() if key not in ("group", "runs", "seeds")}
    (tmp_path / "peers.json").write_text(json.dumps(old))
    assert main.main([*common, "--group", "word2vec", "--date", "2000-01-03"]) == 0
    assert "Measured on 2000-01-01" in readme.read_text()
    with pytest.raises(SystemExit):
        main.main([*common, "--group", "word2vec", "--only", "weighing"])
    assert "names nothing of the group" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main([*common, "--group", "card"])
    assert "needs a CUDA device" in capsys.readouterr().err


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
    results = json.loads((tmp_path / "peers.json").read_text())["groups"]["counting"]
    assert [record["name"][:5] for record in results["records"]] == ["SciPy", "SciPy"]
    assert all(record["ratio"] > 0 and not record["problem"] for record in results["records"])
    assert "Measured on 2000-01-01" in readme.read_text()
    assert readme.read_text().endswith("<!-- peers:end -->\nend\n")


@pytest.mark.cuda
@pytest.mark.skipif(not _cuda.available(), reason="no CUDA device; NUMBA_ENABLE_CUDASIM=1 runs this in the simulator")
def test_rows_of_a_card(load, table):
    card, tasks = load("compare.card"), load("compare.tasks")
    settings = {"quick": True, "rounds": 1, "threads": 1, "data": None}
    # A step of a language model or a text of word2vec takes the simulator minutes.
    names = ["card_gru", "card_output_layer"] if _cuda.SIMULATED else list(card.ROWS)[:-1]
    kinds = tasks.sort([row for name in names for row in card.ROWS[name](settings)])
    assert len(kinds["records"]) >= 3
    for record in kinds["records"]:
        assert not record["problem"]
        assert record["status"].startswith("not installed; fastseq ") or table.ratio(record) > 0
    assert "step by step" in kinds["facts"][0]["fact"]
    assert card.card_name()
