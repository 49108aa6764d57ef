"""Ops on sharpness and histograms: blur, equalised luma, sharpening."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.augment import tone
from lib.augment.batch import on_subset, spread, touched, uniform, where_touched
from lib.augment.op import Drawn, Op, Range, check_range, short


@dataclass(frozen=True)
class GaussianBlur(Op):
    """Blur with a Gaussian whose width (pixels) is uniform within `sigma`, with probability `p`."""

    kernel: int = 9
    sigma: Range = (0.1, 2.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        tone.check_kernel(self.kernel, self.kernel, self.kernel)
        check_range(self, "sigma", self.sigma, 1e-3, math.inf)
        check_range(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        text = f"blur {self.kernel} px, σ {short(self.sigma[0])}–{short(self.sigma[1])}"
        return text if self.p == 1 else f"{text}, p {short(self.p)}"

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
        check_range(self, "p", self.p, 0, 1)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"equalised luma, p {short(self.p)}"

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
        check_range(self, "factor", self.factor, 0, math.inf)

    @property
    def label(self) -> str:
        """The settings in words."""
        return f"sharpness {short(self.factor[0])}–{short(self.factor[1])}"

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
        """Draw the factors, [n]."""
        return (uniform(generator, (n,), *self.factor),)

    def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
        """Apply to a batch."""
        return tone.adjust_sharpness(x, drawn[0])

    def apply_unread(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Apply to a batch, whatever the parameters say by the same operations."""
        return self.apply(x, drawn)
