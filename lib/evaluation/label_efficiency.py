"""What pretraining saves in labels: finetuned, trained from scratch and probed at each budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataSet
from lib.evaluation.evaluate import (
    Budget,
    Evaluated,
    evaluate,
    predict_split,
    probe_features,
    result_rows,
    scored_splits,
)
from lib.evaluation.sources import architecture, load_frozen
from lib.files import write_text
from lib.identity import finetuned_name
from lib.methods import split_method
from lib.models.embed import embed_splits
from lib.models.weights import save_encoder
from lib.run import Run
from lib.statistics.bootstrap import bootstrap_replicates
from lib.statistics.predictions import Predictions
from lib.training.finetune import Finetuned, FinetuneRecipe, finetune, starting_encoder
from lib.training.pretrain import encoder_header

SCRATCH = "random"


@dataclass(frozen=True)
class BudgetStudy:
    """Classifiers at every label budget. method: the run's encoder, `random` without pretraining.

    results: on validation and test, in the order finetuned, from scratch, frozen probe. trainings:
    by method and budget. counts: labelled images by the budget's name.
    """

    method: str
    results: list[Evaluated]
    trainings: dict[tuple[str, str], Finetuned]
    counts: dict[str, int]

    def test(self, method: str, protocol: str) -> dict[str, Evaluated]:
        """Results on the test split by budget, from few labels to many."""
        key = (method, protocol, "test")
        found = [r for r in self.results if (r.source, r.protocol, r.predictions.split) == key]
        return {r.labels: r for r in sorted(found, key=lambda r: self.counts[r.labels])}


@dataclass(frozen=True)
class Saving:
    """How many labels training from scratch needs for what `count` labels with pretraining give.

    value: what pretraining reaches. equal, low, high: labels without pretraining, with a 95%
    interval over test images: 0 below the smallest budget tried, infinite above the largest.
    """

    labels: str
    count: int
    value: float
    equal: float
    low: float
    high: float


def study_budgets(data: DataSet, run: Run, budgets: Sequence[Budget]) -> BudgetStudy:
    """Finetune the run's encoder at each budget, beside training from scratch and a frozen probe.

    From scratch, with `floors` or where there is no pretrained encoder, means the same
    architecture, images, learning rates, steps and schedule; only `freeze_stages` and
    `layer_decay` do not hold for it, which would keep random weights from learning.
    Trainings lie below `checkpoints/` in the run's folder, so an interrupted run goes on where it
    was. The test split is scored once by each classifier.
    """
    p, recipe = run.params, FinetuneRecipe.of(run.params)
    plain = dataclasses.replace(recipe, freeze_stages=0, layer_decay=1.0)
    plans = [] if p.init == "scratch" else [(run.method, p.init, recipe, run.origin.augment)]
    plans += [(SCRATCH, "scratch", plain, "")] if p.floors or not plans else []
    results: list[Evaluated] = []
    trainings: dict[tuple[str, str], Finetuned] = {}
    for i, (method, init, how, augment) in enumerate(plans):
        for j, budget in enumerate(budgets):
            done = f"training {i * len(budgets) + j + 1}/{len(plans) * len(budgets)}\n"
            write_text(run.folder / "progress", done)
            tuned = finetune(
                starting_encoder(run, data, init),
                data,
                budget.chosen.indices,
                how,
                run.folder / "checkpoints" / init_folder(method) / budget.name.replace(" ", "-"),
                device=run.device,
                precision=run.precision,
                show_progress=run.interactive,
            )
            trainings[method, budget.name] = tuned
            results += score(tuned, data, run, method, augment, budget.name)
    if p.init != "scratch":
        results += probe(data, run, budgets)
    method = SCRATCH if p.init == "scratch" else run.method
    counts = {budget.name: len(budget.chosen.indices) for budget in budgets}
    return BudgetStudy(method, results, trainings, counts)


def init_folder(method: str) -> str:
    """The folder of a method's trainings: one word, and no other method's."""
    return "scratch" if method == SCRATCH else "pretrained"


def score(
    tuned: Finetuned, data: DataSet, run: Run, method: str, augment: str, labels: str
) -> list[Evaluated]:
    """A finetuned classifier on validation (unless that lacks a class) and on test."""
    key = {"method": method, "protocol": "finetune", "labels": labels}
    found = []
    for split in scored_splits(data):
        scores = tuned.scores(data.splits[split].images, run.device, run.precision)
        n = run.params.bootstrap if split == "test" else 0
        predictions = predict_split(data, split, scores, key)
        found.append(evaluate(predictions, augment, n, run.params.seed))
    return found


def probe(data: DataSet, run: Run, budgets: Sequence[Budget]) -> list[Evaluated]:
    """Logistic regression on the frozen features of the run's encoder, as in `02_probe`."""
    p, frozen = run.params, load_frozen(data, run)
    features = {run.method: embed_splits(frozen, data, run.device, run.precision)}
    about = {"augment": run.origin.augment, "bootstrap": p.bootstrap, "seed": p.seed}
    results = probe_features(features, data, budgets, **about)
    return [r for r in results if r.protocol == "probe"]


def label_savings(
    study: BudgetStudy,
    protocol: str = "finetune",
    *,
    metric: str = "auroc",
    bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Saving]:
    """For each budget of the pretrained encoder, the labels that scratch needs for as much.

    The interval repeats the whole calculation on resampled test images, the same ones for every
    classifier. It holds for these trainings: another seed's may differ by more. Empty where there
    is no pretrained encoder or nothing was trained from scratch.
    """
    scratch = study.test(SCRATCH, "finetune")
    ours = study.test(study.method, protocol) if study.method != SCRATCH else {}
    if not scratch or not ours:
        return []
    counts = np.array([study.counts[name] for name in scratch])
    curve = np.array([r.metrics[metric] for r in scratch.values()])
    curves = np.array([replicate(r, metric, bootstrap, seed) for r in scratch.values()]).T
    savings = []
    for name, r in ours.items():
        values = replicate(r, metric, bootstrap, seed)
        defined = np.isfinite(values) & np.isfinite(curves).all(axis=1)
        pairs = zip(values[defined], curves[defined], strict=True)
        found = np.sort([equivalent_labels(value, counts, own) for value, own in pairs])
        # Order statistics, since values between one and infinity do not exist.
        last, tail = len(found) - 1, (1 - level) / 2
        low, high = found[math.floor(tail * last)], found[math.ceil((1 - tail) * last)]
        value = r.metrics[metric]
        equal = equivalent_labels(value, counts, curve)
        savings.append(Saving(name, study.counts[name], value, equal, float(low), float(high)))
    return savings


def replicate(r: Evaluated, metric: str, n: int, seed: int) -> npt.NDArray[np.float64]:
    """A metric of a classifier under n resamples of the test images, the same for each one."""
    p = r.predictions
    return bootstrap_replicates(p.y, p.scores, p.task, p.groups, n=n, seed=seed)[metric]


def equivalent_labels(
    value: float, counts: npt.NDArray[np.int64], curve: npt.NDArray[np.float64]
) -> float:
    """The fewest labels at which a learning curve reaches `value`.

    counts: rising [B]; curve: a metric at each, [B], that more is better of. It is made monotone
    by isotonic regression (Barlow et al. 1972) and is straight between budgets in the logarithm of
    their size. 0 where `value` is below its first point, infinite above its last.
    """
    from sklearn.isotonic import isotonic_regression

    rising = np.asarray(isotonic_regression(curve), np.float64)
    if value < rising[0]:
        return 0.0
    if value > rising[-1]:
        return math.inf
    i = int(np.searchsorted(rising, value))  # the first point that reaches it
    if i == 0 or rising[i] == value:
        return float(counts[i])
    share = (value - rising[i - 1]) / (rising[i] - rising[i - 1])
    low, high = np.log(counts[i - 1 : i + 1])
    return float(np.exp(low + share * (high - low)))


def main_training(study: BudgetStudy) -> tuple[Finetuned, Predictions]:
    """The run's own network at the largest budget, and its scores on the test split."""
    largest = max(study.counts, key=lambda name: study.counts[name])
    scored = study.test(study.method, "finetune")[largest]
    return study.trainings[study.method, largest], scored.predictions


def under_variant(study: BudgetStudy, variant: str) -> BudgetStudy:
    """The same study with its methods as summary.csv names them: `random (strong decay)`.

    variant: the name of the run's setting; empty: the study as it is. The probe of the encoder
    keeps its name: no setting of finetuning touches it.
    """
    if not variant:
        return study

    def name(method: str) -> str:
        before = split_method(method)[2]
        plain = method.removesuffix(f" ({before})")
        return f"{plain} ({', '.join(filter(None, [before, variant]))})"

    def noted(result: Evaluated) -> Evaluated:
        if result.protocol != "finetune":
            return result
        key = {**result.predictions.key, "method": name(result.source)}
        predictions = dataclasses.replace(result.predictions, key=key)
        return dataclasses.replace(result, source=name(result.source), predictions=predictions)

    return BudgetStudy(
        name(study.method),
        [noted(result) for result in study.results],
        {(name(method), labels): tuned for (method, labels), tuned in study.trainings.items()},
        study.counts,
    )


def save_study(study: BudgetStudy, data: DataSet, run: Run) -> None:
    """Write the encoder finetuned at the largest budget, and history.csv of every training."""
    tuned, scored = main_training(study)
    largest = scored.key["labels"]
    about: Mapping[str, Any] = {"labels": largest, "lr": tuned.lr, "epoch": tuned.selected}
    header = encoder_header(data, run, finetuned_name(run.origin.method), **about)
    save_encoder(run.folder / "encoder.safetensors", tuned.encoder, header)
    columns = ["method", "labels", "peak_lr", "kept"]
    columns += ["epoch", "steps", "loss", "lr", "val_auroc", "seconds"]
    lines = [",".join(columns)]
    for (method, labels), training in study.trainings.items():
        for peak, history in training.tried.items():
            for row in history:
                kept = peak == training.lr and row["epoch"] == training.selected
                start = [method, labels, f"{peak:g}", str(int(kept))]
                end = [f"{row[c]:.7g}" if c in row else "" for c in columns[len(start) :]]
                lines.append(",".join([*start, *end]))
    write_text(run.folder / "history.csv", "\n".join(lines) + "\n")


def study_rows(study: BudgetStudy, run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv: every metric, and what each training cost and chose."""
    encoder = architecture(run)
    rows = result_rows(study.results, run, encoder)
    for (method, labels), tuned in study.trainings.items():
        augment = run.origin.augment if split_method(method)[0] != SCRATCH else ""
        about = {"method": method, "augment": augment, "encoder": encoder, "labels": labels}
        values = {
            "seconds": ("train", tuned.seconds),
            "steps": ("train", float(tuned.steps)),
            "lr_selected": ("val", tuned.lr),
        }
        for metric, (split, value) in values.items():
            rows.append(run.row(metric, value, **about, protocol="finetune", split=split))
    return rows
