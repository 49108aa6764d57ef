import pytest
import torch
from torch import nn
from torch.nn import functional

from lib.models.encoder import build_encoder
from lib.models.small_maps import SmallMapConv2d, gathered_conv3x3


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (5, 3)])
def test_equals_conv2d_in_both_directions(side: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(side)
    x = torch.randn(3, 4, side, side + 1, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 4, 3, 3, generator=generator, dtype=torch.float64)
    grads = []
    for function in (
        lambda a, w: gathered_conv3x3(a, w, stride),
        lambda a, w: functional.conv2d(a, w, stride=stride, padding=1),
    ):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = function(a, w)
        (y * torch.arange(y.numel(), dtype=torch.float64).view_as(y)).sum().backward()
        grads.append((y.detach(), a.grad, w.grad))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("stem", ["small", "strided", "imagenet"])
def test_encoder_is_unchanged_by_it(stem: str) -> None:
    x = torch.rand(4, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    encoder = build_encoder("resnet18", stem, 3, seed=0).eval()
    with torch.no_grad():
        h = encoder(x)
        for module in encoder.modules():
            if type(module) is SmallMapConv2d:
                module.__class__ = nn.Conv2d
        torch.testing.assert_close(h, encoder(x), rtol=1e-4, atol=1e-5)


def test_only_plain_3x3_convolutions_are_replaced() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, bias=False),
    )
    SmallMapConv2d.replace_in(net)
    assert [type(m) is SmallMapConv2d for m in net] == [True, False, False, False, False]
