"""What is in a folder, a csv or an npz of images, before anything runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lib.data.base import DataError
from lib.data.describe import MAX_SIZE, MIN_SIZE
from lib.describe.recognise import recognise


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.describe", description=__doc__)
    add = parser.add_argument
    add("path", help="a folder, a .csv or .npz file, folder:PATH, csv:PATH, npz:PATH, a MedMNIST "
        "name or phantom")  # fmt: skip
    add("--html", type=Path, metavar="FILE", help="also write a page with pictures")
    add("--contact-sheet", type=Path, metavar="FILE",
        help="also write a few images of each class as a PNG")  # fmt: skip
    add("--write-params", type=Path, metavar="FILE", help="save the suggested params file")
    add("--size", type=int, metavar="PIXELS",
        help="image side to suggest, and of MedMNIST's file (default: by the images)")  # fmt: skip
    add("--data-root", metavar="DIR", help="folder of MedMNIST's files (default: MEDMNIST_ROOT)")
    add("--workers", type=int, metavar="N", help="threads that decode (default: one a core)")
    options = parser.parse_args(arguments)
    if options.size is not None and not MIN_SIZE <= options.size <= MAX_SIZE:
        parser.error(f"--size: expected a number from {MIN_SIZE} to {MAX_SIZE}")
    if options.workers is not None and options.workers < 1:
        parser.error("--workers: expected a number from 1")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Exit 0: described. 2: not a data set, or a file that cannot be written; one line says why."""
    options = parse(arguments)
    try:
        describe(options)
    except (DataError, OSError) as error:
        print(f"lib.describe: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def describe(options: argparse.Namespace) -> None:
    """Look, print, and write what was asked for."""
    name = recognise(options.path)
    from lib.describe.alike import find_alike
    from lib.describe.facts import gather
    from lib.describe.look import look_at
    from lib.describe.suggest import suggest
    from lib.describe.text import render

    bars = sys.stderr.isatty()
    look = look_at(name, options.size, options.data_root, workers=options.workers, progress=bars)
    if not look.readable:
        row, why = next(iter(look.failures.items()))
        raise DataError(f"{look.where}: no image can be read; the first: {look.ids[row]} ({why})")
    alike = find_alike(look.pictures)
    facts, suggestion = gather(look, alike), suggest(look, options.size)
    print(render(look, facts, suggestion))
    if options.html:
        from lib.describe.report import write_report

        write_report(look, alike, facts, suggestion, options.html)
    if options.contact_sheet:
        from lib.describe.sheet import write_sheet

        write_sheet(look, options.contact_sheet)
    if options.write_params:
        from lib.files import write_text

        write_text(options.write_params, suggestion.text)
    for path in (options.html, options.contact_sheet, options.write_params):
        if path:
            print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
