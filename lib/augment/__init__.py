"""Batched augmentation on the images' device, with parameters of its own for each sample."""

from lib.augment.pipeline import Pipeline, make_augment
from lib.augment.sequences import SEQUENCES

__all__ = ["SEQUENCES", "Pipeline", "make_augment"]
