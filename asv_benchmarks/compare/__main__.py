"""Compare fastseq with its peers: ``python asv_benchmarks/compare [--quick] [--group GROUP] [--readme]``."""

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

from compare import card, rows, table, tasks, word2vec  # noqa: E402
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
        help="a slice of the text, about 3 minutes; writes nothing unless -o or --readme is given",
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
    for name, (program, label) in word2vec.PROGRAMS.items():
        parser.add_argument(
            f"--{name}",
            default=os.environ.get(f"FASTSEQ_{name.upper()}"),
            metavar="DIR",
            help=f"folder with a built `{program}` of {label.split()[0]} (default: FASTSEQ_{name.upper()})",
        )
    parser.add_argument(
        "--group",
        choices=[*tasks.GROUPS, "all"],
        default="all",
        help="measure one group of rows; what is written keeps the others from the last run (default: all)",
    )
    parser.add_argument("--seeds", type=int, default=1, help="of each training of word2vec (default: 1)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=None,
        help="of each side of a row (default: 3, quick 2; slow rows do fewer, short ones more)",
    )
    parser.add_argument("--threads", type=int, default=len(_cores()), help="of both sides (default: all cores)")
    parser.add_argument("--dim", type=int, default=100, help="of the vectors (default: 100)")
    parser.add_argument("--only", nargs="+", default=None, metavar="ROW", choices=sorted(tasks.NAMES),
                        help=f"only some of: {', '.join(tasks.NAMES)}")  # fmt: skip
    parser.add_argument("--machine", default=None, help="how to name the processor in the table")
    parser.add_argument("--date", default=None, help="of the run (default: today)")
    parser.add_argument("-o", "--output", default=None, metavar="NAME",
                        help="write NAME.md and NAME.json (default: asv_benchmarks/peers)")  # fmt: skip
    parser.add_argument("--readme", nargs="?", const=str(ROOT / "README.md"), default=None, metavar="FILE",
                        help=f"also put the table between {table.BEGIN} and {table.END} of FILE "
                        "(default: README.md of the checkout)")  # fmt: skip
    return parser


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
    from fastseq.kernels._vector import BYTES

    return {
        "processor": processor,
        "vectors": f"vectors of {8 * BYTES} bits",
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
    Path(answer).write_text(json.dumps(tasks.TASKS[name](settings)))
    return 0


def _program(arguments: argparse.Namespace, option: str, program: str) -> str | None:
    """Return the folder of a peer that was built elsewhere."""
    folder = getattr(arguments, option)
    if not folder:
        return None
    if not os.access(os.path.join(folder, program), os.X_OK):
        raise SystemExit(f"{folder} holds no program `{program}`; build it there or leave --{option} out")
    return os.path.abspath(folder)


def compare(arguments: argparse.Namespace, names: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Run the tasks named for each group, each in a process of its own; return everything as plain values, by group."""
    programs = {"glove": "cooccur", **{name: program for name, (program, _) in word2vec.PROGRAMS.items()}}
    given = {option: _program(arguments, option, program) for option, program in programs.items()}
    groups: dict[str, dict[str, Any]] = {}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fastseq-compare-") as scratch:
        text = corpus_for(arguments, Path(scratch))
        settings = {
            **text,
            **given,
            "data": str(Path(arguments.data) if arguments.data else ROOT.parent / "shared" / "data"),
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "seeds": arguments.seeds,
            "dim": min(arguments.dim, 50) if arguments.quick else arguments.dim,
            "wide": 48 if arguments.quick else 300,
            "epochs": 1 if arguments.quick else 5,
            "min_count": 5,
            "quick": arguments.quick,
        }
        for group, chosen in names.items():
            if group == "word2vec":
                settings["lines"] = os.path.join(scratch, "lines.txt")
                word2vec.cut_lines(text["corpus"], settings["lines"])
            start = time.perf_counter()
            found: list[dict[str, Any]] = []
            failed: list[str] = []
            for name in chosen:
                print(f"[{time.perf_counter() - begin:5.0f} s] {name} ...", file=sys.stderr, flush=True)
                try:
                    answers = run_task(name, settings)
                except TaskError as error:
                    failed.append(str(error))
                    print(f"  FAILED: {error}", file=sys.stderr, flush=True)
                    continue
                found += answers
                if records := tasks.sort(answers)["records"]:
                    print(table.markdown_rows(records).split("\n", 2)[2], file=sys.stderr, flush=True)
            kinds = tasks.sort(found)
            kinds["records"] = [{**record, "ratio": table.ratio(record)} for record in kinds["records"]]
            groups[group] = {
                "group": group,
                "date": arguments.date or datetime.date.today().isoformat(),
                "machine": machine(arguments.machine),
                "versions": rows.versions(),
                **{name: settings[name] for name in ("threads", "rounds", "seeds", "dim", "epochs")},
                "corpus": text["about"] if group in ("counting", "word2vec", "card") else "named in the rows",
                **({"card": card.card_name()} if group == "card" else {}),
                "seconds": round(time.perf_counter() - start, 1),
                **kinds,
                "failed": failed,
            }
    return groups


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Return the groups of the last run that wrote ``path``; none where there is no such file."""
    if not path.is_file():
        return {}
    results = json.loads(path.read_text(encoding="utf-8"))
    # Before there were groups, a file held the one that there was.
    groups: dict[str, dict[str, Any]] = results.get("groups", {"counting": {**results, "group": "counting"}})
    return groups


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
    if arguments.rounds < 1 or arguments.dim < 1 or arguments.seeds < 1:
        parser.error("--rounds, --dim and --seeds must be at least 1")
    if arguments.quick:
        arguments.seeds = 1
    only = arguments.only or tasks.NAMES
    names = {
        group: [name for name in members if name in only]
        for group, members in tasks.GROUPS.items()
        if arguments.group in (group, "all")
    }
    if not card.available():
        if arguments.group == "card":
            parser.error("--group card needs a CUDA device")
        names.pop("card", None)
    names = {group: chosen for group, chosen in names.items() if chosen}
    if not names:
        parser.error(f"--only names nothing of the group {arguments.group}")
    if arguments.readme:
        # Before minutes of measuring, not after.
        table.replace_between(Path(arguments.readme).read_text(encoding="utf-8"), "")
    results = compare(arguments, names)
    print(table.markdown_groups(results))
    whole = not arguments.quick and arguments.only is None
    default = str(PLACE.parent / "peers")
    output = arguments.output or (default if whole else None)
    groups: dict[str, dict[str, Any]] = results
    if arguments.group != "all":
        merged = {**kept(Path(f"{output or default}.json")), **results}
        groups = {group: merged[group] for group in tasks.GROUPS if group in merged}
    if output:
        Path(f"{output}.md").write_text(table.markdown_groups(groups), encoding="utf-8")
        text = json.dumps({"groups": groups}, indent=1, ensure_ascii=False)
        Path(f"{output}.json").write_text(text + "\n", encoding="utf-8")
        print(f"wrote {output}.md and {output}.json", file=sys.stderr)
    if arguments.readme:
        readme = Path(arguments.readme)
        short = table.markdown_groups(groups, notes=False)
        readme.write_text(table.replace_between(readme.read_text(encoding="utf-8"), short), encoding="utf-8")
        print(f"wrote {readme}", file=sys.stderr)
    problems: list[str] = []
    for group in results.values():
        problems += [f"{r['what']}: {r['problem']}" for r in group["records"] if r["problem"]] + group["failed"]
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    found = any(group[kind] for group in results.values() for kind in tasks.KINDS.values())
    return 1 if problems or not found else 0


if __name__ == "__main__":
    sys.exit(main())
