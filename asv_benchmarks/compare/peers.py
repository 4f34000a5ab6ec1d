"""The other side: what a good user of NumPy, SciPy, scikit-learn, gensim and the C programs would write.

Nothing here uses fastseq.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# One record of GloVe's output: two words counted from 1, and the weight.
_GLOVE_RECORD = np.dtype([("row", "<i4"), ("column", "<i4"), ("count", "<f8")])


def count_words(path: str | os.PathLike[str], min_count: int) -> tuple[list[str], list[int]]:
    """Return the words of a file that occur ``min_count`` times or more, most frequent first, and their counts."""
    with open(path, encoding="utf-8") as file:
        counts = Counter(file.read().split())
    kept = [(word, n) for word, n in counts.most_common() if n >= min_count]
    return [word for word, _ in kept], [n for _, n in kept]


def encode(path: str | os.PathLike[str], words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a file's known words, and where its lines begin and end."""
    index = {word: i for i, word in enumerate(words)}
    lines = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            lines.append(np.array([index[word] for word in line.split() if word in index], np.int32))
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    return np.concatenate(lines), offsets


def glove_counts(folder: str, corpus: str | os.PathLike[str], words: list[str], counts: list[int], window: int) -> Path:
    """Run GloVe's ``cooccur`` (uniform weights, both sides); return the file it wrote, in a folder to be deleted."""
    place = Path(tempfile.mkdtemp(prefix="fastseq-glove-"))
    vocab = place / "vocab.txt"
    vocab.write_text("".join(f"{word} {n}\n" for word, n in zip(words, counts)), encoding="utf-8")
    output = place / "cooccurrences.bin"
    command = [
        os.path.join(folder, "cooccur"), "-verbose", "0", "-symmetric", "1", "-window-size", str(window),
        "-distance-weighting", "0", "-memory", "4.0", "-vocab-file", str(vocab), "-overflow-file", str(place / "part"),
    ]  # fmt: skip
    with open(corpus, "rb") as source, open(output, "wb") as target:
        subprocess.run(command, stdin=source, stdout=target, stderr=subprocess.PIPE, check=True)
    return output


def glove_matrix(output: Path, n_words: int) -> Any:
    """Return what ``cooccur`` wrote as a sparse matrix."""
    from scipy.sparse import coo_array

    records = np.fromfile(output, _GLOVE_RECORD)
    places = (records["row"] - np.int32(1), records["column"] - np.int32(1))
    return coo_array((records["count"], places), shape=(n_words, n_words)).tocsr()


def scipy_counts(ids: np.ndarray, offsets: np.ndarray, n_words: int, window: int) -> Any:
    """Count with SciPy alone: the pairs of each distance as a matrix of ones, whose duplicates SciPy adds up."""
    from scipy.sparse import coo_array, csr_array

    sentence = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets)) if len(offsets) > 2 else None
    total = csr_array((n_words, n_words), dtype=np.int32)
    for distance in range(1, min(window, len(ids) - 1) + 1):
        left, right = ids[:-distance], ids[distance:]
        if sentence is not None:
            same = sentence[:-distance] == sentence[distance:]
            left, right = left[same], right[same]
        total = total + coo_array((np.ones(len(left), np.int32), (left, right)), shape=(n_words, n_words)).tocsr()
    total = (total + total.T).tocsr()
    total.sort_indices()
    return total


def counter_counts(ids: np.ndarray, window: int) -> Counter[tuple[int, int]]:
    """Count in plain Python, both sides."""
    words = ids.tolist()
    pairs: Counter[tuple[int, int]] = Counter()
    for distance in range(1, window + 1):
        pairs.update(zip(words, words[distance:]))
        pairs.update(zip(words[distance:], words))
    return pairs


def scipy_ppmi(counts: Any, smoothing: float, shift: float) -> Any:
    """Weigh a sparse matrix of counts by PPMI as it is usually written: float64 over all entries, then drop zeros."""
    from scipy.sparse import csr_array

    rows = counts.sum(axis=1).astype(np.float64)
    contexts = counts.sum(axis=0).astype(np.float64) ** smoothing
    contexts /= contexts.sum()
    of_row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    values = np.log(counts.data / (rows[of_row] * contexts[counts.indices])) - np.log(shift)
    np.maximum(values, 0, out=values)
    result = csr_array((values.astype(np.float32), counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
    result.eliminate_zeros()
    return result


def scipy_ppmi_tuned(counts: Any, smoothing: float, shift: float) -> Any:
    """Do the same as fast as NumPy allows: float32, no division by entry, logarithms only of what stays."""
    from scipy.sparse import csr_array

    rows = counts.sum(axis=1).astype(np.float64)
    contexts = counts.sum(axis=0).astype(np.float64) ** smoothing
    with np.errstate(divide="ignore"):
        by_row = (contexts.sum() / shift / rows).astype(np.float32)
        by_column = (1.0 / contexts).astype(np.float32)
    values = counts.data.astype(np.float32)
    values *= np.repeat(by_row, np.diff(counts.indptr))
    values *= by_column[counts.indices]
    kept = values > 1
    starts = np.concatenate([[0], np.cumsum(kept)])[counts.indptr]
    return csr_array((np.log(values[kept]), counts.indices[kept], starts), shape=counts.shape)


def sklearn_svd(matrix: Any, k: int, n_oversamples: int, n_iter: int, seed: int) -> Any:
    """Return scikit-learn's (U, s, Vt)."""
    from sklearn.utils.extmath import randomized_svd

    return randomized_svd(matrix, k, n_oversamples=n_oversamples, n_iter=n_iter, random_state=seed)


def exact_svd(matrix: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first ``k`` left singular vectors and values by ARPACK (tolerance 1e-6), largest first."""
    from scipy.sparse.linalg import svds

    # A fixed start: the same figures at every run.
    start = np.random.default_rng(0).standard_normal(min(matrix.shape)).astype(matrix.dtype)
    u, s, _ = svds(matrix, k=k, tol=1e-6, v0=start)
    order = np.argsort(-s)
    return u[:, order], s[order]


# --- word2vec -------------------------------------------------------------------------------------------------------


class Lines:
    """The lines of a file as lists of words, as often as they are asked for."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def __iter__(self) -> Iterator[list[str]]:
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                yield line.split()


def gensim_word2vec(
    path: str, *, skip_gram: bool, dim: int, epochs: int, rate: float, min_count: int, threads: int, seed: int,
    iterable: bool = False,
) -> tuple[Any, dict[str, float]]:  # fmt: skip
    """Train gensim's Word2Vec on a file (``corpus_file``, its fastest way) or on an iterable over its lines.

    Returned are the model, and the seconds of both parts and the tokens that it went through.
    """
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=dim, window=5, min_count=min_count, workers=threads, sg=int(skip_gram), hs=0, negative=5,
        cbow_mean=1, alpha=rate, min_alpha=1e-4, sample=1e-4, epochs=epochs, seed=seed + 1,
    )  # fmt: skip
    source: dict[str, Any] = {"corpus_iterable": Lines(path)} if iterable else {"corpus_file": path}
    begin = time.perf_counter()
    model.build_vocab(**source)
    middle = time.perf_counter()
    # What the constructor does when it is given the text.
    _, seen = model.train(
        **source, total_examples=model.corpus_count, total_words=model.corpus_total_words, epochs=epochs
    )
    end = time.perf_counter()
    return model, {"scan": middle - begin, "train": end - middle, "seen": seen}


def c_word2vec(
    program: str, corpus: str, folder: Path, *, dim: int, epochs: int, rate: float, min_count: int, threads: int
) -> tuple[Path, dict[str, float | None]]:
    """Run word2vec.c or a program with its options (pWord2Vec) for skip-gram; return its vectors' file and the seconds.

    ``train`` is from its first to its last report of progress, None where there are fewer than two.
    """
    # Its buffers for names hold 100 characters.
    (folder / "text").symlink_to(os.path.abspath(corpus))
    command = [
        os.path.abspath(program), "-train", "text", "-output", "vectors.bin", "-size", str(dim), "-window", "5",
        "-negative", "5", "-sample", "1e-4", "-iter", str(epochs), "-min-count", str(min_count), "-alpha", str(rate),
        "-threads", str(threads), "-binary", "1", "-debug", "2",
    ]  # fmt: skip
    if os.path.basename(program) == "word2vec":
        command += ["-cbow", "0", "-hs", "0"]
    reports = []
    begin = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 1 << 16):
            if b"Alpha" in chunk:
                reports.append(time.perf_counter())
    seconds = time.perf_counter() - begin
    if process.returncode != 0:
        raise RuntimeError(f"{program} ended with status {process.returncode}")
    train = reports[-1] - reports[0] if len(reports) > 1 else None
    return folder / "vectors.bin", {"seconds": seconds, "train": train}
