"""Pretraining: what it keeps, what it leaves alone, and that stopping it changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data.base import DataError, DataSet
from lib.training.batches import EpochBatches, mix
from lib.training.contrastive import ContrastiveModule, Recipe
from lib.training.monitor import KnnMonitor
from lib.training.pretrain import Pretraining, pretrain
from tests.tiny import make_dataset

RECIPE = Recipe(
    augment="microscopy",
    crop_scale=0.2,
    encoder="resnet18",
    stem="strided",
    init="scratch",
    epochs=2,
    warmup_epochs=1.0,
    batch_size=16,
    temperature=0.2,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=1e-4,
    gradient_clip=1.0,
    projection_dim=16,
    projection_layers=2,
    projection_norm="none",
    knn_every=1,
    knn_k=5,
    seed=0,
)


def run(folder: Path, data: DataSet | None = None, **changes: object) -> Pretraining:
    recipe = dataclasses.replace(RECIPE, **changes)  # type: ignore[arg-type]
    return pretrain(data or make_dataset(), recipe, folder)


def weights(result: Pretraining) -> dict[str, torch.Tensor]:
    return {k: v for k, v in result.encoder.state_dict().items() if v.is_floating_point()}


def test_learns_and_keeps_the_epoch_validation_chose(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=8)
    assert [row["epoch"] for row in result.history] == list(range(1, 9))
    losses = [row["loss"] for row in result.history]
    assert np.mean(losses[4:]) < np.mean(losses[:2])  # three batches an epoch: one is not enough
    # The latest epoch within a standard error of the best up to it is kept.
    monitor = KnnMonitor.of(make_dataset(), RECIPE.knn_k, "cpu", "fp32", RECIPE.seed)
    assert monitor is not None
    aurocs = [row["val_knn_auroc"] for row in result.history]
    best = np.maximum.accumulate(aurocs)
    near = [a >= b - monitor.standard_error(b) for a, b in zip(aurocs, best, strict=True)]
    assert result.selected == max(i + 1 for i, keep in enumerate(near) if keep)
    assert result.auroc == aurocs[result.selected - 1]
    assert not result.encoder.training


def test_chance_is_the_loss_of_views_that_are_all_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib.losses import nt_xent

    monkeypatch.setattr(
        "lib.training.contrastive.nt_xent",
        lambda z1, z2, t: nt_xent(0 * z1 + 1, 0 * z2 + 1, t),
    )
    result = run(tmp_path, epochs=1)
    assert result.chance is not None
    assert result.history[0]["loss"] == pytest.approx(result.chance, rel=1e-3)


def test_the_kept_weights_are_those_of_the_selected_epoch(tmp_path: Path) -> None:
    data = make_dataset()
    result = run(tmp_path, data, epochs=3)
    monitor = KnnMonitor.of(data, RECIPE.knn_k, "cpu", "fp32", RECIPE.seed)
    assert monitor is not None
    assert monitor.auroc(result.encoder) == pytest.approx(result.auroc, abs=1e-6)


def test_a_worse_epoch_does_not_replace_a_better_one() -> None:
    data = make_dataset()
    monitor = KnnMonitor.of(data, 5, "cpu", "fp32", 0)
    module = ContrastiveModule.__new__(ContrastiveModule)
    torch.nn.Module.__init__(module)
    module.monitor, module.best_auroc = monitor, float("-inf")
    kept = [module.is_worth_keeping({"val_knn_auroc": a}, False) for a in (0.7, 0.9, 0.6, 0.89)]
    assert kept == [True, True, False, True]
    assert not module.is_worth_keeping({}, True)


def test_standard_error_of_the_monitor_by_simulation() -> None:
    # Hanley & McNeil's formula against the spread of AUROCs of normal scores, 21 and 57 images.
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [21, 57])
    scores = rng.normal(size=(2000, 78)) + 1.19 * y  # an AUROC of 0.8
    aurocs = [roc_auc_score(y, s) for s in scores]
    monitor = KnnMonitor.__new__(KnnMonitor)
    monitor.y_queries, monitor.task, monitor.n_classes = y, "binary", 2
    assert np.mean(aurocs) == pytest.approx(0.8, abs=0.01)
    assert monitor.standard_error(0.8) == pytest.approx(np.std(aurocs), rel=0.15)


def test_a_resumed_run_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", epochs=3)
    monkeypatch.setattr("lib.training.trainer.CHECKPOINT_SECONDS", 0.0)
    start = ContrastiveModule.on_train_epoch_start

    def break_in_third(self: ContrastiveModule) -> None:
        if self.current_epoch == 2:
            raise RuntimeError("power cut")
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveModule, "on_train_epoch_start", break_in_third)
        with pytest.raises(RuntimeError, match="power cut"):
            run(tmp_path / "broken", epochs=3)
    began: list[int] = []

    def note(self: ContrastiveModule) -> None:
        began.append(self.current_epoch)
        start(self)

    monkeypatch.setattr(ContrastiveModule, "on_train_epoch_start", note)
    resumed = run(tmp_path / "broken", epochs=3)
    assert began == [2]  # nothing is done twice
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    assert resumed.selected == whole.selected
    assert resumed.auroc_before == whole.auroc_before
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=1e-5, atol=1e-6)


def test_same_seed_same_encoder_other_seed_another(tmp_path: Path) -> None:
    first, again, other = (
        run(tmp_path / str(i), epochs=1, seed=seed) for i, seed in enumerate([0, 0, 1])
    )
    name = "resnet.layer1.0.conv1.weight"
    torch.testing.assert_close(weights(first)[name], weights(again)[name])
    assert not torch.allclose(weights(first)[name], weights(other)[name])


def test_test_images_and_labels_play_no_part(tmp_path: Path) -> None:
    data = make_dataset()
    test = data.splits["test"]
    changed = dataclasses.replace(test, images=255 - test.images, y=np.zeros_like(test.y))
    other = dataclasses.replace(data, splits={**data.splits, "test": changed})
    first, second = run(tmp_path / "a", data, epochs=1), run(tmp_path / "b", other, epochs=1)
    for name, value in weights(first).items():
        torch.testing.assert_close(weights(second)[name], value)


def test_training_labels_do_not_reach_the_weights(tmp_path: Path) -> None:
    data = make_dataset()
    train = data.splits["train"]
    shuffled = dataclasses.replace(train, y=np.roll(train.y, 1))  # type: ignore[arg-type]
    other = dataclasses.replace(data, splits={**data.splits, "train": shuffled})
    first, second = run(tmp_path / "a", data, epochs=1), run(tmp_path / "b", other, epochs=1)
    for name, value in weights(first).items():
        torch.testing.assert_close(weights(second)[name], value)


@pytest.mark.parametrize("method", ["adamw", "sgd"])
def test_without_labels_the_last_epoch_is_kept(tmp_path: Path, method: str) -> None:
    result = run(tmp_path, make_dataset(labelled=False), optimizer=method)
    assert result.selected == 2
    assert result.auroc is None
    assert "val_knn_auroc" not in result.history[-1]


@pytest.mark.parametrize("batch_size", [2, 47, 512])
def test_any_batch_size(tmp_path: Path, batch_size: int) -> None:
    result = run(tmp_path, make_dataset(channels=1), batch_size=batch_size, epochs=1)
    assert np.isfinite(result.history[0]["loss"])
    assert result.encoder.channels == 1


def test_logs_of_both_kinds_and_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "short", epochs=1)
    # A training of a few seconds is sooner done again than written.
    assert not (tmp_path / "short" / "checkpoints" / "last.ckpt").exists()
    monkeypatch.setattr("lib.training.trainer.CHECKPOINT_SECONDS", 0.0)
    run(tmp_path, epochs=1)
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert "loss" in (tmp_path / "logs" / "csv" / "metrics.csv").read_text()
    assert list((tmp_path / "logs" / "tensorboard").glob("events*"))
    assert (tmp_path / "progress").read_text() == "epoch 1/1\n"
    # Nothing in the checkpoint needs code to be run to read it.
    torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)


def test_one_image_is_refused(tmp_path: Path) -> None:
    data = make_dataset()
    train = data.splits["train"]
    one = dataclasses.replace(train, images=train.images[:1], ids=train.ids[:1], y=train.y[:1])  # type: ignore[index]
    with pytest.raises(DataError, match="needs two"):
        run(tmp_path, dataclasses.replace(data, splits={**data.splits, "train": one}))


def test_learning_rate_warms_up_and_decays_within_this_run(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=4, warmup_epochs=2.0)
    rates = [row["lr"] for row in result.history]
    assert rates[1] == pytest.approx(RECIPE.lr)
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert rates[3] < 0.01 * RECIPE.lr


@pytest.mark.parametrize(("n", "batch_size"), [(48, 16), (49, 16), (3, 256), (1000, 7)])
def test_batches_cover_every_image_once_evenly(n: int, batch_size: int) -> None:
    epoch = 0
    batches = EpochBatches(n, batch_size, seed=3, epoch=lambda: epoch)
    first = list(batches)
    sizes = [len(b) for b in first]
    assert len(first) == len(batches)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat(first).tolist()) == list(range(n))
    assert torch.equal(torch.cat(first), torch.cat(list(batches)))
    epoch = 1
    assert n < 5 or not torch.equal(torch.cat(first), torch.cat(list(batches)))


def test_streams_do_not_collide() -> None:
    seeds = {mix(s, e, k) for s in range(20) for e in range(500) for k in (1, 2)}
    assert len(seeds) == 20 * 500 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_bf16_trains_too(tmp_path: Path) -> None:
    result = pretrain(make_dataset(), RECIPE, tmp_path, precision="bf16")
    assert np.isfinite([row["loss"] for row in result.history]).all()
    assert next(result.encoder.parameters()).dtype == torch.float32


def test_in_a_slurm_job_of_several_tasks_one_process_is_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"JOB_NAME": "study", "NTASKS": "4", "PROCID": "2"}
    for name, value in {**job, "LOCALID": "0", "NODEID": "0", "JOB_ID": "7"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    result = run(tmp_path)
    assert len(result.history) == RECIPE.epochs
