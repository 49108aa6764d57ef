"""Blur, sharpness and equalisation, sample by sample, against torchvision's and Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import functional as TF

from lib.augment import tone

B = 24


def images(channels: int, height: int = 28, width: int = 28) -> torch.Tensor:
    """Images of every exposure and contrast, on Pillow's 256 levels, a flat one among them."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand(B, channels, 1, 1, generator=generator)
    spread = torch.rand(B, 1, 1, 1, generator=generator) * 0.4
    noise = torch.randn(B, channels, height, width, generator=generator)
    x = (centre + spread * noise).clamp(0, 1)
    x[0] = x[0, :, :1, :1]
    x[1] = x[1].round()
    return (x * 255).round() / 255


def pillow(image: torch.Tensor) -> Image.Image:
    """A float image [C, H, W] as Pillow's 'L' or 'RGB'."""
    array = (image * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if len(image) == 1 else np.ascontiguousarray(array))


def levels(x: torch.Tensor) -> np.ndarray:
    """Float images [B, C, H, W] as int [B, H, W, C] levels."""
    return (x * 255).round().int().permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kernel", "height", "width"),
    [(9, 28, 28), (9, 5, 21), (3, 12, 8), (1, 6, 6), (23, 80, 64), (9, 97, 110)],
)
def test_blur_equals_torchvision_per_sample(channels, kernel, height, width) -> None:
    x = images(channels, height, width)
    sigma = 0.1 + 1.9 * torch.rand(B, generator=torch.Generator().manual_seed(1))
    sigma[0] = 0.01
    expected = torch.stack(
        [TF.gaussian_blur(x[b], [kernel] * 2, [sigma[b].item()] * 2) for b in range(B)]
    )
    before = x.clone()
    torch.testing.assert_close(tone.gaussian_blur(x, sigma, kernel), expected, atol=2e-6, rtol=0)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("kernel", "words"), [(8, "odd"), (11, "at most 9"), (-1, "odd")])
def test_blur_kernel_that_cannot_be_is_refused(kernel: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tone.gaussian_blur(images(1, 5, 28), torch.ones(B), kernel)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (3, 3), (9, 17), (2, 20)])
def test_sharpness_equals_torchvision_per_sample(channels, height, width) -> None:
    x = images(channels, height, width)
    factor = 10 * torch.rand(B, generator=torch.Generator().manual_seed(2))
    factor[:2] = torch.tensor([0.0, 1.0])
    expected = torch.stack([TF.adjust_sharpness(x[b], factor[b].item()) for b in range(B)])
    before = x.clone()
    torch.testing.assert_close(tone.adjust_sharpness(x, factor), expected, atol=5e-6, rtol=0)
    assert torch.equal(x, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_sharpness_equals_pillow_within_rounding(channels: int) -> None:
    x = images(channels)
    factor = 1 + 9 * torch.rand(B, generator=torch.Generator().manual_seed(3))
    ours = levels(tone.adjust_sharpness(x, factor))
    for b in range(B):
        sharp = ImageEnhance.Sharpness(pillow(x[b])).enhance(factor[b].item())
        reference = np.asarray(sharp).reshape(28, 28, channels).astype(int)
        # Pillow rounds the smooth image to a level, and the factor magnifies that.
        assert np.abs(ours[b] - reference).max() <= 1 + 0.5 * (factor[b].item() - 1) + 0.5


@pytest.mark.parametrize(("height", "width"), [(28, 28), (64, 50), (15, 17), (4, 5)])
def test_equalisation_of_one_channel_is_pillows(height: int, width: int) -> None:
    x = images(1, height, width)
    ours = levels(tone.equalize_luma(x))[..., 0]
    expected = np.stack([np.asarray(ImageOps.equalize(pillow(image))) for image in x])
    np.testing.assert_array_equal(ours, expected)
    if height * width > 600:
        assert np.abs(ours - levels(x)[..., 0]).max() > 50  # the op did something


def test_luma_is_pillows_to_the_last_bit() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("YCbCr"))[..., 0]
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    np.testing.assert_array_equal(tone.luma_levels(x)[0].numpy(), expected)


def test_equalisation_of_colour_is_pillows_within_rounding() -> None:
    x = images(3)
    ours = levels(tone.equalize_luma(x))
    differences = []
    for b in range(B):
        y, cb, cr = pillow(x[b]).convert("YCbCr").split()
        way = Image.merge("YCbCr", (ImageOps.equalize(y), cb, cr)).convert("RGB")
        differences.append(ours[b] - np.asarray(way).astype(int))
    # Pillow rounds luma, both chroma and the way back down to whole levels, and blue follows
    # its chroma 1.77-fold: it comes out up to three levels darker, about one on average.
    difference = np.stack(differences)
    assert difference.min() >= -1 and difference.max() <= 3
    assert np.abs(difference[..., :2]).max() <= 3 and np.abs(difference[..., 1]).max() <= 2
    assert 0.5 < difference.mean() < 1.5


def test_equalisation_leaves_chroma_alone() -> None:
    x = 0.3 + 0.4 * images(3)
    change = tone.equalize_luma(x) - x
    inside = ((x + change) > 1e-3) & ((x + change) < 1 - 1e-3)
    inside = inside.all(1)
    spread = (change.amax(1) - change.amin(1))[inside]
    assert inside.float().mean() > 0.2 and spread.max() < 1e-5
