"""Further pretraining: an encoder from elsewhere goes on with the images of another data set."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lib.data.base import DataSet
from lib.identity import short_name
from lib.models.weights import load_init, read_header
from lib.params import check_value, notebook_defaults
from lib.run import Run
from lib.training.contrastive import Recipe
from lib.training.pretrain import Pretraining, pretrain, save_pretraining, supcon_labels

CONTRASTIVE = ("simclr", "supcon")


@dataclass(frozen=True)
class Shape:
    """What every encoder of the comparison looks like."""

    architecture: str
    stem: str
    channels: int


def shape_of(run: Run, data: DataSet) -> Shape:
    """The shape of the run's encoder: the file's own, or the one asked for."""
    p = run.params
    if p.init in ("scratch", "imagenet"):
        return Shape(p.encoder, p.stem, data.channels)
    like, _ = load_init(p.init, None, None, None, seed=p.seed)
    return Shape(like.architecture, like.stem, like.channels)


def trained_last_on(run: Run) -> bool:
    """Whether the run's encoder was last trained on the run's own data set."""
    return run.origin.trail[-1:] == (short_name(run.params.dataset),)


def further_params(run: Run, data: DataSet, like: Shape) -> SimpleNamespace:
    """The run's parameters, with those of 01_pretrain for further pretraining in their place.

    The schedule (`further_epochs`, `further_lr`, `further_warmup`) is the run's own. The rest is
    what the encoder was pretrained with, as its file says; 01_pretrain's defaults where it does
    not, or where it was last trained by labels, with which another recipe goes.
    """
    p = run.params
    known: dict[str, Any] = {}
    if Path(p.init).suffix == ".safetensors":
        header = read_header(p.init)
        known = header["parameters"] if header.get("method") in CONTRASTIVE else {}
    defaults = notebook_defaults("01_pretrain")
    names = [*(f.name for f in fields(Recipe)), "seen_labels"]
    known = {name: value for name, value in known.items() if value not in (None, "")}
    values = {name: check_value(name, known.get(name, defaults[name])) for name in names}
    values |= {
        "encoder": like.architecture,
        "stem": like.stem,
        "init": p.init,
        "epochs": p.further_epochs,
        "lr": p.further_lr,
        "warmup_epochs": p.further_warmup,
        "seed": p.seed,
    }
    if values["seen_labels"] != "all" and int(values["seen_labels"]) >= len(data.splits["train"]):
        values["seen_labels"] = "all"
    named = [run.origin.variant]
    if run.origin.method not in (values["method"], "imagenet"):
        named.append(f"after {run.origin.method}")
    params = SimpleNamespace(**{**vars(p), **values, "variant": " ".join(filter(None, named))})
    if further_method(dataclasses.replace(run, params=params)) == run.method:
        # A checkpoint of another project does not say what it was trained on.
        params.variant = " ".join(filter(None, [params.variant, "further"]))
    return params


def further_method(noted: Run) -> str:
    """What summary.csv calls the encoder that further pretraining leaves."""
    p = noted.params
    made = noted.origin.trained_on(p.dataset, p.method, p.augment, noted.name, p.variant)
    return made.method_on(p.dataset)


def pretrain_further(run: Run, data: DataSet, like: Shape) -> tuple[Pretraining, Run]:
    """Pretrain the run's encoder on `data` by its own recipe and a schedule of the run's.

    Writes encoder.safetensors and history.csv, as 01_pretrain does; returns also the run under
    whose parameters they are noted.
    """
    noted = dataclasses.replace(run, params=further_params(run, data, like))
    result = pretrain(
        data,
        Recipe.of(noted.params),
        run.folder / "checkpoints" / "further-pretraining",
        device=run.device,
        precision=run.precision,
        show_progress=run.interactive,
        labelled=supcon_labels(data, noted.params),
    )
    save_pretraining(result, data, noted)
    return result, noted
