"""Each colour op, sample by sample, against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional as TF

from lib.augment import colour

B = 24
REFERENCE = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)


def images(channels: int, seed: int = 0) -> torch.Tensor:
    """Noise, with grey, black, white, flat and few-coloured images among it."""
    x = torch.rand(B, channels, 13, 17, generator=torch.Generator().manual_seed(seed))
    x[0], x[1], x[2] = 0.0, 1.0, 0.3
    x[3] = x[3].round()
    x[4] = (x[4] * 3).round() / 3
    x[5] = x[5, :1]
    return x


def draw(low: float, high: float, seed: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(B, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "reference", "low", "high"),
    [
        (colour.adjust_brightness, TF.adjust_brightness, 0.0, 2.0),
        (colour.adjust_contrast, TF.adjust_contrast, 0.0, 2.0),
        (colour.adjust_saturation, TF.adjust_saturation, 0.0, 2.0),
        (colour.shift_hue, TF.adjust_hue, -0.5, 0.5),
    ],
)
def test_equals_torchvision_per_sample(ours, reference, low, high, channels) -> None:
    x, factor = images(channels), draw(low, high, 1)
    factor[:2] = torch.tensor([low, high])
    before = x.clone()
    expected = torch.stack([reference(x[b], factor[b].item()) for b in range(B)])
    torch.testing.assert_close(ours(x, factor), expected, atol=5e-6, rtol=0)
    assert torch.equal(x, before)


def test_hue_of_pure_colours_goes_round_the_circle() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).repeat(6, 1, 1, 1)
    circle = colour.shift_hue(red, torch.tensor([0.0, 1 / 6, 1 / 3, 0.5, -1 / 3, -1 / 6]))
    expected = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]
    torch.testing.assert_close(circle.view(6, 3), torch.tensor(expected).float(), atol=1e-5, rtol=0)


def test_greyscale_equals_torchvision() -> None:
    x = images(3)
    expected = torch.stack([TF.rgb_to_grayscale(image, 3) for image in x])
    torch.testing.assert_close(colour.to_greyscale(x), expected, atol=1e-6, rtol=0)
    assert torch.equal(colour.to_greyscale(x[:, :1]), x[:, :1])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_follows_each_samples_own_order(channels: int, own: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    x = images(channels, 3)
    index = torch.randperm(B, generator=generator)[: B - 4]
    order = torch.rand(len(index), 4, generator=generator).argsort(1)
    low, high = torch.tensor([[0.0, 0.0, 0.0, -0.5], [2.0, 2.0, 2.0, 0.5]])
    factors = low + (high - low) * torch.rand(len(index), 4, generator=generator)
    expected = x.clone()
    for i, b in enumerate(index.tolist()):
        for op in order[i].tolist():
            expected[b] = REFERENCE[op](expected[b], factors[i, op].item())
    before = x.clone()
    ours = colour.colour_jitter(x, index, order, factors, own)
    # Contrast and saturation up to twofold, thrice in a row, amplify the hue's rounding.
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=0)
    assert own or torch.equal(x, before)
    untouched = sorted(set(range(B)) - set(index.tolist()))
    assert torch.equal(ours[untouched], before[untouched])


def test_all_24_orders_are_exercised_and_differ() -> None:
    from itertools import permutations

    order = torch.tensor(list(permutations(range(4))))
    x = images(3)[6:7].expand(24, -1, -1, -1).contiguous()
    factors = torch.tensor([1.4, 1.5, 1.6, 0.2]).expand(24, 4)
    ours = colour.colour_jitter(x, torch.arange(24), order, factors)
    for i in range(24):
        expected = x[i]
        for op in order[i].tolist():
            expected = REFERENCE[op](expected, factors[i, op].item())
        torch.testing.assert_close(ours[i], expected, atol=2e-5, rtol=0)
    assert len(torch.unique((ours * 1e3).round().flatten(1), dim=0)) > 6


def test_wrong_number_of_factors_is_refused() -> None:
    with pytest.raises(ValueError, match="one value a sample"):
        colour.adjust_brightness(images(3), torch.ones(B - 1))


def test_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="divide by 255"):
        colour.adjust_brightness(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.ones(2))
