"""What retrieval shows, in tables and sentences that can also say "no clear difference"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.data.base import DataSet
from lib.evaluation.queries import Queries, chance
from lib.evaluation.retrieval import Retrieval, compare_retrieval, intervals_of
from lib.methods import FLOORS
from lib.names import name_source, plain
from lib.statistics.bootstrap import Difference, Interval


def name_metric(metric: str) -> str:
    """A metric of retrieval as printed: `mAP`, `mAP@1000`, `precision@5`."""
    return metric.replace("map", "mAP", 1) if metric.startswith("map") else metric


def say_queries(queries: Queries, results: Sequence[Retrieval], notes: Sequence[str]) -> str:
    """How many images ask, among how many they look, how they look, and what was left out."""
    n, least, most = len(queries.rows), queries.candidates.min(), queries.candidates.max()
    library = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    text = f"{n:,} {queries.split} images ask, each among {library} {queries.library} images"
    if queries.skip is not None:
        text += " (those of its own group, or itself, left out)"
    searched = {r.searched for r in results}
    if searched == {"faiss"}:
        text += "; the hits come from an approximate search (FAISS)"
    text += f". An image has {np.median(queries.relevant):,.0f} relevant ones there (median)."
    return "\n".join([text, "", *(f"- {plain(note)}" for note in [*queries.notes, *notes])])


def retrieval_table(results: Sequence[Retrieval]) -> pd.DataFrame:
    """Metrics (rows) by features (columns) with 95% intervals; the last column is chance."""
    columns = {
        name_source(r.source, r.augment): {
            name_metric(m): with_interval(v, r.intervals.get(m), digits(m))
            for m, v in r.values.items()
        }
        for r in results
    }
    expected = chance(results[0].queries, list(results[0].values))
    columns["by chance"] = {name_metric(m): f"{v:.{digits(m)}f}" for m, v in expected.items()}
    return pd.DataFrame(columns).rename_axis("metric")


def classes_table(
    results: Sequence[Retrieval], data: DataSet, bootstrap: int, seed: int
) -> pd.DataFrame:
    """mAP of the queries of each class (rows) by features (columns), beside their
    number and the share of the library that is relevant to them.

    Multi-label: of the queries that carry the label; relevant is what shares any label with them.
    """
    queries = results[0].queries
    metric = main_metric(results[0])
    rows: dict[str, dict[str, str]] = {}
    for k, name in enumerate(data.classes):
        mine = queries.y[:, k] == 1 if queries.y.ndim == 2 else queries.y == k
        row = {"queries": f"{mine.sum():,}"}
        for r in results:
            cell = "–"
            if mine.any():
                values = {metric: r.measures[metric][mine]}
                groups = None if queries.groups is None else queries.groups[mine]
                interval = intervals_of(values, groups, bootstrap, seed).get(metric)
                cell = with_interval(float(values[metric].mean()), interval)
            row[name_source(r.source, r.augment)] = cell
        share = queries.relevant[mine] / queries.candidates[mine]
        row["relevant"] = f"{share.mean():.1%}" if mine.any() else "–"
        rows[str(name)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class of the query")


def digits(metric: str) -> int:
    """Decimal places of a metric; recall at a few hits of a large class is a small number."""
    return 4 if metric.startswith("recall") else 3


def with_interval(value: float, interval: Interval | None, places: int = 3) -> str:
    """A number with its interval, where it has one."""
    text = f"{value:.{places}f}"
    return text + (f" ({interval.low:.{places}f}–{interval.high:.{places}f})" if interval else "")


def main_metric(result: Retrieval) -> str:
    """The metric of the sentences: mean average precision, however deep."""
    return next(m for m in result.values if m.startswith("map"))


def main_retrieval(results: Sequence[Retrieval]) -> Retrieval:
    """The result a reader came for: the pretrained encoder's, else the first."""
    return next((r for r in results if r.source not in FLOORS), results[0])


def say_retrieval(results: Sequence[Retrieval], bootstrap: int, seed: int) -> str:
    """Whether the encoder finds relevant images better than the floors, for the same queries."""
    mine = main_retrieval(results)
    others = [r for r in results if r is not mine]
    metrics = [main_metric(mine), *(m for m in mine.values if m.startswith("precision"))]
    lines = []
    if mine.source in FLOORS:
        lines += ["Only floors were measured: there is no pretrained encoder here.", ""]
    for metric in metrics:
        expected = chance(mine.queries, [metric])[metric]
        text = f"- **{name_metric(metric)}**: {name_source(mine.source, mine.augment)} reaches "
        text += f"{mine.values[metric]:.3f}, chance {expected:.3f}"
        for other in others:
            text += f"; {say_difference(mine, other, metric, bootstrap, seed)}"
        lines.append(text + ".")
    return "\n".join(lines)


def say_difference(
    mine: Retrieval, other: Retrieval, metric: str, bootstrap: int, seed: int
) -> str:
    """A paired difference in words; `no clear difference` when its interval holds 0."""
    name = name_source(other.source, other.augment)
    if not mine.intervals:
        return f"with so few queries nothing can be said against {name}"
    return in_words(compare_retrieval(mine, other, bootstrap, seed)[metric], name)


def in_words(d: Difference, name: str) -> str:
    """A difference from `name` in words, by where its interval lies."""
    span = f"{d.value:+.3f}, 95% interval {d.low:+.3f} to {d.high:+.3f}"
    if d.low > 0:
        return f"above {name} by {span}"
    if d.high < 0:
        return f"**below** {name}: {span}"
    return f"no clear difference from {name} ({span})"


def headline(results: Sequence[Retrieval]) -> str:
    """One line for the study's index: the main result in its metrics."""
    main = main_retrieval(results)
    names = [main_metric(main), *(m for m in main.values if m.startswith("precision"))]
    values = ", ".join(f"{name_metric(m)} {main.values[m]:.3f}" for m in names)
    return f"{name_source(main.source, main.augment)}: {main.queries.split} {values}"


def name_labels_of(y: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    """The labels of one image: its class, or all labels it carries."""
    if y.ndim == 0:
        return str(classes[int(y)])
    return ", ".join(str(classes[int(k)]) for k in np.flatnonzero(y)) or "no label"
