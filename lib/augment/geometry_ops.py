"""Ops that move pixels: flips, rotation, crop and resize."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.augment import geometry
from lib.augment.batch import on_subset, touched, uniform, where_touched
from lib.augment.op import Drawn, Op, Range, check_range, short


@dataclass(frozen=True)
class Flip(Op):
    """Mirror left and right, or with `vertical` top and bottom, with probability `p`."""

    p: float = 0.5
    vertical: bool = False

    def __post_init__(self) -> None:
        check_range(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"{'vertical' if self.vertical else 'horizontal'} flip, p {short(self.p)}"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw which samples are touched, bool [n]."""
        return (touched(generator, n, self.p),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        axis = -2 if self.vertical else -1
        return on_subset(x, drawn[0], lambda y: geometry.flip(y, axis), own)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        axis = -2 if self.vertical else -1
        return where_touched(x, drawn[0], lambda y: geometry.flip(y, axis))


@dataclass(frozen=True)
class Rotate(Op):
    """Turn by an angle uniform within ±`degrees`, with a reflected border."""

    degrees: float = 180.0

    def __post_init__(self) -> None:
        check_range(self, "degrees", self.degrees, 0, 180)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"rotation ±{short(self.degrees)}°"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw the angles in degrees, [n]."""
        return (uniform(generator, (n,), -self.degrees, self.degrees),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return geometry.rotate(x, drawn[0])

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return self.apply(x, drawn)


@dataclass(frozen=True)
class RandomResizedCrop(Op):
    """Cut out a rectangle of random area and shape at a random place, and resize it to `size`.

    The draw is torchvision's: area uniform within `scale` of the image, aspect ratio log-uniform
    within `ratio`, the first of ten tries that fits, else the largest central rectangle.
    """

    size: int
    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_range(self, "size", float(self.size), 1, math.inf)
        check_range(self, "scale", self.scale, 1e-6, 1)
        check_range(self, "ratio", self.ratio, 1e-3, 1e3)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"crop of {short(self.scale[0])}–{short(self.scale[1])} to {self.size} px"

    def boxes(self, n: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw top, left, height, width, whole numbers [4, n], in images of `height` × `width`."""
        tries = 10
        draw = uniform(generator, (n, 2 * tries + 2))
        low, high = self.scale
        area = draw[:, :tries].mul_(high - low).add_(low).mul_(height * width)
        low, high = (math.log(r) for r in self.ratio)
        ratio = draw[:, tries : 2 * tries].mul_(high - low).add_(low).exp_()
        # Height and width, and the image's, as rows of one tensor: [2, n, tries] and [2, 1].
        sides = torch.stack([area / ratio, area * ratio]).sqrt_().round_()
        full = torch.tensor([[float(height)], [float(width)]])
        fits = ((sides > 0) & (sides <= full[..., None])).all(0)
        found, first = fits.max(1)
        sides = sides.gather(2, first.expand(2, n)[..., None])[..., 0]
        place = draw[:, 2 * tries :].T
        if not found.all():
            # The whole image, cut to the nearest ratio allowed, from the centre.
            allowed = min(max(width / height, self.ratio[0]), self.ratio[1])
            sides[0, ~found] = float(min(height, round(width / allowed)))
            sides[1, ~found] = float(min(width, round(height * allowed)))
            centre = (full - sides).div_(2.0).floor_().add_(0.5) / (full - sides + 1.0)
            place = torch.where(found, place, centre)
        start = (place * (full - sides + 1.0)).floor_()
        return torch.cat([torch.minimum(start, full - sides), sides])

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw the rectangles, [n, 4]: top, left, height, width."""
        return (self.boxes(n, height, width, generator).T,)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        top, left, height, width = drawn[0].unbind(1)
        return geometry.resized_crop(x, top, left, height, width, self.size)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return self.apply(x, drawn)

    def side(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the step: the crop's."""
        return self.size, self.size


@dataclass(frozen=True)
class FlippedCrop(Op):
    """Flips and the crop that follows them in one: same draws, same images, one op's work."""

    flips: tuple[Flip, ...]
    crop: RandomResizedCrop

    @property
    def label(self) -> str:
        """The settings in words."""
        return "; ".join([*(flip.label for flip in self.flips), self.crop.label])

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw rectangles, [n, 4], and whether a side is mirrored, bool [n, 2]."""
        mirror = torch.zeros(2, n, dtype=torch.bool)
        for flip in self.flips:
            mirror[0 if flip.vertical else 1] ^= touched(generator, n, flip.p)
        return (*self.crop.draw(n, height, width, generator), mirror.T)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        boxes, mirror = drawn
        top, left, height, width = boxes.unbind(1)
        return geometry.resized_crop(x, top, left, height, width, self.crop.size, mirror.T)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return self.apply(x, drawn)

    def side(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the step: the crop's."""
        return self.crop.side(height, width)
