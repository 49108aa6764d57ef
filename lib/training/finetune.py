"""Finetuning: an encoder and a linear head trained on some labels, the learning rate chosen."""

from __future__ import annotations

import gc
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lib.augment import make_augment
from lib.data.base import DataError, DataSet, Task, labels_of
from lib.data.store import ImageStore
from lib.files import replacing
from lib.models.embed import embed_images
from lib.models.encoder import Encoder, build_encoder, freeze_stages, seeded, unfreeze
from lib.models.weights import load_init
from lib.run import Run
from lib.training.contrastive import Row
from lib.training.finetune_module import FinetuneModule, FinetuneRecipe
from lib.training.memory import MemoryFullError, halve
from lib.training.monitor import ScoreMonitor
from lib.training.objective import Objective, plain_objective, probabilities
from lib.training.witness import Seen, Witness

__all__ = ["FinetuneRecipe", "Finetuned", "finetune", "starting_encoder"]


@dataclass
class Finetuned:
    """What finetuning leaves: the weights of the epoch and the learning rate that were chosen.

    encoder, head: in eval mode, on the CPU. offset: float [K], taken off the logits, or None.
    lr: the peak rate chosen; history: its epochs; selected: the epoch kept (1 is the first);
    val_auroc: at that epoch, None without usable validation labels. steps: optimizer steps of one
    training; seconds: of all trainings, one for each rate. tried: history by rate. seen: what a
    witness noted, by rate and epoch.
    """

    encoder: Encoder
    head: nn.Linear
    task: Task
    offset: Tensor | None
    lr: float
    history: list[Row]
    selected: int
    val_auroc: float | None
    steps: int
    seconds: float
    tried: dict[float, list[Row]] = field(default_factory=dict)
    seen: dict[float, dict[int, Seen]] = field(default_factory=dict)

    def scores(
        self, images: npt.NDArray[np.uint8], device: str = "cpu", precision: str = "fp32"
    ) -> npt.NDArray[np.float32]:
        """Probabilities float32 [N, K] of images uint8 [N, H, W, C]."""
        h = embed_images(self.encoder.to(device), images, device, precision)
        self.encoder.cpu()
        with torch.no_grad():
            logits = self.head(torch.from_numpy(h))
        return np.asarray(probabilities(logits, self.task, self.offset).numpy(), np.float32)


def finetune(
    make_encoder: Callable[[], Encoder],
    data: DataSet,
    rows: npt.NDArray[np.int64],
    recipe: FinetuneRecipe,
    folder: Path,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    show_progress: bool = False,
    objective: Objective | None = None,
    witness: Witness | None = None,
) -> Finetuned:
    """Train an encoder with a linear head on the training images at `rows` int64 [n].

    One training for each learning rate of the recipe, each from a fresh `make_encoder()` and with
    the same batches; the highest validation AUROC is kept, the first of equals. Validation images
    choose the epoch and the rate and are not trained on; the test split is not touched. Without
    usable validation labels nothing could choose: the first rate and its last epoch are kept.

    folder: gets a training in each `lr-…`, which an interrupted call goes on with, and at the end
    only the weights chosen; a second call returns those. Names in it carry a digest of
    everything the weights depend on but the objective's loss: give each loss a folder of its own.
    A folder below the run's `checkpoints/` is removed with it. objective: cross-entropy
    unless given; its sample_weights, float [n], go with `rows`. witness: notes what it sees at each
    check, of splits that are otherwise not looked at.

    Raises DataError without labels, with fewer than two images, or where all have the same label.
    """
    train, y = data.splits["train"], labels_of(data, "train")[rows]
    check_labelled(data, rows, y)
    objective = objective or plain_objective(data.task)
    encoder = make_encoder()
    mark = digest_of(encoder, data, rows, recipe, objective, precision, witness is not None)
    done = folder / f"finetuned-{mark}.pt"
    if done.exists():
        return read_finetuned(done, encoder, data, objective)
    monitor = ScoreMonitor.of(data, device, precision, recipe.seed)
    # Few images move to the device by themselves; most of a large file are not copied out of it.
    few = 2 * len(rows) < len(train)
    store = ImageStore(train.images[rows] if few else train.images, device)
    position = torch.arange(len(rows)) if few else torch.from_numpy(rows)
    best: FinetuneModule | None = None
    tried: dict[float, list[Row]] = {}
    seen: dict[float, dict[int, Seen]] = {}
    parts = 1
    # Without validation every further rate would be trained and then not looked at.
    for lr in recipe.lrs if monitor is not None else recipe.lrs[:1]:

        def make_module(parts: int, lr: float = lr) -> FinetuneModule:
            return FinetuneModule(
                prepare(make_encoder(), recipe),
                make_head(encoder.feature_dim, len(data.classes), recipe.seed),
                None if recipe.train_augment == "none"
                else make_augment(recipe.train_augment, data.size, data.channels),
                store, position, torch.from_numpy(y), recipe, lr, objective, monitor, precision,
                parts, witness,
            )  # fmt: skip

        where = folder / f"lr-{lr:g}-{mark}"
        module = train_within_memory(make_module, parts, where, device, show_progress)
        parts = module.parts
        tried[lr], seen[lr] = module.history, module.seen
        if best is None or module.auroc > best.auroc:
            best = module
    assert best is not None
    write_finetuned(done, best, tried, seen)
    for lr in tried:
        shutil.rmtree(folder / f"lr-{lr:g}-{mark}")
    return read_finetuned(done, encoder, data, objective)


def check_labelled(data: DataSet, rows: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> None:
    """Raise DataError unless there are two labelled images or more, of more than one label."""
    if len(rows) < 2:
        raise DataError(f"{data.name}: {len(rows)} labelled image(s); finetuning needs two")
    if (y == y[0]).all():
        raise DataError(
            f"{data.name}: all {len(rows)} labelled images have the same label; give more labels"
        )


def prepare(encoder: Encoder, recipe: FinetuneRecipe) -> Encoder:
    """The encoder in train mode but for the stages that the recipe freezes."""
    encoder = encoder.to(memory_format=torch.channels_last)
    return freeze_stages(unfreeze(encoder), recipe.freeze_stages)


def make_head(width: int, n_classes: int, seed: int) -> nn.Linear:
    """A linear classifier [D → K]; the same seed gives the same weights."""
    with seeded(seed):
        return nn.Linear(width, n_classes)


def train_within_memory(
    make_module: Callable[[int], FinetuneModule],
    parts: int,
    folder: Path,
    device: str,
    show_progress: bool,
) -> FinetuneModule:
    """Train what `make_module(parts)` makes, in more parts where a batch does not fit into memory.

    Raises MemoryFullError where the smallest parts do not fit either.
    """
    while True:
        module, full = make_module(parts), None
        try:
            train_module(module, folder, device, show_progress)
        except MemoryFullError as error:
            full = error.with_traceback(None)
            # Their tracebacks hold on to the batch that did not fit.
            full.__cause__ = full.__context__ = None
        if full is None:
            return module
        batch = min(module.recipe.batch_size, len(module.y))
        del module
        parts = halve(parts, batch, full)
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


def train_module(module: FinetuneModule, folder: Path, device: str, show_progress: bool) -> None:
    """Train one rate, going on where an interrupted training of the same folder stopped."""
    from lib.training.trainer import fit

    fit(
        module,
        folder,
        epochs=module.recipe.epochs,
        device=device,
        show_progress=show_progress,
        what="Finetuning",
    )


def digest_of(
    encoder: Encoder,
    data: DataSet,
    rows: npt.NDArray[np.int64],
    recipe: FinetuneRecipe,
    objective: Objective,
    precision: str,
    witnessed: bool = False,
) -> str:
    """A short hash of the start, the images and the recipe of a finetuning."""
    about = (
        recipe, data.fingerprint, data.name, encoder.architecture, objective.name, precision,
        *(["witnessed"] if witnessed else []),
    )  # fmt: skip
    known = hashlib.sha256(repr(about).encode())
    known.update(np.ascontiguousarray(rows, np.int64).tobytes())
    tensors = [*encoder.state_dict().values(), objective.sample_weights, objective.offset]
    for tensor in tensors:
        known.update(
            b"" if tensor is None else tensor.detach().cpu().contiguous().numpy().tobytes()
        )
    return known.hexdigest()[:8]


def write_finetuned(
    path: Path,
    module: FinetuneModule,
    tried: dict[float, list[Row]],
    seen: dict[float, dict[int, Seen]],
) -> None:
    """Write what is kept of a finetuning: tensors, numbers and text, complete or not at all."""
    content: dict[str, Any] = {
        "weights": module.best,
        "lr": module.lr,
        "selected": module.selected,
        "auroc": module.auroc if module.monitor is not None else None,
        "tried": tried,
        "seen": seen,
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def read_finetuned(path: Path, encoder: Encoder, data: DataSet, objective: Objective) -> Finetuned:
    """Read what `write_finetuned` wrote, into `encoder` and a head of its own."""
    content = torch.load(path, weights_only=True)
    head = make_head(encoder.feature_dim, len(data.classes), 0)
    for name, module in (("encoder.", encoder), ("head.", head)):
        own = {k.removeprefix(name): v for k, v in content["weights"].items() if k.startswith(name)}
        module.load_state_dict(own)
    tried, lr = content["tried"], content["lr"]
    return Finetuned(
        unfreeze(encoder).eval(),
        head.eval(),
        data.task,
        objective.offset,
        lr,
        tried[lr],
        content["selected"],
        content["auroc"],
        int(tried[lr][-1]["steps"]),
        sum(row["seconds"] for history in tried.values() for row in history),
        tried,
        content["seen"],
    )


def starting_encoder(run: Run, data: DataSet, init: str | None = None) -> Callable[[], Encoder]:
    """What makes the encoder a finetuning starts from, afresh at each call.

    init: the run's own unless given; `scratch` is the architecture of the run's encoder with
    random weights from the run's seed, for images of the data's own channels.
    """
    p = run.params
    init = init or p.init
    named = (p.encoder, p.stem, data.channels)

    def make() -> Encoder:
        if init == "scratch" and p.init not in ("scratch", "imagenet"):
            like, _ = load_init(p.init, None, None, None, seed=p.seed)
            return build_encoder(like.architecture, like.stem, data.channels, seed=p.seed)
        asked = named if init in ("scratch", "imagenet") else (None, None, None)
        return load_init(init, *asked, seed=p.seed)[0]

    return make
