"""Where an encoder comes from: the file that `init` names, and what is known of its making."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib.checks import ParameterError
from lib.identity import RANDOM, Origin, short_name
from lib.params import ROOT

SEEN = (
    "the encoder may have been trained on images that are validated or tested here; take one of "
    "the same split, or leave the split to it"
)


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


def trained_with(init: str) -> Mapping[str, Any]:
    """The parameters of the last training of a found encoder; {} where unknown."""
    if Path(init).suffix != ".safetensors":
        return {}
    from lib.models.weights import read_header

    found = read_header(Path(init)).get("parameters", {})
    return found if isinstance(found, Mapping) else {}


def check_split(
    params: Mapping[str, Any],
    trail: tuple[str, ...],
    made: Mapping[str, Any],
    mark: Callable[[str, int], str],
) -> None:
    """ParameterError where an encoder may have been trained on images that a run tests on.

    An encoder last trained on the run's data set, or on that of its queries, must have been trained
    on the same split of it: the same fold of the same cross-validation, or the same seed where a
    data set brings no split. Folds without the test split (`trainval`) leave that to be tested
    on. What an encoder was trained on before is not known in such detail.

    params: of the run. trail, made: the encoder's, `Origin.trail` and the parameters of its last
    training. mark: a data set's fingerprint by split seed; the same where the seed decides
    nothing.
    """
    looked_at = [(str(params["dataset"]), split_of(params))]
    if params.get("queries"):
        looked_at.append((str(params["queries"]), split_of({})))
    before, seed = split_of(made), made.get("split_seed", 0)
    for dataset, split in looked_at if made and trail else ():
        if trail[-1] != short_name(dataset):
            continue
        apart = split == split_of({}) and made.get("folds_of") == "trainval"
        if split != before and not apart:
            raise ParameterError(
                f"init: trained on {say_split(before)}, this run is about {say_split(split)} "
                f"of {short_name(dataset)}: {SEEN}"
            )
        asked = params["split_seed"]
        if asked != seed and (split[0] or mark(dataset, asked) != mark(dataset, seed)):
            raise ParameterError(
                f"split_seed: {asked} here, {seed} in the training of init: {SEEN}"
            )


def split_of(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """What else but a seed decides which images are tested: folds, which, of what, of how many."""
    if not params.get("folds"):
        return (0,)
    # Encoders of before a parameter existed lack it.
    usual = {"fold": 0, "folds_of": "all", "cap_per_class": 0}
    return (params["folds"], *(params.get(key, value) for key, value in usual.items()))


def say_split(split: tuple[Any, ...]) -> str:
    """A split in words."""
    if not split[0]:
        return "the data set's own split"
    folds, fold, of, cap = split
    text = f"fold {fold} of {folds}" + ("" if of == "all" else f" ({of})")
    return text + (f" of {cap} images a class" if cap else "")


def file_digest(path: Path) -> str:
    """A short hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
