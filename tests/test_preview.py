"""Previews show what training sees: the same ops, seeded, with the original beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.augment import SEQUENCES, make_augment
from lib.preview import (
    pick_images,
    preview_sequences,
    preview_steps,
    preview_views,
    to_images,
    to_tensor,
)
from tests.synthetic import make_data

RGB = make_data().splits["train"].images[:3]
GREY = make_data("binary").splits["train"].images[:3]


def test_tensors_and_back() -> None:
    x = to_tensor(RGB)
    assert x.shape == (3, 3, 12, 12)
    assert x.dtype == torch.float32
    assert x.max() <= 1
    assert torch.equal(x[1, 2], torch.from_numpy(RGB[1, :, :, 2]) / 255)
    assert np.array_equal(to_images(x), RGB)
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(to_images(to_tensor(every)), every)
    assert to_images(torch.tensor([-0.5, 1.5]).reshape(1, 1, 1, 2)).ravel().tolist() == [0, 255]


@pytest.mark.parametrize("images", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("augment", list(SEQUENCES))
def test_views_stand_beside_their_image(images: np.ndarray, augment: str) -> None:
    rows = preview_views(images, augment, views=4, seed=0)
    assert list(rows) == ["image 1", "image 2", "image 3"]
    pipeline = make_augment(augment, 12, images.shape[-1])
    generator = torch.Generator().manual_seed(0)
    views = [to_images(pipeline(to_tensor(images), generator)) for _ in range(4)]
    for i, row in enumerate(rows.values()):
        assert row.shape == (5, *images.shape[1:])
        assert row.dtype == np.uint8
        assert np.array_equal(row[0], images[i])
        for view, expected in zip(row[1:], views, strict=True):
            assert np.array_equal(view, expected[i])
    assert not np.array_equal(rows["image 1"][1], rows["image 1"][2])


def test_views_are_seeded_and_leave_the_images_alone() -> None:
    before = RGB.copy()
    a, b, c = (preview_views(RGB, "novel", 2, seed)["image 1"] for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert np.array_equal(RGB, before)


@pytest.mark.parametrize("augment", list(SEQUENCES))
def test_the_last_step_is_the_whole_sequence(augment: str) -> None:
    rows = preview_steps(RGB, augment, seed=5)
    names = list(rows)
    assert names[0] == "original"
    assert np.array_equal(rows["original"], RGB)
    assert [name.split(".")[0] for name in names[1:]] == [str(i) for i in range(1, len(names))]
    assert all(len(line) <= 30 for name in names for line in name.splitlines())
    # The steps draw from the same generator in the same order as training does.
    whole = make_augment(augment, 12, 3)(to_tensor(RGB), torch.Generator().manual_seed(5))
    assert np.array_equal(rows[names[-1]], to_images(whole))


def test_every_sequence_on_the_same_images() -> None:
    rows = preview_sequences(GREY, seed=2)
    assert list(rows) == ["original", *SEQUENCES]
    for name in SEQUENCES:
        whole = make_augment(name, 12, 1)(to_tensor(GREY), torch.Generator().manual_seed(2))
        assert np.array_equal(rows[name], to_images(whole))


def test_pick_images() -> None:
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    picked = pick_images(images, 4, seed=0).ravel().tolist()
    assert len(picked) == 4
    assert picked == sorted(set(picked))
    assert picked == pick_images(images, 4, seed=0).ravel().tolist()
    assert len({tuple(pick_images(images, 4, seed=s).ravel()) for s in range(5)}) > 1
    assert pick_images(images, 99, seed=0).ravel().tolist() == list(range(10))
