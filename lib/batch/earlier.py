"""Runs in a study's folder that its plan does not have any more, and what became of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lib.batch.done import read_metrics
from lib.batch.plan import PlannedRun

HEADING = re.compile(r"# notebook (\S+) · data (\S*) · code (\S+) · commit \S+")


@dataclass(frozen=True)
class Earlier:
    """A run as its params.yaml and metrics.json describe it.

    params: as noted, `init` being the name of the run that made the encoder. data, code: what
    identified them. parts: a hash of each part of the code; empty for runs that did not note it.
    """

    name: str
    notebook: str
    params: Mapping[str, Any]
    data: str
    code: str
    parts: Mapping[str, str] = field(default_factory=dict)


def read_earlier(study_folder: Path, name: str) -> Earlier | None:
    """What a finished run notes of itself; None where it cannot be read."""
    try:
        text = (study_folder / "runs" / name / "params.yaml").read_text(encoding="utf-8")
        params = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    heading = HEADING.search(text)
    metrics = read_metrics(study_folder, name)
    if heading is None or metrics is None or not isinstance(params, dict):
        return None
    return Earlier(name, heading[1], params, heading[2], heading[3], metrics.get("code") or {})


def superseded(study_folder: Path, runs: Iterable[PlannedRun]) -> list[str]:
    """Names of finished runs in a study's folder that the whole plan `runs` does not have."""
    planned = {run.name for run in runs}
    folder = study_folder / "runs"
    if not folder.is_dir():
        return []
    found = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(name for name in found if name not in planned and not name.startswith("."))


def abandoned(study_folder: Path, runs: Iterable[PlannedRun]) -> list[str]:
    """Names of unfinished runs in the work folder that the whole plan does not have."""
    planned = {run.name for run in runs}
    folder = study_folder / "work"
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in planned)


def users(name: str, study_folder: Path, runs: Iterable[PlannedRun]) -> list[str]:
    """Runs that start from a run's encoder: planned ones, and finished ones of other studies."""
    found = [run.name for run in runs if run.origin.identity == name]
    for file in study_folder.parent.glob("*/runs/*/params.yaml"):
        if file.parents[2] != study_folder:
            text = file.read_text(encoding="utf-8", errors="replace")
            if re.search(rf"^init: ['\"]?{re.escape(name)}['\"]?$", text, re.MULTILINE):
                found.append(f"{file.parents[2].name}/{file.parent.name}")
    return found


def last_error(work: Path) -> str:
    """Why the last try of a run failed, as it noted; empty where it did not come to that."""
    try:
        outcome = json.loads((work / "outcome.json").read_text(encoding="utf-8"))
        return str(outcome["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
