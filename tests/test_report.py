"""09_report executed: on a study with every part, and on one with next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.summaries import make_row, whole_study, write


def report(folder: Path, rows: list[dict[str, Any]], **params: object) -> tuple[Any, str]:
    """Run the notebook by papermill; its metrics.json, and the text of its outputs."""
    write(rows, folder / "summary.csv")
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / "09_report.ipynb")]
    command += [str(folder / "report.ipynb"), "--no-progress-bar", "-p", "out", str(folder / "out")]
    command += ["-p", "summary", str(folder / "summary.csv")]
    for name, value in params.items():
        command += ["-p", name, str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads((folder / "out" / "metrics.json").read_text(encoding="utf-8"))
    cells = json.loads((folder / "report.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    texts = [
        t for o in outputs for kind in ("text/markdown", "text/plain") for t in o.get(kind, [])
    ]
    return metrics, "".join(texts)


def test_a_study_with_every_part(tmp_path: Path) -> None:
    rows = whole_study(("retinamnist",), seeds=3)
    rows += [{**row, "dataset": "phantom"} for row in rows if row["metric"] == "auroc"]
    metrics, text = report(tmp_path, rows, level=0.9)
    assert metrics["answers"]["pretraining"] == "supported"
    assert metrics["answers"]["transfer"] == "contradicted"
    assert len(metrics["answers"]) == 9
    claimed = {(row["metric"], row["dataset"]) for row in metrics["rows"]}
    assert ("claim_novel", "") in claimed
    assert ("claim_novel", "phantom") in claimed
    assert "90% interval over 3 seeds" in text
    assert "Synthetic data. **Pretraining, frozen or finetuned, beats" in text
    assert str(tmp_path) not in (tmp_path / "out" / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("rows", [[], [make_row()], [make_row(dataset="phantom")]])
def test_a_study_of_next_to_nothing(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """In this process, cell by cell: papermill adds nothing here but its time."""
    path = write(rows, tmp_path / "summary.csv")
    content = json.loads((ROOT / "notebooks" / "09_report.ipynb").read_text(encoding="utf-8"))
    given = {"summary": str(path), "out": str(tmp_path / "out")}
    space: dict[str, Any] = {}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), space)
            space.update(given if "parameters" in cell["metadata"].get("tags", []) else {})
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["answers"].values()) == {"not tested here"}
    assert metrics["rows"] == []
