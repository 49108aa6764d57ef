"""Image size against quality against cost: the same pretraining and probe at several sizes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import lib.training.trainer  # noqa: F401  what Lightning imports must not count as a training's memory
from lib.data.base import UNLABELLED, DataError, DataSet
from lib.data.unlabelled import count_pretraining
from lib.evaluation.evaluate import Budget, Evaluated, probe_features, result_rows
from lib.files import write_json, write_text
from lib.models.embed import embed_splits
from lib.models.encoder import Encoder, build_encoder, freeze
from lib.params import as_list
from lib.run import Run
from lib.training.contrastive import Recipe, Row
from lib.training.cost import Cost, PeakMemory
from lib.training.pretrain import Pretraining, pretrain, supcon_labels

FLOOR = "random"


@dataclass(frozen=True)
class AtSize:
    """What images of one size come to.

    method: of the pretrained encoder; architecture: its own. results: logistic regression and kNN
    on its features and, with floors, on those of an untrained encoder. history, selected: of its
    pretraining. notes: of the data set at this size.
    """

    size: int
    method: str
    architecture: str
    results: list[Evaluated]
    cost: Cost
    history: list[Row]
    selected: int
    notes: tuple[str, ...] = ()

    def test(self, labels: str, method: str = "", protocol: str = "probe") -> Evaluated | None:
        """The result on the test split; method: the pretrained encoder's unless given."""
        key = (method or self.method, protocol, labels, "test")
        for r in self.results:
            if (r.source, r.protocol, r.labels, r.predictions.split) == key:
                return r
        return None


def study_sizes(run: Run, budgets: Sequence[Budget]) -> list[AtSize]:
    """Pretrain and probe at each of the run's `sizes`, the smallest first.

    The recipe, the labelled images and the test images are the same at every size; so are the
    augmentation's settings, blur in pixels included. Trainings lie in `checkpoints/size-N` of the
    run's folder, from where an interrupted run goes on. Raises DataError where the images at two
    sizes are not the same ones.
    """
    sizes = sorted(int(size) for size in as_list(run.params.sizes))
    first: DataSet | None = None
    found = []
    for i, size in enumerate(sizes):
        write_text(run.folder / "progress", f"size {size} px ({i + 1}/{len(sizes)})\n")
        data = run.load_at(size)
        first = first or data
        check_same_images(first, data)
        found.append(study_size(run, data, budgets))
    return found


def check_same_images(a: DataSet, b: DataSet) -> None:
    """DataError unless two data sets hold the same images and labels in the same order."""
    pairs = [(name, split, b.splits[name]) for name, split in a.splits.items()]
    if (a.unlabelled is None) != (b.unlabelled is None):
        raise DataError(f"{a.name}: only one of {a.size} px and {b.size} px has unlabelled images")
    if a.unlabelled is not None and b.unlabelled is not None:
        pairs.append((UNLABELLED, a.unlabelled, b.unlabelled))
    for name, split, other in pairs:
        same = np.array_equal(split.ids, other.ids)
        if split.y is not None and other.y is not None:
            same = same and np.array_equal(split.y, other.y)
        if not same:
            raise DataError(
                f"{a.name}: the {name} images at {a.size} px are not those at {b.size} px: "
                f"{len(split):,} and {len(other):,}; sizes can only be compared on the same images"
            )


def study_size(run: Run, data: DataSet, budgets: Sequence[Budget]) -> AtSize:
    """Pretrain at the size of `data`, measure what it costs, and probe the features."""
    p = run.params
    result, cost = measured_pretraining(run, data)
    method = trained_method(run)
    encoder = result.encoder
    sources = {method: embed_splits(freeze(encoder), data, run.device, run.precision)}
    if p.floors:
        floor = freeze(untrained_like(encoder, data, p.seed))
        sources[FLOOR] = embed_splits(floor, data, run.device, run.precision)
    about = {"augment": p.augment, "knn_k": p.knn_k, "bootstrap": p.bootstrap, "seed": p.seed}
    results = probe_features(sources, data, budgets, **about)
    return AtSize(
        data.size,
        method,
        encoder.architecture,
        [with_size(r, data.size) for r in results],
        cost,
        result.history,
        result.selected,
        data.notes,
    )


def measured_pretraining(run: Run, data: DataSet) -> tuple[Pretraining, Cost]:
    """Pretrain at one size, or go on with it; time and memory are those of the training itself."""
    folder = run.folder / "checkpoints" / f"size-{data.size}"
    noted = folder / "cost.json"
    with PeakMemory(run.device) as memory:
        result = pretrain(
            data,
            Recipe.of(run.params),
            folder,
            device=run.device,
            precision=run.precision,
            layout=run.layout,
            show_progress=run.interactive,
            labelled=supcon_labels(data, run.params),
        )
    if noted.exists():
        # Taken up after it was done: reading a checkpoint says nothing of the memory of training.
        return result, Cost(**json.loads(noted.read_text(encoding="utf-8")))
    cost = Cost.of(result.history, count_pretraining(data), memory.peak_mb)
    write_json(noted, cost.as_dict())
    return result, cost


def trained_method(run: Run) -> str:
    """What summary.csv calls the encoders that the run pretrains."""
    p = run.params
    made = run.origin.trained_on(p.dataset, p.method, p.augment, run.name, p.variant)
    return made.method_on(p.dataset)


def untrained_like(encoder: Encoder, data: DataSet, seed: int) -> Encoder:
    """An encoder of the same architecture with random weights, for images as `data` has them."""
    return build_encoder(encoder.architecture, encoder.stem, data.channels, seed=seed)


def with_size(r: Evaluated, size: int) -> Evaluated:
    """The same result, its predictions told apart from those at other sizes."""
    key = {"size": str(size), **r.predictions.key}
    return dataclasses.replace(r, predictions=dataclasses.replace(r.predictions, key=key))


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[bool]:
    """Which points no other point beats: none is as cheap and as good, and better in one of both.

    costs: less is better; values: more is better.
    """
    points = list(zip(costs, values, strict=True))
    return [
        not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
        for cost, value in points
    ]


def size_rows(found: Sequence[AtSize], run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv: every metric at every size, and what each pretraining cost."""
    p, rows = run.params, []
    for at in found:
        rows += [{**row, "size": at.size} for row in result_rows(at.results, run, at.architecture)]
        values = {
            "seconds": at.cost.seconds,
            "images_per_second": at.cost.images_per_second,
            "peak_memory_mb": at.cost.peak_memory_mb,
        }
        about = {
            "size": at.size,
            "method": at.method,
            "encoder": at.architecture,
            "protocol": "pretrain",
            "labels": p.seen_labels if p.method == "supcon" else "",
            "split": "train",
        }
        rows += [run.row(m, value, **about) for m, value in values.items() if value is not None]
    return rows


def save_histories(found: Sequence[AtSize], run: Run) -> None:
    """Write history.csv: every epoch of every pretraining, with its size."""
    columns = list(dict.fromkeys(key for at in found for row in at.history for key in row))
    lines = [",".join(["size", *columns])]
    for at in found:
        for row in at.history:
            cells = [f"{row[c]:.7g}" if c in row else "" for c in columns]
            lines.append(",".join([str(at.size), *cells]))
    write_text(run.folder / "history.csv", "\n".join(lines) + "\n")
