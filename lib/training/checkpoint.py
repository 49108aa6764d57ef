"""Checkpoints that are complete or absent, and left alone where they are not."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from lib.files import replacing

# An encoder with its optimizer takes half a second to write, an epoch often no longer.
SECONDS = 30.0


class CompleteCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there in one step.

    Lightning's own way goes through the system's temporary folder, from which a file on another
    disk is copied: killed in the middle, half a checkpoint is left under the name of a whole one
    (`fsspec.implementations.local.LocalFileOpener.commit`).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint, complete or not at all; OSError where the disk is full."""
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def seconds_between() -> float:
    """Seconds between two checkpoints: CONTRASTIVE_CHECKPOINT_SECONDS, or SECONDS."""
    return float(os.environ.get("CONTRASTIVE_CHECKPOINT_SECONDS") or SECONDS)


def usable(checkpoint: Path) -> str | None:
    """The path of a checkpoint to go on from; None where there is none, or a damaged one.

    What torch writes is a zip archive, whose list of contents stands at its end: where that is
    missing the rest is not to be trusted. The training then begins anew.
    """
    return str(checkpoint) if zipfile.is_zipfile(checkpoint) else None
