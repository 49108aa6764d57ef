"""A training step queues work on a GPU without waiting for it.

There need not be a GPU: tensors that only pretend refuse to be read, as a number on its way to the
host would have to wait, and copies to the host are counted.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lib.augment import Pipeline, make_augment
from lib.evaluation.remedies import (
    balanced_softmax_loss,
    focal_loss,
    weighted_cross_entropy,
)
from lib.models import graphs
from lib.models.encoder import build_encoder
from lib.moving import send
from lib.training.contrastive import ContrastiveModule
from lib.training.objective import Loss, cross_entropy
from lib.training.schedule import build_optimizer
from tests.training.test_pretrain import RECIPE

B, SIZE = 6, 12


class Copies(TorchDispatchMode):
    """Notes every copy from a GPU to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [a for a in args if isinstance(a, Tensor) and a.device.type == "cuda"]
        if tensors and isinstance(result, Tensor) and result.device.type == "cpu":
            self.seen.append(str(func))
        return result


class Store:
    """Images on a GPU that is not there."""

    side = (SIZE, SIZE)

    def place(self, index: Tensor) -> Tensor:
        return send(index, torch.device("cuda"))

    def take_bytes(self, index: Tensor) -> Tensor:
        return torch.zeros(len(index), 3, SIZE, SIZE, dtype=torch.uint8, device="cuda")


def pretend_on_gpu(module: nn.Module) -> None:
    """Give a module parameters and buffers of the same shapes on a GPU that is not there."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(torch.empty(value.shape, device="cuda")))
        for name, value in part.named_buffers(recurse=False):
            setattr(part, name, torch.zeros(value.shape, dtype=value.dtype, device="cuda"))


@pytest.mark.parametrize("method", ["simclr", "supcon"])
def test_nothing_is_read_back(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda value: value)  # what pretends cannot be pinned
    monkeypatch.setattr(graphs, "ENABLED", False)  # kernel by kernel, for the copies to be seen
    # Backward passes of such tensors need a real device; PyTorch's own do not wait.
    monkeypatch.setattr(torch.autograd, "backward", lambda loss: None)
    index, y = torch.arange(B), torch.tensor([0, 0, 1, -1, 1, 0])
    module = ContrastiveModule(
        build_encoder("resnet18", "strided", 3, seed=0),
        make_augment("natural blur_kernel=3", SIZE, 3),
        Store(),  # type: ignore[arg-type]
        dataclasses.replace(RECIPE, method=method),
        None,
        "fp32",
        y,
    )
    # The host may read what it has drawn itself, which a tensor that pretends would not allow.
    drawn = module.augment.draw(B, SIZE, SIZE, torch.Generator())
    monkeypatch.setattr(Pipeline, "draw", lambda self, *_: drawn)
    with FakeTensorMode(allow_non_fake_inputs=True), Copies() as copies:
        pretend_on_gpu(module)
        module._device = torch.device("cuda", 0)
        assert module.can_record()
        optimizer = build_optimizer(module, "adamw", 1e-3, 1e-4)
        assert module.transfer_batch_to_device(index, torch.device("cuda"), 0) is index
        loss = module.loss_at(index)
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        assert loss.device.type == "cuda"
        assert copies.seen == []
        # The test can fail: these two wait.
        loss.cpu()
        assert len(copies.seen) == 1
        with pytest.raises(DataDependentOutputException):
            loss.item()


class Sent(TorchDispatchMode):
    """Counts copies from the host to a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.device.type == "cuda":
            self.count += any(isinstance(a, Tensor) and a.device.type == "cpu" for a in args)
        return result


LOSSES = {
    "weights": weighted_cross_entropy(torch.tensor([0.5, 1.5])),
    "prior": balanced_softmax_loss(torch.tensor([-1.0, -0.5])),
    "focal": focal_loss(2.0),
    "plain": cross_entropy,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_sends_what_it_needs_once(loss: Loss) -> None:
    """A recorded step copies nothing from the host; before it is recorded it is run."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        logits, y = torch.zeros(4, 2, device="cuda"), torch.zeros(4, dtype=torch.int64).to("cuda")
        loss(logits, y)
        with Sent() as sent:
            loss(logits, y)
            assert sent.count == 0
            torch.zeros(2).to("cuda")  # the test can fail: this is one
            assert sent.count == 1
