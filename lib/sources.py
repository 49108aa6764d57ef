"""The features a probe compares: the encoder's, and the floors beside it."""

from __future__ import annotations

from lib.data.base import DataSet
from lib.embed import Features, embed_splits, flatten_pixels
from lib.encoder import Encoder, build_encoder, freeze
from lib.evaluate import PIXELS
from lib.run import Run
from lib.weights import load_init


def embed_sources(data: DataSet, run: Run) -> dict[str, dict[str, Features]]:
    """Features of every split from the run's encoder and, with `floors`, from a random encoder of
    the same architecture and from raw pixels: method → split → float32 [N, D].

    The random encoder's seed is the run's: floors vary over seeds as pretrainings do.
    """
    p = run.params
    sources: dict[str, dict[str, Features]] = {}
    random: Encoder | None = None
    if p.init == "scratch":
        random = build_encoder(p.encoder, p.stem, data.channels, seed=p.seed)
    else:
        encoder = load_frozen(data, run)
        sources[run.method] = embed_splits(encoder, data, run.device, run.precision)
        if p.floors:
            about = encoder.architecture, encoder.stem, encoder.channels
            random = build_encoder(*about, seed=p.seed)
    if random is not None:
        frozen = freeze(random)
        sources["random"] = embed_splits(frozen, data, run.device, run.precision)
    if p.floors:
        sources[PIXELS] = flatten_pixels(data)
    return sources


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
