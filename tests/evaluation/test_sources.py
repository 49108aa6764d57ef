"""What a probe compares: the encoder as it was saved, and floors that it could not have reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.evaluation import sources as sources_module
from lib.evaluation.evaluate import label_budgets, probe_features
from lib.evaluation.sources import architecture, embed_sources, load_frozen
from lib.identity import Origin
from lib.models.embed import embed_splits, flatten_pixels
from lib.models.encoder import Encoder, build_encoder
from lib.models.weights import load_encoder, save_encoder
from tests.synthetic import make_data, make_run

TRAINED = Origin("simclr", "novel", "x")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey encoder with statistics of its own, unlike what is asked for by default."""
    encoder = build_encoder("resnet18", "small", 1, seed=9, mean=[0.4], std=[0.2]).train()
    with torch.no_grad():
        encoder(torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(0)))
    path = tmp_path_factory.mktemp("run") / "encoder.safetensors"
    about = {"size": 12, "dataset": "tiny", "parameters": {}, "commit": "0"}
    save_encoder(path, encoder, about)
    return path


def test_the_encoder_of_a_file_and_its_floors(file: Path, tmp_path: Path) -> None:
    data = make_data("binary")
    run = make_run(tmp_path, TRAINED, init=str(file), stem="imagenet", seed=3)
    features = embed_sources(data, run)
    assert list(features) == ["simclr", "random", "pixels"]
    saved = embed_splits(load_encoder(file)[0], data, "cpu")
    # The floor has the architecture of the file, not the one asked for where there is no file.
    floor = embed_splits(build_encoder("resnet18", "small", 1, seed=3), data, "cpu")
    pixels = flatten_pixels(data)
    for split in data.splits:
        np.testing.assert_allclose(features["simclr"][split], saved[split], atol=1e-5)
        np.testing.assert_allclose(features["random"][split], floor[split], atol=1e-5)
        assert np.array_equal(features["pixels"][split], pixels[split])
    assert np.abs(features["simclr"]["test"] - features["random"]["test"]).max() > 0.01


def test_floors_vary_with_the_seed_and_can_be_left_out(file: Path, tmp_path: Path) -> None:
    data = make_data("binary")
    run = make_run(tmp_path, TRAINED, init=str(file), floors=False)
    assert list(embed_sources(data, run)) == ["simclr"]
    a, b = (embed_sources(data, make_run(tmp_path, seed=seed)) for seed in (0, 1))
    assert list(a) == ["random", "pixels"]
    assert not np.allclose(a["random"]["test"], b["random"]["test"])
    assert list(embed_sources(data, make_run(tmp_path, floors=False))) == ["random"]


def test_a_grey_encoder_sees_colour_images(file: Path, tmp_path: Path) -> None:
    data, run = make_data(), make_run(tmp_path, TRAINED, init=str(file), seed=3)
    features = embed_sources(data, run)
    assert features["simclr"]["val"].shape == (18, 512)
    # What the encoder loses, the colour, the floor beside it does not.
    floor = embed_splits(build_encoder("resnet18", "small", 3, seed=3), data, "cpu")
    np.testing.assert_allclose(features["random"]["val"], floor["val"], atol=1e-5)


def test_probing_leaves_the_encoder_as_it_was(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = make_data("binary"), make_run(tmp_path, TRAINED, init=str(file), floors=False)
    encoder = load_frozen(data, run)
    assert not any(p.requires_grad for p in encoder.parameters())
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert any("running_mean" in name for name in before)

    def same_encoder(*_: object) -> Encoder:
        return encoder

    monkeypatch.setattr(sources_module, "load_frozen", same_encoder)
    encoder.train()  # frozen: stays in eval mode
    features = embed_sources(data, run)
    budgets, _ = label_budgets(data, "12,all", 0, seed=0)
    probe_features(features, data, budgets, knn_k=5, bootstrap=100)
    after = encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in encoder.modules())
    assert all(p.grad is None for p in encoder.parameters())


def test_architecture(file: Path, tmp_path: Path) -> None:
    asked = {"encoder": "resnet50"}
    assert architecture(make_run(tmp_path, TRAINED, init=str(file), **asked)) == "resnet18"
    assert architecture(make_run(tmp_path, init="scratch", **asked)) == "resnet50"
    assert architecture(make_run(tmp_path, init="imagenet", **asked)) == "resnet50"
