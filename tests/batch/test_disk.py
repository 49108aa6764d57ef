"""A full disk and a results folder that is read-only: one line, nothing half-written, go on later.

On real file systems where this user may mount some; root may write whatever permissions say.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.batch import execute, launch
from lib.batch.disk import CANNOT_WRITE, cannot_write, say_trouble
from lib.batch.spec import Outcome, Spec
from lib.files import write_text

RunAll = Callable[..., int]


def mount(*words: object) -> bool:
    command = ["mount", *map(str, words)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def small_disk(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The results folder on a disk of 8 MiB, which is enough for what stands in for notebooks."""
    monkeypatch.setattr("lib.batch.session.too_little_room", lambda *_, **__: "")
    lab.results.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", lab.results):
        pytest.skip("this user may not mount a file system")
    yield lab.results
    subprocess.run(["umount", "-l", str(lab.results)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all there is."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(65536))
    return path


def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(small_disk: Path) -> None:
    write_text(small_disk / "a.txt", "old")
    with pytest.raises(OSError) as caught:
        write_text(small_disk / "a.txt", "x" * 2**24)
    assert caught.value.errno == errno.ENOSPC
    assert (small_disk / "a.txt").read_text(encoding="utf-8") == "old"
    assert [p.name for p in small_disk.iterdir()] == ["a.txt"]
    assert cannot_write(small_disk / "tiny") == ""
    fill(small_disk)
    said = cannot_write(small_disk / "tiny")
    assert said.startswith(f"{small_disk / 'tiny'}: cannot be written: no space left on the disk; ")


def test_a_disk_that_is_full_from_the_start_is_refused(
    lab: Any,
    fake: Any,
    small_disk: Path,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(small_disk)
    assert run_all(chain) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert f"--results {small_disk / 'tiny'}: cannot be written: no space left" in said.err
    assert [p.name for p in small_disk.iterdir()] == ["filler"]
    assert fake.started == []


def test_a_disk_that_fills_up_stops_the_study_and_the_same_command_ends_it(
    lab: Any,
    fake: Any,
    small_disk: Path,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fill_up(spec: Spec) -> Outcome:
        outcome: Outcome = fake(spec)
        if len(fake.started) == 2:
            fill(small_disk)
        return outcome

    monkeypatch.setattr("lib.batch.runner.execute_in_process", fill_up)
    assert run_all(chain) == 1
    out = capsys.readouterr().out
    assert "5 runs: 2 done in " in out
    assert "3 not started" in out
    lines = [line for line in out.splitlines() if "cannot be written" in line]
    assert len(lines) == 1
    assert "no space left on the disk; make room" in lines[0]
    assert not [p for p in small_disk.rglob("*") if p.name.startswith((".partial", ".probe"))]
    (small_disk / "filler").unlink()
    assert run_all(chain) == 0
    assert "5 runs: 3 done in " in capsys.readouterr().out
    assert len(fake.started) == 5


def test_a_read_only_results_folder_is_refused_and_a_done_study_in_it_too(
    fake: Any,
    small_disk: Path,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_all(chain) == 0
    capsys.readouterr()
    assert mount("-o", "remount,ro", small_disk)
    before = sorted(small_disk.rglob("*"))
    assert run_all(chain, "--force") == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "cannot be written: read-only file system" in said.err
    assert sorted(small_disk.rglob("*")) == before
    assert run_all(chain, "--dry-run") == 0  # to look at it is no writing
    assert "5 runs, 5 done, 0 to do" in capsys.readouterr().out


def test_without_permission(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    said = cannot_write(lab.results / "tiny")
    assert said.startswith(f"{lab.results / 'tiny'}: cannot be written: permission denied; ")


def test_a_run_that_cannot_write_says_so_by_its_status(
    lab: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = Spec("probe-a", "02_probe", {}, str(lab.results / "tiny"), 1)

    def run(task: Path, log: Path, *_: object) -> int:
        def full(_: Spec) -> Outcome:
            raise OSError(errno.ENOSPC, "No space left on device", str(task))

        monkeypatch.setattr(execute, "execute", full)
        status = execute.execute_task(task)
        log.write_text(capsys.readouterr().out, encoding="utf-8")
        return status

    monkeypatch.setattr(launch, "run_process", run)
    outcome = launch.execute_in_process(spec)
    assert not outcome.ok
    assert outcome.error == f"cannot write to {spec.work}: no space left on the disk"
    assert not (spec.work / "outcome.json").exists()
    # And one whose lock cannot even be written.
    monkeypatch.setattr(
        "lib.batch.locks.write_text", lambda *_: (_ for _ in ()).throw(OSError(28, "No space"))
    )
    assert "cannot write" in launch.execute_in_process(spec).error
    assert CANNOT_WRITE not in (0, 1)


def test_what_is_said_of_an_error_names_the_file(tmp_path: Path) -> None:
    error = OSError(errno.EDQUOT, "Disk quota exceeded", str(tmp_path / "summary.csv"))
    assert say_trouble(error, tmp_path).startswith(
        f"{tmp_path / 'summary.csv'}: cannot be written: the disk quota is used up; "
    )
