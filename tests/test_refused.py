"""Bad input is refused before anything is written: one clear line, exit code 2.

Each case goes through run_all.py's own `main`, as a user would meet it; the cases are in
`tests/refused`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import run_all
from tests.conftest import ROOT
from tests.refused import Case, Desk, data, encoders, params

CASES = [*params.CASES, *data.CASES, *encoders.CASES]
LONGEST = 600  # characters of a line, less the paths in it


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A folder to stand in, with a home, a data root and a cache of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "medmnist"))
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def started(*_: object, **__: object) -> int:
        pytest.fail("was not refused: the study was started")

    monkeypatch.setattr("lib.batch.session.run_study", started)
    return Desk(tmp_path)


def contents(folder: Path) -> dict[str, str]:
    """Everything in a folder, each file by its digest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        small = path.is_file() and path.stat().st_size < 2**24
        found[str(path)] = hashlib.md5(path.read_bytes()).hexdigest() if small else "-"
    return found


def check_line(line: str, case: Case) -> None:
    assert line, "nothing was said"
    assert "\n" not in line, line
    assert "Traceback" not in line, line
    assert len(re.sub(r"\S*/\S*", "", line)) < LONGEST, line
    for part in case.says:
        assert part in line, f"{part!r} is not in: {line}"


def test_there_are_enough_cases_and_each_has_a_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_in_one_line(case: Case, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = case.make(desk)
    before = contents(desk.folder)
    status = run_all.main(arguments)
    out, err = capsys.readouterr()
    assert (status, out) == (2, ""), f"{status}: {out}{err}"
    assert contents(desk.folder) == before
    check_line(err.removesuffix("\n"), case)


@pytest.mark.parametrize(
    "name", ["aliases without end", "init: checkpoint with code", "csv: a PNG of 50,000 × 50,000"]
)
def test_is_refused_as_a_command(name: str, desk: Desk) -> None:
    case = next(case for case in CASES if case.name == name)
    command = [sys.executable, str(ROOT / "run_all.py"), *case.make(desk)]
    before = contents(desk.folder)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert contents(desk.folder) == before
    check_line(done.stderr.removesuffix("\n"), case)


def test_a_study_is_not_refused_for_what_is_odd_but_meant(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """A BOM, merge keys, images beside the csv's folder, a shared run, a foreign yaml file."""
    for i in range(20):
        desk.image(f"pictures/im{i}.png", i)
    data = desk.table([[f"../pictures/im{i}.png", "ab"[i % 2]] for i in range(20)])
    desk.write("slurm.yaml", "queue: long\n")
    arguments = desk.study(
        f"\ufeffstudy: mine-2\ndefaults: &all {{dataset: '{data}'}}\nexperiments:\n"
        "  a: {notebook: 00_data}\n  b: {notebook: 00_data, set: {<<: *all, seed: 0}}\n"
    )
    assert run_all.main([*arguments, "--dry-run"]) == 0
    assert "1 runs, 0 done, 1 to do" in capsys.readouterr().out
