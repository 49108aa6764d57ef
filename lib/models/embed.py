"""Features of whole splits: computed once, in batches, with the encoder in eval mode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lib.data.base import DataSet
from lib.data.store import ImageStore

Features = npt.NDArray[np.float32]

# Order of an image batch in memory: pixel by pixel, or channel by channel.
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def embed_images(
    encoder: nn.Module,
    images: npt.NDArray[np.uint8] | ImageStore,
    device: str,
    precision: str = "fp32",
    batch_size: int = 512,
) -> Features:
    """Features h float32 [N, D] of images uint8 [N, H, W, C].

    Runs in eval mode (BatchNorm with its running statistics, so that an image's features do not
    depend on its neighbours in the batch) and gives every module its own mode back afterwards.
    """
    store = images if isinstance(images, ImageStore) else ImageStore(images, device)
    if len(store) == 0:
        return np.zeros((0, int(getattr(encoder, "feature_dim", 0))), np.float32)
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        with torch.inference_mode():
            parts = [
                forward(encoder, batch, precision).float().cpu()
                for batch in store.batches(chunks(len(store), batch_size))
            ]
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(parts).numpy().astype(np.float32, copy=False)


def forward(encoder: nn.Module, x: Tensor, precision: str, layout: str = "channels_last") -> Tensor:
    """Encoder output for x float32 [B, C, H, W], in bf16 where asked."""
    x = x.contiguous(memory_format=LAYOUTS[layout])
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        h: Tensor = encoder(x)
    return h


def chunks(n: int, batch_size: int) -> Iterator[Tensor]:
    """0 … n-1 in order, in batches of at most `batch_size`."""
    for start in range(0, n, batch_size):
        yield torch.arange(start, min(start + batch_size, n))


def embed_splits(
    encoder: nn.Module, data: DataSet, device: str, precision: str = "fp32"
) -> dict[str, Features]:
    """Features of every split of a data set: split name → float32 [N, D]."""
    encoder = encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return {
        name: embed_images(encoder, split.images, device, precision)
        for name, split in data.splits.items()
    }


def flatten_pixels(data: DataSet) -> dict[str, Features]:
    """Raw pixels as features, the floor for every encoder: split name → float32 [N, H·W·C].

    The mean of each image is taken off, so that cosine compares patterns rather than brightness.
    """
    return {name: centred(split.images) for name, split in data.splits.items()}


def centred(images: npt.NDArray[np.uint8]) -> Features:
    """Images uint8 [N, H, W, C] as rows float32 [N, H·W·C] in [-1, 1] with mean 0."""
    rows = np.asarray(images).reshape(len(images), -1).astype(np.float32) / 255
    return np.asarray(rows - rows.mean(axis=1, keepdims=True), np.float32)
