"""Evaluation: right numbers, gensim's numbers, file formats, options, bad lines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from fastseq.errors import DTypeError, FormatError, UnknownWordError, ValueRangeError
from fastseq.text import datasets
from fastseq.vectors import WordVectors


@pytest.fixture
def wv(rng):
    words = ["cat", "Dog", "bird", "dog", "fish", "cow", "ox", "hen"]
    return WordVectors(rng.standard_normal((8, 5)).astype(np.float32), words)


def write(tmp_path, text):
    path = tmp_path / "set.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


PAIRS = [("cat", "bird", 3.0), ("bird", "fish", 1.0), ("cow", "ox", 9.5), ("cat", "hen", 2.0), ("cow", "unheard", 1.0)]


def test_similarity(wv):
    result = wv.evaluate_similarity(PAIRS)
    cosines = [wv.similarity(a, b) for a, b, _ in PAIRS[:4]]
    gold = [score for _, _, score in PAIRS[:4]]
    assert (result.used, result.skipped, result.unknown) == (4, 1, "skip")
    assert result.spearman == pytest.approx(stats.spearmanr(gold, cosines).statistic)
    assert result.pearson == pytest.approx(stats.pearsonr(gold, cosines).statistic)
    assert result.pearson_pvalue == pytest.approx(stats.pearsonr(gold, cosines).pvalue)
    assert "4 pairs used, 1 skipped" in str(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.spearman = 1.0
    counted = wv.evaluate_similarity(PAIRS, unknown="zero")
    assert (counted.used, counted.skipped) == (5, 0)
    assert counted.pearson == pytest.approx(stats.pearsonr([*gold, 1.0], [*cosines, 0.0]).statistic)


@pytest.mark.parametrize("separator", ["\t", " ", "   ", ",", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_similarity_files(wv, tmp_path, separator, end):
    lines = ["word_1 word_2 score".replace(" ", separator), "# a comment", ""]
    lines += [separator.join(map(str, pair)) for pair in PAIRS]
    path = write(tmp_path, "\ufeff" + end.join(lines))
    assert wv.evaluate_similarity(path) == wv.evaluate_similarity(str(path)) == wv.evaluate_similarity(PAIRS)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cat dog 1\ncat bird\n", 2),
        ("cat bird 1\n# no\ncat cow high\n", 3),
        ("cat bird\n", 1),
        ("a b score\na b score\n", 2),
        ("cat bird nan\n", 1),
        ("cat bird 1\ncat bird 1 2\n", 2),
        ("cat\t\t1\n", 1),
        ("# no\na b score\ncat bird 1\n", 2),
        ("cat bird 1\ncat cow 1,5\n", 2),
        ("cat\tbird\t1,5\n", 1),
        ("cat bird 1_0\n", 1),
        (b"cat bird 1\n\xff bird 1\n", 2),
    ],
)
def test_bad_pairs(wv, tmp_path, text, line):
    with pytest.raises(FormatError, match=rf"set\.txt, line {line}:"):
        wv.evaluate_similarity(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "cat,bird,3\nbird,fish,1\ncow,ox,2\n",
        "Word 1\tWord 2\tMean\ncat\tbird\t3\ncow\tox\t1\nox\then\t2\n",
        "cat  bird 1\ncow ox 2\nox  hen 3",
    ],
)
def test_pairs_are_those_of_the_loader(wv, tmp_path, text):
    path = write(tmp_path, text)
    assert wv.evaluate_similarity(path) == wv.evaluate_similarity(datasets.word_pairs(path))


def test_questions_are_those_of_the_loader(planted, tmp_path):
    path = write(tmp_path, QUESTIONS)
    loaded = datasets.analogies(path)
    assert list(loaded) == ["capitals", "gram1-plural", "empty"]
    assert str(planted.evaluate_analogies(loaded)) == str(planted.evaluate_analogies(path))
    sections = planted.evaluate_analogies(loaded).sections
    assert sections == planted.evaluate_analogies(path).sections
    with pytest.raises(DTypeError, match=r"question 0 of section 's' is \('A0',\)"):
        planted.evaluate_analogies({"s": [("A0",)]})
    with pytest.raises(DTypeError, match="section 's' is None"):
        planted.evaluate_analogies({"s": None})
    with pytest.raises(DTypeError, match="the section 3"):
        planted.evaluate_analogies({3: []})
    for given in (None, 3, b"a b c d"):
        with pytest.raises(DTypeError, match="questions is"):
            planted.evaluate_analogies(given)


def test_files_without_questions(planted, tmp_path):
    for text in ("", ": empty\n", "# nothing\n"):
        with pytest.raises(FormatError, match=r"set\.txt holds no questions"):
            planted.evaluate_analogies(write(tmp_path, text))


def test_case(wv, tmp_path):
    pairs = [("DOG", "CAT", 1.0), ("bird", "cat", 2.0), ("fish", "cat", 3.0)]
    folded = wv.evaluate_similarity(pairs)
    # Of two spellings the first counts, which is "Dog".
    named = wv.evaluate_similarity([("Dog", "cat", 1.0), *pairs[1:]], lowercase=False)
    assert folded.pearson == named.pearson
    assert wv.evaluate_similarity(pairs, lowercase=False).skipped == 1


def test_nothing_to_compare(wv, tmp_path):
    for text in ("", "# only this\n", "word word score\n"):
        with pytest.raises(FormatError, match=r"set\.txt holds no pairs"):
            wv.evaluate_similarity(write(tmp_path, text))
    for given in (None, 3, b"a b 1"):
        with pytest.raises(DTypeError, match="pairs is"):
            wv.evaluate_similarity(given)
    for pairs in ([], [("x", "y", 1.0)] * 3, PAIRS[:1]):
        with pytest.raises(ValueRangeError, match="expected at least 2"):
            wv.evaluate_similarity(pairs)
    assert np.isnan(wv.evaluate_similarity([("cat", "ox", 1.0), ("cat", "cow", 1.0)]).spearman)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        wv.evaluate_similarity(tmp_path / "none.txt")
    with pytest.raises(IsADirectoryError):
        wv.evaluate_similarity(tmp_path)
    for bad in ([("cat", "ox")], [("cat", 3, 1.0)], [("cat", "ox", "much")]):
        with pytest.raises(DTypeError, match="pair 0"):
            wv.evaluate_similarity(bad)
    with pytest.raises(ValueRangeError, match="finite"):
        wv.evaluate_similarity([("cat", "ox", float("inf"))])
    with pytest.raises(ValueRangeError, match="unknown"):
        wv.evaluate_similarity(PAIRS, unknown="wrong")
    with pytest.raises(ValueRangeError, match="restrict_vocab"):
        wv.evaluate_similarity(PAIRS, restrict_vocab=0)


@pytest.fixture
def planted():
    """Four pairs with one relation and two with another, on axes of their own, so that answers are certain."""
    axes = np.eye(8, dtype=np.float32)
    heads, one, two = axes[:6], axes[6], axes[7]
    rows = np.concatenate([heads, heads[:4] + one, heads[4:] + two])
    words = [f"A{i}" for i in range(6)] + [f"b{i}" for i in range(6)]
    return WordVectors(rows, words)


QUESTIONS = """: capitals
a0 b0 a1 B1
A1 B1 A2 B2
a0 b0 nowhere b2

: gram1-plural
A4 b4 A5 b5
A4 b4 A5 b1
: empty
"""


def test_analogies(planted, tmp_path):
    path = write(tmp_path, QUESTIONS)
    for method in ("add", "mul"):
        result = planted.evaluate_analogies(path, method=method)
        assert (result.used, result.skipped, result.method) == (4, 1, method)
        assert result.accuracy == 0.75
        assert result.semantic == 1.0
        assert result.syntactic == 0.5
        found = [(s.name, s.correct, s.total, s.skipped) for s in result.sections]
        assert found == [("capitals", 2, 2, 1), ("gram1-plural", 1, 2, 0), ("empty", 0, 0, 0)]
        assert np.isnan(result.sections[2].accuracy)
        assert "4 questions used, 1 skipped" in str(result)
    strict = planted.evaluate_analogies(path, unknown="wrong")
    assert (strict.used, strict.skipped, strict.accuracy) == (5, 0, 0.6)
    assert planted.evaluate_analogies(path, restrict_vocab=6).used == 0


def test_analogies_with_case_and_lists(planted):
    result = planted.evaluate_analogies([("A0", "b0", "A1", "b1"), ("A0", "b0", "A1", "B1")], lowercase=False)
    assert (result.used, result.skipped, result.accuracy) == (1, 1, 1.0)
    assert np.isnan(result.semantic)
    assert np.isnan(result.syntactic)
    nothing = planted.evaluate_analogies([])
    assert (nothing.used, nothing.sections) == (0, ())
    assert np.isnan(nothing.accuracy)
    assert "nan" not in str(nothing) + str(result)
    assert str(nothing).startswith("- right (semantic -, syntactic -; 0 questions")
    assert str(result).startswith("100.00 % right (semantic -, syntactic -;")
    with pytest.raises(DTypeError, match="question 1"):
        planted.evaluate_analogies([("A0", "b0", "A1", "b1"), ("A0", "b0")])


def test_another_spelling_of_the_question_is_no_answer():
    axes = np.eye(4, dtype=np.float32)
    rows = np.array([axes[0], axes[0] + axes[3], axes[1], axes[1] + 0.7 * axes[3], axes[1] + 1.5 * axes[3]])
    # "A1" is nearest, but it is another spelling of the question's "a1".
    wv = WordVectors(rows, ["a0", "b0", "a1", "A1", "b1"])
    assert wv.evaluate_analogies([("a0", "b0", "a1", "b1")]).accuracy == 1.0
    assert wv.evaluate_analogies([("a0", "b0", "a1", "b1")], lowercase=False).accuracy == 0.0


@pytest.mark.parametrize(
    ("text", "line"),
    [(": a\na b c\n", 2), (": a\n\na b c d e\n", 3), (b": a\n\xc3 b c d\n", 2)],
)
def test_bad_questions(planted, tmp_path, text, line):
    with pytest.raises(FormatError, match=rf"set\.txt, line {line}:"):
        planted.evaluate_analogies(write(tmp_path, text))


def test_options_of_analogies(planted):
    for name, value in (("method", "divide"), ("unknown", "zero"), ("restrict_vocab", 0)):
        with pytest.raises(ValueRangeError, match=name):
            planted.evaluate_analogies([], **{name: value})
    with pytest.raises(UnknownWordError):
        planted.analogy("a0", "b0", "a1")


def corpus_vectors(folder, seed):
    """Random vectors for the words of the evaluation sets, with the questions' relations planted, in mixed case."""
    rng = np.random.default_rng(seed)
    relation = rng.standard_normal(20)
    place: dict[str, np.ndarray] = {}
    for line in (folder / "similarity" / "questions-words.txt").read_text().splitlines():
        if line.startswith(":"):
            relation = rng.standard_normal(20)
            continue
        for a, b in np.reshape(line.split(), (2, 2)):
            place.setdefault(a, rng.standard_normal(20))
            place.setdefault(b, place[a] + relation + 0.5 * rng.standard_normal(20))
    for name in ("ws353.txt", "simlex999.txt", "men3k.txt"):
        for line in (folder / "similarity" / name).read_text().splitlines():
            for word in line.split()[:2]:
                place.setdefault(word, rng.standard_normal(20))
    words = [str(word) for word in rng.permutation(list(place))]
    rows = [place[word] for word in words]
    words = [word.lower() if rng.random() < 0.5 else word for word in words]
    table = {word: row for word, row in zip(words, rows) if rng.random() < 0.8}
    return list(table), np.array(list(table.values()), np.float32)


@pytest.mark.peer
@pytest.mark.corpora
@pytest.mark.parametrize("unknown", [False, True])
def test_numbers_are_gensims(corpora, tmp_path, unknown):
    keyedvectors = pytest.importorskip("gensim.models.keyedvectors", reason="needs the peers extra")
    words, matrix = corpus_vectors(corpora, 5)
    wv, kv = WordVectors(matrix, words), keyedvectors.KeyedVectors(20)
    kv.add_vectors(words, matrix)
    folder = corpora / "similarity"
    for name in ("ws353.txt", "simlex999.txt", "men3k.txt"):
        for limit in (300000, 2000):
            for lowercase in (True, False):
                pearson, spearman, missing = kv.evaluate_word_pairs(
                    folder / name, restrict_vocab=limit, case_insensitive=lowercase, dummy4unknown=unknown
                )
                ours = wv.evaluate_similarity(
                    folder / name, restrict_vocab=limit, lowercase=lowercase, unknown="zero" if unknown else "skip"
                )
                assert ours.pearson == pytest.approx(pearson.statistic, abs=1e-6)
                assert ours.spearman == pytest.approx(spearman.statistic, abs=1e-6)
                assert ours.pearson_pvalue == pytest.approx(pearson.pvalue, rel=1e-4, abs=1e-12)
                assert ours.spearman_pvalue == pytest.approx(spearman.pvalue, rel=1e-4, abs=1e-12)
                if not unknown:
                    assert 100 * ours.skipped / (ours.used + ours.skipped) == pytest.approx(missing)
    # Every fifteenth question: gensim asks them one by one.
    lines = (folder / "questions-words.txt").read_text().splitlines(keepends=True)
    some = write(tmp_path, "".join(line for i, line in enumerate(lines) if line.startswith(":") or i % 15 == 0))
    for limit, lowercase in ((30000, True), (1500, True), (30000, False)):
        accuracy, sections = kv.evaluate_word_analogies(
            some, restrict_vocab=limit, case_insensitive=lowercase, dummy4unknown=unknown
        )
        result = wv.evaluate_analogies(
            some, restrict_vocab=limit, lowercase=lowercase, unknown="wrong" if unknown else "skip"
        )
        assert result.accuracy == pytest.approx(accuracy)
        theirs = [(s["section"], len(s["correct"]), len(s["correct"]) + len(s["incorrect"])) for s in sections[:-1]]
        assert [(s.name, s.correct, s.total) for s in result.sections] == theirs
        assert 0.05 < accuracy < 0.99


@pytest.mark.corpora
def test_all_questions_are_read(corpora):
    words, matrix = corpus_vectors(corpora, 6)
    result = WordVectors(matrix, words).evaluate_analogies(corpora / "similarity" / "questions-words.txt")
    assert result.used + result.skipped == 19544
    assert len(result.sections) == 14
    assert sum(section.is_syntactic for section in result.sections) == 9
