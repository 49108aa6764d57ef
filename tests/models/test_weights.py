"""Encoders on disk, and every place an encoder can start from."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from lib.models import weights
from lib.models.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, EncoderError, build_encoder
from lib.models.weights import WeightsError, load_encoder, load_init, read_header, save_encoder
from lib.origins import describe_origin

HEADER = {
    "size": 28,
    "dataset": "bloodmnist",
    "parameters": {"temperature": 0.07, "augment": "novel"},
    "commit": "0123abc",
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    built = build_encoder("resnet18", "strided", 3, seed=1, mean=[0.1, 0.2, 0.3], std=[0.9, 1, 1.1])
    # Statistics that are not those of a fresh encoder.
    built(torch.rand(4, 3, 28, 28))
    return built.eval()


@pytest.fixture
def saved(encoder: Encoder, tmp_path: Path) -> Path:
    save_encoder(tmp_path / "encoder.safetensors", encoder, {**HEADER, "epoch": 3})
    return tmp_path / "encoder.safetensors"


def features(encoder: nn.Module, channels: int = 3) -> torch.Tensor:
    x = torch.rand(2, channels, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return encoder(x)


def test_round_trip(encoder: Encoder, saved: Path) -> None:
    loaded, header = load_encoder(saved)
    assert not loaded.training
    assert torch.equal(features(loaded), features(encoder))
    for name, value in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert header == read_header(saved.parent) == read_header(saved)
    assert header == {
        "version": 1,
        "architecture": "resnet18",
        "stem": "strided",
        "channels": 3,
        "normalisation": {"mean": encoder.mean.tolist(), "std": encoder.std.tolist()},
        "epoch": 3,
        **HEADER,
    }


def test_the_tensors_have_torchvisions_names(saved: Path) -> None:
    import torchvision

    reference = torchvision.models.resnet18(weights=None)
    assert set(load_file(saved)) == {k for k in reference.state_dict() if not k.startswith("fc.")}


def test_channels_last_is_saved_as_any_other_and_the_bytes_repeat(
    encoder: Encoder, saved: Path, tmp_path: Path
) -> None:
    again = build_encoder("resnet18", "strided", 3, seed=0, mean=[0.1, 0.2, 0.3], std=[0.9, 1, 1.1])
    again.load_state_dict(encoder.state_dict())
    again = again.to(memory_format=torch.channels_last)
    save_encoder(tmp_path / "b.safetensors", again, {**HEADER, "epoch": 3})
    assert (tmp_path / "b.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"commit": None}, "commit"),
        ({"stem": "small"}, "stem"),
        ({"loss": float("nan")}, "JSON"),
        ({"loss": torch.zeros(1)}, "JSON"),
    ],
)
def test_a_wrong_header_writes_nothing(
    encoder: Encoder, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    header = {k: v for k, v in {**HEADER, **change}.items() if v is not None}
    with pytest.raises(WeightsError, match=named):
        save_encoder(tmp_path / "x" / "encoder.safetensors", encoder, header)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_interrupted_save_keeps_the_old_file(
    encoder: Encoder, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    def half(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    before = saved.read_bytes()
    monkeypatch.setattr(safetensors.torch, "save_file", half)
    with pytest.raises(OSError, match="disk full"):
        save_encoder(saved, encoder, HEADER)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def rewrite(path: Path, header: object) -> None:
    save_file(load_file(path), path, metadata={"header": json.dumps(header)})


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def damage_garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x04not at all" * 50)


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_pickle(path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, path)


def damage_no_header(path: Path) -> None:
    save_file(load_file(path), path)


def damage_not_json(path: Path) -> None:
    save_file(load_file(path), path, metadata={"header": "{"})


def damage_version(path: Path) -> None:
    rewrite(path, {**read_header(path), "version": 2})


def damage_key(path: Path) -> None:
    header = read_header(path)
    del header["normalisation"]
    rewrite(path, header)


def damage_stem(path: Path) -> None:
    rewrite(path, {**read_header(path), "stem": "imagenet"})


def damage_normalisation(path: Path) -> None:
    rewrite(path, {**read_header(path), "normalisation": {"mean": ["a"] * 3, "std": [1, 1, 1]}})


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (damage_truncate, "safetensors"),
        (damage_garbage, "safetensors"),
        (damage_empty, "safetensors"),
        (damage_pickle, "safetensors"),
        (damage_no_header, "no encoder header"),
        (damage_not_json, "not JSON"),
        (damage_version, "version 2"),
        (damage_key, "lacks normalisation"),
        (damage_stem, "imagenet stem"),
        (damage_normalisation, "makes no encoder"),
    ],
)
def test_a_damaged_file_gives_one_clear_line(saved: Path, damage: Any, named: str) -> None:
    damage(saved)
    with pytest.raises(WeightsError, match=named) as caught:
        load_encoder(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_encoder(tmp_path / "encoder.safetensors")
    with pytest.raises(WeightsError, match=r"encoder\.safetensors"):
        load_encoder(tmp_path)


def test_init_from_scratch_is_seeded() -> None:
    first, provenance = load_init("scratch", "resnet18", "small", 1, seed=5)
    assert first.training
    assert provenance["init"] == "scratch" and "5" in provenance["text"]
    second = build_encoder("resnet18", "small", 1, seed=5)
    assert torch.equal(first.resnet.conv1.weight, second.resnet.conv1.weight)
    with pytest.raises(WeightsError, match="scratch needs"):
        load_init("scratch", "resnet18", "small", None, seed=0)


def test_init_from_a_file_or_its_folder(encoder: Encoder, saved: Path) -> None:
    for spec in (saved, str(saved.parent)):
        loaded, provenance = load_init(spec, "resnet18", None, None, seed=0)
        assert loaded.training
        assert torch.equal(features(loaded.eval()), features(encoder))
        assert provenance["header"]["dataset"] == "bloodmnist"
        assert provenance["file"] == str(saved)


def test_init_that_differs_from_the_file_names_both(saved: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds stem strided, channels 3.*stem small, channel"):
        load_init(saved, "resnet18", "small", 1, seed=0)


@pytest.mark.parametrize("spec", ["nowhere", "nowhere.safetensors", "nowhere.ckpt"])
def test_init_from_nowhere(spec: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"{spec}.*no such file"):
        load_init(tmp_path / spec, None, None, None, seed=0)


def test_init_from_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(WeightsError, match="another kind"):
        load_init(tmp_path / "notes.txt", None, None, None, seed=0)


# ImageNet ---------------------------------------------------------------------------------------


@pytest.fixture
def imagenet(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Stand-in weights under torchvision's names, without BatchNorm's counter, as in its file."""
    import torchvision

    net = torchvision.models.resnet18(weights=None)
    state = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    monkeypatch.setattr(weights, "_imagenet_state", lambda encoder: dict(state))
    return state


def test_imagenet_weights_with_their_normalisation(imagenet: dict[str, torch.Tensor]) -> None:
    loaded, provenance = load_init("imagenet", "resnet18", "imagenet", 3, seed=0)
    assert loaded.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert loaded.std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    for name, value in loaded.resnet.named_parameters():
        assert torch.equal(value, imagenet[name]), name
    assert provenance["init"] == "imagenet"


def test_imagenet_weights_for_one_channel_are_summed(imagenet: dict[str, torch.Tensor]) -> None:
    loaded, provenance = load_init("imagenet", "resnet18", "imagenet", 1, seed=0)
    three, _ = load_init("imagenet", "resnet18", "imagenet", 3, seed=0)
    assert "summed" in provenance["text"]
    # With one normalisation for all channels, grey repeated three times must give the same.
    three.mean.fill_(float(loaded.mean))
    three.std.fill_(float(loaded.std))
    torch.testing.assert_close(
        features(loaded.eval(), 1), features(three.eval(), 1), atol=1e-4, rtol=1e-4
    )


def test_imagenet_weights_need_their_stem(imagenet: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match="needs stem: imagenet"):
        load_init("imagenet", "resnet18", "small", 3, seed=0)


def test_imagenet_weights_of_another_network_are_refused(
    imagenet: dict[str, torch.Tensor],
) -> None:
    with pytest.raises((WeightsError, RuntimeError)):
        load_init("imagenet", "resnet50", "imagenet", 3, seed=0)


@pytest.mark.parametrize("damaged", [False, True])
def test_imagenet_weights_offline_say_where_to_put_the_file(
    damaged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.error

    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    if damaged:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth.*put it in") as caught:
        load_init("imagenet", "resnet18", "imagenet", 3, seed=0)
    assert str(tmp_path / "checkpoints") in str(caught.value)
    assert "\n" not in str(caught.value)


# Checkpoints of simclr-medical-imaging ----------------------------------------------------------


def contrastive(hidden: int = 8) -> nn.Module:
    """A network with that project's key names: fc is Linear, ReLU, Linear."""
    import torchvision

    net = torchvision.models.resnet18(weights=None)
    net.fc = nn.Sequential(nn.Linear(512, 4 * hidden), nn.ReLU(), nn.Linear(4 * hidden, hidden))
    return net


def expected(net: nn.Module) -> torch.Tensor:
    """Its features as that project computes them: normalised by 0.5 and 0.5, fc removed."""
    x = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    net.fc = nn.Identity()
    with torch.inference_mode():
        return net.eval()((x - 0.5) / 0.5)


@pytest.fixture(scope="module")
def lightning_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A checkpoint as Lightning's Trainer writes it, optimiser, callbacks and all."""
    import pytorch_lightning as pl

    class Foreign(pl.LightningModule):
        def __init__(self, hidden_dim: int, lr: float, temperature: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.convnet = contrastive(hidden_dim)

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return self.convnet(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)]

    folder = tmp_path_factory.mktemp("lightning")
    module = Foreign(hidden_dim=8, lr=1e-3, temperature=0.07)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    data = torch.utils.data.TensorDataset(torch.rand(4, 3, 28, 28))
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
    trainer.save_checkpoint(folder / "foreign.ckpt")
    return folder / "foreign.ckpt", expected(module.convnet)


def test_a_lightning_checkpoint_gives_the_same_features(
    lightning_checkpoint: tuple[Path, torch.Tensor],
) -> None:
    path, wanted = lightning_checkpoint
    loaded, provenance = load_init(path, "resnet18", "imagenet", 3, seed=0)
    assert loaded.training
    torch.testing.assert_close(features(loaded.eval()), wanted)
    assert provenance["init"] == "checkpoint" and provenance["prefix"] == "convnet."
    assert provenance["parameters"] == {"hidden_dim": 8, "lr": 1e-3, "temperature": 0.07}
    with pytest.raises(WeightsError, match=r"holds stem imagenet.*asked for is stem small"):
        load_init(path, "resnet18", "small", None, seed=0)


def imagenet_file(folder: Path) -> tuple[Path, torch.nn.Module]:
    """A file as torchvision distributes them, of a randomly initialised ResNet-18."""
    torch.manual_seed(3)
    resnet = torchvision.models.resnet18()
    torch.save(resnet.state_dict(), folder / "resnet18-f37072fd.pth")
    return folder / "resnet18-f37072fd.pth", resnet.eval()


def test_a_file_of_torchvisions_weights_is_an_imagenet_encoder(tmp_path: Path) -> None:
    path, resnet = imagenet_file(tmp_path)
    encoder, provenance = load_init(path, None, None, None, seed=0)
    x = torch.rand(2, 3, 64, 64)
    resnet.fc = torch.nn.Identity()
    normalised = torchvision.transforms.functional.normalize(x, IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(encoder.eval()(x), resnet(normalised))
    assert encoder.stem == "imagenet"
    assert provenance["text"].startswith("ImageNet weights")
    origin = describe_origin(str(path))
    assert (origin.method, origin.trail) == ("imagenet", ())
    assert origin.identity not in ("imagenet", "")


def test_a_bare_state_dict_with_another_classifier_is_not_imagenets(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "x.pth")
    encoder, provenance = load_init(tmp_path / "x.pth", None, None, None, seed=0)
    assert encoder.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert provenance["text"].startswith("checkpoint of another project")
    assert describe_origin(str(tmp_path / "x.pth")).trail == ("unknown",)


@pytest.mark.parametrize("prefix", ["backbone.", "model.convnet.", ""])
def test_other_prefixes_and_attribute_dicts_load(prefix: str, tmp_path: Path) -> None:
    from lightning_fabric.utilities.data import AttributeDict

    net = contrastive()
    state = {f"{prefix}{key}": value for key, value in net.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": AttributeDict(lr=0.1), "epoch": 4}
    torch.save(content, tmp_path / "x.pt")
    loaded, provenance = load_init(tmp_path / "x.pt", None, None, None, seed=0)
    torch.testing.assert_close(features(loaded.eval()), expected(net))
    assert provenance["parameters"] == {"lr": 0.1} and provenance["epoch"] == 4


def test_a_checkpoint_with_a_small_convolution_takes_the_stride_asked_for(tmp_path: Path) -> None:
    net = build_encoder("resnet18", "strided", 1, seed=0).resnet
    state = {f"convnet.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    for asked, held in ((None, "small"), ("small", "small"), ("strided", "strided")):
        loaded, _ = load_init(tmp_path / "x.ckpt", None, asked, None, seed=0)
        assert (loaded.stem, loaded.channels) == (held, 1)


def test_checkpoints_without_an_encoder_of_ours_are_refused(tmp_path: Path) -> None:
    deeper = torchvision.models.resnet34(weights=None).state_dict()
    small = contrastive().state_dict()
    two = {f"{p}{k}": v for p in ("query.", "key.") for k, v in small.items()}
    lacking = {k: v for k, v in small.items() if k != "layer4.1.bn2.weight"}
    contents: list[tuple[object, str]] = [
        ({"state_dict": deeper}, r"\(3, 4, 6, 3\) basic"),
        ({"state_dict": two}, "under query., key."),
        ({"state_dict": lacking}, "layer4.1.bn2.weight"),
        ({"state_dict": {"model.weight": torch.zeros(2)}}, "found model.weight"),
        ({**small, "epoch": 3}, "no `state_dict`"),
        ([1, 2], "holds a list"),
    ]
    for content, named in contents:
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(EncoderError, match=named) as caught:
            load_init(tmp_path / "x.ckpt", None, None, None, seed=0)
        assert "\n" not in str(caught.value)


class Attack:
    """Unpickled by pickle itself, it makes a file appear."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("writer", ["torch", "legacy", "pickle"])
def test_a_checkpoint_never_runs_what_it_contains(writer: str, tmp_path: Path) -> None:
    target, path = tmp_path / "executed", tmp_path / "x.ckpt"
    content = {"state_dict": contrastive().state_dict(), "extra": Attack(target)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(EncoderError, match=r"x\.ckpt") as caught:
        load_init(path, None, None, None, seed=0)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    if writer != "pickle":
        # The attack works on a reader that trusts the file, so the test above means something.
        torch.load(path, weights_only=False)
        assert target.exists()


def test_a_garbage_checkpoint_gives_one_clear_line(tmp_path: Path) -> None:
    for content in (b"", b"garbage", b"PK\x03\x04garbage" * 20):
        (tmp_path / "x.ckpt").write_bytes(content)
        with pytest.raises(EncoderError, match=r"x\.ckpt") as caught:
            load_init(tmp_path / "x.ckpt", None, None, None, seed=0)
        assert "\n" not in str(caught.value)
