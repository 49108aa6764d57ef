"""How a training goes from batch to batch: in stretches, each step one launch on a GPU.

Lightning's own way from one batch to the next takes a millisecond of the host, drawing the numbers
of a batch's views another; a GPU is done with a batch of small images in two. So what Lightning
takes for a batch is a stretch of them, whose numbers are drawn and sent together.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice, pairwise
from typing import Any, Generic, Protocol, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from lib.models.graphs import RecordedStep
from lib.training.ranks import world_size

# Batches of a stretch: after it the loss is looked at, which waits for the device.
STRETCH = 50
Given = TypeVar("Given")


class Batches(Protocol):
    """Indices of an epoch's batches, int64 [B] each."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Tensor]: ...


class Stretches(Iterable[tuple[Tensor, list[slice]]]):
    """Stretches of batches, in order: all their indices int64 [n], and where in them each batch is.

    With `apart` a stretch comes as often as it has batches, with one of them each time.
    """

    def __init__(self, batches: Batches, length: int = STRETCH, *, apart: bool = False) -> None:
        self.batches, self.length, self.apart = batches, length, apart

    def __len__(self) -> int:
        return len(self.batches) if self.apart else math.ceil(len(self.batches) / self.length)

    def __iter__(self) -> Iterator[tuple[Tensor, list[slice]]]:
        batches = iter(self.batches)
        while stretch := list(islice(batches, self.length)):
            index = torch.cat(stretch)
            parts = [slice(a, b) for a, b in pairwise(accumulate(map(len, stretch), initial=0))]
            yield from ((index, [part]) for part in parts) if self.apart else [(index, parts)]


class SteppingModule(pl.LightningModule, Generic[Given]):
    """A module trained in stretches of batches, with steps recorded whole on a GPU.

    A subclass has a `recipe` with `epochs` and `gradient_clip`, the `batches` of an epoch,
    prepares a stretch, and computes the loss of each batch in it: with `do_step` gradients and all
    (where `can_record`), else as a loss that can be differentiated.

    Several processes exchange gradients once a forward pass as Lightning sees it, so they take the
    batches of a stretch one by one; what is drawn is the same.
    """

    recipe: Any

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.recorded: RecordedStep | None = None
        self.stretch: tuple[Tensor, Given] | None = None

    @abstractmethod
    def batches(self) -> Batches:
        """The batches of the current epoch."""

    @abstractmethod
    def prepare(self, index: Tensor) -> Given:
        """What the steps on the images at `index` int64 [n] need, drawn and sent at once."""

    @abstractmethod
    def loss_of_part(self, given: Given, part: slice) -> Tensor:
        """The loss of the images in a part of what was prepared; a scalar."""

    def loss_at(self, index: Tensor) -> Tensor:
        """The loss of the images at `index` [B], a batch by itself."""
        return self.loss_of_part(self.prepare(index), slice(0, len(index)))

    def train_dataloader(self) -> Stretches:
        """Stretches of batches of indices; Lightning takes any iterable with a length."""
        return Stretches(self.batches(), apart=world_size() > 1)

    def total_steps(self) -> int:
        """Steps of the whole training."""
        return len(self.batches()) * int(self.recipe.epochs)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        """Leave the indices on the host, which draws the views; taking them back would wait."""
        return batch

    def training_step(self, batch: tuple[Tensor, list[slice]], _: int) -> Tensor:
        """A step for each part of a stretch; their losses [number of parts].

        Nothing here waits for the device: the host draws and queues work, whatever is queued.
        """
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        index, parts = batch
        if self.stretch is None or self.stretch[0] is not index:
            self.stretch = index, self.prepare(index)
        losses = []
        for part in parts:
            if self.recorded is None:
                optimizer.zero_grad()
            loss = self.loss_of_part(self.stretch[1], part)
            if loss.requires_grad:
                self.manual_backward(loss)
            if self.recipe.gradient_clip:
                self.clip_gradients(optimizer, self.recipe.gradient_clip, "norm")
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def can_record(self) -> bool:
        """Whether a step here is one process's, on a GPU."""
        return self.device.type == "cuda" and world_size() == 1

    def do_step(self, step: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """`RecordedStep` of `step`, made once, called with `inputs`; a copy of what it returns.

        It leaves the batch's gradients, whatever there was before.
        """
        if self.recorded is None:
            self.recorded = RecordedStep(step, self)
        return self.recorded(*inputs).clone()
