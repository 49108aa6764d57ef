"""Two processes together compute what one does: losses, gradients, statistics."""

from __future__ import annotations

import dataclasses
import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib import losses
from lib.augment import make_augment
from lib.data.store import ImageStore
from lib.models.encoder import build_encoder
from lib.training.contrastive import ContrastiveModule
from lib.training.launch import launch
from lib.training.pretrain import visible_labels
from lib.training.ranks import (
    Crew,
    SharedBatchNorm,
    SharedBatchNorm1d,
    SharedBatchNorm2d,
    gather_rows,
    own_rows,
    rows_of,
    world_size,
)
from tests.synthetic import SIZE, make_data
from tests.training.test_pretrain import RECIPE

# 13 images and two processes: parts of 7 and 6.
N = 13
STEPS = {
    f"{method}, {form}": (method, rows, "none")
    for method in ("simclr", "supcon")
    for form, rows in (("dense", losses.AT_A_TIME), ("in blocks", 2 * N * 5))
} | {"simclr, a head with BatchNorm": ("simclr", losses.AT_A_TIME, "batch")}
Found = dict[str, Any]


class Step(nn.Module):
    """A training step as Lightning has `DistributedDataParallel` do it."""

    def __init__(self, module: ContrastiveModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, index: Tensor) -> Tensor:
        return self.module.loss_at(index)


def step_of(method: str, head: str, folder: Path) -> Step:
    """A step on images that are mapped from a file, in SupCon with some labels hidden.

    In float64: in float32 an activation near 0 may fall on either side by rounding, and a ReLU
    then passes its gradient on, or does not.
    """
    data = make_data()
    y = visible_labels(data, np.arange(0, 36, 2)) if method == "supcon" else None
    images = data.splits["train"].images
    path = folder / f"{method}-{os.getpid()}.bin"
    np.memmap(path, np.uint8, "w+", shape=images.shape)[:] = images
    store = ImageStore(np.memmap(path, np.uint8, "r", shape=images.shape), "cpu")
    recipe = dataclasses.replace(RECIPE, method=method, projection_norm=head)
    augment = make_augment("microscopy", SIZE, 3)
    encoder = build_encoder("resnet18", "strided", 3, seed=0).double()
    module = ContrastiveModule(encoder, augment, store, recipe, None, "fp32", y)
    module.log = lambda *_, **__: None  # type: ignore[assignment]
    module.generator.manual_seed(5)
    return Step(module)


@cache
def take_step(name: str, folder: Path) -> Found:
    """One step's loss, gradients and statistics, and how many images were read for it."""
    method, losses.AT_A_TIME, head = STEPS[name]
    step: nn.Module = step_of(method, head, folder)
    inner: ContrastiveModule = step.module  # type: ignore[assignment]
    taken: list[int] = []
    read, take = inner.store.read, inner.store.take
    inner.store.take = lambda index: take(index).double()  # type: ignore[method-assign]
    inner.store.read = lambda index: (taken.extend(index.tolist()), read(index))[1]  # type: ignore[method-assign]
    if world_size() > 1:
        SharedBatchNorm.replace_in(step)
        step = DistributedDataParallel(step, broadcast_buffers=False)
    index = torch.randperm(36, generator=torch.Generator().manual_seed(1))[:N]
    loss = step(index)
    loss.backward()
    return {
        "loss": loss.detach(),
        "taken": taken,
        "accuracy": inner.totals[0][1:],
        "gradients": {k: p.grad for k, p in inner.named_parameters()},
        "buffers": {k: b for k, b in inner.named_buffers() if b.is_floating_point()},
    }


def images(seed: int) -> Tensor:
    return torch.randn(N, 4, 3, 2, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def normalise(norm: nn.BatchNorm2d, dtype: torch.dtype = torch.float32) -> Found:
    """A batch through a normalisation and back, this process's rows of it."""
    nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(2))
    nn.init.uniform_(norm.bias, generator=torch.Generator().manual_seed(3))
    own = own_rows(N)
    x = images(0)[own].to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = norm(x)
    y.backward(images(1)[own].to(dtype))
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    assert y.dtype == dtype
    return {
        "y": y.detach().float(),
        "dx": x.grad.float(),  # type: ignore[union-attr]
        "weights": torch.stack([norm.weight.grad, norm.bias.grad]),
        "statistics": torch.stack([norm.running_mean, norm.running_var]),  # type: ignore[list-item]
        "count": norm.num_batches_tracked,
        "eval": norm.eval()(images(4)).detach(),
    }


def as_one_of_two(folder: Path) -> list[Found]:
    """What each of the processes finds: run in both, and collected."""
    dist.init_process_group("gloo", rank=Crew(2).rank, world_size=2)
    z = torch.arange(2.0 * N).view(N, 2)[own_rows(N)].requires_grad_()
    whole = gather_rows(z, N)
    (whole * torch.arange(2.0 * N).view(N, 2)).sum().backward()
    with pytest.raises(ValueError, match="of 13 expected, found 3"):
        gather_rows(z[:3], N)
    found: Found = {"whole": whole.detach(), "dz": z.grad, "rank": dist.get_rank()}
    found |= {name: take_step(name, folder) for name in STEPS}
    found["norm"] = normalise(SharedBatchNorm2d(4))
    found["bf16"] = normalise(SharedBatchNorm2d(4), torch.bfloat16)
    every: list[Any] = [None, None]
    dist.all_gather_object(every, found)
    dist.destroy_process_group()
    return every


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    folder = tmp_path_factory.mktemp("two")
    return launch(partial(as_one_of_two, folder), Crew(2), folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder by which steps of one process are remembered."""
    return tmp_path_factory.mktemp("alone")


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_two_processes_is_a_step_of_one(
    two: list[Found], name: str, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "AT_A_TIME", losses.AT_A_TIME)  # put back afterwards
    one = take_step(name, alone)
    for found in (two[0][name], two[1][name]):
        torch.testing.assert_close(found["loss"], one["loss"], rtol=1e-5, atol=0)
        torch.testing.assert_close(found["accuracy"], one["accuracy"])
        for key, gradient in one["gradients"].items():
            scale = float(gradient.abs().max())
            assert scale > 0, key
            torch.testing.assert_close(
                found["gradients"][key], gradient, rtol=0, atol=1e-5 * scale, msg=key
            )
        for key, value in one["buffers"].items():
            torch.testing.assert_close(found["buffers"][key], value, rtol=1e-6, atol=1e-8)


def test_each_process_reads_its_own_images_only(two: list[Found], alone: Path) -> None:
    name = next(iter(STEPS))
    one = take_step(name, alone)["taken"]
    parts = [found[name]["taken"] for found in two]
    assert [len(part) for part in parts] == [7, 6]
    assert parts[0] + parts[1] == one


def test_a_gathered_batch_has_the_gradient_of_a_sum(two: list[Found]) -> None:
    whole = torch.arange(2.0 * N).view(N, 2)
    for found in two:
        assert torch.equal(found["whole"], whole)
        # The mean over two processes of twice the gradient.
        assert torch.equal(found["dz"], 2 * whole[rows_of(N, 2, found["rank"])])


@pytest.mark.parametrize(("name", "tolerance"), [("norm", 1e-5), ("bf16", 3e-2)])
def test_batch_norm_of_two_processes_is_that_of_one(
    two: list[Found], name: str, tolerance: float
) -> None:
    one = normalise(nn.BatchNorm2d(4))
    close = partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
    for key in ("y", "dx"):
        close(torch.cat([found[name][key] for found in two]), one[key])
    close(two[0][name]["weights"] + two[1][name]["weights"], one["weights"], atol=20 * tolerance)
    for found in two:
        for key in ("statistics", "eval"):
            close(found[name][key], one[key])
        assert found[name]["count"] == one["count"]


def test_batch_norm_of_features_is_replaced_too() -> None:
    head = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm2d(4))
    names = list(head.state_dict())
    SharedBatchNorm.replace_in(head)
    assert [type(m) for m in head][::2] == [SharedBatchNorm1d, SharedBatchNorm2d]
    assert list(head.state_dict()) == names


def test_alone_nothing_is_exchanged() -> None:
    z = torch.ones(3, 2, requires_grad=True)
    assert gather_rows(z, 3) is z
    assert own_rows(5) == slice(0, 5)
    x = images(0)
    norm = nn.BatchNorm2d(4)
    expected = norm(x)
    SharedBatchNorm.replace_in(norm)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize(("n", "world"), [(13, 2), (12, 4), (7, 5), (3, 3)])
def test_rows_are_dealt_out_once_and_evenly(n: int, world: int) -> None:
    parts = [range(n)[rows_of(n, world, rank)] for rank in range(world)]
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
