"""SupCon in the pretraining: which labels it sees, which batches it gets, what they change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lib.augment import Pipeline
from lib.data.base import DataError, DataSet
from lib.data.budget import choose_labels
from lib.data.store import ImageStore
from lib.losses import nt_xent, sup_con
from lib.models.encoder import build_encoder
from lib.training.batches import BalancedBatches, EpochBatches
from lib.training.contrastive import ContrastiveModule, known_or_own
from lib.training.pretrain import pretrain, supcon_labels, visible_labels
from tests.tiny import make_dataset
from tests.training.test_pretrain import RECIPE, run, weights

NOTHING = Pipeline("nothing", 3, ())
SUPCON = {"method": "supcon", "epochs": 1}


def relabelled(data: DataSet, y: Any) -> DataSet:
    """The same data set with other training labels."""
    train = dataclasses.replace(data.splits["train"], y=y)
    return dataclasses.replace(data, splits={**data.splits, "train": train})


# Balanced batches


def batches_of(y: Any, size: int, seed: int = 0, epoch: int = 0) -> list[torch.Tensor]:
    return list(BalancedBatches(torch.as_tensor(y), size, seed, lambda: epoch))


def test_balanced_batches_hold_as_many_of_each_class() -> None:
    y = np.repeat([0, 1, 2], [70, 20, 6])
    batches = batches_of(y, 12)
    assert [len(b) for b in batches] == [12] * 8  # an epoch is as long as without balancing
    for batch in batches:
        assert np.bincount(y[batch], minlength=3).tolist() == [4, 4, 4]


def test_balanced_batches_use_every_image_of_a_class_before_one_again() -> None:
    y = np.repeat([0, 1, 2], [70, 20, 6])
    used = np.bincount(torch.cat(batches_of(y, 12)), minlength=len(y))
    for k in range(3):
        assert used[y == k].sum() == 32
        assert np.ptp(used[y == k]) <= 1
    # Over epochs, all of the large class is seen.
    seen = torch.cat([torch.cat(batches_of(y, 12, epoch=e)) for e in range(12)])
    assert set(seen.tolist()) == set(range(len(y)))


@pytest.mark.parametrize(("n", "size"), [(50, 7), (5, 64), (9, 2), (100, 33)])
def test_balanced_batches_of_any_size(n: int, size: int) -> None:
    y = np.arange(n) % 3
    batches = batches_of(y, size)
    plain = list(EpochBatches(n, size, 0, lambda: 0))
    assert [len(b) for b in batches] == [len(b) for b in plain]
    for batch in batches:
        counts = np.bincount(y[batch.numpy()], minlength=3)
        assert np.ptp(counts) <= 1


def test_balanced_batches_follow_seed_and_epoch_alone() -> None:
    y = np.repeat([0, 1], [30, 10])
    first = torch.cat(batches_of(y, 8))
    assert torch.equal(first, torch.cat(batches_of(y, 8)))
    assert not torch.equal(first, torch.cat(batches_of(y, 8, seed=1)))
    assert not torch.equal(first, torch.cat(batches_of(y, 8, epoch=1)))


def test_classes_without_an_image_take_no_part() -> None:
    y = np.array([0, 0, 0, 4, 4, 4, 4, 4])
    assert [np.bincount(y[b], minlength=5).tolist() for b in batches_of(y, 4)] == [
        [2, 0, 0, 0, 2]
    ] * 2


def test_images_of_unknown_label_are_one_class_of_their_own() -> None:
    """Hidden labels are −1: balanced beside the classes, not left out."""
    y = np.array([-1] * 6 + [0] * 2 + [1] * 2)
    [batch] = batches_of(y, 16)
    assert sorted(np.unique(y[batch], return_counts=True)[1].tolist()) == [3, 3, 4]


@pytest.mark.parametrize("balanced", [True, False])
def test_the_module_takes_balanced_batches_when_asked(balanced: bool) -> None:
    data = make_dataset()
    recipe = dataclasses.replace(RECIPE, method="supcon", balanced_batches=balanced)
    store = ImageStore(data.splits["train"].images, "cpu")
    encoder = build_encoder("resnet18", "strided", 3, seed=0)
    y = visible_labels(data, None)
    module = ContrastiveModule(encoder, NOTHING, store, recipe, None, "fp32", y)
    assert isinstance(module.batches(0), BalancedBatches) == balanced
    # Without labels in the loss there is nothing to balance by.
    recipe = dataclasses.replace(recipe, method="simclr")
    module = ContrastiveModule(encoder, NOTHING, store, recipe, None, "fp32", y)
    assert not isinstance(module.batches(0), BalancedBatches)


# Unknown labels


def test_an_unknown_label_is_a_number_of_its_own() -> None:
    y = torch.tensor([2, -1, 0, -1, 2])
    found = known_or_own(y, torch.arange(5))
    assert found[[0, 2, 4]].tolist() == [2, 0, 2]
    assert (found[[1, 3]] < 0).all()
    assert len(set(found.tolist())) == 4
    many = torch.tensor([[1, 0], [0, 0], [-1, 1]])
    assert known_or_own(many, torch.arange(3)).tolist() == [[1, 0], [0, 0], [0, 1]]


def test_an_unlabelled_image_that_comes_twice_is_no_negative_of_itself() -> None:
    found = known_or_own(torch.tensor([-1, 0, -1, -1]), torch.tensor([7, 1, 8, 7]))
    assert found[0] == found[3] != found[2]


def test_with_all_labels_unknown_supcon_is_simclr() -> None:
    z1, z2 = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    y = known_or_own(torch.full((9,), -1), torch.arange(9))
    torch.testing.assert_close(sup_con(z1, z2, y, 0.2), nt_xent(z1, z2, 0.2))
    none = known_or_own(torch.zeros(9, 3, dtype=torch.int64), torch.arange(9))
    torch.testing.assert_close(sup_con(z1, z2, none, 0.2), nt_xent(z1, z2, 0.2))


# Which labels are seen


def test_simclr_sees_none() -> None:
    assert supcon_labels(make_dataset(), SimpleNamespace(method="simclr")) is None


@pytest.mark.parametrize("seen", ["all", "12"])
def test_supcon_sees_the_images_that_a_probe_is_fitted_on(seen: str) -> None:
    data = make_dataset()
    params = SimpleNamespace(method="supcon", seen_labels=seen, seed=3)
    expected = choose_labels(data.splits["train"].y, "all" if seen == "all" else 12, seed=3)
    found = supcon_labels(data, params)
    assert found is not None
    np.testing.assert_array_equal(found, expected.indices)


def test_several_budgets_are_refused() -> None:
    params = SimpleNamespace(method="supcon", seen_labels="12,all", seed=0)
    with pytest.raises(DataError, match="seen_labels: 12,all; pretraining takes one budget"):
        supcon_labels(make_dataset(), params)
    with pytest.raises(DataError, match="4,000 asked for"):
        supcon_labels(make_dataset(), SimpleNamespace(method="supcon", seen_labels="4000", seed=0))


def test_labels_that_are_not_seen_are_hidden() -> None:
    data = make_dataset()
    train = data.splits["train"]
    assert train.y is not None
    before = train.y.copy()
    labelled = np.array([0, 4, 9])
    y = visible_labels(data, labelled)
    assert y.dtype == torch.int64
    assert y[labelled].tolist() == train.y[labelled].tolist()
    assert (np.delete(y.numpy(), labelled) == -1).all()
    np.testing.assert_array_equal(train.y, before)  # the data set keeps its labels
    assert torch.equal(visible_labels(data, None), torch.from_numpy(before))


def test_hidden_labels_of_several_are_all_zero() -> None:
    data = make_dataset("multi-label")
    y = visible_labels(data, np.array([0, 4, 8]))
    assert y.shape == (48, 3)
    assert y.sum().item() == data.splits["train"].y[[0, 4, 8]].sum()  # type: ignore[index]


@pytest.mark.parametrize(
    ("data", "labelled", "words"),
    [
        (make_dataset(labelled=False), None, "needs labels; without any, use simclr"),
        (make_dataset(), [0, 1, 2], "no two labelled training images share a label"),
        (make_dataset(), [], "no two labelled training images share a label"),
        (make_dataset("multi-label"), [1], "no two labelled training images share a label"),
    ],
    ids=["unlabelled", "one of each", "none", "multi-label"],
)
def test_supcon_without_a_pair_is_refused(data: DataSet, labelled: Any, words: str) -> None:
    rows = None if labelled is None else np.array(labelled, np.int64)
    with pytest.raises(DataError, match=words):
        visible_labels(data, rows)


def test_a_module_without_labels_is_refused() -> None:
    recipe = dataclasses.replace(RECIPE, method="supcon")
    with pytest.raises(DataError, match="supcon needs labels"):
        ContrastiveModule(None, None, None, recipe, None, "fp32")  # type: ignore[arg-type]


# The pretraining


@pytest.mark.parametrize(
    ("task", "balanced"),
    [("binary", False), ("multi-class", True), ("ordinal", False), ("multi-label", False)],
)
def test_trains_on_every_task(tmp_path: Path, task: Any, balanced: bool) -> None:
    result = run(tmp_path, make_dataset(task), **SUPCON, balanced_batches=balanced)
    assert np.isfinite(result.history[0]["loss"])
    assert result.selected == 1


def test_several_labels_an_image_cannot_be_balanced(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="balanced_batches: images have several labels"):
        run(tmp_path, make_dataset("multi-label"), **SUPCON, balanced_batches=True)


def test_labels_reach_the_weights_and_hidden_ones_do_not(tmp_path: Path) -> None:
    data, name = make_dataset(), "resnet.layer1.0.conv1.weight"
    y = data.splits["train"].y
    assert y is not None
    recipe = dataclasses.replace(RECIPE, method="supcon", epochs=1)
    seen = np.arange(0, 24)

    def trained(folder: str, labels: Any) -> torch.Tensor:
        other = relabelled(data, labels)
        return weights(pretrain(other, recipe, tmp_path / folder, labelled=seen))[name]

    usual = trained("usual", y)
    hidden = y.copy()
    hidden[24:] = (hidden[24:] + 1) % 4
    torch.testing.assert_close(trained("hidden", hidden), usual)
    shown = y.copy()
    shown[:12] = (shown[:12] + 1) % 4
    assert not torch.allclose(trained("shown", shown), usual)


@pytest.mark.parametrize("task", ["multi-class", "multi-label"])
def test_a_step_is_supcon_of_two_views_with_the_labels_it_may_see(task: Any) -> None:
    data = make_dataset(task)
    store = ImageStore(data.splits["train"].images, "cpu")
    encoder = build_encoder("resnet18", "strided", 3, seed=0)
    recipe = dataclasses.replace(RECIPE, method="supcon")
    y = visible_labels(data, np.arange(0, 48, 2))
    module = ContrastiveModule(encoder, NOTHING, store, recipe, None, "fp32", y)
    module.log = lambda *_, **__: None  # type: ignore[assignment]
    index = torch.arange(16)
    loss = module.loss_at(index)
    x = store.take(index)
    z1, z2 = module.head(encoder(torch.cat([x, x]))).chunk(2)
    own = (
        torch.where(torch.arange(16) % 2 == 0, y[:16], -1 - torch.arange(16)) if y.ndim == 1 else y
    )
    torch.testing.assert_close(loss, sup_con(z1, z2, own[:16], recipe.temperature))
    assert not torch.isclose(loss, nt_xent(z1, z2, recipe.temperature))
