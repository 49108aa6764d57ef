"""What is said while a study goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.batch import progress as module
from lib.batch.execute import Outcome
from lib.batch.plan import PlannedRun
from lib.batch.progress import BESIDE, STARTUP, Progress, Speed, seconds_in_words
from lib.identity import RANDOM


def planned(name: str, notebook: str = "01_pretrain", work: float = 0.0) -> PlannedRun:
    return PlannedRun(name, "e", notebook, {}, (), work, RANDOM)


def done(name: str, seconds: float) -> Outcome:
    return Outcome(name, True, seconds, "report.html")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (12 * 60, "12 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1 h 30 min"),
        (185 * 60, "3 h 05 min"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_speed_is_learnt_from_runs_of_the_same_notebook() -> None:
    speed = Speed()
    assert speed.estimate(planned("a", work=100)) is None
    speed.learn("01_pretrain", 100, STARTUP + 50)
    speed.learn("01_pretrain", 300, STARTUP + 150)
    speed.learn("00_data", 0, 4)
    speed.learn("00_data", 0, 8)
    assert speed.estimate(planned("b", work=1000)) == STARTUP + 500
    assert speed.estimate(planned("c", "00_data")) == 6
    assert speed.estimate(planned("d", "02_probe")) is None


def test_speed_of_earlier_results(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    content = {"seconds": 30, "device": "here"}  # without the start of its kernel
    (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    runs = [planned("a", work=10), planned("b", work=10)]
    assert Speed.from_results(runs, tmp_path).estimate(planned("b", work=40)) == STARTUP + 120
    same = Speed.from_results(runs, tmp_path, {"a": "here", "b": "here"})
    assert same.estimate(planned("b", work=40)) == STARTUP + 120
    other = Speed.from_results(runs, tmp_path, {"a": "a faster machine", "b": "here"})
    assert other.estimate(planned("b", work=40)) is None


def test_damaged_results_teach_nothing(tmp_path: Path, damaged: str) -> None:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(damaged, encoding="utf-8")
    assert Speed.from_results([planned("a", work=10)], tmp_path).seen == {}


def test_a_start_up_is_never_longer_than_the_shortest_run() -> None:
    speed = Speed()
    speed.learn("02_probe", 10, STARTUP / 5)
    assert speed.estimate(planned("a", "02_probe", work=1000)) == pytest.approx(STARTUP / 5)


@pytest.mark.parametrize(("slots", "left"), [(1, "about 20 min"), (2, "about 10 min")])
def test_each_end_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int, left: str
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    runs = [planned(name, work=100) for name in "abc"]
    said: list[str] = []
    progress = Progress(runs, tmp_path, said.append, slots)
    progress.started(runs[0])
    clock[0] += 600
    progress.ended(runs[0], done("a", 600))
    assert said == ["      a …", f"[1/3] done a in 10 min · 2 left, {left}"]


def test_a_running_run_has_part_of_its_time_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    progress = Progress([planned("a", work=100), planned("b", "02_probe")], tmp_path, print)
    assert progress.remaining() == " · 2 left"
    progress.speed.learn("01_pretrain", 100, 600)
    assert progress.remaining() == " · 2 left, about 10 min"
    progress.started(progress.left["a"])
    clock[0] += 480
    assert progress.remaining() == " · 2 left, about 2 min"
    # b's time stays, however late a is.
    clock[0] += 480
    probe = STARTUP + BESIDE["02_probe"]
    assert progress.remaining() == f" · 2 left, about {probe:.0f} s"


def test_a_notebook_not_yet_seen_is_judged_by_the_others() -> None:
    speed = Speed()
    probe = planned("p", "02_probe", work=50)
    assert speed.guess(probe) is None
    speed.learn("00_data", 0, 20.0)
    assert speed.guess(probe) is None
    speed.learn("01_pretrain", 100, STARTUP + BESIDE["01_pretrain"] + 300)
    assert speed.guess(probe) == STARTUP + BESIDE["02_probe"] + 150
    assert speed.guess(planned("r", "09_report", work=0)) == STARTUP + BESIDE["09_report"]
    speed.learn("02_probe", 50, 40.0)
    assert speed.guess(probe) == 40.0


def test_a_failure_says_where_to_look_and_teaches_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    runs = [planned("a"), planned("b"), planned("c")]
    progress = Progress(runs, tmp_path, said.append)
    progress.ended(runs[0], Outcome("a", False, 1.0, "work/a/report.html", 3, "KeyError: 'x'"))
    progress.skipped(runs[1], "a")
    progress.ended(runs[2], done("c", 2.0))
    each = STARTUP + BESIDE["01_pretrain"]
    assert said == [
        f"[1/3] FAILED a in 1 s · 2 left, about {2 * each:.0f} s",
        "      cell 3: KeyError: 'x'\n      see work/a/report.html",
        "      skipped b: it needs a",
        "[3/3] done c in 2 s",
    ]
    assert progress.speed.estimate(planned("d")) == 2.0


def test_on_a_terminal_one_line_moves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress([planned("a")], tmp_path, print)
    progress.tick()
    assert capsys.readouterr().out == ""  # not a terminal: nothing moves in a log
    progress.live = True
    progress.started(progress.left["a"])
    (tmp_path / "work" / "a").mkdir(parents=True)
    (tmp_path / "work" / "a" / "progress").write_text("epoch 3/20\n", encoding="utf-8")
    progress.tick()
    assert "a epoch 3/20 " in capsys.readouterr().out.rpartition("\r")[2]


def test_a_run_may_end_while_its_progress_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "work" / "a" / "progress"
    file.parent.mkdir(parents=True)
    file.write_text("epoch 3/20", encoding="utf-8")
    read = Path.read_text

    def move_away(path: Path, *args: Any, **more: Any) -> str:
        path.unlink()
        return read(path, *args, **more)

    monkeypatch.setattr(Path, "read_text", move_away)
    progress = Progress([planned("a")], tmp_path, print)
    progress.live = True
    progress.started(progress.left["a"])
    progress.tick()
    assert capsys.readouterr().out.rpartition("\r")[2].startswith("\x1b[2Ka 0 s")


def test_the_moving_line_is_short(tmp_path: Path, capsys: Any) -> None:
    progress = Progress([planned(f"{'long' * 20}{i}") for i in range(9)], tmp_path, print)
    progress.live = True
    for run in list(progress.left.values()):
        progress.running[run.name] = 0.0
    progress.tick()
    assert len(capsys.readouterr().out) <= 160 + len("\r\x1b[2K")
