"""What grades and severity from features show, in tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from lib.evaluation.evaluate import Evaluated
from lib.evaluation.grading import Graded, Neighbours, compare_grading
from lib.evaluation.severity import Severity, compare_severity
from lib.findings.probing import headline as say_probed
from lib.methods import FLOORS
from lib.names import METRIC_NAMES, name_source
from lib.statistics.correlation import Estimate

GRADE_NAMES = {
    "grade_mae": "mean absolute error in grades",
    "quadratic_kappa": METRIC_NAMES["quadratic_kappa"],
    "spearman": "Spearman correlation with the grade",
    "kendall": "Kendall's τ-b with the grade",
}
LESS_IS_BETTER = ("grade_mae",)
Result = TypeVar("Result", Graded, Severity)


def grading_table(results: Sequence[Graded]) -> pd.DataFrame:
    """Errors (rows) by features (columns) with 95% intervals, and how the grade was read off."""
    columns = {}
    for r in results:
        cells = {GRADE_NAMES[m]: with_interval(e) for m, e in r.errors.items()}
        cells["read off (chosen on validation)"] = r.chosen.name
        columns[name_source(r.source, r.augment)] = cells
    return pd.DataFrame(columns).rename_axis("")


def neighbours_table(results: Sequence[Graded]) -> pd.DataFrame:
    """Mean absolute error on validation of every way tried (rows) by features (columns)."""
    ways: list[Neighbours] = list(dict.fromkeys(how for r in results for how in r.curve))
    columns = {
        name_source(r.source, r.augment): {
            how.name: f"{r.curve[how]:.3f}" if how in r.curve else "–" for how in ways
        }
        for r in results
    }
    return pd.DataFrame(columns).rename_axis("validation error in grades")


def severity_table(results: Sequence[Severity]) -> pd.DataFrame:
    """Correlations with the grade (rows) by features (columns) with 95% intervals."""
    columns = {
        name_source(r.source, r.augment): {
            **{GRADE_NAMES[m]: with_interval(e) for m, e in r.order.items()},
            "healthy reference images": f"{r.references:,}",
        }
        for r in results
    }
    return pd.DataFrame(columns).rename_axis("")


def medians_table(results: Sequence[Severity], classes: Sequence[str]) -> pd.DataFrame:
    """Median severity of the images of each grade (rows) by features (columns)."""
    first = results[0].y
    rows: dict[str, dict[str, str]] = {}
    for k, name in enumerate(classes):
        row = {"images": f"{(first == k).sum():,}"}
        for r in results:
            mine = r.distance[r.y == k]
            cell = f"{np.median(mine):.4f}" if len(mine) else "–"
            row[name_source(r.source, r.augment)] = cell
        rows[str(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("grade")


def references_table(sweep: pd.DataFrame, augments: Mapping[str, str]) -> pd.DataFrame:
    """Over the seeds of `lib.evaluation.severity.vary_references`: mean and range of each number.

    augments: the augmentation of each method, for its name.
    """
    rows = []
    for (source, count), group in sweep.groupby(["source", "references"], sort=False):
        row = {
            "features": name_source(str(source), augments.get(str(source), "")),
            "references": f"{count:,}",
            "choices": f"{len(group):,}",
        }
        for metric, name in (("spearman", "Spearman"), ("kendall", "Kendall's τ-b")):
            row[name] = mean_and_range(group[metric])
        row["agreement"] = mean_and_range(group["agreement"])
        rows.append(row)
    return pd.DataFrame(rows).set_index(["features", "references"])


def mean_and_range(values: pd.Series[float]) -> str:
    """A mean with the smallest and the largest value: `0.512 (0.498 to 0.520)`."""
    known = values.dropna()
    if known.empty:
        return "–"
    return f"{known.mean():.3f} ({known.min():.3f} to {known.max():.3f})"


def with_interval(e: Estimate) -> str:
    """A number with its interval, or `undefined`."""
    if not np.isfinite(e.value):
        return "undefined"
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def main_first(results: Sequence[Result]) -> list[Result]:
    """The pretrained encoders' results first, the floors after them."""
    return sorted(results, key=lambda r: r.source in FLOORS)


def say_grading(results: Sequence[Graded], bootstrap: int = 1000, seed: int = 0) -> str:
    """How far read-off grades are from the true ones, and whether the encoder beats the others."""
    mine, *others = main_first(results)
    name = name_source(mine.source, mine.augment)
    error = mine.errors["grade_mae"]
    text = f"Grades read off training images ({mine.chosen.name}) in the features of {name} are "
    text += f"off by {error.value:.3f} grades on average (95% interval {error.low:.3f} to "
    text += f"{error.high:.3f}). Giving every image the median grade of the training images "
    if error.high < mine.guess:
        text += f"would be off by more, {mine.guess:.3f}."
    elif error.low > mine.guess:
        text += f"would be off by **less**, {mine.guess:.3f}."
    else:
        text += f"would be off by {mine.guess:.3f}: no clear difference."
    lines = [text, ""]
    for other in others:
        found = compare_grading(mine, other, bootstrap, seed)
        words = [
            f"{GRADE_NAMES[m]} {say_change(found[m], less_is_better=m in LESS_IS_BETTER)}"
            for m in ("grade_mae", "quadratic_kappa")
        ]
        lines.append(f"- Against {name_source(other.source, other.augment)}: {'; '.join(words)}.")
    return "\n".join(lines).strip()


def say_severity(
    results: Sequence[Severity],
    against_probe: Mapping[str, Mapping[str, Estimate]] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> str:
    """Whether distance to healthy images orders the grades, method by method.

    against_probe: method → what `lib.evaluation.severity.compare_with_probe` found.
    """
    lines = []
    main, *_ = ordered = main_first(results)
    for r in ordered:
        name, e = name_source(r.source, r.augment), r.order["spearman"]
        span = f"Spearman {e.value:+.3f}, 95% interval {e.low:+.3f} to {e.high:+.3f}"
        if not np.isfinite(e.value):
            text = f"- **{name}**: all images are equally far, so there is no order."
        elif e.low > 0:
            text = f"- **{name}**: the further from the healthy, the higher the grade ({span})."
        elif e.high < 0:
            text = f"- **{name}**: the further from the healthy, the **lower** the grade ({span})."
        else:
            text = f"- **{name}**: no clear order by grade ({span})."
        if r is not main:
            gain = compare_severity(main, r, bootstrap, seed)["spearman"]
            text += f" Against it, {name_source(main.source, main.augment)} is: {say_change(gain)}."
        found = (against_probe or {}).get(r.source, {}).get("spearman")
        if found is not None:
            text += f" The probe's expected grade, which was fitted on grades: {say_change(found)}."
        lines.append(text)
    return "\n".join(lines)


def say_references(sweep: pd.DataFrame) -> str:
    """How much the order depends on the number of references, and on which they are."""
    main = next((s for s in sweep["source"] if s not in FLOORS), sweep["source"].iloc[0])
    here = sweep[sweep["source"] == main].dropna(subset=["spearman"])
    if here.empty:
        return "No choice of references gave an order."
    by_count = here.groupby("references")["spearman"]
    few, many = by_count.mean().index.min(), by_count.mean().index.max()
    low, high = by_count.min()[few], by_count.max()[few]
    what = "healthy image as reference" if few == 1 else "healthy images as references"
    text = f"With {few:,} {what}, Spearman with the grade lies between {low:.3f} and {high:.3f} "
    text += f"over {by_count.count()[few]:,} choices of {'it' if few == 1 else 'them'}."
    if few == many:
        return text
    mean = by_count.mean()[many]
    text += f" With {many:,} it is {mean:.3f} on average, "
    if low <= mean <= high:
        return text + "within that range: no clear gain from more references."
    return text + f"{'above' if mean > high else '**below**'} every choice of the few."


def headline(
    probed: Sequence[Evaluated], graded: Sequence[Graded], ordered: Sequence[Severity]
) -> str:
    """One line for the study's index: AUROC of the probe, error of the grade, order by severity."""
    grade, order = main_first(graded)[0], main_first(ordered)[0]
    text = f"{say_probed(probed)}; grades off by {grade.errors['grade_mae'].value:.3f}"
    spearman = order.order["spearman"].value
    return text + (f"; severity: Spearman {spearman:+.3f}" if np.isfinite(spearman) else "")


def say_change(e: Estimate, *, less_is_better: bool = False) -> str:
    """A paired difference in words, `no clear difference` when its interval holds 0."""
    if not np.isfinite(e.value):
        return "not to be compared, one of the two is undefined"
    span = f"{e.value:+.3f}, 95% interval {e.low:+.3f} to {e.high:+.3f}"
    if e.low <= 0 <= e.high:
        return f"no clear difference ({span})"
    better = (e.high < 0) if less_is_better else (e.low > 0)
    return f"{'better' if better else '**worse**'} ({span})"
