"""Take an encoder away: as ONNX or TorchScript, checked against itself, with a model card."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.export", description=__doc__)
    add = parser.add_argument
    add("encoder", metavar="RUN_OR_FILE",
        help="a run's name or folder, a .safetensors file or a checkpoint")  # fmt: skip
    add("--onnx", type=Path, metavar="FILE", help="write an ONNX file")
    add("--torchscript", type=Path, metavar="FILE", help="write a TorchScript file")
    add("--card", type=Path, metavar="FILE", help="write a model card in Markdown")
    add("--study", type=Path, metavar="FOLDER",
        help="the card's figures are from this study (default: the run's own)")  # fmt: skip
    add("--source", default="", metavar="TEXT", help="card: where your own images come from")
    add("--licence", default="", metavar="TEXT", help="card: the licence of your own images")
    add("--size", type=int, metavar="PIXELS", help="image side (default: the encoder's own)")
    add("--tolerance", type=float, metavar="SHARE",
        help="largest difference, as a share of the largest feature (default: 1e-4)")  # fmt: skip
    add("--results", type=Path, default=Path("results"), metavar="DIR",
        help="folder in which runs are looked for by name (default: results)")  # fmt: skip
    options = parser.parse_args(arguments)
    if not (options.onnx or options.torchscript or options.card):
        parser.error("nothing to write: give --onnx FILE, --torchscript FILE or --card FILE")
    if options.size is not None and not 7 <= options.size <= 1024:
        parser.error("--size: expected a number from 7 to 1024")
    if options.tolerance is not None and not options.tolerance >= 0:
        parser.error("--tolerance: expected a number from 0")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Exit 0: written and checked. 2: one line says why not; nothing half written is left."""
    options = parse(arguments)
    from lib.checks import ParameterError
    from lib.export.portable import ExportError
    from lib.models.encoder import EncoderError

    try:
        export(options)
    except (ExportError, ParameterError, EncoderError, OSError) as error:
        print(f"lib.export: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def export(options: argparse.Namespace) -> None:
    """Write what was asked for and say how well each file agrees."""
    from lib.export.files import TOLERANCE, write_onnx, write_torchscript
    from lib.export.portable import take_encoder

    taken = take_encoder(options.encoder, options.results, options.size)
    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    differences = {}
    for kind, path, write in (
        ("TorchScript", options.torchscript, write_torchscript),
        ("ONNX", options.onnx, write_onnx),
    ):
        if path:
            differences[kind] = write(taken, path, tolerance)
            print(f"written: {path} ({kind}, {differences[kind]})")
    if options.card:
        from lib.export.card import Files, write_card
        from lib.files import write_text

        files = Files(options.onnx, options.torchscript, differences)
        study = options.study or own_study(taken.file)
        about = {"source": options.source, "licence": options.licence}
        write_text(options.card, write_card(taken, study, files, **about))
        print(f"written: {options.card} (model card)")


def own_study(file: Path) -> Path | None:
    """The study whose run left the encoder's file, if it has a summary: STUDY/runs/RUN/FILE."""
    folder = file.resolve().parent.parent
    study = folder.parent if folder.name == "runs" else None
    return study if study is not None and (study / "summary.csv").is_file() else None


if __name__ == "__main__":
    sys.exit(main())
