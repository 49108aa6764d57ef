"""An encoder as other programs can hold it: one path through it, normalisation inside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from lib.models.encoder import Encoder
from lib.models.small_maps import SmallMapConv2d
from lib.models.weights import load_init
from lib.origins import file_digest, find_encoder

UNTRAINED = ("scratch", "imagenet")


class ExportError(Exception):
    """An encoder cannot be taken away as asked; the message says why and what to do."""


class PortableEncoder(nn.Module):
    """The same function as an `Encoder`: images float [B, C, H, W] in [0, 1] → features [B, D].

    Without what depends on the machine or on the shape: 3×3 convolutions are plain ones again
    (`lib.models.small_maps` computes the same by other means), and images must have the encoder's
    own number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.resnet: Any = copy.deepcopy(encoder.resnet).to("cpu")
        for module in self.resnet.modules():
            if type(module) is SmallMapConv2d:
                plain: Any = module
                plain.__class__ = nn.Conv2d
        self.register_buffer("mean", encoder.mean.detach().cpu().reshape(1, -1, 1, 1).clone())
        self.register_buffer("std", encoder.std.detach().cpu().reshape(1, -1, 1, 1).clone())
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features of images."""
        net = self.resnet
        x = (images - self.mean) / self.std
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


@dataclass(frozen=True)
class Taken:
    """An encoder to take away. file: where it is; digest: of that file; header: what it says of
    itself, empty where it is another project's checkpoint; size: image side in pixels.
    """

    encoder: Encoder
    file: Path
    digest: str
    header: Mapping[str, Any]
    size: int

    @property
    def name(self) -> str:
        """The run that made it, or the file's name."""
        return str(self.header.get("parameters", {}).get("run") or self.file.stem)


def take_encoder(spec: str, results: Path, size: int | None = None) -> Taken:
    """The encoder of a run, a file or a Lightning checkpoint, in eval mode.

    spec: as `init` takes it, looked for in every study under `results`. size: in pixels, for a
    file that does not say; one that does is exported at its own size unless asked otherwise.
    Raises ExportError, ParameterError or WeightsError in one line.
    """
    if spec in UNTRAINED:
        raise ExportError(f"{spec}: names no file; give a run, its folder or an encoder's file")
    file = Path(find_encoder(spec, results))
    encoder, provenance = load_init(file, None, None, None, seed=0)
    header = provenance.get("header", {})
    side = size or header.get("size")
    if not side:
        raise ExportError(f"{file}: does not say its image size; give --size PIXELS")
    return Taken(encoder.eval(), file, file_digest(file), header, int(side))
