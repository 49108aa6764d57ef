"""A study that is repeated loses no number that its folder came with."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.batch.aside import foreign_rows, keep_aside, kept_name
from lib.batch.runner import Report
from lib.batch.spec import Outcome
from lib.batch.summary import write_summary

RunAll = Callable[..., int]


@pytest.fixture
def published(lab: Any) -> Path:
    """The folder of the study `tiny` as an earlier code has left it."""
    lab.finish("probe-old", [lab.row(run="probe-old", value=0.9, commit="0ld")])
    folder: Path = lab.results / "tiny"
    write_summary(folder, ["probe-old"])
    (folder / "index.html").write_text("<a href='summary.csv'>old</a>", encoding="utf-8")
    return folder


def content(folder: Path) -> dict[str, str]:
    """The files of a study that are about all of its runs."""
    kinds = (".csv", ".html")
    return {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir() if p.suffix in kinds}


def runs_in(file: Path) -> set[str]:
    with file.open(newline="", encoding="utf-8") as opened:
        return {row["run"] for row in csv.DictReader(opened)}


def test_published_numbers_are_kept_beside_the_new_ones(
    lab: Any,
    fake: Any,
    run_all: RunAll,
    chain: Path,
    published: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = content(published)
    assert run_all(chain) == 0
    assert "show 1 earlier run(s); once a run is done they are replaced" in capsys.readouterr().out
    after = content(published)
    assert after["earlier-0ld.csv"] == before["summary.csv"]
    assert after["earlier-0ld.html"] == "<a href='earlier-0ld.csv'>old</a>"
    probes = {name for name in fake.started if name.startswith("probe-")}
    assert runs_in(published / "summary.csv") == probes
    # Once is enough: the same call again has nothing to keep.
    assert run_all(chain) == 0
    assert set(content(published)) == set(after)
    assert "earlier run(s); once" not in capsys.readouterr().out


def test_nothing_is_replaced_before_a_run_is_done(
    fake: Any,
    run_all: RunAll,
    chain: Path,
    published: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = content(published)
    fake.failing = {"-"}
    assert run_all(chain) == 1
    assert content(published) == before
    assert "nothing new was done: summary.csv and index.html" in capsys.readouterr().out

    seen = {}

    def watched(spec: Any) -> Outcome:
        seen[spec.name] = content(published)
        outcome: Outcome = fake(spec)
        return outcome

    fake.failing = set()
    monkeypatch.setattr("lib.batch.runner.execute_in_process", watched)
    assert run_all(chain) == 0
    assert next(iter(seen.values())) == before


def test_a_run_that_is_done_already_replaces_nothing(
    fake: Any, run_all: RunAll, chain: Path, published: Path
) -> None:
    before = content(published)
    assert run_all(chain, "--only", "data") == 0
    # As after a change of code that leaves some runs as they were: done, among others to do.
    for name in ("earlier-0ld.csv", "earlier-0ld.html"):
        (published / name).unlink()
    for name, text in before.items():
        (published / name).write_text(text, encoding="utf-8")
    fake.failing = {"pretrain"}
    assert run_all(chain) == 1
    assert content(published) == before


def test_a_dry_run_says_what_would_be_replaced(
    lab: Any,
    run_all: RunAll,
    chain: Path,
    published: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.batch.test_why import NoEstimates

    monkeypatch.setattr("lib.batch.session.Estimates", NoEstimates)
    before = lab.files()
    assert run_all(chain, "--dry-run") == 0
    [line] = [x for x in capsys.readouterr().out.splitlines() if x.startswith("summary.csv and ")]
    assert "kept as earlier-0ld.csv and .html (--results OTHER leaves them alone)" in line
    assert lab.files() == before


def test_copies_are_made_once_and_never_overwritten(lab: Any, published: Path) -> None:
    for _ in range(2):
        keep_aside(published, ["probe-new"])
    assert set(content(published)) == {
        "summary.csv", "index.html", "earlier-0ld.csv", "earlier-0ld.html"
    }  # fmt: skip
    first = (published / "earlier-0ld.csv").read_text(encoding="utf-8")
    lab.finish("probe-old", [lab.row(run="probe-old", value=0.7, commit="0ld")])
    write_summary(published, ["probe-old"])
    keep_aside(published, ["probe-new"])
    assert (published / "earlier-0ld.csv").read_text(encoding="utf-8") == first
    assert "0.7" in (published / "earlier-0ld-2.csv").read_text(encoding="utf-8")
    keep_aside(published, ["probe-old"])  # nothing of another plan
    assert len(content(published)) == 6


def test_a_summary_that_is_missing_or_no_table_has_no_earlier_runs(tmp_path: Path) -> None:
    assert foreign_rows(tmp_path, []) == {}
    for junk in (b"", b"\xff\xfe", b"a,b\n1,2\n"):
        (tmp_path / "summary.csv").write_bytes(junk)
        assert foreign_rows(tmp_path, []) == {}
        keep_aside(tmp_path, [])
    assert [p.name for p in tmp_path.iterdir()] == ["summary.csv"]


def test_copies_are_called_by_the_commit_of_most_runs() -> None:
    assert kept_name(["a", "b+", "b+"]) == "earlier-b+"
    assert kept_name(["../x"]) == "earlier--x"


def test_something_new_is_what_a_run_has_done() -> None:
    report = Report(already=["a"])
    assert not report.anything_new
    report.outcomes["b"] = Outcome("b", False, 1.0, "", 1, "no")
    assert not report.anything_new
    report.elsewhere.append("c")
    assert report.anything_new
