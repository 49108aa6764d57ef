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
from lib.training.batches import mix
from lib.training.ranks import world_size

# Batches of a stretch: after it the loss is looked at, which waits for the device.
STRETCH = 50
Given = TypeVar("Given")


class Batches(Protocol):
    """Indices of an epoch's batches, int64 [B] each."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Tensor]: ...


def stretches(batches: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Batches in lists of up to STRETCH, in order."""
    source = iter(batches)
    while stretch := list(islice(source, STRETCH)):
        yield stretch


class Parts(Iterable[tuple[int, list[slice]]]):
    """What Lightning goes through in an epoch: numbers of stretches, and where each batch lies.

    With `apart` a stretch comes as often as it has batches, with one of them each time.
    """

    def __init__(self, batches: Callable[[], Batches], *, apart: bool = False) -> None:
        self.batches, self.apart = batches, apart

    def __len__(self) -> int:
        n = len(self.batches())
        return n if self.apart else math.ceil(n / STRETCH)

    def __iter__(self) -> Iterator[tuple[int, list[slice]]]:
        for number, stretch in enumerate(stretches(self.batches())):
            ends = accumulate(map(len, stretch), initial=0)
            parts = [slice(a, b) for a, b in pairwise(ends)]
            yield from ((number, [part]) for part in parts) if self.apart else [(number, parts)]


class SteppingModule(pl.LightningModule, Generic[Given]):
    """A module trained in stretches of batches, with steps recorded whole on a GPU.

    A subclass has a `recipe` with `seed`, `epochs` and `gradient_clip`, a `generator` of all that
    is drawn, the `batches` of an epoch, prepares a stretch, and computes the loss of each batch in
    it: with `do_step` gradients and all (where `can_record`), else as a loss that can be
    differentiated.

    Shuffling and what is drawn depend on (seed, epoch) alone. While a GPU works through a stretch
    the host prepares the next, also that of the next epoch. Several processes exchange gradients
    once a forward pass as Lightning sees it, so they take the batches of a stretch one by one; what
    is drawn is the same.
    """

    recipe: Any
    generator: torch.Generator

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.recorded: RecordedStep | None = None
        self.source: Iterator[Given] = iter(())
        self.at: tuple[int, int] | None = None  # epoch and stretch that `given` is for
        self.given: Given | None = None
        self.ahead: Given | None = None

    @abstractmethod
    def batches(self, epoch: int) -> Batches:
        """The batches of an epoch, from 0."""

    @abstractmethod
    def prepare(self, index: Tensor) -> Given:
        """What the steps on the images at `index` int64 [n] need, drawn and sent at once."""

    @abstractmethod
    def loss_of_part(self, given: Given, part: slice) -> Tensor:
        """The loss of the images in a part of what was prepared; a scalar."""

    def loss_at(self, index: Tensor) -> Tensor:
        """The loss of the images at `index` [B], a batch by itself."""
        return self.loss_of_part(self.prepare(index), slice(0, len(index)))

    def train_dataloader(self) -> Parts:
        """The stretches of an epoch; Lightning takes any iterable with a length."""
        return Parts(lambda: self.batches(self.current_epoch), apart=world_size() > 1)

    def total_steps(self) -> int:
        """Steps of the whole training."""
        return len(self.batches(0)) * int(self.recipe.epochs)

    def on_train_start(self) -> None:
        """Begin where the training begins, which may be in its middle."""
        self.source = self.all_prepared(self.current_epoch)

    def all_prepared(self, first: int) -> Iterator[Given]:
        """Every stretch from an epoch on to the training's end, prepared when it is asked for."""
        for epoch in range(first, int(self.recipe.epochs)):
            self.generator.manual_seed(mix(self.recipe.seed, epoch, 2))
            for stretch in stretches(self.batches(epoch)):
                yield self.prepare(torch.cat(stretch))

    def prepared(self, stretch: int) -> Given:
        """What the steps of a stretch of the current epoch need."""
        if self.at != (self.current_epoch, stretch) or self.given is None:
            self.at = self.current_epoch, stretch
            self.given = next(self.source, None) if self.ahead is None else self.ahead
            self.ahead = None
        if self.given is None:  # Lightning would take a StopIteration for the end of the epoch
            raise RuntimeError(f"no batches beyond epoch {self.recipe.epochs} of the recipe")
        return self.given

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        """Leave what tells of batches on the host, which draws the views."""
        return batch

    def training_step(self, batch: tuple[int, list[slice]], _: int) -> Tensor:
        """A step for each part of a stretch; their losses [number of parts].

        Nothing here waits for the device: the host draws and queues work, whatever is queued.
        """
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        number, parts = batch
        given = self.prepared(number)
        losses = []
        for part in parts:
            if self.recorded is None:
                optimizer.zero_grad()
            loss = self.loss_of_part(given, part)
            if self.recorded is None:
                self.manual_backward(loss)
            if self.recipe.gradient_clip:
                self.clip_gradients(optimizer, self.recipe.gradient_clip, "norm")
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        if self.can_record():
            self.ahead = next(self.source, None)
        return torch.stack(losses)

    def forget(self) -> None:
        """Let go of what only a training needs: graphs hold a batch's activations on the GPU."""
        self.recorded = self.at = self.given = self.ahead = None
        self.source = iter(())

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
