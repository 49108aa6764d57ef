"""The encoder that `init` names, and what is known of where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lib import origins
from lib.checks import ParameterError
from lib.identity import RANDOM, Origin
from lib.models.encoder import build_encoder
from lib.models.weights import save_encoder
from lib.origins import check_split, describe_origin, find_encoder, trained_with


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
    monkeypatch.setattr(origins, "ROOT", tmp_path)
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


OWN = {"dataset": "phantom", "split_seed": 0, "folds": 0, "fold": 0, "folds_of": "all"}
FOLD = {**OWN, "folds": 5, "fold": 1, "cap_per_class": 0}


def marks(dataset: str, seed: int) -> str:
    """Fingerprints of data sets that are split by their seed."""
    return f"{dataset}, split {seed}"


@pytest.mark.parametrize(
    ("run", "made", "trail", "says"),
    [
        ({}, {}, ("phantom",), ""),
        ({"fold": 3}, {}, ("phantom",), ""),  # without folds a fold is no fold
        ({}, {}, ("imagenet", "phantom"), ""),
        (FOLD, FOLD, ("phantom",), ""),
        (FOLD, {**FOLD, "cap_per_class": 9}, ("phantom",), "fold 1 of 5 of 9 images a class"),
        (FOLD, {}, ("phantom",), "the data set's own split, this run is about fold 1 of 5"),
        ({}, FOLD, ("phantom",), "fold 1 of 5, this run is about the data set's own split"),
        ({**FOLD, "fold": 2}, FOLD, ("phantom",), "fold 1 of 5, this run is about fold 2 of 5"),
        ({**FOLD, "folds_of": "trainval"}, FOLD, ("phantom",), "fold 1 of 5 (trainval)"),
        ({**FOLD, "split_seed": 1}, FOLD, ("phantom",), "split_seed: 1 here, 0 in"),
        ({"split_seed": 1}, {}, ("phantom",), "split_seed: 1 here, 0 in"),
        ({}, {**FOLD, "folds_of": "trainval"}, ("phantom",), ""),
        ({"queries": "a", "split_seed": 0}, {}, ("a",), ""),
        ({"queries": "a"}, FOLD, ("a",), "fold 1 of 5, this run is about the data set's own"),
        ({"queries": "a", "split_seed": 1}, {}, ("a",), "split_seed: 1 here, 0 in"),
        ({**FOLD, "queries": "a"}, FOLD, ("phantom",), ""),
        (FOLD, {}, ("bloodmnist",), ""),
        (FOLD, {}, ("phantom", "bloodmnist"), ""),
        (FOLD, {}, (), ""),
    ],
)
def test_an_encoder_must_be_of_the_split_that_is_tested(
    run: dict[str, Any], made: dict[str, Any], trail: tuple[str, ...], says: str
) -> None:
    sides = {**OWN, **run}, trail, {**OWN, **made}
    if not says:
        check_split(*sides, marks)
        return
    with pytest.raises(ParameterError, match="may have been trained on images that") as raised:
        check_split(*sides, marks)
    assert says in str(raised.value)


def test_a_seed_that_decides_nothing_may_differ() -> None:
    check_split({**OWN, "split_seed": 1}, ("phantom",), OWN, lambda *_: "a split of its own")


def test_of_an_encoder_made_elsewhere_nothing_is_known(tmp_path: Path) -> None:
    own = write_encoder(tmp_path / "encoder.safetensors", run="pretrain-a", folds=5, fold=2)
    assert trained_with(str(own))["fold"] == 2
    assert trained_with("scratch") == trained_with("imagenet") == trained_with("x.ckpt") == {}
    check_split(FOLD, ("phantom",), {}, marks)
