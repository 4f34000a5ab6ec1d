"""The recurrent kernels: numeric gradients, lengths, bad input, NaN, huge values, denormals."""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq as fs
from fastseq.errors import DTypeError, ShapeError, ValueRangeError
from fastseq.kernels import gru_backward, gru_forward, lstm_backward, lstm_forward, rnn_backward, rnn_forward
from fastseq.kernels._jit import one_thread
from fastseq.kernels._vector import BYTES
from fastseq.kernels.cpu import _memory
from fastseq.kernels.cpu import _panels as panels
from fastseq.kernels.cpu import _recurrent as recurrent
from fastseq.kernels.cpu import _variants as variants
from fastseq.kernels.cpu._memory import Pool

from ..gradcheck import check_gradients

CELLS = ["lstm", "gru", "rnn", "relu"]
GATES = {"lstm": 4, "gru": 3, "rnn": 1, "relu": 1}
NORM = ("gain_x", "gain_h", "gain_c", "bias_c")
OPTIONS = {"peephole", "w_p", *NORM, "keep_h", "keep_c", "mask_h", "clip_c", "reset_after"}
RUN = {"lstm": (lstm_forward, lstm_backward), "gru": (gru_forward, gru_backward), "rnn": (rnn_forward, rnn_backward)}


def arrays(cell, t, n, d, h, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(h)

    def some(*shape):
        return rng.standard_normal(shape).astype(dtype)

    made = {"x": some(t, n, d), "h0": some(n, h)}
    if cell == "lstm":
        made["c0"] = some(n, h)
    width = GATES[cell] * h
    made |= {"w_x": some(d, width), "w_h": some(h, width) * dtype(scale), "b": some(width)}
    if cell == "gru":
        made["b_n"] = some(h)
    return made


def run(cell, made, **options):
    if cell == "relu":
        options["nonlinearity"] = "relu"
    given = {name: value for name, value in made.items() if name not in OPTIONS}
    told = {name: value for name, value in made.items() if name in OPTIONS and not name.startswith(("gain", "bias_c"))}
    norm = tuple(made[name] for name in NORM if name in made)
    return RUN["rnn" if cell == "relu" else cell][0](
        *given.values(), **told, **({"norm": norm} if norm else {}), **options
    )


def back(cell, dh, lasts, cache, **options):
    return RUN["rnn" if cell == "relu" else cell][1](dh, *lasts, cache, **options)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [None, [3, 0, 2, 3]])
@pytest.mark.parametrize("units", [3, 18])
def test_gradients_are_those_of_differences(cell, lengths, units):
    made = arrays(cell, 3, 4, 2, units)
    rng = np.random.default_rng(1)
    n_states = 2 if cell == "lstm" else 1
    result = run(cell, made, lengths=lengths, train=True)
    h, lasts = result[0], result[-1 - n_states:-1]
    by_h, by_lasts = rng.standard_normal(h.shape), [rng.standard_normal(last.shape) for last in lasts]

    def loss():
        result = run(cell, made, lengths=lengths)
        total = float((result[0] * by_h).sum())
        return total + sum(float((last * by).sum()) for last, by in zip(result[-n_states:], by_lasts))

    gradients = back(cell, by_h, by_lasts, result[-1])
    check_gradients(loss, made, dict(zip(made, gradients)))
    again = back(cell, by_h, by_lasts, result[-1])
    for first, second in zip(gradients, again):
        assert first.tobytes() == second.tobytes(), "a cache serves once only"


VARIANTS = [
    ("lstm", ("peephole",)),
    ("lstm", ("w_p",)),
    ("lstm", ("norm",)),
    ("lstm", ("keep",)),
    ("lstm", ("mask_h",)),
    ("lstm", ("clip_c",)),
    ("lstm", ("peephole", "w_p", "norm", "keep", "mask_h", "clip_c")),
    ("gru", ("before",)),
    ("gru", ("before", "keep", "mask_h")),
    ("gru", ("norm",)),
    ("gru", ("norm", "keep", "mask_h")),
    ("rnn", ("norm", "keep", "mask_h")),
    ("relu", ("norm", "keep", "mask_h")),
]


def with_options(cell, names, t, n, d, h, dtype=np.float64, seed=0):
    """Return the arguments of a cell and its options; those that have gradients are behind the biases."""
    made = arrays(cell, t, n, d, h, dtype, seed)
    rng = np.random.default_rng(seed + 1)
    p = h

    def some(*shape):
        return rng.standard_normal(shape).astype(dtype)

    if "w_p" in names:
        p = h // 2 + 1
        made["h0"], made["w_h"] = some(n, p), some(p, GATES[cell] * h) / dtype(np.sqrt(h))
    if "before" in names:
        made["b_n"], made["reset_after"] = None, False
    if "peephole" in names:
        made["peephole"] = some(3, h)
    if "w_p" in names:
        made["w_p"] = some(h, p)
    if "norm" in names:
        rows = GATES[cell] * h
        made["gain_x"], made["gain_h"] = 1 + some(rows) / 4, 1 + some(rows) / 4
        if cell == "lstm":
            made["gain_c"], made["bias_c"] = 1 + some(h) / 4, some(h)
    if "keep" in names:
        made["keep_h"] = rng.random((t, n, p)).astype(dtype)
        if cell == "lstm":
            made["keep_c"] = rng.random((t, n, h)).round().astype(dtype)
    if "mask_h" in names:
        made["mask_h"] = ((rng.random((n, p)) > 0.3) / 0.7).astype(dtype)
    if "clip_c" in names:
        made["clip_c"] = 0.4
    return made


@pytest.mark.parametrize(("cell", "names"), VARIANTS, ids=[f"{cell}-{'-'.join(names)}" for cell, names in VARIANTS])
@pytest.mark.parametrize("lengths", [None, [3, 0, 2, 3]])
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_with_options_are_those_of_differences(cell, names, lengths, threads):
    made = with_options(cell, names, 3, 4, 2, 7)
    rng = np.random.default_rng(1)
    n_states = 2 if cell == "lstm" else 1
    with fs.threads(threads):
        result = run(cell, made, lengths=lengths, train=True)
    h, lasts = result[0], result[-1 - n_states:-1]
    by_h, by_lasts = rng.standard_normal(h.shape), [rng.standard_normal(last.shape) for last in lasts]

    def loss():
        result = run(cell, made, lengths=lengths)
        total = float((result[0] * by_h).sum())
        return total + sum(float((last * by).sum()) for last, by in zip(result[-n_states:], by_lasts))

    with fs.threads(threads):
        gradients = back(cell, by_h, by_lasts, result[-1])
        again = back(cell, by_h, by_lasts, result[-1])
    for first, second in zip(gradients, again):
        assert first.tobytes() == second.tobytes(), "a cache serves once only"
    # The masks and the limit have none.
    learned = {name: array for name, array in made.items() if name[:4] not in ("keep", "mask", "clip", "rese")}
    told = dict(zip(learned, gradients, strict=True))
    if "before" in names:
        assert not told.pop("b_n").any()
        learned.pop("b_n")
    check_gradients(loss, learned, told)


@pytest.mark.parametrize(("cell", "names"), VARIANTS, ids=[f"{cell}-{'-'.join(names)}" for cell, names in VARIANTS])
@pytest.mark.parametrize("n", [50, 3])
def test_threads_do_not_change_bits_with_options(cell, names, n):
    made = with_options(cell, names, 4, n, 30, 70, np.float32)
    lengths = np.arange(n) % 5
    results = []
    for threads in (1, 2):
        with fs.threads(threads):
            result = run(cell, made, lengths=lengths, train=True)
            lasts = [None] * (2 if cell == "lstm" else 1)
            results.append([*result[:-1], *back(cell, np.ones_like(result[0]), lasts, result[-1])])
    for one, two in zip(*results):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_options_that_change_nothing(cell):
    made = arrays(cell, 4, 5, 3, 20, np.float32)
    made |= {"keep_h": 0.0, "mask_h": np.ones((5, 20), np.float32)}
    if cell == "lstm":
        made |= {"peephole": np.zeros((3, 20), np.float32), "clip_c": 1e6, "keep_c": 0.0}
    plain = {name: value for name, value in made.items() if name not in OPTIONS}
    for one, two in zip(run(cell, made), run(cell, plain)):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)


def test_a_state_that_is_kept_is_the_same_number():
    made = arrays("lstm", 3, 4, 5, 20, np.float32)
    h, c, h_n, c_n = run("lstm", made | {"keep_h": 1.0, "keep_c": 1.0})
    for part in (*h, h_n):
        np.testing.assert_array_equal(part, made["h0"])
    for part in (*c, c_n):
        np.testing.assert_array_equal(part, made["c0"])


def test_clipped_cell_states_stay_within():
    made = arrays("lstm", 5, 4, 5, 20, np.float32)
    c = run("lstm", made | {"clip_c": 0.25})[1]
    assert np.abs(c).max() == np.float32(0.25)


@pytest.mark.parametrize(("cell", "names"), VARIANTS, ids=[f"{cell}-{'-'.join(names)}" for cell, names in VARIANTS])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_no_steps_and_no_sequences_with_options(cell, names, shape):
    made = with_options(cell, names, *shape, 2, 5)
    result = run(cell, made, train=True)
    n_states = 2 if cell == "lstm" else 1
    np.testing.assert_array_equal(result[-1 - n_states], made["h0"])
    dx, *by_states = back(cell, None, [np.ones_like(part) for part in result[-1 - n_states:-1]], result[-1])
    assert dx.shape == made["x"].shape
    np.testing.assert_array_equal(by_states[0], np.ones_like(made["h0"]))
    assert not any(gradient.any() for gradient in by_states[n_states:])


@pytest.mark.parametrize(("cell", "names"), VARIANTS, ids=[f"{cell}-{'-'.join(names)}" for cell, names in VARIANTS])
def test_nan_comes_out_with_options(cell, names):
    made = with_options(cell, names, 3, 4, 5, 20, np.float32)
    clean = run(cell, made)[0]
    made["x"][1, 2, 0] = np.nan
    h = run(cell, made)[0]
    np.testing.assert_array_equal(h[:, [0, 1, 3]], clean[:, [0, 1, 3]])
    assert np.isnan(h[1, 2]).all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    t=st.integers(0, 5), n=st.integers(0, 9), d=st.integers(0, 20), h=st.integers(1, 40), seed=st.integers(0, 99),
    ragged=st.booleans(), threads=st.integers(1, 2),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_shape_equals_one_sequence_at_a_time(cell, dtype, t, n, d, h, seed, ragged, threads):
    made = arrays(cell, t, n, d, h, dtype, seed)
    lengths = np.random.default_rng(seed).integers(0, t + 1, n) if ragged else None
    with fs.threads(threads):
        result = run(cell, made, lengths=lengths)
    tolerance = 3e-5 if dtype == np.float32 else 1e-12
    for i in range(n):
        end = t if lengths is None else lengths[i]
        alone = dict(made, x=made["x"][:end, i : i + 1], h0=made["h0"][i : i + 1])
        if cell == "lstm":
            alone["c0"] = made["c0"][i : i + 1]
        own = run(cell, alone)
        for all_of, one in zip(result, own):
            if all_of.ndim == 3:
                np.testing.assert_allclose(all_of[:end, i], one[:, 0], rtol=tolerance, atol=tolerance)
                assert not all_of[end:, i].any()
            else:
                np.testing.assert_allclose(all_of[i], one[0], rtol=tolerance, atol=tolerance)
    assert all(part.dtype == dtype for part in result)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_no_steps_and_no_sequences(cell, shape):
    made = arrays(cell, *shape, 2, 5)
    result = run(cell, made, train=True)
    n_states = 2 if cell == "lstm" else 1
    np.testing.assert_array_equal(result[-1 - n_states], made["h0"])
    gradients = back(cell, None, [np.ones_like(made["h0"])] * n_states, result[-1])
    np.testing.assert_array_equal(gradients[1], np.ones_like(made["h0"]))
    for gradient, array in zip(gradients, made.values()):
        assert gradient.shape == array.shape
    assert not gradients[-1].any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n", [50, 2])
def test_threads_do_not_change_bits(cell, n):
    made = arrays(cell, 4, n, 30, 70, np.float32)
    lengths = np.arange(n) % 5
    results = []
    for threads in (1, 2):
        with fs.threads(threads):
            result = run(cell, made, lengths=lengths, train=True)
            lasts = [None] * (2 if cell == "lstm" else 1)
            results.append([*result[:-1], *back(cell, np.ones((4, n, 70), np.float32), lasts, result[-1])])
    for one, two in zip(*results):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_come_out(cell, dtype, bad):
    made = arrays(cell, 3, 4, 5, 20, dtype)
    clean = run(cell, made)[0]
    made["x"][1, 2, 0] = bad
    h = run(cell, made)[0]
    others = [0, 1, 3]
    np.testing.assert_array_equal(h[:, others], clean[:, others])
    if np.isnan(bad) or cell == "relu":
        assert not np.isfinite(h[1, 2]).all()
    if np.isnan(bad):
        assert np.isnan(h[1, 2]).all()
        assert np.isnan(h[2, 2]).all()


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_huge_values_saturate(cell, dtype, size):
    made = arrays(cell, 3, 4, 5, 20, dtype)
    made["x"] *= dtype(size)
    made["w_x"] = np.clip(made["w_x"], -1, 1)
    h, *_, cache = run(cell, made, train=True)
    assert np.isfinite(h).all()
    gradients = back(cell, np.ones_like(h), [None] * (2 if cell == "lstm" else 1), cache)
    assert all(np.isfinite(part).all() for part in gradients[:3])


def test_inputs_are_not_changed_and_need_no_special_memory():
    made = arrays("lstm", 3, 4, 5, 20)
    plain = run("lstm", made)
    odd = {}
    for name, array in made.items():
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]))
        wide[..., ::2] = array
        odd[name] = wide[..., ::2]
        odd[name].flags.writeable = False
    for one, two in zip(plain, run("lstm", odd)):
        np.testing.assert_array_equal(one, two)


def test_states_go_on():
    made = arrays("lstm", 6, 4, 5, 20, np.float32)
    whole = run("lstm", made)
    first = run("lstm", dict(made, x=made["x"][:2]))
    second = run("lstm", dict(made, x=made["x"][2:], h0=first[2], c0=first[3]))
    np.testing.assert_array_equal(np.concatenate((first[0], second[0])), whole[0])
    np.testing.assert_array_equal(second[3], whole[3])


def oracle(cell, made, dh, lasts):
    """Return the gradients that the oracle has of the same arguments."""
    name = "rnn" if cell == "relu" else cell
    module = importlib.import_module(f"fastseq.kernels.reference.{name}")
    given = [value for key, value in made.items() if key not in OPTIONS]
    told = {key: value for key, value in made.items() if key in OPTIONS and key not in NORM}
    norm = tuple(made[key] for key in NORM if key in made)
    told |= ({"norm": norm} if norm else {}) | ({"nonlinearity": "relu"} if cell == "relu" else {})
    with np.errstate(all="ignore"):
        *_, cache = getattr(module, f"{name}_forward")(*given, **told, train=True)
        return getattr(module, f"{name}_backward")(dh, *lasts, cache)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cell", "names"), [*((cell, ()) for cell in CELLS), *VARIANTS])
def test_what_infinity_leaves_finite_is_what_the_oracle_has(cell, names, dtype):
    """Of all that a pass keeps, the lanes behind the last unit could bring NaN back."""
    tolerance = 1e-9 if dtype == np.float64 else 2e-4
    for units in (5, 17):
        for array, at in (("x", (2, 0, 0)), ("h0", (0, 0)), ("c0", (0, 0))):
            made = with_options(cell, names, 3, 2, 4, units, dtype)
            if array not in made:
                continue
            made[array][at] = np.inf
            dh = np.random.default_rng(2).standard_normal((3, *made["h0"].shape)).astype(dtype)
            lasts = [np.zeros_like(made[name]) for name in ("h0", "c0") if name in made]
            wanted = oracle(cell, made, dh, lasts)
            gradients = back(cell, dh, lasts, run(cell, made, train=True)[-1])
            assert len(gradients) == len(wanted)
            some = 0
            for gradient, want in zip(gradients, wanted):
                finite = np.isfinite(want)
                some += finite.sum()
                # A product with infinity may be NaN in either.
                np.testing.assert_allclose(gradient[finite], want[finite], rtol=tolerance, atol=tolerance)
            # The other sequence at least.
            assert some >= 3 * 4


@pytest.mark.parametrize("lengths", [None, [150, 150, 40, 7]])
@pytest.mark.parametrize("cell", CELLS)
def test_rows_that_are_spread_and_summed_in_parts_give_the_same(cell, lengths, monkeypatch):
    """Long texts and wide rows, whose weights' gradients are made in other ways, stand in small for large ones."""
    made = arrays(cell, 150, 4, 3, 20, np.float64)
    dh = np.random.default_rng(3).standard_normal((150, 4, 20))
    lasts = [np.zeros((4, 20))] * (2 if cell == "lstm" else 1)

    def gradients():
        return back(cell, dh, lasts, run(cell, made, lengths=lengths, train=True)[-1])

    whole = gradients()
    monkeypatch.setattr(panels, "_DIRECT_BYTES", 0)
    for spread, whole_part in zip(gradients(), whole):
        np.testing.assert_array_equal(spread, whole_part)
    monkeypatch.setattr(panels, "_SUMMED_BYTES", 1)
    for cut, whole_part in zip(gradients(), whole):
        np.testing.assert_allclose(cut, whole_part, rtol=1e-12, atol=1e-12)


def test_a_shut_gate_lets_nothing_through():
    made = arrays("lstm", 1, 1, 1, 3, np.float32)
    made["b"][3:6] = -200
    made["w_x"][:], made["w_h"][:], made["c0"][:] = 0, 0, 1e38
    c = run("lstm", made)[1]
    assert abs(c).max() < 1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("far", [1, 3])
def test_normalised_sums_far_from_zero(cell, far):
    """Variances are made in one pass; they must not lose more than the sums themselves do by their rounding."""
    made = with_options(cell, ("norm",), 2, 3, 4, 37, np.float64)
    # All sums of the inputs' part are near 1000 with a variance of about 4, those of the first unit may be elsewhere.
    made["x"] = np.concatenate((made["x"], np.full((2, 3, 1), 1000.0)), axis=2)
    made["w_x"] = np.concatenate((made["w_x"], np.ones((1, made["w_x"].shape[1]))))
    made["w_x"][-1, 0] = far
    want = run(cell, made)
    for mine, exact in zip(run(cell, {name: array.astype(np.float32) for name, array in made.items()}), want):
        np.testing.assert_allclose(mine, exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [0.0, 1.1, 3e5, 7.7e9, 1.3e12])
def test_sums_that_are_all_the_same_are_normalised_to_nothing(cell, size):
    made = with_options(cell, ("norm",), 3, 4, 1, 21, np.float32)
    made["w_x"][:] = 1
    made["x"][:] = np.linspace(1, 2, 12).reshape(3, 4, 1) * size
    made["h0"][:], made["w_h"][:] = 0, 0
    h, *_, cache = run(cell, made, train=True)
    assert np.isfinite(h).all()
    made["x"][:] = 0
    np.testing.assert_allclose(h, run(cell, made)[0], atol=1e-5)
    lasts = [np.ones_like(made[name]) for name in ("h0", "c0") if name in made]
    for gradient in back(cell, np.ones_like(h), lasts, cache):
        assert gradient is None or np.isfinite(gradient).all()


def test_a_copied_cache_is_the_cache():
    made = arrays("lstm", 3, 4, 5, 20)
    *_, cache = run("lstm", made, train=True)
    assert copy.copy(cache) is cache
    assert copy.deepcopy(cache) is cache
    # That it cannot be pickled is what is asserted: it may hold the addresses of compiled functions.
    with pytest.raises(TypeError, match="is not saved"):
        pickle.dumps(cache)


def test_backward_passes_at_the_same_time():
    """One cache, two Python threads: nothing that they write to is the cache's."""
    made = with_options("lstm", ("norm", "peephole"), 30, 20, 8, 64, np.float32)
    *_, cache = run("lstm", made, train=True)
    given = [np.random.default_rng(i).standard_normal((30, 20, 64)).astype(np.float32) for i in range(2)]

    def work(dh):
        with one_thread():
            return [lstm_backward(dh, None, None, cache) for _ in range(15)]

    want = [work(dh)[0] for dh in given]
    with ThreadPoolExecutor(2) as pool:
        for wanted, results in zip(want, pool.map(work, given)):
            for result in results:
                for one, two in zip(result, wanted):
                    np.testing.assert_array_equal(one, two)


class TestPool:
    def test_memory_comes_back_whole(self):
        pool = Pool(10_000_000)
        first = pool.take(100_000, np.float32)
        place = first.ctypes.data
        assert place % BYTES == 0
        pool.give(first.reshape(100, 1000))
        del first
        second = pool.take(60_000, np.float32)
        assert second.ctypes.data == place
        pool.give(second)
        del second
        assert pool.take(100_000, np.float32).ctypes.data == place

    def test_the_oldest_go_when_there_is_too_much(self):
        pool = Pool(1_000_000)
        arrays = [pool.take(100_000, np.float32) for _ in range(5)]
        pool.give(*arrays)
        kept = {array.ctypes.data for array in arrays[3:]}
        pool.take(1, np.float32)
        assert sum(size * len(blocks) for size, blocks in pool._free.items()) <= 1_000_000
        assert {pool.take(100_000, np.float32).ctypes.data for _ in range(2)} == kept
        assert not any(pool._free.values())

    def test_what_comes_back_goes_without_new_memory_too(self):
        pool = Pool(1_000_000)
        small = pool.take(100, np.float32)
        pool.give(*(pool.take(100_000, np.float32) for _ in range(5)), small)
        for _ in range(32):
            small = pool.take(100, np.float32)
            pool.give(small)
        assert sum(size * len(blocks) for size, blocks in pool._free.items()) <= 1_000_000

    def test_what_came_last_goes_out_first(self):
        # It is the likeliest to be in the caches.
        pool = Pool(10_000_000)
        arrays = [pool.take(100_000, np.float32) for _ in range(3)]
        pool.give(*arrays)
        for array in reversed(arrays):
            assert pool.take(100_000, np.float32).ctypes.data == array.ctypes.data

    def test_a_larger_one_serves_if_it_is_not_much_larger(self):
        pool = Pool(10_000_000)
        large, larger = (pool.take(n, np.uint8) for n in (150_000, 250_000))
        pool.give(larger, large)
        assert pool.take(90_000, np.uint8).ctypes.data == large.ctypes.data
        assert pool.take(90_000, np.uint8).ctypes.data != larger.ctypes.data

    def test_an_array_s_memory_comes_back_with_its_last_view(self):
        pool = Pool(10_000_000)
        array = pool.array((100, 1000), np.float32)
        assert array.shape == (100, 1000)
        assert array.flags.writeable
        assert array.flags.c_contiguous
        place, view = array.ctypes.data, array[3:, ::2].T
        del array
        other = pool.array((100, 1000), np.float32)
        assert not np.shares_memory(other, view)
        del view
        assert pool.array((100, 1000), np.float32).ctypes.data == place

    def test_small_arrays_are_the_system_s(self):
        assert Pool(10_000_000).array((3, 4), np.float32).base is None
        assert Pool(10_000_000).array((0, 4), np.float64).shape == (0, 4)

    def test_the_size_that_is_wanted_comes_first(self):
        pool = Pool(10_000_000)
        wide, fitting, smaller = (pool.take(n, np.uint8) for n in (65536, 49152, 45056))
        pool.give(wide, fitting, smaller)
        assert pool.take(49152, np.uint8).ctypes.data == fitting.ctypes.data
        assert pool.take(45000, np.uint8).ctypes.data == smaller.ctypes.data

    def test_nothing_is_asked_for(self):
        pool = Pool(10_000_000)
        nothing = pool.take(0, np.float32)
        assert nothing.shape == (0,)
        pool.give(nothing)
        assert pool.take(np.int32(0), np.float64).shape == (0,)

    def test_memory_may_go_to_another_pool(self):
        pool = Pool(10_000_000)
        array = Pool(10_000_000).take(1000, np.float32)
        pool.give(array)
        assert pool.take(1000, np.float32).ctypes.data == array.ctypes.data

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n", [1, 17, 1001, 40_000])
    def test_flat_memory_begins_where_a_vector_does(self, n, dtype):
        pool = Pool(10_000_000)
        for _ in range(3):
            array = pool.flat(n, dtype)
            assert array.shape == (n,)
            assert array.ctypes.data % BYTES == 0
            array[:] = 1

    def test_memory_of_others_is_not_taken(self):
        pool = Pool(10_000_000)
        array = pool.array((300, 300), np.float32)
        for other in (array, array[3:], np.ones(1000), np.ones(1000)[1:]):
            with pytest.raises(ValueError, match=r"Pool\.take did not return"):
                pool.give(other)
        assert not any(pool._free.values())

    # With the first there is always too much, with the second never.
    @pytest.mark.parametrize("most_bytes", [300_000, 10_000_000])
    def test_an_interrupt_between_two_lines_harms_nothing(self, most_bytes):
        # As that of a user, and what a fork may find.
        pool, was = Pool(most_bytes), sys.gettrace()
        left = -1

        def trace(frame, event, argument):
            nonlocal left
            if frame.f_code.co_filename != _memory.__file__ or frame.f_code.co_name == "__del__":
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        def work():
            taken = [pool.take(9_000 * (1 + stop % 3), np.float32) for _ in range(3)]
            _ = pool.array((9_000 * (4 + stop % 4),), np.float32)
            pool.give(*taken)

        n_stopped = 0
        for stop in range(1, 150):
            left = stop
            sys.settrace(trace)
            try:
                work()
            except KeyboardInterrupt:
                n_stopped += 1
            finally:
                sys.settrace(was)
            arrays = [pool.take(9_000 * (1 + i), np.float32) for i in range(6) for _ in range(2)]
            assert not any(np.shares_memory(one, two) for one, two in combinations(arrays, 2))
            pool.give(*arrays)
            again = pool.take(arrays[-1].size, np.float32)
            assert any(np.shares_memory(again, array) for array in arrays)
            pool.give(again)
        assert n_stopped > 40

    def test_threads_at_once(self):
        pool, wrong = Pool(2_000_000), []

        def work(number):
            for turn in range(1000):
                size = 40_000 + 5_000 * ((turn + number) % 5)
                taken, handed_out = pool.take(size, np.int32), pool.array((size,), np.int32)
                taken[::997], handed_out[::997] = number, -number
                if not ((taken[::997] == number).all() and (handed_out[::997] == -number).all()):
                    wrong.append((number, turn))
                pool.give(taken)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(1, 5)))
        assert not wrong
        assert sum(size * len(blocks) for size, blocks in pool._free.items()) <= 4_000_000


def test_without_the_cell_states():
    made = arrays("lstm", 3, 4, 5, 20)
    h, _, h_n, c_n = run("lstm", made)
    mine, c, *lasts = run("lstm", made, with_c=False)
    assert c is None
    for one, two in zip((mine, *lasts), (h, h_n, c_n)):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("cell", "names"), [*((cell, ()) for cell in CELLS), *VARIANTS],
    ids=[*CELLS, *(f"{cell}-{'-'.join(names)}" for cell, names in VARIANTS)],
)  # fmt: skip
@pytest.mark.parametrize("lengths", [None, [3, 0, 2, 3]])
def test_memory_is_used_again_only_when_nothing_holds_it(cell, names, lengths, monkeypatch):
    # Arrays that are as small as these would be the system's.
    monkeypatch.setattr(_memory, "_LEAST_BYTES", 0)
    made = with_options(cell, names, 3, 4, 5, 20)
    lasts = [made[name] for name in ("h0", "c0") if name in made]
    *outputs, cache = run(cell, made, lengths=lengths, train=True)
    dh = outputs[0] + 1
    first = back(cell, dh, lasts, cache)
    handed_out = [part for part in (*outputs, *first) if part is not None]
    for one, two in combinations(handed_out, 2):
        # The biases of both parts are the same ones with most cells.
        assert one is two or not np.shares_memory(one, two)
    was = [part.copy() for part in handed_out]
    others = {name: made[name] if name in OPTIONS else array + 1 for name, array in made.items() if array is not None}
    others |= {name: None for name, array in made.items() if array is None}

    def more():
        for _ in range(3):
            back(cell, 2 * dh, lasts, run(cell, others, lengths=lengths, train=True)[-1])
            run(cell, others, lengths=lengths)

    more()
    for one, two in zip(back(cell, dh, lasts, cache), first):
        np.testing.assert_array_equal(one, two)
    del cache
    more()
    for part, before in zip(handed_out, was):
        np.testing.assert_array_equal(part, before)


@pytest.mark.parametrize("names", [(), ("norm",)])
def test_the_next_pass_has_the_memory_of_a_cache_that_is_forgotten(names, monkeypatch):
    monkeypatch.setattr(_memory, "_LEAST_BYTES", 0)
    pool = Pool(10_000_000)
    for module in (recurrent, variants):
        monkeypatch.setattr(module, "pool", pool)
    made = with_options("lstm", names, 6, 4, 5, 40)

    def pass_of():
        *_, cache = run("lstm", made, train=True)
        kept = cache.arrays
        if names:
            of = cache.arrays[0].run
            kept = (of.gates, of.part_x, of.h_part, of.norm_c, of.stats, of.h, of.c)
        return cache, {part.ctypes.data for part in kept}

    cache, places = pass_of()
    assert len(places) == (7 if names else 3)
    while_held, others = pass_of()
    assert not others & places
    del cache, while_held
    # Most of it: some may be larger than what is asked for first, and go to that.
    assert len(pass_of()[1] & (others | places)) > len(places) // 2


def test_memory_that_is_held_at_the_end_makes_no_noise():
    """Modules are taken apart before what they hold: whatever memory needs to go back must be its own."""
    script = (
        "import sys, numpy as np\n"
        "from fastseq.kernels.cpu._memory import pool\n"
        "held = [pool.array((300, 300), 'f4') for _ in range(3)]\n"
        "np.kept, sys.excepthook = held[0], lambda *told, kept=held[1]: print(told)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_gradients_without_the_inputs():
    made = arrays("gru", 3, 4, 5, 20)
    *_, cache = run("gru", made, train=True)
    dh = np.ones((3, 4, 20))
    dx, *rest = gru_backward(dh, None, cache, with_dx=False)
    assert dx is None
    for one, two in zip(rest, gru_backward(dh, None, cache)[1:]):
        np.testing.assert_array_equal(one, two)


class TestBadInput:
    def change(self, error, text, cell="lstm", **changes):
        made = arrays(cell, 3, 4, 5, 6)
        options = {name: changes.pop(name) for name in ("lengths", "nonlinearity", "norm") if name in changes}
        made.update(changes)
        with pytest.raises(error, match=text):
            run(cell, made, **options)

    def test_options(self):
        self.change(ShapeError, "peephole has shape .2, 6., expected .3, 6", peephole=np.zeros((2, 6)))
        self.change(ShapeError, "w_p has shape .*expected .H, 6", w_p=np.zeros((6, 4)))
        self.change(ShapeError, "w_h has shape .*projection of 8 units", w_p=np.zeros((8, 6)))
        self.change(ShapeError, "expected 4 arrays: gain_x", norm=(np.ones(24), np.ones(24)))
        self.change(ShapeError, "gain_h of norm has shape", norm=(np.ones(24), np.ones(6), np.ones(6), np.ones(6)))
        self.change(ShapeError, "keep_h has shape", keep_h=np.zeros((4, 6)))
        self.change(ValueRangeError, "keep_c is 1.5", keep_c=1.5)
        self.change(ValueRangeError, "keep_h holds 0.0 to 2.0", keep_h=np.linspace(0, 2, 72).reshape(3, 4, 6))
        self.change(ValueRangeError, "keep_c holds -0.5 to 1.0", keep_c=np.linspace(-0.5, 1, 72).reshape(3, 4, 6))
        some = np.full((3, 4, 6), 0.5)
        some[0, 0, :2] = np.nan, 2
        self.change(ValueRangeError, "keep_h holds 0.5 to 2.0", keep_h=some)
        self.change(ShapeError, "gain_c of norm is None", norm=(np.ones(24), np.ones(24), None, None))
        self.change(ValueRangeError, "clip_c is 1e-320", clip_c=1e-320)
        self.change(ShapeError, "mask_h has shape", mask_h=np.zeros((3, 6)))
        self.change(ValueRangeError, "clip_c is 0", clip_c=0)
        self.change(ValueRangeError, "clip_c is -1", clip_c=-1.0)
        self.change(DTypeError, "peephole is float32", peephole=np.zeros((3, 6), np.float32))
        self.change(ValueRangeError, "b_n is given and reset_after", cell="gru", reset_after=False)
        self.change(
            ValueRangeError, "norm is given and reset_after", cell="gru", b_n=None, reset_after=False,
            norm=(np.ones(18), np.ones(18)),
        )  # fmt: skip

    def test_shapes(self):
        self.change(ShapeError, "x has shape", x=np.zeros((3, 4)))
        self.change(ShapeError, "w_x has shape .*expected .5, 24", w_x=np.zeros((6, 24)))
        self.change(ShapeError, "w_h has shape", w_h=np.zeros((6, 18)))
        self.change(ShapeError, "no rows", w_h=np.zeros((0, 0)), w_x=np.zeros((5, 0)))
        self.change(ShapeError, "b has shape", b=np.zeros(6))
        self.change(ShapeError, "h0 has shape .*expected .4, 6", h0=np.zeros((5, 6)))
        self.change(ShapeError, "c0 has shape", c0=np.zeros((3, 6)))
        self.change(ShapeError, "b_n has shape", cell="gru", b_n=np.zeros(18))

    def test_dtypes(self):
        self.change(DTypeError, "w_x is float32 and x float64", w_x=np.zeros((5, 24), np.float32))
        self.change(DTypeError, "x has dtype", x=np.full((3, 4, 5), "a"))

    def test_lengths(self):
        self.change(ValueRangeError, "lengths holds 4, expected 0 to 3", lengths=[1, 4, 2, 3])
        self.change(ValueRangeError, "lengths holds -1", lengths=[1, -1, 2, 3])
        self.change(ShapeError, "lengths has shape", lengths=[1, 2])
        self.change(DTypeError, "lengths has dtype", lengths=[1.0, 2.0, 3.0, 1.0])

    def test_names(self):
        self.change(ValueRangeError, "nonlinearity is 'sin'", cell="rnn", nonlinearity="sin")

    def test_gradients_of_another_dtype(self):
        made = arrays("gru", 3, 4, 5, 6, np.float32)
        *_, cache = run("gru", made, train=True)
        with pytest.raises(DTypeError, match="dh is float64 and x float32"):
            gru_backward(np.zeros((3, 4, 6)), None, cache)

    def test_backward(self):
        made = arrays("lstm", 3, 4, 5, 6)
        *_, cache = run("lstm", made, train=True)
        with pytest.raises(ShapeError, match="dh has shape"):
            lstm_backward(np.zeros((3, 4, 5)), None, None, cache)
        with pytest.raises(ShapeError, match="dc_n has shape"):
            lstm_backward(None, None, np.zeros((3, 4)).T[:2], cache)
        with pytest.raises(DTypeError, match="cache is"):
            gru_backward(None, None, cache)
        with pytest.raises(DTypeError, match="cache is"):
            lstm_backward(None, None, None, (1, 2))
