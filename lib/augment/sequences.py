"""The augmentation sequences a study can name: which ops, in which order, how strong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib.augment.ops import (
    ColourJitter,
    EqualizeLuma,
    Flip,
    GaussianBlur,
    Greyscale,
    Op,
    RandomResizedCrop,
    Range,
    Rotate,
    Sharpness,
)

# Strengths of brightness, contrast, saturation, hue.
Jitter = tuple[float, float, float, float]


def turned(rotation: float) -> tuple[Op, ...]:
    """A rotation where one is asked for: one by 0° would resample for nothing."""
    return (Rotate(rotation),) if rotation else ()


def natural(
    size: int,
    *,
    rotation: float = 0.0,
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
        *turned(rotation),
        Flip(flip_p),
        RandomResizedCrop(size, crop_scale, crop_ratio),
        ColourJitter(*jitter, p=jitter_p),
        Greyscale(grey_p),
        GaussianBlur(blur_kernel, blur_sigma, blur_p),
    )


def simple(
    size: int,
    *,
    rotation: float = 0.0,
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
        *turned(rotation),
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
    rotation: float = 0.0,
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
        *turned(rotation),
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
