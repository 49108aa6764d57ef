"""Recorded training steps: when a step is recorded, and that it then computes the same."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib.models import graphs
from lib.models.encoder import ProjectionHead, build_encoder
from lib.models.graphs import MOST_SHAPES, RecordedStep, project

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def parts(device: str = "cpu") -> nn.ModuleList:
    """An encoder and a projection head, the same ones each time."""
    torch.manual_seed(0)
    both = nn.ModuleList(
        [build_encoder("resnet18", "imagenet", 3, seed=0), ProjectionHead(512, 32, 8)]
    )
    return both.train().to(device)


def images(n: int) -> Tensor:
    """Float images [n, 3, 28, 28]."""
    return torch.rand(n, 3, 28, 28, generator=torch.Generator().manual_seed(n))


def step_of(both: nn.ModuleList, precision: str = "fp32") -> Callable[[Tensor], Tensor]:
    """A step of a training: forward, some loss, backward."""

    def step(x: Tensor) -> Tensor:
        z = project(both[0], both[1], x, precision)
        torch.autograd.backward(z.square().mean())
        return z.detach()

    return step


def on_gpu(n: int) -> Any:
    """Something of the shape of images that says it lies on a GPU."""
    return SimpleNamespace(device=torch.device("cuda"), shape=torch.Size([n, 3, 28, 28]))


def test_on_a_cpu_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is run as it is, and its gradients are the batch's alone."""
    monkeypatch.setattr(RecordedStep, "recording", lambda self, x: pytest.fail("recorded"))
    both = parts()
    step = RecordedStep(step_of(both), both)
    step(images(5))
    z = step(images(4))
    found = [p.grad for p in both.parameters()]
    other = parts()
    step_of(other)(images(5))
    other.zero_grad()
    expected = step_of(other)(images(4))
    assert torch.equal(z, expected)
    assert len(found) > 50
    for mine, p in zip(found, other.parameters(), strict=True):
        assert mine is not None
        assert p.grad is not None
        assert torch.equal(mine, p.grad)


def test_a_few_shapes_are_recorded_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the first shapes once; a further one, and a step that is not to be, never."""
    recorded = []

    def record(self: RecordedStep, inputs: Any) -> Any:
        n = len_of(inputs[0])
        recorded.append(n)
        graph = SimpleNamespace(replay=lambda: None)
        place = SimpleNamespace(copy_=lambda value, non_blocking: None)
        return SimpleNamespace(
            graph=graph, inputs=[place], result=("recorded", n), gradients=[None]
        )

    def len_of(x: Any) -> int:
        return int(x.shape[0])

    monkeypatch.setattr(RecordedStep, "recording", record)
    network = nn.Linear(1, 1, bias=False)

    def run(x: Any) -> Any:
        return "run", len_of(x)

    step: Any = RecordedStep(run, network)
    sizes = [9, 8, 9, 8, 7, 9]
    assert [step(on_gpu(n))[0] for n in sizes] == [*["recorded"] * 4, "run", "recorded"]
    assert recorded == [9, 8]
    assert len(recorded) == MOST_SHAPES
    apart: Any = RecordedStep(run, network, record=False)
    assert apart(on_gpu(9)) == ("run", 9)
    monkeypatch.setattr(graphs, "ENABLED", False)
    nowhere: Any = RecordedStep(run, network)
    assert nowhere(on_gpu(9)) == ("run", 9)
    assert recorded == [9, 8]


def test_a_step_that_cannot_be_recorded_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once tried and said so; memory that ran out is for whoever knows what to do about it."""
    tried = []

    def fail(self: RecordedStep, inputs: Any) -> Any:
        tried.append(inputs)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(RecordedStep, "recording", fail)
    step: Any = RecordedStep(lambda x: "run", nn.Linear(1, 1))  # type: ignore[arg-type, return-value]
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph: operation not permitted"):
        assert step(on_gpu(4)) == "run"
    assert step(on_gpu(4)) == "run"
    assert len(tried) == 1

    def full(self: RecordedStep, inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RecordedStep, "recording", full)
    with pytest.raises(torch.OutOfMemoryError):
        RecordedStep(step_of(parts()), nn.Linear(1, 1))(on_gpu(4))


def test_a_failed_recording_leaves_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running statistics are those of one step, whatever was tried before it."""

    def fail(self: RecordedStep, inputs: tuple[Tensor, ...]) -> Any:
        for _ in range(3):
            self.run(*inputs)
        raise RuntimeError("capturing failed")

    monkeypatch.setattr(RecordedStep, "record_on", fail)
    both, other = parts(), parts()
    step = RecordedStep(step_of(both), both)
    with pytest.raises(RuntimeError, match="capturing failed"):
        step.recording((images(4),))
    for mine, untouched in zip(both.buffers(), other.buffers(), strict=True):
        assert torch.equal(mine, untouched)


def test_gradients_are_the_recorded_ones_whoever_replaced_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gradient = torch.ones(1, 1)
    recording = SimpleNamespace(
        graph=SimpleNamespace(replay=lambda: None),
        inputs=[SimpleNamespace(copy_=lambda value, non_blocking: None)],
        result=0,
        gradients=[gradient],
    )
    monkeypatch.setattr(RecordedStep, "recording", lambda self, inputs: recording)
    network = nn.Linear(1, 1, bias=False)
    step: Any = RecordedStep(lambda x: x, network)
    for _ in range(2):
        network.weight.grad = None  # as an optimizer's zero_grad leaves it
        step(on_gpu(3))
        assert network.weight.grad is gradient


@CUDA
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.02), ("bf16", 0.05)])
def test_a_recorded_step_computes_the_same(precision: str, tolerance: float) -> None:
    """Projections, gradients and running statistics of batches of two shapes, weights unmoved.

    Kernels may be chosen anew and sum in another order, so up to rounding (TF32 in float32).
    """
    found = []
    for record in (False, True):
        both = parts("cuda")
        both[0].to(memory_format=torch.channels_last)
        step = RecordedStep(step_of(both, precision), both, record=record)
        values = []
        for n in (32, 33, 32, 33):
            values.append(step(images(n).cuda()).clone())
            values += [p.grad.clone() for p in both.parameters() if p.grad is not None]
        assert len(step.recordings) == (2 if record else 0)
        values += [b.clone() for b in both.buffers()]
        found.append(values)
    assert len(found[0]) == len(found[1]) > 4 * 60
    for plain, recorded in zip(*found, strict=True):
        error = (plain.float() - recorded.float()).norm()
        assert error <= tolerance * plain.float().norm().clamp_min(1e-3)
