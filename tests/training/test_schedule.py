"""The learning rate against its closed form; what weight decay falls on."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lib.models.encoder import build_encoder, freeze
from lib.training.schedule import build_optimizer, cosine_with_warmup, learning_rate_share


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (4, 40), (10, 100), (5, 5), (7, 3)])
def test_against_the_closed_form(warmup: int, total: int) -> None:
    for step in range(total):
        if step < warmup:
            expected = (step + 1) / warmup
        else:
            # cos² of the half angle is the same half cosine, written another way
            expected = math.cos(math.pi / 2 * (step - warmup) / (total - warmup)) ** 2
        assert cosine_with_warmup(step, warmup, total) == pytest.approx(expected, abs=1e-12)


def test_rises_to_the_peak_once_and_falls_to_almost_nothing() -> None:
    shares = [cosine_with_warmup(step, 10, 200) for step in range(200)]
    assert shares[9] == shares[10] == 1
    assert all(a < b for a, b in pairwise(shares[:10]))
    assert all(a > b for a, b in pairwise(shares[10:]))
    assert shares[0] > 0
    assert 0 < shares[-1] < 1e-3
    # Past the end (a resumed run's last call) the rate stays at zero rather than rising again.
    assert cosine_with_warmup(200, 10, 200) == cosine_with_warmup(250, 10, 200) == 0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_no_decay_on_biases_and_batch_norm(name: str) -> None:
    module = nn.Sequential(build_encoder("resnet18", "strided", 1, seed=0), nn.Linear(512, 4))
    optimizer = build_optimizer(module, name, 0.1, 0.05)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    kinds: dict[str, set[float]] = {}
    for child in module.modules():
        for key, p in child.named_parameters(recurse=False):
            kinds.setdefault(f"{type(child).__name__}.{key}", set()).add(decay.pop(id(p)))
    assert decay == {}
    assert kinds.pop("Linear.weight") == {0.05}
    convolutions = {k for k in kinds if "Conv2d" in k}
    assert convolutions
    assert all(kinds.pop(k) == {0.05} for k in convolutions)
    assert kinds == {
        "Linear.bias": {0.0},
        "BatchNorm2d.weight": {0.0},
        "BatchNorm2d.bias": {0.0},
    }
    assert all(group["lr"] == 0.1 for group in optimizer.param_groups)


def test_one_step_of_each_optimizer() -> None:
    for name, expected in (("sgd", 1 - 0.1 * (2 + 2 * 0.9)), ("adamw", 1 - 0.1)):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.ones_(layer.weight)
        optimizer = build_optimizer(layer, name, 0.1, 0.0)
        (2 * layer.weight.sum()).backward()
        optimizer.step()
        assert layer.weight.item() == pytest.approx(expected, abs=1e-6)


def test_frozen_weights_are_not_optimised() -> None:
    module = nn.Sequential(
        freeze(build_encoder("resnet18", "strided", 1, seed=0)), nn.Linear(512, 4)
    )
    groups = build_optimizer(module, "adamw", 0.1, 0.05).param_groups
    held = [p for group in groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in module[1].parameters()}


def test_unknown_optimizer() -> None:
    with pytest.raises(ValueError, match="expected adamw or sgd, found 'lars'"):
        build_optimizer(torch.nn.Linear(1, 1), "lars", 0.1, 0.0)


def test_a_constant_schedule_rises_and_stays() -> None:
    shares = [learning_rate_share("constant", step, 4, 10) for step in range(10)]
    assert shares == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert learning_rate_share("cosine", 7, 4, 10) == cosine_with_warmup(7, 4, 10)
    with pytest.raises(ValueError, match="schedule: expected cosine or constant, found 'step'"):
        learning_rate_share("step", 0, 0, 1)
