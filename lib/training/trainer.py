"""Lightning's Trainer as every experiment here uses it: loggers, checkpoints, resume, progress."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy

from lib.bars import Bar
from lib.training.checkpoint import CompleteCheckpointIO, seconds_between, usable
from lib.training.diagnosis import Diagnosis
from lib.training.memory import memory_of
from lib.training.ranks import ALONE, Crew, SharedBatchNorm
from lib.training.steps import SteppingModule

# Seconds between two checkpoints; None: as `lib.training.checkpoint` says when the training begins.
CHECKPOINT_SECONDS: float | None = None


class ProgressFile(Callback):
    """Writes `epoch 3/40` into a file after each epoch, for whoever watches from outside."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how far the run is."""
        if not trainer.is_global_zero:
            return
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}\n"
        self.path.write_text(text, encoding="utf-8")


class EpochBar(Callback):
    """A bar over the epochs of a training, with its loss where it logs one as `loss`.

    Trainings of one cell and name share a line.
    """

    def __init__(self, what: str, show: bool) -> None:
        self.what, self.show = what, show
        self.bar: Bar | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin where the training begins, which may be in its middle."""
        total, start = trainer.max_epochs, trainer.current_epoch
        self.bar = Bar(self.what, total, "epoch", show=self.show, kept=True, start=start)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One more."""
        loss = trainer.callback_metrics.get("loss")
        if self.bar is not None:
            self.bar.update(1, "" if loss is None else f"loss {float(loss):.3f}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the line that stays."""
        if self.bar is not None:
            self.bar.close()


class TimedCheckpoint(ModelCheckpoint):
    """Saves at the end of an epoch, if `seconds` have passed since it last did.

    Writing takes longer than a short epoch does; what a resumed run repeats is at most that long.
    """

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self.seconds, self.saved = seconds, time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, or let it be."""
        # All ranks or none, for they wait for each other while one writes; clocks differ.
        due = time.monotonic() - self.saved >= self.seconds
        if trainer.strategy.broadcast(due):
            super().on_train_epoch_end(trainer, pl_module)
            self.saved = time.monotonic()


def fit(
    module: SteppingModule[Any],
    folder: Path,
    *,
    epochs: int,
    device: str,
    show_progress: bool,
    crew: Crew = ALONE,
    what: str = "Training",
) -> None:
    """Train `module` for `epochs`, going on from `folder/checkpoints/last.ckpt` where there is one.

    The checkpoint is written at the end of an epoch, if half a minute (`lib.training.checkpoint`)
    has passed since the last one. It is the run's own file and holds only tensors, numbers and
    text, so it is read with `weights_only=True`. Moving batches, choosing the number format and
    clipping gradients is the module's affair (`lib.training.steps`). what: its name in a bar.

    crew: of several processes, each of which calls this (`lib.training.launch`). The first writes
    all files.
    """
    checkpoints = folder / "checkpoints"
    keep = TimedCheckpoint(
        seconds_between() if CHECKPOINT_SECONDS is None else CHECKPOINT_SECONDS,
        dirpath=checkpoints, filename="last", save_top_k=1,
        enable_version_counter=False, save_on_train_epoch_end=True,
    )  # fmt: skip
    callbacks: list[Callback] = [keep, ProgressFile(folder / "progress"), Diagnosis()]
    callbacks.append(EpochBar(what, show_progress))
    kind, _, number = device.partition(":")
    last = checkpoints / "last.ckpt"
    with quiet():
        trainer = pl.Trainer(
            accelerator="gpu" if kind == "cuda" else "cpu",
            **processes(module, kind, int(number or 0), crew),
            max_epochs=epochs,
            logger=[
                CSVLogger(folder, name="logs", version="csv"),
                TensorBoardLogger(folder, name="logs", version="tensorboard"),
            ],
            callbacks=callbacks,
            plugins=[CompleteCheckpointIO(), *surroundings(crew)],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        recipe: Any = module.recipe
        contrastive = hasattr(recipe, "temperature")
        full = memory_of(device, recipe.batch_size, contrastive=contrastive)
        try:
            with full, one_thread(kind == "cuda"):
                trainer.fit(module, weights_only=True, ckpt_path=usable(last))
        finally:
            module.forget()


@contextlib.contextmanager
def one_thread(alone: bool) -> Iterator[None]:
    """Within the block, torch's operators on the CPU use one thread, if `alone`.

    Beside a GPU the host draws a few thousand numbers a step. torch shares even their square roots
    out to all cores, which there is no work for.
    """
    threads = torch.get_num_threads()
    try:
        if alone:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def watch_progress(folder: Path, epochs: int, show: bool) -> Iterator[Callable[[], None]]:
    """A function that brings a bar up to what `folder/progress` says; `show`: whether there is one.

    For whoever waits for a training in other processes.
    """
    path = folder / "progress"
    path.unlink(missing_ok=True)
    with Bar("Pretraining", epochs, "epoch", show=show, kept=True) as bar:

        def watch() -> None:
            with contextlib.suppress(OSError, ValueError):
                done = int(path.read_text(encoding="utf-8").removeprefix("epoch ").split("/")[0])
                bar.update(done - bar.n)

        yield watch


def surroundings(crew: Crew) -> list[LightningEnvironment]:
    """One process is one process, also inside a Slurm job of several tasks, where Lightning would
    take it for one of them. A crew's strategy says so by itself.
    """
    return [LightningEnvironment()] if crew.size == 1 else []


def processes(module: pl.LightningModule, kind: str, number: int, crew: Crew) -> dict[str, Any]:
    """Trainer's options for one process on device `number`, or for a crew on a machine's first.

    BatchNorm takes the statistics of the whole batch, as one process does, so its buffers stay
    equal by themselves.
    """
    if crew.size == 1:
        return {"devices": [number] if kind == "cuda" else 1}
    if kind == "cpu":
        SharedBatchNorm.replace_in(module)  # Lightning's does not work there
    strategy = DDPStrategy(
        cluster_environment=LightningEnvironment(),
        process_group_backend="nccl" if kind == "cuda" else "gloo",
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )
    return {
        "devices": crew.devices,
        "num_nodes": crew.num_nodes,
        "strategy": strategy,
        "sync_batchnorm": kind == "cuda",
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's start-up lines and its advice on data loaders out of the reports."""
    loggers = [logging.getLogger(f"pytorch_lightning.{part}") for part in ("utilities", "trainer")]
    loggers += [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    loggers.append(logging.getLogger("pytorch_lightning"))
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists.*")
            warnings.filterwarnings("ignore", ".*Experiment logs directory .* exists.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*deprecated.*")
            # CUDA graphs are recorded on a stream of their own.
            warnings.filterwarnings("ignore", ".*AccumulateGrad node's stream.*")
            warnings.filterwarnings("ignore", ".*srun. command is available.*")
            warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")
            warnings.filterwarnings("ignore", ".*GPU available but not used.*")
            warnings.filterwarnings("ignore", ".*lr_scheduler.step.*optimizer.step.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
