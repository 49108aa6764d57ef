"""A small study built by run_all.py, once for all tests of a session that look at it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import ROOT
from tests.tiny import write_npz

STUDY = """
study: tiny
title: A tiny study
question: Does the whole chain work?
defaults: {{dataset: "npz:{data}", device: cpu}}
experiments:
  probe:
    notebook: 02_probe
    set: {{init: pretrain, labels: [12, all], bootstrap: 100}}
  pretrain:
    notebook: 01_pretrain
    set: {{epochs: 1, batch_size: 16, knn_every: 1, knn_k: 5, stem: strided}}
    matrix: {{augment: [natural], seed: [0]}}
"""


@dataclass(frozen=True)
class Built:
    """A params file, the results it gave, and what was printed."""

    params: Path
    results: Path
    printed: str

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return self.results / "tiny"


def run_all(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """run_all.py as typed at a terminal."""
    command = [sys.executable, str(ROOT / "run_all.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def build_study(factory: pytest.TempPathFactory) -> Built:
    """The study; the first worker that asks builds it, and the others wait for it."""
    base = factory.getbasetemp()
    # Each worker of pytest-xdist has a folder of its own in one that they share.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "built-study"
    folder.mkdir(exist_ok=True)
    printed = folder / "printed.txt"
    with FileLock(folder / "lock"):
        if not printed.exists():
            data = write_npz(folder / "tiny.npz", "multi-class")
            (folder / "tiny.yaml").write_text(STUDY.format(data=data), encoding="utf-8")
            done = run_all(folder / "tiny.yaml", "--results", folder / "results")
            assert done.returncode == 0, done.stdout + done.stderr
            printed.write_text(done.stdout, encoding="utf-8")
    text = printed.read_text(encoding="utf-8")
    return Built(folder / "tiny.yaml", folder / "results", text)
