"""Trainings that break down are stopped with a diagnosis; those that do not are left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lib.data.base import DataSet
from lib.data.store import ImageStore
from lib.models.embed import embed_images
from lib.models.encoder import build_encoder
from lib.training import diagnosis
from lib.training.diagnosis import COLLAPSED, Diagnosis, TrainingError, causes, has_collapsed
from tests.tiny import make_dataset
from tests.training.test_finetune import run as finetune
from tests.training.test_pretrain import RECIPE, run


def with_images(change: Any) -> DataSet:
    """The tiny data set with other training images."""
    data = make_dataset()
    train = data.splits["train"]
    changed = dataclasses.replace(train, images=change(train.images.copy()))
    return dataclasses.replace(data, splits={**data.splits, "train": changed})


def test_a_loss_that_is_no_number_stops_the_run_and_names_what_is_unusual(tmp_path: Path) -> None:
    broken = {"optimizer": "sgd", "lr": 1e12, "gradient_clip": 0.0, "temperature": 0.001}
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, epochs=3, stem="imagenet", **broken)
    said = str(caught.value)
    assert said.startswith("the loss became NaN or infinite in epoch ")
    assert "temperature 0.001 is low (0.05 to 0.5 is usual)" in said
    assert "lr 1e+12 is high for sgd (at most 1 is usual)" in said
    assert "gradient_clip 0" in said
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()  # nothing broken is kept


def test_without_an_unusual_setting_it_says_so() -> None:
    store = ImageStore(make_dataset().splits["train"].images, "cpu")
    said = causes(SimpleNamespace(recipe=RECIPE, store=store))
    assert said.startswith("None of the usual causes stands out (lr 0.001, temperature 0.2); try ")


def test_finetuning_is_watched_too(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lr 1e\+30 is high for adamw"):
        finetune(tmp_path, lrs=(1e30,), gradient_clip=0.0, epochs=6)


def test_images_all_alike_collapse_and_are_named(tmp_path: Path) -> None:
    def plain(images: Any) -> Any:
        images[:] = 90
        return images

    with pytest.raises(TrainingError) as caught:
        run(tmp_path, with_images(plain), augment="simple", stem="imagenet")
    said = str(caught.value)
    assert said.startswith("the features had collapsed by epoch 1: all images have the same. ")
    assert "47 of 48 images looked at are copies of another" in said
    assert "48 of 48 images looked at have a single colour" in said


@pytest.mark.parametrize(("seconds", "looks"), [(0.0, [1, 2, 3]), (1e9, [1, 3])])
def test_features_are_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, looks: list[int]
) -> None:
    """After the first epoch and the last whatever the time; else not before it has passed."""
    seen: list[int] = []

    def look(self: Diagnosis, trainer: Any, pl_module: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(diagnosis, "has_collapsed", lambda *_: bool(seen.append(pl_module.epoch)))
            pl_module.epoch = trainer.current_epoch + 1
            end(self, trainer, pl_module)

    end = Diagnosis.on_train_epoch_end
    monkeypatch.setattr(Diagnosis, "on_train_epoch_end", look)
    monkeypatch.setattr(diagnosis, "LOOKS", seconds)
    run(tmp_path, epochs=3)
    assert seen == looks


@pytest.mark.parametrize("stem", ["strided", "imagenet"])
def test_an_untrained_encoder_has_not_collapsed(stem: Any) -> None:
    images = make_dataset().splits["train"].images
    encoder = build_encoder("resnet18", stem, 3, seed=0)
    store = ImageStore(images, "cpu")
    assert not has_collapsed(encoder, store)
    h = embed_images(encoder, store, "cpu").astype(np.float64)
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    assert 1 - h.mean(axis=0) @ h.mean(axis=0) > 100 * COLLAPSED
    with torch.no_grad():  # a projection onto the bias: every image the same
        for parameter in encoder.parameters():
            if parameter.ndim == 4:
                parameter.zero_()
    assert has_collapsed(encoder, store)
    assert not has_collapsed(encoder, ImageStore(images[:7], "cpu"))
