"""The features a probe compares: the encoder's, and the floors beside it."""

from __future__ import annotations

from lib.data.base import DataSet
from lib.evaluation.evaluate import PIXELS
from lib.models.embed import Features, embed_splits, flatten_pixels
from lib.models.encoder import Encoder, build_encoder, freeze
from lib.models.weights import load_init
from lib.run import Run


def embed_sources(data: DataSet, run: Run) -> dict[str, dict[str, Features]]:
    """Features of every split from the run's encoder and, with `floors`, from a random encoder of
    the same architecture and from raw pixels: method → split → float32 [N, D].

    An encoder of grey images meets colour ones without their colour, and the reverse; the floors
    see the images as they are, so that they are the same beside every encoder.
    """
    sources: dict[str, dict[str, Features]] = {}
    for name, encoder in source_encoders(data, run).items():
        if encoder is None:
            sources[name] = flatten_pixels(data)
        else:
            sources[name] = embed_splits(encoder, data, run.device, run.precision)
    return sources


def source_encoders(data: DataSet, run: Run) -> dict[str, Encoder | None]:
    """The frozen encoders that `embed_sources` embeds with, by method; None for raw pixels.

    The random encoder's seed is the run's: floors vary over seeds as pretrainings do.
    """
    p = run.params
    encoders: dict[str, Encoder | None] = {}
    if p.init == "scratch":
        random = build_encoder(p.encoder, p.stem, data.channels, seed=p.seed)
        encoders["random"] = freeze(random)
    else:
        encoder = load_frozen(data, run)
        encoders[run.method] = encoder
        if p.floors:
            about = encoder.architecture, encoder.stem, data.channels
            encoders["random"] = freeze(build_encoder(*about, seed=p.seed))
    if p.floors:
        encoders[PIXELS] = None
    return encoders


def load_frozen(data: DataSet, run: Run) -> Encoder:
    """The run's encoder, frozen; a file says what it looks like, ImageNet weights are asked for."""
    p = run.params
    asked = (p.encoder, p.stem, data.channels) if p.init == "imagenet" else (None, None, None)
    encoder, _ = load_init(p.init, *asked, seed=p.seed)
    return freeze(encoder)


def architecture(run: Run) -> str:
    """The architecture of the run's encoder: the file's own, or the one asked for."""
    p = run.params
    if p.init in ("scratch", "imagenet"):
        return str(p.encoder)
    return load_init(p.init, None, None, None, seed=p.seed)[0].architecture
