"""A study of grades from its summary: every metric by method, and methods against each other."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lib.statistics.paired import compare, concat_cells
from lib.study.claims import cross_entropy, named_rows
from lib.study.fairness import fairly
from lib.study.measurements import measurements, over_seeds

# Metric and the protocol it is read off, in the order of a table. Of cross-entropy, the network
# that was trained whole has the metrics of a classifier too.
GRADING = {
    "auroc": "probe",
    "auroc_ovo": "probe",
    "auroc_referable": "probe",
    "accuracy": "probe",
    "weighted_precision": "probe",
    "quadratic_kappa": "probe",
    "grade_mae": "retrieval",
    "spearman": "severity",
}
NOTEBOOK = "10_retinopathy"
# Beside what SupCon stands; the empty word is the network itself, trained by cross-entropy.
RIVALS = ("supervised", "simclr", "")


def grading_stats(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, sd and count over seeds or folds of every metric of GRADING, with its `metric`.

    Data sets and sizes are those of 10_retinopathy; of other notebooks only the network that was
    trained by cross-entropy is taken.
    """
    graded, parts = table[table["notebook"] == NOTEBOOK], []
    for metric, protocol in GRADING.items():
        rows = measurements(graded, metric)
        kept = rows["protocol"] == protocol
        kept |= (rows["method"] == "pixels") & (rows["protocol"] == "knn")
        whole = _where_graded(cross_entropy(measurements(table, metric)), graded)
        chosen = pd.concat([rows[kept], whole])
        parts.append(over_seeds(chosen).assign(metric=metric))
    return pd.concat(parts, ignore_index=True)


def compare_grading(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """SupCon's features against those of cross-entropy and SimCLR, and against the network.

    Only where SupCon saw in pretraining the labels that its rivals had (`lib.study.fairness`).
    Cells as in `lib.statistics.paired.compare`, with their `metric`; p is corrected over all of
    them.
    """
    parts = [part for metric in GRADING for part in _compare(table, metric, level)]
    return concat_cells(parts)


def _where_graded(rows: pd.DataFrame, graded: pd.DataFrame) -> pd.DataFrame:
    """Rows about data sets and sizes that were graded."""
    places = set(zip(graded["dataset"], graded["size"], strict=True))
    here = [place in places for place in zip(rows["dataset"], rows["size"], strict=True)]
    return rows[pd.Series(here, index=rows.index, dtype=bool)]


def _compare(table: pd.DataFrame, metric: str, level: float) -> Iterator[pd.DataFrame]:
    graded, rows = table[table["notebook"] == NOTEBOOK], named_rows(table, metric)
    rows = rows[(rows["notebook"] == NOTEBOOK) | (rows["protocol"] == "finetune")]
    rows = _where_graded(rows, graded)
    ours = rows[(rows["base"] == "supcon") & (rows["protocol"] == GRADING[metric])]
    # The budget of severity is its references; its rivals' encoders have seen all labels.
    seen = ours.assign(labels="all") if GRADING[metric] == "severity" else ours
    ours = ours.loc[fairly(table, seen).index]
    for rival in RIVALS:
        if rival:
            other = rows[(rows["base"] == rival) & (rows["protocol"] == GRADING[metric])]
            cells = compare(ours, other, ["size", "protocol"], level)
        elif GRADING[metric] == "probe":
            cells = compare(ours, cross_entropy(rows), ["size"], level)
        else:
            continue
        yield cells.assign(metric=metric)
