"""What a plan will cost: seconds from passes and timings, corrected by what was done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.batch import throughput
from lib.batch.estimate import Estimates, time_in_slots
from lib.batch.passes import COUNTERS
from lib.batch.plan import PlannedRun
from lib.batch.progress import BESIDE, STARTUP
from lib.batch.throughput import Throughput, Workload, measure_augment, measure_throughput
from lib.identity import RANDOM
from lib.models.encoder import build_encoder
from lib.models.weights import save_encoder
from lib.params import notebook_defaults

STEP, TRAIN, EMBED, VIEW = 0.5, 0.01, 0.002, 0.001


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Workload]:
    """Timings that are known; the workloads asked for."""
    asked: list[Workload] = []

    def measure(work: Workload, threads: int) -> Throughput:
        asked.append(work)
        return Throughput(STEP, TRAIN, EMBED)

    monkeypatch.setattr(throughput, "measure_throughput", measure)
    monkeypatch.setattr(throughput, "measure_augment", lambda *_: VIEW)
    return asked


def planned(name: str, notebook: str, needs: tuple[str, ...] = (), **params: Any) -> PlannedRun:
    known = {**notebook_defaults(notebook), "device": "cpu", "precision": "fp32", **params}
    images = {"train": 100, "val": 20, "test": 40}
    return PlannedRun(name, "e", notebook, known, needs, 0.0, RANDOM, images=images, classes=2)


PRETRAIN = planned("p", "01_pretrain", epochs=3, knn_every=3, batch_size=50, stem="small")
PROBE = planned("q", "02_probe", ("p",), init="p", stem="strided")
ENCODER = 600 * TRAIN + 6 * STEP + (2 * 120 + 2 * 64) * EMBED + 600 * VIEW
COMPUTING = BESIDE["01_pretrain"] + ENCODER
PROBING = BESIDE["02_probe"] + 2 * 160 * EMBED


def test_every_notebook_with_a_formula_has_its_other_seconds() -> None:
    assert set(BESIDE) == set(COUNTERS)


def test_seconds_are_passes_times_timings(tmp_path: Path, timed: list[Workload]) -> None:
    found = Estimates([PRETRAIN, PROBE], 1, tmp_path)
    assert found.seconds["p"] == pytest.approx(STARTUP + COMPUTING)
    assert found.seconds["q"] == pytest.approx(STARTUP + PROBING)
    # The probe's encoder is the pretraining's, whatever its own stem parameter says.
    assert set(timed) == {Workload("resnet18", "small", 28, 3, "fp32", "cpu")}
    assert found.timed == {timed[0]: Throughput(STEP, TRAIN, EMBED)}
    assert (found.missing, found.corrected) == ([], [])


def test_other_sizes_stems_and_frozen_stages_are_timed_apart(
    tmp_path: Path, timed: list[Workload]
) -> None:
    frozen = planned("f", "01_pretrain", freeze_stages=2)
    small = planned("d", "06_downsampling", sizes="14,7")
    Estimates([PRETRAIN, frozen, small], 1, tmp_path)
    assert {(w.stem, w.size, w.freeze_stages) for w in timed} == {
        ("small", 28, 0), ("strided", 28, 2), ("strided", 14, 0), ("strided", 7, 0),
    }  # fmt: skip


def test_an_encoder_in_a_file_is_looked_at(tmp_path: Path, timed: list[Workload]) -> None:
    file = tmp_path / "encoder.safetensors"
    header = {"size": 28, "dataset": "x", "parameters": {}, "commit": "c"}
    save_encoder(file, build_encoder("resnet18", "imagenet", 1, seed=0), header)
    Estimates([planned("q", "02_probe", init=str(file))], 1, tmp_path)
    assert timed == [Workload("resnet18", "imagenet", 28, 1, "fp32", "cpu")]


def test_what_cannot_be_timed_has_no_estimate(
    tmp_path: Path, timed: list[Workload], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    broken = planned("b", "02_probe", init=str(tmp_path / "gone.safetensors"))
    far = planned("c", "01_pretrain", device="cuda")
    found = Estimates([broken, far, PRETRAIN], 1, tmp_path)
    assert list(found.seconds) == ["p"]
    assert found.total([PRETRAIN, far], 1) is None
    assert found.total([PRETRAIN], 1) == pytest.approx(STARTUP + COMPUTING)
    assert [line.partition(":")[0] for line in found.missing] == ["e", "e"]
    assert "no CUDA device" in found.missing[1]


def finish(folder: Path, name: str, seconds: float, device: str) -> None:
    file = folder / "runs" / name / "metrics.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"seconds": seconds, "device": device}), encoding="utf-8")


@pytest.mark.parametrize(
    ("device", "factor"), [("CPU, 1 thread(s)", 3.0), ("CPU, 8 thread(s)", 1.0), ("GPU", 1.0)]
)
def test_finished_runs_on_such_a_device_win(
    tmp_path: Path, timed: list[Workload], device: str, factor: float
) -> None:
    finish(tmp_path, "p", 3 * COMPUTING, device)
    longer = replace(PRETRAIN, name="r", params={**PRETRAIN.params, "epochs": 6})
    found = Estimates([PRETRAIN, longer, PROBE], 1, tmp_path)
    # Twice the epochs; the monitor looks three times instead of twice, the diagnosis as often.
    expected = BESIDE["01_pretrain"] + 2 * ENCODER - (120 + 2 * 64) * EMBED
    assert found.seconds["r"] == pytest.approx(STARTUP + factor * expected)
    assert found.seconds["q"] == pytest.approx(STARTUP + PROBING)
    assert found.corrected == (["01_pretrain"] if factor > 1 else [])


# Totals


def chain(*runs: tuple[str, str, float]) -> tuple[list[PlannedRun], dict[str, float]]:
    plan = [
        PlannedRun(name, "e", "02_probe", {}, tuple(needs), 0.0, RANDOM) for name, needs, _ in runs
    ]
    return plan, {name: seconds for name, _, seconds in runs}


def test_one_at_a_time_is_the_sum_and_several_wait_for_what_they_need() -> None:
    plan, seconds = chain(("a", "", 4), ("b", "", 6), ("c", "a", 5), ("d", "ab", 1))
    assert time_in_slots(plan, seconds, 1) == 16
    # a 0–4 and b 0–6, c 4–9, d 6–7.
    assert time_in_slots(plan, seconds, 2) == 9
    assert time_in_slots(plan, seconds, 9) == 9
    assert time_in_slots(plan[2:], seconds, 2) == 5  # a and b are done
    assert time_in_slots([], seconds, 2) == 0


# Timing


def test_timing_gives_times_and_leaves_the_threads_alone() -> None:
    before = torch.get_num_threads()
    work = Workload("resnet18", "imagenet", 14, 1, "fp32", "cpu", 1)
    speed = measure_throughput(work, 1)
    assert speed.step >= 0
    assert 0 < speed.embed < speed.train + speed.step
    assert measure_throughput(work, 1) is speed  # each workload once
    assert 0 < measure_augment("natural", 14, 1, "cpu", 1) < 1
    assert torch.get_num_threads() == before
    assert str(work) == "resnet18, imagenet stem, 14 px, fp32, cpu"


def test_a_steps_fixed_cost_is_told_from_that_of_its_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With made-up times that are affine in the batch, both parts come out exactly."""

    def time_call(work: Any, x: torch.Tensor) -> float:
        inference = work.__name__ == "embed"
        return len(x) * 0.001 if inference else 0.2 + len(x) * 0.003

    monkeypatch.setattr(throughput, "time_call", time_call)
    measure = measure_throughput.__wrapped__
    speed = measure(Workload("resnet18", "imagenet", 14, 1, "fp32", "cpu"), 1)
    assert speed.step == pytest.approx(0.2)
    assert speed.train == pytest.approx(0.003)
    assert speed.embed == pytest.approx(0.001)
    # Where eight images take longer than there is patience for, all of it is theirs.
    monkeypatch.setattr(throughput, "time_call", lambda work, x: len(x) * 1.0)
    slow = measure(Workload("resnet18", "imagenet", 14, 1, "fp32", "cpu"), 1)
    assert (slow.step, slow.train) == (0.0, 1.0)
