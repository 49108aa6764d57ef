"""Encoders (`init`) that cannot be taken."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lib.models.encoder import build_encoder
from lib.models.weights import save_encoder
from tests.refused.case import Case, Desk
from tests.refused.data import Payload

HEADER = {"size": 28, "dataset": "phantom", "parameters": {}, "commit": "abc"}


def encoder_file(desk: Desk, name: str = "encoder.safetensors") -> Path:
    path = desk.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_encoder(path, build_encoder("resnet18", "strided", 1, seed=0), HEADER)
    return path


def saved(desk: Desk, content: Any, name: str = "net.ckpt") -> Path:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return desk.write(name, buffer.getvalue())


def init(name: str, make: Callable[[Desk], object], *says: str, **more: Any) -> Case:
    settings = {"notebook": "02_probe", **more}
    return Case(
        f"init: {name}",
        lambda desk: desk.experiment(init=f"'{make(desk)}'", **settings),
        ["experiments.one.init: ", *says],
    )


def truncated(desk: Desk) -> Path:
    path = encoder_file(desk)
    path.write_bytes(path.read_bytes()[:100_000])
    return path


def cut_in_header(desk: Desk) -> Path:
    path = encoder_file(desk)
    path.write_bytes(path.read_bytes()[:50])
    return path


def tensors(desk: Desk, **changes: Any) -> Path:
    """A file of the right header, with other tensors."""
    from safetensors.torch import save_file

    own = {
        "version": 1, "architecture": "resnet18", "stem": "strided", "channels": 1,
        "normalisation": {"mean": [0.5], "std": [0.5]},
    }  # fmt: skip
    state = build_encoder("resnet18", "strided", 1, seed=0).resnet.state_dict()
    state = {k: v for k, v in {**state, **changes.pop("state", {})}.items() if v is not None}
    path = desk.folder / "encoder.safetensors"
    save_file(state, path, metadata={"header": json.dumps({**own, **HEADER, **changes})})
    return path


def resnet_state(channels: int = 3, kernel: int = 7) -> dict[str, torch.Tensor]:
    state = build_encoder("resnet18", "imagenet", 3, seed=0).resnet.state_dict()
    state["conv1.weight"] = torch.zeros(64, channels, kernel, kernel)
    return {f"convnet.{key}": value for key, value in state.items()}


def hostile_checkpoint(desk: Desk) -> Path:
    return saved(desk, {"state_dict": resnet_state(), "more": Payload(desk.trap)})


def hostile_pickle(desk: Desk) -> Path:
    return desk.write("net.pt", pickle.dumps({"state_dict": Payload(desk.trap)}))


CASES = [
    init("missing file", lambda d: d.folder / "no.safetensors", "no encoder"),
    init("a folder without encoder", lambda d: d.write("run/x.txt", "x").parent, "no encoder"),
    init("a text file", lambda d: d.write("notes.txt", "x"), "notes.txt", "another kind"),
    init("an empty file", lambda d: d.write("e.safetensors", b""), "not a safetensors file"),
    init("truncated", truncated, "encoder.safetensors: not a safetensors file, or cut short"),
    init("truncated in its header", cut_in_header, "not a safetensors file, or cut short"),
    init("of somebody else", lambda d: tensors(d, version=99), "format version 99"),
    init("header of an unknown network", lambda d: tensors(d, architecture="vit"), "vit"),
    init("tensors of another network", lambda d: tensors(d, architecture="resnet50"), "resnet50"),
    init("tensors of another stem", lambda d: tensors(d, stem="imagenet"), "conv1.weight"),
    init("tensors of other channels", lambda d: tensors(d, state={
        "conv1.weight": torch.zeros(64, 3, 3, 3)}), "conv1.weight"),
    init("a tensor missing", lambda d: tensors(d, state={"bn1.weight": None}), "bn1.weight"),
    init("another architecture than asked", encoder_file, "resnet18", "resnet50",
         notebook="01_pretrain", encoder="resnet50", stem="strided"),
    init("another stem than asked", encoder_file, "stem strided", "stem small",
         notebook="01_pretrain", stem="small"),
    init("ImageNet with another stem", lambda d: "imagenet", "stem: imagenet", stem="small"),
    init("checkpoint with code", hostile_checkpoint, "net.ckpt: refused", "could run code"),
    init("pickle with code", hostile_pickle, "net.pt: refused", "could run code"),
    init("checkpoint cut short", lambda d: d.write(
        "net.ckpt", saved(d, {"state_dict": resnet_state()}).read_bytes()[:10_000]),
        "net.ckpt: not a readable checkpoint"),
    init("checkpoint without weights", lambda d: saved(d, {"epoch": 3}), "no `state_dict`"),
    init("checkpoint with other keys", lambda d: saved(d, {"state_dict": {
        "vit.weight": torch.zeros(3)}}), "one ResNet with torchvision's names"),
    init("checkpoint of two channels", lambda d: saved(d, {
        "state_dict": resnet_state(channels=2)}), "net.ckpt", "takes 2 channels"),
    init("checkpoint of numbers for keys", lambda d: saved(d, {"state_dict": {
        3: torch.zeros(3)}}), "no `state_dict` of tensors"),
    init("checkpoint with a first convolution of no dimension", lambda d: saved(d, {
        "state_dict": {**resnet_state(), "convnet.conv1.weight": torch.tensor(1.0)}}),
        "one ResNet with torchvision's names"),
    init("checkpoint with a first convolution of 5 × 5", lambda d: saved(d, {
        "state_dict": resnet_state(kernel=5)}), "5×5"),
]  # fmt: skip
