"""Finetuning: what it trains and leaves alone, what chooses, and that stopping costs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lib.data.base import DataError, DataSet, Task, labels_of
from lib.identity import Origin
from lib.models.encoder import Encoder, build_encoder, freeze
from lib.models.weights import save_encoder
from lib.statistics.metrics import compute_metrics
from lib.training.finetune import Finetuned, FinetuneRecipe, finetune, make_head, starting_encoder
from lib.training.finetune_module import (
    FinetuneModule,
    Labelled,
    LabelledBatches,
    parameter_groups,
)
from lib.training.monitor import KnnMonitor, ScoreMonitor
from lib.training.objective import Objective, cross_entropy
from tests.synthetic import TASKS, make_data, make_run, unlabelled
from tests.thin import thin_encoder

RECIPE = FinetuneRecipe(
    epochs=2,
    min_steps=1,
    warmup_epochs=0.5,
    batch_size=12,
    optimizer="adamw",
    lrs=(1e-3,),
    weight_decay=1e-2,
    gradient_clip=1.0,
    layer_decay=0.5,
    freeze_stages=0,
    train_augment="none",
    val_every=1,
    seed=0,
)
ALL = np.arange(36)


def maker(channels: int = 3, seed: int = 0) -> Callable[[], Encoder]:
    return lambda: thin_encoder(channels, seed)


def run(
    folder: Path,
    data: DataSet | None = None,
    rows: Any = ALL,
    objective: Objective | None = None,
    **changes: Any,
) -> Finetuned:
    data = data or make_data()
    recipe = dataclasses.replace(RECIPE, **changes)
    return finetune(maker(data.channels), data, rows, recipe, folder, objective=objective)


def weights(result: Finetuned) -> dict[str, torch.Tensor]:
    own = {f"head.{k}": v for k, v in result.head.state_dict().items()}
    return {**result.encoder.state_dict(), **own}


def same(a: Finetuned, b: Finetuned) -> bool:
    one, other = weights(a), weights(b)
    return all(torch.equal(one[name], other[name]) for name in one)


def with_split(data: DataSet, name: str, **changes: Any) -> DataSet:
    changed = dataclasses.replace(data.splits[name], **changes)
    return dataclasses.replace(data, splits={**data.splits, name: changed})


# What is trained


@pytest.mark.parametrize("task", TASKS)
def test_learns_every_task(tmp_path: Path, task: Task) -> None:
    data = make_data(task)
    result = run(tmp_path, data, epochs=8, min_steps=160, lrs=(1e-2,), layer_decay=1.0)
    scores = result.scores(data.splits["test"].images)
    assert scores.shape == (24, len(data.classes))
    assert scores.dtype == np.float32
    if task != "multi-label":
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    metrics = compute_metrics(labels_of(data, "test"), scores, task)
    assert metrics["auroc"] > 0.8
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert not result.encoder.training
    assert not result.head.training


def test_the_encoder_changes_up_to_the_frozen_stages(tmp_path: Path) -> None:
    before = maker()().state_dict()
    for n in (0, 3):
        result = run(tmp_path / str(n), freeze_stages=n)
        after = result.encoder.state_dict()
        frozen = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]][:n]
        kept = tuple(f"resnet.{part}." for stage in frozen for part in stage)
        for name, value in before.items():
            if name in ("mean", "std") or (kept and name.startswith(kept)):
                assert torch.equal(after[name], value), name
            else:
                # BatchNorm's running statistics and its counter move as well.
                assert not torch.equal(after[name], value), name


def test_learning_rates_by_stage() -> None:
    encoder, head = maker()(), make_head(16, 3, 0)
    recipe = dataclasses.replace(RECIPE, layer_decay=0.5)
    groups = parameter_groups(encoder, head, 0.1, recipe)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {rate[id(p)] for p in head.parameters()} == {0.1}
    for i, stage in enumerate(encoder.stages()):
        for module in stage:
            for p in module.parameters():
                assert rate[id(p)] == pytest.approx(0.1 * 0.5 ** (5 - i))
                assert decay[id(p)] == (recipe.weight_decay if p.ndim > 1 else 0)
    known = [*encoder.parameters(), *head.parameters()]
    assert len(rate) == len(known) == sum(len(group["params"]) for group in groups)


def test_layer_decay_reaches_the_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    step = FinetuneModule.loss_of_part

    def watch(self: FinetuneModule, given: Labelled, part: slice) -> torch.Tensor:
        seen.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
        return step(self, given, part)

    monkeypatch.setattr(FinetuneModule, "loss_of_part", watch)
    run(tmp_path, epochs=4, warmup_epochs=1.0, freeze_stages=4)
    # The head's weight and bias, then layer4's, at half the rate; three steps of warm-up.
    assert [r / seen[0][0] for r in seen[0]] == [1, 1, 0.5, 0.5]
    heads = [rates[0] for rates in seen]
    np.testing.assert_allclose(heads[:3], [1e-3 / 3, 2e-3 / 3, 1e-3])
    cosine = [0.5e-3 * (1 + np.cos(np.pi * k / 9)) for k in range(9)]
    np.testing.assert_allclose(heads[3:], cosine)


def test_a_constant_schedule(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=3, schedule="constant", freeze_stages=5)
    assert [row["lr"] for row in result.history] == [1e-3] * 3


def test_validation_and_test_images_are_not_trained_on(tmp_path: Path) -> None:
    data = make_data()
    first = run(tmp_path / "a", data)
    changed = with_split(data, "test", images=255 - data.splits["test"].images)
    assert same(first, run(tmp_path / "b", changed))
    # Validation images choose between epochs; with one to choose from they do nothing.
    last = run(tmp_path / "c", data, val_every=5)
    changed = with_split(data, "val", images=255 - data.splits["val"].images)
    assert same(last, run(tmp_path / "d", changed, val_every=5))


def test_training_images_without_a_label_are_not_seen(tmp_path: Path) -> None:
    data, rows = make_data(), np.arange(0, 36, 2) // 2 * 2
    images = data.splits["train"].images.copy()
    images[1::2] = 0
    changed = with_split(data, "train", images=images)
    assert same(run(tmp_path / "a", data, rows), run(tmp_path / "b", changed, rows))
    few = rows[:10]  # a small share is taken out of the split first
    assert same(run(tmp_path / "c", data, few), run(tmp_path / "d", changed, few))


def test_only_positions_of_the_labelled_images_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    step = FinetuneModule.loss_of_part

    def watch(self: FinetuneModule, given: Labelled, part: slice) -> torch.Tensor:
        assert len(self.store) == 36
        seen.update(given.rows[part].tolist())
        return step(self, given, part)

    monkeypatch.setattr(FinetuneModule, "loss_of_part", watch)
    rows = np.arange(3, 30)
    run(tmp_path, rows=rows, epochs=1, freeze_stages=5)
    assert seen == set(rows.tolist())


# What chooses


def test_keeps_the_latest_epoch_near_the_best_and_the_best_rate(tmp_path: Path) -> None:
    data = make_data()
    result = run(tmp_path, data, epochs=3, lrs=(1e-6, 1e-3))
    monitor = ScoreMonitor.of(data, "cpu", "fp32", 0)
    assert monitor is not None
    assert list(result.tried) == [1e-6, 1e-3]
    kept = {}
    for lr, history in result.tried.items():
        aurocs = [row["val_auroc"] for row in history]
        best = np.maximum.accumulate(aurocs)
        near = [a >= b - monitor.standard_error(b) for a, b in zip(aurocs, best, strict=True)]
        selected = max(i for i, keep in enumerate(near) if keep)
        kept[lr] = (aurocs[selected], selected + 1)
    assert result.lr == max(kept, key=lambda lr: kept[lr][0]) == 1e-3
    assert (result.val_auroc, result.selected) == kept[result.lr]
    assert result.history == result.tried[result.lr]
    # The weights are those of that epoch.
    found = monitor.auroc(result.encoder, result.head)
    assert found == pytest.approx(result.val_auroc, abs=1e-6)


def test_the_rule_for_epochs() -> None:
    module = FinetuneModule.__new__(FinetuneModule)
    torch.nn.Module.__init__(module)
    module.monitor, module.best_auroc = ScoreMonitor.of(make_data(), "cpu", "fp32", 0), -np.inf
    kept = [module.is_worth_keeping({"val_auroc": a}, False) for a in (0.7, 0.95, 0.6, 0.94)]
    assert kept == [True, True, False, True]
    assert not module.is_worth_keeping({}, True)
    module.monitor = None
    assert [module.is_worth_keeping({}, last) for last in (False, True)] == [False, True]


def test_both_monitors_know_the_same_standard_error() -> None:
    data = make_data("multi-label")
    scores = ScoreMonitor.of(data, "cpu", "fp32", 0)
    knn = KnnMonitor.of(data, 5, "cpu", "fp32", 0)
    assert scores is not None
    assert knn is not None
    assert scores.standard_error(0.8) == knn.standard_error(0.8) > 0


@pytest.mark.parametrize("y", [None, np.zeros(18, np.int64)], ids=["none", "one class"])
def test_without_validation_labels_the_last_epoch_of_the_first_rate(tmp_path: Path, y: Any) -> None:
    data = with_split(make_data(), "val", y=y)
    result = run(tmp_path, data, lrs=(1e-4, 1e-3))
    assert (result.lr, result.selected, result.val_auroc) == (1e-4, 2, None)
    assert list(result.tried) == [1e-4]
    assert "val_auroc" not in result.history[-1]


# Batches and budgets


def batches(n: int, epoch: int = 0, weights: Any = None, **changes: Any) -> list[torch.Tensor]:
    recipe = dataclasses.replace(RECIPE, **changes)
    found = LabelledBatches(n, recipe, lambda: epoch, weights)
    listed = list(found)
    assert len(listed) == len(found)
    return listed


@pytest.mark.parametrize(("n", "batch_size"), [(36, 12), (37, 12), (2, 64), (3, 2), (5, 2)])
def test_a_pass_covers_every_image_once_and_no_batch_is_single(n: int, batch_size: int) -> None:
    found = batches(n, batch_size=batch_size)
    sizes = [len(b) for b in found]
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch_size, 3)
    assert max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat(found).tolist()) == list(range(n))
    again, later = batches(n, batch_size=batch_size), batches(n, 1, batch_size=batch_size)
    assert torch.equal(torch.cat(found), torch.cat(again))
    assert n < 5 or not torch.equal(torch.cat(found), torch.cat(later))


@pytest.mark.parametrize(
    ("n", "min_steps", "passes"), [(36, 6, 1), (36, 7, 2), (12, 6, 3), (12, 1, 1), (12, 7, 4)]
)
def test_few_labels_are_gone_over_until_there_are_steps(
    n: int, min_steps: int, passes: int
) -> None:
    found = batches(n, min_steps=min_steps)  # two epochs in batches of 12
    assert len(found) == passes * -(-n // 12)
    assert 2 * len(found) >= min_steps
    counts = np.bincount(torch.cat(found).numpy(), minlength=n)
    assert (counts == passes).all()
    if passes > 1:
        assert not torch.equal(torch.cat(found)[:n], torch.cat(found)[n : 2 * n])


def test_weights_say_how_often_an_image_is_drawn() -> None:
    weights = torch.tensor([0.0, 1.0, 3.0] * 4)
    drawn = torch.cat(batches(12, weights=weights, min_steps=2000))
    share = np.bincount(drawn.numpy(), minlength=12) / len(drawn)
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.01)


def test_twelve_images_get_their_steps(tmp_path: Path) -> None:
    result = run(tmp_path, rows=np.arange(12), min_steps=5, train_augment="microscopy")
    assert result.steps == 6
    assert [row["steps"] for row in result.history] == [3, 6]
    assert np.isfinite([row["loss"] for row in result.history]).all()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_three_images_in_batches_of_two(tmp_path: Path, optimizer: str) -> None:
    result = run(tmp_path, rows=np.arange(3), batch_size=2, epochs=1, optimizer=optimizer)
    assert result.steps == 1


def test_what_cannot_be_finetuned_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 labelled image\\(s\\); finetuning needs two"):
        run(tmp_path, rows=np.arange(1))
    with pytest.raises(DataError, match="all 2 labelled images have the same label"):
        run(tmp_path, rows=np.array([0, 3]))
    with pytest.raises(DataError, match="has no labels"):
        run(tmp_path, unlabelled())


# Objectives


def test_an_objective_decides_loss_draws_and_offset(tmp_path: Path) -> None:
    data = make_data()
    plain = run(tmp_path / "plain", data)
    offset = torch.tensor([0.0, 50.0, 0.0])
    shifted = run(
        tmp_path / "a", data, objective=Objective("shifted", cross_entropy, offset=offset)
    )
    assert plain.lr == shifted.lr
    # Taken off the logits, 50 leaves nothing of the second class.
    assert shifted.scores(data.splits["test"].images)[:, 1].max() < 1e-6
    first = torch.tensor([1.0, 0.0, 0.0] * 12)
    drawn = run(
        tmp_path / "b",
        data,
        min_steps=100,
        lrs=(1e-2,),
        objective=Objective("one", cross_entropy, first),
    )
    assert drawn.scores(data.splits["test"].images)[:, 0].mean() > 0.9
    calls = []

    def loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        calls.append((logits.shape, logits.dtype, y.dtype))
        return cross_entropy(logits, y)

    assert same(plain, run(tmp_path / "plain2", data, objective=Objective("none", loss)))
    assert set(calls) == {((12, 3), torch.float32, torch.int64)}


# Going on, and doing it once


def test_a_resumed_training_ends_bit_for_bit_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 3, "lrs": (1e-3, 3e-4), "train_augment": "microscopy"}
    whole = run(tmp_path / "whole", **settings)
    monkeypatch.setattr("lib.training.trainer.CHECKPOINT_SECONDS", 0.0)
    start = FinetuneModule.on_train_epoch_start

    def break_in_second_rate(self: FinetuneModule) -> None:
        if self.lr == 3e-4 and self.current_epoch == 2:
            raise RuntimeError("power cut")
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneModule, "on_train_epoch_start", break_in_second_rate)
        with pytest.raises(RuntimeError, match="power cut"):
            run(tmp_path / "broken", **settings)
    began: list[tuple[float, int]] = []

    def note(self: FinetuneModule) -> None:
        began.append((self.lr, self.current_epoch))
        start(self)

    monkeypatch.setattr(FinetuneModule, "on_train_epoch_start", note)
    resumed = run(tmp_path / "broken", **settings)
    assert began == [(3e-4, 2)]  # nothing is done twice
    assert same(whole, resumed)
    assert (whole.lr, whole.selected, whole.val_auroc) == (
        resumed.lr, resumed.selected, resumed.val_auroc
    )  # fmt: skip
    for lr, history in whole.tried.items():
        for mine, other in zip(history, resumed.tried[lr], strict=True):
            assert {**mine, "seconds": 0} == {**other, "seconds": 0}


def test_a_finished_training_is_read_back_and_another_recipe_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path)
    (file,) = tmp_path.iterdir()  # of the training only the weights chosen stay
    torch.load(file, weights_only=True)
    with monkeypatch.context() as patch:
        patch.setattr(FinetuneModule, "training_step", None)
        again = run(tmp_path)
    assert same(first, again)
    assert again.history == first.history
    other = run(tmp_path, lrs=(3e-4,))
    assert not same(first, other)
    assert not same(first, run(tmp_path, rows=np.arange(30)))


def test_bf16_trains_too(tmp_path: Path) -> None:
    data = make_data()
    result = finetune(maker(), data, ALL, RECIPE, tmp_path, precision="bf16")
    assert np.isfinite([row["loss"] for row in result.history]).all()
    assert {p.dtype for p in result.encoder.parameters()} == {torch.float32}


def test_a_frozen_encoder_in_eval_mode_is_trained_all_the_same(tmp_path: Path) -> None:
    def make() -> Encoder:
        return freeze(maker()())

    thawed = finetune(make, make_data(), ALL, RECIPE, tmp_path / "a")
    assert same(thawed, run(tmp_path / "b"))


# Recipes and starts


def test_recipe_of_parameters() -> None:
    known = dataclasses.asdict(RECIPE)
    params = SimpleNamespace(**{**known, "lrs": "0.001,0.0003", "unrelated": 1})
    assert FinetuneRecipe.of(params) == dataclasses.replace(RECIPE, lrs=(1e-3, 3e-4))
    params.schedule = "constant"
    assert FinetuneRecipe.of(params).schedule == "constant"
    del params.schedule  # a notebook without it gets the default
    assert FinetuneRecipe.of(params).schedule == "cosine"


def test_starting_encoders(tmp_path: Path) -> None:
    data = make_data()
    pretrained = build_encoder("resnet18", "small", 1, seed=9)
    header = {"size": 12, "dataset": "tiny", "parameters": {}, "commit": "c"}
    save_encoder(tmp_path / "encoder.safetensors", pretrained, header)
    origin = Origin("simclr", "novel", "some-run")
    known = make_run(tmp_path, origin, init=str(tmp_path / "encoder.safetensors"), seed=3)
    loaded, scratch = starting_encoder(known, data)(), starting_encoder(known, data, "scratch")
    first, second = scratch(), scratch()
    name = "resnet.layer1.0.conv1.weight"
    assert torch.equal(loaded.state_dict()[name], pretrained.state_dict()[name])
    # From scratch has the file's architecture, and sees the colour of these images.
    assert (first.architecture, first.stem, first.channels) == ("resnet18", "small", 3)
    own = build_encoder("resnet18", "small", 3, seed=3).state_dict()
    assert torch.equal(first.state_dict()[name], own[name])
    assert first is not second
    assert torch.equal(first.state_dict()[name], second.state_dict()[name])
    plain = starting_encoder(make_run(tmp_path, stem="strided"), data)()
    assert (plain.stem, plain.channels) == ("strided", 3)
