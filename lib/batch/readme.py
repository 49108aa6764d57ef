"""The README's headline: table, sentences and picture, made from a study's summary.csv.

`python -m lib.batch.readme results/first_light README.md` rewrites what stands between the two
marks in the README and draws headline.png beside the summary; a test repeats it and compares.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd

from lib.batch.summary import conclusions, headline
from lib.figures.study import plot_study
from lib.files import replacing, write_text
from lib.study.measurements import measurements, read_summary

BEGIN = "<!-- headline: written by `python -m lib.batch.readme` from {summary} -->"
END = "<!-- end of headline -->"


def markdown_table(table: pd.DataFrame) -> str:
    """A table with two index levels in Markdown; a repeated first level is left blank."""
    names = [*map(str, table.index.names), *map(str, table.columns)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    before = ""
    for index, row in table.iterrows():
        first, second = map(str, index)  # type: ignore[call-overload]
        cells = ["" if first == before else first, second, *map(str, row)]
        lines.append("| " + " | ".join(cells) + " |")
        before = first
    return "\n".join(lines)


def headline_text(study_folder: Path, shown: str) -> str:
    """The block for the README. shown: the study's folder as the README should link it."""
    table = read_summary(study_folder / "summary.csv", short=True)
    seeds = len(set(measurements(table)["seed"]))
    parts = [
        BEGIN.format(summary=f"{shown}/summary.csv"),
        f"![Test AUROC against labelled images]({shown}/headline.png)",
        f"Test AUROC of logistic regression on frozen features, mean ± sd over {seeds} seeds "
        f"([every run and report]({shown}/index.html), [every number]({shown}/summary.csv)):",
        markdown_table(headline(table)),
        f"Differences in test AUROC, paired by seed ({seeds} seeds, so intervals are wide; a "
        "comparison is one data set with one label budget, and clear when its 95% interval of "
        "Student's t excludes zero):",
        "\n".join(f"- {line}." for line in conclusions(table)),
    ]
    return "\n\n".join([*parts, END])


def rewrite(readme: str, block: str) -> str:
    """The README with the block between its marks; ValueError when it has no marks."""
    pattern = re.compile(r"<!-- headline: .*?" + re.escape(END), re.S)
    if not pattern.search(readme):
        raise ValueError(f"no place for a headline: put {BEGIN!r} and {END!r} into the README")
    return pattern.sub(lambda _: block, readme, count=1)


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the README named second from the study folder named first."""
    study_folder, readme = map(Path, arguments or sys.argv[1:3])
    table = read_summary(study_folder / "summary.csv", short=True)
    with replacing(study_folder / "headline.png") as temporary:
        plot_study(table).savefig(temporary, dpi=110)
    block = headline_text(study_folder, study_folder.as_posix())
    write_text(readme, rewrite(readme.read_text(encoding="utf-8"), block))
    return 0


if __name__ == "__main__":
    sys.exit(main())
