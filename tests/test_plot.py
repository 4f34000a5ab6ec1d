"""Pictures: what is drawn, that labels stand clear, fonts, and that nothing is shown."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fastseq import plot
from fastseq.errors import DTypeError, MissingExtraError, ShapeError, UnknownWordError, ValueRangeError
from fastseq.vectors.word_vectors import WordVectors

matplotlib = pytest.importorskip("matplotlib", reason="needs the plot extra")
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _closed():
    from matplotlib import pyplot

    yield
    pyplot.close("all")


@pytest.fixture
def wv(rng):
    return WordVectors(rng.standard_normal((40, 6)), [f"word{i}" for i in range(40)])


def boxes_of(ax):
    ax.figure.canvas.draw()
    renderer = ax.figure.canvas.get_renderer()
    # The text's own box: get_window_extent of an annotation would include its line.
    return [matplotlib.text.Text.get_window_extent(text, renderer) for text in ax.texts]


def test_labels_stand_clear_of_each_other_and_of_their_points(wv):
    words = list(wv.words[:25])
    ax = plot.vectors(wv, words)
    assert sorted(text.get_text() for text in ax.texts) == sorted(words)
    boxes = boxes_of(ax)
    points = ax.transData.transform(ax.collections[0].get_offsets())
    own = {text.get_text(): text.xy for text in ax.texts}
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.contains(*point) for point in points)
    drawn = np.array([own[word] for word in words])
    np.testing.assert_allclose(drawn, ax.collections[0].get_offsets())


def test_map_is_the_plane_of_largest_variance(wv):
    units = wv.matrix / np.linalg.norm(wv.matrix, axis=1, keepdims=True)
    ax = plot.vectors(wv, wv.words)
    flat = np.asarray(ax.collections[0].get_offsets())
    values = np.linalg.eigvalsh(np.cov(units.T))[::-1]
    np.testing.assert_allclose(flat.var(axis=0, ddof=1), values[:2])
    assert f"{100 * values[0] / values.sum():.0f} %" in ax.get_xlabel()
    raw = plot.vectors(wv, wv.words[:3], method="first")
    np.testing.assert_allclose(raw.collections[0].get_offsets(), wv.matrix[:3, :2])


def test_signs_of_components_are_fixed(wv):
    flat = np.asarray(plot.vectors(wv, wv.words).collections[0].get_offsets())
    # Turned through the origin, the picture would be upside down without a rule for signs.
    turned = WordVectors(-wv.matrix, wv.words)
    other = np.asarray(plot.vectors(turned, wv.words).collections[0].get_offsets())
    np.testing.assert_allclose(flat, other, atol=1e-9)
    for picture in (flat, other):
        assert (picture[np.abs(picture).argmax(axis=0), [0, 1]] > 0).all()


def test_words_are_no_formulas():
    words = ["$x$", "$\\frac{$", "US$", "$_$", "a_b^c"]
    ax = plot.vectors(WordVectors(np.eye(5), words), words)
    ax.figure.canvas.draw()
    assert sorted(text.get_text() for text in ax.texts) == sorted(words)
    assert not any(text.get_parse_math() for text in ax.texts)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (3, 2)])
@pytest.mark.parametrize("method", ["pca", "first"])
def test_few_words_and_dimensions(shape, method):
    wv = WordVectors(np.ones(shape), [f"w{i}" for i in range(shape[0])])
    ax = plot.vectors(wv, wv.words, method=method)
    ax.figure.canvas.draw()
    assert len(ax.texts) == shape[0]


def test_draws_on_given_axes_and_shows_nothing(wv, monkeypatch):
    from matplotlib import pyplot

    def show(*arguments, **options):
        raise AssertionError("plt.show was called")

    monkeypatch.setattr(pyplot, "show", show)
    figure, axes = pyplot.subplots(1, 2)
    canvas = figure.canvas
    assert plot.vectors(wv, ["word1", "word2", "word1"], ax=axes[0]) is axes[0]
    assert len(axes[0].texts) == 2
    assert plot.spectrum([3.0, 2.0, 1.0], ax=axes[1]) is axes[1]
    assert figure.canvas is canvas
    inner = pyplot.figure().subfigures(1, 2)[0].subplots()
    assert plot.vectors(wv, ["word1"], ax=inner) is inner


def test_words_without_a_font_are_told_once(monkeypatch):
    wv = WordVectors(np.eye(3), ["日本", "東京", "say"])
    monkeypatch.setattr(plot, "_CJK_FONTS", ("no such font",))
    with pytest.warns(UserWarning, match="no installed font") as told:
        plot.vectors(wv, wv.words)
    assert len(told) == 1
    assert plot._fonts_for(["naïve", "word"]) is None


def test_takes_an_installed_font_that_fits(monkeypatch):
    from matplotlib import font_manager

    # A stand-in for a CJK font: one that holds a sign which the default font has and the pretended default lacks.
    monkeypatch.setattr(plot, "_CJK_FONTS", ("DejaVu Sans",))
    default = font_manager.findfont("cmr10")
    monkeypatch.setattr(font_manager, "findfont", lambda properties: default)
    families = plot._fonts_for(["Ж"])
    assert families is not None
    assert families[-1] == "DejaVu Sans"


def test_spectrum():
    ax = plot.spectrum(np.array([1.0, 4.0, 0.0], np.float32))
    assert ax.lines[0].get_ydata().tolist() == [4.0, 1.0]
    assert ax.get_yscale() == "log"
    assert "1 of 3" in ax.get_title()
    plot.spectrum([0.0]).figure.canvas.draw()


def test_refuses(wv):
    with pytest.raises(UnknownWordError, match="nonsense"):
        plot.vectors(wv, ["nonsense"])
    with pytest.raises(ValueRangeError, match="empty"):
        plot.vectors(wv, [])
    with pytest.raises(DTypeError, match="list of words"):
        plot.vectors(wv, "word1")
    with pytest.raises(ValueRangeError, match="method"):
        plot.vectors(wv, ["word1"], method="tsne")
    with pytest.raises(ShapeError, match="shape"):
        plot.spectrum([[1.0]])
    with pytest.raises(ShapeError, match="ragged"):
        plot.spectrum([[1], [1, 2]])
    with pytest.raises(ValueRangeError, match="negative"):
        plot.spectrum([-1.0])
    with pytest.raises(DTypeError, match="dtype"):
        plot.spectrum(["a"])


def test_without_matplotlib(wv, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"fastseq-numba\[plot\]"):
        plot.spectrum([1.0])


class TestLoss:
    def test_perplexities_of_a_history(self):
        history = {"epoch": [0.5, 1.0], "loss": [3.0, 2.0], "perplexity": [20.1, 7.4]}
        history["valid_perplexity"] = [30.0, np.inf]
        ax = plot.loss(history)
        assert ax.get_yscale() == "log"
        assert ax.get_ylabel() == "perplexity"
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["perplexity", "valid_perplexity"]
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.5, 1.0])
        np.testing.assert_array_equal(ax.lines[1].get_ydata(), [30.0, np.nan])
        ax = plot.loss(history, ["loss"])
        assert ax.lines[0].get_ydata().tolist() == [3.0, 2.0]
        assert ax.get_legend() is None

    def test_a_list(self):
        ax = plot.loss([3, 2, 1])
        assert ax.lines[0].get_xdata().tolist() == [1, 2, 3]
        assert plot.loss([1.0], ax=ax) is ax

    def test_bad_arguments(self):
        with pytest.raises(ValueRangeError, match="names="):
            plot.loss({"speed": [1.0]})
        with pytest.raises(ValueRangeError, match="no \\['x'\\]"):
            plot.loss({"loss": [1.0]}, ["x"])
        with pytest.raises(DTypeError, match="no list of numbers"):
            plot.loss([])
        with pytest.raises(ShapeError, match="as many each"):
            plot.loss({"loss": [1.0], "valid_loss": [1.0, 2.0]})


class TestGradientNorms:
    def test_lines(self):
        norms = np.array([[1e-6, 1e-3, 1.0], [0.0, 2.0, np.inf]])
        ax = plot.gradient_norms(norms)
        assert ax.get_yscale() == "log"
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["layer 0", "layer 1"]
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), norms[0])
        np.testing.assert_array_equal(ax.lines[1].get_ydata(), [np.nan, 2.0, np.nan])
        assert "2 of 6 norms" in ax.get_title()

    def test_one_line_and_labels(self):
        assert plot.gradient_norms([1.0, 2.0]).get_legend() is None
        ax = plot.gradient_norms([1.0, 2.0], ["LSTM"])
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["LSTM"]
        same = plot.gradient_norms([1.0, 2.0], ax=ax)
        assert same is ax

    def test_bad_arguments(self):
        with pytest.raises(ShapeError, match="ragged"):
            plot.gradient_norms([[1.0], [1.0, 2.0]])
        with pytest.raises(ShapeError, match="at least one"):
            plot.gradient_norms([])
        with pytest.raises(DTypeError, match="dtype"):
            plot.gradient_norms(["a"])
        with pytest.raises(ValueRangeError, match="negative"):
            plot.gradient_norms([-1.0])
        with pytest.raises(ShapeError, match="2 labels, expected 1"):
            plot.gradient_norms([1.0], ["a", "b"])
