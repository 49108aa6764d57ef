"""The study of rare classes: the same images and features for each remedy, chosen on validation."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lib.data.base import DataError, DataSet, Split, Task, labels_of
from lib.evaluation import imbalance
from lib.evaluation.imbalance import (
    RemedyStudy,
    class_counts,
    plan_trials,
    study_rows,
    try_remedies,
)
from lib.evaluation.linear_head import fit_head
from lib.evaluation.long_tail import cut_long_tail
from lib.evaluation.remedies import make_objective
from lib.identity import Origin
from lib.models.embed import embed_splits
from lib.models.encoder import freeze
from lib.models.probe import fit_logistic
from lib.params import REMEDIES
from lib.run import COLUMNS, Run
from lib.statistics.metrics import compute_metrics, compute_recalls
from lib.statistics.predictions import read_predictions, write_predictions
from tests.synthetic import make_data, make_run
from tests.thin import thin_encoder

TASKS: tuple[Task, ...] = ("binary", "multi-class", "ordinal")
TRAINED = Origin("simclr", "novel", "x")
PARAMS = {
    "protocol": "probe",
    "remedies": ",".join(REMEDIES),
    "undersample_to": "2,4",
    "imbalance_ratio": 0.0,
    "focal_gamma": 2.0,
    "adjustment": 1.0,
    "bootstrap": 100,
    "epochs": 1,
    "min_steps": 1,
    "warmup_epochs": 0.0,
    "batch_size": 12,
    "optimizer": "adamw",
    "lrs": "0.001",
    "weight_decay": 0.0,
    "gradient_clip": 1.0,
    "layer_decay": 0.5,
    "freeze_stages": 2,
    "train_augment": "none",
    "val_every": 1,
}


# Two strengths: enough to choose from, and far from those at which tiny data take long to fit.
quick_head = functools.partial(fit_head, strengths=(0.001, 0.1))


def uneven(task: Task = "multi-class", **options: Any) -> DataSet:
    """The tiny data set with fewer training images of each further class."""
    return cut_long_tail(make_data(task, **options), 4, seed=0)


def run_of(folder: Path, origin: Origin | None = None, **params: Any) -> Run:
    given = {"init": "file.safetensors"} if origin else {}
    about = {**PARAMS, **given, **params}
    return make_run(folder, origin, **about) if origin else make_run(folder, **about)


@pytest.fixture(autouse=True)
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thin encoders in the place of ResNets: one seed from scratch, one pretrained."""

    def start(_: Run, data: DataSet, init: str) -> Any:
        return lambda: thin_encoder(data.channels, 0 if init == "scratch" else 1)

    monkeypatch.setattr(imbalance, "starting_encoder", start)
    monkeypatch.setattr(imbalance, "fit_head", quick_head)


def study_of(folder: Path, data: DataSet, origin: Origin | None = None, **params: Any) -> Any:
    return try_remedies(data, run_of(folder, origin, **params), class_counts(data))


def find(study: RemedyStudy, protocol: str, labels: str = "all", split: str = "test") -> Any:
    key = (study.method, protocol, labels, split)
    found = [
        r for r in study.results if (r.source, r.protocol, r.labels, r.predictions.split) == key
    ]
    assert len(found) == 1
    return found[0]


# Trials


def test_no_remedy_is_always_the_first() -> None:
    data = uneven()
    for remedies in (["focal"], ["focal", "none"], ["none", "focal"]):
        trials, notes = plan_trials(data, remedies, [4], 0, seed=0)
        assert [t.remedy for t in trials] == ["none", "focal"]
        assert [t.protocol("probe") for t in trials] == ["probe", "probe+focal"]
        assert [t.labels for t in trials] == ["all", "all"]
        assert notes == []


def test_undersampling_is_exact_nested_and_named() -> None:
    data = uneven()
    assert class_counts(data).tolist() == [12, 6, 3]
    trials, notes = plan_trials(data, ["undersample"], [2, 5, 12, 25], 0, seed=0)
    assert [t.labels for t in trials] == ["all", "2 per class", "5 per class"]
    assert [t.counts.tolist() for t in trials] == [[12, 6, 3], [2, 2, 2], [5, 5, 3]]
    y = labels_of(data, "train")
    for t in trials:
        assert np.bincount(y[t.rows]).tolist() == t.counts.tolist()
    few, more = (set(t.rows.tolist()) for t in trials[1:])
    assert few < more
    assert notes == [
        "Undersampling to 5: Fewer than 5 images, so all there are: bar (3).",
        "Undersampling to 12: left out, no class has more images.",
        "Undersampling to 25: left out, no class has more images.",
    ]
    other, _ = plan_trials(data, ["undersample"], [2], 0, seed=1)
    assert set(other[1].rows.tolist()) != few


def test_a_long_tail_is_in_the_name() -> None:
    trials, _ = plan_trials(uneven(), ["undersample", "focal"], [2], 100.0, seed=0)
    assert [t.labels for t in trials] == ["tail 100", "2 per class, tail 100", "tail 100"]


# Linear heads on frozen features


@pytest.mark.parametrize("task", TASKS)
def test_each_remedy_and_split_once(task: Task, tmp_path: Path) -> None:
    data = uneven(task)
    study = study_of(tmp_path, data, TRAINED)
    protocols = {"probe"} | {f"probe+{name}" for name in REMEDIES if name not in ("none",)}
    expected = {
        ("simclr", p, labels, split)
        for p in protocols
        for labels in (("2 per class", "4 per class") if p.endswith("undersample") else ("all",))
        for split in ("val", "test")
    }
    expected |= {("random", "probe", "all", split) for split in ("val", "test")}
    keys = [(r.source, r.protocol, r.labels, r.predictions.split) for r in study.results]
    assert len(keys) == len(set(keys))
    assert set(keys) == expected
    assert {r.augment for r in study.results if r.source == "simclr"} == {"novel"}
    assert {r.augment for r in study.results if r.source == "random"} == {""}
    for r in study.results:
        assert set(r.intervals) == (set(r.metrics) if r.predictions.split == "test" else set())
    assert study.on("test")[0].protocol == "probe"
    assert [r.source for r in study.on("test", "random")] == ["random"]
    assert study.counts["probe+undersample", "2 per class"].tolist() == [2] * len(data.classes)


def test_floors_are_optional_and_scratch_is_its_own(tmp_path: Path) -> None:
    data = uneven()
    alone = study_of(tmp_path, data, TRAINED, floors=False, remedies="focal")
    assert {r.source for r in alone.results} == {"simclr"}
    for floors in (True, False):
        scratch = study_of(tmp_path, data, floors=floors, remedies="focal")
        assert scratch.method == "random"
        assert [r.protocol for r in scratch.on("test")] == ["probe", "probe+focal"]
        assert {r.source for r in scratch.results} == {"random"}


@pytest.mark.parametrize("task", TASKS)
def test_no_remedy_is_the_probe_of_the_other_notebooks(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imbalance, "fit_head", fit_head)
    data = uneven(task)
    h = embed_splits(freeze(thin_encoder(data.channels, 1)), data, "cpu")
    labels = {name: labels_of(data, name) for name in data.splits}
    probe = fit_logistic(
        h["train"], labels["train"], h["val"], labels["val"], task, n_classes=len(data.classes)
    )
    study = study_of(tmp_path, data, TRAINED, remedies="none", floors=False)
    assert study.chosen["simclr", "probe", "all"] == probe.strength
    for split in ("val", "test"):
        found = find(study, "probe", split=split).predictions.scores
        np.testing.assert_allclose(found, probe.predict_proba(h[split]), atol=2e-3)


def test_scores_are_those_of_heads_fitted_by_hand(tmp_path: Path) -> None:
    data = uneven()
    h = embed_splits(freeze(thin_encoder(3, 1)), data, "cpu")
    y, y_val = labels_of(data, "train"), labels_of(data, "val")
    study = study_of(tmp_path, data, TRAINED)
    share = np.array([12, 6, 3]) / 21
    trials, _ = plan_trials(data, REMEDIES, [2, 4], 0, seed=0)
    for trial in trials:
        even = trial.remedy in ("oversample", "class_weights", "balanced_softmax")
        learnt = np.full(3, 1 / 3) if even else trial.counts / trial.counts.sum()
        objective = make_objective(trial.remedy, y[trial.rows], 3, focal_gamma=2, adjustment=1)
        head = quick_head(
            h["train"][trial.rows],
            y[trial.rows],
            h["val"],
            y_val,
            objective,
            n_classes=3,
            prior_shift=np.log(learnt / share),
        )
        found = find(study, trial.protocol("probe"), trial.labels)
        assert study.chosen["simclr", trial.protocol("probe"), trial.labels] == head.strength
        expected = head.predict_proba(h["test"])
        np.testing.assert_allclose(found.predictions.scores, expected, atol=1e-6)


def test_the_choice_takes_validation_for_what_the_data_were_before_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, shifts = uneven(), []

    def record(*args: Any, **options: Any) -> Any:
        shifts.append(options["prior_shift"])
        return quick_head(*args, **options)

    monkeypatch.setattr(imbalance, "fit_head", record)
    run = run_of(tmp_path, remedies="oversample", imbalance_ratio=4.0)
    study = try_remedies(data, run, np.array([100, 100, 200]))
    assert [r.labels for r in study.on("test")] == ["tail 4", "tail 4"]
    before = np.array([0.25, 0.25, 0.5])
    assert shifts[0] == pytest.approx(np.log(np.array([12, 6, 3]) / 21 / before))
    assert shifts[1] == pytest.approx(np.log(np.full(3, 1 / 3) / before))


def test_logit_adjustment_divides_the_plain_probabilities_by_the_prior(tmp_path: Path) -> None:
    study = study_of(tmp_path, uneven(), adjustment=0.5, remedies="logit_adjustment")
    plain = find(study, "probe").predictions.scores.astype(float)
    adjusted = plain / (np.array([12, 6, 3]) / 21) ** 0.5
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    found = find(study, "probe+logit_adjustment").predictions.scores
    np.testing.assert_allclose(found, adjusted, atol=1e-5)


def test_the_labels_of_the_test_split_change_no_score(tmp_path: Path) -> None:
    data = uneven()
    y = np.random.default_rng(0).permutation(labels_of(data, "test"))
    changed = dataclasses.replace(data.splits["test"], y=y)
    other = dataclasses.replace(data, splits={**data.splits, "test": changed})
    before, after = (study_of(tmp_path, d, remedies="focal,undersample") for d in (data, other))
    assert before.chosen == after.chosen
    for a, b in zip(before.results, after.results, strict=True):
        assert np.array_equal(a.predictions.scores, b.predictions.scores)


def test_validation_without_a_class_chooses_but_has_no_rows(tmp_path: Path) -> None:
    data = uneven()
    val = data.splits["val"]
    keep = labels_of(data, "val") != 2
    fewer = Split(val.images[keep], labels_of(data, "val")[keep], val.ids[keep])
    data = dataclasses.replace(data, splits={**data.splits, "val": fewer})
    study = study_of(tmp_path, data, remedies="focal")
    assert {r.predictions.split for r in study.results} == {"test"}


def test_several_labels_an_image_are_refused(tmp_path: Path) -> None:
    data = make_data("multi-label")
    with pytest.raises(DataError, match="rare and common classes at once"):
        class_counts(data)
    with pytest.raises(DataError, match="rare and common classes at once"):
        try_remedies(data, run_of(tmp_path), np.array([1, 1]))


# Finetuning


class Recorder:
    """Stands for `lib.training.finetune.finetune`: notes what it was asked, scores at random."""

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []

    def __call__(self, start: Any, data: DataSet, rows: Any, recipe: Any, folder: Path, **o: Any):  # type: ignore[no-untyped-def]
        self.calls.append(SimpleNamespace(rows=rows, recipe=recipe, folder=folder, **o))
        return FakeFinetuned(len(data.classes), len(self.calls), o["objective"].offset)


@dataclasses.dataclass
class FakeFinetuned:
    K: int
    seed: int
    offset: Any
    lr: float = 0.01

    def scores(self, images: Any, *_: object) -> Any:
        logits = np.random.default_rng(self.seed).normal(size=(len(images), self.K))
        logits -= 0 if self.offset is None else self.offset.numpy()
        p = np.exp(logits)
        return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def test_finetuning_gets_each_objective_its_images_and_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(imbalance, "finetune", recorder)
    data = uneven()
    study = study_of(tmp_path, data, TRAINED, protocol="finetune")
    names = [call.objective.name for call in recorder.calls]
    # Logit adjustment acts on the classifier trained plainly: nothing is trained for it.
    assert names == [
        "none", "undersample", "undersample", "oversample", "class_weights", "focal",
        "balanced_softmax", "none",
    ]  # fmt: skip
    folders = [call.folder for call in recorder.calls]
    assert len(set(folders)) == len(folders)
    assert all(folder.parent.parent == tmp_path / "checkpoints" for folder in folders)
    for call in recorder.calls:
        weights = call.objective.sample_weights
        assert (weights is not None) == (call.objective.name == "oversample")
        assert weights is None or len(weights) == len(call.rows)
    assert [len(call.rows) for call in recorder.calls] == [21, 6, 11, 21, 21, 21, 21, 21]
    # From scratch nothing is frozen and no stage is slowed.
    stages = [(call.recipe.freeze_stages, call.recipe.layer_decay) for call in recorder.calls]
    assert stages == [(2, 0.5)] * 7 + [(0, 1.0)]
    assert study.chosen["simclr", "finetune+focal", "all"] == 0.01
    plain = find(study, "finetune").predictions.scores.astype(float)
    adjusted = plain / (np.array([12, 6, 3]) / 21)
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    found = find(study, "finetune+logit_adjustment").predictions.scores
    np.testing.assert_allclose(found, adjusted, atol=1e-5)


def test_finetuning_for_real(tmp_path: Path) -> None:
    remedies = "oversample,balanced_softmax,logit_adjustment"
    study = study_of(tmp_path, uneven(), protocol="finetune", remedies=remedies)
    scores = [r.predictions.scores for r in study.on("test")]
    assert len(scores) == 4
    for i, a in enumerate(scores):
        assert a.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-5)
        assert all(np.abs(a - b).max() > 1e-4 for b in scores[:i])
    assert len(list((tmp_path / "checkpoints" / "scratch").iterdir())) == 3


# Rows


def test_rows_and_predictions_agree(tmp_path: Path) -> None:
    study = study_of(tmp_path, uneven(grouped=True), remedies="oversample,undersample")
    run = run_of(tmp_path)
    rows = study_rows(study, run)
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {row["encoder"] for row in rows} == {"resnet18"}
    values = {(r["protocol"], r["labels"], r["split"], r["metric"]): r["value"] for r in rows}
    assert len(values) == len(rows)
    assert values["probe", "all", "train", "images"] == 21
    assert values["probe+undersample", "2 per class", "train", "images"] == 6
    chosen = values["probe+oversample", "all", "val", "strength_selected"]
    assert chosen == study.chosen["random", "probe+oversample", "all"]
    write_predictions(tmp_path / "predictions.csv", [r.predictions for r in study.results])
    for p in read_predictions(tmp_path / "predictions.csv"):
        again = compute_metrics(p.y, p.scores, p.task, p.classes)
        again |= compute_recalls(p.y, p.scores, p.task, p.classes)
        for metric, value in again.items():
            assert values[p.key["protocol"], p.key["labels"], p.split, metric] == value
