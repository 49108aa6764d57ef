"""SimCLR and SupCon as a LightningModule: two views, encoder, projection head, loss."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from lib.augment import Pipeline
from lib.augment.ops import Drawn
from lib.augment.pipeline import pack, take_rows, unpack
from lib.data.base import DataError
from lib.data.store import ImageStore
from lib.losses import contrastive_accuracy, nt_xent, sup_con
from lib.models.encoder import Encoder, ProjectionHead, seeded
from lib.models.graphs import project
from lib.moving import send
from lib.training.batches import BalancedBatches, EpochBatches
from lib.training.monitor import KnnMonitor
from lib.training.ranks import from_first, gather_rows, own_rows, world_size
from lib.training.schedule import build_optimizer, cosine_with_warmup
from lib.training.steps import Batches, SteppingModule

Row = dict[str, float]


@dataclass(frozen=True)
class Recipe:
    """What a pretraining does; the parameters of the same names (`lib.params`)."""

    augment: str
    crop_scale: float
    encoder: str
    stem: str
    init: str
    epochs: int
    warmup_epochs: float
    batch_size: int
    temperature: float
    optimizer: str
    lr: float
    weight_decay: float
    gradient_clip: float
    projection_dim: int
    projection_layers: int
    projection_norm: str
    knn_every: int
    knn_k: int
    seed: int
    method: str = "simclr"
    balanced_batches: bool = False
    freeze_stages: int = 0

    @classmethod
    def of(cls, params: SimpleNamespace) -> Recipe:
        """The recipe among a run's parameters."""
        return cls(**{f.name: getattr(params, f.name) for f in fields(cls)})


def known_or_own(y: Tensor, index: Tensor) -> Tensor:
    """Labels with each unknown one (below 0) replaced by its image's own number; [B, K] unchanged.

    index: int64 [B], which images these are: one that comes twice is no negative of itself. An
    image of a multi-label task without any label has no positive but itself already.
    """
    if y.ndim == 2:
        return y.clamp_min(0)
    return torch.where(y < 0, -1 - index.to(y.device), y)


@dataclass
class Views:
    """Some images' two views before they are made, a row of everything for an image.

    index: int64 [n], at the images' place where steps are recorded, else on the CPU; drawn:
    parameters of both views; numbers: the same packed on the device, [n, 2K], where steps are
    recorded; y: labels of SupCon on the device.
    """

    index: Tensor
    drawn: list[list[Drawn]]
    numbers: Tensor | None
    y: Tensor | None


class ContrastiveModule(SteppingModule[Views]):
    """SimCLR (Chen et al. 2020) or, with labels, SupCon (Khosla et al. 2020).

    Two views of each image, encoder, projection head, NT-Xent; SupCon counts all views of images
    with the same label as positives. y: of the training images, int64 [N], or [N, K] of zeros and
    ones for multi-label tasks (positives share a label); below 0 a label is not known, and the
    image's only positive is its own other view.

    The images wait on the device in `store`; a batch is only their indices. Shuffling
    and views depend on (seed, epoch) alone, so a resumed run goes on as if it had never stopped,
    and several processes (`lib.training.ranks`), which take a part of each batch, see what one
    would.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Pipeline,
        store: ImageStore,
        recipe: Recipe,
        monitor: KnnMonitor | None,
        precision: str,
        y: Tensor | None = None,
        layout: str = "channels_last",
    ) -> None:
        super().__init__()
        if recipe.method == "supcon" and y is None:
            raise DataError("method: supcon needs labels; without any, use simclr")
        if recipe.balanced_batches and y is not None and y.ndim == 2:
            raise DataError("balanced_batches: images have several labels; set it to false")
        self.y = y if recipe.method == "supcon" else None
        with seeded(recipe.seed + 1):
            self.head = ProjectionHead(
                encoder.feature_dim,
                encoder.feature_dim,
                recipe.projection_dim,
                depth=recipe.projection_layers,
                batch_norm=recipe.projection_norm == "batch",
            )
        self.encoder, self.recipe, self.monitor = encoder, recipe, monitor
        self.augment, self.store, self.number_format = augment, store, (precision, layout)
        self.generator = torch.Generator()
        self.history: list[Row] = []
        self.best: dict[str, Tensor] = {}
        self.selected, self.best_auroc = 0, float("-inf")
        self.auroc = float("-inf")
        self.auroc_before: float | None = None
        self.totals: list[Tensor] = []
        self.like: list[Drawn] = []
        self.epoch_began = 0.0

    def batches(self, epoch: int) -> Batches:
        """Indices of an epoch's images, in batches."""
        size, seed = self.recipe.batch_size, self.recipe.seed
        if self.recipe.balanced_batches and self.y is not None:
            return BalancedBatches(self.y, size, seed, lambda: epoch)
        return EpochBatches(len(self.store), size, seed, lambda: epoch)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer with warm-up and cosine decay over exactly this run's steps."""
        recipe = self.recipe
        optimizer = build_optimizer(self, recipe.optimizer, recipe.lr, recipe.weight_decay)
        total = self.total_steps()
        warmup = round(recipe.warmup_epochs * total / recipe.epochs)
        schedule = LambdaLR(optimizer, lambda step: cosine_with_warmup(step, warmup, total))
        scheduler = {"scheduler": schedule, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_fit_start(self) -> None:
        """Measure the encoder before it learns anything, once; agree on a number format."""
        # Machines of a crew choose for themselves, and might choose differently.
        self.number_format = from_first(self.number_format, world_size() > 1)
        if self.monitor is not None and self.auroc_before is None:
            self.auroc_before = self.monitor.auroc(self.encoder)

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's record."""
        self.totals, self.epoch_began = [], time.time()

    def can_record(self) -> bool:
        """Whether a step here is one process's, on a GPU, with views that can be recorded."""
        return super().can_record() and self.augment.can_stay_unread

    def prepare(self, index: Tensor) -> Views:
        """Both views' parameters and the labels of the images at `index` int64 [n]."""
        n, side = len(index), self.store.side
        drawn = [self.augment.draw(n, *side, self.generator) for _ in range(2)]
        y = None if self.y is None else send(known_or_own(self.y[index], index), self.device)
        if not self.can_record():
            return Views(index, drawn, None, y)
        self.like = drawn[0]
        return Views(self.store.place(index), drawn, send(pack(drawn), self.device), y)

    def loss_of_part(self, given: Views, part: slice) -> Tensor:
        """The contrastive loss of the two views of some images."""
        index, y = given.index[part], None if given.y is None else given.y[part]
        if given.numbers is not None:
            labels = () if y is None else (y,)
            row = self.do_step(
                self.whole_step, self.store.take_bytes(index), given.numbers[part], *labels
            )
            loss = row[0]
        else:
            views = [take_rows(view, part) for view in given.drawn]
            loss, row = self.loss_of(*self.projections(index, views), y)
        # Read at the end of the epoch: a number on its way to the host waits for the GPU's queue.
        self.totals.append(row)
        return loss

    def projections(self, index: Tensor, views: list[list[Drawn]]) -> tuple[Tensor, Tensor]:
        """Projections [B, D] of two views of the images at `index` [B], also the other ranks'."""
        n, own = len(index), own_rows(len(index))
        x = self.store.take(index[own])
        both = torch.cat([self.augment.apply(x, take_rows(view, own)) for view in views])
        z = project(self.encoder, self.head, both, *self.number_format)
        # Both views of an image in one row: one exchange.
        z1, z2 = gather_rows(torch.stack(z.chunk(2), dim=1), n).unbind(1)
        return z1, z2

    def loss_of(self, z1: Tensor, z2: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss of two views' projections [B, D], and what is noted of it: float32 [4].

        y: labels [B] or [B, K] for SupCon, each unknown one a number of its own; None: SimCLR.
        """
        if y is None:
            loss = nt_xent(z1, z2, self.recipe.temperature)
        else:
            loss = sup_con(z1, z2, y, self.recipe.temperature)
        ranks = contrastive_accuracy(z1.detach(), z2.detach())
        row = torch.stack([loss.detach(), ranks.top1, ranks.top5, ranks.mean_rank])
        return loss, row

    def whole_step(self, pixels: Tensor, numbers: Tensor, y: Tensor | None = None) -> Tensor:
        """Both views, loss and backward pass, for a recording: what is noted of it, [4].

        pixels: uint8 [B, C, H, W]; numbers: parameters of both views, packed [B, 2K].
        """
        x = pixels.float().div_(255)
        drawn = unpack(torch.cat(numbers.chunk(2, dim=1)), self.like)
        views = self.augment.apply_unread(torch.cat([x, x]), drawn)
        z1, z2 = project(self.encoder, self.head, views, *self.number_format).chunk(2)
        loss, row = self.loss_of(z1, z2, y)
        torch.autograd.backward(loss)
        return row

    def on_train_epoch_end(self) -> None:
        """Note the epoch, and keep the encoder by the rule of `is_worth_keeping`."""
        epoch = self.current_epoch + 1
        loss, top1, top5, rank = torch.stack(self.totals).mean(0).tolist()
        row = {"epoch": epoch, "loss": loss, "top1": top1, "top5": top5, "mean_rank": rank}
        row["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        last = epoch == self.recipe.epochs
        if self.monitor is not None and (epoch % self.recipe.knn_every == 0 or last):
            row["val_knn_auroc"] = self.monitor.auroc(self.encoder)
        if self.is_worth_keeping(row, last):
            self.selected = epoch
            self.auroc = row.get("val_knn_auroc", float("-inf"))
            self.best = {k: v.detach().cpu().clone() for k, v in self.encoder.state_dict().items()}
        row["seconds"] = time.time() - self.epoch_began
        self.history.append(row)
        shown = {k: v for k, v in row.items() if k not in ("epoch", "loss")}
        self.log("loss", loss, prog_bar=True, batch_size=1)
        self.log_dict(shown, prog_bar=False, batch_size=1)

    def is_worth_keeping(self, row: Row, last: bool) -> bool:
        """Whether this epoch's encoder replaces the one kept so far.

        The latest epoch within one standard error of the best is kept (Breiman et al. 1984, with
        training time in the place of simplicity): on a validation split of 78 images the highest
        of ten AUROCs is luck, and luck would pick encoders that have hardly been trained. Without
        labels the last epoch is kept.
        """
        if self.monitor is None:
            return last
        if "val_knn_auroc" not in row:
            return False
        self.best_auroc = max(self.best_auroc, row["val_knn_auroc"])
        error = self.monitor.standard_error(self.best_auroc)
        return row["val_knn_auroc"] >= self.best_auroc - error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what has been found so far, so that a resumed run ends as an unbroken one."""
        checkpoint["pretraining"] = self.found()

    def found(self) -> dict[str, Any]:
        """What the training has come to: the encoder kept, and how it was found."""
        return {
            "history": self.history,
            "best": self.best,
            "selected": self.selected,
            "best_auroc": self.best_auroc,
            "auroc": self.auroc,
            "auroc_before": self.auroc_before,
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Take up what had been found."""
        for name, value in checkpoint["pretraining"].items():
            setattr(self, name, value)
