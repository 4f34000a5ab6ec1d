"""The small side rooms: threads, random, io, device."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastseq as fs
from fastseq import errors, io
from fastseq.device import current_device, to_device, to_host
from fastseq.parallel import n_threads
from fastseq.random import as_key, normal, random_bits, uniform


class TestThreads:
    def test_both_pools_are_set_and_restored(self):
        import numba
        from threadpoolctl import threadpool_info

        def blas():
            return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

        before = (n_threads(), blas())
        with fs.threads(1):
            assert n_threads() == 1
            assert set(blas()) == {1}
            with fs.threads(-1):
                assert n_threads() == numba.config.NUMBA_NUM_THREADS
            assert n_threads() == 1
        assert (n_threads(), blas()) == before

    def test_restored_after_an_error(self):
        before = n_threads()
        with pytest.raises(KeyError), fs.threads(1):
            raise KeyError
        assert n_threads() == before

    def test_blas_gets_the_number_asked_for(self):
        import numba
        from threadpoolctl import threadpool_info

        for n in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            with fs.threads(np.int64(n)):
                assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {n}

    def test_blocks_of_two_threads_may_overlap(self):
        import threading

        from threadpoolctl import threadpool_info

        def blas():
            return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

        before, entered, leave = blas(), threading.Event(), threading.Event()

        def other():
            with fs.threads(1):
                entered.set()
                leave.wait(30)

        worker = threading.Thread(target=other)
        with fs.threads(-1):
            worker.start()
            entered.wait(30)
        # The first has left, the other is still in.
        assert set(blas()) == {1}
        leave.set()
        worker.join()
        assert blas() == before

    @pytest.mark.parametrize("n", [0, -2, 10**6, 1.5, True, "2", np.float64(1)])
    def test_bad_numbers(self, n):
        with pytest.raises(errors.ValueRangeError, match="expected 1 to"), fs.threads(n):
            pass


class TestRandom:
    def test_these_numbers_never_change(self):
        assert random_bits(0, np.arange(3)).tolist() == [
            16294208416658607535,
            12035550249420947055,
            5095610196844313600,
        ]
        assert random_bits(42, 2**40, 7) == 15780401154670572165
        assert as_key(0, "svd") == 4142124436291483997
        assert uniform(np.uint64(42), 3, dtype="float64").tolist() == [
            0.5961188718302076,
            0.34329192209867343,
            0.9867112511075029,
        ]
        assert normal(np.uint64(42), 3, dtype="float64").tolist() == pytest.approx(
            [0.7189198751663963, 1.138605979315142, 0.8818545873573221], rel=1e-14
        )

    def test_moments(self):
        u = uniform(as_key(1), 200_000, dtype="float64")
        z = normal(as_key(1, "other"), 200_000, dtype="float64")
        # Six standard errors each.
        assert abs(u.mean() - 0.5) < 6 * 0.2887 / 447
        assert abs(u.var() - 1 / 12) < 6 * 0.0745 / 447
        assert abs(z.mean()) < 6 / 447
        assert abs(z.var() - 1) < 6 * 1.414 / 447
        assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 6 / 447

    @given(st.integers(0, 2**64 - 1), st.integers(0, 200), st.integers(0, 200))
    def test_pieces_make_the_whole(self, key, n, cut):
        cut = min(cut, n)
        whole = normal(key, n)
        assert np.array_equal(whole, np.concatenate([normal(key, cut), normal(key, n - cut, start=cut)]))

    def test_threads_change_nothing(self):
        many = normal(7, 1001)
        with fs.threads(1):
            assert np.array_equal(normal(7, 1001), many)

    def test_float32_stays_below_one(self):
        from fastseq.kernels.reference.random import random_bits as bits

        numbers = uniform(3, 100_000)
        assert numbers.dtype == np.float32
        assert numbers.max() < 1
        assert np.array_equal(numbers, ((bits(3, np.arange(100_000)) >> np.uint64(40)) / 2.0**24).astype(np.float32))

    def test_keys(self):
        assert as_key(5) == as_key(5) != as_key(6)
        assert as_key(5, "a") != as_key(5, "b")
        assert as_key(None) != as_key(None)
        assert as_key(np.random.default_rng(1)) == as_key(np.random.default_rng(1))
        assert as_key(np.int64(5)) == as_key(5)

    @pytest.mark.parametrize("state", ["0", 1.0, True, [1]])
    def test_bad_states(self, state):
        with pytest.raises(errors.DTypeError, match="expected None, an int"):
            as_key(state)

    @pytest.mark.parametrize("state", [-1, 2**64])
    def test_states_out_of_range(self, state):
        with pytest.raises(errors.ValueRangeError, match="2\\*\\*64"):
            as_key(state)


class TestIO:
    arrays = {  # noqa: RUF012
        "a": np.arange(6, dtype=np.int64).reshape(2, 3),
        "b": np.linspace(0, 1, 5, dtype=np.float32),
        "c": np.zeros((0, 4), np.float16),
        "d": np.frombuffer("日本語".encode(), np.uint8),
    }

    @pytest.mark.parametrize("mmap", [False, True])
    def test_round_trip(self, tmp_path, mmap):
        path = tmp_path / "x.safetensors"
        io.save_arrays(path, self.arrays, "thing", {"title": "日本語", "n": 3})
        arrays, config = io.load_arrays(path, "thing", mmap=mmap)
        assert config == {"title": "日本語", "n": 3}
        assert set(arrays) == set(self.arrays)
        for name, array in self.arrays.items():
            assert arrays[name].dtype == array.dtype
            assert np.array_equal(arrays[name], array)
        assert io.file_kind(path) == "thing"
        assert os.listdir(tmp_path) == ["x.safetensors"]

    def test_other_layouts_are_written_as_they_read(self, tmp_path):
        path = tmp_path / "x.safetensors"
        array = np.arange(12, dtype=">f8").reshape(3, 4).T
        io.save_arrays(path, {"a": array}, "thing")
        assert np.array_equal(io.load_arrays(path, "thing")[0]["a"], array)

    def test_objects_are_refused_and_the_old_file_stays(self, tmp_path):
        path = tmp_path / "x.safetensors"
        io.save_arrays(path, self.arrays, "thing")
        with pytest.raises(errors.DTypeError, match="'bad' has dtype object"):
            io.save_arrays(path, {"bad": np.array([{}])}, "thing")
        io.load_arrays(path, "thing")

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "x.bin"
        path.write_bytes(b"old")

        def write():
            with io.atomic_write(path) as file:
                file.write(b"new")
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            write()
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["x.bin"]

    def test_a_reader_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "x.bin"
        path.write_bytes(b"old")
        number = path.stat().st_ino
        with open(path, "rb") as reader:
            with io.atomic_write(path) as file:
                file.write(b"new")
            assert reader.read() == b"old"
        assert path.read_bytes() == b"new"
        assert path.stat().st_ino != number

    def test_what_is_written_is_on_the_disk_before_it_has_its_name(self, tmp_path, monkeypatch):
        calls = []
        monkeypatch.setattr(os, "fsync", lambda handle: calls.append("sync"))
        replace = os.replace
        monkeypatch.setattr(os, "replace", lambda *names: (calls.append("rename"), replace(*names)))
        with io.atomic_write(tmp_path / "x") as file:
            file.write(b"new")
        assert calls == ["sync", "rename", "sync"]

    def test_the_mode_of_the_old_file_is_kept(self, tmp_path):
        path = tmp_path / "x"
        path.write_bytes(b"old")
        path.chmod(0o600)
        with io.atomic_write(path) as file:
            file.write(b"new")
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_what_is_no_file_is_not_replaced(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileExistsError, match="a device, a pipe"):
            io.save_arrays(tmp_path / "pipe", self.arrays, "thing")
        with pytest.raises(FileExistsError, match="a device, a pipe"):
            io.check_writable("/dev/null")

    def test_long_names_and_no_axes(self, tmp_path):
        path = tmp_path / ("x" * 245)
        io.save_arrays(path, {"a": np.array(3.5)}, "thing")
        assert io.load_arrays(path, "thing")[0]["a"].shape == ()

    @pytest.mark.parametrize("config", [{"a": np.float64("nan")}, {"a": float("nan")}, {"a": "\ud800"}, {"a": {1, 2}}])
    def test_configs_that_are_no_json(self, tmp_path, config):
        with pytest.raises(errors.DTypeError, match="cannot be written as JSON"):
            io.save_arrays(tmp_path / "x", {"a": np.zeros(1)}, "thing", config)
        assert os.listdir(tmp_path) == []

    def test_numbers_of_numpy_are_numbers(self, tmp_path):
        config = {"a": np.int64(1), "b": [np.float32(0.5)], "c": np.bool_(True)}
        io.save_arrays(tmp_path / "x", {"a": np.zeros(1)}, "thing", config)
        assert io.load_arrays(tmp_path / "x", "thing")[1] == {"a": 1, "b": [0.5], "c": True}

    def test_a_folder_that_cannot_be_written_is_named_by_the_file(self):
        with pytest.raises(OSError, match=r"/proc/x\.vec"):
            io.check_writable("/proc/x.vec")

    def test_permissions_are_those_of_an_ordinary_file(self, tmp_path):
        with open(tmp_path / "plain", "w"):
            pass
        with io.atomic_write(tmp_path / "x") as file:
            file.write(b"1")
        assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode
        # The library that writes arrays makes files for their owner only.
        io.save_arrays(tmp_path / "arrays", {"a": np.zeros(1)}, "some")
        assert (tmp_path / "arrays").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_missing_folder_and_folder_as_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            io.save_arrays(tmp_path / "no" / "x", self.arrays, "thing")
        with pytest.raises(IsADirectoryError, match="is a directory"):
            io.save_arrays(tmp_path, self.arrays, "thing")
        with pytest.raises(FileNotFoundError, match="does not exist"):
            io.load_arrays(tmp_path / "none", "thing")
        with pytest.raises(IsADirectoryError, match="is a directory"):
            io.load_arrays(tmp_path, "thing")

    @pytest.mark.parametrize("mmap", [False, True])
    def test_damaged_files(self, tmp_path, mmap):
        path = tmp_path / "x.safetensors"
        io.save_arrays(path, self.arrays, "thing")
        whole = path.read_bytes()
        for damaged in (b"", whole[:4], whole[:40], whole[:-1], whole + b"x", b"\xff" * 64, b"PK\x03\x04" + whole):
            path.write_bytes(damaged)
            with pytest.raises(errors.FormatError, match="not a whole safetensors file"):
                io.load_arrays(path, "thing", mmap=mmap)

    def test_other_kinds_versions_and_writers(self, tmp_path):
        from safetensors.numpy import save_file

        path = tmp_path / "x.safetensors"
        io.save_arrays(path, self.arrays, "thing")
        with pytest.raises(errors.FormatError, match="holds 'thing', expected 'other'"):
            io.load_arrays(path, "other")
        save_file({"a": np.zeros(1)}, str(path))
        with pytest.raises(errors.FormatError, match="not one that fastseq wrote"):
            io.load_arrays(path, "thing")
        metadata = {"format": "fastseq", "format_version": "99", "kind": "thing", "config": json.dumps({})}
        save_file({"a": np.zeros(1)}, str(path), metadata)
        with pytest.raises(errors.FormatError, match="version '99'"):
            io.load_arrays(path, "thing")
        save_file({"a": np.zeros(1)}, str(path), {**metadata, "format_version": "1", "config": "{"})
        with pytest.raises(errors.FormatError, match="not JSON"):
            io.load_arrays(path, "thing")
        save_file({"a": np.zeros(1)}, str(path), {**metadata, "format_version": "1", "config": "[]"})
        with pytest.raises(errors.FormatError, match="expected a JSON object"):
            io.load_arrays(path, "thing")


class TestDevice:
    def test_the_default_is_the_cpu(self):
        assert current_device() == "cpu"
        with fs.use_device("cpu"):
            assert current_device() == "cpu"

    def test_host_arrays_pass_through(self):
        array = np.arange(3)
        assert to_device(array) is array
        assert to_host(array) is array

    def test_unknown_device(self):
        with pytest.raises(errors.ValueRangeError, match="expected one of"), fs.use_device("tpu"):
            pass

    def test_unknown_place(self):
        with pytest.raises(errors.ValueRangeError, match="expected one of"):
            to_device(np.zeros(1), "tpu")

    def test_cuda_that_is_not_there(self):
        from fastseq.kernels import _cuda

        if _cuda.available():
            pytest.skip("CUDA can be used here")
        with pytest.raises(errors.DeviceError, match="was asked for, but"), fs.use_device("cuda"):
            pass
        assert current_device() == "cpu"

    def test_mixed_devices(self):
        from fastseq.kernels._boundary import device_of

        class OnDevice:
            __cuda_array_interface__ = {}  # noqa: RUF012

        with pytest.raises(errors.DeviceError, match="a on cuda, b on cpu"):
            device_of(a=OnDevice(), b=np.zeros(1))
        assert device_of(a=None, b=np.zeros(1)) == "cpu"


def test_errors_can_be_copied():
    import copy

    kinds = (errors.MissingExtraError("p", "e", "This"), errors.UnknownWordError("no word"), errors.ShapeError("s"))
    for error in kinds:
        assert str(copy.copy(error)) == str(error)
