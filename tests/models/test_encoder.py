"""The encoder: shapes, seeds, normalisation, channels, freezing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib.models.encoder import (
    Encoder,
    EncoderError,
    ProjectionHead,
    adapt_channels,
    build_encoder,
    freeze,
    freeze_stages,
    seeded,
    unfreeze,
)


def count_parameters(module: nn.Module, *, trainable_only: bool = False) -> int:
    """How many numbers a module learns (buffers such as BatchNorm's statistics not counted)."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


@pytest.mark.parametrize(("stem", "side"), [("small", 4), ("strided", 2), ("imagenet", 1)])
def test_what_each_stem_leaves_of_28_pixels(stem: str, side: int) -> None:
    encoder = build_encoder("resnet18", stem, 1, seed=0).eval()
    x = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        assert encoder.feature_map(x).shape == (2, 512, side, side)
        assert encoder(x).shape == (2, 512)


def test_resnet50_gives_2048_features() -> None:
    encoder = build_encoder("resnet50", "strided", 3, seed=0).eval()
    assert encoder.feature_dim == 2048
    with torch.inference_mode():
        assert encoder(torch.rand(1, 3, 32, 32)).shape == (1, 2048)


def test_equals_torchvision_on_normalised_images() -> None:
    import torchvision

    encoder = build_encoder(
        "resnet18", "imagenet", 3, seed=3, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7]
    ).eval()
    reference = torchvision.models.resnet18(weights=None)
    reference.load_state_dict(encoder.resnet.state_dict(), strict=False)
    reference.fc = nn.Identity()
    x = torch.rand(2, 3, 64, 64)
    normalise = torchvision.transforms.Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    with torch.inference_mode():
        torch.testing.assert_close(encoder(x), reference.eval()(normalise(x)))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_rng_alone() -> None:
    before = torch.get_rng_state()
    first, second = (build_encoder("resnet18", "small", 3, seed=7) for _ in range(2))
    other = build_encoder("resnet18", "small", 3, seed=8)
    assert torch.equal(before, torch.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first.resnet.conv1.weight, other.resnet.conv1.weight)


def test_a_new_first_convolution_is_scaled_as_the_others() -> None:
    # Kaiming, fan out: variance 2 / (64 · 3 · 3), the same for every stem of that kernel.
    weight = build_encoder("resnet18", "small", 3, seed=0).resnet.conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("resnet34", "small", 3), "resnet34"),
        (("resnet18", "tiny", 3), "tiny"),
        (("resnet18", "small", 4), "channels"),
    ],
)
def test_unknown_names_are_refused(arguments: tuple[str, str, int], named: str) -> None:
    with pytest.raises(EncoderError, match=named):
        build_encoder(*arguments, seed=0)


def test_normalisation_must_fit_the_channels() -> None:
    with pytest.raises(EncoderError, match="normalisation"):
        build_encoder("resnet18", "small", 3, seed=0, mean=[0.5], std=[0.5])
    with pytest.raises(EncoderError, match="above 0"):
        build_encoder("resnet18", "small", 1, seed=0, mean=[0.5], std=[0.0])


def test_channels_grey_and_colour() -> None:
    from torchvision.transforms.functional import rgb_to_grayscale

    grey, colour = torch.rand(2, 1, 5, 4), torch.rand(2, 3, 5, 4)
    assert adapt_channels(colour, 3) is colour
    assert torch.equal(adapt_channels(grey, 3), grey.repeat(1, 3, 1, 1))
    # torchvision rounds its weights to 0.2989, 0.587, 0.114.
    torch.testing.assert_close(
        adapt_channels(colour, 1), rgb_to_grayscale(colour), atol=2e-4, rtol=0
    )
    torch.testing.assert_close(adapt_channels(adapt_channels(grey, 3), 1), grey)
    with pytest.raises(EncoderError, match="2 channels"):
        adapt_channels(torch.rand(1, 2, 4, 4), 3)


def test_an_encoder_reads_grey_as_repeated_and_colour_as_luma() -> None:
    grey, colour = torch.rand(2, 1, 28, 28), torch.rand(2, 3, 28, 28)
    three = build_encoder("resnet18", "strided", 3, seed=0).eval()
    one = build_encoder("resnet18", "strided", 1, seed=0).eval()
    with torch.inference_mode():
        torch.testing.assert_close(three(grey), three(grey.repeat(1, 3, 1, 1)))
        torch.testing.assert_close(one(colour), one(adapt_channels(colour, 1)))


def test_integer_images_are_refused() -> None:
    encoder = build_encoder("resnet18", "strided", 1, seed=0)
    with pytest.raises(TypeError, match="uint8"):
        encoder(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))


def test_channels_last_gives_the_same_features() -> None:
    encoder = build_encoder("resnet18", "small", 3, seed=0).eval()
    fast = copy.deepcopy(encoder).to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(
            fast(x.contiguous(memory_format=torch.channels_last)), encoder(x), atol=1e-4, rtol=1e-4
        )


def test_a_frozen_encoder_stays_as_it_is_inside_a_model_that_trains() -> None:
    encoder = freeze(build_encoder("resnet18", "strided", 1, seed=0))
    model = nn.Sequential(encoder, nn.Linear(512, 2)).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.1)
    model(torch.rand(4, 1, 28, 28)).square().sum().backward()
    optimizer.step()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert count_parameters(encoder, trainable_only=True) == 0


def test_an_unfrozen_encoder_trains_again() -> None:
    encoder = unfreeze(freeze(build_encoder("resnet18", "strided", 1, seed=0)))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(torch.rand(4, 1, 28, 28)).sum().backward()
    assert encoder.resnet.layer1[0].conv1.weight.grad is not None
    assert not torch.equal(encoder.resnet.bn1.running_mean, before["resnet.bn1.running_mean"])


STAGES = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]


def learns(encoder: Encoder) -> list[bool]:
    """For each stage, whether a training step changes it; all of a stage or nothing does."""
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1, weight_decay=0.1)
    encoder(torch.rand(4, 1, 28, 28)).square().sum().backward()
    optimizer.step()
    found = []
    for names in STAGES:
        prefixes = tuple(f"resnet.{name}." for name in names)
        own = [k for k in before if k.startswith(prefixes) and not k.endswith("_tracked")]
        changed = {not torch.equal(before[k], encoder.state_dict()[k]) for k in own}
        assert len(changed) == 1, names
        found.append(changed.pop())
    return found


@pytest.mark.parametrize("n", range(6))
def test_freezing_the_first_stages(n: int) -> None:
    encoder = freeze_stages(build_encoder("resnet18", "strided", 1, seed=0).train(), n)
    head = nn.Linear(512, 2)
    nn.Sequential(encoder, head).train()  # a module around it in train mode changes nothing
    if n == 5:
        assert count_parameters(encoder, trainable_only=True) == 0
        before = encoder.state_dict()["resnet.bn1.running_mean"].clone()
        encoder(torch.rand(4, 1, 28, 28))
        assert torch.equal(encoder.state_dict()["resnet.bn1.running_mean"], before)
    else:
        assert learns(encoder) == [False] * n + [True] * (5 - n)


def test_the_stages_are_the_whole_encoder() -> None:
    encoder = build_encoder("resnet50", "imagenet", 3, seed=0)
    parts = [p for stage in encoder.stages() for module in stage for p in module.parameters()]
    assert len(parts) == len({id(p) for p in parts}) == len(list(encoder.parameters()))


def test_freezing_stages_can_be_changed_and_undone() -> None:
    encoder = freeze_stages(build_encoder("resnet18", "strided", 1, seed=0), 3)
    assert learns(freeze_stages(encoder, 1)) == [False, True, True, True, True]
    assert learns(unfreeze(freeze_stages(encoder, 4))) == [True] * 5
    for n in (-1, 6):
        with pytest.raises(EncoderError, match=f"freeze_stages: {n}; the encoder has 5 stages"):
            freeze_stages(encoder, n)


def test_freezing_stages_keeps_the_mode() -> None:
    encoder = build_encoder("resnet18", "strided", 1, seed=0).eval()
    assert not freeze_stages(encoder, 2).training
    assert not encoder.resnet.layer4.training
    encoder.train()
    assert encoder.resnet.layer4.training
    assert not encoder.resnet.bn1.training
    assert not any(m.training for m in encoder.resnet.layer1.modules())


def test_projection_head_is_the_papers_mlp() -> None:
    with seeded(0):
        head = ProjectionHead(6, 5, 4)
    h = torch.randn(3, 6)
    first, last = head.layers[0], head.layers[3]
    expected = (h @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(head(h), expected)
    assert head(h[:1]).shape == (1, 4)
    assert count_parameters(head) == (6 * 5 + 5) + (5 * 4 + 4)


def test_the_depth_of_the_projection_head_counts_its_linear_layers() -> None:
    for depth, expected in ((1, 6 * 4 + 4), (3, (6 * 5 + 5) + (5 * 5 + 5) + (5 * 4 + 4))):
        head = ProjectionHead(6, 5, 4, depth=depth)
        assert count_parameters(head) == expected
        assert head(torch.randn(3, 6)).shape == (3, 4)


def test_projection_head_with_batch_norm_normalises_before_the_relu() -> None:
    head = ProjectionHead(6, 5, 4, batch_norm=True)
    hidden = head.layers[:2](torch.randn(64, 6) * 9 + 3)
    torch.testing.assert_close(hidden.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden.var(0, unbiased=False), torch.ones(5), atol=1e-3, rtol=0)


def test_counting_parameters() -> None:
    # torchvision's ResNet-18 has 11,689,512 with its classifier of 512 · 1000 + 1000.
    assert count_parameters(build_encoder("resnet18", "imagenet", 3, seed=0)) == 11_176_512
