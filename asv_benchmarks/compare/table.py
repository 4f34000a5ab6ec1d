"""From records to Markdown, and into a README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"


def ratio(record: Mapping[str, Any]) -> float | None:
    """Return how many times better fastseq is (below 1: worse), or None where nothing was compared."""
    ours, peer = record["ours"], record["peer"]
    if record["status"] != "measured" or ours is None or peer is None:
        return None
    if record["higher_is_better"]:
        return ours / peer if peer else float("inf")
    return peer / ours if ours else float("inf")


def loses(record: Mapping[str, Any]) -> bool:
    """Whether the peer is better, by more than 2 %, which no ratio here resolves."""
    value = ratio(record)
    return value is not None and value < 0.98


def number(value: float, unit: str) -> str:
    """Return a number with three digits and its unit."""
    if unit == "s" and value < 0.1:
        value, unit = 1000 * value, "ms"
    if unit == "ms" and value < 0.1:
        value, unit = 1000 * value, "µs"
    digits = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def markdown_rows(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of ratios; losing cases are in bold and stay where they are."""
    lines = ["| job | fastseq | peer | | ratio | checked |", "|---|---:|---:|---|---:|---|"]
    for record in records:
        value = ratio(record)
        if value is None:
            lines.append(f"| {record['what']} | | {record['status']} | {record['name']} | | |")
            continue
        shown = f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"
        if loses(record):
            shown = f"**{shown}**"
        checked = record["problem"] or record["check"]
        lines.append(
            f"| {record['what']} | {number(record['ours'], record['unit'])} | {number(record['peer'], record['unit'])} "
            f"| {record['name']} | {shown} | {checked} |"
        )
    return "\n".join(lines)


def markdown_svd(table: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of settings of the SVD."""
    lines = [
        "| truncated SVD of that matrix | seconds | neighbours kept | worst singular value |",
        "|---|---:|---:|---:|",
    ]
    for row in table:
        error = "" if row["error"] == 0 else f"{row['error']:.0e} off"
        lines.append(f"| {row['method']} | {row['seconds']:.1f} | {100 * row['kept']:.1f} % | {error} |")
    return "\n".join(lines)


def markdown_runs(runs: Iterable[Mapping[str, Any]], heading: str) -> str:
    """Return the table of trainings."""

    def part(value: float | None, scale: float, text: str) -> str:
        return "" if value is None else text.format(scale * value)

    lines = [
        f"| {heading} | M words/s | training alone | analogies | WS-353 | peak memory | seeds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        lines.append(
            f"| {run['run']} | {part(run['speed'], 1, '{:.3g}')} | {part(run['training'], 1, '{:.3g}')} "
            f"| {part(run['accuracy'], 100, '{:.1f} %')} | {part(run['spearman'], 1, '{:.3f}')} "
            f"| {part(run['peak'], 1e-6, '{:,.0f} MB')} | {run['seeds']} |"
        )
    return "\n".join(lines)


# How the rows of each group were measured, after the machine and the versions.
HOW = {
    "counting": "Both sides of a row ran in turn (A B A B ...) after a warm-up, with equal numbers of threads; times "
    "are the least of {rounds} rounds (fewer for runs of minutes, more for those of milliseconds).",
    "word2vec": "Dim {dim}, window 5, 5 negatives, sample 1e-4, {epochs}, words that occur 5 times or more, learning "
    "rate 0.025 for skip-gram and 0.05 for CBOW unless a row says otherwise, which ends at 0.0001 and at 0.005 "
    "(gensim's ends at a tenth with two workers and five epochs, as each counts its own half); both sides read one "
    "file with lines of at most 1,000 words, with equal numbers of threads, each training in a process of its own, in "
    "turn; kernels are compiled before the clock starts. Words are the tokens of the vocabulary, times epochs; the "
    "time includes reading the text and making the vocabulary except where it says training alone. {seeds}.",
    "recurrent": "float32, T steps, N sequences, D inputs, H units; training is forward and backward with all "
    "gradients, inference forward alone. Both sides ran in turn after a warm-up, with equal numbers of threads, "
    "PyTorch with denormal numbers flushed; times are the least of {rounds} rounds or more.",
    "language": "Batches of 20 rows and 35 steps, SGD, gradients clipped to a norm of 0.25, float32; PyTorch as its "
    "users write it, with denormal numbers flushed and one bias a gate. Both sides in turn after a warm-up, with equal "
    "numbers of threads; speeds are the best of {rounds} rounds or more. {seeds}.",
    "recipes": "Models as `fastseq.presets` has them, trained on the CPU.",
    "card": "On one card, {card}: both sides in turn after a warm-up, arrays on the card before and after, float32 "
    "with all bits (no TF32); times are the least of {rounds} rounds or more.",
}


def _how(results: Mapping[str, Any]) -> str:
    seeds, epochs = results.get("seeds", 1), results.get("epochs", 1)
    return HOW[results.get("group", "counting")].format(
        rounds=results["rounds"], dim=results.get("dim"), card=results.get("card"),
        epochs=f"{epochs} epoch{'s' * (epochs > 1)}",
        seeds="One seed" if seeds == 1 else f"Speed is the best and quality the mean of {seeds} seeds, where a row "
        "does not say otherwise",
    )  # fmt: skip


def _option(results: Mapping[str, Any]) -> str:
    return f" --group {results['group']}" if "group" in results else ""


def markdown_groups(groups: Mapping[str, Mapping[str, Any]], notes: bool = True) -> str:
    """Return all groups of rows, each as `markdown` shows it; they may be of different runs."""
    return "\n".join(markdown(results, notes) for results in groups.values())


def markdown(results: Mapping[str, Any], notes: bool = True) -> str:
    """Return all of a run as Markdown, with or without the notes on single rows."""
    machine = results["machine"]
    losing = [record for record in results["records"] if loses(record)]
    parts = [
        f"Measured on {results['date']} by `python asv_benchmarks/compare{_option(results)}` in one run: "
        # Runs before these were told apart do not have them.
        + ", ".join(machine[key] for key in ("processor", "vectors") if key in machine)
        + f", {results['threads']} of {machine['cores']} cores, {machine['memory']}, {machine['system']}, "
        f"Python {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + f". Text: {results['corpus']}. {_how(results)} A ratio above 1 says how many times better fastseq is; a "
        "ratio in bold is a case that it loses by more than 2 %.",
    ]
    if results["records"]:
        parts.append(markdown_rows(results["records"]))
        parts.append(
            f"Lost: {len(losing)} of {sum(ratio(r) is not None for r in results['records'])} rows"
            + (":\n" + "\n".join(f"- {r['what']}, against {r['name']}" for r in losing) if losing else ".")
        )
    told = [f"- {r['what']} ({r['name']}): {r['note']}" for r in results["records"] if r["note"]]
    if told and notes:
        parts.append("Notes:\n" + "\n".join(told))
    runs = results.get("runs", [])
    both = [run for run in runs if not run.get("alone")]
    alone = [run for run in runs if run.get("alone")]
    if both:
        parts.append(markdown_runs(both, "text file to vectors"))
    if alone:
        parts.append(markdown_runs(alone, "fastseq alone: what exactness costs"))
    facts = [f"| {fact['fact']} | {fact['value']} |" for fact in results["facts"]]
    if facts:
        parts.append("\n".join(["| fastseq alone | |", "|---|---|", *facts]))
    if results["svd"]:
        parts.append(
            "How many of the ten nearest words by the exact factorisation each setting keeps (mean over 1,000 words, "
            "p = 0.5):\n\n" + markdown_svd(results["svd"])
        )
    if results["failed"]:
        parts.append("Failed: " + ", ".join(results["failed"]) + ".")
    return "\n\n".join(parts) + "\n"


def replace_between(text: str, new: str) -> str:
    """Return ``text`` with what stands between the two markers replaced by ``new``.

    Raises
    ------
    ValueError
        The markers are not both there once, in their order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"expected one {BEGIN} and after it one {END}")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{new.strip()}\n{END}{tail}"
