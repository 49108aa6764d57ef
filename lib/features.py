"""Features of images for use elsewhere: `python -m lib.features RUN_OR_FILE DATASET --out FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lib.data.base import SPLITS, UNLABELLED, DataError
from lib.data.describe import IMAGE_FILES
from lib.files import replacing

if TYPE_CHECKING:
    from lib.models.embed import Features

LISTED = 10  # unreadable images named on the terminal
FORMATS = (".parquet", ".npz")


@dataclass(frozen=True)
class Images:
    """Images to embed: uint8 [N, S, S, C], what each is called, and what is known of it.

    labels: text, `a|b` for several, "" for an unlabelled image, or None; groups: or None; splits:
    `unlabelled` for images without a label beside those of train, "" where none is given.
    failures: image → why it cannot be read, in the order of the data set.
    """

    images: npt.NDArray[np.uint8]
    ids: list[str]
    labels: list[str] | None
    groups: list[str] | None
    splits: list[str]
    failures: Mapping[str, str]


def gather(
    name: str, size: int, preprocess: str = "none", data_root: str | None = None, *, bars: bool
) -> Images:
    """All readable images of a data set, in its own order; without a split none is drawn.

    An npz without a validation split has one carved from train, as in a study. Image files need no
    labels and no second class here. Raises DataError.
    """
    from lib.data.describe import check_dataset

    kind, colon, _ = name.partition(":")
    if colon and kind in IMAGE_FILES:
        return _from_files(name, size, preprocess, data_root, bars)
    mistakes = check_dataset(name, size, data_root)
    if mistakes:
        raise DataError(mistakes[0])
    from lib.data.load import load_dataset
    from lib.data.pool import pool_images

    data = load_dataset(name, size, data_root, progress=bars)
    parts = [data.splits[s] for s in SPLITS]
    labels = groups = None
    if all(p.y is not None for p in parts):
        several = data.task == "multi-label"
        labels = [
            "|".join(data.classes[k] for k in np.flatnonzero(y)) if several else data.classes[y]
            for p in parts
            for y in (p.y if p.y is not None else ())
        ]
    if all(p.groups is not None for p in parts):
        groups = [str(g) for p in parts for g in (p.groups if p.groups is not None else ())]
    splits = [s for s in SPLITS for _ in range(len(data.splits[s]))]
    if (more := data.unlabelled) is not None:
        n, blank = len(more), [""] * len(more)
        parts, splits = [*parts, more], [*splits, *([UNLABELLED] * n)]
        labels = None if labels is None else labels + blank
        named = blank if more.groups is None else [str(g) for g in more.groups]
        groups = None if groups is None else groups + named
    return Images(
        pool_images([p.images for p in parts]),  # type: ignore[arg-type]
        [str(i) for p in parts for i in p.ids],
        labels,
        groups,
        splits,
        {},
    )


def _from_files(name: str, size: int, preprocess: str, data_root: str | None, bars: bool) -> Images:
    from lib.data.cache import cache_folder, file_hashes, open_array
    from lib.data.decoded import decode_files
    from lib.data.own import read_own_table
    from lib.data.pool import PooledRows

    if not Path(name.partition(":")[2]).expanduser().exists():
        raise DataError(f"{name}: no such folder or file")
    table, cache = read_own_table(name), cache_folder(data_root)
    digests = file_hashes(table.paths, cache, progress=bars)
    digests = [
        f"missing {i}" if d == "missing" else d for i, d in zip(table.names, digests, strict=True)
    ]
    decoded = decode_files(
        table.paths, table.names, digests, size, cache,
        label=table.title, preprocess=preprocess, progress=bars,
    )  # fmt: skip
    rows = [row for row in range(len(table.names)) if row not in decoded.failures]
    if not rows:
        first = next(iter(decoded.failures))
        why = f"{table.names[first]} ({decoded.failures[first]})"
        raise DataError(f"{table.where}: no image can be read; the first: {why}")
    array = open_array(decoded.array)

    def take(values: list[str] | None) -> list[str] | None:
        return None if values is None else [values[row] for row in rows]

    return Images(
        PooledRows([array], np.asarray(rows, np.int64)),  # type: ignore[arg-type]
        [table.names[row] for row in rows],
        take(table.labels),
        take(table.groups),
        take(table.splits) or [""] * len(rows),
        {table.names[row]: why for row, why in sorted(decoded.failures.items())},
    )


def embed(
    encoder: Any, images: Images, device: str, precision: str, batch_size: int, *, bars: bool
) -> Features:
    """Features float32 [N, D], a batch at a time, so that images may stay on disk."""
    from lib.bars import Bar
    from lib.models.embed import embed_images

    N = len(images.ids)
    parts = []
    with Bar("Embedding", N, "image", show=bars) as bar:
        for start in range(0, N, batch_size):
            batch = np.asarray(images.images[start : start + batch_size])
            parts.append(embed_images(encoder, batch, device, precision, batch_size))
            bar.update(len(batch))
    return np.concatenate(parts)


def write_npz(path: Path, images: Images, features: Features, about: Mapping[str, str]) -> None:
    """Arrays `features` [N, D], `image`, `split`, `label` and `group` (where known) [N], and
    `about_KEY` for what made them; no pickle is needed to read it.
    """
    arrays: dict[str, Any] = {"features": features, **columns(images)}
    arrays |= {f"about_{key}": np.asarray(value) for key, value in about.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def write_parquet(path: Path, images: Images, features: Features, about: Mapping[str, str]) -> None:
    """Columns image, label, group, split as far as known, then f0, f1, …; `about` as metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content: dict[str, Any] = {key: value.tolist() for key, value in columns(images).items()}
    content |= {f"f{d}": features[:, d] for d in range(features.shape[1])}
    table = pa.table(content).replace_schema_metadata(dict(about))
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def columns(images: Images) -> dict[str, npt.NDArray[np.str_]]:
    """What is known of each image, by column."""
    known = {"image": images.ids, "label": images.labels, "group": images.groups}
    known["split"] = images.splits
    return {key: np.asarray(value, np.str_) for key, value in known.items() if value is not None}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.features", description=__doc__)
    add = parser.add_argument
    add("encoder", metavar="RUN_OR_FILE",
        help="a run's name or folder, a .safetensors file or a checkpoint")  # fmt: skip
    add("dataset", metavar="DATASET",
        help="a folder, .csv or .npz file, a MedMNIST name, csv:PATH, …")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FILE", help="features.parquet or features.npz")
    add("--size", type=int, metavar="PIXELS", help="image side (default: the encoder's own)")
    add("--batch-size", type=int, default=256, metavar="N", help="images at a time (default: 256)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add("--precision", default="fp32", choices=("fp32", "bf16"), help="default: fp32")
    add("--data-root", metavar="DIR", help="folder of MedMNIST's files (default: MEDMNIST_ROOT)")
    add("--results", type=Path, default=Path("results"), metavar="DIR",
        help="folder in which runs are looked for by name (default: results)")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.out.suffix not in FORMATS:
        parser.error(f"--out {options.out}: expected a name ending in {' or '.join(FORMATS)}")
    if options.batch_size < 1:
        parser.error("--batch-size: expected a number from 1")
    if options.size is not None and not 7 <= options.size <= 1024:
        parser.error("--size: expected a number from 7 to 1024")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Exit 0: written. 2: one line says why not."""
    options = parse(arguments)
    from lib.checks import ParameterError
    from lib.export.portable import ExportError
    from lib.models.encoder import EncoderError

    try:
        extract(options)
    except (DataError, ExportError, ParameterError, EncoderError, OSError) as error:
        print(f"lib.features: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def extract(options: argparse.Namespace) -> None:
    """Embed what was asked for, and list what could not be read."""
    from lib.describe.recognise import recognise
    from lib.device import choose_device
    from lib.export.portable import take_encoder

    device, bars = choose_device({"device": options.device}), sys.stderr.isatty()
    taken = take_encoder(options.encoder, options.results, options.size)
    name = recognise(options.dataset)
    files = name.partition(":")[0] in IMAGE_FILES
    # Photographs are prepared as they were when the encoder was trained.
    prepared = taken.header.get("parameters", {}).get("preprocess", "none") if files else "none"
    images = gather(name, taken.size, prepared, options.data_root, bars=bars)
    encoder = taken.encoder.to(device)
    features = embed(encoder, images, device, options.precision, options.batch_size, bars=bars)
    about = {
        "encoder": taken.name,
        "encoder_digest": taken.digest,
        "dataset": name.partition(":")[0],
        "size": str(taken.size),
        "preprocess": str(prepared),
        "precision": options.precision,
    }
    write = write_npz if options.out.suffix == ".npz" else write_parquet
    write(options.out, images, features, about)
    n, D = features.shape
    print(f"written: {options.out} ({n:,} images, {D:,} features each)")
    if images.failures:
        print(f"unreadable and left out: {len(images.failures):,}")
        for image, why in list(images.failures.items())[:LISTED]:
            print(f"  {image}: {why}")
        if len(images.failures) > LISTED:
            print(f"  and {len(images.failures) - LISTED:,} more")


if __name__ == "__main__":
    sys.exit(main())
