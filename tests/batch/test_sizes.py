"""What folders take on the disk while others write there and move things away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lib.batch.sizes import folder_bytes, study_bytes


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study's folder from which every `gone` disappears once its parent has been listed."""
    for name, count in (
        ("runs/a/metrics.json", 100), ("runs/a/logs/gone", 20), ("runs/a/gone/deep", 3),
        ("work/b/last.ckpt", 200_000), ("work/gone/last.ckpt", 4),
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(count))
    scandir, lstat = os.scandir, Path.lstat

    def look_into(path: Any) -> Any:
        if Path(str(path)).name == "gone":  # not where it is a number: the removal's own
            shutil.rmtree(path)
        return scandir(path)

    def look_at(path: Path) -> os.stat_result:
        if path.name == "gone":
            path.unlink()
        return lstat(path)

    monkeypatch.setattr(os, "scandir", look_into)
    monkeypatch.setattr(Path, "lstat", look_at)
    return tmp_path


@pytest.mark.parametrize(("folder", "size"), [("runs", 100), ("work", 200_000), ("none", 0)])
def test_what_is_moved_away_meanwhile_is_left_out(study: Path, folder: str, size: int) -> None:
    assert folder_bytes(study / folder) == size


def test_of_a_study_too(study: Path) -> None:
    assert study_bytes(study, ["a"]) == {"unfinished": 200_000, "numbers": 100}


def test_a_study_without_unfinished_runs(study: Path) -> None:
    shutil.rmtree(study / "work" / "b")
    assert study_bytes(study, ["a", "missing"]) == {"numbers": 100}
