"""Dask clusters: a scheduler's address, and a YAML file for Slurm. No job is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from lib.batch.runner import check_slurm, open_executor, start_slurm
from lib.batch.study import StudyError

SLURM = """
queue: gpu
cores: 4
memory: 8GB
walltime: "02:30:00"
job_extra_directives: ["--gres=gpu:1"]
job_script_prologue: [module load cuda]
scheduler_options: {dashboard_address: ":0"}
"""


def test_runs_go_to_the_workers_of_a_scheduler() -> None:
    from dask.distributed import LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    with (
        LocalCluster(**options, dashboard_address=None) as cluster,
        open_executor(1, scheduler=cluster.scheduler_address) as (executor, slots),
    ):
        assert slots == 2
        # The same call twice is executed twice: runs have effects.
        assert [executor.submit(divmod, 7, 2).result(timeout=30) for _ in range(2)] == [(3, 1)] * 2


def test_a_scheduler_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask
    import dask.distributed  # its defaults must be there before one of them is set for a while

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(StudyError, match=r"^--scheduler tcp://127\.0\.0\.1:9: "),
        open_executor(1, scheduler="tcp://127.0.0.1:9"),
    ):
        pass


def test_slurm_options_reach_the_job_script(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dask_jobqueue import SLURMCluster

    asked: list[dict[str, int]] = []
    monkeypatch.setattr(SLURMCluster, "scale", lambda self, n=0, **jobs: asked.append(jobs))
    with start_slurm(lab.write(SLURM, "slurm.yaml"), jobs=3) as cluster:
        script = cluster.job_script()
    assert asked == [{"jobs": 3}, {}]  # the second at the end: to no jobs
    for line in ("-p gpu", "--mem=8G", "-t 02:30:00", "--cpus-per-task=4", "--gres=gpu:1"):
        assert f"#SBATCH {line}" in script
    assert "module load cuda" in script


def test_slurm_files_are_checked_before_anything_starts(
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
    with pytest.raises(StudyError, match="qeue"), open_executor(1, slurm=path):
        pass
