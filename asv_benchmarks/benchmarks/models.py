"""Time, peak memory and quality of the models, side by side: a change that gains one by losing another is seen.

Quality is tracked as what is missing to 100, since asv takes every rise for a regression.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from . import workloads

try:
    import fastseq as fs

    fs.CountVectors, fs.Corpus  # noqa: B018  (names are lazy: a version may lack them)
except (ImportError, AttributeError):  # a version from before the models
    fs = None

DATA = Path(os.environ.get("FASTSEQ_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")


def _need_models() -> None:
    if fs is None:
        raise NotImplementedError("this version has no CountVectors")


def _need_word2vec() -> None:
    _need_models()
    if not hasattr(fs, "SkipGram"):
        raise NotImplementedError("this version has no SkipGram")


def planted_corpus(n_tokens: int = workloads.N_TOKENS) -> Any:
    """Return a corpus whose words have topics: see `workloads.corpus`."""
    ids, offsets = workloads.corpus(n_tokens)
    counts = np.bincount(ids, minlength=workloads.N_WORDS)
    return fs.Corpus(ids, offsets, fs.Vocabulary([f"w{i}" for i in range(workloads.N_WORDS)], counts))


def share_of_own_topic(matrix: np.ndarray, n: int = 10) -> float:
    """Return how many of the ``n`` nearest neighbours of 2,000 words, frequent and rare, have their topic, 0 to 1."""
    units = matrix / (np.linalg.norm(matrix, axis=1, keepdims=True) + 1e-8)
    asked = np.random.default_rng(0).choice(len(matrix), 2000, replace=False)
    scores = units[asked] @ units.T
    scores[np.arange(len(asked)), asked] = -np.inf
    near = np.argpartition(-scores, n, axis=1)[:, :n]
    return float(np.mean(near % workloads.N_TOPICS == asked[:, None] % workloads.N_TOPICS))


class CountVectorsPlanted:
    """CountVectors on a generated corpus of 2 million tokens and 20,000 words, the same on every machine."""

    timeout = 600

    def setup(self) -> None:
        _need_models()
        self.corpus = planted_corpus()
        self._model().fit(planted_corpus(100_000))

    def _model(self) -> Any:
        return fs.CountVectors(dim=workloads.DIM, window=5, random_state=0)

    def time_fit(self) -> None:
        self._model().fit(self.corpus)

    def peakmem_fit(self) -> None:
        self._model().fit(self.corpus)

    def track_wrong_neighbours(self) -> float:
        return 100 - 100 * share_of_own_topic(self._model().fit(self.corpus).vectors.matrix)

    track_wrong_neighbours.unit = "% of neighbours"  # type: ignore[attr-defined]


class Word2VecPlanted:
    """SkipGram and CBOW on that corpus, three epochs; the deterministic mode beside the fast one."""

    param_names = ("model",)
    params = ([
        "SkipGram", "SkipGram, a pair's own negatives", "SkipGram, deterministic", "CBOW",
        "CBOW, a centre's own negatives",
    ],)  # fmt: skip
    timeout = 900
    # Seconds each; what is timed has run in `setup`.
    number = 1
    repeat = (1, 3, 20.0)
    warmup_time = 0

    def setup(self, name: str) -> None:
        _need_word2vec()
        self.corpus = planted_corpus()
        self._model(name).fit(planted_corpus(100_000))

    def _model(self, name: str) -> Any:
        kind, _, option = name.partition(", ")
        options: dict[str, dict[str, Any]] = {
            "": {}, "a pair's own negatives": {"shared_negatives": False},
            "a centre's own negatives": {"shared_negatives": False}, "deterministic": {"deterministic": True},
        }  # fmt: skip
        # With sample=1e-4, which is for large texts, a text this small teaches next to nothing.
        return getattr(fs, kind)(
            dim=workloads.DIM, window=5, epochs=3, sample=1e-3, random_state=0, **options[option]
        )

    def time_fit(self, name: str) -> None:
        self._model(name).fit(self.corpus)

    def peakmem_fit(self, name: str) -> None:
        self._model(name).fit(self.corpus)

    def track_wrong_neighbours(self, name: str) -> float:
        return 100 - 100 * share_of_own_topic(self._model(name).fit(self.corpus).vectors.matrix)

    track_wrong_neighbours.unit = "% of neighbours"  # type: ignore[attr-defined]


class LanguageModelSteps:
    """Ten steps of training: the book's small and medium models, 20 rows of 35 words of 10,000."""

    param_names = ("units",)
    params = ([100, 650],)
    timeout = 900
    number = 1
    repeat = (3, 10, 20.0)
    warmup_time = 0

    def setup(self, units: int) -> None:
        if not hasattr(fs, "LanguageModel"):
            raise NotImplementedError("this version has no language models")
        options = {"num_layers": 1} if units == 100 else {"num_layers": 2, "dropout": 0.5, "tie_weights": True}
        self.model = fs.LanguageModel(embedding_size=units, hidden_size=units, random_state=0, **options)
        ids = np.random.default_rng(0).integers(0, 10_000, 20 * 350 + 1)
        self.corpus = fs.Corpus.from_ids(ids, n_words=10_000)
        self.time_fit(units)

    def time_fit(self, units: int) -> None:
        self.model.fit(self.corpus, batch_size=20, bptt=35)

    def peakmem_fit(self, units: int) -> None:
        self.model.fit(self.corpus, batch_size=20, bptt=35)


class WordVectorsQuestions:
    """Questions to 20,000 vectors."""

    timeout = 300

    def setup(self) -> None:
        _need_models()
        words = [f"w{i}" for i in range(workloads.N_WORDS)]
        matrix = np.random.default_rng(3).standard_normal((len(words), workloads.DIM), np.float32)
        self.vectors = fs.WordVectors(matrix, words)
        self.words = words[:1000]
        rng = np.random.default_rng(4)
        self.questions = [tuple(words[i] for i in rng.choice(5000, 4, replace=False)) for _ in range(2000)]
        self.vectors.most_similar("w0")
        self.vectors.most_similar_batch(self.words)

    def time_most_similar(self) -> None:
        self.vectors.most_similar("w7", n=10)

    def time_most_similar_batch(self) -> None:
        self.vectors.most_similar_batch(self.words, n=10)

    def time_analogies(self) -> None:
        self.vectors.evaluate_analogies(self.questions)


class CountVectorsWikipedia:
    """CountVectors on 100 MB of Wikipedia, where the corpora are (FASTSEQ_DATA); minutes, and skipped elsewhere."""

    timeout = 1800
    rounds = 1
    repeat = 2
    number = 1

    def setup_cache(self) -> dict[str, float]:
        """Train once for all figures of quality; nothing where something is missing."""
        corpus = DATA / "wiki" / "enwiki100m.txt"
        if fs is None or not corpus.is_file():
            return {}
        vectors = fs.CountVectors(dim=100, window=5).fit(fs.Corpus.from_file(corpus, min_count=5)).vectors
        similarity = DATA / "similarity"
        return {
            "spearman": vectors.evaluate_similarity(similarity / "ws353.txt").spearman,
            "accuracy": vectors.evaluate_analogies(similarity / "questions-words.txt", restrict_vocab=30000).accuracy,
        }

    def setup(self, quality: dict[str, float]) -> None:
        if not quality:
            raise NotImplementedError(f"no corpora at {DATA}; set FASTSEQ_DATA")
        self.path = DATA / "wiki" / "enwiki100m.txt"
        # The file comes into the page cache and the kernels out of Numba's.
        self.corpus = fs.Corpus.from_file(self.path, min_count=5)
        fs.CountVectors(dim=8, window=1, n_iter=1).fit(self.corpus)

    def time_read(self, quality: dict[str, float]) -> None:
        fs.Corpus.from_file(self.path, min_count=5)

    def time_fit(self, quality: dict[str, float]) -> None:
        fs.CountVectors(dim=100, window=5).fit(self.corpus)

    def peakmem_read_and_fit(self, quality: dict[str, float]) -> None:
        fs.CountVectors(dim=100, window=5).fit(fs.Corpus.from_file(self.path, min_count=5))

    def track_ws353(self, quality: dict[str, float]) -> float:
        return 100 - 100 * quality["spearman"]

    def track_wrong_analogies(self, quality: dict[str, float]) -> float:
        return 100 - 100 * quality["accuracy"]

    track_ws353.unit = "100 x (1 - Spearman)"  # type: ignore[attr-defined]
    track_wrong_analogies.unit = "% of questions"  # type: ignore[attr-defined]


class Word2VecWikipedia:
    """SkipGram and CBOW on 100 MB of Wikipedia, as in the comparison with peers, where the corpora are."""

    param_names = ("model",)
    params = (["SkipGram", "CBOW"],)
    timeout = 3600
    rounds = 1
    repeat = 2
    number = 1

    def setup_cache(self) -> dict[str, dict[str, float]]:
        """Train each once for all figures of quality; nothing where something is missing."""
        corpus = DATA / "wiki" / "enwiki100m.txt"
        if fs is None or not hasattr(fs, "SkipGram") or not corpus.is_file():
            return {}
        similarity = DATA / "similarity"
        questions = similarity / "questions-words.txt"
        quality = {}
        for name in self.params[0]:
            vectors = self._model(name).fit(fs.Corpus.from_file(corpus, min_count=5)).vectors
            quality[name] = {
                "spearman": vectors.evaluate_similarity(similarity / "ws353.txt").spearman,
                "accuracy": vectors.evaluate_analogies(questions, restrict_vocab=30000).accuracy,
            }
        return quality

    def _model(self, name: str, epochs: int = 5) -> Any:
        return getattr(fs, name)(dim=100, window=5, negative=5, sample=1e-4, epochs=epochs, random_state=0)

    def setup(self, quality: dict[str, dict[str, float]], name: str) -> None:
        if not quality:
            raise NotImplementedError(f"no SkipGram, or no corpora at {DATA}; set FASTSEQ_DATA")
        self.path = DATA / "wiki" / "enwiki100m.txt"
        self.corpus = fs.Corpus.from_file(self.path, min_count=5)
        self._model(name, 1).fit(fs.Corpus(self.corpus.ids[:100_000], [0, 100_000], self.corpus.vocab))

    def time_fit(self, quality: dict[str, dict[str, float]], name: str) -> None:
        self._model(name).fit(self.corpus)

    def peakmem_read_and_fit(self, quality: dict[str, dict[str, float]], name: str) -> None:
        self._model(name, 1).fit(fs.Corpus.from_file(self.path, min_count=5))

    def track_ws353(self, quality: dict[str, dict[str, float]], name: str) -> float:
        return 100 - 100 * quality[name]["spearman"]

    def track_wrong_analogies(self, quality: dict[str, dict[str, float]], name: str) -> float:
        return 100 - 100 * quality[name]["accuracy"]

    track_ws353.unit = "100 x (1 - Spearman)"  # type: ignore[attr-defined]
    track_wrong_analogies.unit = "% of questions"  # type: ignore[attr-defined]
