"""Where an encoder comes from: the file that `init` names, and what is known of its making."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from lib.checks import ParameterError
from lib.identity import RANDOM, Origin
from lib.params import ROOT


def find_encoder(init: str, results: Path) -> str:
    """Where the encoder named by `init` is: a file's path, or the words scratch and imagenet.

    A run is given by its name, the beginning of its name, or its folder, and is looked for in
    every study under `results`. Raises ParameterError when there is none, or more than one.
    """
    if init in ("scratch", "imagenet"):
        return init
    if not init.strip():
        raise ParameterError("init: empty; give scratch, imagenet, a run or a file")
    path = Path(init).expanduser()
    for candidate in (path, ROOT / path):
        if candidate.is_dir() and (candidate / "encoder.safetensors").exists():
            return str(candidate / "encoder.safetensors")
        if candidate.is_file():
            return str(candidate)
    # A run's name, not a pattern, nor a way out of the results.
    pattern = f"*/runs/{glob.escape(init)}*/encoder.safetensors"
    found = [] if "/" in init else sorted(results.glob(pattern))
    # A whole name is meant as it stands, also where it is the beginning of another.
    found = [file for file in found if file.parent.name == init] or found
    names = {file.parent.name for file in found}
    if len(names) == 1:
        return str(found[0])
    if not found:
        raise ParameterError(
            f"init: no encoder {init}: neither a file nor a run under {results} "
            "(pretrain one with 01_pretrain, or give scratch)"
        )
    raise ParameterError(f"init: {init} fits several runs: {', '.join(sorted(names))}")


def describe_origin(init: str) -> Origin:
    """How the encoder that `find_encoder` found was made, and what identifies it."""
    if init == "scratch":
        return RANDOM
    if init == "imagenet":
        return Origin("imagenet", "", "imagenet")
    path = Path(init)
    if path.suffix != ".safetensors":
        from lib.models.foreign import holds_imagenet

        if holds_imagenet(path):
            return Origin("imagenet", "", file_digest(path))
        # A checkpoint of simclr-medical-imaging says nothing of its augmentation, nor of its data.
        return Origin("simclr", "", file_digest(path), ("unknown",))
    from lib.models.weights import read_header

    header = read_header(path)
    used = header.get("parameters", {})
    return Origin(
        str(header.get("method") or used.get("method", "")),
        str(used.get("augment", "")),
        str(used.get("run") or file_digest(path)),
        tuple(header.get("trail", ())),
        str(used.get("variant", "")),
    )


def file_digest(path: Path) -> str:
    """A short hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
