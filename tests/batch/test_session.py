"""`run_all.py` from its arguments to its exit status, with notebooks replaced by a stand-in."""

from __future__ import annotations

import csv
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.batch.index import write_index

RunAll = Callable[..., int]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """Steps are not timed but looked up; what was asked for, with how many threads."""
    from lib.batch import throughput

    asked: list[tuple[Any, int]] = []

    def measure(work: Any, threads: int) -> throughput.Throughput:
        if (work, threads) not in asked:
            asked.append((work, threads))
        return throughput.Throughput(0.1, 0.01, 0.002)

    monkeypatch.setattr(throughput, "measure_throughput", measure)
    monkeypatch.setattr(throughput, "measure_augment", lambda *_: 0.001)
    return asked


def test_a_study_runs_and_says_where_its_report_is(
    lab: Any, fake: Any, run_all: RunAll, chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_all(chain) == 0
    out = capsys.readouterr().out
    index = lab.results / "tiny" / "index.html"
    assert out.splitlines()[-1] == f"report: {index}"
    assert "5 runs: 5 done in " in out
    page = index.read_text(encoding="utf-8")
    assert all(f"runs/{name}/report.html" in page for name in fake.started)
    with (lab.results / "tiny" / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3  # probes, budgets, features
    assert {row["study"] for row in rows} == {"tiny"}


def test_a_second_call_does_nothing_again(
    lab: Any, fake: Any, run_all: RunAll, chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all(chain)
    first = (lab.results / "tiny" / "summary.csv").read_bytes()
    assert run_all(chain) == 0
    assert len(fake.started) == 5
    assert re.search(r"5 runs: 0 done in \d+ s, 5 already done", capsys.readouterr().out)
    assert (lab.results / "tiny" / "summary.csv").read_bytes() == first
    assert run_all(chain, "--force", "--only", "data") == 0
    assert len(fake.started) == 6


def test_force_with_only_does_not_redo_what_is_needed(
    fake: Any, run_all: RunAll, chain: Path
) -> None:
    assert run_all(chain, "--force", "--only", "probe-*-s1-*") == 0
    first = list(fake.started)
    assert [name.partition("-")[0] for name in first] == ["pretrain", "probe"]
    assert run_all(chain, "--force", "--only", "probe-*-s1-*") == 0
    assert fake.started == [*first, first[1]]
    assert run_all(chain, "--force") == 0
    assert len(fake.started) == 3 + 5


def test_a_failure_is_exit_1_and_the_rest_goes_on(
    lab: Any, fake: Any, run_all: RunAll, chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.failing = {"pretrain-npz-cells-simclr-novel-s0"}
    assert run_all(chain) == 1
    out = capsys.readouterr().out
    assert "5 runs: 3 done in " in out
    assert ", 1 failed, 1 skipped" in out
    [bad] = [name for name in fake.started if name.startswith("pretrain") and "-s0-" in name]
    report = lab.results / "tiny" / "work" / bad / "report.html"
    assert f"  failed   {bad}: cell 7: ValueError: no such luck\n           see {report}" in out
    assert f": needs {bad}" in out
    page = (lab.results / "tiny" / "index.html").read_text(encoding="utf-8")
    assert "no such luck" in page
    fake.failing = set()
    assert run_all(chain) == 0
    assert re.search(r"5 runs: 2 done in \d+ s, 3 already done", capsys.readouterr().out)


def test_damaged_numbers_are_made_again(
    lab: Any,
    fake: Any,
    timed: list[tuple[Any, int]],
    run_all: RunAll,
    chain: Path,
    damaged: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_all(chain)
    folder = lab.results / "tiny"
    first = (folder / "summary.csv").read_bytes()
    probes = {name for name in fake.started if name.startswith("probe")}
    for name in probes:
        (folder / "runs" / name / "metrics.json").write_text(damaged, encoding="utf-8")
    capsys.readouterr()
    assert run_all(chain, "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("(its metrics.json is missing or damaged)") == 2
    assert "5 runs, 3 done, 2 to do" in out
    assert run_all(chain) == 0
    out = capsys.readouterr().out
    assert "5 runs: 2 done in " in out
    assert "the page of the running study" not in out
    assert set(fake.started[5:]) == probes
    assert (folder / "summary.csv").read_bytes() == first


def test_folders_that_others_move_away_meanwhile_stop_nothing(
    lab: Any,
    fake: Any,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scandir, other = os.scandir, lab.results / "tiny" / "work" / "of-another-process"

    def look_into(path: Any) -> Any:
        if Path(path) == other.parent:
            other.mkdir(exist_ok=True)
        if Path(path) == other:
            other.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look_into)
    assert run_all(chain) == 0
    out = capsys.readouterr().out
    assert "5 runs: 5 done in " in out
    assert "on the disk: " in out
    assert "cannot be written" not in out


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (errno.ENOENT, 0, "the page of the running study: FileNotFoundError: "),
        (errno.ENOSPC, 1, "cannot be written: no space left on the disk; "),
    ],
)
def test_only_a_full_disk_keeps_a_page_from_being_written_and_the_study_from_going_on(
    fake: Any,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    said: str,
) -> None:
    def write_page(*args: Any) -> Path:
        if args[-1] is not None:  # while the study runs
            raise OSError(number, os.strerror(number), "runs/a/report.html")
        return write_index(*args)

    monkeypatch.setattr("lib.batch.overview.write_index", write_page)
    monkeypatch.setattr("lib.batch.overview.LIVE_SECONDS", 0.0)
    assert run_all(chain) == status
    assert len(fake.started) == (1 if status else 5)
    assert capsys.readouterr().out.count(said) == 1


def test_only_runs_what_fits_and_what_it_needs(
    lab: Any, fake: Any, run_all: RunAll, chain: Path
) -> None:
    assert run_all(chain, "--only", "probe-*-s1-*") == 0
    assert [name.partition("-")[0] for name in fake.started] == ["pretrain", "probe"]
    assert all("-s1-" in name for name in fake.started)
    # What other runs of the study are done stays in the summary.
    assert run_all(chain, "--only", "data") == 0
    text = (lab.results / "tiny" / "summary.csv").read_text(encoding="utf-8")
    assert fake.started[1] in text


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    lab: Any,
    fake: Any,
    timed: list[tuple[Any, int]],
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_all(chain, "--only", "pretrain*-s0-*")
    capsys.readouterr()
    before = lab.files()
    assert run_all(chain, "--dry-run") == 0
    assert lab.files() == before
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "tiny: A tiny study"
    assert out[-1].startswith("5 runs, 1 done, 4 to do, about ")
    assert out[-1].endswith(" one at a time")
    assert [line.split()[0] for line in out[1:6]] == ["to", "done", "to", "to", "to"]
    # An estimate for each run that is to be done, and what it rests on.
    assert [bool(re.search(r" about \d+ s$", line)) for line in out[1:6]] == [True, False] + [
        True
    ] * 3
    assert out[6] == "Estimates, from a few steps timed here:"
    assert "resnet18, strided stem, 28 px" in out[7]
    assert len(timed) == 1
    [name] = fake.started
    assert f"  done   {name}" in out
    assert any(f"needs {name}  about " in line for line in out)
    run_all(chain, "--dry-run", "--force")
    assert "5 runs, 0 done, 5 to do" in capsys.readouterr().out
    run_all(chain, "--dry-run", "--force", "--only", "probe-*-s0-*")
    assert "2 runs, 1 done, 1 to do" in capsys.readouterr().out
    assert len(fake.started) == 1


def test_a_dry_run_for_several_jobs_times_what_they_will_have(
    timed: list[tuple[Any, int]],
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("lib.batch.launch.os.cpu_count", lambda: 4)
    assert run_all(chain, "--dry-run", "--jobs", "2") == 0
    assert [threads for _, threads in timed] == [4, 2]
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.search(r"about \S+ \S+ one at a time, about \S+ \S+ with --jobs 2$", last)


@pytest.mark.parametrize(("slower", "said"), [(1, False), (40, True)])
def test_estimates_that_a_busy_machine_made_contradictory_say_so(
    slower: int,
    said: bool,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lib.batch.throughput import Throughput

    def measured(_: Any, threads: int) -> Throughput:
        return Throughput(*[0.001 * (slower if threads == 4 else 2)] * 3)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("lib.batch.launch.os.cpu_count", lambda: 4)
    monkeypatch.setattr("lib.batch.throughput.measure_throughput", measured)
    monkeypatch.setattr("lib.batch.throughput.measure_augment", lambda *_: 0.0)
    assert run_all(chain, "--dry-run", "--jobs", "2", "--set", "pretrain.epochs=5000") == 0
    out = capsys.readouterr().out
    assert ("The estimates contradict each other, --jobs 2 cannot be" in out) == said


def test_a_dry_run_says_what_it_cannot_estimate(
    timed: list[tuple[Any, int]],
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_all(chain, "--dry-run", "--set", "pretrain.device=cuda") == 0
    out = capsys.readouterr().out
    assert "no estimate for pretrain: device: cuda asked for, but this machine has no CUDA" in out
    assert out.splitlines()[-1] == "5 runs, 0 done, 5 to do"


def test_set_changes_parameters_everywhere_or_in_one_experiment(
    fake: Any, run_all: RunAll, chain: Path
) -> None:
    assert run_all(chain, "--set", "seed=5", "--set", "probe.labels=[4, 6]") == 0
    assert {spec.params["seed"] for spec in fake.specs} == {5}
    assert [s.notebook for s in fake.specs] == ["00_data", "01_pretrain", "02_probe"]
    assert fake.specs[-1].params["labels"] == "4,6"


def test_runs_shared_by_two_experiments_are_counted_once(
    lab: Any,
    fake: Any,
    timed: list[tuple[Any, int]],
    run_all: RunAll,
    capsys: pytest.CaptureFixture[str],
) -> None:
    probes = "a: {notebook: 02_probe}\n  b: {notebook: 02_probe, matrix: {seed: [0, 1]}}"
    path = lab.write(f"study: tiny\nexperiments:\n  {probes}\n")
    assert run_all(path, "--dry-run") == 0
    assert "2 runs, 0 done, 2 to do" in capsys.readouterr().out
    assert len(timed) == 1
    assert run_all(path) == 0
    assert "2 runs: 2 done" in capsys.readouterr().out
    text = (lab.results / "tiny" / "summary.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + 2 * 3 * 3
    assert (lab.results / "tiny" / "index.html").read_text(encoding="utf-8").count("<td><a") == 2


def test_jobs_run_side_by_side(fake: Any, run_all: RunAll, chain: Path) -> None:
    assert run_all(chain, "--jobs", "2") == 0
    assert len(fake.started) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "epoch=3"], "--set epoch: unknown key (did you mean epochs?)"),
        (["--set", "knn_every=0"], "--set knn_every: expected a whole number from 1, found 0"),
        (["--set", "temperature=hot"], '--set temperature: expected a number above 0, found "hot"'),
        (["--set", "epochs"], "--set epochs: expected KEY=VALUE"),
        (["--set", "epochs=["], "--set epochs=[: line 1, column 2: not valid YAML"),
        (["--set", "dataset=npz:no.npz"], "no.npz: no such file"),
        (["--set", "probe.init=nothing"], "experiments.probe.init: no encoder nothing"),
        (["--only", "finetune"], "--only finetune: fits no run"),
        (["--slurm", "no.yaml"], "no.yaml: No such file or directory"),
    ],
)
def test_a_refusal_is_exit_2_and_writes_nothing(
    lab: Any,
    fake: Any,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    before = lab.files()
    for more in ([], ["--dry-run"]):
        assert run_all(chain, *arguments, *more) == 2
        captured = capsys.readouterr()
        assert words in captured.err
        assert captured.out == ""
        assert lab.files() == before
    assert fake.started == []


def test_every_mistake_is_a_line_on_stderr(
    lab: Any, fake: Any, run_all: RunAll, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lab.write(
        "study: tiny\nexperiments:\n"
        "  a: {notebook: 01_pretrain, set: {epochs: no, agument: novel}}\n"
        "  b: {notebook: 9_nothing}\n"
    )
    assert run_all(path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: experiments.") for line in lines)
    assert run_all(lab.folder / "missing.yaml") == 2
    assert lab.files() == {"study.yaml"}


def test_results_must_be_a_folder(
    lab: Any, fake: Any, run_all: RunAll, chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.results.write_text("a file", encoding="utf-8")
    assert run_all(chain) == 2
    assert "is a file, not a folder" in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer_is_exit_2(
    lab: Any, fake: Any, run_all: RunAll, chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import dask
    import dask.distributed  # its defaults must be there before one of them is set for a while

    before = lab.files()
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        assert run_all(chain, "--scheduler", "tcp://127.0.0.1:9") == 2
    assert capsys.readouterr().err.startswith("--scheduler tcp://127.0.0.1:9: ")
    assert lab.files() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--jobs", "0"],
        ["--jobs", "two"],
        ["--per-gpu", "0"],
        ["--scheduler", "a", "--slurm", "b"],
        ["--frce"],
    ],
)
def test_wrong_arguments_are_exit_2(run_all: RunAll, chain: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_all(chain, *arguments)
    assert caught.value.code == 2


def test_arguments_have_the_defaults_of_the_contract() -> None:
    from run_all import parse

    options = parse(["params/demo.yaml"])
    assert (options.results, options.jobs, options.only) == (Path("results"), 1, [])
    assert (options.force, options.dry_run, options.set) == (False, False, [])
    assert (options.scheduler, options.slurm) == (None, None)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "params").glob("*.yaml")))
def test_the_studies_that_come_along_can_be_read(path: Path) -> None:
    from lib.batch.study import read_study

    study = read_study(path)
    assert study.title != study.name or path.stem == "own"  # a template of ten lines
    assert study.question
