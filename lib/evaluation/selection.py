"""What a checkpoint's score is worth by the split it was chosen on: validation, or test itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError, DataSet, labels_of
from lib.evaluation.evaluate import Budget, missing_classes
from lib.evaluation.label_efficiency import SCRATCH, init_folder
from lib.evaluation.sources import architecture
from lib.files import write_text
from lib.params import METRICS
from lib.run import Run
from lib.statistics.metrics import Evaluation, count_known
from lib.training.finetune import Finetuned, FinetuneRecipe, finetune, starting_encoder
from lib.training.witness import Witness

Array = npt.NDArray[np.float64]
Rule = Literal["kept", "validation", "last", "test"]
# How a checkpoint can be chosen. kept: what this project does; the last is the wrong protocol.
RULES: tuple[Rule, ...] = ("kept", "validation", "last", "test")
ALL_STAGES = 5  # frozen: nothing but the linear head is trained
SPLITS = ("val", "test")


@dataclass(frozen=True)
class Course:
    """A classifier at each check of its training, on validation and on test.

    checks: (learning rate, epoch) in the order of training. scores: by split and metric, [C].
    halves: by metric, [2, R, C]: each check on one half of the test images and on the other, for R
    ways to halve them. chosen: by metric and rule, the check that the rule takes.
    """

    method: str
    augment: str
    protocol: str
    labels: str
    checks: tuple[tuple[float, int], ...]
    scores: dict[tuple[str, str], Array]
    halves: dict[str, Array]
    chosen: dict[tuple[str, Rule], int]

    def test(self, metric: str, rule: Rule) -> float:
        """The test score of the check that a rule takes by this metric."""
        return float(self.scores["test", metric][self.chosen[metric, rule]])

    def overstated(self, metric: str) -> float:
        """By how much choosing on test puts the score above that of choosing on validation."""
        return self.test(metric, "test") - self.test(metric, "validation")

    def halvings(self, metric: str) -> Array:
        """[2, R, C] of the halvings in which both halves have every class.

        Raises DataError where there is none.
        """
        both = self.halves[metric]
        defined = np.isfinite(both).all(axis=(0, 2))
        if not defined.any():
            raise DataError("test: too few images of a class to halve it")
        return both[:, defined]

    def optimism(self, metric: str) -> float:
        """What a score loses on images it was not chosen by, mean over halvings of the test split.

        The check that is best on one half is scored there and on the other half. Half the images
        choose with more luck than all of them, so the whole split's optimism is somewhat smaller.
        """
        by, other = self.halvings(metric)
        rows, best = np.arange(len(by)), by.argmax(axis=1)
        return float((by[rows, best] - other[rows, best]).mean())

    def on_other_half(self, metric: str) -> float:
        """What choosing on half of the test images brings on the other half, against validation."""
        by, other = self.halvings(metric)
        rows, best = np.arange(len(by)), by.argmax(axis=1)
        return float((other[rows, best] - other[:, self.chosen[metric, "validation"]]).mean())


def follow_trainings(
    data: DataSet, run: Run, budgets: Sequence[Budget], *, halvings: int
) -> list[Course]:
    """Train as `03_finetune` does and as a linear head alone, noting every check on both splits.

    The whole network from the run's encoder, a head on that encoder frozen, and with `floors` the
    whole network from scratch. halvings: of the test split. Raises DataError where validation
    lacks a class: nothing could be chosen by it.
    """
    if missing_classes(data, "val"):
        raise DataError(f"{data.name}: validation lacks a class, so no check can be chosen by it")
    require_halves(data, halvings, run.params.seed)
    p, recipe = run.params, FinetuneRecipe.of(run.params)
    plain = dataclasses.replace(recipe, freeze_stages=0, layer_decay=1.0)
    frozen = dataclasses.replace(recipe, freeze_stages=ALL_STAGES, train_augment="none")
    plans = []
    if p.init != "scratch":
        plans += [(run.method, p.init, "finetune", recipe), (run.method, p.init, "frozen", frozen)]
    if p.floors or not plans:
        plans.append((SCRATCH, "scratch", "finetune", plain))
    witness = Witness(data, SPLITS, run.device, run.precision)
    courses = []
    for i, (method, init, protocol, how) in enumerate(plans):
        for j, budget in enumerate(budgets):
            at = f"training {i * len(budgets) + j + 1}/{len(plans) * len(budgets)}\n"
            write_text(run.folder / "progress", at)
            name = f"{init_folder(method)}-{protocol}"
            tuned = finetune(
                starting_encoder(run, data, init),
                data,
                budget.chosen.indices,
                how,
                run.folder / "checkpoints" / name / budget.name.replace(" ", "-"),
                device=run.device,
                precision=run.precision,
                show_progress=run.interactive,
                witness=witness,
            )
            augment = "" if method == SCRATCH else run.origin.augment
            about = (method, augment, protocol, budget.name)
            courses.append(course_of(tuned, data, about, halvings, p.seed))
    return courses


def course_of(
    tuned: Finetuned, data: DataSet, about: tuple[str, str, str, str], halvings: int, seed: int
) -> Course:
    """Score every check of a training, and let every rule choose."""
    checks = [(lr, epoch) for lr, seen in tuned.seen.items() for epoch in seen]
    y = {split: labels_of(data, split) for split in SPLITS}
    halves = halving_weights(y["test"], halvings, seed, data.splits["test"].groups)
    whole = np.ones((1, len(y["test"])))
    scores: dict[tuple[str, str], list[float]] = {(s, m): [] for s in SPLITS for m in METRICS}
    by_half: dict[str, list[Array]] = {metric: [] for metric in METRICS}
    for lr, epoch in checks:
        for split in SPLITS:
            evaluation = Evaluation(y[split], tuned.seen[lr][epoch][split].numpy(), data.task)
            values = evaluation.weighted(whole if split == "test" else np.ones((1, len(y[split]))))
            for metric in METRICS:
                scores[split, metric].append(float(values[metric][0]))
            if split == "test":
                parts = evaluation.weighted(np.concatenate([halves, 1 - halves]))
                for metric in METRICS:
                    by_half[metric].append(parts[metric].reshape(2, -1))
    measured = {key: np.array(values) for key, values in scores.items()}
    chosen: dict[tuple[str, Rule], int] = {}
    for metric in METRICS:
        chosen[metric, "kept"] = checks.index((tuned.lr, tuned.selected))
        chosen[metric, "validation"] = int(measured["val", metric].argmax())
        chosen[metric, "last"] = max(i for i, (lr, _) in enumerate(checks) if lr == checks[0][0])
        chosen[metric, "test"] = int(measured["test", metric].argmax())
    together = {metric: np.stack(parts, axis=-1) for metric, parts in by_half.items()}
    return Course(*about, tuple(checks), measured, together, chosen)


def require_halves(data: DataSet, halvings: int, seed: int) -> None:
    """DataError where no halving of the test split has every class in both halves."""
    y, groups = labels_of(data, "test"), data.splits["test"].groups
    whole = len(count_known(y, data.task, len(data.classes)))
    for half in halving_weights(y, halvings, seed, groups) > 0:
        parts = (count_known(y[rows], data.task, len(data.classes)) for rows in (half, ~half))
        if all(len(part) == whole for part in parts):
            return
    raise DataError("test: too few images, or patients, of a class to halve it")


def halving_weights(
    y: npt.NDArray[np.integer], n: int, seed: int, groups: npt.NDArray[np.str_] | None = None
) -> Array:
    """n ways to halve images with labels y [N] or [N, K]: 1 for one half, 0 for the other, [n, N].

    Each class is halved by itself (several labels an image: all of them together), so that both
    halves have every class of at least two images. groups [N]: images of one patient go into one
    half together, so a class takes two groups; one of several classes counts as its most frequent.
    """
    rng = np.random.default_rng([seed, 71])
    kinds = np.zeros(len(y), np.int64) if y.ndim == 2 else y
    unit = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    seen = np.zeros((unit.max() + 1, kinds.max() + 1))
    np.add.at(seen, (unit, kinds), 1)
    kind_of = seen.argmax(axis=1)  # of each unit
    strata = [np.flatnonzero(kind_of == k) for k in np.unique(kind_of)]
    weights = np.zeros((n, len(seen)))
    for row in weights:
        for s, stratum in enumerate(strata):
            # Of odd strata the larger part goes to one half and to the other in turn.
            row[rng.permutation(stratum)[: (len(stratum) + s % 2) // 2]] = 1
    return weights[:, unit]


def course_rows(courses: Sequence[Course], run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv; their metrics say how the check was chosen, so none is a test result."""
    rows, encoder = [], architecture(run)
    for c in courses:
        about = {"method": c.method, "augment": c.augment, "encoder": encoder}
        about |= {"protocol": c.protocol, "labels": c.labels, "split": "test"}
        for metric in METRICS:
            values = {f"{metric}, chosen by {rule}": c.test(metric, rule) for rule in RULES}
            values[f"{metric}, overstated by choosing on test"] = c.overstated(metric)
            values[f"{metric}, optimism on half of test"] = c.optimism(metric)
            rows += [run.row(name, value, **about) for name, value in values.items()]
    return rows
