"""Training steps of a GPU as recorded graphs: one launch instead of hundreds.

A ResNet's forward and backward pass on small images is several hundred kernels of a few
microseconds each, and the host takes longer to launch one than the GPU to run it. A CUDA graph
(`torch.cuda.make_graphed_callables`) replays them all at once, on the same weights and with the
same kernels. It needs batches of few shapes and steps that never wait for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from lib.models.embed import forward

# Graphs of one network: an epoch's batches differ by one image at most. Others are run as they are.
MOST_SHAPES = 2
# False: networks are run kernel by kernel everywhere (`bench.pretraining` compares).
ENABLED = True


class EncoderWithHead(nn.Module):
    """Encoder and head as one network: x float32 [B, C, H, W] → z float32 [B, K]."""

    def __init__(self, encoder: nn.Module, head: nn.Module, precision: str, layout: str) -> None:
        super().__init__()
        self.encoder, self.head, self.number_format = encoder, head, (precision, layout)

    def forward(self, x: Tensor) -> Tensor:
        """What the head makes of the features, the features in the number format asked for."""
        z: Tensor = self.head(forward(self.encoder, x, *self.number_format).float())
        return z


class GraphedNetwork:
    """An encoder with its head that is recorded, on a GPU, when it is called the first time.

    Call it as `network(x)`, in training alone, once a step, and backward before the next call. x:
    float32 [B, C, H, W] without gradient → z float32 [B, K]. On a CPU, for shapes beyond the first
    MOST_SHAPES, where recording failed and with `record=False`, kernels are launched one by one.

    Weights are read where they lie: they may be changed in place (optimizers, `load_state_dict`)
    but not replaced. No module is registered anywhere: the weights stay the caller's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        precision: str = "fp32",
        layout: str = "channels_last",
        *,
        record: bool = True,
    ) -> None:
        self.parts = (encoder, head, precision, layout)
        self.plain = EncoderWithHead(*self.parts)
        self.recorded: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}
        self.usable = record and ENABLED

    def __call__(self, x: Tensor) -> Tensor:
        """Encode and project one batch of a training step."""
        if x.device.type != "cuda" or not self.usable:
            return self.plain(x)  # type: ignore[no-any-return]
        shape = tuple(x.shape)
        if shape not in self.recorded:
            if len(self.recorded) == MOST_SHAPES:
                return self.plain(x)  # type: ignore[no-any-return]
            try:
                self.recorded[shape] = record_network(EncoderWithHead(*self.parts), x)
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self.usable = False
                warnings.warn(f"no CUDA graph: {error}", RuntimeWarning, stacklevel=2)
                return self.plain(x)  # type: ignore[no-any-return]
        return self.recorded[shape](x)


def record_network(network: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """A network's forward and backward pass for batches like `x`, recorded; its state unchanged.

    Recording runs the network a few times, which would move BatchNorm's running statistics.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    recorded = cast(Callable[[Tensor], Tensor], torch.cuda.make_graphed_callables(network, (x,)))
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return recorded
