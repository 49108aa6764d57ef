"""Features depend on the image and the encoder, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.data.base import DataSet, Split
from lib.data.store import ImageStore
from lib.models.embed import chunks, embed_images, embed_splits, flatten_pixels
from lib.models.encoder import build_encoder, freeze
from tests.synthetic import COUNTS, make_data


class Net(nn.Module):
    """Everything that behaves differently in train mode: BatchNorm and dropout."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(channels, 6, 3)
        self.norm, self.drop = nn.BatchNorm2d(6), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = (torch.is_grad_enabled(), self.training, self.norm.training, self.drop.training)
        return self.drop(self.norm(self.conv(x))).mean((2, 3))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


IMAGES = make_data().splits["train"].images


def test_eval_mode_inside_and_each_modules_own_mode_afterwards() -> None:
    net = Net().train()
    net.norm.eval()
    before, modes = state(net), [m.training for m in net.modules()]
    embed_images(net, IMAGES, "cpu")
    assert net.seen == (False, False, False, False)
    assert [m.training for m in net.modules()] == modes == [True, True, False, True]
    assert same(state(net), before)  # running statistics included


def test_modes_come_back_after_an_error_too() -> None:
    net = Net(channels=1).train()  # does not take these images
    with pytest.raises(RuntimeError):
        embed_images(net, IMAGES, "cpu")
    assert all(m.training for m in net.modules())


@pytest.mark.parametrize("batch_size", [1, 7, 35, 36, 512])
def test_features_do_not_depend_on_the_batch(batch_size: int) -> None:
    h = embed_images(Net().train(), IMAGES, "cpu", batch_size=batch_size)
    net = Net().eval()
    x = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        alone = torch.cat([net(image[None]) for image in x])
    assert h.dtype == np.float32
    np.testing.assert_allclose(h, alone.numpy(), atol=1e-6)


def test_neighbours_make_no_difference_to_the_real_encoder() -> None:
    encoder = build_encoder("resnet18", "strided", 3, seed=0).train()
    h = embed_images(encoder, IMAGES, "cpu")
    among_others = np.concatenate([np.full_like(IMAGES[:9], 255), IMAGES[:3]])
    np.testing.assert_allclose(embed_images(encoder, among_others, "cpu")[9:], h[:3], atol=1e-5)
    assert h.shape == (36, 512)
    assert np.ptp(h, axis=0).max() > 1e-3  # different images, different features


def test_memory_mapped_images_give_the_same_features(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    net, h = Net(), embed_images(Net(), IMAGES, "cpu", batch_size=8)
    assert np.array_equal(embed_images(net, mapped, "cpu", batch_size=8), h)
    assert np.array_equal(embed_images(net, ImageStore(IMAGES, "cpu", 0), "cpu", batch_size=8), h)


def test_bf16_is_close_and_comes_back_as_float32() -> None:
    h = embed_images(Net(), IMAGES, "cpu")
    rounded = embed_images(Net(), IMAGES, "cpu", "bf16")
    assert rounded.dtype == np.float32
    assert not np.array_equal(rounded, h)
    np.testing.assert_allclose(rounded, h, atol=0.02)


def test_every_split_of_a_data_set() -> None:
    data, net = make_data("binary"), freeze(build_encoder("resnet18", "strided", 1, seed=0))
    before = state(net)
    features = embed_splits(net, data, "cpu")
    assert {name: h.shape for name, h in features.items()} == {
        name: (n, 512) for name, n in COUNTS.items()
    }
    one = embed_images(net, data.splits["test"].images, "cpu")
    np.testing.assert_allclose(features["test"], one, atol=1e-5)
    assert same(state(net), before)


def test_pixels_without_their_mean() -> None:
    images = np.array([[[[0], [255]]], [[[100], [100]]], [[[51], [0]]]], np.uint8)
    ids = np.array(["0", "1", "2"])
    data = DataSet("d", "D", "binary", ("a", "b"), 1, 1, {"test": Split(images, None, ids)}, "f")
    h = flatten_pixels(data)["test"]
    assert h.dtype == np.float32
    np.testing.assert_allclose(h, [[-0.5, 0.5], [0, 0], [0.1, -0.1]], atol=1e-7)
    # A brighter copy is the same pattern.
    brighter = flatten_pixels(
        DataSet("d", "D", "binary", (), 1, 1, {"test": Split(images[2:] + 99, None, ids[2:])}, "f")
    )
    np.testing.assert_allclose(brighter["test"], h[2:], atol=1e-6)


def test_chunks_cover_everything_once() -> None:
    for n in (0, 1, 6, 7):
        parts = list(chunks(n, 3))
        assert all(1 <= len(part) <= 3 for part in parts)
        assert [int(i) for part in parts for i in part] == list(range(n))


def test_an_empty_split_has_no_features() -> None:
    net = freeze(build_encoder("resnet18", "strided", 3, seed=0))
    assert embed_images(net, np.zeros((0, 12, 12, 3), np.uint8), "cpu").shape == (0, 512)
