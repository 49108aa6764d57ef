"""Views per second of SimCLR pretraining: this project beside its ceiling and two other ways.

`python -m bench.pretraining [--cells …] [--minutes M] [--quick]`. In one process tree, in turn,
with the same ResNet-18 (this project's, its faster convolutions on small maps included), stem,
batch, number format and image size:

ceiling   forward, backward and optimizer step on views that already lie on the device; nothing else
ours      `lib.training.pretrain.pretrain`, as 01_pretrain calls it, without a monitor
eager     the same on a GPU, each kernel launched by itself (`lib.models.graphs`); only when asked
compiled  the ceiling with an encoder compiled by `torch.compile`; only when asked
lightly   lightly's transform in a DataLoader with a worker a core, its projection head and NT-Xent
classic   Pillow transforms in workers, cosine similarities by broadcasting, Lightning

lightly has no equalisation and no sharpening, so for `novel` its transform does less. A cell is
SEQUENCE:SIZE:STEM:BATCH; what counts are its ratios. A batch is images, of two views each.

What is timed are whole epochs, from the beginning of one to that of the next, the first left out:
each contender has then compiled, filled its caches and started its workers. On a CPU an epoch is as
many steps as take about three seconds; on a GPU it is that of BloodMNIST, 47 steps of 256 images,
since workers must fill and a short epoch would be nothing but its ends.

One step is timed first, to tell what a cell will take. Cells that no longer fit into `--minutes`
are left out and say so; `--minutes 0` measures all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import lib.models.graphs
import lib.training.pretrain
from bench.augment import pillow_op, smooth_images
from bench.measuring import OUT, Goal, installed, say_goals, write_rows
from lib.augment import make_augment
from lib.augment.ops import ColourJitter, GaussianBlur
from lib.data.base import DataSet, Split
from lib.data.store import free_memory
from lib.device import choose_precision
from lib.models.embed import forward
from lib.models.encoder import ProjectionHead, build_encoder
from lib.models.graphs import RecordedStep
from lib.training.contrastive import ContrastiveModule, Recipe
from lib.training.schedule import build_optimizer
from lib.training.trainer import quiet

GOALS = {"ceiling": 0.90, "lightly": 1.25}  # on two CPU cores
# The cheap ones first: they are measured in any case.
CELLS = tuple(
    f"{augment}:{size}:{stem}:{batch}"
    for batch in (256, 1024)
    for size, stem in ((28, "imagenet"), (28, "small"), (64, "imagenet"), (64, "small"))
    for augment in ("natural", "novel")
)
QUICK = ("natural:28:imagenet:256", "novel:28:imagenet:256")
EPOCH_SECONDS, MOST_STEPS, GPU_IMAGES, GPU_EPOCHS = 3.0, 8, 47 * 256, 5
# How much longer than the ceiling a contender takes, roughly, to tell what fits; and images a
# second that a core brings to a GPU.
FACTORS = {
    "ceiling": 1.0,
    "compiled": 1.0,
    "ours": 1.2,
    "eager": 1.2,
    "lightly": 1.8,
    "classic": 3.5,
}
LOADED_PER_CORE, COMPILING = 250, 40.0
TEMPERATURE, RATE, WIDTH = 0.5, 1e-3, 128


@dataclass(frozen=True)
class Cell:
    """What is measured. batch: images, of two views each; steps: in an epoch."""

    augment: str
    size: int
    stem: str
    batch: int
    steps: int
    epochs: int
    device: str
    precision: str
    workers: int

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return self.batch * self.steps


class Images(Dataset[Any]):
    """Pillow images and what a transform makes of each; the second item stands for a label."""

    def __init__(self, images: npt.NDArray[np.uint8], transform: Callable[[Any], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), 0


def network(cell: Cell) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """Encoder, projection head and AdamW, for the contenders that are not ours."""
    encoder = build_encoder("resnet18", cell.stem, 3, seed=0)
    head = ProjectionHead(encoder.feature_dim, encoder.feature_dim, WIDTH)
    both = nn.ModuleList([encoder, head]).to(cell.device)
    return encoder, head, build_optimizer(both, "adamw", RATE, 0.0)


def time_epochs(cell: Cell, epoch: Callable[[], None]) -> list[float]:
    """Seconds of each epoch after the first, which warms up."""
    seconds = []
    for _ in range(cell.epochs):
        began = time.perf_counter()
        epoch()
        if cell.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def ceiling(cell: Cell, images: npt.NDArray[np.uint8], compiled: bool = False) -> list[float]:
    """Encoder, backward and optimizer on resident random views."""
    encoder, _, optimizer = network(cell)
    encoder.to(memory_format=torch.channels_last)
    x = torch.rand(2 * cell.batch, 3, cell.size, cell.size, device=cell.device)

    network_of: nn.Module = torch.compile(encoder) if compiled else encoder  # type: ignore[assignment]

    def both_ways(x: Tensor) -> Tensor:
        loss = forward(network_of, x, cell.precision).float().square().mean()
        torch.autograd.backward(loss)
        return loss.detach()

    step = RecordedStep(both_ways, encoder)

    def epoch() -> None:
        for _ in range(cell.steps):
            step(x)
            optimizer.step()

    return time_epochs(cell, epoch)


def compiled(cell: Cell, images: npt.NDArray[np.uint8]) -> list[float]:
    """The ceiling of an encoder that `torch.compile` has had its way with."""
    return ceiling(cell, images, compiled=True)


def between(began: list[float]) -> list[float]:
    """Seconds from each beginning but the first to the next."""
    return [b - a for a, b in pairwise(began[1:])]


class Timed(ContrastiveModule):
    """Notes when each epoch begins, so that all that lies between two beginnings counts."""

    began: list[float] = []  # noqa: RUF012 - one run at a time

    def on_train_epoch_start(self) -> None:
        """Note the time, on a GPU after the end of all that was launched."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        Timed.began.append(time.perf_counter())
        super().on_train_epoch_start()


def bench_data(images: npt.NDArray[np.uint8], size: int) -> DataSet:
    """Training images uint8 [N, H, W, 3] as a data set without labels and other splits."""
    names = np.arange(len(images)).astype(str)
    splits = {
        name: Split(images[:n], None, names[:n])
        for name, n in (("train", len(images)), ("val", 0), ("test", 0))
    }
    return DataSet("bench", "bench", "multi-class", ("a", "b"), size, 3, splits, "bench")


def bench_recipe(cell: Cell, epochs: int) -> Recipe:
    """What 01_pretrain would be asked for."""
    return Recipe(
        augment=cell.augment, crop_scale=0.0, encoder="resnet18", stem=cell.stem, init="scratch",
        epochs=epochs, warmup_epochs=0, batch_size=cell.batch, temperature=TEMPERATURE,
        optimizer="adamw", lr=RATE, weight_decay=0.0, gradient_clip=0.0, projection_dim=WIDTH,
        projection_layers=2, projection_norm="none",
        knn_every=1, knn_k=20, seed=0,
    )  # fmt: skip


def ours(cell: Cell, images: npt.NDArray[np.uint8]) -> list[float]:
    """This project's pretraining, checkpoints and logs included."""
    data, recipe = bench_data(images, cell.size), bench_recipe(cell, cell.epochs + 1)
    Timed.began = []
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(lib.training.pretrain, "ContrastiveModule", Timed),
    ):
        lib.training.pretrain.pretrain(
            data, recipe, Path(folder), device=cell.device, precision=cell.precision
        )
    return between(Timed.began)


def eager(cell: Cell, images: npt.NDArray[np.uint8]) -> list[float]:
    """Ours, with each kernel launched by itself."""
    with mock.patch.object(lib.models.graphs, "ENABLED", False):
        return ours(cell, images)


def loader(cell: Cell, data: Dataset[Any]) -> DataLoader[Any]:
    """Shuffled batches from worker processes that stay for all epochs."""
    return DataLoader(
        data, cell.batch, shuffle=True, num_workers=cell.workers, persistent_workers=True
    )


def lightly(cell: Cell, images: npt.NDArray[np.uint8]) -> list[float]:
    """lightly's building blocks in a plain loop, as its SimCLR example has them."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms.simclr_transform import SimCLRTransform

    ops = list(make_augment(cell.augment, cell.size, 3))
    jitter = next(op for op in ops if isinstance(op, ColourJitter))
    blur = next(op for op in ops if isinstance(op, GaussianBlur))
    transform = SimCLRTransform(
        input_size=cell.size, cj_prob=jitter.p, cj_bright=jitter.brightness,
        cj_contrast=jitter.contrast, cj_sat=jitter.saturation, cj_hue=jitter.hue,
        gaussian_blur=blur.p, sigmas=blur.sigma, normalize=None,
    )  # fmt: skip
    encoder, _, _ = network(cell)
    head = SimCLRProjectionHead(512, 512, WIDTH)
    both = nn.ModuleList([encoder, head]).to(cell.device)
    optimizer = torch.optim.AdamW(both.parameters(), RATE)
    criterion = NTXentLoss(TEMPERATURE)
    batches = loader(cell, Images(images, transform))

    def epoch() -> None:
        for (x1, x2), _ in batches:
            kind = torch.device(cell.device).type
            with torch.autocast(kind, torch.bfloat16, enabled=cell.precision == "bf16"):
                z1, z2 = (head(encoder(x.to(cell.device))) for x in (x1, x2))
            loss = criterion(z1.float(), z2.float())
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    return time_epochs(cell, epoch)


class Classic(pl.LightningModule):
    """SimCLR as the tutorials have it: all pairs side by side, then their cosine."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.encoder, self.head, _ = network(cell)
        self.began: list[float] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), RATE)

    def on_train_epoch_start(self) -> None:
        """Note the time."""
        self.began.append(time.perf_counter())

    def training_step(self, batch: Any, _: int) -> Tensor:
        """NT-Xent of the batch's two views."""
        (x1, x2), _ = batch
        z = self.head(self.encoder(torch.cat([x1, x2]))).float()
        similarity = F.cosine_similarity(z[:, None, :], z[None, :, :], dim=-1) / TEMPERATURE
        own = torch.eye(len(z), dtype=torch.bool, device=z.device)
        similarity = similarity.masked_fill(own, -9e15)
        positive = own.roll(len(z) // 2, dims=0)
        loss = (torch.logsumexp(similarity, dim=-1) - similarity[positive]).mean()
        self.log("loss", loss)
        return loss


def classic(cell: Cell, images: npt.NDArray[np.uint8]) -> list[float]:
    """Pillow transforms in workers and Lightning's own mixed precision."""
    from torchvision import transforms as T

    one = T.Compose([*map(pillow_op, make_augment(cell.augment, cell.size, 3)), T.ToTensor()])
    module = Classic(cell)
    precision = cast(Any, "bf16-mixed" if cell.precision == "bf16" else "32-true")
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainer = pl.Trainer(
            accelerator="cpu" if cell.device == "cpu" else "gpu", devices=1,
            max_epochs=cell.epochs + 1, precision=precision, default_root_dir=folder,
            enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        )  # fmt: skip
        trainer.fit(module, loader(cell, Images(images, partial(two_views, one))))
    return between(module.began)


def two_views(transform: Callable[[Any], Any], image: Any) -> list[Any]:
    """Two views of one image."""
    return [transform(image), transform(image)]


CONTENDERS = {
    "ceiling": ceiling, "compiled": compiled, "ours": ours, "eager": eager, "lightly": lightly,
    "classic": classic,
}  # fmt: skip


DEFAULT = ("ceiling", "ours", "lightly", "classic")
CONTENDER_CAN = {"lightly": "lightly", "classic": "PIL"}


def why_not(name: str, cell: Cell) -> str:
    """Why a contender cannot be measured in a cell; empty where it can."""
    package = CONTENDER_CAN.get(name)
    if package and not installed(package):
        return f"{package} is not installed"
    if name == "eager" and cell.device == "cpu":
        return "on a CPU the same as ours"
    if name == "classic":
        # Products of all pairs, their gradient and what cosine_similarity keeps.
        needed = 5 * (2 * cell.batch) ** 2 * WIDTH * 4
        if needed > 2 * free_memory(torch.device(cell.device)):
            return f"all pairs side by side need about {needed / 2**30:.0f} GiB"
    return ""


def time_step(cell: Cell) -> float:
    """Seconds of one step of the ceiling, the second of two."""
    return ceiling(replace(cell, steps=1, epochs=2), np.empty(0, np.uint8))[0]


def choose_steps(cell: Cell, step: float) -> int:
    """Steps of an epoch, where the ceiling takes `step` seconds for one."""
    if cell.device != "cpu":
        return -(-GPU_IMAGES // cell.batch)
    return min(max(round(EPOCH_SECONDS / step), 1), MOST_STEPS)


def expected(cell: Cell, step: float, rounds: int, names: Sequence[str]) -> float:
    """About how many seconds a cell takes."""
    total = 0.0
    for name in names:
        seconds = step * FACTORS[name] * cell.steps
        if cell.device != "cpu" and name in CONTENDER_CAN:
            seconds = max(seconds, cell.images / (LOADED_PER_CORE * cell.workers))
        epochs = of_contender(cell, name).epochs + (name in ("ours", "eager", "classic"))
        total += rounds * (epochs * seconds + (COMPILING if name == "compiled" else 0.0))
    return total


def of_contender(cell: Cell, name: str) -> Cell:
    """The cell with more epochs for those whose epoch on a GPU takes a fraction of a second."""
    if cell.device == "cpu" or name in CONTENDER_CAN:
        return cell
    return replace(cell, epochs=GPU_EPOCHS * cell.epochs)


def measure(cell: Cell, rounds: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each contender; all train once in every round."""
    x = smooth_images(cell.images, cell.size)
    images = np.ascontiguousarray((x * 255).round().byte().permute(0, 2, 3, 1).numpy())
    reasons = {name: why_not(name, cell) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            if not reasons[name]:
                seconds[name] += CONTENDERS[name](of_contender(cell, name), images)
    views = 2 * cell.images
    rows = []
    for name, times in seconds.items():
        row = describe(cell, name) | {"note": reasons[name], "epochs": len(times)}
        if times:
            row |= {
                "views_per_s": round(views / statistics.median(times), 1),
                "slowest": round(views / max(times), 1),
                "fastest": round(views / min(times), 1),
            }
            if seconds.get("ours"):
                ratio = statistics.median(times) / statistics.median(seconds["ours"])
                row["ours_is_faster_by"] = round(ratio, 3)
        rows.append(row)
    return rows


def describe(cell: Cell, name: str) -> dict[str, Any]:
    """A row without a measurement."""
    return {
        "augment": cell.augment, "size": cell.size, "stem": cell.stem, "batch": cell.batch,
        "steps": cell.steps, "device": cell.device, "precision": cell.precision,
        "contender": name, "views_per_s": None, "slowest": None, "fastest": None,
        "ours_is_faster_by": None,
    }  # fmt: skip


def goals_of(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """What the rows say to GOALS, which are for CPUs."""
    return [
        Goal(
            f"pretraining, ours/{row['contender']}: {row['augment']}, {row['size']} px, "
            f"{row['stem']} stem, batch {row['batch']}",
            row["ours_is_faster_by"],
            GOALS[row["contender"]],
            note=row["note"],
        )
        for row in rows
        if row["contender"] in GOALS and row["device"] == "cpu"
    ]


def line(rows: list[dict[str, Any]]) -> str:
    """The rows of a cell as a line of the table."""
    first = rows[0]
    text = f"{first['augment']:<9}{first['size']:>4}{first['stem']:>10}{first['batch']:>6}"
    for row in rows:
        if row["views_per_s"] is None:
            text += f"  {row['contender']}: {row['note']}"
            continue
        text += f"{row['views_per_s']:>11,.0f}"
        if row["contender"] != "ours" and row["ours_is_faster_by"] is not None:
            ratio, goal = row["ours_is_faster_by"], GOALS.get(row["contender"])
            mark = "" if goal is None else " met" if ratio >= goal else " MISSED"
            text += f" ({ratio:.2f}×{mark})"
    return text


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command's options; what `--quick` changes is changed."""
    parser = argparse.ArgumentParser(prog="python -m bench.pretraining", description=__doc__)
    add = parser.add_argument
    add("--cells", nargs="+", help="SEQUENCE:SIZE:STEM:BATCH …")
    add("--contenders", nargs="+", choices=CONTENDERS, default=list(DEFAULT))
    add("--steps", type=int, help="steps in an epoch, instead of what the device suggests")
    add("--epochs", type=int, default=3, help="epochs of a training; one warms up")
    add("--rounds", type=int, default=2, help="trainings of each contender")
    add("--minutes", type=float, default=10.0, help="leave out cells that no longer fit; 0: none")
    add("--quick", action="store_true", help="two cells, one round: to try it out")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=("fp32", "bf16"))
    add("--threads", type=int, default=torch.get_num_threads())
    add("--out", type=Path, default=OUT / "pretraining.csv")
    options = parser.parse_args(arguments)
    options.cells = options.cells or list(QUICK if options.quick else CELLS)
    if options.quick:
        options.epochs, options.rounds, options.steps = 2, 1, options.steps or 2
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    options = parse(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(options.threads)
    precision = options.precision or choose_precision(options.device)
    print(f"views/s on {options.device} in {precision}; (how much faster ours is, and the goal)")
    print(f"{'augment':<9}{'px':>4}{'stem':>10}{'batch':>6}  {'  '.join(options.contenders)}")
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for name in options.cells:
        augment, size, stem, batch = name.split(":")
        cell = Cell(
            augment, int(size), stem, int(batch), options.steps or 1, options.epochs,
            options.device, precision, os.cpu_count() or 1,
        )  # fmt: skip
        step = time_step(cell)
        cell = replace(cell, steps=options.steps or choose_steps(cell, step))
        rounds = options.rounds if cell.steps > 1 else 1
        need = expected(cell, step, rounds, options.contenders)
        left = 60 * options.minutes - (time.perf_counter() - began)
        if options.minutes and need > left:
            note = f"left out, would take about {need / 60:.0f} min; --minutes 0 measures all"
            part = [describe(cell, c) | {"note": note, "epochs": 0} for c in options.contenders]
            print(line(part[:1]), flush=True)
        else:
            part = measure(cell, rounds, options.contenders)
            print(line(part), flush=True)
        rows += part
        # After each cell: a machine that is taken away leaves what it has measured.
        write_rows(options.out, rows, goals_of(rows), vars(options), say=False)
    goals = goals_of(rows)
    print(say_goals(goals))
    write_rows(options.out, rows, goals, vars(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
