"""Recorded training steps: when a network is recorded, and that it then computes the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib.models import graphs
from lib.models.encoder import ProjectionHead, build_encoder
from lib.models.graphs import MOST_SHAPES, EncoderWithHead, GraphedNetwork

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def parts() -> tuple[nn.Module, nn.Module]:
    """An encoder and a projection head, the same ones each time."""
    torch.manual_seed(0)
    return build_encoder("resnet18", "imagenet", 3, seed=0).train(), ProjectionHead(512, 32, 8)


def images(n: int) -> Tensor:
    """Float images [n, 3, 28, 28]."""
    return torch.rand(n, 3, 28, 28, generator=torch.Generator().manual_seed(n))


def on_gpu(n: int) -> Any:
    """Something of the shape of images that says it lies on a GPU."""
    return SimpleNamespace(device=torch.device("cuda"), shape=torch.Size([n, 3, 28, 28]))


def test_on_a_cpu_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is run as it is: the same values and the same gradients."""
    monkeypatch.setattr(graphs, "record_network", lambda network, x: pytest.fail("recorded"))
    encoder, head = parts()
    network = GraphedNetwork(encoder, head)
    x = images(4)
    z = network(x)
    torch.autograd.backward(z.square().sum())
    grads = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
    other, other_head = parts()
    expected = other_head(other(x.contiguous(memory_format=torch.channels_last)))
    torch.autograd.backward(expected.square().sum())
    assert torch.equal(z, expected)
    own = [p.grad for p in other.parameters() if p.grad is not None]
    assert len(grads) == len(own) > 50
    assert all(torch.equal(a, b) for a, b in zip(grads, own, strict=True))


def test_a_few_shapes_are_recorded_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the first shapes once; a further one, and a network that is not to be, never."""
    recorded = []

    def record(network: nn.Module, x: Any) -> Any:
        recorded.append(len_of(x))
        return lambda x: ("recorded", len_of(x))

    def len_of(x: Any) -> int:
        return int(x.shape[0])

    monkeypatch.setattr(graphs, "record_network", record)
    monkeypatch.setattr(EncoderWithHead, "forward", lambda self, x: ("run", len_of(x)))
    network: Any = GraphedNetwork(*parts())
    sizes = [9, 8, 9, 8, 7, 9]
    assert [network(on_gpu(n))[0] for n in sizes] == [*["recorded"] * 4, "run", "recorded"]
    assert recorded == [9, 8]
    assert len(recorded) == MOST_SHAPES
    apart: Any = GraphedNetwork(*parts(), record=False)
    assert apart(on_gpu(9)) == ("run", 9)
    assert recorded == [9, 8]


def test_a_network_that_cannot_be_recorded_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once tried and said so; memory that ran out is for whoever knows what to do about it."""
    tried = []

    def fail(network: nn.Module, x: Any) -> Any:
        tried.append(x)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record_network", fail)
    monkeypatch.setattr(EncoderWithHead, "forward", lambda self, x: "run")
    network: Any = GraphedNetwork(*parts())
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph: operation not permitted"):
        assert network(on_gpu(4)) == "run"
    assert network(on_gpu(4)) == "run"
    assert len(tried) == 1

    def full(network: nn.Module, x: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graphs, "record_network", full)
    with pytest.raises(torch.OutOfMemoryError):
        GraphedNetwork(*parts())(on_gpu(4))


@CUDA
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.02), ("bf16", 0.05)])
def test_a_recorded_network_computes_the_same(precision: str, tolerance: float) -> None:
    """Projections, gradients and running statistics of batches of two shapes, weights unmoved.

    Kernels may be chosen anew and sum in another order, so up to rounding (TF32 in float32).
    """
    found = []
    for record in (False, True):
        encoder, head = (part.cuda() for part in parts())
        encoder.to(memory_format=torch.channels_last)
        network = GraphedNetwork(encoder, head, precision, record=record)
        both = nn.ModuleList([encoder, head])
        values = []
        for n in (32, 33, 32, 33):
            both.zero_grad()
            z = network(images(n).cuda())
            torch.autograd.backward(z.square().mean())
            grads = [p.grad for p in both.parameters() if p.grad is not None]
            values += [z.detach().clone(), *(grad.clone() for grad in grads)]
        assert len(network.recorded) == (2 if record else 0)
        values += [b.clone() for b in encoder.buffers()]
        found.append(values)
    assert len(found[0]) == len(found[1]) > 4 * 60
    for plain, recorded in zip(*found, strict=True):
        error = (plain.float() - recorded.float()).norm()
        assert error <= tolerance * plain.float().norm().clamp_min(1e-3)
