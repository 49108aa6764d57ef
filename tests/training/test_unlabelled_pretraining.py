"""Images without a label in pretraining: seen, never from test's patients, and with no positive."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib.data.base import DataError, DataSet
from lib.data.pool import PooledRows
from lib.data.store import ImageStore
from lib.training.contrastive import ContrastiveModule
from lib.training.pretrain import pretrain, visible_labels
from lib.training.ranks import Crew
from tests.synthetic import make_data, with_unlabelled
from tests.training.test_pretrain import RECIPE, run, weights


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last training had in its store, and the indices of each of its epochs."""
    found: dict[str, Any] = {"epochs": []}
    prepare, began = ContrastiveModule.prepare, ContrastiveModule.on_train_epoch_start

    def note(self: ContrastiveModule, index: torch.Tensor) -> Any:
        found["epochs"][-1] += index.tolist()
        return prepare(self, index)

    def begin(self: ContrastiveModule) -> None:
        found["epochs"].append([])
        found["images"], found["y"] = np.asarray(self.store.images), self.y
        found["bank"] = None if self.monitor is None else len(self.monitor.bank)
        began(self)

    monkeypatch.setattr(ContrastiveModule, "prepare", note)
    monkeypatch.setattr(ContrastiveModule, "on_train_epoch_start", begin)
    return found


def test_every_epoch_sees_every_unlabelled_image(tmp_path: Path, seen: dict[str, Any]) -> None:
    data = with_unlabelled(29)
    result = run(tmp_path, data)
    assert [sorted(epoch) for epoch in seen["epochs"]] == [list(range(36 + 29))] * 2
    more = data.unlabelled
    assert more is not None
    whole = np.concatenate([data.splits["train"].images, more.images])
    np.testing.assert_array_equal(seen["images"], whole)
    assert seen["bank"] == 36  # the monitor knows labels only
    assert result.images == 2 * 65
    batches = math.ceil(65 / RECIPE.batch_size)
    assert result.chance == pytest.approx(math.log(2 * 65 / batches - 1))


def test_patients_of_val_and_test_are_never_seen(tmp_path: Path, seen: dict[str, Any]) -> None:
    # In `make_data` patients lie in several splits: those of val are patient-0 to patient-8.
    groups = [*(f"patient-{i}" for i in range(9, 18)), *(f"new-{i}" for i in range(5))]
    data = with_unlabelled(len(groups), groups)
    run(tmp_path, data, epochs=1)
    held = {f"patient-{i}" for i in range(12)}  # 24 test images, two each
    kept = [i for i, group in enumerate(groups) if group not in held]
    assert 0 < len(kept) < len(groups)
    assert data.unlabelled is not None
    np.testing.assert_array_equal(seen["images"][36:], data.unlabelled.images[kept])
    assert sorted(seen["epochs"][0]) == list(range(36 + len(kept)))


def test_unlabelled_images_reach_the_weights(tmp_path: Path) -> None:
    name = "resnet.layer1.0.conv1.weight"
    alone = run(tmp_path / "a", make_data(), epochs=1)
    more = run(tmp_path / "b", with_unlabelled(20), epochs=1)
    assert not torch.allclose(weights(alone)[name], weights(more)[name])


def test_the_monitor_starts_from_the_same_figure(tmp_path: Path) -> None:
    alone = run(tmp_path / "a", make_data(), epochs=1)
    more = run(tmp_path / "b", with_unlabelled(20), epochs=1)
    assert alone.auroc_before == more.auroc_before


@pytest.mark.parametrize("task", ["multi-class", "multi-label"])
@pytest.mark.parametrize("labelled", [None, [0, 1, 2, 3, 4, 5, 6]])
def test_supcon_knows_no_label_of_theirs(task: Any, labelled: Any) -> None:
    rows = None if labelled is None else np.array(labelled)
    plain = visible_labels(make_data(task), rows)
    y = visible_labels(with_unlabelled(11, task=task), rows)
    assert y.shape == (36 + 11, *plain.shape[1:]) and y.dtype == torch.int64
    assert torch.equal(y[:36], plain)
    assert (y[36:] == (0 if task == "multi-label" else -1)).all()


@pytest.mark.parametrize("balanced", [True, False])
def test_supcon_trains_on_them(tmp_path: Path, seen: dict[str, Any], balanced: bool) -> None:
    data = with_unlabelled(30)
    result = run(tmp_path, data, epochs=1, method="supcon", balanced_batches=balanced)
    assert np.isfinite(result.history[0]["loss"])
    assert len(seen["y"]) == len(seen["images"]) == 66
    assert len(seen["epochs"][0]) == 66 and max(seen["epochs"][0]) > 36


def test_one_labelled_image_and_many_others_are_enough(tmp_path: Path) -> None:
    def cut(data: DataSet) -> DataSet:
        train = data.splits["train"]
        one = dataclasses.replace(train, images=train.images[:1], ids=train.ids[:1], y=train.y[:1])  # type: ignore[index]
        return dataclasses.replace(data, splits={**data.splits, "train": one})

    with pytest.raises(DataError, match="1 training image"):
        run(tmp_path / "a", cut(make_data()))
    assert run(tmp_path / "b", cut(with_unlabelled(15)), epochs=1).images == 16


def test_two_processes_see_them_too(tmp_path: Path) -> None:
    data, recipe = with_unlabelled(28), dataclasses.replace(RECIPE, epochs=1)
    one = pretrain(data, recipe, tmp_path / "one")
    two = pretrain(data, recipe, tmp_path / "two", crew=Crew(devices=2))
    assert two.images == one.images == 64
    assert two.history[0]["loss"] == pytest.approx(one.history[0]["loss"], rel=1e-2)


def test_images_on_disk_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_unlabelled(20)
    splits = {}
    for name, split in data.splits.items():
        np.save(tmp_path / f"{name}.npy", split.images)
        images = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        splits[name] = dataclasses.replace(split, images=images)
    stores: list[ImageStore] = []
    init = ImageStore.__init__

    def note(self: ImageStore, *arguments: Any) -> None:
        init(self, *arguments)
        stores.append(self)

    monkeypatch.setattr(ImageStore, "__init__", note)
    mapped = run(tmp_path / "a", dataclasses.replace(data, splits=splits), epochs=1)
    [store] = [store for store in stores if isinstance(store.images, PooledRows)]
    assert len(store) == 56 and store.resident is None
    usual = run(tmp_path / "b", data, epochs=1)
    assert mapped.history[0]["loss"] == pytest.approx(usual.history[0]["loss"], rel=1e-5)
