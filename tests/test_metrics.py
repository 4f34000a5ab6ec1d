"""Metrics against SciPy, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fastseq import metrics
from fastseq.errors import DTypeError, ShapeError, ValueRangeError

series = st.lists(st.integers(-5, 5), min_size=3, max_size=40)


@given(series, st.integers(0, 99))
def test_correlations_equal_scipy(values, seed):
    x = np.array(values, float)
    y = np.random.default_rng(seed).integers(0, 4, x.size).astype(float)
    if (x == x[0]).all() or (y == y[0]).all():
        assert np.isnan(metrics.pearson(x, y))
        assert np.isnan(metrics.spearman(x, y))
        return
    for ours, theirs in ((metrics.pearson, stats.pearsonr), (metrics.spearman, stats.spearmanr)):
        expected = theirs(x, y)
        r = ours(x, y)
        assert r == pytest.approx(expected.statistic, abs=1e-12)
        if abs(r) < 1 - 1e-9:
            assert metrics.correlation_p_value(r, x.size) == pytest.approx(expected.pvalue, rel=1e-6)


@given(series)
def test_ranks_equal_scipy(values):
    np.testing.assert_array_equal(metrics.rank_average(values), stats.rankdata(values))


def test_extreme_sizes_neither_overflow_nor_vanish():
    for size in (1e-200, 1e200):
        assert metrics.pearson([1 * size, 2 * size, 4 * size], [1, 2, 4]) == pytest.approx(1.0)


def test_cosine():
    assert metrics.cosine([1, 0], [0, 2]) == 0.0
    assert metrics.cosine([1, 1], [-1, -1]) == pytest.approx(-1.0)
    assert metrics.cosine([0, 0], [1, 2]) == 0.0


@pytest.mark.parametrize("size", [1e-3, 1e200, 1.7e308])
def test_cosine_does_not_overflow(size):
    assert metrics.cosine([size], [size]) == pytest.approx(1.0, abs=1e-4)
    assert metrics.cosine([size, 0], [size, size]) == pytest.approx(0.5**0.5, abs=1e-4)


def test_cosine_of_tiny_vectors_is_zero():
    for size in (1e-200, 5e-324):
        assert metrics.cosine([size], [size]) == pytest.approx(0.0, abs=1e-12)
    assert metrics.cosine([3e-8], [1], eps=1e-8) == pytest.approx(0.75)
    assert metrics.cosine([], []) == 0.0


def test_p_value_at_the_ends():
    for r in (1.5, -1.01, float("inf")):
        with pytest.raises(ValueRangeError, match="expected a correlation from -1 to 1"):
            metrics.correlation_p_value(r, 10)
    assert np.isnan(metrics.correlation_p_value(float("nan"), 10))
    assert np.isnan(metrics.correlation_p_value(0.5, 2))
    assert metrics.correlation_p_value(1.0, 9) == 0.0
    assert metrics.correlation_p_value(0.0, 9) == pytest.approx(1.0)


def test_refuses():
    with pytest.raises(ShapeError, match="x holds 2"):
        metrics.pearson([1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="at least 2"):
        metrics.spearman([1], [1])
    with pytest.raises(ShapeError, match="one axis"):
        metrics.pearson([[1, 2]], [[1, 2]])
    with pytest.raises(ValueRangeError, match="NaN"):
        metrics.pearson([1, np.nan], [1, 2])
    with pytest.raises(DTypeError, match="dtype"):
        metrics.pearson(["a", "b"], [1, 2])
