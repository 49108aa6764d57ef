"""Slurm: a YAML file for `--slurm`, and real jobs of a Slurm of one node. Runs are stand-ins."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lib.batch.engine import open_engine
from lib.batch.runner import run_plan
from lib.batch.slurm import check_slurm, start_slurm
from lib.batch.study import StudyError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from one_node_slurm import ask, one_node_slurm, why_not  # noqa: E402
from stand_in_client import planned  # noqa: E402

SLURM = """
queue: gpu
cores: 4
memory: 8GB
walltime: "02:30:00"
job_extra_directives: ["--gres=gpu:1"]
job_script_prologue: [module load cuda]
scheduler_options: {dashboard_address: ":0"}
"""
ONE_NODE = """
queue: all
cores: 1
memory: 500MB
walltime: "00:10:00"
death_timeout: 20
log_directory: {folder}
local_directory: {folder}
worker_extra_args: [--no-dashboard, --preload, {preload}]
scheduler_options: {{host: 127.0.0.1, dashboard_address: "127.0.0.1:0"}}
"""


def test_options_reach_the_job_script(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dask_jobqueue import SLURMCluster

    asked: list[dict[str, int]] = []
    monkeypatch.setattr(SLURMCluster, "scale", lambda self, n=0, **jobs: asked.append(jobs))
    with start_slurm(lab.write(SLURM, "slurm.yaml"), jobs=3) as cluster:
        script = cluster.job_script()
    assert asked == [{"jobs": 3}, {}]  # the second at the end: to no jobs
    for line in ("-p gpu", "--mem=8G", "-t 02:30:00", "--cpus-per-task=4", "--gres=gpu:1"):
        assert f"#SBATCH {line}" in script
    assert "module load cuda\nexport PYTHONPATH=" in script


def test_files_are_checked_before_anything_starts(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lab.write(SLURM, "slurm.yaml")
    monkeypatch.setenv("PATH", str(lab.folder))
    check_slurm(path, submit=False)
    with pytest.raises(StudyError, match="no sbatch command here"):
        check_slurm(path, submit=True)
    (lab.folder / "sbatch").touch(mode=0o755)
    check_slurm(path, submit=True)
    for text in ("- queue", "", "a: [", "queue: a\nqueue: b"):
        with pytest.raises(StudyError, match=f"^{lab.write(text, 'bad.yaml')}: "):
            check_slurm(lab.folder / "bad.yaml", submit=True)
    with pytest.raises(StudyError, match="No such file"):
        check_slurm(lab.folder / "no.yaml", submit=False)


def test_an_option_that_slurm_clusters_do_not_have_is_refused(lab: Any) -> None:
    path = lab.write("cores: 1\nmemory: 1GB\nqeue: gpu", "slurm.yaml")
    with pytest.raises(StudyError, match="qeue"), open_engine(1, slurm=path):
        pass


@pytest.fixture
def slurm() -> Iterator[Path]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with one_node_slurm() as folder:
        yield folder


def test_real_jobs_do_the_runs_and_a_cancelled_one_is_replaced(slurm: Path, lab: Any) -> None:
    import dask
    import distributed  # noqa: F401 - its defaults must be there before one is set

    options = ONE_NODE.format(folder=lab.folder, preload=HERE / "stand_in_worker.py")
    path, study = lab.write(options, "slurm.yaml"), lab.results / "tiny"
    (study / "work").mkdir(parents=True)
    said: list[str] = []
    cancelled: list[str] = []

    def cancel() -> None:
        """Cancel the first job as soon as it has a run under way."""
        while not list((study / "work").glob("*/checkpoint")):
            time.sleep(0.1)
        cancelled.extend(ask("squeue", "--noheader", "--format=%i", "--states=R").split()[:1])
        ask("scancel", *cancelled)

    Thread(target=cancel, daemon=True).start()
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "500ms"}),
        open_engine(1, slurm=path, folder=study, say=said.append) as engine,
    ):
        report = run_plan([planned(n) for n in "abc"], "tiny", study, engine, show=said.append)
    assert report.ok, said
    assert len(cancelled) == 1
    assert sum(line.startswith("worker tcp://") for line in said) == 2  # and its replacement
    words = [line.split() for line in (study / "diary.txt").read_text("utf-8").splitlines()]
    assert Counter(name for what, name, *_ in words if what == "end") == {"a": 1, "b": 1, "c": 1}
    assert Counter(name for what, name, *_ in words if what == "begin")["a"] == 2
    assert json.loads((study / "runs" / "a" / "metrics.json").read_text("utf-8")) == {}
    end = time.monotonic() + 30
    while ask("squeue", "--noheader"):
        assert time.monotonic() < end, "jobs are left"
        time.sleep(0.2)
