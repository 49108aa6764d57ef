"""A Dask cluster whose workers are jobs of Slurm, started through dask-jobqueue."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

from lib.batch.study import StudyError, read_yaml
from lib.params import ROOT


def check_slurm(file: Path, *, submit: bool) -> None:
    """StudyError where the file is missing or no mapping, or `submit` and there is no Slurm."""
    if not isinstance(read_yaml(file), dict):
        raise StudyError([f"{file}: expected the arguments of SLURMCluster as keys and values"])
    if submit and shutil.which("sbatch") is None:
        raise StudyError(
            [f"--slurm {file}: no sbatch command here; call run_all.py on a login node"]
        )


def start_slurm(file: Path, jobs: int) -> Any:
    """Start a Slurm cluster of `jobs` workers from the keyword arguments in a YAML file."""
    from dask_jobqueue import SLURMCluster

    options = dict(read_yaml(file))
    # Jobs find this project wherever they start.
    path = f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"
    options["job_script_prologue"] = [*(options.get("job_script_prologue") or []), path]
    cluster = SLURMCluster(**options)
    cluster.scale(jobs=jobs)
    return cluster
