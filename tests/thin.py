"""An encoder of a few thousand weights, for tests of training that need no ResNet."""

from __future__ import annotations

from torch import nn

from lib.models.encoder import Encoder, seeded

WIDTH = 16


def thin_encoder(channels: int = 3, seed: int = 0) -> Encoder:
    """Five stages of one convolution each under a ResNet's names; the same seed, the same weights.

    The stem halves the image, so do layer2 to layer4.
    """
    with seeded(seed):
        net = nn.Module()
        net.conv1 = nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1, bias=False)
        net.bn1, net.relu, net.maxpool = nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Identity()
        for i in range(1, 5):
            stride = 1 if i == 1 else 2
            conv = nn.Conv2d(WIDTH, WIDTH, 3, stride=stride, padding=1, bias=False)
            setattr(net, f"layer{i}", nn.Sequential(conv, nn.BatchNorm2d(WIDTH), nn.ReLU()))
    encoder = Encoder(net, "resnet18", "strided", [0.5] * channels, [0.5] * channels)
    encoder.feature_dim = WIDTH
    return encoder
