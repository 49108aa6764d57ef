"""An encoder on foreign images: which starts there are, by which recipe, and what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lib.data.base import DataSet
from lib.evaluation import transfer
from lib.evaluation.evaluate import label_budgets, probe_features
from lib.evaluation.transfer import CHANNELS, Transfer, imagenet_fits, study_transfer, transfer_rows
from lib.identity import RANDOM, Origin
from lib.models.embed import embed_splits
from lib.models.encoder import build_encoder, freeze
from lib.models.weights import load_encoder, save_encoder
from lib.origins import describe_origin
from lib.params import notebook_defaults
from lib.run import COLUMNS, Run
from lib.statistics.predictions import write_predictions
from lib.training.further import Shape, further_method, further_params, shape_of, trained_last_on
from tests.synthetic import make_data, make_run

PARAMS: dict[str, Any] = {
    "dataset": "target",
    "further_epochs": 1,
    "further_lr": 5e-4,
    "further_warmup": 0.0,
    "finetuned": True,
    "knn_k": 5,
    "bootstrap": 100,
    "epochs": 1,
    "min_steps": 1,
    "warmup_epochs": 0.0,
    "batch_size": 12,
    "optimizer": "sgd",
    "lrs": "0.001",
    "weight_decay": 0.5,
    "gradient_clip": 1.0,
    "layer_decay": 0.5,
    "freeze_stages": 1,
    "train_augment": "none",
    "val_every": 1,
}
RECIPE = {
    "method": "simclr",
    "augment": "simple",
    "crop_scale": 0.0,
    "temperature": 0.37,
    "batch_size": 18,
    "weight_decay": 1e-5,
    "projection_dim": 16,
    "projection_layers": 2,
    "projection_norm": "none",
    "knn_every": 1,
    "knn_k": 5,
    "freeze_stages": 0,
    "run": "pretrain-source",
}


def save(folder: Path, **header: Any) -> Path:
    """A grey encoder of another data set."""
    path = folder / "encoder.safetensors"
    about = {"size": 28, "dataset": "source", "commit": "0", "method": "simclr"}
    about |= {"trail": ["source"], "parameters": RECIPE, **header}
    save_encoder(path, build_encoder("resnet18", "strided", 1, seed=9), about)
    return path


def start(folder: Path, init: str = "scratch", **changes: Any) -> Run:
    origin = RANDOM if init == "scratch" else describe_origin(init)
    return make_run(folder, origin, **{**PARAMS, "init": init, **changes})


@pytest.fixture(scope="module")
def data() -> DataSet:
    return make_data("ordinal")


@pytest.fixture(scope="module")
def studied(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Transfer, Path]:
    folder = tmp_path_factory.mktemp("run")
    source = save(tmp_path_factory.mktemp("source"))
    run = start(folder, str(source))
    return run, study_transfer(run, data, label_budgets(data, "12", 0, 0)[0]), source


def test_every_start_frozen_and_finetuned(studied: tuple[Run, Transfer, Path]) -> None:
    _, found, _ = studied
    names = {
        "source": ("simclr from source", "simple"),
        "further": ("simclr from source>target", "simple"),
        "random": ("random", ""),
    }
    assert {s.kind: (s.method, s.augment) for s in found.starts} == names
    keys = [(r.source, r.protocol, r.labels, r.predictions.split) for r in found.results]
    assert len(keys) == len(set(keys)) == 3 * 3 * 2
    for kind, (method, augment) in names.items():
        for protocol in ("probe", "knn", "finetune"):
            r = found.test(kind, protocol, "12")
            assert r is not None
            assert (r.source, r.augment) == (method, augment)
            assert r.intervals
    assert found.test("imagenet", "probe", "12") is None
    assert any("imagenet stem" in note for note in found.notes)
    assert "Pretrained on images of 28 px, used on images of 12 px." in found.notes
    assert CHANNELS[3] in found.notes


def test_the_source_is_probed_as_it_was_saved(
    studied: tuple[Run, Transfer, Path], data: DataSet
) -> None:
    run, found, source = studied
    for kind, file in (("source", source), ("further", run.folder / "encoder.safetensors")):
        features = {"x": embed_splits(freeze(load_encoder(file)[0]), data, "cpu")}
        budgets = label_budgets(data, "12", 0, 0)[0]
        expected = [
            r.predictions.scores
            for r in probe_features(features, data, budgets, knn_k=5, bootstrap=100)
            if (r.protocol, r.predictions.split) == ("probe", "test")
        ]
        r = found.test(kind, "probe", "12")
        assert r is not None
        np.testing.assert_allclose(r.predictions.scores, expected[0], atol=1e-5)


def test_random_weights_see_the_images_as_they_are_beside_any_source(
    studied: tuple[Run, Transfer, Path], data: DataSet
) -> None:
    run, found, _ = studied
    untrained = freeze(build_encoder("resnet18", "strided", 3, seed=run.params.seed))
    features = {"random": embed_splits(untrained, data, "cpu")}
    budgets = label_budgets(data, "12", 0, 0)[0]
    expected = probe_features(features, data, budgets, knn_k=5, bootstrap=100)
    for protocol in ("probe", "knn"):
        r = found.test("random", protocol, "12")
        assert r is not None
        same = next(e for e in expected if e.protocol == protocol and e.predictions.split == "test")
        np.testing.assert_allclose(r.predictions.scores, same.predictions.scores, atol=1e-5)


def test_further_pretraining_leaves_an_encoder_that_says_how_it_was_made(
    studied: tuple[Run, Transfer, Path],
) -> None:
    run, found, source = studied
    path = run.folder / "encoder.safetensors"
    encoder, header = load_encoder(path)
    before, _ = load_encoder(source)
    assert encoder.channels == 1
    moved = [
        not torch.equal(a, b)
        for a, b in zip(encoder.parameters(), before.parameters(), strict=True)
    ]
    assert all(moved)
    assert header["trail"] == ["source", "target"]
    assert header["size"] == 12
    used = header["parameters"]
    # The recipe that made it, not the finetuning of the same run.
    assert {k: used[k] for k in ("temperature", "batch_size", "weight_decay", "optimizer")} == {
        "temperature": 0.37, "batch_size": 18, "weight_decay": 1e-5, "optimizer": "adamw"
    }  # fmt: skip
    assert (used["epochs"], used["lr"], used["init"]) == (1, 5e-4, "pretrain-source")
    assert str(source.parent) not in json.dumps(header)
    made = describe_origin(str(path))
    assert made.method_on("target") == "simclr from source>target"
    assert found.further is not None
    assert len(pd.read_csv(run.folder / "history.csv")) == 1


def test_rows_and_predictions(studied: tuple[Run, Transfer, Path]) -> None:
    run, found, _ = studied
    rows = pd.DataFrame(transfer_rows(found, run))
    assert list(rows.columns) == list(COLUMNS)
    assert not rows.duplicated(["method", "protocol", "labels", "split", "metric"]).any()
    trained = rows[rows["protocol"] == "pretrain"]
    assert set(trained["method"]) == {"simclr from source>target"}
    assert set(trained["augment"]) == {"simple"}
    assert set(rows.loc[rows["method"] == "random", "augment"]) == {""}
    assert set(rows["encoder"]) == {"resnet18"}
    tried = rows[rows["metric"] == "lr_selected"]
    assert sorted(tried["method"]) == ["random", "simclr from source", "simclr from source>target"]
    write_predictions(run.folder / "predictions.csv", [r.predictions for r in found.results])


def test_in_domain_is_not_pretrained_further(data: DataSet, tmp_path: Path) -> None:
    source = save(tmp_path, trail=["target"])
    run = start(tmp_path / "run", str(source), finetuned=False, floors=False)
    found = study_transfer(run, data, label_budgets(data, "12", 0, 0)[0])
    assert [(s.kind, s.method) for s in found.starts] == [("source", "simclr")]
    assert found.further is None
    assert not (run.folder / "encoder.safetensors").exists()
    assert {r.protocol for r in found.results} == {"probe", "knn"}
    assert any("no further pretraining" in note for note in found.notes)
    # Nor is an encoder that went on with this data set already.
    assert trained_last_on(start(tmp_path, str(save(tmp_path, trail=["source", "target"]))))


def test_without_an_encoder_only_floors(data: DataSet, tmp_path: Path) -> None:
    run = start(tmp_path, floors=False, finetuned=False)
    found = study_transfer(run, data, label_budgets(data, "12", 0, 0)[0])
    assert [s.kind for s in found.starts] == ["random"]
    assert found.architecture == "resnet18"


class TestRecipe:
    """What further pretraining takes from the source, and what it is called."""

    def params(self, folder: Path, data: DataSet, **header: Any) -> tuple[Any, str, Run]:
        run = start(folder, str(save(folder, **header)))
        found = further_params(run, data, shape_of(run, data))
        noted = Run(**{**vars(run), "params": found})
        return found, further_method(noted), run

    def test_from_the_source_with_a_schedule_of_its_own(
        self, tmp_path: Path, data: DataSet
    ) -> None:
        p, _, run = self.params(tmp_path, data)
        known = {**notebook_defaults("01_pretrain"), **RECIPE}
        for name in ("augment", "crop_scale", "temperature", "batch_size", "optimizer", "knn_k"):
            assert getattr(p, name) == known[name], name
        assert (p.epochs, p.lr, p.warmup_epochs) == (1, 5e-4, 0.0)
        assert (p.freeze_stages, p.gradient_clip) == (0, 1.0)
        assert run.params.batch_size == 12  # finetuning keeps its own

    def test_zero_is_a_setting(self, tmp_path: Path, data: DataSet) -> None:
        p, _, _ = self.params(tmp_path, data, parameters={**RECIPE, "gradient_clip": 0.0})
        assert p.gradient_clip == 0

    def test_supcon_sees_as_many_labels_as_before(self, tmp_path: Path, data: DataSet) -> None:
        recipe = {**RECIPE, "method": "supcon", "seen_labels": "12"}
        p, name, _ = self.params(tmp_path, data, method="supcon", parameters=recipe)
        assert (p.method, p.seen_labels, name) == ("supcon", "12", "supcon from source>target")
        recipe["seen_labels"] = "5000"
        p, _, _ = self.params(tmp_path, data, method="supcon", parameters=recipe)
        assert p.seen_labels == "all"

    def test_an_encoder_trained_on_labels_goes_on_by_the_default(
        self, tmp_path: Path, data: DataSet
    ) -> None:
        finetuning = {"batch_size": 7, "weight_decay": 0.5, "augment": "simple", "run": "r"}
        p, name, _ = self.params(tmp_path, data, method="supervised", parameters=finetuning)
        defaults = notebook_defaults("01_pretrain")
        assert p.batch_size == defaults["batch_size"]
        assert p.augment == defaults["augment"]
        assert p.method == "simclr"
        assert name == "simclr from source>target (after supervised)"

    def test_a_source_that_does_not_say_where_it_is_from(
        self, tmp_path: Path, data: DataSet
    ) -> None:
        _, name, run = self.params(tmp_path, data, trail=[])
        assert run.method == "simclr"
        assert name == "simclr (further)"

    def test_imagenet_weights_go_on_by_the_default(self, tmp_path: Path, data: DataSet) -> None:
        run = make_run(tmp_path, Origin("imagenet", "", "i"), **{**PARAMS, "init": "imagenet"})
        p = further_params(run, data, shape_of(run, data))
        noted = Run(**{**vars(run), "params": p})
        assert further_method(noted) == "simclr from imagenet>target"


def test_imagenet_weights_stand_beside_only_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    notes: list[str] = []
    assert not imagenet_fits(Shape("resnet18", "imagenet", 3), notes)
    assert notes == ["ImageNet weights are left out: resnet18-f37072fd.pth is not on this machine."]
    file = transfer.imagenet_file("resnet18")
    file.parent.mkdir()
    file.touch()
    assert imagenet_fits(Shape("resnet18", "imagenet", 3), notes)
    assert not imagenet_fits(Shape("resnet18", "small", 3), notes)
    assert "small" in notes[-1]
