"""What is compared. A task runs in a process of its own, takes the settings and returns records, plain JSON values.

A record has ``what`` (the job), ``ours`` and ``peer`` (numbers in ``unit``), ``name`` (the peer),
``higher_is_better``, ``rounds``, and ``check``: what was found equal on both sides, or ``problem`` where it was not.
Where the peer is missing ``status`` says why and there are no numbers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from . import peers
from .measure import environment, forget_peak, interleave, peak_bytes, resident_bytes, run_task

Settings = Mapping[str, Any]
Record = dict[str, Any]

# Of the vectors and of the factorisation: as in the paper's recommendations and the package's documentation.
SMOOTHING, SHIFT, WEIGHT = 0.75, 1.0, 0.5


def record(
    what: str,
    peer_name: str,
    ours: float | None,
    peer: float | None,
    unit: str,
    *,
    rounds: int = 1,
    same: tuple[bool, str] = (True, ""),
    higher_is_better: bool = False,
    note: str = "",
) -> Record:
    """Return a record of two measured numbers; ``same`` is whether the sides agree, and on what."""
    agree, about = same
    return {
        "what": what, "name": peer_name, "ours": ours, "peer": peer, "unit": unit, "rounds": rounds,
        "check": about if agree else "", "problem": "" if agree else f"NOT {about}",
        "higher_is_better": higher_is_better, "note": note, "status": "measured",
    }  # fmt: skip


def missing(what: str, peer_name: str, reason: str) -> Record:
    """Return a record for a peer that is not there."""
    return {**record(what, peer_name, None, None, ""), "status": reason}


def _absent(module: str) -> bool:
    return importlib.util.find_spec(module) is None


def _quietest(times: list[float]) -> float:
    return min(times)


def _corpus(settings: Settings) -> Any:
    import fastseq as fs

    return fs.Corpus.from_file(settings["corpus"], min_count=settings["min_count"])


def _weighed(settings: Settings) -> tuple[Any, Any]:
    """Return the corpus and its PPMI matrix."""
    import fastseq as fs

    corpus = _corpus(settings)
    return corpus, fs.ppmi(fs.cooccurrence(corpus, 5, dtype="int32"), shift=SHIFT, smoothing=SMOOTHING)


def _parts(matrix: Any) -> tuple[Any, Any, Any]:
    """Return a sparse matrix as the kernels take it."""
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data


# --- a text file to a vocabulary ------------------------------------------------------------------------------------


def vocabulary(settings: Settings) -> list[Record]:
    """Time and memory of reading a text file."""
    what, name = f"{settings['corpus_name']}: text file to ids and vocabulary", "gensim build_vocab(corpus_file)"
    if _absent("gensim"):
        return [missing(what, name, "not installed")]
    times, found = interleave(
        {"ours": lambda: _corpus(settings), "peer": lambda: _gensim_vocabulary(settings)},
        settings["rounds"],
        {"ours": lambda: _corpus(settings), "peer": lambda: _gensim_vocabulary(settings)} if settings["quick"] else
        {"ours": lambda: _corpus(settings)},
    )  # fmt: skip
    ours, peer = found["ours"], found["peer"]
    counts = {word: peer.wv.get_vecattr(word, "count") for word in peer.wv.index_to_key}
    same = counts == dict(zip(ours.vocab.words, ours.vocab.counts.tolist()))
    words = (same, f"same {len(counts):,} words, same counts ({sum(counts.values()):,} tokens)")
    del ours, peer, found, counts
    rows = [
        record(what, name, _quietest(times["ours"]), _quietest(times["peer"]), "s", rounds=settings["rounds"],
               same=words, note="gensim only counts; fastseq also encodes")
    ]  # fmt: skip
    peaks = {side: run_task(f"vocabulary_memory_{side}", settings) for side in ("ours", "peer")}
    size = os.path.getsize(settings["corpus"])
    if None not in peaks.values():
        rows.append(
            record(f"{settings['corpus_name']}: the same, peak memory of the process", name, peaks["ours"] / 1e6,
                   peaks["peer"] / 1e6, "MB", note=f"fastseq: {peaks['ours'] / size:.2f} x the file, all included")
        )  # fmt: skip
    return rows


def _gensim_vocabulary(settings: Settings) -> Any:
    from gensim.models import Word2Vec

    model = Word2Vec(min_count=settings["min_count"], workers=settings["threads"], vector_size=1)
    model.build_vocab(corpus_file=settings["corpus"])
    return model


def vocabulary_memory_ours(settings: Settings) -> int | None:
    """Return the peak memory of a process that reads the corpus."""
    _corpus(settings)
    return peak_bytes()


def vocabulary_memory_peer(settings: Settings) -> int | None:
    """Return the peak memory of a process that lets gensim count it."""
    _gensim_vocabulary(settings)
    return peak_bytes()


# --- counting -------------------------------------------------------------------------------------------------------


def _count(corpus: Any, window: int) -> Any:
    from fastseq import kernels

    return kernels.cooccurrence_counts(corpus.ids, corpus.offsets, len(corpus.vocab), window=window)


def counting_glove(settings: Settings) -> list[Record]:
    """Counts by GloVe's C program, windows 5 and 15."""
    name = "GloVe's cooccur (C)"
    titles = {window: f"{settings['corpus_name']}: co-occurrence counts, window {window}" for window in (5, 15)}
    if not settings["glove"]:
        return [missing(title, name, "not given") for title in titles.values()]
    corpus = _corpus(settings)
    words, counts = list(corpus.vocab.words), corpus.vocab.counts.tolist()
    rows = []
    for window, title in titles.items():
        files: list[Path] = []

        def peer(window: int = window, files: list[Path] = files) -> Path:
            for old in files:
                shutil.rmtree(old.parent)
            files[:] = [peers.glove_counts(settings["glove"], settings["corpus"], words, counts, window)]
            return files[0]

        try:
            # cooccur is a process of its own and compiles nothing; the file is in the page cache by now.
            times, found = interleave(
                {"ours": partial(_count, corpus, window), "peer": peer},
                settings["rounds"],
                {"ours": partial(_count, corpus, window)},
            )
            theirs = peers.glove_matrix(files[0], len(words))
        finally:
            for old in files:
                shutil.rmtree(old.parent)
        indptr, indices, data = found["ours"]
        theirs.sort_indices()
        same = (
            np.array_equal(indptr, theirs.indptr)
            and np.array_equal(indices, theirs.indices)
            and np.array_equal(data, theirs.data)
        )
        equal = (same, f"same {len(indices):,} counts")
        rows.append(
            record(title, name, _quietest(times["ours"]), _quietest(times["peer"]), "s", rounds=settings["rounds"],
                   same=equal, note="cooccur also reads the text and writes a file; fastseq counts encoded ids")
        )  # fmt: skip
        del theirs, found, indptr, indices, data
    return rows


def counting_scipy(settings: Settings) -> list[Record]:
    """Counts by SciPy, window 5."""
    corpus = _corpus(settings)
    n_words = len(corpus.vocab)
    rounds = min(2, settings["rounds"])
    times, found = interleave(
        {
            "ours": lambda: _count(corpus, 5),
            "peer": lambda: peers.scipy_counts(corpus.ids, corpus.offsets, n_words, 5),
        },
        rounds,
        {"ours": lambda: _count(corpus, 5)},
    )
    (_, indices, data), theirs = found["ours"], found["peer"]
    same = np.array_equal(indices, theirs.indices) and np.array_equal(data, theirs.data)
    return [
        record(f"{settings['corpus_name']}: co-occurrence counts, window 5", "SciPy: COO to CSR by distance",
               _quietest(times["ours"]), _quietest(times["peer"]), "s", rounds=rounds,
               same=(same, f"same {len(indices):,} counts"))
    ]  # fmt: skip


def counting_python(settings: Settings) -> list[Record]:
    """Counts by collections.Counter on a slice, window 5."""
    from fastseq import kernels

    n = 200_000  # a million takes half a minute
    corpus = _corpus(settings)
    ids = corpus.ids[:n]
    offsets = np.array([0, len(ids)])

    def ours() -> Any:
        return kernels.cooccurrence_counts(ids, offsets, len(corpus.vocab), window=5)

    times, found = interleave({"ours": ours, "peer": lambda: peers.counter_counts(ids, 5)}, 1, {"ours": ours})
    indptr, indices, data = found["ours"]
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    # Ours is a matrix; a dictionary of it costs more than the counting, and is made for this check only.
    same = found["peer"] == dict(zip(zip(rows.tolist(), indices.tolist()), data.tolist()))
    return [
        record(f"its first {len(ids):,} tokens: co-occurrence counts, window 5", "collections.Counter",
               _quietest(times["ours"]), _quietest(times["peer"]), "s",
               same=(same, f"same {len(indices):,} counts"))
    ]  # fmt: skip


def counting_memory(settings: Settings) -> list[dict[str, Any]]:
    """Peak memory of counting, above what is held before, relative to the result; one process a window."""
    return [fact for window in (5, 15) for fact in run_task(f"counting_memory_{window}", settings)]


def _counting_memory(settings: Settings, window: int) -> list[dict[str, Any]]:
    from fastseq import kernels

    corpus = _corpus(settings)
    short = np.array([0, min(1000, len(corpus.ids))])
    kernels.cooccurrence_counts(corpus.ids[: short[1]], short, len(corpus.vocab), window=window)
    before = resident_bytes()
    if before is None or not forget_peak():
        return []
    result = _count(corpus, window)
    peak = peak_bytes()
    size = sum(part.nbytes for part in result)
    assert peak is not None
    text = f"{(peak - before) / size:.2f} x the result ({(peak - before) / 1e6:,.0f} of {size / 1e6:,.0f} MB)"
    return [{"fact": f"Peak memory of counting, window {window} (int64 counts)", "value": text}]


def counting_memory_5(settings: Settings) -> list[dict[str, Any]]:
    """Return the memory of window 5."""
    return _counting_memory(settings, 5)


def counting_memory_15(settings: Settings) -> list[dict[str, Any]]:
    """Return the memory of window 15."""
    return _counting_memory(settings, 15)


# --- weighing and factorising ---------------------------------------------------------------------------------------


def weighing(settings: Settings) -> list[Record]:
    """PPMI by SciPy, as usually written and tuned."""
    import fastseq as fs

    counts = fs.cooccurrence(_corpus(settings), 5, dtype="int32")
    sides: dict[str, Callable[[], Any]] = {
        "ours": lambda: fs.ppmi(counts, shift=SHIFT, smoothing=SMOOTHING),
        "plain": lambda: peers.scipy_ppmi(counts, SMOOTHING, SHIFT),
        "tuned": lambda: peers.scipy_ppmi_tuned(counts, SMOOTHING, SHIFT),
    }
    times, found = interleave(sides, settings["rounds"], {"ours": sides["ours"], "tuned": sides["tuned"]})
    rows = []
    for side, name in (("plain", "SciPy, as usually written (float64)"), ("tuned", "SciPy, tuned (float32)")):
        # An entry within rounding of zero may be kept on one side only, so matrices are compared by their difference.
        difference = float(abs(found["ours"] - found[side]).max())
        rows.append(
            record(f"PPMI of {counts.nnz:,} counts", name, _quietest(times["ours"]), _quietest(times[side]), "s",
                   rounds=settings["rounds"], same=(difference < 1e-5, f"equal to {_power_of_ten(difference)}"))
        )  # fmt: skip
    return rows


def _power_of_ten(difference: float) -> str:
    return "the last bit" if difference == 0 else f"1e{int(np.ceil(np.log10(difference)))}"


def sparse_product(settings: Settings) -> list[Record]:
    """The product alone, in operations a second."""
    from fastseq import kernels

    _, matrix = _weighed(settings)
    parts = _parts(matrix)
    dense = np.random.default_rng(0).standard_normal((matrix.shape[1], 150), np.float32)
    sides: dict[str, Callable[[], Any]] = {
        "ours": lambda: kernels.csr_matmul(*parts, dense),
        "peer": lambda: matrix @ dense,
    }
    times, found = interleave(sides, settings["rounds"], sides)
    work = 2e-9 * matrix.nnz * dense.shape[1]
    difference = float(np.abs(found["ours"] - found["peer"]).max() / np.abs(found["peer"]).max())
    return [
        record(f"sparse ({matrix.nnz:,} entries) times dense (150 columns)", "SciPy (one thread)",
               work / _quietest(times["ours"]), work / _quietest(times["peer"]), "GFLOP/s", rounds=settings["rounds"],
               same=(difference < 1e-5, f"equal to {_power_of_ten(difference)} of the largest"), higher_is_better=True)
    ]  # fmt: skip


def factorising(settings: Settings) -> list[Record]:
    """The truncated SVD at equal iterations and oversampling."""
    dim, n_iter, n_oversamples, seed = settings["dim"], 5, 10, 0
    what = f"truncated SVD by power iteration, k = {dim}, {n_iter} iterations, {n_oversamples} extra directions"
    if _absent("sklearn"):
        return [missing(what, "scikit-learn randomized_svd", "not installed")]
    from fastseq import kernels

    _, matrix = _weighed(settings)
    parts = _parts(matrix)

    options = {"method": "power", "n_oversamples": n_oversamples, "n_iter": n_iter}

    def ours() -> Any:
        # Each side draws its own start.
        return kernels.randomized_svd(*parts, matrix.shape[1], dim, **options)

    def peer() -> Any:
        return peers.sklearn_svd(matrix, dim, n_oversamples, n_iter, seed)

    rounds = min(2, settings["rounds"])
    times, found = interleave({"ours": ours, "peer": peer}, rounds, {"ours": ours})
    # From the start that the other side draws, the values are the same.
    width = min(dim + n_oversamples, *matrix.shape)
    start = np.random.RandomState(seed).normal(size=(matrix.shape[1], width)).astype(np.float32)
    _, values, _ = kernels.randomized_svd(*parts, matrix.shape[1], dim, start=start, **options)
    difference = float(np.max(np.abs(values / found["peer"][1] - 1)))
    return [
        record(what, "scikit-learn randomized_svd", _quietest(times["ours"]), _quietest(times["peer"]), "s",
               rounds=rounds, same=(difference < 1e-3, f"from one start, values equal to {_power_of_ten(difference)}"))
    ]  # fmt: skip


def svd_settings(settings: Settings) -> list[dict[str, Any]]:
    """How many of each word's ten nearest neighbours by the exact factorisation each setting keeps."""
    import fastseq as fs
    from fastseq import kernels

    dim = settings["dim"]
    _, matrix = _weighed(settings)
    ours: list[tuple[str, dict[str, Any]]] = [
        ("block Krylov, 16 iterations (the default)", {}),
        ("block Krylov, 12 iterations", {"n_iter": 12}),
        ("block Krylov, 8 iterations", {"n_iter": 8}),
        ("power iteration, 5 iterations, 10 extra", {"method": "power"}),
        ("power iteration, 10 iterations, 100 extra", {"method": "power", "n_iter": 10, "n_oversamples": 100}),
    ]
    theirs = [] if _absent("sklearn") else [(5, 10, " (TruncatedSVD's default)"), (10, 100, "")]

    def solvers(matrix: Any, n_ours: int | None, n_theirs: int | None) -> list[tuple[str, Callable[[], Any]]]:
        own = partial(kernels.randomized_svd, *_parts(matrix), matrix.shape[1], dim)
        # Not measured: the first run after the exact factorisation's.
        own(n_iter=1)
        return [(f"fastseq: {label}", partial(own, **options)) for label, options in ours[:n_ours]] + [
            (f"scikit-learn: {n_iter} iterations, {extra} extra{label}",
             partial(peers.sklearn_svd, matrix, dim, extra, n_iter, 0))
            for n_iter, extra, label in theirs[:n_theirs]
        ]  # fmt: skip

    quick = settings["quick"]
    table = _kept(matrix, dim, "", solvers(matrix, 1 if quick else None, 1 if quick else None))
    if settings["treebank"] and not quick:
        # A small vocabulary is harder: its singular values fall more slowly.
        counts = fs.cooccurrence(fs.Corpus.from_file(settings["treebank"], eos="<eos>"), 5)
        small = fs.ppmi(counts, shift=SHIFT, smoothing=SMOOTHING)
        table += _kept(small, dim, f"Penn Treebank, {small.shape[0]:,} words: ", solvers(small, 2, 1))
    return table


def _kept(matrix: Any, dim: int, prefix: str, solvers: list[tuple[str, Callable[[], Any]]]) -> list[dict[str, Any]]:
    """Return a row for the exact factorisation and one for each solver: seconds, share of neighbours kept, error."""
    begin = time.perf_counter()
    u, exact = peers.exact_svd(matrix, dim)
    seconds = time.perf_counter() - begin
    rng = np.random.default_rng(0)
    # Words of every frequency alike, since rare ones have no less right to their neighbours.
    asked = rng.choice(matrix.shape[0], min(1000, matrix.shape[0]), replace=False)
    wanted = _neighbours(u * exact**WEIGHT, asked).tolist()
    method = f"{prefix}exact: scipy.sparse.linalg.svds (ARPACK, tolerance 1e-6)"
    table: list[dict[str, Any]] = [{"method": method, "seconds": seconds, "kept": 1.0, "error": 0.0}]
    for label, solve in solvers:
        begin = time.perf_counter()
        u, s, _ = solve()
        seconds = time.perf_counter() - begin
        found = _neighbours(u * s**WEIGHT, asked).tolist()
        kept = float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(wanted, found)]))
        error = float(np.max(np.abs(s / exact - 1)))
        table.append({"method": prefix + label, "seconds": seconds, "kept": kept, "error": error})
    return table


def _neighbours(vectors: np.ndarray, asked: np.ndarray, n: int = 10) -> np.ndarray:
    """Return the ``n`` nearest rows of each row ``asked``, by cosine, in plain NumPy."""
    units = (vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-8)).astype(np.float32)
    scores = units[asked] @ units.T
    scores[np.arange(len(asked)), asked] = -np.inf
    return np.argpartition(-scores, n, axis=1)[:, :n]


# --- the whole run --------------------------------------------------------------------------------------------------


def whole_run(settings: Settings) -> list[Record]:
    """From the file to vectors, each side in a process of its own, in turn."""
    what = f"{settings['corpus_name']}: text file to vectors, dim {settings['dim']}, window 5"
    rounds = 1 if settings["quick"] else min(2, settings["rounds"])
    glove = "Counter + GloVe's cooccur + SciPy + scikit-learn"
    scipy = "Counter + SciPy + scikit-learn"
    if _absent("sklearn"):
        return [missing(what, glove, "not installed"), missing(what, scipy, "not installed")]
    sides = ["ours", "scipy", *(["glove"] if settings["glove"] else [])]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sides:
            # The vectors are the same at every run, so they are scored once.
            runs[side].append(run_task(f"whole_run_{side}", {**settings, "score": turn == 0}))
    best = {side: {**all_[0], **min(all_, key=lambda run: run["seconds"])} for side, all_ in runs.items()}
    rows: list[Record] = []
    for side, name in (("glove", glove), ("scipy", scipy)):
        if side not in sides:
            rows.append(missing(what, name, "not given"))
            continue
        rows.append(
            record(what, name, best["ours"]["seconds"], best[side]["seconds"], "s", rounds=rounds,
                   note=f"fastseq: {_stages(best['ours'])}; peer: {_stages(best[side])}")
        )  # fmt: skip
        if best["ours"]["peak"] and best[side]["peak"]:
            ours, peer = (max(run["peak"] for run in runs[s]) / 1e6 for s in ("ours", side))
            title = f"{settings['corpus_name']}: the same, peak memory of the process"
            rows.append(record(title, name, ours, peer, "MB", rounds=rounds))
    side = "glove" if "glove" in sides else "scipy"
    scores = (("spearman", "WS-353, Spearman x 100"), ("accuracy", "Google analogies, % right (first 30,000 words)"))
    for score, title in scores:
        if score in best["ours"] and score in best[side]:
            rows.append(
                record(f"those vectors: {title}", glove if side == "glove" else scipy, 100 * best["ours"][score],
                       100 * best[side][score], "", higher_is_better=True, note="quality, not speed")
            )  # fmt: skip
    return rows


def _stages(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {seconds:.2g} s" for name, seconds in result["stages"].items())


@contextlib.contextmanager
def _stage(stages: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    stages[name] = stages.get(name, 0.0) + time.perf_counter() - begin


def _scores(matrix: np.ndarray, words: list[str], settings: Settings) -> dict[str, float]:
    """Score either side's vectors by one and the same code, which `analogies` compares with gensim's."""
    import fastseq as fs

    scores: dict[str, float] = {}
    if not settings["score"]:
        return scores
    vectors = fs.WordVectors(matrix, words)
    if settings["pairs"]:
        scores["spearman"] = vectors.evaluate_similarity(settings["pairs"]).spearman
    if settings["questions"]:
        scores["accuracy"] = vectors.evaluate_analogies(settings["questions"], restrict_vocab=30000).accuracy
    return scores


def whole_run_ours(settings: Settings) -> dict[str, Any]:
    """Time fastseq from the file to vectors."""
    import fastseq as fs

    with _slice_of(settings["corpus"]) as path:
        small = fs.Corpus.from_file(path, min_count=1)
        fs.CountVectors(dim=min(8, len(small.vocab)), n_iter=2).fit(small)
    forget_peak()
    stages: dict[str, float] = {}
    begin = time.perf_counter()
    with _stage(stages, "text"):
        corpus = _corpus(settings)
    with _stage(stages, "vectors"):
        model = fs.CountVectors(
            dim=settings["dim"], window=5, smoothing=SMOOTHING, shift=SHIFT, eigenvalue_weight=WEIGHT, random_state=0
        ).fit(corpus)
    seconds = time.perf_counter() - begin
    peak = peak_bytes()
    scores = _scores(model.vectors.matrix, list(corpus.vocab.words), settings)
    return {"seconds": seconds, "peak": peak, "stages": stages, **scores}


@contextlib.contextmanager
def _slice_of(path: str) -> Iterator[str]:
    """Give the first 100 kB of a file as a file, to warm up on."""
    with tempfile.TemporaryDirectory(prefix="fastseq-slice-") as folder, open(path, "rb") as source:
        place = Path(folder) / "slice.txt"
        # A cut may fall into a character: what is after the last space goes.
        place.write_bytes(source.read(100_000).rpartition(b" ")[0])
        yield str(place)


def whole_run_scipy(settings: Settings) -> dict[str, Any]:
    """Time the pipeline of Counter, SciPy and scikit-learn."""
    return _whole_run_peer(settings, None)


def whole_run_glove(settings: Settings) -> dict[str, Any]:
    """Time the pipeline of Counter, GloVe's cooccur, SciPy and scikit-learn."""
    return _whole_run_peer(settings, settings["glove"])


def _whole_run_peer(settings: Settings, glove: str | None) -> dict[str, Any]:
    # Imported before the clock starts, as ours is.
    import scipy.sparse  # noqa: F401
    import sklearn.utils.extmath  # noqa: F401

    stages: dict[str, float] = {}
    begin = time.perf_counter()
    with _stage(stages, "text"):
        words, frequencies = peers.count_words(settings["corpus"], settings["min_count"])
        if glove is None:
            ids, offsets = peers.encode(settings["corpus"], words)
    with _stage(stages, "counting"):
        if glove is None:
            counts = peers.scipy_counts(ids, offsets, len(words), 5)
        else:
            output = peers.glove_counts(glove, settings["corpus"], words, frequencies, 5)
            try:
                counts = peers.glove_matrix(output, len(words))
            finally:
                shutil.rmtree(output.parent)
    with _stage(stages, "PPMI"):
        weighed = peers.scipy_ppmi_tuned(counts, SMOOTHING, SHIFT)
    del counts
    with _stage(stages, "SVD"):
        u, s, _ = peers.sklearn_svd(weighed, settings["dim"], 100, 5, 0)
        matrix = np.ascontiguousarray(u * s**WEIGHT)
    seconds = time.perf_counter() - begin
    peak = peak_bytes()
    return {"seconds": seconds, "peak": peak, "stages": stages, **_scores(matrix, words, settings)}


# --- questions ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _vectors(settings: Settings) -> Iterator[tuple[Any, Any]]:
    """Give the same vectors as ours and as gensim's KeyedVectors."""
    from gensim.models import KeyedVectors

    import fastseq as fs

    corpus = _corpus(settings)
    vectors = fs.CountVectors(dim=settings["dim"], window=5, n_iter=4, random_state=0).fit(corpus).vectors
    theirs = KeyedVectors(vectors.dim)
    theirs.add_vectors(list(vectors.words), vectors.matrix)
    theirs.fill_norms()
    yield vectors, theirs


def analogies(settings: Settings) -> list[Record]:
    """Answering a file of analogy questions."""
    name = "gensim evaluate_word_analogies"
    if _absent("gensim"):
        return [missing("analogy questions", name, "not installed")]
    with _vectors(settings) as (vectors, theirs), tempfile.TemporaryDirectory(prefix="fastseq-questions-") as folder:
        path = settings["questions"]
        if not path:
            path = str(Path(folder) / "questions.txt")
            _write_questions(path, vectors)
        ours = lambda: vectors.evaluate_analogies(path, restrict_vocab=30000)  # noqa: E731
        rounds = 1 if settings["questions"] and not settings["quick"] else settings["rounds"]
        times, found = interleave(
            {"ours": ours, "peer": lambda: theirs.evaluate_word_analogies(path, restrict_vocab=30000)},
            rounds,
            {"ours": ours},
        )
    score, sections = found["peer"]
    right = len(sections[-1]["correct"])
    used = right + len(sections[-1]["incorrect"])
    result = found["ours"]
    # Two answers that are equally near may come in another order.
    same = result.used == used and abs(result.accuracy - score) <= 2 / max(used, 1)
    text = f"both {100 * score:.2f} % right of {used:,} used"
    return [
        record(f"{result.used + result.skipped:,} analogy questions, 30,000 candidates", name, _quietest(times["ours"]),
               _quietest(times["peer"]), "s", rounds=rounds, same=(same, text))
    ]  # fmt: skip


def _write_questions(path: str, vectors: Any, n: int = 2000) -> None:
    """Write questions of random words, for machines without a file of real ones: time needs no sense."""
    rng = np.random.default_rng(0)
    words = list(vectors.words)[:5000]
    lines = [" ".join(words[i] for i in rng.choice(len(words), 4, replace=False)) for _ in range(n)]
    Path(path).write_text(": random\n" + "\n".join(lines) + "\n", encoding="utf-8")


def neighbours(settings: Settings) -> list[Record]:
    """Ten nearest words, one word at a time and many at once."""
    name = "gensim most_similar"
    if _absent("gensim"):
        return [missing("ten nearest words", name, "not installed")]
    with _vectors(settings) as (vectors, theirs):
        rng = np.random.default_rng(0)
        words = [vectors.words[i] for i in rng.choice(len(vectors), 200, replace=False)]
        sides: dict[str, Callable[[], Any]] = {
            "ours": lambda: [vectors.most_similar(word, n=10) for word in words],
            "batch": lambda: vectors.most_similar_batch(words, n=10),
            "peer": lambda: [theirs.most_similar(word, topn=10) for word in words],
        }
        times, found = interleave(sides, settings["rounds"], sides)
    kept = np.mean(
        [len({w for w, _ in a} & {w for w, _ in b}) / 10 for a, b in zip(found["ours"], found["peer"])]
    )
    same_batch = [[w for w, _ in row] for row in found["ours"]] == [[w for w, _ in row] for row in found["batch"]]
    check = (bool(kept > 0.999) and same_batch, "same words")
    what = f"ten nearest of {len(vectors):,} words"
    each = 1e3 / len(words)
    return [
        record(f"{what}, one question at a time", name, each * _quietest(times["ours"]),
               each * _quietest(times["peer"]), "ms", rounds=settings["rounds"], same=check),
        record(f"{what}, {len(words)} at once, each", f"{name} in a loop", each * _quietest(times["batch"]),
               each * _quietest(times["peer"]), "ms", rounds=settings["rounds"], same=check,
               note="gensim has no batched form"),
    ]  # fmt: skip


# --- start ----------------------------------------------------------------------------------------------------------


def _fresh(code: str, settings: Settings, **extra: str) -> Any:
    """Run ``code`` in a fresh interpreter; return what it printed last."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(settings["threads"]), **extra},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"a fresh interpreter failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def importing(settings: Settings) -> list[Record]:
    """Import time of what training and asking needs, in fresh interpreters."""
    what, name = "import of all that training and asking needs, fresh interpreter", "gensim.models"
    if _absent("gensim"):
        return [missing(what, name, "not installed")]
    statements = {
        "ours": "import fastseq as fs; fs.Corpus, fs.CountVectors, fs.WordVectors",
        "peer": "from gensim.models import KeyedVectors, Word2Vec",
    }
    times: dict[str, list[float]] = {side: [] for side in statements}
    for turn in range(settings["rounds"] + 1):
        for side, statement in statements.items():
            seconds = float(_fresh(_TIMED.format(statement), settings))
            if turn:  # the first reads the files from the disk
                times[side].append(seconds)
    return [
        record(what, name, min(times["ours"]), min(times["peer"]), "s", rounds=settings["rounds"],
               note="`import fastseq` alone loads neither Numba nor SciPy")
    ]  # fmt: skip


_TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"

_FIRST_FIT = """
import time
begin = time.perf_counter()
import fastseq as fs
corpus = fs.Corpus.from_text("\\n".join(" ".join(f"w{(i * i + 7 * j) % 700}" for j in range(20)) for i in range(800)))
text = time.perf_counter()
MODEL.fit(corpus)
print(time.perf_counter() - text, text - begin)
"""


def first_fit(settings: Settings) -> list[dict[str, Any]]:
    """The first fit of a process with an empty cache of compiled kernels, and with a full one."""
    alone = min(float(_fresh(_TIMED.format("import fastseq"), settings)) for _ in range(3))
    return [
        {"fact": "`import fastseq`, in a fresh interpreter", "value": f"{1000 * alone:.1f} ms"},
        *_first_fit(settings, "CountVectors", "fs.CountVectors(dim=20)"),
    ]


def _first_fit(settings: Settings, name: str, model: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="fastseq-cache-") as cache:
        code = _FIRST_FIT.replace("MODEL", model)
        cold = [float(x) for x in _fresh(code, settings, NUMBA_CACHE_DIR=cache).split()]
        warm = [[float(x) for x in _fresh(code, settings, NUMBA_CACHE_DIR=cache).split()] for _ in range(3)]
    fit, text = (min(column) for column in zip(*warm))
    rest = "for import and the first Corpus"
    first = f"First {name}.fit,"
    return [
        {"fact": f"{first} empty cache of compiled kernels", "value": f"{cold[0]:.1f} s (and {cold[1]:.1f} s {rest})"},
        {"fact": f"{first} warm cache", "value": f"{fit:.2f} s (and {text:.2f} s {rest})"},
    ]


# --- what a run consists of -----------------------------------------------------------------------------------------

ROWS: dict[str, Callable[[Settings], list[Record]]] = {
    "vocabulary": vocabulary,
    "counting_glove": counting_glove,
    "counting_scipy": counting_scipy,
    "counting_python": counting_python,
    "weighing": weighing,
    "sparse_product": sparse_product,
    "factorising": factorising,
    "whole_run": whole_run,
    "analogies": analogies,
    "neighbours": neighbours,
    "importing": importing,
}
FACTS: dict[str, Callable[[Settings], list[dict[str, Any]]]] = {
    "counting_memory": counting_memory,
    "first_fit": first_fit,
}
TABLES: dict[str, Callable[[Settings], list[dict[str, Any]]]] = {"svd_settings": svd_settings}
PARTS: tuple[Callable[[Settings], Any], ...] = (
    vocabulary_memory_ours,
    vocabulary_memory_peer,
    counting_memory_5,
    counting_memory_15,
    whole_run_ours,
    whole_run_scipy,
    whole_run_glove,
)


def versions() -> dict[str, str]:
    """Return the versions of both sides; "not installed" for peers that are missing."""
    result = {}
    for distribution, module in (
        ("fastseq-numba", "fastseq"), ("numpy", "numpy"), ("scipy", "scipy"), ("numba", "numba"),
        ("gensim", "gensim"), ("scikit-learn", "sklearn"), ("torch", "torch"),
    ):  # fmt: skip
        result[module] = "not installed" if _absent(module) else version(distribution)
    return result
