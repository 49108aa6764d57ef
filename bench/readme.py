"""The tables of bench/README.md, made from the measurements in bench/measured.

`python -m bench.readme` rewrites what stands between the marks; a test repeats it and compares.
`--from bench/out` first takes over the JSON and the plots that lie there; quick runs are refused.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cost import in_words
from bench.measuring import Goal
from bench.table import goals_in, read_all
from lib.files import write_text
from lib.params import ROOT

MEASURED = ROOT / "bench" / "measured"
README = ROOT / "bench" / "README.md"
BEGIN, END = "<!-- measured: {name} -->", "<!-- end of {name} -->"
MARKS = re.compile(r"<!-- measured: (\w+) -->\n.*?<!-- end of \1 -->", re.S)
Content = dict[str, Any]


class QuickRunError(ValueError):
    """A measurement of a quick run is not to be published."""


def number(value: Any) -> str:
    """A cell: numbers to four digits, what is missing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def markdown(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table in Markdown. columns: key of a row → heading."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(number(row.get(key)) for key in columns) + " |" for row in rows]
    return "\n".join(lines)


def caption(content: Content) -> str:
    """Machine, threads, versions and date."""
    m = content["machine"]
    what = [m["gpu"]] if m["gpu"] else []
    what += [f"{m['processor']}, {m['cores']} cores, {m['threads']} thread(s)"]
    what += [f"torch {m['torch']}, Python {m['python']}", f"commit {m['commit']}"]
    if "load" in m:
        what.append(f"load {m['load']}")
    return f"*{'; '.join(what)}; {m['measured']}.*"


def goals_table(goals: Sequence[Goal]) -> str:
    """Goals in Markdown."""
    rows = [
        {
            "what": goal.what,
            "value": goal.value,
            "target": f"{'≥' if goal.least else '≤'} {number(goal.target)} {goal.unit}",
            "verdict": goal.verdict + (f" ({goal.note})" if goal.note else ""),
        }
        for goal in goals
    ]
    names = {"what": "what", "value": "measured", "target": "goal", "verdict": ""}
    return markdown(names, rows)


def pretraining(content: Content) -> str:
    """A line a cell: views per second, and how much faster ours is."""
    keys = ("augment", "size", "stem", "batch", "precision")
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in content["rows"]:
        cell = cells.setdefault(
            tuple(row[key] for key in keys), {key: row[key] for key in keys} | {"note": ""}
        )
        cell[row["contender"]] = row["views_per_s"]
        cell["/" + row["contender"]] = row["ours_is_faster_by"]
        if row["note"] and row["note"] not in cell["note"]:
            named = row["note"] if row["note"].startswith("left out") else ""
            cell["note"] = named or f"{cell['note']} {row['contender']}: {row['note']}".strip()
    names = dict(zip(keys, ("sequence", "px", "stem", "batch", "format"), strict=True))
    who = list(dict.fromkeys(row["contender"] for row in content["rows"]))
    names |= {name: f"{name}, views/s" for name in who}
    names |= {f"/{name}": f"ours/{name}" for name in who if name != "ours"}
    if any(cell["note"] for cell in cells.values()):
        names["note"] = ""
    return markdown(names, list(cells.values()))


def scaling(content: Content) -> str:
    """A table for each series, the exponents, the plots."""
    parts = []
    heads = {"size": "px", "batch": "batch", "images": "training images"}
    for series, head in heads.items():
        rows = [row for row in content["rows"] if row["series"] == series]
        if rows:
            names = {series: head, "views_per_s": "views/s", "s_per_step": "s a step",
                     "memory_mib": "memory, MiB"}  # fmt: skip
            parts.append(markdown(names, rows))
    rows = [row for row in content["rows"] if row["series"] == "runs"]
    if rows:
        parts.append(markdown({"runs": "runs planned", "seconds": "s"}, rows))
    fits = [
        {**fit, "±": "–" if fit["error"] is None else f"{fit['error']:.2f}",
         "exponent": f"{fit['exponent']:.2f}"}
        for fit in content["fits"]
    ]  # fmt: skip
    names = {"of": "what grows", "against": "with", "exponent": "exponent", "±": "standard error",
             "points": "points"}  # fmt: skip
    parts.append(markdown(names, fits))
    plots = sorted(path.name for path in MEASURED.glob("scaling_*.svg"))
    parts += [f"![{Path(name).stem.replace('_', ' ')}](measured/{name})" for name in plots]
    return "\n\n".join(parts)


def retrieval(content: Content) -> str:
    """Speed and memory."""
    speed = {"library": "library", "width": "width", "probes": "cells searched",
             "recall@10": "recall@10", "exact_queries_per_s": "exact, queries/s",
             "faiss_queries_per_s": "FAISS, queries/s", "faiss_is_faster_by": "FAISS/exact",
             "build_s": "index, s", "pays_after_queries": "pays after queries"}  # fmt: skip
    memory = {"what": "memory", "library": "library", "width": "width", "queries": "queries",
              "peak_mib": "beyond library and queries, MiB", "seconds": "s"}  # fmt: skip
    return markdown(speed, content["rows"]) + "\n\n" + markdown(memory, content["memory"])


def gpu(content: Content) -> str:
    """Share of peak, and the time by operation of the profiled epochs."""
    names = {"stem": "stem", "size": "px", "views_per_s": "views/s",
             "gflop_per_view": "GFLOP a view", "tflop_per_s": "TFLOP/s",
             "share_of_product": "of a matrix product's", "share_of_data_sheet": "of data sheet"}  # fmt: skip  # noqa: E501
    parts = [markdown(names, content["rows"])]
    for stem, found in content["profiles"].items():
        counts = ", ".join(
            f"{found[key]:g} {key}"
            for key in ("kernel launches", "graph launches", "synchronisations")
        )
        parts.append(f"{stem} stem, {found['steps']} steps profiled; a step: {counts}.")
        names = {"operation": "operation", "calls": "calls", "ms": "ms", "share": "share"}
        ops = [op | {"operation": f"`{op['operation'][:60]}`"} for op in found["operations"][:12]]
        parts.append(markdown(names, ops))
    return "\n\n".join(parts)


def cost(content: Content) -> str:
    """Hours by device."""
    names = {"device": "device", "stem": "stem", "runs": "pretrainings",
             "million_views": "million views", "views_per_s": "views/s",
             "fixed_s_a_run": "fixed s a run", "time": "time"}  # fmt: skip
    rows = [row | {"time": in_words(row["hours"])} for row in content["rows"]]
    return markdown(names, rows)


COLUMNS: dict[str, dict[str, str]] = {
    "augment": {"sequence": "sequence", "size": "px", "library": "library", "device": "device",
                "views_per_s": "views/s", "ours_is_faster_by": "ours is faster by"},
    "small_maps": {"stem": "stem", "precision": "format", "ours": "ours, views/s",
                   "nn.Conv2d": "nn.Conv2d, views/s", "ratio": "ratio"},
    "losses": {"loss": "loss", "images": "images", "form": "similarities", "seconds": "s",
               "peak_mib": "memory, MiB", "total_mib": "whole process, MiB",
               "gradient_difference": "gradients differ by"},
    "bootstrap": {"images": "images", "classes": "classes", "resamples": "resamples",
                  "seconds": "ours, s", "sklearn_seconds": "scikit-learn, s (extrapolated)",
                  "ours_is_faster_by": "ratio", "largest_difference": "largest difference"},
    "probe": {"images": "labels", "ours_s": "ours, s", "plain_s": "plain loop, s",
              "loader_s": "loader loop, s (extrapolated)", "faster_than_plain": "ours/plain",
              "faster_than_loader": "ours/loader", "ours_loss": "validation loss, nats",
              "loop_loss": "the loop's best, nats"},
    "overhead": {"what": "what", "seconds": "s", "runs": "runs"},
    "cluster": {"way": "by", "workers": "at a time", "runs": "runs", "seconds": "s"},
}  # fmt: skip
COLUMNS["gpu_augment"] = COLUMNS["augment"]
TABLES: dict[str, Callable[[Content], str]] = {
    "pretraining": pretraining,
    "gpu_pretraining": pretraining,
    "gpu_compiled": pretraining,
    "scaling": scaling,
    "retrieval": retrieval,
    "gpu": gpu,
    "cost": cost,
}
SUMMARIES = ("goals", "durations")  # of all benchmarks together


def block(name: str, measured: Mapping[str, Content]) -> str:
    """What stands between the marks of a benchmark; `goals` and `durations` are of all."""
    if name == "goals":
        goals = [goal for content in measured.values() for goal in goals_in(content)]
        return goals_table(goals) if goals else "No goal has been measured yet."
    if name == "durations":
        rows = [{"name": f"`{n}`", "s": c["took_s"]} for n, c in measured.items() if "took_s" in c]
        return markdown({"name": "measurement", "s": "s"}, rows) if rows else "Not measured yet."
    if name not in measured:
        return "Not measured yet."
    content = measured[name]
    make = TABLES.get(name)
    body = make(content) if make else markdown(COLUMNS[name], content["rows"])
    return f"{body}\n\n{caption(content)}"


def rewrite(readme: str, measured: Mapping[str, Content]) -> str:
    """The README with every block between marks renewed; ValueError for one of no benchmark."""
    found = MARKS.findall(readme)
    unknown = set(found) - {*COLUMNS, *TABLES, *SUMMARIES}
    if unknown or not found:
        raise ValueError(f"marks: expected names of benchmarks; found {sorted(unknown) or 'none'}")

    def renewed(match: re.Match[str]) -> str:
        name = match[1]
        text = block(name, measured)
        return "\n\n".join([BEGIN.format(name=name), text, END.format(name=name)])

    return MARKS.sub(renewed, readme)


def take_over(source: Path, target: Path) -> list[str]:
    """Copy measurements and plots; QuickRunError, and nothing copied, where one is a quick run."""
    found = read_all(source)
    quick = [name for name, content in found.items() if content.get("settings", {}).get("quick")]
    if quick:
        raise QuickRunError(f"{source}: quick runs are not published: {', '.join(quick)}")
    target.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_text(target / f"{name}.json", text)
    for plot in source.glob("*.svg"):
        shutil.copy(plot, target / plot.name)
    return list(found)


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the README; status 2 where measurements are refused."""
    parser = argparse.ArgumentParser(prog="python -m bench.readme", description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, help="take these measurements over")
    options = parser.parse_args(arguments)
    if options.source is not None:
        try:
            print(f"taken over: {', '.join(take_over(options.source, MEASURED)) or 'nothing'}")
        except QuickRunError as error:
            print(error, file=sys.stderr)
            return 2
    write_text(README, rewrite(README.read_text(encoding="utf-8"), read_all(MEASURED)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
