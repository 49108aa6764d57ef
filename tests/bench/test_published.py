"""bench/README.md holds what bench/measured says, and costs are computed, not guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import cost, readme
from bench.measuring import Goal, write_rows
from bench.table import read_all
from lib.params import ROOT


def test_the_readme_is_what_the_measurements_say() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.rewrite(text, read_all(readme.MEASURED)) == text
    # every benchmark has its place
    assert set(readme.MARKS.findall(text)) == {*readme.COLUMNS, *readme.TABLES, *readme.SUMMARIES}


def test_every_command_in_the_readme_exists() -> None:
    for line in readme.README.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `python -m bench."):
            name = line.split("`")[1].removeprefix("python -m bench.")
            assert (ROOT / "bench" / f"{name}.py").exists(), name


def test_no_published_measurement_is_a_quick_run() -> None:
    for name, content in read_all(readme.MEASURED).items():
        assert not content.get("settings", {}).get("quick"), name


def pretraining_row(contender: str, rate: float | None, **more: Any) -> dict[str, Any]:
    row = {"augment": "novel", "size": 28, "stem": "small", "batch": 256, "precision": "bf16"}
    row |= {"contender": contender, "views_per_s": rate, "ours_is_faster_by": None, "note": ""}
    return row | more


def test_a_block_is_written_from_its_file(tmp_path: Path) -> None:
    rows = [
        pretraining_row("ceiling", 1000.0, ours_is_faster_by=0.95),
        pretraining_row("ours", 950.0, ours_is_faster_by=1.0),
        pretraining_row("lightly", None, note="lightly is not installed"),
    ]
    write_rows(tmp_path / "pretraining.csv", rows, [Goal("ours/ceiling", 0.95, 0.9)], say=False)
    text = "\n".join(
        f"<!-- measured: {name} -->\nold\n<!-- end of {name} -->" for name in ("pretraining", "gpu")
    )
    found = readme.rewrite(text, read_all(tmp_path))
    assert "| novel | 28 | small | 256 | bf16 | 1,000 | 950 | – | 0.95 | – |" in found
    assert "lightly: lightly is not installed" in found
    assert "old" not in found and "Not measured yet." in found
    goals = readme.block("goals", read_all(tmp_path))
    assert "| ours/ceiling | 0.95 | ≥ 0.9 × | met |" in goals
    assert readme.rewrite(found, read_all(tmp_path)) == found


def test_a_mark_of_no_benchmark_is_refused() -> None:
    with pytest.raises(ValueError, match="speed"):
        readme.rewrite("<!-- measured: speed -->\n<!-- end of speed -->", {})
    with pytest.raises(ValueError, match="none"):
        readme.rewrite("nothing here", {})


def test_quick_runs_are_not_taken_over(tmp_path: Path) -> None:
    source, target = tmp_path / "out", tmp_path / "measured"
    write_rows(source / "probe.csv", [{"x": 1}], settings={"quick": True}, say=False)
    with pytest.raises(readme.QuickRunError, match="probe"):
        readme.take_over(source, target)
    assert not target.exists()
    write_rows(source / "probe.csv", [{"x": 1}], settings={"quick": False}, say=False)
    (source / "scaling_size_time.svg").write_text("<svg/>")
    assert readme.take_over(source, target) == ["probe"]
    assert (target / "scaling_size_time.svg").exists()
    assert json.loads((target / "probe.json").read_text())["rows"] == [{"x": 1}]


def test_what_growth_and_profile_look_like() -> None:
    machine = {"gpu": "G", "processor": "P", "cores": 2, "threads": 2, "torch": "2", "python": "3",
               "commit": "c", "measured": "today"}  # fmt: skip
    growth = {
        "machine": machine,
        "rows": [{"series": "size", "size": 28, "views_per_s": 700.0, "s_per_step": 0.2,
                  "memory_mib": 50.0}, {"series": "runs", "runs": 10, "seconds": 0.1}],
        "fits": [{"of": "seconds a view", "against": "px", "exponent": 1.9, "error": 0.1,
                  "points": 4}],
    }  # fmt: skip
    text = readme.block("scaling", {"scaling": growth})
    assert "| 28 | 700 | 0.2 | 50 |" in text and "| 1.90 | 0.10 | 4 |" in text
    profile = {
        "machine": machine,
        "rows": [{"stem": "small", "size": 28, "views_per_s": 6e4, "share_of_product": 0.4}],
        "profiles": {"small": {"steps": 4, "kernel launches": 3.0, "graph launches": 1.0,
                               "synchronisations": 0.0, "operations": [
                                   {"operation": "gemm", "calls": 8, "ms": 2.0, "share": 0.5}]}},
    }  # fmt: skip
    text = readme.block("gpu", {"gpu": profile})
    assert "1 graph launches" in text and "| `gemm` | 8 | 2 | 0.5 |" in text


def test_costs_are_views_over_rates_and_never_guessed(tmp_path: Path) -> None:
    rows = [
        pretraining_row("ours", 500.0),
        pretraining_row("ours", 400.0, augment="natural"),  # the slowest counts
        pretraining_row("ours", 10.0, size=64),
        pretraining_row("lightly", 100.0),
        pretraining_row("ours", None, batch=1024),
    ]
    write_rows(tmp_path / "pretraining.csv", rows, say=False)
    params = ROOT / "params" / "study.yaml"
    assert all(row["hours"] is None for row in cost.estimate(tmp_path, params))
    fixed = [{"what": "a run, a fresh process", "seconds": 9.0},
             {"what": "a run, forked after imports", "seconds": 3.0}]  # fmt: skip
    write_rows(tmp_path / "overhead.csv", fixed, say=False)
    found = {(row["device"], row["stem"]): row for row in cost.estimate(tmp_path, params)}
    views = cost.views_of(params)
    assert len(views) == 12 and views["bloodmnist"] == 2 * 11_959 * 300
    hours = 15 * (sum(views.values()) / 400 + 12 * 3.0) / 3600
    assert found["2 CPU cores", "3×3"]["hours"] == pytest.approx(hours, abs=0.01)
    assert found["2 CPU cores", "3×3"]["runs"] == 180
    assert found["2 CPU cores", "3×3"]["fixed_s_a_run"] == 3.0
    assert found["one GPU", "3×3"]["fixed_s_a_run"] == 9.0
    for missing in (("2 CPU cores", "7×7"), ("one GPU", "3×3"), ("eight GPUs", "7×7")):
        assert cost.in_words(found[missing]["hours"]) == "not measured"


def test_runs_on_several_devices_end_with_the_slowest() -> None:
    assert cost.makespan([4, 3, 3, 2], 1) == 12
    assert cost.makespan([4, 3, 3, 2], 2) == 6
    assert cost.makespan([9, 1, 1], 8) == 9
