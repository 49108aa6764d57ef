"""The README's headline: table, sentences and picture, made from the summaries of studies.

`python -m lib.batch.readme` rewrites what stands between the two marks in the README, and draws
headline.png beside the summary of the first of STUDIES; a test repeats it and compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lib.batch.summary import compared, conclusions, headline
from lib.figures.study import plot_lines
from lib.files import replacing, write_text
from lib.findings.worth import NOTHING
from lib.findings.worth import answers as worth_answers
from lib.methods import split_method
from lib.params import ROOT
from lib.study.measurements import measurements, read_summary
from lib.study.worth import weigh

RESULTS, README = ROOT / "results", ROOT / "README.md"
# The studies on real data with one recipe and five seeds, in the order in which they are shown.
STUDIES = ("real", "real_retina", "real_pneumonia", "real_dermatoscopy", "real_dermamnist")
NOTE = (
    "*natural, adapted*: the sequence `natural` with changed settings: weaker jitter, no blur, "
    "larger crops; the exact ones are in the params file. SupCon: SimCLR's relative that uses the "
    "labels. *HAM10000 by lesion* and *dermamnist (rebuilt)* are the same photographs, split "
    "differently. –: not run, or more labels than training images."
)
# What the published studies' own tables hold; elsewhere a file of that name may hold anything.
PRINTED = {
    "csv:dermatoscopy/labels.csv": "HAM10000 by lesion",
    "csv:retinopathy/trainLabels.csv": "EyePACS, a part",
}
BEGIN = "<!-- headline: written by `python -m lib.batch.readme` -->"
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


def read_studies(results: Path, names: Sequence[str] = STUDIES) -> pd.DataFrame:
    """The summaries of the named studies as one table, with augmentations in a few words.

    Data sets are called as in PRINTED. Variants of a setting are left out: docs/findings.md has
    them.
    """
    tables = [read_summary(results / name / "summary.csv", short=True) for name in names]
    table = pd.concat(tables, ignore_index=True).replace({"dataset": PRINTED})
    plain = [not split_method(method)[2] for method in table["method"]]
    return table[plain].reset_index(drop=True)


def headline_text(table: pd.DataFrame, names: Sequence[str] = STUDIES) -> str:
    """The block for the README, of `read_studies`' table of these studies."""
    seeds = measurements(table).groupby("dataset")["seed"].nunique().unique()
    often = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(seeds[0])
    links = ", ".join(
        f"[{name}](results/{name}/index.html) ([every number](results/{name}/summary.csv))"
        for name in names
    )
    answers = [line for line in worth_answers(weigh(table)) if line != NOTHING]
    parts = [
        BEGIN,
        f"![Test AUROC against labelled images](results/{names[0]}/headline.png)",
        f"Test AUROC, mean ± sd over {often} seeds. Frozen: logistic regression on the encoder's "
        f"features. Every run and report: {links}.",
        markdown_table(headline(table, whole=True)),
        NOTE,
        "Does it pay to pretrain? Finetuned against trained from scratch, or frozen against "
        "untrained where nothing was finetuned; a difference is called clear only if it stays so "
        "after correcting for the number of label budgets (Holm):",
        "\n".join(f"- {line}" for line in answers),
        "Every comparison of test AUROC, paired by seed (one comparison is one data set with one "
        "label budget; 95% intervals of Student's t, not corrected for their number):",
        "\n".join(f"- {line}" for line in conclusions(table)),
    ]
    return "\n\n".join([*parts, END])


def rewrite(readme: str, block: str) -> str:
    """The README with the block between its marks; ValueError when it has no marks."""
    pattern = re.compile(r"<!-- headline: .*?" + re.escape(END), re.S)
    if not pattern.search(readme):
        raise ValueError(f"no place for a headline: put {BEGIN!r} and {END!r} into the README")
    return pattern.sub(lambda _: block, readme, count=1)


def main() -> int:
    """Rewrite the README and draw the picture."""
    table = read_studies(RESULTS)
    with replacing(RESULTS / STUDIES[0] / "headline.png") as temporary:
        plot_lines(compared(table, whole=True)).savefig(temporary, dpi=110)
    write_text(README, rewrite(README.read_text(encoding="utf-8"), headline_text(table)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
