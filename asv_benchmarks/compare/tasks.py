"""What a run consists of: groups of tasks, which can be measured alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import card, language, recurrent, rows, word2vec

Task = Callable[[rows.Settings], Any]

# The names of a group are what `--only` takes, in the order of the table.
GROUPS: dict[str, dict[str, Task]] = {
    "counting": {**rows.ROWS, **rows.FACTS, **rows.TABLES},
    "word2vec": {**word2vec.ROWS, **word2vec.FACTS},
    "recurrent": {**recurrent.ROWS},
    "language": {**language.ROWS},
    "recipes": {**language.RECIPES},
    "card": {**card.ROWS},
}
# What each answers says where it goes: a ratio, a fact, a setting of the SVD, a training.
KINDS = {"what": "records", "fact": "facts", "method": "svd", "run": "runs"}
TASKS: dict[str, Task] = {
    name: task for group in GROUPS.values() for name, task in group.items()
} | {task.__name__: task for task in (*rows.PARTS, *word2vec.PARTS, *language.PARTS)}
NAMES = [name for group in GROUPS.values() for name in group]


def sort(found: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return what tasks found by kind."""
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS.values()}
    for answer in found:
        kinds[next(kind for key, kind in KINDS.items() if key in answer)].append(answer)
    return kinds
