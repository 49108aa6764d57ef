"""One table of all goals, read from the JSON that the benchmarks wrote.

`python -m bench.table [bench/out]`. Exits 0 whatever it finds: a benchmark measures, tests judge.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.measuring import OUT, Goal, say_goals


def read_all(folder: Path) -> dict[str, dict[str, Any]]:
    """What each benchmark wrote into a folder, by name; other files are passed over."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "machine" in content and "rows" in content:
            found[path.stem] = content
    return found


def goals_in(content: dict[str, Any]) -> list[Goal]:
    """The goals of one file; of a quick run each says so."""
    quick = bool(content.get("settings", {}).get("quick"))
    goals = []
    for entry in content.get("goals", []):
        goal = Goal(**entry)
        if quick:
            note = "; ".join(filter(None, [goal.note, "a quick run"]))
            goal = Goal(**{**entry, "note": note})
        goals.append(goal)
    return goals


def main(arguments: list[str] | None = None) -> int:
    """Print the table and how many goals are met."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=OUT)
    folder = parser.parse_args(arguments).folder
    goals = [goal for content in read_all(folder).values() for goal in goals_in(content)]
    if not goals:
        print(f"{folder}: no measurements; run `make bench`")
        return 0
    print(say_goals(goals))
    counts = Counter(goal.verdict for goal in goals)
    print(", ".join(f"{counts[name]} {name}" for name in ("met", "MISSED", "not measured")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
