"""Finetuning as a LightningModule: the whole encoder and a linear head, on the labels given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lib.augment import Pipeline
from lib.augment.ops import Drawn
from lib.augment.pipeline import pack, take_rows, unpack
from lib.data.store import ImageStore
from lib.models.encoder import Encoder
from lib.models.graphs import project
from lib.moving import send
from lib.params import as_list
from lib.training.batches import mix
from lib.training.contrastive import Row
from lib.training.memory import SMALLEST, loss_in_parts
from lib.training.monitor import ScoreMonitor
from lib.training.objective import Objective
from lib.training.schedule import learning_rate_share, optimizer_of, without_decay
from lib.training.steps import Batches, SteppingModule
from lib.training.witness import Seen, Witness


@dataclass(frozen=True)
class FinetuneRecipe:
    """What a finetuning does; the parameters of the same names (`lib.params`).

    epochs: each goes over the labelled images once, or as often as `min_steps` needs. lrs: the
    peak learning rates that are tried, in this order. layer_decay: the learning rate of a stage as
    a share of that of the stage behind it; the head has the full one.
    """

    epochs: int
    min_steps: int
    warmup_epochs: float
    batch_size: int
    optimizer: str
    lrs: tuple[float, ...]
    weight_decay: float
    gradient_clip: float
    layer_decay: float
    freeze_stages: int
    train_augment: str
    val_every: int
    seed: int
    schedule: str = "cosine"

    @classmethod
    def of(cls, params: SimpleNamespace) -> FinetuneRecipe:
        """The recipe among a run's parameters; those with a default need not be there."""
        names = [f.name for f in fields(cls) if f.default is MISSING or hasattr(params, f.name)]
        values = {name: getattr(params, name) for name in names}
        return cls(**{**values, "lrs": tuple(as_list(params.lrs))})


class LabelledBatches:
    """Positions 0 … n − 1 of the labelled images in batches, drawn from (seed, epoch) alone.

    An epoch is one pass over the images, or as many as it takes for `epochs` of them to come to
    `min_steps` batches: with few labels, epochs get longer instead of more numerous, so that
    checks on validation and checkpoints cost the same at every budget. Each pass shuffles anew,
    or, with weights, float [n], draws n images with replacement in proportion to them.

    A pass is dealt out evenly. No batch is left with a single image, for which BatchNorm has no
    statistics: three images in batches of two make one batch of three.
    """

    def __init__(
        self,
        n: int,
        recipe: FinetuneRecipe,
        epoch: Callable[[], int],
        weights: Tensor | None = None,
    ) -> None:
        self.n, self.seed, self.epoch, self.weights = n, recipe.seed, epoch, weights
        self.count = max(1, min(-(-n // recipe.batch_size), n // 2))
        self.passes = -(-max(1, -(-recipe.min_steps // recipe.epochs)) // self.count)

    def __len__(self) -> int:
        return self.count * self.passes

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch(), 1))
        for _ in range(self.passes):
            if self.weights is None:
                drawn = torch.randperm(self.n, generator=generator)
            else:
                drawn = torch.multinomial(self.weights, self.n, True, generator=generator)
            yield from drawn.tensor_split(self.count)


def parameter_groups(
    encoder: Encoder, head: nn.Module, lr: float, recipe: FinetuneRecipe
) -> list[dict[str, Any]]:
    """Groups for an optimizer: head at `lr`, each earlier stage at `layer_decay` of the next.

    Layer-wise rates as in Howard & Ruder 2018 (ULMFiT), "discriminative fine-tuning". Frozen stages
    have no group; biases and normalisation are not decayed.
    """
    groups, rate = [], lr
    for stage in [[head], *reversed(encoder.stages())]:
        trained = [p for module in stage for p in module.parameters() if p.requires_grad]
        for group in without_decay(trained, recipe.weight_decay):
            if group["params"]:
                groups.append({**group, "lr": rate})
        rate *= recipe.layer_decay
    return groups


@dataclass
class Labelled:
    """Some labelled images before they are augmented, a row of everything for an image.

    rows: int64 [n], where in the store, at the images' place where steps are recorded, else on the
    CPU; y: labels on the device; drawn: parameters of their augmentation; numbers: the same packed
    on the device, [n, K], where steps are recorded.
    """

    rows: Tensor
    y: Tensor
    drawn: list[Drawn]
    numbers: Tensor | None


class FinetuneModule(SteppingModule[Labelled]):
    """An encoder and a linear head trained on labelled images with one peak learning rate.

    store: images on the device; position: int64 [n], where in it each labelled image lies; y: their
    labels, int64 [n], or [n, K] of zeros and ones. Batches and augmentation depend on (seed, epoch)
    alone, so a resumed run goes on as if it had never stopped. parts: in how many a batch is
    computed one after another, where it does not fit into memory (`lib.training.memory`). witness:
    notes at each check what it is asked to, in `seen`.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Linear,
        augment: Pipeline | None,
        store: ImageStore,
        position: Tensor,
        y: Tensor,
        recipe: FinetuneRecipe,
        lr: float,
        objective: Objective,
        monitor: ScoreMonitor | None,
        precision: str,
        parts: int = 1,
        witness: Witness | None = None,
    ) -> None:
        super().__init__()
        self.parts, self.witness = parts, witness
        self.seen: dict[int, Seen] = {}  # by epoch
        self.encoder, self.head, self.augment = encoder, head, augment
        self.store, self.position, self.y = store, position, y
        self.recipe, self.lr, self.objective = recipe, lr, objective
        self.monitor = monitor
        self.precision = precision
        self.like: list[Drawn] = []
        self.generator = torch.Generator()
        self.history: list[Row] = []
        self.best: dict[str, Tensor] = {}
        self.selected, self.best_auroc = 0, float("-inf")
        self.auroc = float("-inf")
        self.totals: list[Tensor] = []
        self.epoch_began = 0.0

    def batches(self, epoch: int) -> Batches:
        """Positions of an epoch's images, in batches."""
        weights = self.objective.sample_weights
        return LabelledBatches(len(self.y), self.recipe, lambda: epoch, weights)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer and schedule over exactly this run's steps."""
        recipe = self.recipe
        groups = parameter_groups(self.encoder, self.head, self.lr, recipe)
        optimizer = optimizer_of(groups, recipe.optimizer, self.lr)
        total = self.total_steps()
        warmup = round(recipe.warmup_epochs * total / recipe.epochs)

        def share(step: int) -> float:
            return learning_rate_share(recipe.schedule, step, warmup, total)

        schedule = LambdaLR(optimizer, share)
        scheduler = {"scheduler": schedule, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's record."""
        self.totals, self.epoch_began = [], time.time()

    def can_record(self) -> bool:
        """Whether a step here is whole, on a GPU, with views that can be recorded."""
        whole = self.parts == 1 and (self.augment is None or self.augment.can_stay_unread)
        return whole and super().can_record()

    def prepare(self, index: Tensor) -> Labelled:
        """Augmentation and labels of the images at positions `index` int64 [n]."""
        rows, y = self.position[index], send(self.y[index], self.device)
        drawn: list[Drawn] = []
        if self.augment is not None:
            drawn = self.augment.draw(len(rows), *self.store.side, self.generator)
        if not self.can_record():
            return Labelled(rows, y, drawn, None)
        self.like = drawn
        numbers = send(pack([drawn]), self.device) if drawn else y.new_empty(len(y), 0)
        return Labelled(self.store.place(rows), y, drawn, numbers)

    def loss_of_part(self, given: Labelled, part: slice) -> Tensor:
        """The objective's loss of the logits of some images."""
        rows, y = given.rows[part], given.y[part]
        if given.numbers is not None:
            pixels = self.store.take_bytes(rows)
            loss = self.do_step(self.whole_step, pixels, given.numbers[part], y)
        else:
            x = self.store.take(rows)
            if self.augment is not None:
                x = self.augment.apply(x, take_rows(given.drawn, part))
            loss = self.loss_in_parts(x, y)
        self.totals.append(loss.detach())
        return loss

    def loss_in_parts(self, x: Tensor, y: Tensor) -> Tensor:
        """The objective's loss, with the gradients of all parts of the batch but the last."""
        if self.parts == 1:
            return self.loss_of(x, y)
        return loss_in_parts(self.loss_of, x, y, min(self.parts, len(x) // SMALLEST))

    def loss_of(self, x: Tensor, y: Tensor) -> Tensor:
        """The objective's loss of images [B, C, H, W] with labels y."""
        return self.objective.loss(project(self.encoder, self.head, x, self.precision), y)

    def whole_step(self, pixels: Tensor, numbers: Tensor, y: Tensor) -> Tensor:
        """Views, loss and backward pass, for a recording: the loss.

        pixels: uint8 [B, C, H, W]; numbers: the views' parameters, packed [B, K].
        """
        x = pixels.float().div_(255)
        if self.augment is not None:
            x = self.augment.apply_unread(x, unpack(numbers, self.like))
        loss = self.loss_of(x, y)
        torch.autograd.backward(loss)
        return loss.detach()

    def on_train_epoch_end(self) -> None:
        """Note the epoch, and keep the weights by the rule of `is_worth_keeping`."""
        epoch = self.current_epoch + 1
        row: Row = {"epoch": epoch, "loss": float(torch.stack(self.totals).mean())}
        row["steps"] = float(self.trainer.global_step)
        row["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        last = epoch == self.recipe.epochs
        check = epoch % self.recipe.val_every == 0 or last
        if self.monitor is not None and check:
            row["val_auroc"] = self.monitor.auroc(self.encoder, self.head, self.objective.offset)
        if self.witness is not None and check:
            self.seen[epoch] = self.witness.look(self.encoder, self.head, self.objective.offset)
        if self.is_worth_keeping(row, last):
            self.selected = epoch
            self.auroc = row.get("val_auroc", float("-inf"))
            self.best = {k: v.detach().cpu().clone() for k, v in self.state_dict().items()}
        row["seconds"] = time.time() - self.epoch_began
        self.history.append(row)
        self.log_dict({k: v for k, v in row.items() if k != "epoch"}, batch_size=1)

    def is_worth_keeping(self, row: Row, last: bool) -> bool:
        """Whether this epoch's weights replace those kept so far.

        The latest epoch within one standard error of the best, as in pretraining
        (`ContrastiveModule.is_worth_keeping`); without usable validation labels the last.
        """
        if self.monitor is None:
            return last
        if "val_auroc" not in row:
            return False
        self.best_auroc = max(self.best_auroc, row["val_auroc"])
        return row["val_auroc"] >= self.best_auroc - self.monitor.standard_error(self.best_auroc)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what has been found so far, so that a resumed run ends as an unbroken one."""
        checkpoint["finetuning"] = {
            "history": self.history,
            "best": self.best,
            "selected": self.selected,
            "best_auroc": self.best_auroc,
            "auroc": self.auroc,
            "seen": self.seen,
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Take up what had been found."""
        for name, value in checkpoint["finetuning"].items():
            setattr(self, name, value)
