"""Training steps of a GPU as recorded graphs: one launch instead of a thousand.

Augmentation, a ResNet's forward and backward pass on small images and a loss are many hundred
kernels of a few microseconds each, and the host takes longer to launch one than the GPU to run it.
A CUDA graph replays them all at once, on the same weights, in the same memory and with the same
kernels. It needs batches of few shapes and steps that never wait for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.models.embed import forward

# Graphs of one step: an epoch's batches differ by one image at most. Others are run as they are.
MOST_SHAPES = 2
# Runs before recording: libraries choose their kernels and set up what they keep.
WARM_UP = 3
# False: steps are run kernel by kernel everywhere (`bench.pretraining` compares).
ENABLED = True


def project(
    encoder: nn.Module, head: nn.Module, x: Tensor, precision: str, layout: str = "channels_last"
) -> Tensor:
    """What the head makes of the features of x float32 [B, C, H, W]: float32 [B, K].

    precision: of the features; the head computes in float32.
    """
    z: Tensor = head(forward(encoder, x, precision, layout).float())
    return z


@dataclass
class Recording:
    """A graph with the memory that it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    result: Tensor
    gradients: list[Tensor | None]


class RecordedStep:
    """A step of a training that is recorded, on a GPU, when it is called the first time.

    step: tensors on the device → a tensor that tells of the step, its backward pass included, so
    that afterwards the gradients of `trained` are the batch's alone. It must neither read numbers
    back nor depend on anything but its arguments and the weights. Weights are read where they lie:
    they may be changed in place (optimizers, `load_state_dict`) but not replaced.

    On a CPU, for shapes beyond the first MOST_SHAPES, where recording failed and with
    `record=False`, kernels are launched one by one.
    """

    def __init__(
        self, step: Callable[..., Tensor], trained: nn.Module, *, record: bool = True
    ) -> None:
        self.step, self.record = step, record and ENABLED
        self.parameters, self.buffers = list(trained.parameters()), list(trained.buffers())
        self.recordings: dict[tuple[torch.Size, ...], Recording] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Do one step. What comes back, and the gradients, are overwritten by the next step."""
        if inputs[0].device.type != "cuda" or not self.record:
            return self.run(*inputs)
        shapes = tuple(value.shape for value in inputs)
        if shapes not in self.recordings:
            if len(self.recordings) == MOST_SHAPES:
                return self.run(*inputs)
            try:
                self.recordings[shapes] = self.recording(inputs)
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self.record = False
                warnings.warn(f"no CUDA graph: {error}", RuntimeWarning, stacklevel=2)
                return self.run(*inputs)
        recording = self.recordings[shapes]
        for place, value in zip(recording.inputs, inputs, strict=True):
            place.copy_(value, non_blocking=True)
        recording.graph.replay()
        for parameter, gradient in zip(self.parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.result

    def run(self, *inputs: Tensor) -> Tensor:
        """One step, kernel by kernel."""
        for parameter in self.parameters:
            parameter.grad = None
        return self.step(*inputs)

    def recording(self, inputs: tuple[Tensor, ...]) -> Recording:
        """The step for inputs like these, recorded; what it did to buffers is undone.

        A graph writes the gradients, rather than adding to them: there are none when it begins.
        """
        own = tuple(value.clone() for value in inputs)
        before = [buffer.clone() for buffer in self.buffers]
        try:
            return self.record_on(own)
        finally:
            with torch.no_grad():
                for buffer, value in zip(self.buffers, before, strict=True):
                    buffer.copy_(value)

    def record_on(self, inputs: tuple[Tensor, ...]) -> Recording:
        """Run the step a few times on these inputs, then record it."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.run(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        for parameter in self.parameters:
            parameter.grad = None
        pool = next((r.graph.pool() for r in self.recordings.values()), None)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = self.step(*inputs)
        return Recording(graph, inputs, result, [p.grad for p in self.parameters])
