"""An encoder on disk in a study's folder, as runs leave it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib.models.encoder import build_encoder
from lib.models.weights import save_encoder

RUN = "pretrain-phantom-14px-simclr-novel-s0-0badcafe"
SIDE = 14


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/made/runs/RUN with a strided ResNet-18 whose BatchNorm has seen images."""
    folder = tmp_path_factory.mktemp("results") / "made" / "runs" / RUN
    encoder = build_encoder("resnet18", "strided", 3, seed=0, mean=[0.3, 0.4, 0.5])
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        encoder(torch.rand(16, 3, SIDE, SIDE, generator=generator))
    parameters = {"run": RUN, "augment": "novel", "epochs": 3, "preprocess": "none", "variant": ""}
    header = {
        "size": SIDE,
        "dataset": "phantom",
        "method": "simclr",
        "trail": ["phantom"],
        "parameters": parameters,
        "commit": "abc1234",
    }
    save_encoder(folder / "encoder.safetensors", encoder.eval(), header)
    return folder
