"""An encoder from one data set on another: frozen, finetuned, and pretrained further there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib.data.base import DataSet
from lib.evaluation.evaluate import Budget, Evaluated, probe_features, result_rows
from lib.evaluation.label_efficiency import score
from lib.files import write_text
from lib.models.embed import embed_splits
from lib.models.encoder import Encoder, build_encoder, freeze
from lib.models.weights import FILE_NAME, load_init, read_header
from lib.run import Run
from lib.training.finetune import Finetuned, FinetuneRecipe, finetune
from lib.training.further import Shape, further_method, pretrain_further, shape_of, trained_last_on
from lib.training.pretrain import Pretraining, pretraining_rows

FLOOR = "random"
# What becomes of images with that many channels in an encoder of the other kind.
CHANNELS = {
    1: "Pretrained on colour, used on grey images, which go through it three times repeated.",
    3: "Pretrained on grey images: it sees these without their colour, which random weights see.",
}


@dataclass(frozen=True)
class Start:
    """What a classifier on the target starts from.

    method, augment: as in summary.csv, `random` for random weights. init: a file, scratch or
    imagenet. kind: source, further, imagenet or random.
    """

    kind: str
    method: str
    augment: str
    init: str


@dataclass
class Transfer:
    """What the starts come to on the target.

    results: of probe, kNN and finetuning, on validation and test. trainings: by method and budget.
    further: the pretraining on the target, with the run it is noted as; None where there was none.
    notes: sentences on what was left out, or differs from what a reader expects.
    """

    architecture: str
    starts: list[Start] = field(default_factory=list)
    results: list[Evaluated] = field(default_factory=list)
    trainings: dict[tuple[str, str], Finetuned] = field(default_factory=dict)
    further: tuple[Pretraining, Run] | None = None
    notes: list[str] = field(default_factory=list)

    def test(self, kind: str, protocol: str, labels: str) -> Evaluated | None:
        """The result of a kind of start on the test split; None where it was not measured."""
        methods = [start.method for start in self.starts if start.kind == kind]
        for r in self.results:
            key = (r.protocol, r.labels, r.predictions.split)
            if r.source in methods and key == (protocol, labels, "test"):
                return r
        return None


def study_transfer(run: Run, data: DataSet, budgets: Sequence[Budget]) -> Transfer:
    """Use the run's encoder on `data` as it is, and after further pretraining there.

    Each start is probed frozen and, with `finetuned`, finetuned at each budget by one recipe. With
    `floors`, or where there is no pretrained encoder, stand beside it: the same architecture with
    random weights, which see the channels of `data` whatever the encoder's, and, where they can be
    had without a download, ImageNet weights. An encoder that was last trained on `data` itself
    gets no further pretraining. Trainings lie in `checkpoints/` of the run's folder, from where an
    interrupted run goes on; what further pretraining leaves is written as encoder.safetensors. The
    test split is scored once by each classifier.
    """
    p = run.params
    like = shape_of(run, data)
    found = Transfer(like.architecture, notes=describe_source(run, data))
    if p.init != "scratch":
        kind = "imagenet" if run.origin.method == "imagenet" else "source"
        found.starts.append(Start(kind, run.method, run.origin.augment, p.init))
        if p.further_epochs and not trained_last_on(run):
            tell(run, "further pretraining")
            result, noted = pretrain_further(run, data, like)
            found.further = result, noted
            made = str(run.folder / FILE_NAME)
            about = further_method(noted), noted.params.augment
            found.starts.append(Start("further", *about, made))
    if p.floors or not found.starts:
        found.starts.append(Start("random", FLOOR, "", "scratch"))
        if run.origin.method != "imagenet" and imagenet_fits(like, found.notes):
            found.starts.append(Start("imagenet", "imagenet", "", "imagenet"))
    for start in found.starts:
        make = encoder_maker(start, like, data, p.seed)
        found.results += probe_start(start, make, run, data, budgets)
        if p.finetuned:
            for budget in budgets:
                tell(run, f"finetuning {start.kind}, {budget.name} labels")
                tuned = finetune_start(start, make, run, data, budget)
                found.trainings[start.method, budget.name] = tuned
                key = start.method, start.augment, budget.name
                found.results += score(tuned, data, run, *key)
    return found


def tell(run: Run, what: str) -> None:
    """Say in the run's progress file what is being done."""
    write_text(run.folder / "progress", f"{what}\n")


def encoder_maker(start: Start, like: Shape, data: DataSet, seed: int) -> Callable[[], Encoder]:
    """What makes a start's encoder, afresh at each call."""

    def make() -> Encoder:
        if start.init == "scratch":
            return build_encoder(like.architecture, like.stem, data.channels, seed=seed)
        asked: tuple[Any, ...] = (None, None, None)
        if start.init == "imagenet":
            asked = (like.architecture, like.stem, data.channels)
        return load_init(start.init, *asked, seed=seed)[0]

    return make


def describe_source(run: Run, data: DataSet) -> list[str]:
    """What a reader must know of the run's encoder, in sentences."""
    p, notes = run.params, []
    if p.init == "scratch":
        return ["There is no pretrained encoder: only what needs none was measured."]
    if trained_last_on(run):
        notes.append("The encoder was last trained on this data set: no further pretraining.")
    if Path(p.init).suffix == ".safetensors":
        header = read_header(p.init)
        size = int(header["size"])
        if size != data.size:
            notes.append(f"Pretrained on images of {size} px, used on images of {data.size} px.")
        if header["channels"] != data.channels:
            notes.append(CHANNELS[data.channels])
    return notes


def imagenet_fits(like: Shape, notes: list[str]) -> bool:
    """Whether ImageNet weights can stand beside the others; the reason why not joins `notes`."""
    if like.stem != "imagenet":
        notes.append(
            f"ImageNet weights are left out: they need the imagenet stem, the encoders here have "
            f"the {like.stem} one."
        )
        return False
    if not imagenet_file(like.architecture).is_file():
        name = imagenet_file(like.architecture).name
        notes.append(f"ImageNet weights are left out: {name} is not on this machine.")
        return False
    return True


def imagenet_file(architecture: str) -> Path:
    """Where torchvision keeps the ImageNet weights of an architecture once they are there."""
    import torchvision

    url = torchvision.models.get_model_weights(architecture).IMAGENET1K_V1.url
    return Path(torch.hub.get_dir()) / "checkpoints" / str(url).rsplit("/", 1)[-1]


def probe_start(
    start: Start,
    make: Callable[[], Encoder],
    run: Run,
    data: DataSet,
    budgets: Sequence[Budget],
) -> list[Evaluated]:
    """Logistic regression and kNN on a start's frozen features, as in 02_probe."""
    p = run.params
    features = embed_splits(freeze(make()), data, run.device, run.precision)
    about = {"knn_k": p.knn_k, "bootstrap": p.bootstrap, "seed": p.seed}
    return probe_features({start.method: features}, data, budgets, augment=start.augment, **about)


def finetune_start(
    start: Start, make: Callable[[], Encoder], run: Run, data: DataSet, budget: Budget
) -> Finetuned:
    """Finetune a start at one budget, as in 03_finetune: the same recipe for every start.

    Only `freeze_stages` and `layer_decay` do not hold for random weights, which they would keep
    from learning.
    """
    recipe = FinetuneRecipe.of(run.params)
    if start.kind == "random":
        recipe = dataclasses.replace(recipe, freeze_stages=0, layer_decay=1.0)
    return finetune(
        make,
        data,
        budget.chosen.indices,
        recipe,
        run.folder / "checkpoints" / start.kind / budget.name.replace(" ", "-"),
        device=run.device,
        precision=run.precision,
        show_progress=run.interactive,
    )


def transfer_rows(found: Transfer, run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv: every metric, the further pretraining, and what finetunings cost."""
    rows = result_rows(found.results, run, found.architecture)
    if found.further is not None:
        rows += pretraining_rows(*found.further)
    augments = {start.method: start.augment for start in found.starts}
    for (method, labels), tuned in found.trainings.items():
        about = {
            "method": method,
            "augment": augments[method],
            "encoder": found.architecture,
            "labels": labels,
            "protocol": "finetune",
        }
        rows.append(run.row("seconds", tuned.seconds, **about, split="train"))
        rows.append(run.row("steps", float(tuned.steps), **about, split="train"))
        rows.append(run.row("lr_selected", tuned.lr, **about, split="val"))
    return rows
