"""The page JupyterLab opens on: notebooks/README.md, its table made from the notebooks themselves.

`python -m lib.pages.start_page` rewrites what stands between the two marks; a test repeats it and
compares.
"""

from __future__ import annotations

import json
import re
import sys

from lib.files import write_text
from lib.params import NOTEBOOKS, notebook_defaults

PAGE = NOTEBOOKS / "README.md"
BEGIN = "<!-- notebooks: written by `python -m lib.pages.start_page` -->"
END = "<!-- end of notebooks -->"
# Processor seconds of each by papermill with default parameters and one thread, the start of its
# kernel included, on a machine that was busy with other work (2026-11-26): an upper bound of the
# time it takes alone. None: not measured to its end with the defaults it has.
SECONDS: dict[str, int | None] = {
    "00_data": 24,
    "01_pretrain": 109,
    "02_probe": 30,
    "03_finetune": 54,
    "04_imbalance": 53,
    "05_transfer": 70,
    "06_downsampling": 169,
    "07_retrieval": 22,
    "08_features": 71,
    "09_report": 22,
    "10_retinopathy": 45,
    "11_selection": 63,
}


def title_and_question(notebook: str) -> tuple[str, str]:
    """A notebook's title in its two parts: `Data`, `what is in this data set, …?`.

    Raises ValueError where its first cell does not begin with such a line.
    """
    path = NOTEBOOKS / f"{notebook}.ipynb"
    source = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    found = re.match(r"# ([^:\n]+): ([^\n]+\?)\n", source + "\n")
    if not found:
        line = source.partition("\n")[0]
        raise ValueError(f"{path}: expected `# Title: question?` first, found {line!r}")
    return found[1], found[2][0].upper() + found[2][1:]


def needs_of(notebook: str) -> str:
    """What a notebook starts from by its default parameters, and what it is better given."""
    defaults = notebook_defaults(notebook)
    if "summary" in defaults:
        return "`study`: one of yours; without it, the published `evening`"
    trains = {"temperature", "method"} <= set(defaults)
    if defaults.get("init") == "scratch" and not trains:
        return "`init`: an encoder; without it, the floors alone"
    return "nothing"


def notebooks_table(seconds: dict[str, int | None]) -> str:
    """The notebooks in reading order as a table in Markdown, each with a link that opens it."""
    lines = ["| notebook | question | needs | takes |", "|---|---|---|---|"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        title, question = title_and_question(path.stem)
        cells = [f"[{path.stem[:2]} {title}]({path.name})", question, needs_of(path.stem)]
        lines.append(f"| {' | '.join(cells)} | {say_seconds(seconds[path.stem])} |")
    return "\n".join(lines)


def say_seconds(seconds: int | None) -> str:
    """A duration as a reader plans with it: quarters of a minute below one, then halves."""
    if seconds is None:
        return "minutes"
    if seconds <= 45:
        return f"{-(-seconds // 15) * 15} s"
    halves = -(-seconds // 30)
    return f"{halves // 2}{'½' if halves % 2 else ''} min"


def rewrite(page: str, block: str) -> str:
    """The page with the block between its marks; ValueError when it has no marks."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.S)
    if not pattern.search(page):
        raise ValueError(f"{PAGE}: no place for the table: put {BEGIN!r} and {END!r} into it")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{block}\n\n{END}", page, count=1)


def main() -> int:
    """Rewrite the page's table."""
    write_text(PAGE, rewrite(PAGE.read_text(encoding="utf-8"), notebooks_table(SECONDS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
