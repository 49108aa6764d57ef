"""Goals, files, memory and turns: what every benchmark stands on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import measuring, table
from bench.measuring import Goal, say_goals, take_turns, write_rows
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("value", "least", "verdict"),
    [
        (0.95, True, "met"),
        (0.9, True, "met"),
        (0.89, True, "MISSED"),
        (0.89, False, "met"),
        (0.91, False, "MISSED"),
        (None, True, "not measured"),
    ],
)
def test_a_goal_is_met_missed_or_not_measured(
    value: float | None, least: bool, verdict: str
) -> None:
    goal = Goal("ours/ceiling", value, 0.9, least=least, note="why")
    assert goal.verdict == verdict
    assert verdict in say_goals([goal])
    assert "(why)" in say_goals([goal])


def test_files_hold_rows_goals_settings_and_machine(tmp_path: Path) -> None:
    rows = [{"name": "a", "rate": 1.5}, {"name": "b", "note": "not installed"}]
    goal = Goal("ours/lightly", 1.3, 1.25)
    settings = {"quick": True, "out": tmp_path}
    write_rows(tmp_path / "x.csv", rows, [goal], settings, extra=[1])
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["rows"] == rows
    assert [Goal(**entry) for entry in content["goals"]] == [goal]
    assert content["settings"] == {"quick": True}  # no path of a machine
    assert content["extra"] == [1]
    assert {"processor", "cores", "threads", "load", "torch", "commit"} <= set(content["machine"])
    torch_version = content["machine"]["versions"]["torch"]
    assert content["machine"]["torch"].startswith(torch_version)
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert lines == ["name,rate,note", "a,1.5,", "b,,not installed"]


def test_the_table_reads_all_files_and_names_quick_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "a.csv", [{"x": 1}], [Goal("first", 2.0, 1.0)])
    write_rows(
        tmp_path / "b.csv", [{"x": 1}], [Goal("second", 0.5, 1.0)], {"quick": True}, say=False
    )
    (tmp_path / "other.json").write_text("[]")
    capsys.readouterr()
    assert table.main([str(tmp_path)]) == 0
    first, second, counts = capsys.readouterr().out.splitlines()
    assert first.startswith("first") and first.endswith("met")
    assert "MISSED (a quick run)" in second
    assert counts == "1 met, 1 MISSED, 0 not measured"


def test_an_empty_folder_has_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main([str(tmp_path)]) == 0
    assert "make bench" in capsys.readouterr().out


PEAKS = """
import numpy as np
from bench.measuring import peak_memory
with peak_memory() as large:
    array = np.ones(64 << 17)  # 64 MiB
    del array
with peak_memory() as small:
    array = np.ones(40 << 17)  # from 32 MiB on, the C library gives memory back at once
    del array
print(large.above, small.above)
"""


def test_the_peak_of_a_block_counts_what_it_has_given_back() -> None:
    if not measuring.STATUS.exists():
        pytest.skip("no /proc: the peak is that of the whole process")
    # In a process of its own: one that has given much back to its C library takes from that first.
    done = subprocess.run(
        [sys.executable, "-c", PEAKS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    large, small = map(float, done.stdout.split())
    assert 63 < large < 80
    assert 39 < small < 56


def test_contenders_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    seconds = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
