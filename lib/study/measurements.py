"""summary.csv read back: what was measured, once each, and what it comes to over seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from lib.data.embedded import is_synthetic
from lib.methods import FLOORS, split_method
from lib.names import tell_apart
from lib.params import ROOT
from lib.run import COLUMNS, summary_file
from lib.statistics.paired import over_units

# What makes two rows the same measurement, whichever run noted it: a floor is measured in the
# report of every encoder that stands beside it.
MEASURED = ["dataset", "size", "method", "augment", "encoder", "protocol", "labels", "fold", "seed"]
SIZES_NOTEBOOK = "06_downsampling"
# After the name of a data set that was measured on its own split and in a cross-validation too.
IN_FOLDS = ", in folds"
# The protocol of the rows that a report adds.
VERDICT = "verdict"


def read_summary(path: Path, *, short: bool = False) -> pd.DataFrame:
    """summary.csv as a table: labels and names as text, values as numbers.

    size is 0 where a row is about no image size, as in the verdicts of a report. short:
    augmentations are called as `lib.names.tell_apart` does, for tables and figures.
    """
    words = {c: str for c in COLUMNS if c not in ("value", "low", "high", "size")}
    blank = dict.fromkeys(("low", "high", "size"), "")
    table = pd.read_csv(path, dtype=words, keep_default_na=False, na_values=blank)
    table = table.assign(size=table["size"].fillna(0).astype(int))
    if short:
        table = table.assign(augment=table["augment"].map(tell_apart(table["augment"])))
    return table


def read_study(params: SimpleNamespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a report reads: the real rows of its study's summary.csv, and the synthetic ones.

    params: a report's parameters, `summary`, `results` and `study` among them. Verdicts of an
    earlier report are left out. Rows of 06_downsampling, which pretrains by a recipe of its own,
    stand last, so that `measurements` takes them only where nothing else was measured.
    """
    results = Path(params.results or ROOT / "results").expanduser()
    table = read_summary(summary_file(vars(params), results), short=True)
    table = table[table["protocol"] != VERDICT]
    table = table.sort_values("notebook", key=lambda name: name == SIZES_NOTEBOOK, kind="stable")
    synthetic = table["dataset"].map(is_synthetic).astype(bool)
    return table[~synthetic].reset_index(drop=True), table[synthetic].reset_index(drop=True)


def measurements(table: pd.DataFrame, metric: str = "auroc", split: str = "test") -> pd.DataFrame:
    """One row for each thing measured: the metric on a split, repeated floors once.

    The test images of a cross-validation are not those of a data set's own split: where a data set
    has both, they are two, the first with IN_FOLDS after its name.
    """
    rows = table[(table["metric"] == metric) & (table["split"] == split)]
    rows = rows.drop_duplicates(MEASURED)
    in_folds = rows["fold"] != ""
    both = set(rows.loc[in_folds, "dataset"]) & set(rows.loc[~in_folds, "dataset"])
    apart = in_folds & rows["dataset"].isin(both)
    return rows.assign(dataset=rows["dataset"].mask(apart, rows["dataset"] + IN_FOLDS))


def without_floors(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of what pretraining made, raw pixels and random encoders of every setting left out."""
    kept = [split_method(method)[0] not in FLOORS for method in rows["method"]]
    return rows[pd.Series(kept, index=rows.index, dtype=bool)]


def several_encoders(rows: pd.DataFrame) -> bool:
    """Whether a table must say which encoder a row is about."""
    return len(set(rows["encoder"]) - {""}) > 1


def hidden_runs(table: pd.DataFrame, metric: str = "auroc") -> list[str]:
    """Runs whose numbers `measurements` leaves out although they are not repeats.

    They differ from an earlier run in a parameter that is no column of summary.csv, such as the
    temperature, and gave another value (by more than 0.001).
    """
    rows = table[(table["metric"] == metric) & (table["split"] == "test")]
    first = rows.groupby(MEASURED)["value"].transform("first")
    return list(dict.fromkeys(rows[(rows["value"] - first).abs() > 0.001]["run"]))


def label_order(labels: Iterable[str]) -> list[str]:
    """Budgets from small to large, then `all`, then long tails (`tail 100`) from mild to steep.

    With a tail, what was cut of it (`25 per class, tail 100`) comes before the whole. Rows without
    a budget (``) come first, words of another kind last.
    """

    def place(label: str) -> tuple[int, float, float, str]:
        found = re.fullmatch(r"(?:(\d+)(?: per class)?)?(?:, )?(?:tail ([\d.]+))?", label)
        if not label or not found:
            return {"": 0, "all": 2}.get(label, 4), 0, 0, label
        count = float(found[1]) if found[1] else float("inf")
        return (3 if found[2] else 1), float(found[2] or 0), count, label

    return sorted(set(labels), key=place)


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and number of seeds of each measurement."""
    keys = [k for k in MEASURED if k not in ("seed", "fold")]
    grouped = rows.groupby(keys, sort=False)["value"]
    return grouped.agg(["mean", "std", "count"]).reset_index()


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of a few independent values with Student's t interval; no width known from one value."""
    from scipy import stats

    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, float("nan"), float("nan")
    spread = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * spread / n**0.5
    return mean, mean - half, mean + half


def paired_gains(
    table: pd.DataFrame, metric: str, ours: dict[str, str], other: dict[str, str]
) -> pd.DataFrame:
    """Differences ours − other seed by seed, with Student's t interval over the seeds.

    ours, other: values of summary columns that choose the two sides, e.g. method and augment;
    both with the same encoder, if both have one. The interval is that of
    `lib.statistics.paired.paired_test`, over seeds or over the folds of a cross-validation.
    Columns: dataset, size, encoder, labels, unit (seed or fold), pairs, mean, low, high.
    """
    rows = measurements(table, metric)
    keys = ["dataset", "size", "encoder", "labels", "fold", "seed"]
    sides = [rows[(rows[list(s)] == pd.Series(s)).all(axis=1)] for s in (ours, other)]
    # Raw pixels have no encoder to agree in.
    same = [k for k in keys if k != "encoder" or other.get("method") != "pixels"]
    merged = sides[0].merge(sides[1], on=same, suffixes=("", "_other"))
    gains = []
    for (dataset, size, encoder), group in merged.groupby(keys[:3], sort=False):
        for labels in label_order(group["labels"]):
            over = over_units(group[group["labels"] == labels], "value_other")
            t = over.test
            gains.append((dataset, size, encoder, labels, over.unit, t.n, t.mean, t.low, t.high))
    columns = ["dataset", "size", "encoder", "labels", "unit", "pairs", "mean", "low", "high"]
    return pd.DataFrame(gains, columns=columns)
