"""Label efficiency: the same terms for both starts, and a saving that is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.data.base import DataSet
from lib.evaluation import label_efficiency
from lib.evaluation.evaluate import Evaluated, evaluate, label_budgets, predict_split
from lib.evaluation.label_efficiency import (
    BudgetStudy,
    equivalent_labels,
    label_savings,
    save_study,
    study_budgets,
    study_rows,
    under_variant,
)
from lib.identity import Origin
from lib.models.encoder import Encoder, build_encoder
from lib.models.weights import load_encoder, save_encoder
from lib.run import COLUMNS, Run
from lib.training.finetune import Finetuned, FinetuneRecipe, finetune
from tests.synthetic import make_data, make_run
from tests.thin import thin_encoder

PARAMS = {
    "epochs": 2,
    "min_steps": 4,
    "warmup_epochs": 0.5,
    "batch_size": 12,
    "optimizer": "adamw",
    "lrs": "0.01,0.003",
    "weight_decay": 0.01,
    "gradient_clip": 1.0,
    "layer_decay": 0.5,
    "freeze_stages": 1,
    "train_augment": "none",
    "val_every": 1,
    "bootstrap": 100,
    "split_seed": 0,
}


def pretrained_run(folder: Path, **params: Any) -> Run:
    """A run whose encoder is a file."""
    header = {"size": 12, "dataset": "phantom", "parameters": {}, "commit": "c"}
    file = folder / "pretrained.safetensors"
    save_encoder(file, build_encoder("resnet18", "strided", 3, seed=5), header)
    origin = Origin("simclr", "novel", "some-run", ("phantom",))
    return make_run(folder, origin, **{**PARAMS, "init": str(file), **params})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Trainings of a thin encoder instead of ResNets, and a list of how each was asked for."""
    asked: list[dict[str, Any]] = []

    def thin(make: Callable[[], Encoder], data: DataSet, rows: Any, recipe: FinetuneRecipe,
             folder: Path, **options: Any) -> Finetuned:  # fmt: skip
        asked.append({"rows": rows, "recipe": recipe, "folder": folder, "start": make()})
        return finetune(lambda: thin_encoder(data.channels), data, rows, recipe, folder, **options)

    monkeypatch.setattr(label_efficiency, "finetune", thin)
    return asked


# The answer


def oracle(value: float, counts: list[int], curve: list[float]) -> float:
    """Isotonic regression by its min-max formula, then a search over a fine grid of labels."""
    n = len(curve)
    rising = [
        max(min(np.mean(curve[i : j + 1]) for j in range(k, n)) for i in range(k + 1))
        for k in range(n)
    ]
    if value < rising[0]:
        return 0.0
    if value > rising[-1]:
        return math.inf
    grid = np.exp(np.linspace(math.log(counts[0]), math.log(counts[-1]), 200_001))
    reached = np.interp(np.log(grid), np.log(counts), rising)
    return float(grid[np.flatnonzero(reached >= value - 1e-12)[0]])


def test_equivalent_labels_against_a_slow_oracle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        counts = np.sort(rng.choice(np.arange(10, 3000), 5, replace=False))
        curve = np.sort(rng.uniform(0.5, 1, 5)) + rng.normal(0, 0.05, 5)
        value = float(rng.uniform(curve.min() - 0.02, curve.max() + 0.02))
        found = equivalent_labels(value, counts, curve)
        expected = oracle(value, counts.tolist(), curve.tolist())
        assert found == expected or found == pytest.approx(expected, rel=1e-3)


def test_equivalent_labels_in_closed_form() -> None:
    counts, curve = np.array([100, 1000, 2000]), np.array([0.6, 0.8, 0.9])
    assert equivalent_labels(0.7, counts, curve) == pytest.approx(math.sqrt(100 * 1000))
    assert [equivalent_labels(v, counts, curve) for v in curve] == [100, 1000, 2000]
    assert equivalent_labels(0.59, counts, curve) == 0
    assert equivalent_labels(0.91, counts, curve) == math.inf
    # Where the curve is level, the fewest labels that reach it are meant.
    assert equivalent_labels(0.9, counts, np.array([0.6, 0.9, 0.9])) == 1000
    # A dip is levelled out: 0.8 and 0.7 become 0.75 each.
    assert equivalent_labels(0.75, counts, np.array([0.6, 0.8, 0.7])) == 1000
    assert equivalent_labels(0.7, np.array([50]), np.array([0.7])) == 50


def scored(data: DataSet, method: str, protocol: str, labels: str, skill: float) -> Evaluated:
    """A classifier whose scores are noise and `skill` times the truth."""
    y = data.splits["test"].y
    assert y is not None
    own = [ord(c) for c in method + protocol + labels]
    logits = np.random.default_rng(own).normal(size=(len(y), len(data.classes)))
    logits += skill * (y if y.ndim == 2 else np.eye(len(data.classes))[y])
    odds = np.exp(logits)
    scores = odds / (1 + odds) if y.ndim == 2 else odds / odds.sum(axis=1, keepdims=True)
    key = {"method": method, "protocol": protocol, "labels": labels}
    return evaluate(predict_split(data, "test", scores.astype(np.float32), key), "", 100, 0)


def bigger(data: DataSet, times: int = 8) -> DataSet:
    test = data.splits["test"]
    assert test.y is not None
    groups = None if test.groups is None else np.concatenate([test.groups] * times)
    more = dataclasses.replace(
        test,
        images=np.concatenate([test.images] * times),
        y=np.concatenate([test.y] * times),  # type: ignore[arg-type]
        ids=np.array([str(i) for i in range(times * len(test))]),
        groups=groups,
    )
    return dataclasses.replace(data, splits={**data.splits, "test": more})


def study_of(data: DataSet, ours: dict[str, float], scratch: dict[str, float]) -> BudgetStudy:
    results = [scored(data, "simclr", "finetune", name, skill) for name, skill in ours.items()]
    results += [scored(data, "random", "finetune", name, skill) for name, skill in scratch.items()]
    counts = {name: 2000 if name == "all" else int(name) for name in [*scratch, *ours]}
    return BudgetStudy("simclr", results, {}, counts)


@pytest.mark.parametrize("task", ["binary", "multi-class", "multi-label"])
def test_a_saving_and_its_interval(task: Any) -> None:
    data = bigger(make_data(task))
    scratch = {"100": 0.2, "250": 1.0, "1000": 2.0, "all": 2.5}
    study = study_of(data, {"100": 1.6, "all": 20.0}, scratch)
    first, last = label_savings(study, bootstrap=200)
    assert (first.labels, first.count) == ("100", 100)
    assert 250 < first.equal < 1000
    assert 100 < first.low <= first.equal <= first.high < 2000
    assert (last.equal, last.low) == (math.inf, math.inf)
    # The interval is what repeating the whole calculation on the same resamples gives.
    from lib.statistics.bootstrap import bootstrap_replicates

    def replicates(r: Evaluated) -> Any:
        p = r.predictions
        return bootstrap_replicates(p.y, p.scores, p.task, n=200, seed=0)["auroc"]

    names = list(scratch)
    mine = replicates(study.test("simclr", "finetune")["100"])
    curves = [replicates(study.test("random", "finetune")[name]) for name in names]
    counts = [study.counts[name] for name in names]
    found = sorted(oracle(v, counts, list(c)) for v, *c in zip(mine, *curves, strict=True))
    assert first.low == pytest.approx(found[4], rel=1e-3)
    assert first.high == pytest.approx(found[195], rel=1e-3)


def test_no_saving_and_a_loss() -> None:
    data = bigger(make_data())
    scratch = {"100": 0.5, "250": 1.2, "all": 3.0}
    (even,) = label_savings(study_of(data, {"250": 1.2}, scratch), bootstrap=200)
    assert even.low <= 250 <= even.high
    (worse,) = label_savings(study_of(data, {"all": 0.0}, scratch), bootstrap=200)
    assert worse.equal == worse.low == 0
    assert worse.high < 2000


def test_nothing_to_compare_gives_no_saving() -> None:
    data = make_data()
    assert label_savings(study_of(data, {"100": 1.0}, {})) == []
    alone = dataclasses.replace(study_of(data, {}, {"100": 1.0}), method="random")
    assert label_savings(alone) == []


# The study


def test_both_starts_on_the_same_terms(tmp_path: Path, quick: list[dict[str, Any]]) -> None:
    data, run = make_data(), pretrained_run(tmp_path)
    budgets, _ = label_budgets(data, "12,all", 0, 0)
    study = study_budgets(data, run, budgets)
    ours, theirs = quick[:2], quick[2:]
    own = load_encoder(run.params.init)[0].state_dict()["resnet.conv1.weight"]
    for a, b, budget in zip(ours, theirs, budgets, strict=True):
        np.testing.assert_array_equal(a["rows"], budget.chosen.indices)
        np.testing.assert_array_equal(b["rows"], budget.chosen.indices)
        # Frozen or slowed stages would keep random weights from learning; all else is equal.
        free = dataclasses.replace(a["recipe"], freeze_stages=0, layer_decay=1.0)
        assert b["recipe"] == free != a["recipe"]
        starts = [x["start"].state_dict()["resnet.conv1.weight"] for x in (a, b)]
        assert starts[0].equal(own)
        assert not starts[1].equal(own)
        assert run.folder / "checkpoints" in a["folder"].parents
    assert len({x["folder"] for x in quick}) == 4
    assert study.counts == {"12": 12, "all": 36}
    assert list(study.trainings) == [(m, b) for m in ("simclr", "random") for b in ("12", "all")]
    kinds = [("simclr", "finetune"), ("random", "finetune"), ("simclr", "probe")]
    for kind in kinds:
        assert list(study.test(*kind)) == ["12", "all"]
    assert {(r.source, r.protocol) for r in study.results} == set(kinds)
    assert {r.predictions.split for r in study.results} == {"val", "test"}
    assert {r.augment for r in study.results if r.source == "random"} == {""}
    assert {r.augment for r in study.results if r.source == "simclr"} == {"novel"}
    assert (tmp_path / "progress").read_text() == "training 4/4\n"
    # The encoder of the largest budget, and every epoch of every rate.
    save_study(study, data, run)
    table = pd.read_csv(tmp_path / "history.csv", dtype={"labels": str})
    assert len(table) == 4 * 2 * 2
    assert table.groupby(["method", "labels"])["kept"].sum().eq(1).all()
    rows = pd.DataFrame(study_rows(study, run))
    assert list(rows.columns) == list(COLUMNS)
    assert set(rows["protocol"]) == {"finetune", "probe"}
    cost = rows[rows["metric"].isin(["seconds", "steps", "lr_selected"])]
    assert len(cost) == 4 * 3
    assert set(cost["split"]) == {"train", "val"}
    chosen = cost[(cost["metric"] == "lr_selected") & (cost["method"] == "random")]
    assert list(chosen["value"]) == [study.trainings["random", b].lr for b in ("12", "all")]
    assert list(chosen["encoder"]) == ["resnet18"] * 2
    scores = rows[(rows["metric"] == "auroc") & (rows["split"] == "test")]
    assert len(scores) == 6
    assert (scores["low"] <= scores["value"]).all()


def test_without_an_encoder_only_scratch(tmp_path: Path, quick: list[dict[str, Any]]) -> None:
    data, run = make_data("binary"), make_run(tmp_path, **PARAMS)
    budgets, _ = label_budgets(data, "all", 0, 0)
    study = study_budgets(data, run, budgets)
    assert study.method == "random"
    assert {(r.source, r.protocol) for r in study.results} == {("random", "finetune")}
    assert len(quick) == 1
    assert label_savings(study) == []


def test_without_floors_nothing_is_trained_from_scratch(
    tmp_path: Path, quick: list[dict[str, Any]]
) -> None:
    data, run = make_data(), pretrained_run(tmp_path, floors=False)
    study = study_budgets(data, run, label_budgets(data, "all", 0, 0)[0])
    assert {r.source for r in study.results} == {"simclr"}
    assert label_savings(study) == []


def test_a_variant_is_part_of_the_names(tmp_path: Path, quick: list[dict[str, Any]]) -> None:
    run, data = pretrained_run(tmp_path), make_data("multi-class")
    budgets, _ = label_budgets(data, "12", 0, 0)
    plain = study_budgets(data, run, budgets)
    assert under_variant(plain, "") is plain
    noted = under_variant(plain, "strong decay")
    assert noted.method == "simclr (strong decay)"
    rows = pd.DataFrame(study_rows(noted, run))
    tuned = rows[rows["protocol"] == "finetune"]
    assert set(tuned["method"]) == {"simclr (strong decay)", "random (strong decay)"}
    assert set(tuned.loc[tuned["method"].str.startswith("random"), "augment"]) == {""}
    assert set(rows.loc[rows["protocol"] == "probe", "method"]) == {"simclr"}
    for result in noted.results:
        assert result.predictions.key["method"] == result.source
    again = under_variant(noted, "two")
    assert again.method == "simclr (strong decay, two)"
    save_study(noted, data, run)
    assert (run.folder / "encoder.safetensors").exists()


def test_the_encoder_that_is_saved(tmp_path: Path) -> None:
    data = make_data()
    run = pretrained_run(tmp_path, epochs=1, min_steps=1, lrs="0.001", floors=False)
    study = study_budgets(data, run, label_budgets(data, "12,all", 0, 0)[0])
    save_study(study, data, run)
    encoder, header = load_encoder(tmp_path / "encoder.safetensors")
    kept = study.trainings["simclr", "all"].encoder.state_dict()
    assert all(v.equal(kept[k]) for k, v in encoder.state_dict().items())
    assert header["method"] == "simclr+finetune"
    assert (header["labels"], header["lr"], header["epoch"]) == ("all", 0.001, 1)
    assert header["trail"] == ["phantom", "phantom"]
