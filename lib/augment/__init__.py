"""Batched augmentation on the images' device, with parameters of its own for each sample."""

from lib.augment.sequences import SEQUENCES, Pipeline, make_augment

__all__ = ["SEQUENCES", "Pipeline", "make_augment"]
