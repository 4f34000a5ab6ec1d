"""How the comparison measures: interleaved rounds, peak memory, processes of their own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHORT = 2.0


class TaskError(RuntimeError):
    """A task that ran in a process of its own has failed."""


def interleave(
    sides: Mapping[str, Callable[[], Any]], rounds: int, warm: Mapping[str, Callable[[], Any]] | None = None
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Call the sides in turn, A B A B ..., ``rounds`` times each; return the seconds of each call and the last results.

    Before that, ``warm`` is called for each side named in it, untimed: compiling, first touches of files and memory and
    the start of thread pools are not what is compared. Where all of it takes less than `SHORT` seconds, there are up to
    five times as many rounds: short times are disturbed most.
    """
    for name in sides:
        if warm and name in warm:
            warm[name]()
    times: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, Any] = {}
    start = time.perf_counter()
    for turn in range(5 * rounds):
        if turn >= rounds and time.perf_counter() - start > SHORT:
            break
        for name, function in sides.items():
            # Two results at once would be more memory than either side needs.
            results.pop(name, None)
            gc.collect()
            begin = time.perf_counter()
            result = function()
            times[name].append(time.perf_counter() - begin)
            results[name] = result
            del result
    return times, results


def _status(field: str) -> int | None:
    """Return a field of /proc/self/status in bytes; None where there is none (not Linux)."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def resident_bytes() -> int | None:
    """Return what the process holds in memory now; None where it cannot be known."""
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """Return the most that this process has held in memory; None where it cannot be known.

    Not ``ru_maxrss`` where there is something better: it also counts the process that started this one.
    """
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> bool:
    """Let `peak_bytes` count from now on; return whether that is possible here (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a child: every library uses the same number of threads, and hashes do not vary."""
    values = dict(os.environ)
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        values[name] = str(threads)
    values["PYTHONHASHSEED"] = "0"
    return values


def run_task(name: str, settings: Mapping[str, Any], extra: Mapping[str, str] | None = None) -> Any:
    """Run the task ``name`` of `compare.tasks` in a fresh Python process; return what it returned.

    Raises
    ------
    TaskError
        The process did not end well; its messages went to standard error.
    """
    with tempfile.TemporaryDirectory(prefix="fastseq-compare-") as folder:
        result = Path(folder) / "result.json"
        request = Path(folder) / "settings.json"
        request.write_text(json.dumps(dict(settings)))
        command = [sys.executable, str(HERE), "--task", name, str(request), str(result)]
        done = subprocess.run(command, env={**environment(settings["threads"]), **(extra or {})}, check=False)
        if done.returncode != 0 or not result.exists():
            raise TaskError(f"{name} ended with status {done.returncode}")
        return json.loads(result.read_text())
