"""Contrastive pretraining from data to encoder, and the files it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib.augment import make_augment
from lib.contrastive import ContrastiveModule, Recipe, Row
from lib.data.base import DataError, DataSet
from lib.encoder import Encoder
from lib.files import write_text
from lib.identity import commit, slug
from lib.monitor import KnnMonitor
from lib.params import PARAMETERS
from lib.run import Run
from lib.store import ImageStore
from lib.weights import load_init, save_encoder


@dataclass
class Pretraining:
    """What pretraining leaves. encoder: of the selected epoch, in eval mode, on the CPU.

    history: a row for each epoch; selected: the epoch kept (1 is the first); auroc_before,
    auroc: validation kNN AUROC of the untrained and of the selected encoder, auroc_error its
    standard error; None without labels.
    """

    encoder: Encoder
    history: list[Row]
    selected: int
    auroc_before: float | None
    auroc: float | None
    seconds: float
    images: int = field(default=0)
    auroc_error: float | None = None

    @property
    def images_per_second(self) -> float:
        """Training images per second, two views each, monitor included."""
        return self.images / max(self.seconds, 1e-9)


def pretrain(
    data: DataSet,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    show_progress: bool = False,
) -> Pretraining:
    """Pretrain an encoder on the training images of `data`; labels serve the kNN monitor only.

    folder: gets `logs/` (CSV and TensorBoard), `checkpoints/last.ckpt`, from which an interrupted
    run of the same folder goes on, and `progress`, a line a runner may show. Raises DataError
    with fewer than two training images.
    """
    from lib.training import fit

    train = data.splits["train"]
    if len(train) < 2:
        raise DataError(f"{data.name}: {len(train)} training image(s); pretraining needs two")
    # A file's encoder keeps its channels: images of another kind are adapted on their way in.
    channels = data.channels if recipe.init in ("scratch", "imagenet") else None
    encoder, _ = load_init(recipe.init, recipe.encoder, recipe.stem, channels, seed=recipe.seed)
    encoder = encoder.to(memory_format=torch.channels_last)
    scale = (recipe.crop_scale, 1.0) if recipe.crop_scale else None
    augment = make_augment(recipe.augment, data.size, data.channels, crop_scale=scale)
    monitor = KnnMonitor.of(data, recipe.knn_k, device, precision, recipe.seed)
    store = ImageStore(train.images, device)
    module = ContrastiveModule(encoder, augment, store, recipe, monitor, precision)
    fit(
        module,
        folder,
        epochs=recipe.epochs,
        gradient_clip=recipe.gradient_clip,
        device=device,
        show_progress=show_progress,
    )
    module.encoder.load_state_dict(module.best)
    return Pretraining(
        module.encoder.cpu().eval(),
        module.history,
        module.selected,
        module.auroc_before,
        module.auroc if monitor is not None else None,
        sum(row["seconds"] for row in module.history),
        len(train) * len(module.history),
        monitor.standard_error(module.auroc) if monitor is not None else None,
    )


def save_pretraining(result: Pretraining, data: DataSet, run: Run) -> None:
    """Write encoder.safetensors and history.csv into the run's folder."""
    used = {k: v for k, v in vars(run.params).items() if PARAMETERS[k].in_hash}
    used["init"] = run.origin.identity
    header = {
        "size": data.size,
        "dataset": slug(data.name),
        "data": data.fingerprint,
        "parameters": {**used, "dataset": slug(data.name), "run": run.name},
        "commit": commit(),
        "epoch": result.selected,
    }
    save_encoder(run.folder / "encoder.safetensors", result.encoder, header)
    columns = list(dict.fromkeys(key for row in result.history for key in row))
    lines = [",".join(columns)]
    lines += [
        ",".join(f"{row[c]:.7g}" if c in row else "" for c in columns) for row in result.history
    ]
    write_text(run.folder / "history.csv", "\n".join(lines) + "\n")


def pretraining_rows(result: Pretraining, run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv: the loss, the monitor, the epoch kept, the speed."""
    known = {"encoder": run.params.encoder, "protocol": "pretrain"}
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
