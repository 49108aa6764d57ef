"""Whose results a study's folder holds, and how another params file is told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.batch.owner import check_owner, label_of, names_study, record_owner


def params_file(folder: Path, name: str = "mine.yaml", study: str = "mine") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"# a study\nstudy: {study}\nexperiments: {{}}\n", encoding="utf-8")
    return path


def test_the_file_that_ran_may_run_again_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, results = params_file(tmp_path / "params"), tmp_path / "results"
    assert label_of(path) == "params/mine.yaml"
    assert check_owner("mine", path, results) == []
    record_owner(results / "mine", label_of(path))
    assert json.loads((results / "mine" / "study.json").read_text()) == {
        "params": "params/mine.yaml"
    }
    monkeypatch.chdir(tmp_path / "params")
    assert check_owner("mine", Path("mine.yaml"), results) == []


def test_another_file_of_the_name_is_refused_until_told_otherwise(tmp_path: Path) -> None:
    results = tmp_path / "results"
    record_owner(results / "mine", "params/mine.yaml")
    other = params_file(tmp_path / "old")
    [line] = check_owner("mine", other, results)
    assert line.startswith(f"study: mine: {results / 'mine'} holds the results of params/mine.yaml")
    assert "this is old/mine.yaml" in line
    assert check_owner("yours", other, results) == []
    (results / "mine" / "study.json").unlink()
    assert check_owner("mine", other, results) == []


def test_a_copy_beside_it_is_refused_before_either_ran(tmp_path: Path) -> None:
    path = params_file(tmp_path / "params")
    params_file(tmp_path / "params", "theirs.yaml", "theirs")
    (tmp_path / "params" / "broken.yaml").write_bytes(b"\xff[")
    assert check_owner("mine", path, tmp_path / "results") == []
    copy = params_file(tmp_path / "params", "copy.yml")
    [line] = check_owner("mine", path, tmp_path / "results")
    assert line == f"study: mine is also the name in {copy}; results would mix: rename one"
    copy.unlink()
    copy.symlink_to(path)  # the same file
    assert check_owner("mine", path, tmp_path / "results") == []


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("study: mine", True),
        ("study:   'mine'  # note", True),
        ('study: "mine"', True),
        ("study: mine2", False),
        ("  study: mine", False),
        ("# study: mine", False),
        ("studies: mine", False),
    ],
)
def test_a_name_is_a_line_of_its_own(tmp_path: Path, line: str, same: bool) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"title: x\n{line}\n", encoding="utf-8")
    assert names_study(path, "mine") is same


@pytest.mark.parametrize("content", [b"", b"[]", b'{"other": 1}', b"\xff"])
def test_a_damaged_record_is_no_reason_to_refuse(tmp_path: Path, content: bytes) -> None:
    record = tmp_path / "results" / "mine" / "study.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(content)
    assert check_owner("mine", params_file(tmp_path / "params"), tmp_path / "results") == []


def test_a_pipe_has_no_name_to_go_by(tmp_path: Path) -> None:
    assert label_of(Path("/dev/null")) == ""
    record_owner(tmp_path / "mine", "")
    assert not (tmp_path / "mine").exists()


def test_results_of_one_file_are_not_written_over_by_another(
    lab: Any,
    fake: Any,
    run_all: Callable[..., int],
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_all(chain, "--only", "data") == 0
    (lab.folder / "elsewhere").mkdir()
    other = lab.write(chain.read_text(encoding="utf-8"), "elsewhere/study.yaml")
    before = lab.files()
    capsys.readouterr()
    assert run_all(other) == 2
    assert "study: tiny: " in capsys.readouterr().err
    assert lab.files() == before
    assert run_all(chain, "--only", "data") == 0
