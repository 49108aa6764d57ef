"""What probes show, in tables and sentences that can also say "no clear difference"."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lib.evaluation.evaluate import Evaluated, compare
from lib.methods import FLOORS
from lib.names import METRIC_NAMES, PROTOCOL_NAMES, name_labels, name_source


def results_table(
    results: Sequence[Evaluated], metric: str = "auroc", split: str = "test"
) -> pd.DataFrame:
    """One metric by features and classifier (rows) and budget (columns), with its interval."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for r in results:
        if r.predictions.split != split:
            continue
        row = (name_source(r.source, r.augment), PROTOCOL_NAMES[r.protocol])
        cell = f"{r.metrics[metric]:.3f}"
        if metric in r.intervals:
            cell += f" ({r.intervals[metric].low:.3f}–{r.intervals[metric].high:.3f})"
        cells.setdefault(row, {})[name_labels(r.labels)] = cell
    table = pd.DataFrame.from_dict(cells, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(cells), names=["features", "classifier"])
    return table


def metrics_table(results: Sequence[Evaluated], labels: str | None = None) -> pd.DataFrame:
    """Every metric on the test split at one budget (the last one unless named)."""
    test = [r for r in results if r.predictions.split == "test"]
    labels = labels or test[-1].labels
    columns = {}
    for r in test:
        if r.labels == labels:
            # Two lines of header: as one, the columns would not fit on a page.
            name = (name_source(r.source, r.augment), PROTOCOL_NAMES[r.protocol])
            columns[name] = {METRIC_NAMES.get(m, m): f"{v:.3f}" for m, v in r.metrics.items()}
    table = pd.DataFrame(columns)
    table.index = table.index.str.replace("recall_", "recall of ")
    return table


def say_probe(results: Sequence[Evaluated], bootstrap: int = 1000, seed: int = 0) -> str:
    """Whether the encoder beats the floors, budget by budget, on the same test images."""
    test = [r for r in results if r.predictions.split == "test"]
    lines = []
    sources = [s for s in dict.fromkeys(r.source for r in test) if s not in FLOORS]
    for labels in dict.fromkeys(r.labels for r in test):
        at = {(r.source, r.protocol): r for r in test if r.labels == labels}
        for source in sources:
            mine = at[source, "probe"]
            text = f"- **{name_labels(labels)}**: {name_source(source, mine.augment)} reaches "
            text += f"AUROC {mine.metrics['auroc']:.3f}"
            for floor in (at.get(("random", "probe")), at.get(("pixels", "knn"))):
                if floor is not None:
                    text += f"; {say_difference(mine, floor, bootstrap, seed)}"
            lines.append(text + ".")
    return "\n".join(lines) or (
        "Only floors were measured: there is no pretrained encoder here. Run `01_pretrain`, then "
        'set `init` to what it says the run is called, such as `"pretrain-phantom"`.'
    )


def say_difference(mine: Evaluated, other: Evaluated, bootstrap: int, seed: int) -> str:
    """A paired difference in AUROC in words, `no clear difference` when its interval holds 0."""
    d = compare(mine, other, bootstrap, seed)["auroc"]
    name = f"{name_source(other.source)} ({PROTOCOL_NAMES[other.protocol]})"
    span = f"{d.value:+.3f}, 95% interval {d.low:+.3f} to {d.high:+.3f}"
    if d.low > 0:
        return f"above the {name} by {span}"
    if d.high < 0:
        return f"**below** the {name}: {span}"
    return f"no clear difference from the {name} ({span})"


def main_result(results: Sequence[Evaluated]) -> Evaluated:
    """The result a reader came for: the encoder's logistic regression, largest budget, test."""
    test = [r for r in results if r.predictions.split == "test" and r.protocol == "probe"]
    ours = [r for r in test if r.source not in FLOORS] or test
    return ours[-1]


def headline(results: Sequence[Evaluated]) -> str:
    """One line for the study's index: the main result's AUROC at each budget."""
    main = main_result(results)
    line = [
        f"{r.metrics['auroc']:.3f} ({r.labels})"
        for r in results
        if (r.source, r.protocol, r.predictions.split) == (main.source, "probe", "test")
    ]
    return f"{name_source(main.source, main.augment)}: test AUROC {', '.join(line)}"
