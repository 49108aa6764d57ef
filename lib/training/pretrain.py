"""Contrastive pretraining from data to encoder, and the files it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from lib.augment import make_augment
from lib.data.base import DataError, DataSet
from lib.data.budget import choose_labels
from lib.data.store import ImageStore
from lib.data.unlabelled import beside_train, count_pretraining, pretraining_images
from lib.files import write_text
from lib.identity import commit, slug
from lib.models.embed import LAYOUTS
from lib.models.encoder import Encoder, freeze_stages, unfreeze
from lib.models.weights import load_init, save_encoder
from lib.params import PARAMETERS
from lib.run import Run
from lib.training.batches import EpochBatches
from lib.training.contrastive import ContrastiveModule, Recipe, Row
from lib.training.monitor import KnnMonitor
from lib.training.ranks import ALONE, Crew, from_first


@dataclass
class Pretraining:
    """What pretraining leaves. encoder: of the selected epoch, in eval mode, on the CPU.

    history: a row for each epoch; selected: the epoch kept (1 is the first); auroc_before,
    auroc: validation kNN AUROC of the untrained and of the selected encoder, auroc_error its
    standard error; None without labels. chance: the loss of a batch in which every view is like
    every other.
    """

    encoder: Encoder
    history: list[Row]
    selected: int
    auroc_before: float | None
    auroc: float | None
    seconds: float
    images: int = field(default=0)
    auroc_error: float | None = None
    chance: float | None = None

    @property
    def images_per_second(self) -> float:
        """Training images per second, two views each, monitor included."""
        return self.images / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Work:
    """All that a process needs to take part in a pretraining.

    data: training and validation split, and the unlabelled images that are trained on. y: labels
    that SupCon may see, [N] or [N, K] of all images trained on. crew: who takes part.
    """

    data: DataSet
    recipe: Recipe
    folder: Path
    device: str
    precision: str
    layout: str
    y: torch.Tensor | None
    crew: Crew
    show_progress: bool


def pretrain(
    data: DataSet,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    layout: str = "channels_last",
    crew: Crew = ALONE,
    show_progress: bool = False,
    labelled: npt.NDArray[np.int64] | None = None,
) -> Pretraining:
    """Pretrain an encoder on the training images of `data`, and the unlabelled ones beside them.

    SimCLR: labels serve the kNN monitor only. SupCon: those of the training images at `labelled`
    (all unless given) make positives; the other images have only their own second view.

    folder: gets `logs/` (CSV and TensorBoard), `checkpoints/last.ckpt`, from which an interrupted
    run of the same folder goes on, and `progress`, a line a runner may show. crew: of several
    processes shares each batch out, and gives the same numbers up to rounding. Raises DataError
    with fewer than two training images, or with batches of fewer images than processes.
    """
    n = count_pretraining(data)
    if n < 2:
        raise DataError(f"{data.name}: {n} training image(s); pretraining needs two")
    batches = len(EpochBatches(n, recipe.batch_size, recipe.seed, lambda: 0))
    if n // batches < crew.size:
        raise DataError(
            f"{data.name}: batches of {n // batches} image(s) cannot be shared by "
            f"{crew.size} processes; raise batch_size or lower devices"
        )
    y = visible_labels(data, labelled) if recipe.method == "supcon" else None
    # Without the test split nobody knows its groups any more: chosen here.
    kept = {name: data.splits[name] for name in ("train", "val")}
    seen = replace(data, splits=kept, unlabelled=beside_train(data))
    work = Work(seen, recipe, folder, device, precision, layout, y, crew, show_progress)
    found = train_here(work) if crew.size == 1 else train_together(work)
    encoder = build(work)
    encoder.load_state_dict(found["best"])
    error = found["error"]
    return Pretraining(
        unfreeze(encoder).eval(),
        found["history"],
        found["selected"],
        found["auroc_before"],
        found["auroc"] if error is not None else None,
        sum(row["seconds"] for row in found["history"]),
        n * len(found["history"]),
        error,
        math.log(2 * n / batches - 1),
    )


def build(work: Work) -> Encoder:
    """The encoder that a pretraining starts from."""
    recipe = work.recipe
    # A file's encoder keeps its channels: images of another kind are adapted on their way in.
    channels = work.data.channels if recipe.init in ("scratch", "imagenet") else None
    encoder, _ = load_init(recipe.init, recipe.encoder, recipe.stem, channels, seed=recipe.seed)
    return freeze_stages(encoder.to(memory_format=LAYOUTS[work.layout]), recipe.freeze_stages)


def train_here(work: Work) -> dict[str, Any]:
    """Train, as one process or as one of several; what was found, and the AUROC's error."""
    from lib.training.trainer import fit

    data, recipe, crew = work.data, work.recipe, work.crew
    device = crew.device(work.device)
    scale = (recipe.crop_scale, 1.0) if recipe.crop_scale else None
    augment = make_augment(recipe.augment, data.size, data.channels, crop_scale=scale)
    monitor = None
    if crew.rank == 0:
        monitor = KnnMonitor.of(data, recipe.knn_k, device, work.precision, recipe.seed)
    store = ImageStore(pretraining_images(data), device)
    module = ContrastiveModule(
        build(work), augment, store, recipe, monitor, work.precision, work.y, work.layout
    )
    fit(
        module,
        work.folder,
        epochs=recipe.epochs,
        device=device,
        show_progress=work.show_progress,
        crew=crew,
        what="Pretraining",
    )
    error = monitor.standard_error(module.auroc) if monitor is not None else None
    return from_first(module.found() | {"error": error}, crew.num_nodes > 1)


def train_together(work: Work) -> dict[str, Any]:
    """Train in several processes, while this one shows the progress."""
    from lib.training.launch import launch
    from lib.training.trainer import watch_progress

    task = partial(train_here, replace(work, show_progress=False))
    with watch_progress(work.folder, work.recipe.epochs, work.show_progress) as watch:
        return launch(task, work.crew, work.folder / "checkpoints", watch)


def supcon_labels(data: DataSet, params: SimpleNamespace) -> npt.NDArray[np.int64] | None:
    """Training images whose labels SupCon may see, by `seen_labels`; None for SimCLR.

    The same images that a probe with this budget and seed is fitted on. Raises DataError for
    several budgets: an encoder has seen one.
    """
    if params.method != "supcon":
        return None
    seen = params.seen_labels
    if "," in seen:
        raise DataError(f"seen_labels: {seen}; pretraining takes one budget, or all")
    count: int | Literal["all"] = "all" if seen == "all" else int(seen)
    chosen = choose_labels(data.splits["train"].y, count, seed=params.seed, classes=data.classes)
    return chosen.indices


def visible_labels(data: DataSet, labelled: npt.NDArray[np.int64] | None) -> torch.Tensor:
    """Labels int64 [N] or [N, K] of `pretraining_images` that SupCon may see.

    The others, and those of unlabelled images, are −1 (or all 0).
    Raises DataError for a data set without labels, or where no two labelled images share one:
    every batch would be without a pair, and SupCon nothing but SimCLR.
    """
    y = data.splits["train"].y
    if y is None:
        raise DataError(f"{data.name}: method: supcon needs labels; without any, use simclr")
    labels = y.astype(np.int64)
    if labelled is not None:
        hidden = np.setdiff1d(np.arange(len(labels)), labelled)
        labels[hidden] = 0 if labels.ndim == 2 else -1
    known = labels[labels >= 0] if labels.ndim == 1 else labels
    counts = np.bincount(known) if labels.ndim == 1 else known.sum(axis=0)
    if counts.max(initial=0) < 2:
        raise DataError(
            f"{data.name}: method: supcon: no two labelled training images share a label; "
            "give more labels, or use simclr"
        )
    unknown = count_pretraining(data) - len(labels)
    padding = ((0, unknown), (0, 0)) if labels.ndim == 2 else (0, unknown)
    return torch.from_numpy(np.pad(labels, padding, constant_values=0 if labels.ndim == 2 else -1))


def save_pretraining(result: Pretraining, data: DataSet, run: Run) -> None:
    """Write encoder.safetensors and history.csv into the run's folder."""
    save_encoder(
        run.folder / "encoder.safetensors",
        result.encoder,
        encoder_header(data, run, run.params.method, epoch=result.selected),
    )
    columns = list(dict.fromkeys(key for row in result.history for key in row))
    lines = [",".join(columns)]
    lines += [
        ",".join(f"{row[c]:.7g}" if c in row else "" for c in columns) for row in result.history
    ]
    write_text(run.folder / "history.csv", "\n".join(lines) + "\n")


def encoder_header(data: DataSet, run: Run, method: str, **more: Any) -> dict[str, Any]:
    """What the file of an encoder says of its making. method: how it was trained, last of all."""
    p = run.params
    used = {k: v for k, v in vars(p).items() if PARAMETERS[k].in_hash}
    used |= {"init": run.origin.identity, "dataset": slug(data.name), "run": run.name}
    used.setdefault("augment", run.origin.augment)
    return {
        "size": data.size,
        "dataset": slug(data.name),
        "data": data.fingerprint,
        "method": method,
        "trail": list(run.origin.trained_on(p.dataset, method, "", run.name).trail),
        "parameters": used,
        "commit": commit(),
        **more,
    }


def pretraining_rows(result: Pretraining, run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv: the loss, the monitor, the epoch kept, the speed."""
    p = run.params
    made = run.origin.trained_on(p.dataset, p.method, p.augment, run.name, p.variant)
    known = {
        "method": made.method_on(p.dataset),
        "encoder": p.encoder,
        "protocol": "pretrain",
        "labels": p.seen_labels if p.method == "supcon" else "",
    }
    values: dict[str, tuple[str, float | None]] = {
        "loss": ("train", result.history[-1]["loss"]),
        "epoch_selected": ("val", float(result.selected)),
        "knn_auroc_untrained": ("val", result.auroc_before),
        "knn_auroc": ("val", result.auroc),
        "images_per_second": ("train", result.images_per_second),
        "seconds": ("train", result.seconds),
    }
    return [
        run.row(metric, value, split=split, **known)
        for metric, (split, value) in values.items()
        if value is not None
    ]
