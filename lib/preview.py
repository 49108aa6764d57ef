"""What an augmentation does to images, view by view and op by op, for looking at."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lib.augment import SEQUENCES, make_augment
from lib.augment.pipeline import Overrides
from lib.data.base import DataSet
from lib.names import plain

if TYPE_CHECKING:
    from IPython.display import Markdown

Images = npt.NDArray[np.uint8]


def to_tensor(images: Images) -> Tensor:
    """uint8 [B, H, W, C] → float32 [B, C, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def to_images(x: Tensor) -> Images:
    """Float [B, C, H, W] in [0, 1] → uint8 [B, H, W, C]."""
    rounded = (x.clamp(0, 1) * 255).round().byte()
    return rounded.permute(0, 2, 3, 1).numpy()


def preview_views(
    images: Images, augment: str, views: int, seed: int, **settings: Unpack[Overrides]
) -> dict[str, Images]:
    """Each image beside its augmented views: row name → uint8 [1 + views, H, W, C].

    settings: of the sequence, where they differ from its own (`make_augment`).
    """
    B, size, _, channels = images.shape
    pipeline = make_augment(augment, size, channels, **settings)
    generator, x = torch.Generator().manual_seed(seed), to_tensor(images)
    seen = [images, *(to_images(pipeline(x, generator)) for _ in range(views))]
    return {f"image {i + 1}": np.stack([column[i] for column in seen]) for i in range(B)}


def preview_steps(images: Images, augment: str, seed: int) -> dict[str, Images]:
    """The same images after each op of a sequence in turn: op → uint8 [B, H, W, C]."""
    pipeline = make_augment(augment, images.shape[1], images.shape[-1])
    generator = torch.Generator().manual_seed(seed)
    rows = {"original": images}
    for i, (label, x) in enumerate(pipeline.steps(to_tensor(images), generator), start=1):
        rows[textwrap.fill(f"{i}. {label}", 30)] = to_images(x)
    return rows


def preview_sequences(images: Images, seed: int) -> dict[str, Images]:
    """The same images through every sequence: sequence → uint8 [B, H, W, C]."""
    rows = {"original": images}
    for name in SEQUENCES:
        pipeline = make_augment(name, images.shape[1], images.shape[-1])
        rows[name] = to_images(pipeline(to_tensor(images), torch.Generator().manual_seed(seed)))
    return rows


def no_pictures(data: DataSet) -> Markdown:
    """What stands in a report in the place of images that may not be passed on."""
    from IPython.display import Markdown

    return Markdown(  # type: ignore[no-untyped-call]
        f"*Images of {plain(data.title)} are left out of this report (`pictures: false`).*"
    )


def pick_images(images: Images, n: int, seed: int) -> Images:
    """n images at random, in file order: uint8 [n, H, W, C]."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:n])
    return np.asarray(images[rows])
