"""The study of rare classes: one classifier for each remedy, on the same images and features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError, DataSet, labels_of
from lib.data.budget import choose_labels
from lib.evaluation.evaluate import Evaluated, evaluate, predict_split, result_rows, scored_splits
from lib.evaluation.linear_head import fit_head
from lib.evaluation.remedies import learnt_prior, make_objective
from lib.evaluation.sources import architecture
from lib.files import write_text
from lib.models.embed import Features, embed_splits
from lib.models.encoder import freeze
from lib.models.probe import LogisticProbe
from lib.params import as_list
from lib.run import Run
from lib.training.finetune import Finetuned, FinetuneRecipe, finetune, starting_encoder

NONE = "none"
RANDOM = "random"
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """One remedy to try: on which training images, and what summary.csv calls their number.

    rows: int64 [n] into the training split. counts: int64 [K], images of each class among them.
    """

    remedy: str
    labels: str
    rows: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def protocol(self, base: str) -> str:
        """`probe+oversample`; without a remedy just `probe`."""
        return base if self.remedy == NONE else f"{base}+{self.remedy}"


@dataclass(frozen=True)
class RemedyStudy:
    """Classifiers under each remedy. base: `probe` or `finetune`; method: the run's encoder.

    results: on validation and test. counts: training images of each class, [K], by protocol and
    labels. chosen: the regularisation strength or learning rate chosen on validation, by method,
    protocol and labels. notes: what could not be tried as asked.
    """

    base: str
    method: str
    results: list[Evaluated]
    counts: dict[tuple[str, str], npt.NDArray[np.int64]]
    chosen: dict[tuple[str, str, str], float]
    notes: list[str] = field(default_factory=list)

    def on(self, split: str, method: str | None = None) -> list[Evaluated]:
        """Results of one method (the run's unless named) on one split, `none` first."""
        method = method or self.method
        return [r for r in self.results if (r.source, r.predictions.split) == (method, split)]


def class_counts(data: DataSet) -> npt.NDArray[np.int64]:
    """Training images of each class, int64 [K]; DataError for several labels an image."""
    if data.task == "multi-label":
        raise DataError(
            f"{data.name}: an image with several labels belongs to rare and common classes at "
            "once; remedies for unequal classes need one label an image"
        )
    return np.bincount(labels_of(data, "train"), minlength=len(data.classes))


def plan_trials(
    data: DataSet, remedies: Sequence[str], undersample_to: Sequence[int], tail: float, seed: int
) -> tuple[list[Trial], list[str]]:
    """The remedies to try, and a line for each that could not be had as asked.

    `none` is always the first, since all others are measured against it. Undersampling keeps m
    images of each class for each m of `undersample_to`; an m that would leave out nothing is not
    tried. tail: the ratio of a long tail that the training split was cut to, 0 for none.
    """
    counts, y = class_counts(data), labels_of(data, "train")
    everything = np.arange(len(y), dtype=np.int64)
    whole = f"tail {tail:g}" if tail else "all"
    trials, notes = [Trial(NONE, whole, everything, counts)], []
    for remedy in remedies:
        if remedy not in (NONE, "undersample"):
            trials.append(Trial(remedy, whole, everything, counts))
        if remedy != "undersample":
            continue
        for m in undersample_to:
            if m >= counts.max():
                notes.append(f"Undersampling to {m}: left out, no class has more images.")
                continue
            chosen = choose_labels(y, per_class=m, seed=seed, classes=data.classes)
            notes += [f"Undersampling to {m}: {chosen.note}"] if chosen.note else []
            labels = f"{m} per class" + (f", {whole}" if tail else "")
            kept = np.bincount(y[chosen.indices], minlength=len(counts))
            trials.append(Trial(remedy, labels, chosen.indices, kept))
    return trials, notes


def try_remedies(data: DataSet, run: Run, natural: npt.NDArray[np.int64]) -> RemedyStudy:
    """Train and evaluate one classifier for each remedy the run asks for.

    natural: training images of each class before any cut, int64 [K] (`class_counts`): the class
    shares that the choice of a regularisation takes validation images to have.
    With `protocol` probe, each remedy is a linear head on the same frozen features (see
    `lib.evaluation.linear_head`), its regularisation chosen by log loss on validation; with
    finetune, the whole encoder is trained, and the validation AUROC chooses the rate and the epoch.
    Logit adjustment takes the classifier trained without remedy and changes its decisions only.
    `floors` adds a random encoder without remedy. The test split is scored once by each.
    Raises DataError for images with several labels.
    """
    p = run.params
    remedies, to = p.remedies.split(","), [int(m) for m in as_list(p.undersample_to)]
    trials, notes = plan_trials(data, remedies, to, p.imbalance_ratio, p.seed)
    methods = [] if p.init == "scratch" else [(run.method, p.init, run.origin.augment, trials)]
    if p.floors or not methods:
        methods.append((RANDOM, "scratch", "", trials[:1] if methods else trials))
    counts = {(t.protocol(p.protocol), t.labels): t.counts for t in trials}
    study = RemedyStudy(p.protocol, methods[0][0], [], counts, {}, notes)
    done, total = 0, sum(len(own) for *_, own in methods)
    for method, init, augment, own in methods:
        train = trainer(data, run, method, init, natural)
        for trial in own:
            done += 1
            write_text(run.folder / "progress", f"remedy {done}/{total}\n")
            score, chosen = train(trial)
            key = {"method": method, "protocol": trial.protocol(p.protocol), "labels": trial.labels}
            study.chosen[method, key["protocol"], trial.labels] = chosen
            for split in scored_splits(data):
                predictions = predict_split(data, split, score(split), key)
                n = p.bootstrap if split == "test" else 0
                study.results.append(evaluate(predictions, augment, n, p.seed))
    return study


# What a trial gives: the scores [N, K] of a split, and the number that validation chose.
Trained = tuple[Callable[[str], Scores], float]


def trainer(
    data: DataSet, run: Run, method: str, init: str, natural: npt.NDArray[np.int64]
) -> Callable[[Trial], Trained]:
    """What trains one classifier on the encoder `init` by the run's protocol."""
    if run.params.protocol == "finetune":
        return finetuner(data, run, method, init)
    encoder = freeze(starting_encoder(run, data, init)())
    return head_fitter(data, run, embed_splits(encoder, data, run.device, run.precision), natural)


def head_fitter(
    data: DataSet, run: Run, h: dict[str, Features], natural: npt.NDArray[np.int64]
) -> Callable[[Trial], Trained]:
    """What fits a linear head on frozen features h: split → float32 [N, D]."""
    p, K = run.params, len(data.classes)
    y, y_val = labels_of(data, "train"), labels_of(data, "val")
    plain: list[LogisticProbe] = []

    def fit(trial: Trial) -> Trained:
        own = y[trial.rows]
        objective = make_objective(
            trial.remedy, own, K, focal_gamma=p.focal_gamma, adjustment=p.adjustment
        )
        if trial.remedy == "logit_adjustment" and plain and objective.offset is not None:
            head = plain[0].bias - objective.offset.numpy()
            probe = dataclasses.replace(plain[0], bias=head)
        else:
            shares = learnt_prior(trial.remedy, own, K)
            # a class that training or all images lack has no part in the choice
            known = (shares > 0) & (natural > 0)
            ratio = np.where(known, shares, 1) / np.where(known, natural / natural.sum(), 1)
            probe = fit_head(
                h["train"][trial.rows], own, h["val"], y_val, objective,
                n_classes=K, task=data.task, prior_shift=np.log(ratio), device=run.device,
            )  # fmt: skip
        if trial.remedy == NONE:
            plain.append(probe)
        return (lambda split: probe.predict_proba(h[split])), probe.strength

    return fit


def finetuner(data: DataSet, run: Run, method: str, init: str) -> Callable[[Trial], Trained]:
    """What finetunes the encoder `init` whole; from scratch without frozen or slowed stages."""
    p, K = run.params, len(data.classes)
    y, recipe = labels_of(data, "train"), FinetuneRecipe.of(run.params)
    if init == "scratch":
        recipe = dataclasses.replace(recipe, freeze_stages=0, layer_decay=1.0)
    start = starting_encoder(run, data, init)
    start_name = "scratch" if method == RANDOM else "pretrained"
    plain: list[Finetuned] = []

    def train(trial: Trial) -> Trained:
        objective = make_objective(
            trial.remedy, y[trial.rows], K, focal_gamma=p.focal_gamma, adjustment=p.adjustment
        )
        if trial.remedy == "logit_adjustment" and plain:
            tuned = dataclasses.replace(plain[0], offset=objective.offset)
        else:
            name = f"{trial.remedy}-{trial.labels}".replace(",", "").replace(" ", "-")
            folder = run.folder / "checkpoints" / start_name / name
            tuned = finetune(
                start, data, trial.rows, recipe, folder,
                device=run.device, precision=run.precision, show_progress=run.interactive,
                objective=objective,
            )  # fmt: skip
        if trial.remedy == NONE:
            plain.append(tuned)
        images = {name: split.images for name, split in data.splits.items()}
        return (lambda s: tuned.scores(images[s], run.device, run.precision)), tuned.lr

    return train


def study_rows(study: RemedyStudy, run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv: every metric, the training images used, and what validation chose."""
    encoder = architecture(run)
    rows = result_rows(study.results, run, encoder)
    name = "lr_selected" if study.base == "finetune" else "strength_selected"
    for (method, protocol, labels), value in study.chosen.items():
        about = {"method": method, "encoder": encoder, "protocol": protocol, "labels": labels}
        about["augment"] = run.origin.augment if method != RANDOM else ""
        images = float(study.counts[protocol, labels].sum())
        rows.append(run.row("images", images, **about, split="train"))
        rows.append(run.row(name, value, **about, split="val"))
    return rows
