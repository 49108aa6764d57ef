"""The augmentation sequences a study can name, and how to make one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor

from lib.augment.batch import check_images
from lib.augment.ops import (
    ColourJitter,
    Drawn,
    EqualizeLuma,
    Flip,
    FlippedCrop,
    GaussianBlur,
    Greyscale,
    Op,
    RandomResizedCrop,
    Range,
    Rotate,
    Sharpness,
)
from lib.augment.tone import check_kernel

# Strengths of brightness, contrast, saturation, hue.
Jitter = tuple[float, float, float, float]


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

    def view_of_part(self, x: Tensor, generator: torch.Generator, part: slice, n: int) -> Tensor:
        """The rows `part` of the view of a batch of n images, made of these images `x` alone.

        Takes from the generator what the view of the whole batch does.
        """
        drawn = self.draw(n, x.shape[2], x.shape[3], generator)
        return self.apply(x, [tuple(values[part] for values in row) for row in drawn])


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


def natural(
    size: int,
    *,
    flip_p: float = 0.5,
    crop_scale: Range = (0.08, 1.0),
    crop_ratio: Range = (3 / 4, 4 / 3),
    jitter: Jitter = (0.5, 0.5, 0.5, 0.1),
    jitter_p: float = 0.8,
    grey_p: float = 0.2,
    blur_kernel: int = 9,
    blur_sigma: Range = (0.1, 2.0),
    blur_p: float = 1.0,
) -> tuple[Op, ...]:
    """SimCLR's sequence for photographs (Chen et al. 2020), at half its colour strength.

    The crop makes a part stand for the whole; jitter and greyscale take away the colour
    histogram, by which two crops of one image could be matched without looking at shapes.
    """
    return (
        Flip(flip_p),
        RandomResizedCrop(size, crop_scale, crop_ratio),
        ColourJitter(*jitter, p=jitter_p),
        Greyscale(grey_p),
        GaussianBlur(blur_kernel, blur_sigma, blur_p),
    )


def simple(
    size: int,
    *,
    crop_scale: Range = (0.08, 1.0),
    crop_ratio: Range = (3 / 4, 4 / 3),
    jitter: Jitter = (0.5, 0.5, 0.5, 0.1),
    jitter_p: float = 0.8,
    blur_kernel: int = 9,
    blur_sigma: Range = (0.1, 2.0),
    blur_p: float = 1.0,
) -> tuple[Op, ...]:
    """Crop, jitter and blur alone: the pair SimCLR found decisive, and what flips add to it."""
    return (
        RandomResizedCrop(size, crop_scale, crop_ratio),
        ColourJitter(*jitter, p=jitter_p),
        GaussianBlur(blur_kernel, blur_sigma, blur_p),
    )


def novel(
    size: int,
    *,
    jitter: Jitter = (0.2, 0.2, 0.2, 0.04),
    equalize_p: float = 0.5,
    sharpness: Range = (1.0, 10.0),
    **as_natural: Any,
) -> tuple[Op, ...]:
    """Natural with a fifth of the jitter's range, then equalised luma and sharpening.

    On medical images colour carries the diagnosis, so less of it is thrown away; exposure and
    focus differ between devices, and equalisation and sharpening vary those instead.
    """
    return (
        *natural(size, jitter=jitter, **as_natural),
        EqualizeLuma(equalize_p),
        Sharpness(sharpness),
    )


def greyscale(
    size: int,
    *,
    flip_p: float = 0.5,
    crop_scale: Range = (0.08, 1.0),
    crop_ratio: Range = (3 / 4, 4 / 3),
    blur_kernel: int = 9,
    blur_sigma: Range = (0.1, 2.0),
    blur_p: float = 1.0,
    equalize_p: float = 0.5,
    sharpness: Range = (1.0, 10.0),
) -> tuple[Op, ...]:
    """Novel without its colour ops, for X-ray, ultrasound and OCT; works on colour as well."""
    return (
        Flip(flip_p),
        RandomResizedCrop(size, crop_scale, crop_ratio),
        GaussianBlur(blur_kernel, blur_sigma, blur_p),
        EqualizeLuma(equalize_p),
        Sharpness(sharpness),
    )


def microscopy(
    size: int,
    *,
    rotation: float = 180.0,
    flip_p: float = 0.5,
    crop_scale: Range = (0.2, 1.0),
    crop_ratio: Range = (3 / 4, 4 / 3),
    jitter: Jitter = (0.3, 0.3, 0.3, 0.06),
    jitter_p: float = 0.8,
    grey_p: float = 0.2,
    blur_kernel: int = 5,
    blur_sigma: Range = (0.1, 1.0),
    blur_p: float = 0.5,
) -> tuple[Op, ...]:
    """Cells and tissue under a microscope, where orientation carries no meaning.

    A slide has no up: any rotation and both flips. A cell fills its tile, and a crop of less than
    a fifth would miss it. Stain and lamp vary between laboratories, the stain's colour still
    tells cells apart: moderate jitter. Granules are a few pixels: a light blur, half the time.
    """
    return (
        Rotate(rotation),
        Flip(flip_p),
        Flip(flip_p, vertical=True),
        RandomResizedCrop(size, crop_scale, crop_ratio),
        ColourJitter(*jitter, p=jitter_p),
        Greyscale(grey_p),
        GaussianBlur(blur_kernel, blur_sigma, blur_p),
    )


def fundus(
    size: int,
    *,
    rotation: float = 180.0,
    flip_p: float = 0.5,
    crop_scale: Range = (1.0, 1.0),
    crop_ratio: Range = (1.0, 1.0),
    jitter: Jitter = (0.4, 0.4, 0.2, 0.05),
    jitter_p: float = 0.8,
    grey_p: float = 0.2,
    blur_kernel: int = 5,
    blur_sigma: Range = (0.1, 1.0),
    blur_p: float = 0.5,
) -> tuple[Op, ...]:
    """Photographs of the retina: the augmentations of supcon-dr, and nothing cut away.

    A left eye mirrored is a right eye, and a grade does not depend on where on the disc a lesion
    lies: both flips and any rotation. One lesion of a few pixels may give the grade and lie
    anywhere, so the whole image stays (`crop_scale` below 1 crops) and the blur is light, half the
    time. Lamp and camera change brightness and contrast most; hue separates blood from lipid and
    is hardly touched, yet greyscale, now and then, keeps a camera's tint from being recognised.
    The strengths are this project's.
    """
    return (
        Rotate(rotation),
        Flip(flip_p),
        Flip(flip_p, vertical=True),
        RandomResizedCrop(size, crop_scale, crop_ratio),
        ColourJitter(*jitter, p=jitter_p),
        Greyscale(grey_p),
        GaussianBlur(blur_kernel, blur_sigma, blur_p),
    )


# The first four are those of simclr-medical-imaging, with its settings as defaults.
SEQUENCES: dict[str, Callable[..., tuple[Op, ...]]] = {
    "natural": natural,
    "simple": simple,
    "novel": novel,
    "greyscale": greyscale,
    "microscopy": microscopy,
    "fundus": fundus,
}


def _settings(name: str) -> set[str]:
    """The overrides a sequence knows."""
    known = set(inspect.signature(SEQUENCES[name]).parameters) & set(Overrides.__annotations__)
    return known | _settings("natural") if name == "novel" else known


def make_augment(name: str, size: int, channels: int, **overrides: Unpack[Overrides]) -> Pipeline:
    """Make the augmentation sequence `name` for views of `size` pixels and `channels` channels.

    overrides: settings that differ from the sequence's defaults, e.g. `crop_scale=(.2, 1)`.
    With one channel, greyscale and the jitter's saturation and hue do nothing. Raises ValueError
    for an unknown name, a setting the sequence does not have, a value out of range, or a blur
    kernel that does not fit into the view.
    """
    if name not in SEQUENCES:
        raise ValueError(f"augment: found {name!r}; known are {', '.join(SEQUENCES)}")
    if channels not in (1, 3):
        raise ValueError(f"channels: found {channels}; augmentations know 1 (grey) and 3 (RGB)")
    given = {key: value for key, value in overrides.items() if value is not None}
    known = _settings(name)
    for key in given:
        if key not in known:
            raise ValueError(
                f"augment {name}: no setting {key!r}; it has {', '.join(sorted(known))}"
            )
    ops = SEQUENCES[name](size, **given)
    for op in ops:
        if isinstance(op, GaussianBlur):
            check_kernel(op.kernel, size, size)
    return Pipeline(name, channels, ops)
