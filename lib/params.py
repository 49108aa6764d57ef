"""The study's parameters: what each name means, its type and its range, in every notebook alike."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.checks import (
    Check,
    ParameterError,
    augmentation,
    device_name,
    flag,
    folder_name,
    grade_scale,
    label_budgets,
    number,
    one_of,
    optional,
    several,
    short_text,
    shorten,
    text,
    training_augmentation,
    whole,
    words,
)

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
# What 04_imbalance can try; `lib.evaluation.remedies` says what each does.
REMEDIES = (
    "none", "undersample", "oversample", "class_weights", "focal", "balanced_softmax",
    "logit_adjustment",
)  # fmt: skip
SEEDS = 2**32 - 1  # the largest that scikit-learn takes
METRICS = ("auroc", "accuracy", "balanced_accuracy", "average_precision", "macro_f1")


@dataclass(frozen=True)
class Parameter:
    """One parameter: how to check it, what it means, and whether the result depends on it."""

    check: Check
    meaning: str
    in_hash: bool = True


PARAMETERS: dict[str, Parameter] = {
    # what is studied
    "dataset": Parameter(
        text, "a MedMNIST name, phantom, phantom-fundus, npz:PATH, folder:PATH or csv:PATH"
    ),
    "size": Parameter(whole(7, 1024), "image side in pixels"),
    "split_seed": Parameter(whole(0, SEEDS), "seed of the split, where a data set brings none"),
    "folds": Parameter(whole(0, 100), "folds of a cross-validation; 0: the data set's own split"),
    "folds_of": Parameter(
        one_of("all", "trainval"), "images in the folds; trainval: the test split is put away"
    ),
    "fold": Parameter(whole(0, 99), "which fold is the test split, from 0"),
    "cap_per_class": Parameter(whole(0), "at most so many images of each class; 0: all"),
    "max_unreadable": Parameter(number(0, 1), "share of unreadable images that stops the run"),
    "preprocess": Parameter(
        one_of("none", "fundus"), "what is done to each photograph before it is resized"
    ),
    "data_root": Parameter(text, "folder of the data files; empty: MEDMNIST_ROOT", in_hash=False),
    "seed": Parameter(whole(0, SEEDS), "seed of everything random in the run"),
    # pretraining
    "method": Parameter(one_of("simclr", "supcon"), "contrastive method"),
    "balanced_batches": Parameter(flag, "supcon: batches with as many images of each class"),
    "seen_labels": Parameter(label_budgets, "supcon: labelled training images it may see"),
    "variant": Parameter(
        short_text(60), "a name in tables, where runs differ in a parameter without column"
    ),
    "augment": Parameter(
        augmentation, "augmentation sequence; settings that differ follow: novel rotation=180"
    ),
    "crop_scale": Parameter(number(0, 1), "smallest crop as a share of the area; 0: sequence's"),
    "encoder": Parameter(one_of("resnet18", "resnet50"), "encoder architecture"),
    "stem": Parameter(
        one_of("small", "strided", "imagenet"),
        "small: 3×3, no pooling; strided: 3×3/2, no pooling; imagenet: 7×7/2 and pooling",
    ),
    "init": Parameter(text, "scratch, imagenet, a run or a file"),
    "epochs": Parameter(whole(1), "passes over the training images"),
    "warmup_epochs": Parameter(number(0), "epochs of linear warm-up of the learning rate"),
    "batch_size": Parameter(whole(2), "images in a batch (two views of each)"),
    "temperature": Parameter(number(0, open_low=True), "temperature τ of the contrastive loss"),
    "optimizer": Parameter(one_of("adamw", "sgd"), "optimizer"),
    "lr": Parameter(number(0, open_low=True), "peak learning rate"),
    "weight_decay": Parameter(number(0), "weight decay (not on biases and BatchNorm)"),
    "gradient_clip": Parameter(number(0), "largest gradient norm; 0: no clipping"),
    "projection_dim": Parameter(whole(2), "width of the projection z"),
    "projection_layers": Parameter(whole(1, 8), "linear layers of the projection head"),
    "projection_norm": Parameter(
        one_of("none", "batch"), "normalisation inside the projection head"
    ),
    "knn_every": Parameter(whole(1), "epochs between kNN checks on the validation split"),
    # evaluation
    "labels": Parameter(label_budgets, "labelled training images: a count, all, or a list"),
    "per_class": Parameter(whole(0), "labelled images of each class instead of labels; 0: off"),
    "knn_k": Parameter(whole(1), "neighbours in the kNN classifier"),
    "floors": Parameter(flag, "also measure what needs no pretraining: the floors of the notebook"),
    "bootstrap": Parameter(whole(100), "bootstrap resamples of an interval"),
    "gallery": Parameter(whole(1, 64), "images shown in a gallery"),
    "pictures": Parameter(flag, "show images of the data set; false: none", in_hash=False),
    # finetuning
    "lrs": Parameter(several(number(0, open_low=True), "rate"), "peak learning rates to try"),
    "layer_decay": Parameter(
        number(0, 1, open_low=True), "learning rate of each stage as a share of the next one's"
    ),
    "freeze_stages": Parameter(whole(0, 5), "stages not trained: 1 the stem, 2 also layer1, …"),
    "train_augment": Parameter(training_augmentation, "augmentation in finetuning; none: none"),
    "schedule": Parameter(one_of("cosine", "constant"), "learning rate after the warm-up"),
    "min_steps": Parameter(whole(1), "optimizer steps at least, however few the labels"),
    "val_every": Parameter(whole(1), "epochs between checks on the validation split"),
    # imbalance
    "remedies": Parameter(words(*REMEDIES), "what is tried against imbalance"),
    "undersample_to": Parameter(several(whole(1), "count"), "images of each class kept"),
    "imbalance_ratio": Parameter(number(0), "largest over smallest class; 0: as the data are"),
    "focal_gamma": Parameter(number(0), "γ of the focal loss"),
    "adjustment": Parameter(number(0), "τ of the logit adjustment"),
    "protocol": Parameter(one_of("probe", "finetune"), "a linear layer, or the whole encoder"),
    # transfer
    "further_epochs": Parameter(whole(0), "epochs of further pretraining on the target; 0: none"),
    "further_lr": Parameter(number(0, open_low=True), "its peak learning rate"),
    "further_warmup": Parameter(number(0), "its epochs of linear warm-up"),
    "finetuned": Parameter(flag, "also finetune the whole encoder"),
    # downsampling
    "sizes": Parameter(several(whole(7, 1024), "size"), "image sides in pixels, each studied"),
    "tolerance": Parameter(number(0, 100), "loss that is acceptable, in points (hundredths)"),
    # retrieval and features
    "top_k": Parameter(several(whole(1), "count"), "numbers of nearest images looked at"),
    "search": Parameter(one_of("auto", "exact", "faiss"), "how nearest images are found"),
    "view": Parameter(one_of("train", "val", "test"), "split that is shown"),
    "classes_shown": Parameter(text, "classes in the pictures, with commas; empty: all"),
    "perplexities": Parameter(several(number(1), "perplexity"), "perplexities of t-SNE"),
    "max_points": Parameter(whole(10), "images in a map of features"),
    # selection
    "halvings": Parameter(whole(2, 100_000), "ways to halve the test images, one to choose by"),
    # retinopathy
    "neighbours": Parameter(
        several(whole(1), "count"), "numbers of neighbours that grade an image"
    ),
    "queries": Parameter(text, "a data set whose images are graded; empty: the test split"),
    "grade_scale": Parameter(grade_scale, "what each grade is on the scale of the queries"),
    "references": Parameter(several(whole(1), "count"), "numbers of healthy reference images"),
    "reference_choices": Parameter(whole(2, 1000), "choices of references for their influence"),
    "show_steps": Parameter(flag, "show what preprocessing does to a photograph", in_hash=False),
    # reports
    "summary": Parameter(text, "a summary.csv; empty: the study's", in_hash=False),
    "metric": Parameter(one_of(*METRICS), "metric of the comparisons"),
    "level": Parameter(number(0.5, 0.999), "confidence level"),
    # where it runs
    "device": Parameter(device_name, "auto, cpu, cuda or cuda:N", in_hash=False),
    "devices": Parameter(
        whole(1), "GPUs, or processes on the CPU, that share a batch", in_hash=False
    ),
    "num_nodes": Parameter(whole(1), "machines with so many devices each", in_hash=False),
    "precision": Parameter(one_of("auto", "fp32", "bf16"), "number format of the encoder"),
    "results": Parameter(text, "folder of the results; empty: the repository's", in_hash=False),
    "study": Parameter(
        optional(folder_name), "name of the study the run belongs to", in_hash=False
    ),
    "out": Parameter(text, "folder of this run; empty: chosen by the parameters", in_hash=False),
}


def as_list(value: str) -> list[float]:
    """The numbers of a parameter checked by `several`."""
    return [float(part) for part in value.split(",")]


def check_value(name: str, value: Any) -> Any:
    """Return `value` in its proper type, or raise ParameterError saying what was expected."""
    if name not in PARAMETERS:
        raise ParameterError(unknown(name, PARAMETERS))
    try:
        return PARAMETERS[name].check(value)
    except ParameterError as error:
        found = shorten(json.dumps(value, default=str))
        raise ParameterError(f"{name}: {error}, found {found}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"{name}: {error}, found {shorten(repr(value))}") from None


def unknown(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """One line on a name that is not known, with the nearest ones."""
    close = difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
    return f"{shorten(name)}: unknown key ({hint})"


def notebook_defaults(notebook: str, folder: Path = NOTEBOOKS) -> dict[str, Any]:
    """The names and default values in a notebook's cell tagged `parameters`.

    notebook: the name without `.ipynb`. Raises ParameterError where the notebook or the cell is
    missing, or a default is not a literal.
    """
    names = sorted(p.stem for p in folder.glob("*.ipynb"))
    if notebook not in names:  # a path to a notebook elsewhere is no name of one here
        close = difflib.get_close_matches(notebook, names, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ParameterError(
            f"notebook: no {shorten(notebook)} (there are {', '.join(names)}{hint})"
        )
    path = folder / f"{notebook}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    if not tagged:
        raise ParameterError(f"notebook: {path.name} has no cell tagged `parameters`")
    defaults: dict[str, Any] = {}
    for statement in ast.parse("".join(tagged[0]["source"])).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            try:
                defaults[name] = ast.literal_eval(statement.value)
            except ValueError:
                found = ast.unparse(statement.value)
                raise ParameterError(
                    f"{path.name}: default of {name} is {found}; give a literal"
                ) from None
    return {name: check_value(name, value) for name, value in defaults.items()}


def check_fold(params: Mapping[str, Any]) -> None:
    """ParameterError where `fold`, `folds` and `folds_of` do not go together."""
    folds = params.get("folds", 0)
    if folds and params["fold"] >= folds:
        raise ParameterError(f"fold: {params['fold']} of {folds}; the first is 0")
    if not folds and params.get("folds_of", "all") != "all":
        raise ParameterError(f"folds_of: {params['folds_of']} needs folds: a number of them")
