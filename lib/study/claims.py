"""Which rows of a study speak on which claim of the seeds: the comparisons behind each verdict."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import pandas as pd

from lib.methods import FLOORS, scratch_like, split_method
from lib.statistics.paired import compare, concat_cells
from lib.study.fairness import fairly
from lib.study.measurements import SIZES_NOTEBOOK, measurements
from lib.study.verdicts import Rule, Verdict, decide

TRAINED = ("probe", "finetune")


def named_rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Test measurements of a metric, the method also in its parts: base, source, variant.

    Those of 06_downsampling are not among them: it pretrains by a recipe of its own.
    """
    return split_methods(measurements(table[table["notebook"] != SIZES_NOTEBOOK], metric))


def split_methods(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the parts of their method as columns base, source and variant."""
    parts = [split_method(method) for method in rows["method"]]
    names = pd.DataFrame(parts, columns=["base", "source", "variant"], index=rows.index)
    return pd.concat([rows, names], axis=1)


def own_simclr(rows: pd.DataFrame) -> pd.DataFrame:
    """SimCLR pretrained on the data set itself, probed or finetuned."""
    own = (rows["base"] == "simclr") & (rows["source"] == "")
    return rows[own & rows["protocol"].isin(TRAINED)]


def over_scratch(ours: pd.DataFrame, rows: pd.DataFrame, level: float) -> pd.DataFrame:
    """What probes and finetuned networks gain over training from scratch, cell by cell.

    A finetuned network is compared with training from scratch by the same setting, where that was
    trained (`lib.methods.scratch_like`). ours, rows: as from `named_rows`.
    """
    scratch = rows[(rows["base"] == "random") & (rows["protocol"] == "finetune")]
    place = ["dataset", "size", "encoder", "labels"]
    known = scratch.groupby(place)["method"].agg(set).to_dict()
    rivals = [
        scratch_like(row["method"], known.get(tuple(row[k] for k in place), ()))
        if row["protocol"] == "finetune"
        else "random"
        for row in ours.to_dict("records")
    ]
    named = pd.Series(rivals, index=ours.index, dtype=str)
    scratch = scratch.assign(rival=scratch["method"].astype(str))
    return compare(ours.assign(rival=named), scratch, ["size", "rival"], level)


def cross_entropy(rows: pd.DataFrame, method: str = "random") -> pd.DataFrame:
    """The supervised baseline: the same architecture trained whole, from scratch by default."""
    return rows[(rows["method"] == method) & (rows["protocol"] == "finetune")]


def over_baseline(table: pd.DataFrame, metric: str, level: float) -> pd.DataFrame:
    """SimCLR on the data set itself against the same architecture trained from scratch."""
    rows = named_rows(table, metric)
    return over_scratch(own_simclr(rows), rows, level)


def over_untrained(table: pd.DataFrame, metric: str, level: float) -> pd.DataFrame:
    """SimCLR on the data set itself against the untrained encoder, both frozen."""
    rows = named_rows(table, metric)
    rows = rows[rows["protocol"] == "probe"]
    return compare(own_simclr(rows), rows[rows["method"] == "random"], ["size"], level)


def novel_over_natural(table: pd.DataFrame, metric: str, level: float) -> pd.DataFrame:
    """The augmentation sequence novel against natural, all else equal."""
    own = own_simclr(named_rows(table, metric))
    novel, natural = (own[own["augment"] == name] for name in ("novel", "natural"))
    return compare(novel, natural, ["size", "method", "protocol"], level)


def transfer_over_own(table: pd.DataFrame, metric: str, level: float) -> pd.DataFrame:
    """SimCLR from another data set, also if pretrained further, against SimCLR on the data set."""
    rows = named_rows(table, metric)
    own = own_simclr(rows)
    foreign = rows[(rows["base"] == "simclr") & (rows["source"] != "")]
    foreign = foreign[foreign["protocol"].isin(TRAINED)]
    foreign, own = (part.assign(views=views_at_home(part, own)) for part in (foreign, own))
    return compare(foreign, own, ["size", "protocol", "views", "variant"], level)


def views_at_home(rows: pd.DataFrame, own: pd.DataFrame) -> list[str]:
    """The augmentation of the data set's own encoders that each row is to be compared with.

    The row's own where the data set has an encoder with it. A source may have views that suit its
    images and no others, such as rotations; it then stands against the one augmentation that the
    data set's own encoders have, and against none where they have several.
    """
    place = ["dataset", "size", "encoder", "variant"]
    known = own.groupby(place)["augment"].unique().to_dict()

    def choose(row: Mapping[Hashable, object]) -> str:
        at_home = [str(a) for a in known.get(tuple(row[name] for name in place), ())]
        augment = str(row["augment"])
        return at_home[0] if len(at_home) == 1 and augment not in at_home else augment

    return [choose(row) for row in rows.to_dict("records")]


def undersampling(table: pd.DataFrame, metric: str, level: float) -> pd.DataFrame:
    """Classes cut to equal numbers against every labelled image that there was, without a remedy.

    A cell is named by what was left, `25 per class`; the other side has all labels, or the same
    long tail (`25 per class, tail 100` against `tail 100`).
    """
    rows = named_rows(table, metric)
    rows = rows[(rows["base"] != "random") | rows["protocol"].str.startswith("finetune")]
    cut = rows[rows["protocol"].isin([f"{name}+undersample" for name in TRAINED])]
    cut = cut.assign(trained=cut["protocol"].str.removesuffix("+undersample"))
    plain = rows[rows["protocol"].isin(TRAINED)]
    plain = plain.assign(trained=plain["protocol"])
    parts = [compare(cut.head(0), plain, ["size"], level)]
    for kept, group in cut.groupby("labels", sort=False):
        whole = str(kept).partition(", ")[2] or "all"
        same = ["size", "method", "augment", "trained"]
        parts.append(compare(group.assign(labels=whole), plain, same, level).assign(labels=kept))
    return concat_cells(parts)


def supcon_over_cross_entropy(table: pd.DataFrame, metric: str, level: float) -> pd.DataFrame:
    """SupCon's features against cross-entropy, both from the same start and with the same labels.

    Cross-entropy is the network trained whole, and the probe of its features where there is one.
    """
    rows = named_rows(table, metric)
    supcon = rows[(rows["base"] == "supcon") & rows["protocol"].isin(TRAINED)]
    supcon = fairly(table, supcon)
    from_imagenet = supcon["source"].str.startswith("imagenet>")
    probed = rows[(rows["base"] == "supervised") & (rows["protocol"] == "probe")]
    return concat_cells(
        [
            over_scratch(supcon[supcon["source"] == ""], rows, level),
            compare(supcon[from_imagenet], cross_entropy(rows, "imagenet"), ["size"], level),
            compare(supcon, probed, ["size", "protocol", "source"], level),
        ]
    )


def downsampled(table: pd.DataFrame, metric: str, level: float, tolerance: float) -> pd.DataFrame:
    """Images made smaller against the largest ones studied, all else equal.

    The sizes come from 06_downsampling, which gives all of them one recipe, where it was run.
    Tested is whether the loss stays within `tolerance` points (hundredths): the margin of a cell.
    """
    own = table[table["notebook"] == SIZES_NOTEBOOK]
    rows = split_methods(measurements(table if own.empty else own, metric))
    rows = rows[~rows["base"].isin(FLOORS) & rows["protocol"].isin(TRAINED)]
    kind = ["dataset", "method", "augment", "encoder", "protocol", "labels"]
    largest = rows.groupby(kind)["size"].transform("max")
    same = ["method", "augment", "protocol"]
    small, full = rows[rows["size"] < largest], rows[rows["size"] == largest]
    return compare(small, full, same, level, margin=-tolerance / 100)


Comparison = Callable[[pd.DataFrame, str, float], pd.DataFrame]
# Claim → what is compared, by which rule it is decided, and on which metric if not the report's.
COMPARISONS: dict[str, tuple[Comparison, Rule, str]] = {
    "pretraining": (over_baseline, "general", ""),
    "pretraining_accuracy": (over_baseline, "general", "accuracy"),
    "pretraining_frozen": (over_untrained, "general", ""),
    "novel": (novel_over_natural, "consistent", ""),
    "transfer": (transfer_over_own, "general", ""),
    "undersampling": (undersampling, "general", "balanced_accuracy"),
    "undersampling_accuracy": (undersampling, "general", "accuracy"),
    "supcon": (supcon_over_cross_entropy, "general", ""),
}


def judge(
    table: pd.DataFrame, metric: str = "auroc", level: float = 0.95, tolerance: float = 1.0
) -> dict[str, Verdict]:
    """The verdict on every claim, from the real rows of a study or from its synthetic ones.

    metric: of the comparisons that name none of their own. tolerance: points that smaller images
    may cost. p values are corrected within a claim, not over claims.
    """
    verdicts = {}
    for claim, (comparison, rule, own_metric) in COMPARISONS.items():
        name = own_metric or metric
        verdicts[claim] = decide(claim, comparison(table, name, level), name, rule, level)
    cells = downsampled(table, metric, level, tolerance)
    verdicts["downsampling"] = decide("downsampling", cells, metric, "some", level)
    return verdicts
