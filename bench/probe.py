"""Linear probes: the whole path of regularisation beside 500 epochs of a minibatch loop.

`python -m bench.probe [--quick]`. On features float32 [12,000, 512] of eight classes, at every
label budget:

ours    `lib.models.probe.fit_logistic`: every strength of STRENGTHS, the best by validation loss
plain   500 epochs of AdamW on batches of 64 rows, as tensors in memory: the leanest loop there is,
        with one strength; the validation loss of its best epoch
loader  the same as the earlier system had it, a Lightning module fed by a DataLoader: a few epochs
        timed after a first one, and as many as 500 reckoned from them

The goal is against `loader`, whose validation loss is that of `plain`: the same steps. The loop is
given standardised features too, and the best of its epochs instead of its last.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import MultiStepLR
from torch.utils.data import DataLoader, TensorDataset

from bench.measuring import OUT, Goal, say_goals, write_rows
from lib.models.embed import Features
from lib.models.probe import STRENGTHS, fit_logistic
from lib.training.trainer import quiet

GOAL = 100.0
EPOCHS, BATCH, RATE, DECAY = 500, 64, 1e-3, 1e-3  # of the loop
MILESTONES = (0.6, 0.8)  # shares of the epochs after which its rate falls to a tenth


@dataclass(frozen=True)
class Labelled:
    """Features float32 [N, D] and labels int64 [N]."""

    h: Features
    y: npt.NDArray[np.int64]


def draw_features(
    n: int, width: int, classes: int, seed: int = 0, directions: int = 24
) -> Labelled:
    """Features such as an encoder's last ReLU gives: few directions, none negative, uneven scales.

    Classes are groups along these directions that overlap a little.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    hidden = rng.normal(size=(n, directions)) + 0.9 * rng.normal(size=(classes, directions))[y]
    mixed = hidden @ rng.normal(size=(directions, width)) / 5 + 0.3 * rng.normal(size=(n, width))
    h = np.maximum(0.0, mixed + 0.2) * rng.lognormal(sigma=1.0, size=width)
    return Labelled(h.astype(np.float32), y.astype(np.int64))


def standardise(train: Labelled, val: Labelled) -> list[Tensor]:
    """Training features and labels, validation features and labels; scaled by the training's."""
    mean, scale = train.h.mean(axis=0), train.h.std(axis=0) + 1e-6
    parts = [((part.h - mean) / scale, part.y) for part in (train, val)]
    return [torch.from_numpy(array) for part in parts for array in part]


def plain_loop(train: Labelled, val: Labelled, classes: int, epochs: int) -> tuple[float, float]:
    """Seconds, and validation log loss in nats at the best epoch."""
    x, y, v, y_v = standardise(train, val)
    torch.manual_seed(0)
    layer = torch.nn.Linear(x.shape[1], classes)
    optimizer = torch.optim.AdamW(layer.parameters(), RATE, weight_decay=DECAY)
    schedule = MultiStepLR(optimizer, [int(epochs * share) for share in MILESTONES], 0.1)
    best, began = float("inf"), time.perf_counter()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x)), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(layer(x[rows]), y[rows]))
            optimizer.step()
        schedule.step()
        with torch.inference_mode():
            best = min(best, F.cross_entropy(layer(v), y_v).item())
    return time.perf_counter() - began, best


class Loop(pl.LightningModule):
    """A linear layer as a Lightning module; notes when each epoch begins."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, classes)
        self.began: list[float] = []

    def configure_optimizers(self) -> Any:
        """AdamW, its rate lowered twice."""
        optimizer = torch.optim.AdamW(self.parameters(), RATE, weight_decay=DECAY)
        milestones = [int(EPOCHS * share) for share in MILESTONES]
        return [optimizer], [MultiStepLR(optimizer, milestones, 0.1)]

    def on_train_epoch_start(self) -> None:
        """Note the time."""
        self.began.append(time.perf_counter())

    def training_step(self, batch: Any, _: int) -> Tensor:
        """Cross entropy."""
        x, y = batch
        return F.cross_entropy(self.layer(x), y)


def loader_epoch(train: Labelled, val: Labelled, classes: int, epochs: int) -> float:
    """Median seconds of an epoch of the Lightning loop, the first left out, validation too."""
    x, y, _, _ = standardise(train, val)
    module = Loop(x.shape[1], classes)
    batches = DataLoader(TensorDataset(x, y), BATCH, shuffle=True)
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs + 2, default_root_dir=folder,
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            logger=False,
        )  # fmt: skip
        trainer.fit(module, batches)
    return statistics.median(b - a for a, b in pairwise(module.began[1:]))


def measure(
    train: Labelled, val: Labelled, classes: int, epochs: int, timed: int, repeats: int
) -> dict[str, Any]:
    """A row: one label budget. epochs: of the plain loop; timed: of the loader's."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        probe = fit_logistic(train.h, train.y, val.h, val.y, "multi-class", n_classes=classes)
        times.append(time.perf_counter() - began)
    seconds, best = plain_loop(train, val, classes, epochs)
    each = loader_epoch(train, val, classes, timed)
    mine = statistics.median(times)
    return {
        "images": len(train.y),
        "width": train.h.shape[1],
        "classes": classes,
        "strengths": len(STRENGTHS),
        "ours_s": round(mine, 4),
        "plain_s": round(seconds * EPOCHS / epochs, 2),
        "plain_epochs": epochs,
        "loader_s": round(each * EPOCHS, 2),
        "loader_epochs_timed": timed,
        "ours_loss": round(min(probe.curve.values()), 5),
        "loop_loss": round(best, 5),
        "chosen": probe.strength,
        "converged": probe.converged,
        "faster_than_plain": round(seconds * EPOCHS / epochs / mine, 1),
        "faster_than_loader": round(each * EPOCHS / mine, 1),
    }


def summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All budgets together."""
    total = {key: sum(row[key] for row in rows) for key in ("ours_s", "plain_s", "loader_s")}
    return {
        **{key: round(value, 3) for key, value in total.items()},
        "faster_than_plain": round(total["plain_s"] / total["ours_s"], 1),
        "faster_than_loader": round(total["loader_s"] / total["ours_s"], 1),
        "loss_above_loop": round(max(row["ours_loss"] - row["loop_loss"] for row in rows), 5),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.probe", description=__doc__)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--validation", type=int, default=2000)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 250, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="5 epochs of the plain loop, not 500")
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--out", type=Path, default=OUT / "probe.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = draw_features(options.images + options.validation, options.width, options.classes)
    val = Labelled(data.h[options.images :], data.y[options.images :])
    epochs = 5 if options.quick else EPOCHS
    print(f"{'images':>7}{'ours s':>9}{'plain s':>9}{'loader s':>10}{'loss':>9}{'loop':>9}{'/plain':>9}{'/loader':>9}")  # fmt: skip  # noqa: E501
    rows = []
    for n in [*options.labels, options.images]:
        train = Labelled(data.h[:n], data.y[:n])
        row = measure(train, val, options.classes, epochs, 3, options.repeats)
        print(
            f"{n:>7}{row['ours_s']:>9.2f}{row['plain_s']:>9.1f}{row['loader_s']:>10.1f}"
            f"{row['ours_loss']:>9.4f}{row['loop_loss']:>9.4f}{row['faster_than_plain']:>8.0f}×"
            f"{row['faster_than_loader']:>8.0f}×",
            flush=True,
        )
        rows.append(row)
    total = summed(rows)
    note = "" if epochs == EPOCHS else "of a loop that was cut short"
    goals = [
        Goal(
            f"probe: {len(STRENGTHS)} strengths at {len(rows)} label budgets, up to "
            f"{options.images:,} × {options.width}, against {EPOCHS} epochs a budget",
            total["faster_than_loader"],
            GOAL,
        ),
        Goal(
            "probe: its validation loss above that of the loop's best epoch, worst budget",
            total["loss_above_loop"] if epochs == EPOCHS else None,
            0.0,
            "nats",
            False,
            note,
        ),
    ]
    print(say_goals(goals))
    write_rows(options.out, rows, goals, vars(options), total=total)
    return 0


if __name__ == "__main__":
    sys.exit(main())
