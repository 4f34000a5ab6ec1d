"""Skip-gram and CBOW beside gensim, word2vec.c and pWord2Vec.

Every training is a process of its own, which reads the same file and uses the same number of threads; both sides run in
turn, once for each seed. A run is a dict: ``scan``, ``train`` and ``seconds`` (both, and nothing else), ``words`` and
``tokens`` of the vocabulary, ``peak`` in bytes, and its scores.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from . import peers
from .cores import FAR, described, line_nanoseconds
from .measure import forget_peak, peak_bytes, resident_bytes, run_task
from .rows import Record, Settings, _absent, _first_fit, _scores, _slice_of, missing, record

Run = dict[str, Any]

LINE = 1000
GENSIM = "gensim Word2Vec(corpus_file)"
# What the program of each folder option is called in it, and in the table.
PROGRAMS = {"word2vec": ("word2vec", "word2vec.c"), "pword2vec": ("pWord2Vec", "pWord2Vec (shared negatives)")}
SCORES = (("accuracy", "Google analogies, % right (first 30,000 words)"), ("spearman", "WS-353, Spearman x 100"))
RATES = {True: 0.025, False: 0.05}
# Our runs that differ from the default in one thing.
VARIANTS: dict[str, dict[str, Any]] = {
    "learning rate 0.05": {"rate": 0.05},
    "shared_negatives=False": {"options": {"shared_negatives": False}},
    "deterministic=True": {"options": {"deterministic": True}},
}


def cut_lines(source: str | os.PathLike[str], target: str | os.PathLike[str], most: int = LINE) -> None:
    """Copy a text, with lines of more than ``most`` words cut: gensim leaves out what is beyond 10,000 words."""
    with open(source, "rb") as read, open(target, "wb") as write:
        rest = b""
        words: list[bytes] = []
        while True:
            block = read.read(1 << 20)
            whole = rest + block
            # A word may go on in the next block.
            cut = max(whole.rfind(b" "), whole.rfind(b"\n")) + 1 if block else len(whole)
            whole, rest = whole[:cut], whole[cut:]
            lines = whole.split(b"\n")
            for i, line in enumerate(lines):
                words += line.split()
                ends = i < len(lines) - 1 or not block
                first = 0
                while len(words) - first >= most or (ends and len(words) > first):
                    write.write(b" ".join(words[first : first + most]) + b"\n")
                    first += most
                del words[:first]
            if not block:
                return


# --- one training, in a process of its own ----------------------------------------------------------------------------


def _model(settings: Settings, **changes: Any) -> Any:
    import fastseq as fs

    run = settings["run"]
    # The loss is not counted, as on the other sides.
    options = {"compute_loss": False, **run.get("options", {})}
    kind = fs.SkipGram if run["skip_gram"] else fs.CBOW
    return kind(
        **{"dim": run["dim"], "window": 5, "negative": 5, "epochs": run["epochs"], "learning_rate": run["rate"],
           "sample": 1e-4, "random_state": run["seed"], **options, **changes}
    )  # fmt: skip


def word2vec_warm(settings: Settings) -> None:
    """Train on a few lines, so that all is compiled."""
    import fastseq as fs

    with _slice_of(settings["lines"]) as path:
        small = fs.Corpus.from_file(path)
        fs.Corpus.from_sentences(list(small)[:20])
        _model(settings, epochs=1).fit(small)


def word2vec_ours(settings: Settings) -> Run:
    """Train ours from the file (``source`` "file"), from lists of words ("lists") or from a saved corpus ("mapped")."""
    import fastseq as fs

    run = settings["run"]
    with fs.threads(settings["threads"]):
        word2vec_warm(settings)
        forget_peak()
        begin = time.perf_counter()
        if run["source"] == "lists":
            corpus = fs.Corpus.from_sentences(iter(peers.Lines(settings["lines"])), min_count=settings["min_count"])
        elif run["source"] == "mapped":
            corpus = fs.Corpus.load(run["saved"], mmap=True)
        else:
            corpus = fs.Corpus.from_file(settings["lines"], min_count=settings["min_count"])
        scan = time.perf_counter() - begin
        peak, before = peak_bytes(), resident_bytes()
        forget_peak()
        begin = time.perf_counter()
        model = _model(settings).fit(corpus)
        train = time.perf_counter() - begin
        after = peak_bytes()
        if peak is not None and before is not None and after is not None:
            peak, before = max(peak, after), after - before
        matrix = model.vectors.matrix
        return {
            "scan": scan, "train": train, "seconds": scan + train, "words": len(corpus.vocab),
            "tokens": corpus.n_tokens, "peak": peak, "added": before, "tables": 2 * 4 * matrix.size,
            **_scores(matrix, list(corpus.vocab.words), {**settings, "score": run["score"]}),
        }  # fmt: skip


def word2vec_gensim(settings: Settings) -> Run:
    """Train gensim's."""
    import gensim.models  # noqa: F401  (imported before the clock starts, as ours is)

    run = settings["run"]
    model, found = peers.gensim_word2vec(
        settings["lines"], skip_gram=run["skip_gram"], dim=run["dim"], epochs=run["epochs"], rate=run["rate"],
        min_count=settings["min_count"], threads=settings["threads"], seed=run["seed"],
        iterable=run["source"] == "lists",
    )  # fmt: skip
    peak = peak_bytes()
    words = list(model.wv.index_to_key)
    tokens = sum(model.wv.get_vecattr(word, "count") for word in words)
    return {
        **found, "seconds": found["scan"] + found["train"], "words": len(words), "tokens": int(tokens), "peak": peak,
        **_scores(model.wv.vectors, words, {**settings, "score": run["score"]}),
    }  # fmt: skip


def word2vec_program(settings: Settings) -> Run:
    """Train with word2vec.c or pWord2Vec."""
    run = settings["run"]
    with tempfile.TemporaryDirectory(prefix="fastseq-word2vec-") as folder:
        path, found = peers.c_word2vec(
            os.path.join(settings[run["program"]], PROGRAMS[run["program"]][0]), settings["lines"], Path(folder),
            dim=run["dim"], epochs=run["epochs"], rate=run["rate"], min_count=settings["min_count"],
            threads=settings["threads"],
        )  # fmt: skip
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        import fastseq as fs

        vectors = fs.WordVectors.load(path)
        # Its word for the end of a line takes a place among the candidates, and no one asks for it.
        kept = [i for i, word in enumerate(vectors.words) if word != "</s>"]
        words = [vectors.words[i] for i in kept]
        scores = _scores(vectors.matrix[kept], words, {**settings, "score": run["score"]})
    return {**found, "words": len(words), "tokens": None, "peak": peak, **scores}


# --- many of them -----------------------------------------------------------------------------------------------------


# How long a line of the cache took from core to core before and after each training so far.
_LINES: list[float | None] = []


def _run(settings: Settings, side: str, **run: Any) -> Run:
    skip_gram = run.get("skip_gram", True)
    plan = {
        "skip_gram": True, "dim": settings["dim"], "epochs": settings["epochs"], "rate": RATES[skip_gram], "seed": 0,
        "score": True, "source": "file", **run,
    }  # fmt: skip
    if side == "ours" and not settings["quick"]:
        # Should anything have to be compiled, then elsewhere: what the compiler leaves in memory is not to be counted.
        run_task("word2vec_warm", {**settings, "run": plan})
    lines = [line_nanoseconds()]
    found: Run = run_task(f"word2vec_{side}", {**settings, "run": plan})
    lines.append(line_nanoseconds())
    _LINES.extend(lines)
    return {**found, "epochs": plan["epochs"], "lines": lines}


def _merge(runs: Sequence[Run]) -> Run:
    """Return the fastest run, with the mean scores of all and the largest peak."""
    merged = dict(min(runs, key=lambda run: run["seconds"]))
    if all(run["train"] is not None for run in runs):
        merged["train"] = min(run["train"] for run in runs)
    for score, _ in SCORES:
        if score in merged:
            merged[score] = sum(run[score] for run in runs) / len(runs)
    if merged["peak"] is not None:
        merged["peak"] = max(run["peak"] for run in runs)
    merged["runs"] = len(runs)
    return merged


def _apart(run: Run) -> str:
    """Return a note on a run whose cores were far from each other before or after it, or nothing."""
    far = [f"{line:.0f}" for line in run.get("lines", ()) if line is not None and line >= FAR]
    return f"a line took {' and '.join(far)} ns between fastseq's cores" if far else ""


def _speed(run: Run, part: str = "seconds") -> float:
    """Return million tokens of the vocabulary a second."""
    speed: float = 1e-6 * run["tokens"] * run["epochs"] / run[part]
    return speed


def _shown(label: str, run: Run) -> dict[str, Any]:
    """Return a row of the table of all runs."""
    return {
        "run": label, "speed": _speed(run), "training": _speed(run, "train") if run["train"] else None,
        "accuracy": run.get("accuracy"), "spearman": run.get("spearman"), "peak": run["peak"], "seeds": run["runs"],
    }  # fmt: skip


def _means(ours: Run, peer: Run) -> str:
    counts = (ours["runs"], peer["runs"])
    if counts == (1, 1):
        return "one seed each"
    return f"mean of {counts[0]} seeds" if counts[0] == counts[1] else f"mean of {counts[0]} seeds, peer {counts[1]}"


def _against(title: str, name: str, ours: Run, peer: Run, note: str = "", full: bool = True) -> list[Record]:
    """Return the rows of one training against another: speed and quality, and if ``full`` its parts and memory."""
    rounds = min(ours["runs"], peer["runs"])
    same = ours["words"] == peer["words"] and (peer["tokens"] is None or peer["tokens"] == ours["tokens"])
    text = f"same {ours['words']:,} words" + ("" if peer["tokens"] is None else f", same {ours['tokens']:,} tokens")
    if peer.get("seen", float("inf")) < 0.98 * ours["tokens"] * ours["epochs"]:
        same, text = False, f"all of the text: gensim went through {peer['seen']:,} tokens"
    peer = {**peer, "tokens": ours["tokens"]}
    rows = [
        record(f"{title}: text file to vectors", name, _speed(ours), _speed(peer), "M words/s", rounds=rounds,
               same=(same, text), higher_is_better=True, note="; ".join(filter(None, (note, _apart(ours)))))
    ]  # fmt: skip
    if full and ours["train"] and peer["train"]:
        rows.append(
            record(f"{title}: training alone", name, _speed(ours, "train"), _speed(peer, "train"), "M words/s",
                   rounds=rounds, higher_is_better=True)
        )  # fmt: skip
    for score, about in SCORES:
        # Of two that learned nothing, as on a small text, there is no ratio.
        if ours.get(score, 0) > 0 and peer.get(score, 0) > 0:
            rows.append(
                record(f"{title}: {about}", name, 100 * ours[score], 100 * peer[score], "", rounds=rounds,
                       higher_is_better=True, note=f"quality, not speed; {_means(ours, peer)}")
            )  # fmt: skip
    if full and ours["peak"] and peer["peak"]:
        rows.append(
            record(f"{title}: peak memory of the process", name, ours["peak"] / 1e6, peer["peak"] / 1e6, "MB",
                   rounds=rounds)
        )  # fmt: skip
    return rows


def _in_turn(sides: dict[str, Callable[..., Run]], seeds: int, once: Sequence[str] = ()) -> dict[str, Run]:
    """Call the sides in turn, each once a seed, those in ``once`` for the first seed only."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for seed in range(seeds):
        for name, side in sides.items():
            if seed == 0 or name not in once:
                runs[name].append(side(seed=seed))
    return {name: _merge(found) for name, found in runs.items()}


def _title(settings: Settings, kind: str) -> str:
    return f"{settings['corpus_name']}: {kind}"


def skip_gram(settings: Settings) -> list[dict[str, Any]]:
    """Skip-gram against all peers, and what each choice of exactness costs."""
    title = _title(settings, "skip-gram")
    gensim = not _absent("gensim")
    given = [name for name in PROGRAMS if settings[name]]
    sides: dict[str, Callable[..., Run]] = {}
    if gensim:
        sides["gensim"] = partial(_run, settings, "gensim")
    sides["ours"] = partial(_run, settings, "ours")
    for name in given:
        sides[name] = partial(_run, settings, "program", program=name)
    for label, plan in VARIANTS.items():
        sides[label] = partial(_run, settings, "ours", **plan)
    # The C programs start from the same numbers at every run, and the deterministic mode takes longest of ours.
    runs = _in_turn(sides, settings["seeds"], once=(*given, "deterministic=True"))
    ours = runs["ours"]
    for name in given:
        runs[name]["tokens"] = ours["tokens"]
    rows: list[dict[str, Any]] = []
    if gensim:
        rows += _against(title, GENSIM, ours, runs["gensim"])
    else:
        rows.append(missing(f"{title}: text file to vectors", GENSIM, "not installed"))
    for name, (_, label) in PROGRAMS.items():
        if name in given:
            rows += _against(title, label, ours, {**runs[name], "tokens": None})
        else:
            rows.append(missing(f"{title}: text file to vectors", label, "not given"))
    for label, plan in VARIANTS.items():
        if gensim:
            note = "gensim at its default, 0.025" if "rate" in plan else ""
            rows += _against(f"{title}, {label}", GENSIM, runs[label], runs["gensim"], note, full=False)
    shown = {"gensim": "gensim, corpus_file", "ours": "fastseq", **{name: PROGRAMS[name][1] for name in given}}
    rows += [_shown(f"skip-gram: {shown[name]}", runs[name]) for name in shown if name in runs]
    alone = {"ours": "default: negatives shared by a window and drawn for 2,048 tokens, threads without locks"}
    alone |= {label: label for label in VARIANTS}
    alone["shared_negatives=False"] += " (negatives drawn for each pair)"
    alone["deterministic=True"] += " (same bits for any number of threads)"
    rows += [{**_shown(f"skip-gram, {label}", runs[name]), "alone": True} for name, label in alone.items()]
    rows += _memory("SkipGram", ours)
    return rows


def _memory(name: str, run: Run) -> list[dict[str, Any]]:
    if run.get("added") is None:
        return []
    text = f"{run['added'] / 1e6:,.0f} MB (vectors and context vectors: {run['tables'] / 1e6:,.0f} MB)"
    return [{"fact": f"Peak memory of {name}.fit above what is held before", "value": text}]


def cbow(settings: Settings) -> list[dict[str, Any]]:
    """CBOW against gensim's."""
    title = _title(settings, "CBOW")
    gensim = not _absent("gensim")
    sides: dict[str, Callable[..., Run]] = {}
    if gensim:
        sides["gensim"] = partial(_run, settings, "gensim", skip_gram=False)
    sides["ours"] = partial(_run, settings, "ours", skip_gram=False)
    for option, value in (("shared_negatives", False), ("deterministic", True)):
        sides[f"{option}={value}"] = partial(_run, settings, "ours", skip_gram=False, options={option: value})
    runs = _in_turn(sides, settings["seeds"], once=("deterministic=True",))
    rows: list[dict[str, Any]] = []
    if gensim:
        rows += _against(title, f"{GENSIM}, sg=0", runs["ours"], runs["gensim"])
        rows.append(_shown("CBOW: gensim, corpus_file", runs["gensim"]))
    else:
        rows.append(missing(f"{title}: text file to vectors", f"{GENSIM}, sg=0", "not installed"))
    rows.append(_shown("CBOW: fastseq", runs["ours"]))
    alone = {
        "ours": "default: negatives drawn for 2,048 tokens, threads without locks",
        "shared_negatives=False": "shared_negatives=False (negatives drawn for each centre)",
        "deterministic=True": "deterministic=True",
    }
    rows += [{**_shown(f"CBOW, {label}", runs[name]), "alone": True} for name, label in alone.items()]
    return rows


def wide(settings: Settings) -> list[Record]:
    """Both models with wide vectors, one epoch."""
    rows: list[Record] = []
    for is_skip_gram, kind in ((True, "skip-gram"), (False, "CBOW")):
        title = _title(settings, f"{kind}, dim {settings['wide']}, 1 epoch")
        name = GENSIM if is_skip_gram else f"{GENSIM}, sg=0"
        if _absent("gensim"):
            rows.append(missing(f"{title}: training alone", name, "not installed"))
            continue
        plan = {"skip_gram": is_skip_gram, "dim": settings["wide"], "epochs": 1, "score": False}
        sides = {side: partial(_run, settings, side, **plan) for side in ("gensim", "ours")}
        # A run of ours takes seconds, and other processes make some of them half as fast.
        n_runs = 1 if settings["quick"] else 3
        runs = _in_turn(sides, n_runs)
        note = f"one epoch, the fastest of {n_runs} runs" if n_runs > 1 else "one epoch, one run"
        rows += _against(title, name, runs["ours"], runs["gensim"], note)
    return rows


def iterable(settings: Settings) -> list[dict[str, Any]]:
    """From lists of words that a generator makes, against gensim and against arrays."""
    what, name = _title(settings, "skip-gram from Python lists of words, to vectors"), "gensim Word2Vec(iterable)"
    rows: list[dict[str, Any]] = []
    lists = _run(settings, "ours", source="lists", score=False)
    arrays = _run(settings, "ours", score=False)
    if _absent("gensim"):
        rows.append(missing(what, name, "not installed"))
    else:
        gensim = _run(settings, "gensim", source="lists", score=False)
        same = (gensim["tokens"] == lists["tokens"], f"same {lists['tokens']:,} tokens")
        rows.append(
            record(what, name, _speed(lists), _speed(gensim), "M words/s", same=same, higher_is_better=True,
                   note="fastseq goes through a generator once; gensim goes through it once more than there are epochs")
        )  # fmt: skip
    share = _speed(lists) / _speed(arrays, "train")
    value = f"{_speed(lists):.3g} M words/s, {share:.2f} x the speed of `fit` on arrays"
    epochs = settings["epochs"]
    fact = f"Skip-gram, {epochs} epoch{'s' * (epochs > 1)} from a generator of lists of words, encoding included"
    return [*rows, {"fact": fact, "value": value}]


def scaling(settings: Settings) -> list[dict[str, Any]]:
    """Words a second by the number of threads."""
    most = settings["threads"]
    if most < 2:
        return [{"fact": "Training by number of threads", "value": "needs two cores"}]
    counts = [2**i for i in range(most.bit_length()) if 2**i < most] + [most]
    facts = []
    for is_skip_gram, kind in ((True, "Skip-gram"), (False, "CBOW")):
        best: dict[int, float] = dict.fromkeys(counts, 0.0)
        for _ in range(1 if settings["quick"] else 2):
            for n in counts:
                run = _run(
                    {**settings, "threads": n}, "ours", skip_gram=is_skip_gram, score=False, epochs=_few(settings)
                )
                best[n] = max(best[n], _speed(run, "train"))
        value = ", ".join(f"{n} thread{'s' * (n > 1)}: {speed:.3g} M words/s" for n, speed in best.items())
        value += f"; {best[most] / best[1]:.2f} x"
        facts.append({"fact": f"{kind}, training alone by number of threads", "value": value})
    if told := described(_LINES):
        facts.append({"fact": "A line of the cache from core to core, before and after the trainings", "value": told})
    return facts


def _few(settings: Settings) -> int:
    """Return epochs enough for a ratio of ours to ours."""
    return min(2, settings["epochs"])


@contextmanager
def _saved(settings: Settings) -> Iterator[str]:
    import fastseq as fs

    with tempfile.TemporaryDirectory(prefix="fastseq-corpus-") as folder:
        path = Path(folder) / "corpus.safetensors"
        fs.Corpus.from_file(settings["lines"], min_count=settings["min_count"]).save(path)
        yield str(path)


def mapped(settings: Settings) -> list[dict[str, Any]]:
    """From a corpus that is mapped from the disk, against one in memory; and what counting the loss costs."""
    best: dict[str, Run] = {}
    with _saved(settings) as path:
        plans: dict[str, dict[str, Any]] = {
            "memory": {},
            "mapped": {"source": "mapped", "saved": path},
            "loss": {"options": {"compute_loss": True}},
        }
        for _ in range(1 if settings["quick"] else 2):
            for name, plan in plans.items():
                run = _run(settings, "ours", score=False, epochs=_few(settings), **plan)
                if name not in best or run["train"] < best[name]["train"]:
                    best[name] = run
    speeds = {name: _speed(run, "train") for name, run in best.items()}
    peaks = [best[name]["peak"] for name in ("mapped", "memory")]
    memory = "" if None in peaks else f"; peak memory {peaks[0] / 1e6:,.0f} instead of {peaks[1] / 1e6:,.0f} MB"
    return [
        {"fact": "Skip-gram, training alone, corpus mapped from disk (file in the page cache)",
         "value": f"{speeds['mapped']:.3g} M words/s, {speeds['mapped'] / speeds['memory']:.2f} x that in memory"
                  f"{memory}"},
        {"fact": "The same in memory, with the loss reported (the rows above train without)",
         "value": f"{speeds['loss']:.3g} M words/s, {speeds['loss'] / speeds['memory']:.2f} x that without"},
    ]  # fmt: skip


def first_word2vec_fit(settings: Settings) -> list[dict[str, Any]]:
    """The first SkipGram.fit of a process with an empty cache of compiled kernels, and with a full one."""
    return _first_fit(settings, "SkipGram", "fs.SkipGram(dim=20, epochs=1)")


ROWS: dict[str, Callable[[Settings], list[Record]]] = {
    "skip_gram": skip_gram,
    "cbow": cbow,
    "wide": wide,
    "iterable": iterable,
}
FACTS: dict[str, Callable[[Settings], list[dict[str, Any]]]] = {
    "scaling": scaling,
    "mapped": mapped,
    "first_word2vec_fit": first_word2vec_fit,
}
PARTS: tuple[Callable[[Settings], Any], ...] = (word2vec_warm, word2vec_ours, word2vec_gensim, word2vec_program)
