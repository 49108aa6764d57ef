"""Whether the disk has the room for a study."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from lib.batch import room
from lib.batch.plan import PlannedRun
from lib.batch.room import BESIDE, ENCODERS, TRAINING, needed_bytes
from lib.batch.sizes import folder_bytes
from lib.identity import RANDOM
from lib.params import NOTEBOOKS, ROOT

Usage = namedtuple("Usage", "total used free")


def planned(name: str, notebook: str, encoder: str = "resnet18") -> PlannedRun:
    return PlannedRun(name, name, notebook, {"encoder": encoder}, (), 0.0, RANDOM)


def needed(runs: list[PlannedRun], folder: Path, jobs: int = 1, keep: str = "encoders") -> float:
    return needed_bytes(runs, {run.name for run in runs}, folder, jobs=jobs, keep=keep)


def test_two_hundred_runs_fit_the_stated_budget(tmp_path: Path) -> None:
    runs = [planned(f"pretrain-{i}", "01_pretrain") for i in range(100)]
    runs += [planned(f"probe-{i}", "02_probe") for i in range(100)]
    without = 100 * (BESIDE["01_pretrain"] + BESIDE["02_probe"])
    assert without == pytest.approx(0.30e9)
    expected = without + 100 * ENCODERS["resnet18"] + 2 * TRAINING * ENCODERS["resnet18"]
    assert needed(runs, tmp_path, jobs=2) == pytest.approx(expected)
    assert expected < 5.4e9  # what docs/clusters.md states
    assert needed(runs, tmp_path, jobs=2, keep="all") > 3 * expected


def test_every_notebook_and_what_published_runs_take(tmp_path: Path) -> None:
    assert set(BESIDE) == {file.stem for file in NOTEBOOKS.glob("[0-9]*.ipynb")}
    found = 0
    for folder in ROOT.glob("results/*/runs/*"):
        [notebook] = [n for n in BESIDE if n.partition("_")[2] == folder.name.partition("-")[0]]
        encoder = folder / "encoder.safetensors"
        size = folder_bytes(folder) - (encoder.stat().st_size if encoder.exists() else 0)
        assert size <= BESIDE[notebook], folder
        found += 1
    assert found > 100


def test_finished_runs_say_what_the_rest_takes(lab: Any) -> None:
    folder = lab.results / "tiny"
    (lab.finish("probe-0") / "report.html").write_bytes(bytes(7_000_000))
    runs = [planned(f"probe-{i}", "02_probe") for i in range(3)]
    found = needed_bytes(runs, {"probe-1", "probe-2"}, folder, jobs=1, keep="encoders")
    assert found == pytest.approx(14e6, rel=0.001)


def test_a_disk_that_is_far_too_small_is_refused(
    lab: Any, chain: Path, fake: Any, run_all: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(1e9, 9e8, 1e8))
    assert run_all(chain) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"--results {lab.results / 'tiny'}: the study takes about 368 MB")
    assert "100 MB free; make room" in said
    assert not fake.started and not lab.results.exists()
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(1e9, 8e8, 2e8))
    assert run_all(chain) == 0  # less than estimated, which may be wrong
