"""How small images may get: tables and sentences that can also say "cannot be told"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.data.base import DataSet
from lib.evaluation.evaluate import Evaluated, compare
from lib.evaluation.size_changes import SizeChange, judge_change, size_changes, smallest_kept
from lib.names import METRIC_NAMES, name_labels, name_source, plain
from lib.study.measurements import label_order, measurements

if TYPE_CHECKING:
    # A report that reads a summary need not load what trains.
    from lib.evaluation.downsampling import AtSize

NOTEBOOK, FLOOR = "06_downsampling", "random"


def describe_sizes(found: Sequence[AtSize], data: DataSet) -> str:
    """Where the images of each size come from, in Markdown. data: the set at any one size."""
    shared = set.intersection(*(set(at.notes) for at in found))
    lines = []
    for at in reversed(found):
        own = " ".join(note for note in at.notes if note not in shared)
        said = plain(own or f"as {data.title} comes at this size.")
        lines.append(f"- {at.size} px: {said}")
    return "\n".join(lines)


def budgets_of(found: Sequence[AtSize]) -> list[str]:
    """The label budgets, in the order of the results."""
    return list(dict.fromkeys(r.labels for at in found for r in at.results))


def sizes_table(found: Sequence[AtSize], metric: str = "auroc") -> pd.DataFrame:
    """A metric by size (rows), the largest first, beside the untrained floor and the cost."""
    rows: dict[str, dict[str, str]] = {}
    for at in reversed(found):
        row = rows.setdefault(f"{at.size} px", {})
        for labels in budgets_of(found):
            row[f"{METRIC_NAMES[metric]}, {name_labels(labels)}"] = cell(at.test(labels), metric)
            floor = at.test(labels, FLOOR)
            if floor is not None:
                row[f"untrained, {name_labels(labels)}"] = cell(floor, metric)
        row["seconds an epoch"] = f"{at.cost.epoch_seconds:.3g}"
        row["images per second"] = f"{at.cost.images_per_second:.0f}"
        memory = at.cost.peak_memory_mb
        row["peak memory, MiB"] = "not measured" if memory is None else f"{memory:.0f}"
    # Sizes as columns: budgets and costs side by side would not fit on a page.
    return pd.DataFrame.from_dict(rows, orient="index").T


def cell(r: Evaluated | None, metric: str) -> str:
    """A value with its interval."""
    if r is None:
        return "–"
    text = f"{r.metrics[metric]:.3f}"
    if metric in r.intervals:
        text += f" ({r.intervals[metric].low:.3f}–{r.intervals[metric].high:.3f})"
    return text


def say_smallest(
    reference: int, changes: Sequence[SizeChange], tolerance: float, metric: str = "auroc"
) -> str:
    """How small images may get before the metric costs more than `tolerance` points."""
    points = f"{tolerance:g} point{'' if tolerance == 1 else 's'} of {METRIC_NAMES[metric]}"
    if not changes:
        return f"only {reference} px was studied, so nothing is known of smaller images."
    ordered = sorted(changes, key=lambda c: -c.size)
    smallest = smallest_kept(reference, changes)
    shown = "; ".join(say_change(c, reference) for c in ordered)
    stop = next((c for c in ordered if c.judgement != "kept"), None)
    if stop is None:
        text = f"**{smallest} px**, the smallest size studied, costs no more than {points}"
    elif smallest < reference and stop.judgement == "lost":
        text = f"**{smallest} px** costs no more than {points}; {stop.size} px costs more"
    elif smallest < reference:
        text = f"**{smallest} px** costs no more than {points}; whether {stop.size} px does "
        text += "cannot be told"
    elif stop.judgement == "lost":
        text = f"**no smaller than {reference} px**: {stop.size} px already costs more than "
        text += points
    else:
        text = f"it **cannot be told** whether {stop.size} px costs more than {points}"
    return f"{text} ({shown})."


def say_change(change: SizeChange, reference: int) -> str:
    """One size against the largest, in points."""
    text = f"{change.size} against {reference} px: {100 * change.value:+.1f} points"
    if math.isnan(change.low):
        return f"{text} from one seed, so nothing is known of its spread"
    return f"{text}, 95% interval {100 * change.low:+.1f} to {100 * change.high:+.1f}"


def say_sizes(
    found: Sequence[AtSize], tolerance: float, bootstrap: int = 1000, seed: int = 0
) -> str:
    """The answer at each budget, the cost, and pretrained against untrained at each size."""
    lines = []
    for labels in budgets_of(found):
        changes = size_changes(found, labels, tolerance, bootstrap=bootstrap, seed=seed)
        answer = say_smallest(found[-1].size, changes, tolerance)
        lines.append(f"- **{name_labels(labels)}**: {answer}")
    smallest, largest = found[0].cost, found[-1].cost
    if len(found) > 1:
        ratio = largest.seconds_per_thousand / max(smallest.seconds_per_thousand, 1e-9)
        text = f"- **Cost**: a thousand image passes took {largest.seconds_per_thousand:.3g} s at "
        text += f"{found[-1].size} px and {smallest.seconds_per_thousand:.3g} s at "
        lines.append(f"{text}{found[0].size} px, {ratio:.3g} times less.")
    floors = [say_floor(at, budgets_of(found)[-1], bootstrap, seed) for at in reversed(found)]
    if any(floors):
        labels = name_labels(budgets_of(found)[-1])
        lines.append(f"- **Against the untrained encoder, {labels}**: {'; '.join(floors)}.")
    return "\n".join(lines)


def say_floor(at: AtSize, labels: str, bootstrap: int, seed: int) -> str:
    """Pretrained against untrained at one size; empty without floors."""
    mine, floor = at.test(labels), at.test(labels, FLOOR)
    if mine is None or floor is None:
        return ""
    d = compare(mine, floor, bootstrap, seed)["auroc"]
    span = f"{d.value:+.3f}, 95% interval {d.low:+.3f} to {d.high:+.3f}"
    if d.low > 0:
        return f"{at.size} px above by {span}"
    if d.high < 0:
        return f"{at.size} px **below**: {span}"
    return f"{at.size} px no clear difference ({span})"


def headline(found: Sequence[AtSize]) -> str:
    """One line for the study's index: test AUROC at each size with the largest budget."""
    labels = budgets_of(found)[-1]
    at_largest = found[-1].test(labels)
    assert at_largest is not None
    parts = []
    for at in reversed(found):
        r = at.test(labels)
        parts += [f"{r.metrics['auroc']:.3f} ({at.size} px)"] if r else []
    name = name_source(at_largest.source, at_largest.augment)
    return f"{name}, {name_labels(labels)}: test AUROC {', '.join(parts)}"


def change_of(found: Any, tolerance: float) -> SizeChange:
    """A row of `lib.statistics.paired.compare` as a change of size."""
    judgement = judge_change(found.low, found.high, tolerance)
    return SizeChange(int(found.size), found.mean, found.low, found.high, judgement)


def smallest_size(
    summary: pd.DataFrame, metric: str = "auroc", tolerance: float = 1.0, level: float = 0.95
) -> pd.DataFrame:
    """How small images may get, data set by data set, from the rows of 06_downsampling alone.

    Differences to the largest size are paired by seed, or by fold where there are any, with the
    intervals of `lib.statistics.paired`. Returns a row for each data set, method, augmentation,
    encoder and budget: reference (the largest size), pairs (fewest of any size), smallest (the size
    down to which the loss stays within `tolerance` points), and `answer`, the sentence. Empty where
    no two sizes were measured.
    """
    from lib.statistics.paired import compare as compare_pairs

    rows = summary[(summary["notebook"] == NOTEBOOK) & (summary["method"] != FLOOR)]
    rows = measurements(rows[rows["protocol"] == "probe"], metric)
    kind = ["dataset", "method", "augment", "encoder", "labels"]
    largest = rows.groupby(kind)["size"].transform("max")
    smaller, full = rows[rows["size"] < largest], rows[rows["size"] == largest]
    cells = compare_pairs(smaller, full, ["method", "augment", "protocol"], level)
    found = []
    for where, group in cells.groupby(kind, sort=False):
        changes = [change_of(cell, tolerance) for cell in group.itertuples()]
        reference = int(group["size_other"].iloc[0])
        answer = say_smallest(reference, changes, tolerance, metric)
        pairs, smallest = int(group["pairs"].min()), smallest_kept(reference, changes)
        found.append((*where, reference, pairs, smallest, answer))
    table = pd.DataFrame(found, columns=[*kind, "reference", "pairs", "smallest", "answer"])
    budgets = {labels: i for i, labels in enumerate(label_order(table["labels"]))}
    table = table.assign(budget=table["labels"].map(budgets))
    order = ["dataset", "method", "augment", "encoder", "budget"]
    return table.sort_values(order, ignore_index=True).drop(columns="budget")
