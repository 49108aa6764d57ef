"""The features of one view of a data set, measured: from the encoder and from the floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.augment import Pipeline, make_augment
from lib.checks import ParameterError
from lib.data.base import DataError, DataSet, labels_of
from lib.evaluation.evaluate import PIXELS, made_by
from lib.evaluation.representation import (
    alignment,
    embed_plain,
    embed_two_views,
    knn_purity,
    silhouette_is_defined,
    silhouettes,
    uniformity,
)
from lib.evaluation.retrieval import intervals_of
from lib.evaluation.sources import source_encoders
from lib.models.embed import Features
from lib.models.weights import read_header
from lib.run import Run
from lib.statistics.bootstrap import Difference, Interval
from lib.statistics.means import mean_values, paired_means

Array = npt.NDArray[np.float64]
# Positive pairs of an encoder whose augmentation is not known: SimCLR's own sequence.
USUAL = "natural"


@dataclass(frozen=True)
class Sample:
    """The images looked at. rows: int64 [N], places in the split `view`, in order; y: their labels;
    groups: [N] or None; total: images of the split.
    """

    view: str
    rows: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_] | None
    total: int


@dataclass(frozen=True)
class Cloud:
    """One method's features of a sample. h: float32 [N, D]; measures: metric → float64 [N], NaN for
    images it is not defined for; values: their means, and `uniformity`, which is one of pairs;
    intervals: of the means.
    """

    source: str
    augment: str
    sample: Sample
    h: Features
    measures: dict[str, Array]
    values: dict[str, float]
    intervals: dict[str, Interval]


def choose_sample(data: DataSet, view: str, max_points: int, seed: int) -> Sample:
    """At most `max_points` images of a split, drawn at random; DataError without labels."""
    y, split = labels_of(data, view), data.splits[view]
    rows = np.sort(np.random.default_rng([seed, 43]).permutation(len(y))[:max_points])
    if len(rows) < 10:
        raise DataError(f"view: {view} has {len(rows)} images; a map of features needs ten")
    groups = None if split.groups is None else split.groups[rows]
    return Sample(view, rows.astype(np.int64), y[rows], groups, len(y))


def shown_classes(data: DataSet, names: str) -> list[int]:
    """The classes that `classes_shown` names, all of them where it is empty.

    Names stand between commas and may hold commas themselves; case does not matter. Raises
    ParameterError for a name that is no class, with those that are.
    """
    known = {str(name).casefold(): k for k, name in enumerate(data.classes)}
    parts, found = names.split(","), set()
    while parts and names.strip():
        # The longest run of parts that is a name.
        for n in range(len(parts), 0, -1):
            name = ",".join(parts[:n]).strip().casefold()
            if name in known:
                found.add(known[name])
                del parts[:n]
                break
        else:
            raise ParameterError(
                f"classes_shown: {parts[0].strip()!r} is no class of {data.title}; "
                f"there are {', '.join(map(str, data.classes))}"
            )
    return sorted(found) or list(range(len(data.classes)))


def is_shown(sample: Sample, classes: Sequence[int], of: int) -> npt.NDArray[np.bool_]:
    """Which images of a sample are of the chosen classes, bool [N]; of: how many there are.

    Multi-label: those with at least one of the labels; with all classes chosen, every image.
    Raises ParameterError where fewer than ten are left: too few for a map.
    """
    if len(classes) == of:
        return np.ones(len(sample.rows), bool)
    chosen = list(classes)
    y = sample.y
    shown = y[:, chosen].any(axis=1) if y.ndim == 2 else np.isin(y, chosen)
    if shown.sum() < 10:
        raise ParameterError(
            f"classes_shown: {shown.sum()} of the {len(y):,} images drawn are of these classes; "
            "a map needs ten: choose more classes, or a larger max_points"
        )
    return np.asarray(shown)


def positive_views(data: DataSet, run: Run) -> tuple[Pipeline, str]:
    """The augmentation that makes positive pairs, for every method alike, and a sentence on it.

    The encoder's own, by what its file says; SimCLR's sequence where nothing is known of one.
    """
    name, scale = run.origin.augment, 0.0
    if str(run.params.init).endswith(".safetensors"):
        scale = float(read_header(run.params.init)["parameters"].get("crop_scale") or 0)
    crop = (scale, 1.0) if scale else None
    pipeline = make_augment(name or USUAL, data.size, data.channels, crop_scale=crop)
    if name:
        return pipeline, f"Positive pairs are views by the encoder's own augmentation, {name}."
    why = "no augmentation is known of the encoder, so SimCLR's sequence is taken"
    return pipeline, f"Positive pairs are views by *{USUAL}*: {why}."


def measure_clouds(
    data: DataSet, run: Run, sample: Sample, augment: Pipeline, *, knn_k: int, bootstrap: int
) -> list[Cloud]:
    """Features of the sample from the run's encoder and the floors, and what they come to.

    Metrics: `silhouette` (one label an image, two classes or more), `knn_purity`, `alignment` over
    two views by `augment`, `uniformity`. Intervals: 95%, over images or their groups, each image's
    value taken as given; none for uniformity, a number about pairs.
    """
    images = np.asarray(data.splits[sample.view].images[sample.rows])
    p, clouds = run.params, []
    for source, encoder in source_encoders(data, run).items():
        where = run.device, run.precision
        h = embed_plain(encoder, images, *where)
        measures = {}
        if silhouette_is_defined(sample.y, data.task):
            measures["silhouette"] = silhouettes(h, sample.y)
        if sample.y.ndim == 1 or sample.y.any():
            measures["knn_purity"] = knn_purity(h, sample.y, knn_k)
        measures["alignment"] = alignment(
            *embed_two_views(encoder, images, augment, p.seed, *where)
        )
        values = mean_values(measures) | {"uniformity": uniformity(h)}
        intervals = intervals_of(measures, sample.groups, bootstrap, p.seed)
        made = made_by(source, run.origin.augment)
        clouds.append(Cloud(source, made, sample, h, measures, values, intervals))
    return clouds


def compare_clouds(a: Cloud, b: Cloud, bootstrap: int, seed: int) -> dict[str, Difference]:
    """Paired differences a − b of the means over the same images."""
    return paired_means(a.measures, b.measures, a.sample.groups, n=bootstrap, seed=seed)


def chance_purity(y: npt.NDArray[np.int64], classes: int) -> float:
    """The kNN purity expected of features that know nothing: how often two images share a label."""
    if y.ndim == 1:
        counts = np.bincount(y, minlength=classes)
        return float((counts * (counts - 1)).sum() / (len(y) * (len(y) - 1)))
    carries = y.sum(axis=1) > 0
    shared = (y[carries] @ y.T > 0).sum() - carries.sum()
    return float(shared / (carries.sum() * (len(y) - 1)))


def cloud_rows(clouds: Sequence[Cloud], run: Run, encoder: str) -> list[dict[str, Any]]:
    """Rows of summary.csv; encoder: the architecture embedded with."""
    return [
        run.row(
            metric,
            value,
            method=c.source,
            augment=c.augment,
            encoder="" if c.source == PIXELS else encoder,
            protocol="features",
            labels="all",
            split=c.sample.view,
            low=c.intervals[metric].low if metric in c.intervals else "",
            high=c.intervals[metric].high if metric in c.intervals else "",
        )
        for c in clouds
        for metric, value in c.values.items()
    ]
