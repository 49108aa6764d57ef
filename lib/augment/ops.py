"""Augmentations as values: each draws its parameters by sample from a generator and applies itself.

Every op is a frozen dataclass of its settings, has a short `label` for figures and reports, and is
called as `op(x, generator)`: x is float32 [B, C, H, W] in [0, 1], on any device; the generator is
a CPU `torch.Generator`. What comes back has the same type and range; x itself is unchanged, unless
the caller gives it away with `own=True`, which spares memory traffic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lib.augment import colour, geometry, tone
from lib.augment.batch import check_images, chosen, on_subset, uniform

Range = tuple[float, float]


class Op(Protocol):
    """One step of an augmentation sequence."""

    @property
    def label(self) -> str:
        """What the step does, with its settings, in a few words."""
        ...

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Return `x` with the step applied, with parameters of its own for each sample."""
        ...


def _n(value: float) -> str:
    """Print .5 for 0.5, as the papers do."""
    text = f"{value:g}"
    return text[1:] if text.startswith("0.") else text


def _check(op: object, field: str, value: Range | float, low: float, high: float) -> None:
    """ValueError unless a range is ordered, and it or a number lies within [low, high]."""
    first, last = value if isinstance(value, tuple) else (value, value)
    if not low <= first <= last <= high:
        raise ValueError(
            f"{type(op).__name__}.{field}: found {value}; "
            f"it must lie within {low:g} and {high:g}, the smaller number first"
        )


@dataclass(frozen=True)
class Flip:
    """Mirror left and right, or with `vertical` top and bottom, with probability `p`."""

    p: float = 0.5
    vertical: bool = False

    def __post_init__(self) -> None:
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"{'vertical' if self.vertical else 'horizontal'} flip, p {_n(self.p)}"

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        index = chosen(generator, len(x), self.p)
        return on_subset(x, index, lambda y: geometry.flip(y, -2 if self.vertical else -1), own)


@dataclass(frozen=True)
class Rotate:
    """Turn by an angle uniform within ±`degrees`, with a reflected border."""

    degrees: float = 180.0

    def __post_init__(self) -> None:
        _check(self, "degrees", self.degrees, 0, 180)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"rotation ±{_n(self.degrees)}°"

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return geometry.rotate(x, uniform(generator, (len(x),), -self.degrees, self.degrees))


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a rectangle of random area and shape at a random place, and resize it to `size`.

    The draw is torchvision's: area uniform within `scale` of the image, aspect ratio log-uniform
    within `ratio`, the first of ten tries that fits, else the largest central rectangle.
    """

    size: int
    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        _check(self, "size", float(self.size), 1, math.inf)
        _check(self, "scale", self.scale, 1e-6, 1)
        _check(self, "ratio", self.ratio, 1e-3, 1e3)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"crop of {_n(self.scale[0])}–{_n(self.scale[1])} to {self.size} px"

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

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        B, _, H, W = check_images(x)
        top, left, height, width = self.boxes(B, H, W, generator)
        return geometry.resized_crop(x, top, left, height, width, self.size)


@dataclass(frozen=True)
class FlippedCrop:
    """Flips and the crop that follows them in one: same draws, same images, one op's work."""

    flips: tuple[Flip, ...]
    crop: RandomResizedCrop

    @property
    def label(self) -> str:
        """The settings in words."""
        return "; ".join([*(flip.label for flip in self.flips), self.crop.label])

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        B, _, H, W = check_images(x)
        mirror = torch.zeros(2, B, dtype=torch.bool)
        for flip in self.flips:
            mirror[0 if flip.vertical else 1] ^= uniform(generator, (B,)) < flip.p
        top, left, height, width = self.crop.boxes(B, H, W, generator)
        return geometry.resized_crop(x, top, left, height, width, self.crop.size, mirror)


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue in an order of each sample's own, at `p`.

    The first three are factors uniform in [max(0, 1 − value), 1 + value]; hue is a shift uniform
    in ± `hue` of the circle. One channel: brightness and contrast only.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    p: float = 0.8

    def __post_init__(self) -> None:
        for field in ("brightness", "contrast", "saturation"):
            _check(self, field, getattr(self, field), 0, math.inf)
        _check(self, "hue", self.hue, 0, 0.5)
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        values = (self.brightness, self.contrast, self.saturation, self.hue)
        return f"colour jitter {'/'.join(map(_n, values))}, p {_n(self.p)}"

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the order of the ops, int64 [n, 4], and their factors, float32 [n, 4]."""
        ranges = [
            (max(0.0, 1.0 - value), 1.0 + value)
            for value in (self.brightness, self.contrast, self.saturation)
        ] + [(-self.hue, self.hue)]
        low, high = torch.tensor(ranges).T
        order = uniform(generator, (n, 4)).argsort(1)
        return order, low + (high - low) * uniform(generator, (n, 4))

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        index = chosen(generator, len(x), self.p)
        order, factors = self.draw(len(index), generator)
        return colour.colour_jitter(x, index, order, factors, own)


@dataclass(frozen=True)
class Greyscale:
    """Take the colour away with probability `p`, keeping three channels. One channel: nothing."""

    p: float = 0.2

    def __post_init__(self) -> None:
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"greyscale, p {_n(self.p)}"

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        index = chosen(generator, len(x), self.p)
        return x if x.shape[1] == 1 else on_subset(x, index, colour.to_greyscale, own)


@dataclass(frozen=True)
class GaussianBlur:
    """Blur with a Gaussian whose width (pixels) is uniform within `sigma`, with probability `p`."""

    kernel: int = 9
    sigma: Range = (0.1, 2.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        tone.check_kernel(self.kernel, self.kernel, self.kernel)
        _check(self, "sigma", self.sigma, 1e-3, math.inf)
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        text = f"blur {self.kernel} px, σ {_n(self.sigma[0])}–{_n(self.sigma[1])}"
        return text if self.p == 1 else f"{text}, p {_n(self.p)}"

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        if self.p == 1.0:
            sigma = uniform(generator, (len(x),), *self.sigma)
            return tone.gaussian_blur(x, sigma, self.kernel, own)
        index = chosen(generator, len(x), self.p)
        sigma = uniform(generator, (len(index),), *self.sigma)
        return on_subset(x, index, lambda y: tone.gaussian_blur(y, sigma, self.kernel, True), own)


@dataclass(frozen=True)
class EqualizeLuma:
    """Equalise the histogram of the luma with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"equalised luma, p {_n(self.p)}"

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return on_subset(x, chosen(generator, len(x), self.p), tone.equalize_luma, own)


@dataclass(frozen=True)
class Sharpness:
    """Sharpen by a factor uniform within `factor` (1 changes nothing)."""

    factor: Range = (1.0, 10.0)

    def __post_init__(self) -> None:
        _check(self, "factor", self.factor, 0, math.inf)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"sharpness {_n(self.factor[0])}–{_n(self.factor[1])}"

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return tone.adjust_sharpness(x, uniform(generator, (len(x),), *self.factor))
