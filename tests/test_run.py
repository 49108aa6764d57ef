"""A notebook's own side of a run: parameters, folder, encoder, and what is written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lib import run as run_module
from lib.checks import ParameterError
from lib.data.base import DataSet
from lib.identity import RANDOM, Origin, short_name
from lib.params import ROOT, notebook_defaults
from lib.run import (
    COLUMNS,
    PLANNED,
    start,
)
from tests.synthetic import make_data, make_run
from tests.test_origins import write_encoder

CONTRACT = (
    "study,run,notebook,dataset,size,method,augment,encoder,protocol,labels,fold,seed,split,"
    "metric,value,low,high,commit"
)


def variables(notebook: str, folder: Path, **changes: Any) -> dict[str, Any]:
    """What a notebook's globals() hold: its parameters, and more."""
    given = {**notebook_defaults(notebook), "device": "cpu", "results": str(folder), **changes}
    return {**given, "start": start, "unrelated": object()}


@pytest.fixture(autouse=True)
def not_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLANNED, raising=False)


def test_bars_move_only_where_a_person_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = variables("00_data", tmp_path)
    monkeypatch.setattr("lib.run.is_terminal", lambda: False)
    assert not start("00_data", given).interactive  # papermill, typed by hand
    monkeypatch.setattr("lib.run.is_terminal", lambda: True)
    assert start("00_data", given).interactive
    monkeypatch.setattr("lib.run.is_terminal", lambda: False)
    monkeypatch.setattr("lib.run.is_watched", lambda: True)
    assert start("00_data", given).interactive


def test_an_interactive_run_has_its_own_study(tmp_path: Path) -> None:
    run = start("02_probe", variables("02_probe", tmp_path))
    assert run.folder == tmp_path / "interactive" / "runs" / run.name
    assert run.params.study == "interactive"
    assert run.origin == RANDOM
    assert not hasattr(run.params, "unrelated")
    assert [path.name for path in run.folder.iterdir()] == ["params.yaml"]


def test_params_yaml_holds_every_parameter_and_nothing_of_this_machine(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "s" / "runs" / "pretrain-a" / "encoder.safetensors", "a")
    out = tmp_path / "elsewhere"
    given = variables(
        "02_probe", tmp_path, init=str(encoder), out=str(out), study="s", data_root=str(tmp_path)
    )
    run = start("02_probe", given)
    assert run.folder == out
    text = (out / "params.yaml").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert str(ROOT) not in text
    assert text.startswith(f"# {run.name}\n# notebook 02_probe · data ")
    used = yaml.safe_load(text)
    defaults = notebook_defaults("02_probe")
    assert list(used) == list(defaults)
    changed = {"init": "a", "study": "s", "device": "cpu"}
    assert used == {**defaults, **changed}


def test_params_yaml_reads_back_as_parameters_of_the_same_run(tmp_path: Path) -> None:
    run = start("00_data", variables("00_data", tmp_path, seed=4, dataset="phantom"))
    used = yaml.safe_load((run.folder / "params.yaml").read_text(encoding="utf-8"))
    assert "init" not in used
    assert start("00_data", variables("00_data", tmp_path, **{**used, "out": ""})).name == run.name


def test_types_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    for name, value in (("seed", "0"), ("size", 3), ("floors", 1), ("labels", "some")):
        with pytest.raises(ParameterError, match=f"^{name}: "):
            start("02_probe", variables("02_probe", tmp_path, **{name: value}))
    assert list(tmp_path.iterdir()) == []


def test_a_planned_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = start("00_data", variables("00_data", tmp_path / "a")).name
    monkeypatch.setenv(PLANNED, name)
    run = start("00_data", variables("00_data", tmp_path / "b", study="s"))
    assert (run.name, run.interactive) == (name, False)
    monkeypatch.setenv(PLANNED, "data-phantom-novel-s0-00000000")
    with pytest.raises(RuntimeError, match=f"planned as data-.*-00000000, but this is {name}"):
        start("00_data", variables("00_data", tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_the_home_folder_may_be_written_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = start("00_data", variables("00_data", tmp_path, results="~/r"))
    assert run.folder.is_relative_to(tmp_path / "r")
    assert start("00_data", variables("00_data", tmp_path, out="~/o")).folder == tmp_path / "o"
    assert not (tmp_path / "~").exists()


def test_load_data_asks_for_what_the_parameters_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(name: str, size: int, data_root: str | None, **more: Any) -> DataSet:
        asked.update(name=name, size=size, data_root=data_root, **more)
        return make_data("binary")

    monkeypatch.setattr(run_module, "load_dataset", load_dataset)
    monkeypatch.setattr(run_module, "is_terminal", lambda: True)
    given = {"size": 64, "split_seed": 3, "max_unreadable": 0.5}
    run = start("00_data", variables("00_data", tmp_path, **given))
    assert run.load_data().task == "binary"
    assert asked == {
        "name": "phantom", "data_root": None, "progress": True, "preprocess": "none", **given
    }  # fmt: skip


def test_too_many_devices_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="batch_size: 2"):
        start("01_pretrain", variables("01_pretrain", tmp_path, num_nodes=3, batch_size=2))
    assert list(tmp_path.iterdir()) == []


# Rows and metrics.json


def test_columns_are_those_users_rely_on() -> None:
    assert ",".join(COLUMNS) == CONTRACT


def test_a_row_has_every_column_in_order(tmp_path: Path) -> None:
    run = make_run(tmp_path, Origin("simclr", "novel", "x"), dataset="csv:/secret/eyes/labels.csv")
    row = run.row("auroc", 1, split="test", low=0.5)
    assert tuple(row) == COLUMNS
    expected = {
        "study": "tiny", "run": run.name, "notebook": "02_probe", "method": "simclr",
        "augment": "novel", "dataset": "csv:eyes/labels.csv", "size": 12, "seed": 0,
        "metric": "auroc", "value": 1.0, "split": "test", "low": 0.5, "high": "", "fold": "",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert isinstance(row["value"], float)
    assert short_name(row["dataset"]) == row["dataset"]
    with pytest.raises(KeyError, match=r"no such column in summary\.csv: splits"):
        run.row("auroc", 1, splits="test")


def test_finish_writes_metrics_json(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = run.finish([run.row("auroc", 0.5)], headline="a line")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "metrics.json"
    assert (content["run"], content["notebook"]) == (run.name, run.notebook)
    assert content["headline"] == "a line"
    assert content["rows"] == [run.row("auroc", 0.5)]
    assert content["seconds"] >= 0
    assert content["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert str(tmp_path) not in path.read_text(encoding="utf-8")


def test_a_run_without_a_number_does_not_finish(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        run.finish([run.row("auroc", math.nan)])
    assert not (tmp_path / "metrics.json").exists()
