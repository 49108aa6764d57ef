"""Batches that do not fit into memory: in parts that add up, or refused where they cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib.models import graphs
from lib.models.embed import forward
from lib.training.memory import MemoryFullError, halve, is_out_of_memory, loss_in_parts, memory_of
from tests.training.test_finetune import run, weights
from tests.training.test_pretrain import run as pretrain


def test_what_running_out_of_memory_looks_like() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(MemoryError())
    said = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you"
    assert is_out_of_memory(RuntimeError(said))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_the_gradients_of_parts_add_up_to_that_of_the_whole(parts: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (7,), generator=generator)
    model = nn.Linear(5, 3).double()

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    whole = loss_of(x, y)
    whole.backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    loss = loss_in_parts(loss_of, x, y, parts)
    loss.backward()
    assert loss.item() == pytest.approx(whole.item(), rel=1e-12)
    for p, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-12, atol=1e-14)


def small_device(images: int, seen: list[int], *, eval_mode: bool) -> Callable[..., Tensor]:
    """A forward pass that runs out of memory when trained with more images than that."""

    def limited(encoder: nn.Module, x: Tensor, *more: Any) -> Tensor:
        seen.append(len(x))
        if len(x) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        if eval_mode:  # BatchNorm with its running statistics, which parts share
            encoder.eval()
        return forward(encoder, x, *more)

    return limited


def test_finetuning_halves_until_it_fits_and_steps_as_with_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(graphs, "forward", small_device(99, seen, eval_mode=True))
    settings = {"lrs": (1e-3, 3e-4), "epochs": 2, "batch_size": 12}
    whole = run(tmp_path / "whole", **settings)
    assert set(seen) == {12}
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(graphs, "forward", small_device(5, seen, eval_mode=True))
    seen.clear()
    parts = run(tmp_path / "parts", **settings)
    # 12 and 6 do not fit, 3 do; the second rate starts with what fits.
    assert seen[:2] == [12, 6]
    assert set(seen[2:]) == {3}
    out = capsys.readouterr().out
    assert "out of memory on cpu with batches of 12 images: each batch is now computed in 2" in out
    assert "in 4 parts of about 3 images, whose gradients add up. BatchNorm takes" in out
    assert parts.steps == whole.steps
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-3, atol=1e-5)
    for mine, other in zip(parts.history, whole.history, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_finetuning_gives_up_where_two_images_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(graphs, "forward", small_device(1, seen, eval_mode=False))
    with pytest.raises(MemoryFullError, match="even in parts of 3; use a smaller size, precision"):
        run(tmp_path)


def test_parts_do_not_get_too_small_for_batchnorm(capsys: pytest.CaptureFixture[str]) -> None:
    error = MemoryFullError("out of memory")
    assert halve(1, 8, error) == 2
    assert halve(2, 8, error) == 4
    with pytest.raises(MemoryFullError, match="even in parts of 2"):
        halve(4, 8, error)
    assert capsys.readouterr().out.count("gradients add up") == 2


def test_a_contrastive_batch_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.models.graphs.forward", small_device(8, [], eval_mode=False))
    said = "cannot be accumulated; set batch_size to 8, or use a smaller size"
    with pytest.raises(MemoryFullError, match=said):
        pretrain(tmp_path)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), memory_of("cpu", 8, contrastive=True):
        raise ZeroDivisionError
    with memory_of("cpu", 8, contrastive=False):
        pass
