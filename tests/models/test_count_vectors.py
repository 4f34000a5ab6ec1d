"""Count vectors: the book's numbers, planted structure, options, bad input, threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastseq as fs
from fastseq import errors


@pytest.fixture
def book(book_text):
    return fs.Corpus.from_text(book_text)


@pytest.fixture(scope="module")
def families_of_words():
    """Sentences in which words of one family keep each other company, and members of a family swap freely."""
    rng = np.random.default_rng(3)
    families = [[f"{name}{i}" for i in range(12)] for name in ("red", "blue", "green", "grey")]
    sentences = []
    for _ in range(3000):
        family = families[rng.integers(4)]
        sentences.append([family[i] for i in rng.integers(0, 12, 8)] + ["the"])
    return fs.Corpus.from_sentences(sentences), families


def in_book_order(matrix, corpus):
    """Reorder rows and columns by first appearance: you say goodbye and i hello ."""
    order = [corpus.vocab[word] for word in ("you", "say", "goodbye", "and", "i", "hello", ".")]
    return matrix[order][:, order]


class TestBook:
    """The nine-token corpus of Deep Learning from Scratch 2, chapter 2."""

    counts = np.array([
        [0, 1, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 1, 1, 0],
        [0, 1, 0, 1, 0, 0, 0],
        [0, 0, 1, 0, 1, 0, 0],
        [0, 1, 0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 1, 0],
    ])  # fmt: skip
    ppmi = np.array([
        [0, 1.807, 0, 0, 0, 0, 0],
        [1.807, 0, 0.807, 0, 0.807, 0.807, 0],
        [0, 0.807, 0, 1.807, 0, 0, 0],
        [0, 0, 1.807, 0, 1.807, 0, 0],
        [0, 0.807, 0, 1.807, 0, 0, 0],
        [0, 0.807, 0, 0, 0, 0, 2.807],
        [0, 0, 0, 0, 0, 2.807, 0],
    ])  # fmt: skip

    def test_counts(self, book):
        counts = fs.cooccurrence(book, window=1)
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(in_book_order(counts.toarray(), book), self.counts)

    def test_similarity_of_counts(self, book):
        vectors = fs.WordVectors(fs.cooccurrence(book, window=1).toarray().astype(np.float32), book.vocab)
        assert vectors.similarity("you", "i") == pytest.approx(0.7071067691154799, abs=1e-7)
        near = dict(vectors.most_similar("you", n=5))
        for word in ("goodbye", "i", "hello"):
            assert near[word] == pytest.approx(0.7071067691154799, abs=1e-7)

    def test_ppmi_in_bits(self, book):
        bits = fs.ppmi(fs.cooccurrence(book, window=1)).toarray() / np.log(2)
        np.testing.assert_allclose(in_book_order(bits, book), self.ppmi, atol=5e-4)

    def test_svd(self, book):
        bits = in_book_order(fs.ppmi(fs.cooccurrence(book, window=1)).toarray() / np.log(2), book)
        u, s, _ = np.linalg.svd(bits)
        model = fs.CountVectors(dim=7, window=1, smoothing=1.0, eigenvalue_weight=0.0).fit(book)
        order = [book.vocab[word] for word in ("you", "say", "goodbye", "and", "i", "hello", ".")]
        np.testing.assert_allclose(model.singular_values_, s * np.log(2), rtol=1e-5, atol=1e-6)
        # The two largest values are equal (the graph is bipartite), so only the plane of their vectors is defined. The
        # book prints U[0] = [3.409e-01, -1.110e-16, ...].
        assert np.linalg.norm(model.vectors.matrix[order[0]][:2]) == pytest.approx(0.3409, abs=5e-5)
        np.testing.assert_allclose(
            np.linalg.norm(model.vectors.matrix[order][:, :2], axis=1), np.linalg.norm(u[:, :2], axis=1), atol=1e-5
        )


class TestPlantedStructure:
    @pytest.mark.parametrize("options", [
        {}, {"add_context": True}, {"weighting": "harmonic"}, {"weighting": "linear", "smoothing": 1.0},
        {"symmetric": False}, {"shift": 1.5},
    ])  # fmt: skip
    def test_families_are_found(self, families_of_words, options):
        corpus, families = families_of_words
        model = fs.CountVectors(dim=8, window=4, **options)
        assert model.fit(corpus) is model
        right = total = 0
        for family in families:
            for word in family:
                near = [other for other, _ in model.vectors.most_similar(word, n=11)]
                right += len(set(near) & set(family))
                total += 11
        assert right / total > 0.95

    def test_attributes(self, families_of_words):
        corpus, _ = families_of_words
        model = fs.CountVectors(dim=5).fit(corpus)
        assert model.vectors.matrix.shape == model.context_vectors.matrix.shape == (len(corpus.vocab), 5)
        assert model.vectors.matrix.dtype == np.float32
        assert model.vectors.vocab is corpus.vocab
        assert (np.diff(model.singular_values_) <= 0).all()
        assert model.n_counts_ == fs.cooccurrence(corpus).nnz

    def test_w_plus_c(self, families_of_words):
        corpus, _ = families_of_words
        plain = fs.CountVectors(dim=5).fit(corpus)
        both = fs.CountVectors(dim=5, add_context=True).fit(corpus)
        np.testing.assert_allclose(both.vectors.matrix, plain.vectors.matrix + plain.context_vectors.matrix, rtol=1e-6)

    def test_the_projection_agrees_with_the_exact_one(self, families_of_words, monkeypatch):
        import fastseq.models.count_vectors as module

        corpus, _ = families_of_words
        exact = fs.CountVectors(dim=4).fit(corpus)
        monkeypatch.setattr(module, "_DENSE_WORDS", 0)
        random = fs.CountVectors(dim=4, random_state=5).fit(corpus)
        np.testing.assert_allclose(random.singular_values_, exact.singular_values_, rtol=1e-4)

    def test_more_iterations_change_the_result(self, families_of_words, monkeypatch):
        import fastseq.models.count_vectors as module

        monkeypatch.setattr(module, "_DENSE_WORDS", 0)
        corpus, _ = families_of_words
        few, many = (fs.CountVectors(dim=4, n_iter=n).fit(corpus).vectors.matrix for n in (0, 1))
        assert not np.allclose(few, many, atol=1e-3)

    def test_a_vocabulary_of_another_corpus(self):
        # Its counts say nothing about how often a word occurs here.
        n = 1_200_000
        corpus = fs.Corpus(np.tile([0, 1], n // 2), np.arange(0, n + 1, 2), fs.Vocabulary(["a", "b"], [1, 1]))
        assert fs.CountVectors(dim=1, window=2040).fit(corpus).n_counts_ == 2

    def test_reproducible(self, families_of_words, monkeypatch):
        import fastseq.models.count_vectors as module

        monkeypatch.setattr(module, "_DENSE_WORDS", 0)
        corpus, _ = families_of_words
        one = fs.CountVectors(dim=4, random_state=1).fit(corpus).vectors.matrix
        two = fs.CountVectors(dim=4, random_state=1).fit(corpus).vectors.matrix
        assert np.array_equal(one, two)
        with fs.threads(1):
            serial = fs.CountVectors(dim=4, random_state=1).fit(corpus).vectors.matrix
            np.testing.assert_allclose(serial, one, atol=1e-4)

    def test_two_python_threads_fit_at_once(self, families_of_words):
        corpus, _ = families_of_words
        want = fs.CountVectors(dim=6).fit(corpus).vectors.matrix
        got = {}

        def work(name):
            got[name] = fs.CountVectors(dim=6).fit(corpus).vectors.matrix

        workers = [threading.Thread(target=work, args=(name,)) for name in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert all(np.allclose(got[name], want, atol=1e-5) for name in range(3))


class TestModel:
    def test_parameters(self):
        model = fs.CountVectors(dim=7)
        assert model.get_params()["dim"] == 7
        assert model.set_params(dim=8, window=2) is model
        assert (model.dim, model.window) == (8, 2)
        assert "dim=8" in repr(model)
        with pytest.raises(errors.ValueRangeError, match="no parameter 'size'"):
            model.set_params(size=3)

    def test_not_fitted(self):
        with pytest.raises(errors.NotFittedError, match="call fit"):
            _ = fs.CountVectors().vectors
        assert not hasattr(fs.CountVectors(), "context_vectors")

    @pytest.mark.parametrize(("options", "error", "words"), [
        ({"dim": 0}, errors.ValueRangeError, "dim is 0"),
        ({"dim": 8}, errors.ShapeError, "has 7 words"),
        ({"dim": 2.0}, errors.DTypeError, "dim is 2.0"),
        ({"window": -1}, errors.ValueRangeError, "window is -1"),
        ({"window": 0}, errors.ValueRangeError, "window is 0"),
        ({"window": True}, errors.DTypeError, "window is True"),
        ({"window": 5000}, errors.ValueRangeError, "expected 1 to 2047"),
        ({"weighting": "cubic"}, errors.ValueRangeError, "weighting is 'cubic'"),
        ({"shift": 0.0}, errors.ValueRangeError, "shift is 0.0"),
        ({"shift": float("nan")}, errors.ValueRangeError, "shift is nan"),
        ({"smoothing": -1.0}, errors.ValueRangeError, "smoothing is -1.0"),
        ({"eigenvalue_weight": -0.5}, errors.ValueRangeError, "eigenvalue_weight"),
        ({"eigenvalue_weight": float("nan")}, errors.ValueRangeError, "eigenvalue_weight"),
        ({"random_state": "x"}, errors.DTypeError, "random_state"),
        ({"eigenvalue_weight": 1e3}, errors.ValueRangeError, "at most 1"),
        ({"smoothing": 100.0}, errors.ValueRangeError, "at most 10"),
        ({"n_iter": -1}, errors.ValueRangeError, "n_iter is -1"),
        ({"symmetric": "no"}, errors.DTypeError, "symmetric"),
        ({"shift": 1e9}, errors.TextError, "more often than by chance"),
    ])  # fmt: skip
    def test_bad_parameters(self, book, options, error, words, monkeypatch):
        import fastseq.models.count_vectors as module

        for dense_words in (0, 600):
            monkeypatch.setattr(module, "_DENSE_WORDS", dense_words)
            with pytest.raises(error, match=words):
                fs.CountVectors(**{"dim": 2, **options}).fit(book)

    @pytest.mark.parametrize("corpus", ["text", ["a", "b"], None, 3])
    def test_not_a_corpus(self, corpus):
        with pytest.raises(errors.DTypeError, match=r"Corpus\.from_"):
            fs.CountVectors().fit(corpus)

    def test_one_word(self):
        with pytest.raises(errors.TextError, match="near each other"):
            fs.CountVectors(dim=1).fit(fs.Corpus.from_text("word"))

    def test_no_pair(self):
        corpus = fs.Corpus.from_sentences([["a"], ["b"], ["a"]])
        with pytest.raises(errors.TextError, match="near each other"):
            fs.CountVectors(dim=1).fit(corpus)

    def test_progress_is_shown_only_where_asked_for(self, book, capfd):
        fs.CountVectors(dim=2).fit(book)
        assert capfd.readouterr() == ("", "")
        fs.CountVectors(dim=2).fit(book, verbose=1)
        assert "counting" in capfd.readouterr().err


class TestFunctions:
    def test_counting_respects_sentences(self):
        corpus = fs.Corpus.from_sentences([["a", "b"], ["c", "d"]])
        counts = fs.cooccurrence(corpus, window=3)
        assert counts[corpus.vocab["b"], corpus.vocab["c"]] == 0
        assert counts[corpus.vocab["a"], corpus.vocab["b"]] == 1

    def test_left_contexts_only(self):
        corpus = fs.Corpus.from_text("a b")
        counts = fs.cooccurrence(corpus, symmetric=False)
        a, b = corpus.vocab["a"], corpus.vocab["b"]
        assert (counts[b, a], counts[a, b]) == (1, 0)

    def test_counts_go_beyond_float32(self):
        # 2**24 + 2 pairs of one word: float32 sums would stop at 2**24.
        n = 2**24 + 2
        corpus = fs.Corpus(np.zeros(n, np.int32), np.array([0, n]), fs.Vocabulary(["a"], [n]))
        assert int(fs.cooccurrence(corpus, window=1)[0, 0]) == 2 * (n - 1)

    def test_ids_out_of_range(self):
        with pytest.raises(errors.ValueRangeError, match="ids holds 5, expected 0 to 2"):
            fs.kernels.cooccurrence_counts(np.array([0, 5]), np.array([0, 2]), 3)
        with pytest.raises(errors.ValueRangeError, match="ids holds -1"):
            fs.kernels.cooccurrence_counts(np.array([0, -1]), np.array([0, 2]), 3)

    @pytest.mark.parametrize("offsets", [[0, 1], [1, 2], [0, 3, 2], []])
    def test_bad_offsets(self, offsets):
        with pytest.raises((errors.ValueRangeError, errors.ShapeError), match="offsets"):
            fs.kernels.cooccurrence_counts(np.array([0, 1]), np.array(offsets, np.int64), 3)

    def test_int32_counts_that_might_not_fit(self):
        with pytest.raises(errors.ValueRangeError, match="use dtype='int64'"):
            fs.kernels.cooccurrence_counts(
                np.zeros(600_000, np.int32), np.array([0, 600_000]), 1, window=2000, dtype="int32"
            )

    def test_fractions_need_floats(self):
        with pytest.raises(errors.DTypeError, match="fractions"):
            fs.kernels.cooccurrence_counts(np.array([0, 1]), np.array([0, 2]), 2, weighting="harmonic", dtype="int64")

    def test_entries_that_stand_twice_are_added(self):
        twice = csr_array(([1, 2, 3, 4, 1], [0, 0, 1, 1, 0], [0, 3, 5]), shape=(2, 2))
        once = twice.copy()
        once.sum_duplicates()
        np.testing.assert_array_equal(fs.ppmi(twice).toarray(), fs.ppmi(once).toarray())

    @pytest.mark.parametrize("dtype", ["int8", "uint16", "float16", ">f8", ">i4"])
    def test_matrices_of_any_number(self, dtype):
        counts = np.array([[4, 0, 1], [1, 3, 0]])
        np.testing.assert_array_equal(fs.ppmi(counts.astype(dtype)).toarray(), fs.ppmi(counts).toarray())

    def test_ragged(self):
        with pytest.raises(errors.ShapeError, match="ragged"):
            fs.ppmi([[1, 2], [3]])

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
    def test_bad_counts(self, bad):
        with pytest.raises(errors.ValueRangeError, match="data holds"):
            fs.ppmi(csr_array(np.array([[1.0, bad], [2.0, 3.0]])))

    def test_ppmi_of_a_dense_matrix(self):
        counts = np.array([[4, 0], [1, 3]])
        want = fs.ppmi(csr_array(counts)).toarray()
        np.testing.assert_array_equal(fs.ppmi(counts).toarray(), want)
        assert fs.ppmi(counts, dtype="float64").dtype == np.float64

    @pytest.mark.parametrize(("matrix", "error"), [
        (np.zeros(3), errors.ShapeError), (np.array([["a"]]), errors.DTypeError), (np.array([[1j]]), errors.DTypeError),
    ])  # fmt: skip
    def test_not_a_matrix(self, matrix, error):
        with pytest.raises(error):
            fs.ppmi(matrix)

    def test_svd_of_nan(self):
        with pytest.raises(errors.ValueRangeError, match="NaN"):
            fs.truncated_svd(csr_array(np.array([[1.0, np.nan], [2.0, 3.0]])), 1)

    def test_svd_too_wide(self):
        with pytest.raises(errors.ValueRangeError, match="k is 3, expected 1 to 2"):
            fs.truncated_svd(np.ones((2, 5)), 3)

    @pytest.mark.peer
    def test_svd_equals_scikit_learn(self, rng):
        extmath = pytest.importorskip("sklearn.utils.extmath")
        from fastseq.kernels import randomized_svd

        matrix = csr_array((rng.random((400, 300)) < 0.1) * rng.random((400, 300))).astype(np.float32)
        u, s, vt = extmath.randomized_svd(matrix, 20, n_oversamples=10, n_iter=5, random_state=0)
        start = np.random.RandomState(0).normal(size=(300, 30))
        ours = randomized_svd(
            matrix.indptr, matrix.indices, matrix.data, 300, 20, method="power", n_oversamples=10, n_iter=5, start=start
        )
        np.testing.assert_allclose(ours[1], s, rtol=1e-4)
        np.testing.assert_allclose((ours[0] * ours[1]) @ ours[2], (u * s) @ vt, atol=1e-3)

    def test_krylov_comes_closer_than_power_for_the_same_products(self, rng):
        left, _ = np.linalg.qr(rng.standard_normal((900, 700)))
        right, _ = np.linalg.qr(rng.standard_normal((700, 700)))
        values = np.arange(1, 701) ** -0.5
        matrix = csr_array(((left * values) @ right.T).astype(np.float32))
        error = {}
        settings = {"krylov": {"block": 16, "n_iter": 12}, "power": {"n_oversamples": 10, "n_iter": 3}}
        for method, options in settings.items():
            _, s, _ = fs.truncated_svd(matrix, 40, method=method, random_state=1, **options)
            error[method] = np.abs(s - values[:40]).max()
        # 16 * 25 + 40 and 50 * 8 columns multiplied.
        assert error["krylov"] < 0.02 * error["power"]

    @pytest.mark.parametrize("options", [
        {"method": "arnoldi"}, {"n_iter": -1}, {"block": 0}, {"n_oversamples": -1},
    ])  # fmt: skip
    def test_bad_svd_options(self, options):
        with pytest.raises(errors.ValueRangeError, match=next(iter(options))):
            fs.truncated_svd(np.eye(5), 2, **options)

    def test_svd_start_of_the_wrong_shape(self):
        from fastseq.kernels import randomized_svd

        with pytest.raises(errors.ShapeError, match=r"start has shape \(5, 3\), expected \(5, 4\)"):
            randomized_svd(
                np.arange(6), np.arange(5), np.ones(5), 5, 2, method="power", n_oversamples=2, start=np.ones((5, 3))
            )

    def test_svd_is_the_same_for_any_number_of_threads(self, rng):
        matrix = csr_array(((rng.random((5000, 900)) < 0.01) * rng.random((5000, 900))).astype(np.float32))
        many = fs.truncated_svd(matrix, 10)
        with fs.threads(1):
            one = fs.truncated_svd(matrix, 10)
        assert all(np.array_equal(a, b) for a, b in zip(many, one))
        with fs.threads(2):
            assert all(np.array_equal(a, b) for a, b in zip(many, fs.truncated_svd(matrix, 10)))
