"""An augmentation that can be applied: the ops of a sequence, in turn, to a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from lib.augment.batch import check_images
from lib.augment.ops import Drawn, Flip, FlippedCrop, GaussianBlur, Op, RandomResizedCrop, Range
from lib.augment.sequences import SEQUENCES, Jitter
from lib.augment.tone import check_kernel
from lib.augment.written import own_settings, read_augment, written_settings


class Overrides(TypedDict, total=False):
    """What of a sequence's settings a study may change; None or absent keeps the default."""

    flip_p: float | None
    rotation: float | None
    crop_scale: Range | None
    crop_ratio: Range | None
    jitter: Jitter | None
    jitter_p: float | None
    grey_p: float | None
    blur_kernel: int | None
    blur_sigma: Range | None
    blur_p: float | None
    equalize_p: float | None
    sharpness: Range | None


@dataclass(frozen=True)
class Pipeline:
    """A named sequence of ops: `view(x, generator)` gives one augmented view of each image.

    x: float32 [B, C, H, W] in [0, 1] with C = `channels`, any H and W, on any device; the view is
    [B, C, size, size]. The generator is a CPU `torch.Generator`: the same seed gives the same
    views. Gradients and autocast are off inside: bf16 would round the pixels to 8 bits or fewer.
    """

    name: str
    channels: int
    ops: tuple[Op, ...]

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def __len__(self) -> int:
        return len(self.ops)

    def _check(self, x: Tensor) -> None:
        channels = check_images(x)[1]
        if channels != self.channels:
            raise ValueError(
                f"augmentation {self.name}: found images with {channels} channel(s), "
                f"made for {self.channels}; pass channels={channels} to make_augment"
            )

    def steps(self, x: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """Yield each op's label and the images after it; the last are what a call returns."""
        self._check(x)
        for op in self.ops:
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                x = op(x, generator)
            yield op.label, x

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return one augmented view of every image."""
        B, _, H, W = check_images(x)
        return self.apply(x, self.draw(B, H, W, generator))

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> list[Drawn]:
        """Draw the parameters of one view of n images, as a call does."""
        drawn = []
        for op in fuse(self.ops):
            drawn.append(op.draw(n, height, width, generator))
            height, width = op.side(height, width)
        return drawn

    def apply(self, x: Tensor, drawn: list[Drawn]) -> Tensor:
        """Return the view of every image that these parameters give; a row of each for an image."""
        self._check(x)
        y = x
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            for op, parameters in zip(fuse(self.ops), drawn, strict=True):
                # An op that touched no sample returns its input: only a copy may be overwritten.
                y = op.apply(y, parameters, own=y is not x)
        return y

    @property
    def can_stay_unread(self) -> bool:
        """Whether `apply_unread` works: whether every op has one."""
        return all(op.can_stay_unread for op in self.ops)

    def apply_unread(self, x: Tensor, drawn: list[Drawn]) -> Tensor:
        """What `apply` returns, up to rounding, of parameters on the device of `x`, left unread.

        The same operations whatever was drawn, which never wait for the device: a CUDA graph of
        them gives other views with other parameters in the same memory.
        """
        self._check(x)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            for op, parameters in zip(fuse(self.ops), drawn, strict=True):
                x = op.apply_unread(x, parameters)
        return x


def take_rows(drawn: list[Drawn], part: slice) -> list[Drawn]:
    """The parameters of the images in a part of the batch that `drawn` is for."""
    return [tuple(values[part] for values in op) for op in drawn]


def pack(views: list[list[Drawn]]) -> Tensor:
    """The parameters of several views side by side, a row for an image: float32 [n, views · K].

    One copy takes them to a device. Whole numbers and masks stay exact, being small.
    """
    columns = [values for view in views for op in view for values in op]
    return torch.cat([values.float().view(len(values), -1) for values in columns], dim=1)


def unpack(numbers: Tensor, like: list[Drawn]) -> list[Drawn]:
    """The parameters of one view, packed [n, K], with the types and widths of `like`."""
    drawn, column = [], 0
    for op in like:
        values = []
        for each in op:
            width = each[0].numel() if each.ndim > 1 else 1
            part = numbers[:, column : column + width].to(each.dtype)
            values.append(part if each.ndim > 1 else part[:, 0])
            column += width
        drawn.append(tuple(values))
    return drawn


def fuse(ops: tuple[Op, ...]) -> list[Op]:
    """Join flips to a crop that directly follows them; everything else stays as it is."""
    fused: list[Op] = []
    flips: list[Flip] = []
    for op in ops:
        if isinstance(op, Flip):
            flips.append(op)
            continue
        if flips and isinstance(op, RandomResizedCrop):
            fused.append(FlippedCrop(tuple(flips), op))
        else:
            fused += [*flips, op]
        flips = []
    return [*fused, *flips]


def make_augment(name: str, size: int, channels: int, **overrides: Unpack[Overrides]) -> Pipeline:
    """Make the augmentation `name` for views of `size` pixels and `channels` channels.

    name: of a sequence, and what of it differs: `natural rotation=180` (`lib.augment.written`).
    overrides: settings that differ from the sequence's defaults, e.g. `crop_scale=(.2, 1)`.
    With one channel, greyscale and the jitter's saturation and hue do nothing. Raises ValueError
    for an unknown name, a setting the sequence does not have or that is given both ways, a value
    out of range, or a blur kernel that does not fit into the view.
    """
    sequence, values = read_augment(name)
    if channels not in (1, 3):
        raise ValueError(f"channels: found {channels}; augmentations know 1 (grey) and 3 (RGB)")
    given = {key: value for key, value in overrides.items() if value is not None}
    known = set(own_settings(sequence)) & set(Overrides.__annotations__)
    for key in given:
        if key not in known:
            raise ValueError(
                f"augment {name}: no setting {key!r}; it has {', '.join(sorted(known))}"
            )
        if key in values:
            raise ValueError(f"augment {name}: {key} is given twice")
    ops = SEQUENCES[sequence](size, **written_settings(sequence, values), **given)
    for op in ops:
        if isinstance(op, GaussianBlur):
            check_kernel(op.kernel, size, size)
    return Pipeline(name, channels, ops)
