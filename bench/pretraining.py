"""Images per second of SimCLR pretraining: this project beside its ceiling and two other ways.

`python -m bench.pretraining [--cells …]`. In one process tree, in turn, with the same ResNet-18,
stem, batch, number format and image size:

ceiling   forward, backward and optimizer step on views that already lie on the device; nothing else
ours      `lib.pretrain.pretrain`, as 01_pretrain calls it, without a monitor
lightly   lightly's transform in a DataLoader with a worker a core, its projection head and NT-Xent
classic   Pillow transforms in workers, cosine similarities by broadcasting, Lightning

lightly has no equalisation and no sharpening, so for `novel` its transform does less. A cell is
SEQUENCE:SIZE:STEM:BATCH; what counts are its ratios. An image is two views.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
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

import lib.pretrain
from bench.augment import pillow_op, smooth_images
from bench.measuring import write_rows
from lib.augment import make_augment
from lib.augment.ops import ColourJitter, GaussianBlur
from lib.contrastive import ContrastiveModule, Recipe
from lib.data.base import DataSet, Split
from lib.embed import forward
from lib.encoder import ProjectionHead, build_encoder
from lib.run import choose_precision
from lib.schedule import build_optimizer
from lib.training import quiet

GOALS = {"ceiling": 0.90, "lightly": 1.25}  # on two CPU cores
CELLS = ("natural:28:imagenet:256", "novel:28:imagenet:256", "natural:28:small:256",
         "natural:64:imagenet:256")  # fmt: skip
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


def ceiling(cell: Cell, images: npt.NDArray[np.uint8]) -> list[float]:
    """Encoder, backward and optimizer on resident random views."""
    encoder, _, optimizer = network(cell)
    encoder.to(memory_format=torch.channels_last)
    x = torch.rand(2 * cell.batch, 3, cell.size, cell.size, device=cell.device)

    def epoch() -> None:
        for _ in range(cell.steps):
            optimizer.zero_grad()
            torch.autograd.backward(forward(encoder, x, cell.precision).float().square().mean())
            optimizer.step()

    return time_epochs(cell, epoch)


def between(began: list[float]) -> list[float]:
    """Seconds from each beginning but the first to the next."""
    return [b - a for a, b in pairwise(began[1:])]


class Timed(ContrastiveModule):
    """Notes when each epoch begins, so that all that lies between two beginnings counts."""

    began: list[float] = []  # noqa: RUF012 - one run at a time

    def on_train_epoch_start(self) -> None:
        """Note the time."""
        Timed.began.append(time.perf_counter())
        super().on_train_epoch_start()


def ours(cell: Cell, images: npt.NDArray[np.uint8]) -> list[float]:
    """This project's pretraining, checkpoints and logs included."""
    names = np.arange(len(images)).astype(str)
    splits = {
        name: Split(images[:n], None, names[:n])
        for name, n in (("train", len(images)), ("val", 0), ("test", 0))
    }
    data = DataSet("bench", "bench", "multi-class", ("a", "b"), cell.size, 3, splits, "bench")
    recipe = Recipe(
        augment=cell.augment, crop_scale=0.0, encoder="resnet18", stem=cell.stem, init="scratch",
        epochs=cell.epochs + 1, warmup_epochs=0, batch_size=cell.batch, temperature=TEMPERATURE,
        optimizer="adamw", lr=RATE, weight_decay=0.0, gradient_clip=0.0, projection_dim=WIDTH,
        knn_every=1, knn_k=20, seed=0,
    )  # fmt: skip
    Timed.began = []
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(lib.pretrain, "ContrastiveModule", Timed),
    ):
        lib.pretrain.pretrain(
            data, recipe, Path(folder), device=cell.device, precision=cell.precision
        )
    return between(Timed.began)


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


CONTENDERS = {"ceiling": ceiling, "ours": ours, "lightly": lightly, "classic": classic}


def measure(cell: Cell, rounds: int, names: list[str]) -> list[dict[str, Any]]:
    """One row for each contender; all train once in every round."""
    x = smooth_images(cell.images, cell.size)
    images = np.ascontiguousarray((x * 255).round().byte().permute(0, 2, 3, 1).numpy())
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            seconds[name] += CONTENDERS[name](cell, images)
    mine = statistics.median(seconds["ours"])
    return [
        {
            "augment": cell.augment,
            "size": cell.size,
            "stem": cell.stem,
            "batch": cell.batch,
            "device": cell.device,
            "precision": cell.precision,
            "contender": name,
            "epochs": len(times),
            "images_per_s": round(cell.images / statistics.median(times), 1),
            "slowest": round(cell.images / max(times), 1),
            "fastest": round(cell.images / min(times), 1),
            "ours_is_faster_by": round(statistics.median(times) / mine, 3),
        }
        for name, times in seconds.items()
    ]


def line(rows: list[dict[str, Any]]) -> str:
    """The rows of a cell as a line of the table."""
    first = rows[0]
    text = f"{first['augment']:<9}{first['size']:>4}{first['stem']:>10}{first['batch']:>6}"
    for row in rows:
        text += f"{row['images_per_s']:>9.1f}"
        if row["contender"] != "ours":
            ratio, goal = row["ours_is_faster_by"], GOALS.get(row["contender"])
            mark = "" if goal is None else " met" if ratio >= goal else " MISSED"
            text += f" ({ratio:.2f}×{mark})"
    return text


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.pretraining", description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS, help="SEQUENCE:SIZE:STEM:BATCH …")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--steps", type=int, default=4, help="steps in an epoch")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a training; one warms up")
    parser.add_argument("--rounds", type=int, default=2, help="trainings of each contender")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("bench/out/pretraining.csv"))
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(options.threads)
    precision = options.precision or choose_precision(options.device)
    print(f"images/s on {options.device} in {precision}; (how much faster ours is, and the goal)")
    print(f"{'augment':<9}{'px':>4}{'stem':>10}{'batch':>6}  {'  '.join(options.contenders)}")
    rows: list[dict[str, Any]] = []
    for name in options.cells:
        augment, size, stem, batch = name.split(":")
        cell = Cell(
            augment, int(size), stem, int(batch), options.steps, options.epochs, options.device,
            precision, os.cpu_count() or 1,
        )  # fmt: skip
        part = measure(cell, options.rounds, options.contenders)
        print(line(part), flush=True)
        rows += part
    write_rows(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
