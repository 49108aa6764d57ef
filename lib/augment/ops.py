"""Augmentations as values: each draws its parameters by sample from a generator and applies itself.

Every op is a frozen dataclass of its settings, has a short `label` for figures and reports, and is
called as `op(x, generator)`: x is float32 [B, C, H, W] in [0, 1], on any device; the generator is
a CPU `torch.Generator`. What comes back has the same type and range; x itself is unchanged, unless
the caller gives it away with `own=True`, which spares memory traffic.

A call is `draw`, which needs no images, then `apply`. Apart, they let several processes augment a
batch together: each draws for the whole batch and applies the rows of its own images.
`apply_unread` gives the same images from parameters that lie on the images' device and that the
host never reads: by the same kernels each time, as a CUDA graph needs them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.augment import colour, geometry, tone
from lib.augment.batch import (
    check_images,
    on_subset,
    spread,
    touched,
    uniform,
    where_touched,
)

Range = tuple[float, float]


# Parameters of an op for a batch: tensors on the CPU with a row for each sample.
Drawn = tuple[Tensor, ...]


class Op(ABC):
    """One step of an augmentation sequence."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What the step does, with its settings, in a few words."""

    @abstractmethod
    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw the parameters of n samples of `height` × `width` pixels, a row for each."""

    @abstractmethod
    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Return `x` with the step applied; drawn: as many rows as `x` has samples."""

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """What `apply` returns, up to rounding; drawn: on the device of `x`."""
        return self.apply(x, drawn)

    def side(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of images after the step."""
        return height, width

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Return `x` with the step applied, with parameters of its own for each sample."""
        B, _, H, W = check_images(x)
        return self.apply(x, self.draw(B, H, W, generator), own)


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
class Flip(Op):
    """Mirror left and right, or with `vertical` top and bottom, with probability `p`."""

    p: float = 0.5
    vertical: bool = False

    def __post_init__(self) -> None:
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"{'vertical' if self.vertical else 'horizontal'} flip, p {_n(self.p)}"

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
        _check(self, "degrees", self.degrees, 0, 180)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"rotation ±{_n(self.degrees)}°"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw the angles in degrees, [n]."""
        return (uniform(generator, (n,), -self.degrees, self.degrees),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return geometry.rotate(x, drawn[0])


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

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw the rectangles, [n, 4]: top, left, height, width."""
        return (self.boxes(n, height, width, generator).T,)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        top, left, height, width = drawn[0].unbind(1)
        return geometry.resized_crop(x, top, left, height, width, self.size)

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

    def side(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the step: the crop's."""
        return self.crop.side(height, width)


@dataclass(frozen=True)
class ColourJitter(Op):
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

    def settings(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the order of the ops, int64 [n, 4], and their factors, float32 [n, 4]."""
        ranges = [
            (max(0.0, 1.0 - value), 1.0 + value)
            for value in (self.brightness, self.contrast, self.saturation)
        ] + [(-self.hue, self.hue)]
        low, high = torch.tensor(ranges).T
        order = uniform(generator, (n, 4)).argsort(1)
        return order, low + (high - low) * uniform(generator, (n, 4))

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw which samples are touched, bool [n], and their `settings`."""
        mask = touched(generator, n, self.p)
        order, factors = self.settings(int(mask.sum()), generator)
        return mask, spread(order, mask), spread(factors, mask)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        mask, order, factors = drawn
        index = mask.nonzero().flatten()
        return colour.colour_jitter(x, index, order[index], factors[index], own)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return colour.colour_jitter_unread(x, *drawn)


@dataclass(frozen=True)
class Greyscale(Op):
    """Take the colour away with probability `p`, keeping three channels. One channel: nothing."""

    p: float = 0.2

    def __post_init__(self) -> None:
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"greyscale, p {_n(self.p)}"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw which samples are touched, bool [n]."""
        return (touched(generator, n, self.p),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return x if x.shape[1] == 1 else on_subset(x, drawn[0], colour.to_greyscale, own)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return x if x.shape[1] == 1 else where_touched(x, drawn[0], colour.to_greyscale)


@dataclass(frozen=True)
class GaussianBlur(Op):
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

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw which samples are touched, bool [n] unless all are, and σ in pixels, [n]."""
        if self.p == 1.0:
            return (uniform(generator, (n,), *self.sigma),)
        mask = touched(generator, n, self.p)
        return mask, spread(uniform(generator, (int(mask.sum()),), *self.sigma), mask)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        if self.p == 1.0:
            return tone.gaussian_blur(x, drawn[0], self.kernel, own)
        mask, sigma = drawn[0], drawn[1][drawn[0]]
        return on_subset(x, mask, lambda y: tone.gaussian_blur(y, sigma, self.kernel, True), own)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        blurred = tone.gaussian_blur(x, drawn[-1], self.kernel)
        # Without a mask all are blurred; else the others have a sigma of 0 and become NaN here.
        return blurred if self.p == 1.0 else where_touched(x, drawn[0], lambda _: blurred)


@dataclass(frozen=True)
class EqualizeLuma(Op):
    """Equalise the histogram of the luma with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"equalised luma, p {_n(self.p)}"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw which samples are touched, bool [n]."""
        return (touched(generator, n, self.p),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return on_subset(x, drawn[0], tone.equalize_luma, own)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return where_touched(x, drawn[0], tone.equalize_luma)


@dataclass(frozen=True)
class Sharpness(Op):
    """Sharpen by a factor uniform within `factor` (1 changes nothing)."""

    factor: Range = (1.0, 10.0)

    def __post_init__(self) -> None:
        _check(self, "factor", self.factor, 0, math.inf)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"sharpness {_n(self.factor[0])}–{_n(self.factor[1])}"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw the factors, [n]."""
        return (uniform(generator, (n,), *self.factor),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return tone.adjust_sharpness(x, drawn[0])
