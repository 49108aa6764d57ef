"""What features look like, in tables and sentences that can also say "no clear difference"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.data.base import DataSet
from lib.evaluation.cloud import Cloud, Sample, chance_purity, compare_clouds
from lib.evaluation.projection import SHARE, Components
from lib.methods import FLOORS
from lib.models.embed import Features
from lib.names import name_source, plain
from lib.statistics.bootstrap import Difference

NAMES = {
    "silhouette": "silhouette (1 is best)",
    "knn_purity": "kNN purity (1 is best)",
    "alignment": "alignment (0 is best)",
    "uniformity": "uniformity (less is better)",
}
# What a difference above zero, and below, is called.
WORDS = {
    "silhouette": ("above", "**below**"),
    "knn_purity": ("above", "**below**"),
    "alignment": ("**wider apart** than", "closer together than"),
}


def name_cloud(cloud: Cloud) -> str:
    """The features of one method as printed."""
    return name_source(cloud.source, cloud.augment)


def pick_features(
    clouds: Sequence[Cloud], shown: npt.NDArray[np.bool_] | None = None
) -> dict[str, Features]:
    """Features of the images shown, or of all, by printed name: float32 [n, D]."""
    return {name_cloud(c): c.h if shown is None else c.h[shown] for c in clouds}


def main_cloud(clouds: Sequence[Cloud]) -> Cloud:
    """The features a reader came for: the pretrained encoder's, else the first."""
    return next((c for c in clouds if c.source not in FLOORS), clouds[0])


def say_sample(sample: Sample, data: DataSet, notes: Sequence[str]) -> str:
    """Which images are looked at, what the positive pairs are, and how points are coloured."""
    n = len(sample.rows)
    which = "all" if n == sample.total else f"{n:,} (drawn at random) of the"
    lines = [f"{which} {sample.total:,} {sample.view} images".capitalize() + " are looked at."]
    if data.task == "multi-label":
        lines.append(
            "An image with a single label has that label's colour; images with several, and with "
            "none, are two groups of their own. Silhouettes need one class an image, so there are "
            "none here; purity counts neighbours that share a label."
        )
    elif data.task == "ordinal":
        lines.append("Colours follow the order of the grades; the numbers take grades as classes.")
    elif len(np.unique(sample.y)) < 2:
        lines.append("Only one class is among them: silhouettes are not defined.")
    return "\n".join(f"- {line}" for line in [*lines, *map(plain, notes)])


def numbers_table(clouds: Sequence[Cloud], components: Mapping[str, Components]) -> pd.DataFrame:
    """Metrics (rows) by features (columns), with 95% intervals where there are any."""
    columns: dict[str, dict[str, str]] = {}
    for c in clouds:
        column = {}
        for metric, value in c.values.items():
            cell, interval = f"{value:.3f}", c.intervals.get(metric)
            if interval:
                cell += f" ({interval.low:.3f} to {interval.high:.3f})"
            column[NAMES[metric]] = cell
        own = components[name_cloud(c)]
        column[f"components for {SHARE:.0%} of the variance"] = f"{own.needed:,}"
        column["features"] = f"{c.h.shape[1]:,}"
        columns[name_cloud(c)] = column
    return pd.DataFrame(columns)


def say_features(clouds: Sequence[Cloud], data: DataSet, bootstrap: int, seed: int) -> str:
    """Whether the encoder's features group classes better than the floors', and spread wider."""
    mine = main_cloud(clouds)
    others = [c for c in clouds if c is not mine]
    lines = []
    if mine.source in FLOORS:
        lines += ["Only floors were measured: there is no pretrained encoder here.", ""]
    for metric in mine.measures:
        text = f"- **{NAMES[metric]}**: {name_cloud(mine)} has {mine.values[metric]:.3f}"
        if metric == "knn_purity":
            text += f", chance {chance_purity(mine.sample.y, len(data.classes)):.3f}"
        for other in others:
            if not mine.intervals:
                text += f"; with so few groups nothing can be said against {name_cloud(other)}"
                continue
            d = compare_clouds(mine, other, bootstrap, seed)[metric]
            text += f"; {in_words(d, metric, name_cloud(other))}"
        lines.append(text + ".")
    values = ", ".join(f"{name_cloud(c)} {c.values['uniformity']:.3f}" for c in clouds)
    text = f"- **{NAMES['uniformity']}**: {values}. Alignment and uniformity are read together: "
    text += "features that are all alike are perfectly aligned, and not uniform at all."
    return "\n".join([*lines, text])


def in_words(d: Difference, metric: str, name: str) -> str:
    """A paired difference from `name` in words, `no clear difference` when its interval holds 0."""
    span = f"{d.value:+.3f}, 95% interval {d.low:+.3f} to {d.high:+.3f}"
    more, less = WORDS[metric]
    if d.low > 0:
        return f"{more} {name} by {span}"
    if d.high < 0:
        return f"{less} {name}: {span}"
    return f"no clear difference from {name} ({span})"


def headline(clouds: Sequence[Cloud]) -> str:
    """One line for the study's index: the main features in numbers."""
    main = main_cloud(clouds)
    words = {k: k.replace("knn_", "kNN ") for k in main.values}
    values = ", ".join(f"{words[k]} {v:.3f}" for k, v in main.values.items())
    return f"{name_cloud(main)}: {main.sample.view} {values}"
