"""How fast this machine trains and embeds: a few real steps on random images, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from lib.augment import make_augment
from lib.models.embed import forward
from lib.models.encoder import ProjectionHead, build_encoder, freeze_stages
from lib.training.schedule import build_optimizer

# Images in a timed batch. Two sizes tell a step's fixed cost from that of its images; the second
# is smaller, or left out, where it might take longer than PATIENCE seconds.
SMALL, LARGE = 8, 64
PATIENCE = 2.0
REPEATS = 3


@dataclass(frozen=True)
class Workload:
    """What the speed of a run depends on, apart from the machine: `lib.params` by these names."""

    encoder: str
    stem: str
    size: int
    channels: int
    precision: str
    device: str
    freeze_stages: int = 0

    def __str__(self) -> str:
        return f"{self.encoder}, {self.stem} stem, {self.size} px, {self.precision}, {self.device}"


@dataclass(frozen=True)
class Throughput:
    """Seconds for a workload.

    step: for each optimizer step, however many images are in it. train: for each image more in a
    step, forward and backward. embed: for each image embedded.
    """

    step: float
    train: float
    embed: float


@cache
def measure_throughput(workload: Workload, threads: int) -> Throughput:
    """Time forward, backward and AdamW of encoder and head, and embedding; one to three seconds.

    threads: on the CPU, as a run will have them. Random images take as long as real ones.
    """
    w = workload
    encoder = build_encoder(w.encoder, w.stem, w.channels, seed=0)
    encoder = encoder.to(w.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze_stages(encoder, w.freeze_stages).train()
    head = ProjectionHead(encoder.feature_dim, encoder.feature_dim, 128).to(w.device)
    model = torch.nn.ModuleList([encoder, head])
    optimizer = build_optimizer(model, "adamw", 1e-4, 0.0)

    def train(x: Tensor) -> None:
        optimizer.zero_grad()
        loss = head(forward(encoder, x, w.precision).float()).square().mean()
        torch.autograd.backward(loss)
        optimizer.step()

    def embed(x: Tensor) -> None:
        with torch.inference_mode():
            forward(encoder, x, w.precision)

    with limited_threads(threads):
        x = torch.rand(LARGE, w.channels, w.size, w.size, device=w.device)
        few = time_call(train, x[:SMALL])
        x = x[: max(SMALL, int(SMALL * PATIENCE / few))]
        step, each = 0.0, few / SMALL
        if len(x) >= 2 * SMALL:
            many = time_call(train, x)
            # A busy machine may make the larger batch look free; it is not.
            each = max((many - few) / (len(x) - SMALL), 0.1 * many / len(x))
            step = max(0.0, few - SMALL * each)
        encoder.eval()
        return Throughput(step, each, time_call(embed, x) / len(x))


@cache
def measure_augment(augment: str, size: int, channels: int, device: str, threads: int) -> float:
    """Seconds that a sequence takes for one view of one image."""
    pipeline, generator = make_augment(augment, size, channels), torch.Generator().manual_seed(0)
    with limited_threads(threads):
        x = torch.rand(LARGE, channels, size, size, device=device)
        return time_call(lambda x: pipeline(x, generator), x) / LARGE


def time_call(work: Callable[[Tensor], object], x: Tensor) -> float:
    """Seconds of one call: the shortest of a few, after a first one that prepares."""
    times = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        work(x)
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        times.append(time.perf_counter() - began)
        if sum(times) > PATIENCE and len(times) > 1:
            break
    return min(times[1:])


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Compute with n threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
