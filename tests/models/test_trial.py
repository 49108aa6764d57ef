"""The choice of number format and layout: by a clear margin, once, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.device import choose_numbers
from lib.models import trial
from lib.models.trial import (
    NumberFormat,
    Workload,
    choose_format,
    faster,
    known_or_timed,
    run_trial,
)

WORK = Workload("cpu", "resnet18", "strided", 12, 8, 1)
FP32, BF16 = ("fp32", "channels_last"), ("bf16", "channels_last")
PLAIN32, PLAIN16 = ("fp32", "contiguous"), ("bf16", "contiguous")


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known_or_timed.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[str, str], float]) -> list[str]:
    """Steps that take so many seconds a view; returns a list of what was timed."""
    timed: list[str] = []

    def step_of(_: Workload, precision: str, layout: str) -> Any:
        def step(views: int) -> float:
            timed.append(f"{precision}, {layout}, {views}")
            return seconds[precision, layout] * views

        return step

    monkeypatch.setattr(trial, "step_of", step_of)
    return timed


def test_a_margin_is_needed() -> None:
    assert faster({FP32: 100, BF16: 109}, FP32) == FP32
    assert faster({FP32: 100, BF16: 111}, FP32) == BF16
    assert faster({FP32: 100}, FP32) == FP32
    assert faster({FP32: 100, PLAIN32: 120}, FP32) == PLAIN32


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({FP32: 0.01, BF16: 0.005, PLAIN16: 0.006}, BF16),
        ({FP32: 0.01, BF16: 0.005, PLAIN16: 0.004}, PLAIN16),
        ({FP32: 0.01, BF16: 0.0095, PLAIN32: 0.0095}, FP32),
        ({FP32: 0.01, BF16: 0.02, PLAIN32: 0.008}, PLAIN32),
    ],
)
def test_formats_first_then_layouts_of_the_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[str, str], float], chosen: tuple[str, str]
) -> None:
    timed = pretend(monkeypatch, seconds)
    found = run_trial(Workload("cpu", "resnet18", "small", 28, 64, 1))
    assert (found.precision, found.layout) == chosen
    assert found.speeds["fp32, channels_last"] == 50.0  # 0.01 s a view, two views an image
    assert len(found.speeds) == 3
    # Three seconds for twelve steps of 0.01 s a view, but for those that count the views.
    assert timed[2:4] == ["fp32, channels_last, 25", "bf16, channels_last, 25"]


def test_what_is_hopeless_or_takes_long_is_hardly_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = pretend(monkeypatch, {FP32: 0.01, BF16: 0.2, PLAIN32: 0.01})
    assert list(run_trial(WORK).speeds) == ["fp32, channels_last", "fp32, contiguous"]
    assert (
        sum(name.startswith("bf16") for name in timed) == 2
    )  # the first may have met a busy moment
    timed = pretend(monkeypatch, {FP32: 2.0, BF16: 1.0})
    assert run_trial(Workload("cpu", "resnet50", "imagenet", 224, 64, 1)).precision == "bf16"
    assert [name.rpartition(" ")[2] for name in timed] == ["2", "4", "4", "4", "4", "4"]
    assert not any("contiguous" in name for name in timed)


def test_a_gpu_without_bf16_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {FP32: 0.01, PLAIN32: 0.02})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    found = run_trial(Workload("cuda", "resnet18", "small", 28, 64, 1))
    assert str(found) == "fp32, channels_last: 50 against 25 images/s (fp32, contiguous)"


def test_a_machine_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seconds = {FP32: 0.01, BF16: 0.001, PLAIN16: 0.01, PLAIN32: 0.01}
    timed = pretend(monkeypatch, seconds)
    first = choose_format(WORK)
    assert first.precision == "bf16"
    count = len(timed)
    seconds[BF16] = 1.0
    assert choose_format(WORK) == first  # remembered by this process
    known_or_timed.cache_clear()
    assert choose_format(WORK) == first  # and by the next
    assert len(timed) == count
    (file,) = (tmp_path / "cache").rglob("*.json")
    assert json.loads(file.read_text())["about"]["stem"] == "strided"
    # Other work is timed for itself; a larger batch than is ever timed is not.
    big = Workload("cpu", "resnet18", "strided", 12, 64, 1)
    choose_format(big)
    count = len(timed)
    choose_format(Workload("cpu", "resnet18", "strided", 12, 512, 1))
    assert len(timed) == count


def test_a_resumed_run_keeps_its_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, {FP32: 0.01, BF16: 0.001, PLAIN16: 0.01})
    kept = tmp_path / "run" / "checkpoints" / "format.json"
    first = choose_format(WORK, kept)
    pretend(monkeypatch, {FP32: 0.001, BF16: 0.01, PLAIN32: 0.01})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    known_or_timed.cache_clear()
    assert choose_format(WORK, kept) == first
    assert choose_format(WORK).precision == "fp32"


def test_where_nothing_can_be_kept_it_is_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pretend(monkeypatch, {FP32: 0.01, BF16: 0.001, PLAIN16: 0.01})
    assert choose_format(WORK).precision == "bf16"


def test_what_is_asked_for_is_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> NumberFormat:
        raise AssertionError("timed")

    monkeypatch.setattr(trial, "run_trial", refuse)
    for asked in ("fp32", "bf16"):
        found = choose_numbers({"precision": asked}, "cpu", tmp_path)
        assert str(found) == f"{asked}, channels_last (as asked)"
    assert choose_numbers({}, "cpu", tmp_path).precision == "fp32"
    params = {"precision": "auto", "encoder": "resnet18", "stem": "small", "epochs": 1}
    with pytest.raises(AssertionError, match="timed"):
        choose_numbers({**params, "size": 28}, "cpu", tmp_path)


def test_the_largest_size_is_timed_and_the_layout_is_for_pretraining(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[int] = []

    def pretended(work: Workload, _: object) -> NumberFormat:
        asked.append(work.size)
        return NumberFormat("bf16", "contiguous", {})

    monkeypatch.setattr(trial, "choose_format", pretended)
    params = {"precision": "auto", "encoder": "resnet18", "stem": "small", "size": 28}
    assert choose_numbers(params, "cpu", tmp_path).layout == "channels_last"
    more = {**params, "method": "simclr", "sizes": "64, 28, 7"}
    assert choose_numbers(more, "cpu", tmp_path).layout == "contiguous"
    assert asked == [28, 64]


def test_a_real_trial() -> None:
    found = run_trial(WORK)
    # On a machine that is busy elsewhere the others may be given up after a step or two.
    assert "fp32, channels_last" in found.speeds
    assert all(speed > 0 for speed in found.speeds.values())
    assert found.speeds[f"{found.precision}, {found.layout}"] * 1.1 >= max(found.speeds.values())
