"""Ops on colours: jitter and greyscale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.augment import colour
from lib.augment.batch import on_subset, spread, touched, uniform, where_touched
from lib.augment.op import Drawn, Op, check_range, short


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
            check_range(self, field, getattr(self, field), 0, math.inf)
        check_range(self, "hue", self.hue, 0, 0.5)
        check_range(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        values = (self.brightness, self.contrast, self.saturation, self.hue)
        return f"colour jitter {'/'.join(map(short, values))}, p {short(self.p)}"

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
        check_range(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"greyscale, p {short(self.p)}"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw which samples are touched, bool [n]."""
        return (touched(generator, n, self.p),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return x if x.shape[1] == 1 else on_subset(x, drawn[0], colour.to_greyscale, own)

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return x if x.shape[1] == 1 else where_touched(x, drawn[0], colour.to_greyscale)
