"""Crops, flips and rotations, sample by sample, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from lib.augment.geometry import resized_crop, rotate
from lib.augment.ops import Flip, FlippedCrop, RandomResizedCrop, Rotate

B = 24


def images(channels: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(B, channels, height, width, generator=torch.Generator().manual_seed(0))


def boxes(height: int, width: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    h = torch.randint(1, height + 1, (B,), generator=generator)
    w = torch.randint(1, width + 1, (B,), generator=generator)
    h[0], w[0] = height, width
    h[1], w[1] = 1, 1
    top = (torch.rand(B, generator=generator) * (height - h + 1)).long()
    left = (torch.rand(B, generator=generator) * (width - w + 1)).long()
    return [top, left, h, w]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (40, 33), (9, 64)])
@pytest.mark.parametrize("size", [28, (12, 20)])
def test_crop_equals_torchvision_per_sample(channels, height, width, size) -> None:
    x, box = images(channels, height, width), boxes(height, width)
    before = x.clone()
    sides = [size, size] if isinstance(size, int) else list(size)
    expected = torch.stack(
        [TF.resized_crop(x[b], *(int(v[b]) for v in box), sides, antialias=True) for b in range(B)]
    )
    torch.testing.assert_close(resized_crop(x, *box, size), expected, atol=1e-5, rtol=0)
    assert torch.equal(x, before)


def test_whole_image_at_its_own_size_is_the_image() -> None:
    x = images(3, 28, 28)
    zero, side = torch.zeros(B), torch.full((B,), 28)
    torch.testing.assert_close(resized_crop(x, zero, zero, side, side, 28), x, atol=1e-6, rtol=0)


def test_mirrored_crop_is_the_crop_of_the_mirrored_image() -> None:
    x, box = images(3, 30, 26), boxes(30, 26)
    mirror = torch.rand(2, B, generator=torch.Generator().manual_seed(2)) < 0.5
    flipped = x.clone()
    flipped[mirror[0]] = flipped[mirror[0]].flip(-2)
    flipped[mirror[1]] = flipped[mirror[1]].flip(-1)
    expected = resized_crop(flipped, *box, 16)
    torch.testing.assert_close(resized_crop(x, *box, 16, mirror), expected, atol=1e-6, rtol=0)


def test_crop_outside_the_image_is_refused() -> None:
    x, (top, left, height, width) = images(1, 28, 28), boxes(28, 28)
    left[5] = 28
    with pytest.raises(ValueError, match="sample 5"):
        resized_crop(x, top, left, height, width, 28)


def test_boxes_are_distributed_as_torchvisions() -> None:
    n, height, width = 4000, 64, 48  # ratio 3/4: many tries fail, some crops fall back
    crop = RandomResizedCrop(28, (0.08, 1.0), (0.9, 1.4))
    ours = crop.boxes(n, height, width, torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    image = torch.zeros(1, height, width)
    reference = torch.tensor(
        [T.RandomResizedCrop.get_params(image, [0.08, 1.0], [0.9, 1.4]) for _ in range(n)]
    ).T
    assert (ours[:2] >= 0).all() and (ours[2:] >= 1).all()
    assert (ours[0] + ours[2] <= height).all() and (ours[1] + ours[3] <= width).all()

    def quantities(box: torch.Tensor) -> torch.Tensor:
        top, left, h, w = box.double()
        return torch.stack([h * w, w / h, top, left, top + h / 2, left + w / 2])

    for a, b in zip(quantities(ours), quantities(reference), strict=True):
        values = torch.cat([a, b]).unique()
        cdf = [torch.searchsorted(v.sort().values, values, right=True) / n for v in (a, b)]
        # Two-sample Kolmogorov–Smirnov: 2·10⁻⁵ of honest pairs exceed 2.4 √(2 / n).
        assert (cdf[0] - cdf[1]).abs().max() < 2.4 * (2 / n) ** 0.5


def test_impossible_ratio_falls_back_to_the_centre_as_in_torchvision() -> None:
    ours = RandomResizedCrop(8, (1.0, 1.0), (3.0, 4.0)).boxes(
        5, 30, 41, torch.Generator().manual_seed(0)
    )
    reference = T.RandomResizedCrop.get_params(torch.zeros(1, 30, 41), [1.0, 1.0], [3.0, 4.0])
    assert ours.T.tolist() == [list(reference)] * 5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (24, 31)])
def test_rotation_equals_torchvision_on_a_mirrored_border(channels, height, width) -> None:
    x = images(channels, height, width)
    degrees = torch.rand(B, generator=torch.Generator().manual_seed(5)) * 360 - 180
    degrees[:3] = torch.tensor([0.0, 90.0, 180.0])
    pad = min(height, width)
    padded = TF.pad(x, [pad] * 4, padding_mode="symmetric")
    bilinear = T.InterpolationMode.BILINEAR
    expected = torch.stack(
        [TF.rotate(padded[b], degrees[b].item(), bilinear)[:, pad:-pad, pad:-pad] for b in range(B)]
    )
    # The padded grid's coordinates are larger, and so is their rounding.
    torch.testing.assert_close(rotate(x, degrees), expected, atol=1e-4, rtol=0)


def test_quarter_turn_is_counter_clockwise() -> None:
    x = images(3, 28, 28)
    torch.testing.assert_close(
        rotate(x, torch.full((B,), 90.0)), x.rot90(1, (2, 3)), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("vertical", [False, True])
def test_flip_mirrors_about_half_of_the_samples(vertical: bool) -> None:
    x = images(3, 12, 14)
    axis = -2 if vertical else -1
    y = Flip(0.5, vertical)(x, torch.Generator().manual_seed(0))
    flipped = [torch.equal(y[b], x[b].flip(axis)) for b in range(B)]
    assert all(f or torch.equal(y[b], x[b]) for b, f in enumerate(flipped))
    assert 5 <= sum(flipped) <= B - 5


def test_flips_joined_to_the_crop_draw_and_do_the_same() -> None:
    x = images(3, 28, 28)
    flips, crop = (Flip(0.5), Flip(0.5, vertical=True)), RandomResizedCrop(20)
    joined = FlippedCrop(flips, crop)(x, torch.Generator().manual_seed(6))
    generator = torch.Generator().manual_seed(6)
    y = x
    for op in (*flips, crop):
        y = op(y, generator)
    torch.testing.assert_close(joined, y, atol=1e-6, rtol=0)


def test_no_rotation_at_zero_degrees() -> None:
    x = images(1, 28, 28)
    y = Rotate(0.0)(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(y, x, atol=1e-5, rtol=0)
