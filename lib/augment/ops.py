"""All ops of augmentation sequences (`lib.augment.op` says what an op is)."""

from lib.augment.colour_ops import ColourJitter, Greyscale
from lib.augment.geometry_ops import Flip, FlippedCrop, RandomResizedCrop, Rotate
from lib.augment.op import Drawn, Op, Range
from lib.augment.tone_ops import EqualizeLuma, GaussianBlur, Sharpness

__all__ = [
    "ColourJitter",
    "Drawn",
    "EqualizeLuma",
    "Flip",
    "FlippedCrop",
    "GaussianBlur",
    "Greyscale",
    "Op",
    "RandomResizedCrop",
    "Range",
    "Rotate",
    "Sharpness",
]
