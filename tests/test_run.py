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
from lib.encoder import build_encoder
from lib.identity import RANDOM, Origin, short_name
from lib.params import ROOT, notebook_defaults
from lib.run import (
    COLUMNS,
    PLANNED,
    check_devices,
    choose_device,
    choose_precision,
    describe_origin,
    find_encoder,
    start,
)
from lib.weights import save_encoder
from tests.synthetic import make_data, make_run

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


# Encoders by name


def write_encoder(path: Path, run: str = "", **parameters: Any) -> Path:
    header = {"size": 28, "dataset": "phantom", "commit": "0", "parameters": dict(parameters)}
    if run:
        header["parameters"]["run"] = run  # type: ignore[index]
    save_encoder(path, build_encoder("resnet18", "strided", 1, seed=0), header)
    return path


def empty_runs(results: Path, *names: str) -> None:
    for name in names:
        folder = results / name.partition("/")[0] / "runs" / name.partition("/")[2]
        folder.mkdir(parents=True)
        (folder / "encoder.safetensors").touch()


def test_find_encoder_by_file_folder_name_and_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    empty_runs(results, "s/pretrain-blood-s0-aaaa", "s/pretrain-blood-s1-bbbb", "t/pretrain-eye-s0")
    (results / "s" / "runs" / "pretrain-half-done").mkdir()
    folder = results / "s" / "runs" / "pretrain-blood-s0-aaaa"
    file = str(folder / "encoder.safetensors")
    assert find_encoder("scratch", results) == "scratch"
    assert find_encoder("imagenet", results) == "imagenet"
    assert find_encoder(file, results) == file
    assert find_encoder(str(folder), results) == file
    assert find_encoder("pretrain-blood-s0-aaaa", results) == file
    assert find_encoder("pretrain-blood-s0", results) == file
    assert find_encoder("pretrain-eye", results).endswith("pretrain-eye-s0/encoder.safetensors")
    monkeypatch.chdir(folder.parent)
    assert Path(find_encoder("pretrain-blood-s0-aaaa", tmp_path / "none")).resolve() == Path(file)
    monkeypatch.setattr(run_module, "ROOT", tmp_path)
    monkeypatch.chdir("/")
    assert find_encoder("results/s/runs/pretrain-blood-s0-aaaa", results) == file


def test_find_encoder_refuses_to_guess(tmp_path: Path) -> None:
    empty_runs(tmp_path, "s/pretrain-a-s0", "s/pretrain-a-s1")
    with pytest.raises(ParameterError, match="fits several runs: pretrain-a-s0, pretrain-a-s1"):
        find_encoder("pretrain-a", tmp_path)
    for missing in ("pretrain-b", "/nowhere/encoder.safetensors", "a-s0"):
        with pytest.raises(ParameterError, match=f"init: no encoder {missing}: neither"):
            find_encoder(missing, tmp_path)
    with pytest.raises(ParameterError, match="init: empty"):
        find_encoder("", tmp_path)


def test_the_full_name_of_a_run_is_never_ambiguous(tmp_path: Path) -> None:
    empty_runs(tmp_path, "s/pretrain-a", "s/pretrain-a-longer")
    assert find_encoder("pretrain-a", tmp_path).endswith("/pretrain-a/encoder.safetensors")


def test_the_same_run_in_two_studies_is_one_encoder(tmp_path: Path) -> None:
    empty_runs(tmp_path, "s/pretrain-a-s0", "t/pretrain-a-s0")
    assert find_encoder("pretrain-a", tmp_path).endswith("s/runs/pretrain-a-s0/encoder.safetensors")


def test_where_an_encoder_comes_from(tmp_path: Path) -> None:
    file = write_encoder(tmp_path / "a.safetensors", "run-1", method="simclr", augment="novel")
    assert describe_origin(str(file)) == Origin("simclr", "novel", "run-1")
    assert describe_origin("scratch") == RANDOM
    assert describe_origin("imagenet").method == "imagenet"
    bare = write_encoder(tmp_path / "b.safetensors")
    again = write_encoder(tmp_path / "c.safetensors")
    other = write_encoder(tmp_path / "d.safetensors", more=1)
    identities = [describe_origin(str(path)).identity for path in (bare, again, other)]
    assert identities[0] == identities[1] != identities[2]
    # A checkpoint does not say what it was trained on: it is in-domain nowhere.
    net = build_encoder("resnet18", "small", 3, seed=0).resnet.state_dict()
    torch.save({"state_dict": {f"convnet.{k}": v for k, v in net.items()}}, tmp_path / "old.ckpt")
    assert describe_origin(str(tmp_path / "old.ckpt")).method_on("phantom") == "simclr from unknown"


# Device and precision


def test_choose_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device({"device": "cpu"}) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device({"device": "auto"}) == "cpu"
    with pytest.raises(ParameterError, match="no CUDA device"):
        choose_device({"device": "cuda:1"})
    for wrong in ("gpu", "", "cpu:x"):
        with pytest.raises(ParameterError, match="expected auto, cpu or cuda:N"):
            choose_device({"device": wrong})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device({"device": "auto"}) == "cuda"
    assert choose_device({"device": "cuda:1"}) == "cuda:1"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"devices": 3}, "devices: 3 asked for, but this machine has 2 CPU core"),
        ({"device": "cuda", "devices": 5}, "devices: 5 asked for, but this machine has 4 CUDA"),
        ({"device": "cuda:1", "devices": 2}, "devices: 2 asked for, but device names one"),
        ({"devices": 2, "num_nodes": 2, "batch_size": 3}, r"batch_size: 3 image\(s\) cannot be"),
    ],
)
def test_devices_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], line: str
) -> None:
    monkeypatch.setattr(run_module, "usable_cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    params = {"device": "cpu", "devices": 1, "num_nodes": 1, "batch_size": 4}
    check_devices(params)
    check_devices({**params, "devices": 2, "num_nodes": 2})
    check_devices({**params, "devices": 4, "device": "cuda"})
    with pytest.raises(ParameterError, match=line):
        check_devices({**params, **given})


def test_too_many_devices_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="batch_size: 2"):
        start("01_pretrain", variables("01_pretrain", tmp_path, num_nodes=3, batch_size=2))
    assert list(tmp_path.iterdir()) == []


def test_choose_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_precision("cuda") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert choose_precision("cuda:0") == "bf16"
    flags = {"flags: fma avx512 amx_bf16 amx_tile": "bf16", "flags: avx2": "fp32"}
    for text, expected in flags.items():
        monkeypatch.setattr(Path, "read_text", lambda *_a, t=text, **_k: t)
        assert choose_precision("cpu") == expected

    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert choose_precision("cpu") == "fp32"


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
