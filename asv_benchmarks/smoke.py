"""Run every benchmark of the kernels and of import once, in this Python; fail if one fails or if none was timed.

``python asv_benchmarks/smoke.py`` needs fastseq and asv to be installed. asv itself ends with status 0 when all
benchmarks were skipped, so what it prints is read as well.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The rest takes minutes: one thread, models on real sizes, first fits that compile everything.
BENCH = r"^kernels\.Kernels\.|^startup\.Import\.|^models\.WordVectorsQuestions\."
# "  ppmi   12.3±0ms" in a table of parameters, and "...time_most_similar   0.40±0ms" for benchmarks without.
TIMED = re.compile(r"(\w+)\s+[\d.]+(?:±[\d.]+)?\s?(?:ns|[uμµ]s|ms|s|m)\s*$")


def timed(output: str) -> set[str]:
    """Return the names of what asv printed a time for."""
    return {found[1] for line in output.splitlines() if (found := TIMED.search(line))}


def main() -> int:
    """Return 0 if every kernel of the registry was timed and nothing failed."""
    from fastseq.kernels.registry import REGISTRY

    subprocess.run([sys.executable, "-m", "asv", "machine", "--yes"], cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, "-m", "asv", "run", "--python=same", "--quick", "--show-stderr", "--bench", BENCH]
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    status = process.wait()
    left_out = ({*REGISTRY} | {"timeraw_import", "time_most_similar"}) - timed("".join(lines))
    if left_out:
        print(f"not timed: {', '.join(sorted(left_out))}", file=sys.stderr)
    return status or (1 if left_out else 0)


if __name__ == "__main__":
    sys.exit(main())
