"""The encoder that turns images into features, and the projection head that pretraining puts on it.

ResNet-18 and ResNet-50 are torchvision's. At 28 px their ImageNet stem (7×7, stride 2, then
max-pooling) leaves a single position after the last stage, so two smaller stems stand beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.models.small_maps import SmallMapConv2d

Architecture = Literal["resnet18", "resnet50"]
Stem = Literal["small", "strided", "imagenet"]

ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
STEMS: tuple[str, ...] = get_args(Stem)
CHANNELS = (1, 3)
# Statistics of ImageNet's training images, by which torchvision's weights expect images normalised.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# ITU-R BT.601, what Pillow's convert("L") and torchvision's rgb_to_grayscale use.
LUMA = (0.299, 0.587, 0.114)


class EncoderError(ValueError):
    """An encoder cannot be built or loaded as asked; the message says what to change."""


class Encoder(nn.Module):
    """A ResNet without its classifier, from images as they are to features h.

    forward: x float [B, C, H, W] in [0, 1] → h [B, D] with D = 512 (ResNet-18) or 2048 (ResNet-50).
    Normalisation happens inside, with the buffers `mean` and `std` [channels], so that the same
    images always give the same features. Images with another number of channels go through
    `adapt_channels`. Integer images raise TypeError: 0–255 taken for [0, 1] would go unnoticed.

    A frozen encoder (see `freeze`) stays in eval mode whatever `train()` is called on around it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        resnet: nn.Module,
        architecture: str,
        stem: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.resnet = resnet
        self.architecture = architecture
        self.stem = stem
        self.channels = len(mean)
        self.feature_dim = 512 if architecture == "resnet18" else 2048
        self.frozen = False
        self.frozen_stages = 0
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def feature_map(self, x: Tensor) -> Tensor:
        """Features before the average over positions: x [B, C, H, W] in [0, 1] → [B, D, H', W'].

        At 28 px H' is 4 with the small stem, 2 with the strided one, 1 with ImageNet's.
        """
        if not x.is_floating_point():
            raise TypeError(f"the encoder takes floats in [0, 1], not {x.dtype}; divide by 255")
        x = adapt_channels(x, self.channels)
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]
        net: Any = self.resnet
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Features h [B, D] of images x float [B, C, H, W] in [0, 1]."""
        # Not mean(): the stride-0 gradient of a mean sends the convolutions' backward pass down a
        # slow path (1.6 times slower in bf16 on the CPU).
        return functional.adaptive_avg_pool2d(self.feature_map(x), 1).flatten(1)

    def train(self, mode: bool = True) -> Encoder:
        """Switch between train and eval mode; what is frozen stays in eval mode."""
        super().train(mode and not self.frozen)
        for stage in self.stages()[: self.frozen_stages]:
            for module in stage:
                module.eval()
        return self

    def stages(self) -> list[list[nn.Module]]:
        """The five stages from the image on: the stem, then layer1 to layer4."""
        net: Any = self.resnet
        return [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.layer4]]


class ProjectionHead(nn.Module):
    """The head g of SimCLR, z = W₂ ReLU(W₁ h): h [B, in_dim] → z [B, out_dim], not normalised.

    depth: linear layers; 1 is z = W h, 3 what SimCLRv2 (Chen et al. 2020) takes for large networks.

    Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", eq. 1
    and section 4.2. The paper's equation has no batch normalisation, the authors' code has it;
    `batch_norm=True` puts one before the ReLU, which helps with thousands of images a batch and
    adds noise with few. In train mode it cannot take a batch of a single image.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        out_dim: int,
        *,
        depth: int = 2,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim = in_dim, out_dim
        layers: list[nn.Module] = []
        width = in_dim
        for _ in range(depth - 1):
            layers += [
                # The normalisation subtracts the mean, a bias before it would do nothing.
                nn.Linear(width, hidden_dim, bias=not batch_norm),
                nn.BatchNorm1d(hidden_dim) if batch_norm else nn.Identity(),
                nn.ReLU(inplace=True),
            ]
            width = hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(width, out_dim))

    def forward(self, h: Tensor) -> Tensor:
        """Projections z [B, out_dim] of features h [B, in_dim]."""
        z: Tensor = self.layers(h)
        return z


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Initialise modules in this block from `seed`, on the CPU; the global RNG stays as it is."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # torch.manual_seed would reseed the GPUs too, which fork_rng(devices=[]) does not restore.
        torch.default_generator.manual_seed(seed)
        yield


def build_encoder(
    encoder: str,
    stem: str,
    channels: int,
    *,
    seed: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Encoder:
    """A freshly initialised encoder: the same seed gives the same weights.

    encoder: `resnet18` or `resnet50`. channels: 1 or 3, what its first convolution takes.
    stem: `small`, 3×3 with stride 1 and no pooling, for images of 28 px; `strided`, 3×3 with
    stride 2 and no pooling, a quarter of the cost, for CPUs; `imagenet`, 7×7 with stride 2 and
    max-pooling, what ImageNet weights need and what suits 64 px and more.
    mean, std: one per channel, for images in [0, 1]; 0.5 unless given.

    Raises EncoderError for a name or a number it does not know.
    """
    if encoder not in ARCHITECTURES:
        raise EncoderError(f"encoder: {encoder!r} is not one of {', '.join(ARCHITECTURES)}")
    if stem not in STEMS:
        raise EncoderError(f"stem: {stem!r} is not one of {', '.join(STEMS)}")
    if channels not in CHANNELS:
        raise EncoderError(f"channels: {channels!r} is not 1 or 3")
    mean = [0.5] * channels if mean is None else list(mean)
    std = [0.5] * channels if std is None else list(std)
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise EncoderError(
            f"normalisation: mean {mean} and std {std} need one value for each of the"
            f" {channels} channels, std above 0"
        )

    import torchvision

    with seeded(seed):
        resnet = getattr(torchvision.models, encoder)(weights=None)
        resnet.fc = nn.Identity()
        width = resnet.conv1.out_channels
        if stem == "imagenet":
            resnet.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        else:
            stride = 1 if stem == "small" else 2
            resnet.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
            resnet.maxpool = nn.Identity()
        # torchvision initialises every convolution this way; the one put in its place must match.
        nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    SmallMapConv2d.replace_in(resnet)
    return Encoder(resnet, encoder, stem, mean, std)


def adapt_channels(x: Tensor, channels: int) -> Tensor:
    """Images x [B, C, H, W] as `channels` channels, so that one encoder reads grey and colour.

    1 → 3 repeats the grey channel; 3 → 1 takes the luma 0.299 R + 0.587 G + 0.114 B, which gives
    a repeated grey channel back. Anything else raises EncoderError.
    """
    given = x.shape[1]
    if given == channels:
        return x
    if (given, channels) == (1, 3):
        return x.expand(-1, 3, -1, -1)
    if (given, channels) == (3, 1):
        # Numbers, not a tensor: a step that is recorded on a GPU must copy nothing from the host.
        return sum(share * x[:, k : k + 1] for k, share in enumerate(LUMA))  # type: ignore[return-value]
    raise EncoderError(
        f"images have {given} channels, the encoder takes {channels}; only 1 or 3 do"
    )


def freeze(encoder: Encoder) -> Encoder:
    """Stop all training of an encoder, in place: no gradients, and BatchNorm keeps its statistics.

    It stays so when a module around it is put in train mode; `unfreeze` undoes it.
    """
    encoder.frozen = True
    encoder.requires_grad_(False)
    return encoder.eval()


def freeze_stages(encoder: Encoder, n: int) -> Encoder:
    """Stop the training of the first n of five stages, in place; 0 lets all of them train.

    Their BatchNorm keeps its statistics. Early stages hold edges and colours, which a few labels
    cannot improve, and a step is cheaper without them. Raises EncoderError for n outside 0 to 5.
    """
    if not 0 <= n <= 5:
        raise EncoderError(f"freeze_stages: {n}; the encoder has 5 stages")
    encoder.frozen_stages = n
    for i, stage in enumerate(encoder.stages()):
        for module in stage:
            module.requires_grad_(i >= n)
    return encoder.train(encoder.training)


def unfreeze(encoder: Encoder) -> Encoder:
    """Let a frozen encoder train again, in place: gradients on, in train mode."""
    encoder.frozen, encoder.frozen_stages = False, 0
    encoder.requires_grad_(True)
    return encoder.train()
