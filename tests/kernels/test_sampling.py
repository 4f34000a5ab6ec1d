"""Unigram tables and negative samples: exact weights, frequencies, what must never come, and bad input."""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import fastseq as fs
from fastseq import errors
from fastseq.kernels import _cuda, sample_negatives, unigram_table
from fastseq.kernels.reference.sampling import relative_powers

SLOT = 2**32
needs_device = pytest.mark.skipif(
    not _cuda.available(), reason=f"{_cuda._why_not()}; NUMBA_ENABLE_CUDASIM=1 runs this in Numba's CUDA simulator"
)
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_device])]


def weights_of(thresholds, aliases):
    """Return how many of the V * 2**32 pairs of a slot and lower bits give each id, from the definition of a draw."""
    kept = thresholds.astype(np.uint64)
    given = kept.copy()
    np.add.at(given, aliases, np.uint64(SLOT) - kept)
    return given


def draw(device, table, targets, k, **options):
    """Draw on ``device``; return the ids on the host."""
    arrays = [*table, np.asarray(targets, np.int32)]
    if device == "cuda":
        arrays = [_cuda.asarray(array) for array in arrays]
    return np.asarray(fs.to_host(sample_negatives(*arrays, k, **options)))


def how_many(device, n):
    """Return ``n``, or so many draws as the simulator does in a second or two."""
    return min(n, 4000) if device == "cuda" and _cuda.SIMULATED else n


def assert_drawn_with(counts, probabilities):
    """Assert by a chi-square test that ``counts`` were drawn with these probabilities (zeros: never)."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities, np.float64)
    assert not counts[probabilities == 0].any(), "something was drawn that has no weight"
    expected = counts.sum() * probabilities / probabilities.sum()
    # Cells that expect few draws are taken together, or the statistic is not chi-square.
    few = expected < 10
    if few.any():
        counts, expected = np.append(counts[~few], counts[few].sum()), np.append(expected[~few], expected[few].sum())
        counts, expected = counts[expected > 0], expected[expected > 0]
    # The numbers are the same at each run, so a limit of 1e-3 does not fail now and then.
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def exact_shares(counts, power):
    """Return V * 2**32 count**power / sum, to 60 digits."""
    with localcontext() as context:
        context.prec = 60
        powers = [Decimal(count) ** Decimal(power) if count > 0 else Decimal(0) for count in counts]
        total = sum(powers)
        return [len(counts) * SLOT * value / total for value in powers]


class TestTable:
    @given(
        st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**53), st.floats(0, 1e18)), min_size=1, max_size=60),
        st.one_of(st.sampled_from([0.75, 1.0, 0.0, -1.0]), st.floats(-6, 6), st.floats(-1e308, 1e308)),
    )
    def test_is_exact(self, counts, power):
        counts = np.array([*counts, 3], np.float64)
        thresholds, aliases, weights = unigram_table(counts, power)
        assert (thresholds.dtype, aliases.dtype, weights.dtype) == (np.uint32, np.int32, np.uint64)
        assert sum(weights.tolist()) == len(counts) * SLOT
        assert weights_of(thresholds, aliases).tolist() == weights.tolist()
        assert ((weights > 0) == (counts > 0)).all()
        # A slot that no other id takes a part of must be its own alias, since its threshold cannot say 2**32.
        assert (aliases[weights == 0] != np.flatnonzero(weights == 0)).all()

    @given(
        st.lists(st.one_of(st.integers(0, 9), st.integers(1, 2**53), st.floats(1e-9, 1e18)), min_size=1, max_size=40),
        st.floats(-4, 4),
    )
    def test_is_proportional(self, counts, power):
        counts = np.array([*counts, 2], np.float64)
        weights = unigram_table(counts, power)[2].tolist()
        shares = exact_shares(counts.tolist(), power)
        n_rare = sum(0 < share < 1 + 1e-9 for share in shares)
        for weight, share in zip(weights, shares):
            if 0 < share < 1:
                assert weight == 1
            else:
                # float64 has 53 bits; that whole numbers leave less than 1 to be desired shows where shares are small.
                assert abs(weight - share) < 1 + n_rare + share * Decimal("4e-15")

    def test_these_numbers_never_change(self):
        # The same on every machine: no function of its mathematical library is used.
        thresholds, aliases, weights = unigram_table([1000, 500, 333, 250, 1, 0], 0.75)
        assert weights.tolist() == [10772686943, 6405477980, 4722339588, 3808719994, 60579271, 0]
        assert thresholds.tolist() == [1757084320, 3867595004, 0, 3808719994, 60579271, 0]
        assert aliases.tolist() == [1, 2, 2, 0, 0, 0]
        drawn = sample_negatives(thresholds, aliases, weights, [0, 1, 2, -1], 6, key=42)
        assert drawn.tolist() == [[1, 3, 1, 2, 2, 1], [2, 0, 0, 3, 0, 0], [1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]

    @pytest.mark.parametrize("power", [0.75, -0.75, 0.1, 3.0, -2.5])
    def test_powers(self, power, rng):
        counts = np.concatenate([rng.integers(1, 2**40, 300), rng.integers(1, 20, 100)]).astype(np.float64)
        largest = counts.min() if power < 0 else counts.max()
        with localcontext() as context:
            context.prec = 50
            exact = [(Decimal(count) / Decimal(float(largest))) ** Decimal(power) for count in counts.tolist()]
            off = [float(Decimal(float(got)) / want - 1) for got, want in zip(relative_powers(counts, power), exact)]
        # Half a unit in the last place (1.1e-16) for each bit that the result lies below 1, and a few.
        bits = np.abs(np.log2(counts / largest) * power)
        assert (np.abs(off) < 1.2e-16 * (bits + 5)).all()

    def test_many_words_and_large_counts(self, rng):
        counts = rng.integers(1, 1000, 2**20)
        counts[:4] = 2**24 + 1, 2**24, 2**24 + 1, 1
        for power in (1.0, 0.75):
            thresholds, aliases, weights = unigram_table(counts, power)
            assert int(weights.sum()) == 2**52
            assert (weights_of(thresholds, aliases) == weights).all()
            powers = counts.astype(np.longdouble) ** power
            shares = powers * (2.0**52 / powers.sum())
            assert float(np.abs(weights - shares).max()) < 1.01
        # float32 does not tell 2**24 + 1 from 2**24.
        weights = unigram_table(counts, 1.0)[2].astype(np.int64)
        assert abs(weights[0] - weights[1] - 2**52 / counts.sum()) < 2
        assert abs(weights[0] - weights[2]) < 2

    def test_what_float64_leaves_over_is_given_out(self, rng):
        # 2**55 has two bits more than float64: the shares, rounded one by one, miss it.
        counts = rng.random(2**23)
        thresholds, aliases, weights = unigram_table(counts)
        assert int(weights.sum()) == 2**55
        assert (weights_of(thresholds, aliases) == weights).all()

    def test_rare_words_are_not_lost(self):
        weights = unigram_table([10**9, 1], 1.0)[2].tolist()
        assert weights == [2**33 - 9, 9]
        weights = unigram_table([10**9, 1, 0, 1, 1], 3.0)[2].tolist()
        assert weights == [5 * SLOT - 3, 1, 0, 1, 1]

    def test_uniform_weights_fill_their_slots(self):
        for counts, power in (([7] * 5, 0.75), ([1, 9, 2, 1e300, 5], 0)):
            thresholds, aliases, weights = unigram_table(counts, power)
            assert weights.tolist() == [SLOT] * 5
            assert thresholds.tolist() == [0] * 5
            assert aliases.tolist() == list(range(5))

    @pytest.mark.parametrize(
        ("counts", "power", "error", "message"),
        [
            ([], 0.75, errors.ShapeError, "counts is empty"),
            ([[1, 2]], 0.75, errors.ShapeError, r"counts has shape \(1, 2\)"),
            ([0, 0], 0.75, errors.ValueRangeError, "only zeros"),
            ([3, -1], 0.75, errors.ValueRangeError, "counts holds -1"),
            ([3, np.nan], 0.75, errors.ValueRangeError, "NaN"),
            ([3, np.inf], 0.75, errors.ValueRangeError, "infinity"),
            (["a"], 0.75, errors.DTypeError, "counts has dtype"),
            ([1j], 0.75, errors.DTypeError, "counts has dtype"),
            ([3, 1], np.nan, errors.ValueRangeError, "power is nan"),
            ([3, 1], -np.inf, errors.ValueRangeError, "power is -inf"),
            ([3, 1], 10**400, errors.ValueRangeError, "power is 1000"),
            ([3, 1], "0.75", errors.DTypeError, "power is '0.75'"),
            ([3, 1], True, errors.DTypeError, "power is True"),
            ([3, 1], None, errors.DTypeError, "power is None"),
        ],
    )
    def test_bad_input(self, counts, power, error, message):
        with pytest.raises(error, match=message):
            unigram_table(counts, power)


@pytest.mark.parametrize("device", DEVICES)
class TestFrequencies:
    @pytest.mark.parametrize("target", [-1, 0, 3, 59])
    def test_with_replacement(self, device, target):
        counts = (1e5 / (np.arange(60) + 1)).astype(np.int64)
        counts[17] = 0
        table = unigram_table(counts)
        drawn = draw(device, table, np.full(how_many(device, 400_000) // 4, target), 4, key=9)
        wanted = table[2].astype(np.float64)
        if target >= 0:
            wanted[target] = 0
        assert_drawn_with(np.bincount(drawn.ravel(), minlength=60), wanted)

    @pytest.mark.parametrize("share", [0.9, 0.99, 0.9999, 1 - 1e-8])
    def test_of_the_rest_beside_a_target_with_nearly_everything(self, device, share):
        rest = np.array([5.0, 1.0, 3.0, 0.0, 2.0])
        counts = np.insert(rest * (1 - share) / rest.sum(), 2, share)
        table = unigram_table(counts, 1.0)
        assert table[2][2] / (6 * SLOT) == pytest.approx(share, abs=1e-9)
        drawn = draw(device, table, np.full(how_many(device, 40_000) // 4, 2), 4, key=2)
        wanted = table[2].astype(np.float64)
        wanted[2] = 0
        assert_drawn_with(np.bincount(drawn.ravel(), minlength=6), wanted)

    @pytest.mark.parametrize("target", [-1, 1])
    @pytest.mark.parametrize("counts", [[4, 3, 0, 1, 2, 2], [10**6, 5, 3, 1, 0, 2], [1, 10**7, 10**6, 3, 5, 3]])
    def test_without_replacement(self, device, target, counts):
        table = unigram_table(counts, 1.0)
        drawn = draw(device, table, np.full(how_many(device, 90_000) // 3, target), 3, key=7, replace=False)
        probabilities = {}
        for ids in itertools.permutations(range(6), 3):
            left = table[2].astype(np.float64)
            if target >= 0:
                left[target] = 0
            probability = 1.0
            for i in ids:
                probability *= left[i] / left.sum()
                left[i] = 0
            probabilities[ids] = probability
        assert sum(probabilities.values()) == pytest.approx(1)
        seen = dict.fromkeys(probabilities, 0)
        for ids in map(tuple, drawn.tolist()):
            assert ids in seen, "an id was drawn twice"
            seen[ids] += 1
        assert_drawn_with(list(seen.values()), list(probabilities.values()))

    def test_of_the_samples_of_a_row_are_independent(self, device):
        table = unigram_table([5, 3, 2], 1.0)
        drawn = draw(device, table, np.full(how_many(device, 200_000) // 2, -1), 2, key=3)
        pairs = np.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9)
        share = table[2] / table[2].sum()
        assert_drawn_with(pairs, np.outer(share, share).ravel())


class TestSamples:
    counts = (1e6 / (np.arange(5000) + 2.7)).astype(np.int64)

    @pytest.mark.parametrize("replace", [True, False])
    def test_never_the_target_and_distinct_where_wanted(self, replace, rng):
        table = unigram_table(self.counts)
        targets = np.concatenate([np.zeros(5000, np.int64), rng.integers(-1, 5000, 5000)])
        drawn = sample_negatives(*table, targets, 10, key=1, replace=replace)
        assert drawn.shape == (10_000, 10)
        assert drawn.dtype == np.int32
        assert (drawn != targets[:, None]).all()
        assert drawn.min() >= 0
        assert drawn.max() < 5000
        rows = np.sort(drawn, axis=1)
        assert (rows[:, 1:] == rows[:, :-1]).any() == replace

    @pytest.mark.parametrize("replace", [True, False])
    def test_threads_and_pieces_change_nothing(self, replace, rng):
        table = unigram_table(self.counts)
        targets = rng.integers(-1, 5000, 3001)
        whole = sample_negatives(*table, targets, 7, key=5, start=11, replace=replace)
        with fs.threads(1):
            np.testing.assert_array_equal(sample_negatives(*table, targets, 7, key=5, start=11, replace=replace), whole)
        for cuts in ([1], [100, 2900], [1500, 1501, 1502]):
            parts = [
                sample_negatives(*table, part, 7, key=5, start=11 + start, replace=replace)
                for part, start in zip(np.split(targets, cuts), [0, *cuts])
            ]
            np.testing.assert_array_equal(np.concatenate(parts), whole)
        # More samples leave those before as they are, and other keys and rows give other ones.
        fewer = sample_negatives(*table, targets, 3, key=5, start=11, replace=replace)
        np.testing.assert_array_equal(fewer, whole[:, :3])
        assert (sample_negatives(*table, targets, 7, key=6, start=11, replace=replace) == whole).mean() < 0.05
        assert (sample_negatives(*table, targets, 7, key=5, start=12, replace=replace) == whole).mean() < 0.05

    def test_what_nothing_gets_in_the_way_of_is_the_same_without_replacement(self):
        table = unigram_table(self.counts)
        targets = np.arange(1000)
        one, other = (sample_negatives(*table, targets, 6, replace=replace) for replace in (True, False))
        rows = np.sort(one, axis=1)
        free = (rows[:, 1:] != rows[:, :-1]).all(axis=1)
        assert 100 < free.sum() < 1000
        np.testing.assert_array_equal(one[free], other[free])
        assert (one[~free] != other[~free]).any(axis=1).all()

    def test_all_ids(self):
        table = unigram_table(np.arange(50))
        for target, wanted in ((-1, range(1, 50)), (0, range(1, 50)), (7, [*range(1, 7), *range(8, 50)])):
            drawn = sample_negatives(*table, np.full(20, target), len(wanted), replace=False)
            assert (np.sort(drawn, axis=1) == list(wanted)).all()

    def test_many_words(self):
        # The frequent ids are the last ones.
        table = unigram_table(np.arange(2**20) ** 2.0, 1.0)
        drawn = sample_negatives(*table, np.full(50_000, 2**20 - 1), 4)
        assert 2**20 - 100 < drawn.max() < 2**20 - 1
        assert drawn.mean() / 2**20 == pytest.approx(0.75, abs=0.005)
        assert 0 < (drawn < 2**17).mean() < 0.005

    def test_not_enough_ids(self):
        one = unigram_table([0, 4, 0])
        assert sample_negatives(*one, [-1, 0, 2], 2).tolist() == [[1, 1]] * 3
        assert sample_negatives(*one, [1], 0).shape == (1, 0)
        assert sample_negatives(*one, [], 5, replace=False).shape == (0, 5)
        with pytest.raises(errors.ValueRangeError, match=r"0 ids but target 1 \(row 2\) have a weight, .* at least 1"):
            sample_negatives(*one, [-1, 0, 1], 2)
        three = unigram_table([1, 2, 0, 3])
        assert sample_negatives(*three, [-1, 2], 3, replace=False).shape == (2, 3)
        with pytest.raises(errors.ValueRangeError, match=r"2 ids but target 3 \(row 1\) have a weight, .* at least 3"):
            sample_negatives(*three, [2, 3], 3, replace=False)
        with pytest.raises(errors.ValueRangeError, match=r"3 ids \(row 0\) have a weight.*replace=True"):
            sample_negatives(*three, [-1], 4, replace=False)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"targets": [4]}, errors.ValueRangeError, "targets holds 4, expected -1 to 3"),
            ({"targets": [-2]}, errors.ValueRangeError, "targets holds -2"),
            ({"targets": [0.5]}, errors.DTypeError, "targets has dtype float64"),
            ({"targets": 1}, errors.ShapeError, "targets has shape"),
            ({"k": -1}, errors.ValueRangeError, "k is -1"),
            ({"k": 2.0}, errors.DTypeError, "k is 2.0"),
            ({"key": -1}, errors.ValueRangeError, "key is -1"),
            ({"key": 2**64}, errors.ValueRangeError, "key is"),
            ({"start": -1}, errors.ValueRangeError, "start is -1"),
            ({"replace": 1}, errors.DTypeError, "replace is 1"),
            ({"thresholds": np.zeros(4, np.int64)}, errors.DTypeError, "thresholds has dtype int64, expected uint32"),
            ({"thresholds": np.zeros(3, np.uint32)}, errors.ShapeError, "thresholds holds 3 numbers, aliases 4"),
            ({"thresholds": np.zeros((2, 2), np.uint32)}, errors.ShapeError, "thresholds has shape"),
            ({"aliases": np.array([0, 1, 2, 4], np.int32)}, errors.ValueRangeError, "aliases holds 4, expected 0 to 3"),
            ({"aliases": np.array([0, 1, -1, 2], np.int32)}, errors.ValueRangeError, "aliases holds -1"),
            ({"weights": np.full(4, SLOT, np.int64)}, errors.DTypeError, "weights has dtype int64, expected uint64"),
            ({"weights": np.full(4, SLOT - 1, np.uint64)}, errors.ValueRangeError, "weights adds up to"),
            ({"weights": np.array([2**63, 2**63, 0, 4 * SLOT], np.uint64)}, errors.ValueRangeError, "weights adds up"),
            ({"weights": np.empty(0, np.uint64)}, errors.ShapeError, "weights is empty"),
        ],
    )
    def test_bad_input(self, change, error, message):
        names = ("thresholds", "aliases", "weights")
        arguments = {**dict(zip(names, unigram_table([4, 3, 2, 1]))), "targets": [0, 1], "k": 2, **change}
        with pytest.raises(error, match=message):
            sample_negatives(**arguments)
