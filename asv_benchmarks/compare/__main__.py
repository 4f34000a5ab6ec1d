"""Compare fastseq with its peers: ``python asv_benchmarks/compare [--quick] [--glove DIR] [--readme]``."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Run as a folder, Python puts the folder itself on the path; the package is wanted.
PLACE = Path(__file__).resolve().parent
sys.path[:] = [str(PLACE.parent), *(entry for entry in sys.path if entry and Path(entry).resolve() != PLACE)]

from compare import rows, table  # noqa: E402
from compare.measure import TaskError, run_task  # noqa: E402

ROOT = PLACE.parent.parent
QUICK_BYTES = 4_000_000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python asv_benchmarks/compare",
        description="Measure fastseq and its peers in one run, interleaved; print the table and write peers.md and "
        "peers.json. Peers that are not installed are shown as such (pip install '.[peers]').",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a slice of the text, less than 2 minutes; writes nothing unless -o or --readme is given",
    )
    parser.add_argument(
        "--data",
        default=os.environ.get("FASTSEQ_DATA"),
        metavar="DIR",
        help="folder of the corpora (default: FASTSEQ_DATA, else ../shared/data beside the checkout, else the text of "
        "installed packages)",
    )
    parser.add_argument(
        "--glove",
        default=os.environ.get("FASTSEQ_GLOVE"),
        metavar="DIR",
        help="folder with a built `cooccur` of Stanford's GloVe (default: FASTSEQ_GLOVE)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=None,
        help="of each side of a row (default: 3, quick 2; slow rows do fewer, short ones more)",
    )
    parser.add_argument("--threads", type=int, default=len(_cores()), help="of both sides (default: all cores)")
    parser.add_argument("--dim", type=int, default=100, help="of the vectors (default: 100)")
    parser.add_argument("--only", nargs="+", default=None, metavar="ROW", choices=sorted(_names()),
                        help=f"only some of: {', '.join(_names())}")  # fmt: skip
    parser.add_argument("--machine", default=None, help="how to name the processor in the table")
    parser.add_argument("--date", default=None, help="of the run (default: today)")
    parser.add_argument("-o", "--output", default=None, metavar="NAME",
                        help="write NAME.md and NAME.json (default: asv_benchmarks/peers)")  # fmt: skip
    parser.add_argument("--readme", nargs="?", const=str(ROOT / "README.md"), default=None, metavar="FILE",
                        help=f"also put the table between {table.BEGIN} and {table.END} of FILE "
                        "(default: README.md of the checkout)")  # fmt: skip
    return parser


def _names() -> list[str]:
    return [*rows.ROWS, *rows.FACTS, *rows.TABLES]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def machine(name: str | None) -> dict[str, Any]:
    """Return what the ratios depend on."""
    processor = name or platform.processor() or platform.machine()
    memory = "memory not known"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if not name and line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    except (OSError, ValueError, AttributeError):
        pass  # not Linux: the table says less
    return {
        "processor": processor,
        "cores": len(_cores()),
        "memory": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def corpus_for(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return the text to measure on and the evaluation files, as settings."""
    data = Path(arguments.data) if arguments.data else ROOT.parent / "shared" / "data"
    wiki = data / "wiki" / "enwiki100m.txt"
    if arguments.data and not data.is_dir():
        raise SystemExit(f"{data} is not a folder; --data or FASTSEQ_DATA names the folder of the corpora")
    found: dict[str, Any] = {
        key: str(path) if path.is_file() else None
        for key, path in (
            ("pairs", data / "similarity" / "ws353.txt"),
            ("questions", data / "similarity" / "questions-words.txt"),
            ("treebank", data / "ptb" / "ptb.train.txt"),
        )
    }
    if wiki.is_file() and not arguments.quick:
        name = "100 MB of Wikipedia"
        return {**found, "corpus": str(wiki), "corpus_name": name, "about": "wiki/enwiki100m.txt, one line"}
    place = scratch / "corpus.txt"
    if wiki.is_file():
        with open(wiki, "rb") as source:
            place.write_bytes(source.read(QUICK_BYTES).rpartition(b" ")[0] + b"\n")
        name = f"{QUICK_BYTES // 10**6} MB of Wikipedia"
        return {**found, "corpus": str(place), "corpus_name": name, "about": f"the first {QUICK_BYTES:,} bytes of "
                "wiki/enwiki100m.txt"}  # fmt: skip
    from fastseq.text.datasets.docstrings import docs_text

    with open(place, "w", encoding="utf-8") as target:
        for sentence in docs_text():
            target.write(" ".join(sentence) + "\n")
    return {**dict.fromkeys(found), "corpus": str(place), "corpus_name": "docstrings",
            "about": "the docstrings of installed packages, a sentence a line (fs.datasets.docs)"}  # fmt: skip


def _task(name: str, request: str, answer: str) -> int:
    settings = json.loads(Path(request).read_text())
    Path(answer).write_text(json.dumps(rows.TASKS[name](settings)))
    return 0


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the rows, each in a process of its own; return everything as plain values."""
    glove = arguments.glove
    if glove and not os.access(os.path.join(glove, "cooccur"), os.X_OK):
        raise SystemExit(f"{glove} holds no program `cooccur`; build Stanford's GloVe there or leave --glove out")
    records: list[Mapping[str, Any]] = []
    facts: list[Mapping[str, Any]] = []
    svd: list[Mapping[str, Any]] = []
    failed: list[str] = []
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fastseq-compare-") as scratch:
        text = corpus_for(arguments, Path(scratch))
        settings = {
            **text,
            "glove": glove and os.path.abspath(glove),
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "dim": min(arguments.dim, 50) if arguments.quick else arguments.dim,
            "min_count": 5,
            "quick": arguments.quick,
        }
        for name in arguments.only or _names():
            print(f"[{time.perf_counter() - begin:5.0f} s] {name} ...", file=sys.stderr, flush=True)
            try:
                found = run_task(name, settings)
            except TaskError as error:
                failed.append(str(error))
                print(f"  FAILED: {error}", file=sys.stderr, flush=True)
                continue
            target = records if name in rows.ROWS else facts if name in rows.FACTS else svd
            target.extend(found)
            if name in rows.ROWS:
                print(table.markdown_rows(found).split("\n", 2)[2], file=sys.stderr, flush=True)
    return {
        "date": arguments.date or datetime.date.today().isoformat(),
        "machine": machine(arguments.machine),
        "versions": rows.versions(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "corpus": text["about"],
        "seconds": round(time.perf_counter() - begin, 1),
        "records": [{**record, "ratio": table.ratio(record)} for record in records],
        "facts": facts,
        "svd": svd,
        "failed": failed,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; return 0 if every row ran and both sides gave the same results, else 1."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["--task"]:
        return _task(*argv[1:])
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.rounds is None:
        arguments.rounds = 2 if arguments.quick else 3
    if not 1 <= arguments.threads <= len(_cores()):
        parser.error(f"--threads is {arguments.threads}, expected 1 to {len(_cores())}")
    if arguments.rounds < 1 or arguments.dim < 1:
        parser.error("--rounds and --dim must be at least 1")
    if arguments.readme:
        # Before minutes of measuring, not after.
        table.replace_between(Path(arguments.readme).read_text(encoding="utf-8"), "")
    results = compare(arguments)
    text = table.markdown(results)
    print(text)
    whole = not arguments.quick and arguments.only is None
    output = arguments.output or (str(PLACE.parent / "peers") if whole else None)
    if output:
        Path(f"{output}.md").write_text(text, encoding="utf-8")
        Path(f"{output}.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"wrote {output}.md and {output}.json", file=sys.stderr)
    if arguments.readme:
        readme = Path(arguments.readme)
        short = table.markdown(results, notes=False)
        readme.write_text(table.replace_between(readme.read_text(encoding="utf-8"), short), encoding="utf-8")
        print(f"wrote {readme}", file=sys.stderr)
    problems = [f"{r['what']}: {r['problem']}" for r in results["records"] if r["problem"]] + results["failed"]
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems or not (results["records"] or results["facts"] or results["svd"]) else 0


if __name__ == "__main__":
    sys.exit(main())
