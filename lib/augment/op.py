"""An augmentation as a value: draws its parameters by sample from a generator and applies itself.

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

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lib.augment.batch import check_images

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
        """What `apply` returns, up to rounding; drawn: on the device of `x`.

        An op without one works everywhere, but no training step with it is recorded.
        """
        raise NotImplementedError(f"{type(self).__name__} has no apply_unread")

    @property
    def can_stay_unread(self) -> bool:
        """Whether the op has an `apply_unread`."""
        return type(self).apply_unread is not Op.apply_unread

    def side(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of images after the step."""
        return height, width

    def __call__(self, x: Tensor, generator: torch.Generator, own: bool = False) -> Tensor:
        """Return `x` with the step applied, with parameters of its own for each sample."""
        B, _, H, W = check_images(x)
        return self.apply(x, self.draw(B, H, W, generator), own)


def short(value: float) -> str:
    """Print .5 for 0.5, as the papers do."""
    text = f"{value:g}"
    return text[1:] if text.startswith("0.") else text


def check_range(op: object, field: str, value: Range | float, low: float, high: float) -> None:
    """ValueError unless a range is ordered, and it or a number lies within [low, high]."""
    first, last = value if isinstance(value, tuple) else (value, value)
    if not low <= first <= last <= high:
        raise ValueError(
            f"{type(op).__name__}.{field}: found {value}; "
            f"it must lie within {low:g} and {high:g}, the smaller number first"
        )
