"""Steps that do their own backward pass: the same training as Lightning's, on every device."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from lib.models.encoder import build_encoder
from lib.training import steps
from lib.training.pretrain import Pretraining, pretrain
from lib.training.steps import Parts, SteppingModule, stretches
from tests.synthetic import make_data
from tests.tiny import make_dataset
from tests.training import test_finetune
from tests.training.test_pretrain import RECIPE

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def pretrained(
    folder: Path, labelled: Any = None, task: Any = "multi-class", **changes: Any
) -> Pretraining:
    device = changes.pop("device", "cpu")
    return pretrain(
        make_dataset(task), dataclasses.replace(RECIPE, **changes), folder,
        labelled=labelled, device=device,
    )  # fmt: skip


@pytest.fixture
def whole_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have every step done whole, as on a GPU; how many inputs each had."""
    seen: list[int] = []
    do = SteppingModule.do_step

    def note(self: SteppingModule, step: Any, *inputs: torch.Tensor) -> torch.Tensor:
        assert inputs[0].dtype == torch.uint8
        seen.append(len(inputs))
        return do(self, step, *inputs)

    monkeypatch.setattr(SteppingModule, "can_record", lambda self: True)
    monkeypatch.setattr(SteppingModule, "do_step", note)
    return seen


CHANGES: dict[str, dict[str, Any]] = {
    "simclr": {"epochs": 2},
    "novel": {"augment": "novel", "gradient_clip": 0.0},
    "supcon": {"method": "supcon", "labelled": np.arange(0, 48, 2)},
    "balanced": {"method": "supcon", "labelled": np.arange(48), "balanced_batches": True},
    "several labels": {"method": "supcon", "labelled": np.arange(40), "task": "multi-label"},
    "frozen": {"freeze_stages": 2},
    "uneven": {"batch_size": 7},
}
MAPPED = ("novel", "supcon")  # of images that do not fit on the device


@pytest.mark.parametrize("name", CHANGES)
def test_pretraining_is_the_same(
    tmp_path: Path, name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch's loss and ranks, and the encoder afterwards, over several stretches an epoch."""
    changes = {"epochs": 1, **CHANGES[name]}
    if name in MAPPED:
        monkeypatch.setattr("lib.data.store.free_memory", lambda device: 0)
    monkeypatch.setattr(steps, "STRETCH", 2)
    usual = pretrained(tmp_path / "usual", **changes)
    seen = request.getfixturevalue("whole_steps")
    whole = pretrained(tmp_path / "whole", **changes)
    steps_each = 7 if name == "uneven" else 3
    assert seen == [3 if "labelled" in changes else 2] * steps_each * changes["epochs"]
    for mine, other in zip(whole.history, usual.history, strict=True):
        for value in ("loss", "top1", "top5", "mean_rank"):
            assert mine[value] == pytest.approx(other[value], rel=1e-4), value
    assert whole.selected == usual.selected
    other_weights = usual.encoder.state_dict()
    for key, value in whole.encoder.state_dict().items():
        torch.testing.assert_close(value, other_weights[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("task", ["multi-class", "multi-label"])
@pytest.mark.parametrize("augment", ["none", "natural"])
def test_finetuning_is_the_same(
    tmp_path: Path, augment: str, task: Any, request: pytest.FixtureRequest
) -> None:
    changes = {"train_augment": augment, "lrs": (1e-3, 3e-3), "data": make_data(task)}
    usual = test_finetune.run(tmp_path / "usual", **changes)
    seen = request.getfixturevalue("whole_steps")
    whole = test_finetune.run(tmp_path / "whole", **changes)
    assert seen == [3] * 12
    assert whole.lr == usual.lr
    for mine, other in zip(whole.history, usual.history, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
    expected = test_finetune.weights(usual)
    for name, value in test_finetune.weights(whole).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5)


def test_an_interrupted_training_goes_on_the_same(tmp_path: Path, whole_steps: list[int]) -> None:
    """From its checkpoint, whatever did its steps."""
    unbroken = pretrained(tmp_path / "unbroken", epochs=3)

    class Interrupted(Exception):
        pass

    start = SteppingModule.do_step

    def stop(self: SteppingModule, step: Any, *inputs: torch.Tensor) -> torch.Tensor:
        if self.current_epoch == 2:
            raise Interrupted
        return start(self, step, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.training.trainer.CHECKPOINT_SECONDS", 0.0)
        patch.setattr(SteppingModule, "do_step", stop)
        with pytest.raises(Interrupted):
            pretrained(tmp_path / "broken", epochs=3)
    resumed = pretrained(tmp_path / "broken", epochs=3)
    for name, value in unbroken.encoder.state_dict().items():
        assert torch.equal(value, resumed.encoder.state_dict()[name]), name


@pytest.mark.parametrize(("batches", "length"), [(7, 3), (6, 3), (1, 50), (0, 50)])
def test_stretches_hold_every_batch_once(
    batches: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in whole stretches or batch by batch, each at its place in the stretch."""
    monkeypatch.setattr(steps, "STRETCH", length)
    rows = [torch.arange(10 * k, 10 * k + 3 + k % 2) for k in range(batches)]
    indices = [torch.cat(stretch) for stretch in stretches(rows)]
    assert len(indices) == -(-batches // length)
    for apart in (False, True):
        parts = Parts(lambda: rows, apart=apart)
        found = list(parts)
        assert len(found) == len(parts)
        assert all(len(places) == 1 for _, places in found) or not apart
        own = [indices[number][place] for number, places in found for place in places]
        assert len(own) == batches
        assert all(torch.equal(a, b) for a, b in zip(own, rows, strict=True))


class Counting(SteppingModule[int]):
    """Prepares numbers, and notes what it prepares and does, in order."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.recipe, self.generator = SimpleNamespace(seed=0, epochs=epochs), torch.Generator()
        self.done: list[tuple[str, int]] = []

    def batches(self, epoch: int) -> list[torch.Tensor]:
        return [torch.tensor([10 * epoch + k]) for k in range(3)]

    def prepare(self, index: torch.Tensor) -> int:
        self.done.append(("prepared", int(index[0])))
        return int(index[0])

    def loss_of_part(self, given: int, part: slice) -> torch.Tensor:
        self.done.append(("trained", given))
        return torch.zeros(())


@pytest.mark.parametrize("ahead", [False, True])
def test_the_next_stretch_is_prepared_while_a_gpu_works(
    ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Across epochs too, and nothing beyond the last; elsewhere when its turn comes."""
    monkeypatch.setattr(steps, "STRETCH", 2)
    monkeypatch.setattr(Counting, "current_epoch", property(lambda self: self.epoch))
    monkeypatch.setattr(Counting, "optimizers", lambda self: MagicMock())
    monkeypatch.setattr(Counting, "lr_schedulers", lambda self: MagicMock())
    monkeypatch.setattr(Counting, "manual_backward", lambda self, loss: None)
    monkeypatch.setattr(Counting, "can_record", lambda self: ahead)
    module: Any = Counting(3)
    module.recipe.gradient_clip = 0.0
    module.epoch = 1  # a resumed training
    module.on_train_start()
    for module.epoch in (1, 2):
        for batch in module.train_dataloader():
            module.training_step(batch, 0)
            module.done.append(("returned", 0))
    module.epoch = 3
    with pytest.raises(RuntimeError, match="no batches beyond epoch 3 of the recipe"):
        module.training_step((0, [slice(0, 1)]), 0)
    trained = [n for kind, n in module.done if kind == "trained"]
    assert trained == [10, 10, 12, 20, 20, 22]
    kinds = [kind if kind != "prepared" else str(n) for kind, n in module.done if kind != "trained"]
    if ahead:
        assert kinds == ["10", "12", "returned", "20", "returned", "22", "returned", "returned"]
    else:
        assert kinds == ["10", "returned", "12", "returned", "20", "returned", "22", "returned"]


@CUDA
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_recorded_pretraining_learns_the_same(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, against the same kernels launched one by one, up to rounding (TF32).

    AdamW's first steps are as long for a small gradient as for a large one, so the way that the
    weights have gone is compared as a whole, under SGD.
    """
    changes = {**changes, "optimizer": "sgd", "lr": 0.03, "epochs": 1}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "no CUDA graph")
        recorded = pretrained(tmp_path / "recorded", device="cuda", **changes)
    monkeypatch.setattr(SteppingModule, "can_record", lambda self: False)
    eager = pretrained(tmp_path / "eager", device="cuda", **changes)
    untrained = build_encoder("resnet18", RECIPE.stem, 3, seed=RECIPE.seed)
    ways = [
        torch.cat([
            (value - begun).flatten()
            for value, begun in zip(r.encoder.parameters(), untrained.parameters(), strict=True)
        ])
        for r in (recorded, eager)
    ]  # fmt: skip
    assert ways[1].norm() > 0
    assert (ways[0] - ways[1]).norm() < 0.2 * ways[1].norm()
    for mine, other in zip(recorded.history, eager.history, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=0.02)
