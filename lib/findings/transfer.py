"""What a foreign encoder is worth: tables and sentences that can say "no clear difference"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lib.evaluation.evaluate import Evaluated, compare
from lib.names import name_labels, name_source, plain
from lib.statistics.bootstrap import Difference

if TYPE_CHECKING:
    # A report that reads a summary need not load what trains.
    from lib.evaluation.transfer import Transfer

PROTOCOLS = ("probe", "finetune")
# Which kinds of start are compared, the first minus the second.
PAIRS = (
    ("source", "random"),
    ("further", "source"),
    ("further", "imagenet"),
    ("further", "random"),
    ("source", "imagenet"),
    ("imagenet", "random"),
)
HOW = {"probe": "frozen", "finetune": "finetuned"}
KIND_NAMES = {
    "source": "the source's encoder",
    "further": "further pretraining",
    "imagenet": "ImageNet weights",
}


def name_classifier(method: str, augment: str, protocol: str) -> str:
    """A classifier as printed: `SimCLR, novel, frozen`; `untrained, frozen`; `from scratch`."""
    if method == "random":
        return "untrained, frozen" if protocol == "probe" else "from scratch"
    return f"{name_source(method, augment)}, {HOW[protocol]}"


def shown(found: Transfer) -> list[Evaluated]:
    """Probes and finetunings on the test split, the frozen ones first."""
    test = [r for r in found.results if r.predictions.split == "test"]
    return [r for protocol in PROTOCOLS for r in test if r.protocol == protocol]


def budgets_of(found: Transfer) -> list[str]:
    """The label budgets, in the order of the results."""
    return list(dict.fromkeys(r.labels for r in found.results))


def say_starts(found: Transfer, budget_notes: Sequence[str] = ()) -> str:
    """What is compared, and what a reader must know of it."""
    lines = [f"- {name_source(start.method, start.augment)}" for start in found.starts]
    lines += [f"- {plain(note)}" for note in (*found.notes, *budget_notes)]
    if found.further is not None and found.further[1].params.method == "supcon":
        seen = found.further[1].params.seen_labels
        lines.append(f"- SupCon's further pretraining saw {name_labels(seen)} of this data set.")
    if found.further is not None:
        result, _ = found.further
        text = f"- Further pretraining: epoch {result.selected} of {len(result.history)} was kept"
        if result.auroc is not None and result.auroc_before is not None:
            text += f"; kNN AUROC on validation went from {result.auroc_before:.3f} "
            text += f"to {result.auroc:.3f} (standard error about {result.auroc_error or 0:.3f})"
        lines.append(f"{text}.")
    return "\n".join(lines)


def transfer_table(found: Transfer, metric: str = "auroc") -> pd.DataFrame:
    """A metric on the test split by classifier (rows) and budget, with its 95% interval."""
    cells: dict[str, dict[str, str]] = {}
    for r in shown(found):
        span = r.intervals[metric]
        text = f"{r.metrics[metric]:.3f} ({span.low:.3f}–{span.high:.3f})"
        name = name_classifier(r.source, r.augment, r.protocol)
        cells.setdefault(name, {})[name_labels(r.labels)] = text
    return pd.DataFrame.from_dict(cells, orient="index")


def pairs_of(found: Transfer, protocol: str, labels: str) -> list[tuple[str, str]]:
    """The kinds of start to compare at one budget, the first minus the second."""
    return [
        pair
        for pair in PAIRS
        if all(found.test(kind, protocol, labels) is not None for kind in pair)
    ]


def difference(
    found: Transfer, pair: tuple[str, str], protocol: str, labels: str, bootstrap: int, seed: int
) -> dict[str, Difference]:
    """Every metric of one kind of start minus another's, on the same test images."""
    a, b = (found.test(kind, protocol, labels) for kind in pair)
    assert a is not None
    assert b is not None
    return compare(a, b, bootstrap, seed)


def name_kind(kind: str, protocol: str) -> str:
    """A kind of start as the sentences call it."""
    if kind == "random":
        return "the untrained encoder" if protocol == "probe" else "training from scratch"
    return KIND_NAMES[kind]


def differences_table(
    found: Transfer, metric: str = "auroc", bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Paired differences on the same test images, a row for each pair, with 95% intervals."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for protocol in PROTOCOLS:
        for labels in budgets_of(found):
            for pair in pairs_of(found, protocol, labels):
                d = difference(found, pair, protocol, labels, bootstrap, seed)[metric]
                text = f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})"
                names = " minus ".join(name_kind(kind, protocol) for kind in pair)
                cells.setdefault((HOW[protocol], names), {})[name_labels(labels)] = text
    table = pd.DataFrame(list(cells.values()))
    if cells:
        table.index = pd.MultiIndex.from_tuples(list(cells), names=["", "difference"])
    return table


def say_transfer(found: Transfer, bootstrap: int = 1000, seed: int = 0) -> str:
    """Whether the encoder helps on this data set, and whether further pretraining does."""
    lines = []
    for labels in budgets_of(found):
        for protocol in PROTOCOLS:
            parts = []
            for pair in pairs_of(found, protocol, labels):
                d = difference(found, pair, protocol, labels, bootstrap, seed)["auroc"]
                parts.append(say_pair([name_kind(kind, protocol) for kind in pair], d))
            if parts:
                lines.append(f"- **{name_labels(labels)}, {HOW[protocol]}**: {'; '.join(parts)}.")
    return "\n".join(lines) or "There is no pretrained encoder here, so nothing is transferred."


def say_pair(names: Sequence[str], d: Difference) -> str:
    """A paired difference in AUROC in words, `no clear difference` when its interval holds 0."""
    ours, other = names
    span = f"({d.value:+.3f}, 95% interval {d.low:+.3f} to {d.high:+.3f})"
    if d.low > 0:
        return f"{ours} is above {other} {span}"
    if d.high < 0:
        return f"{ours} is **below** {other} {span}"
    return f"no clear difference between {ours} and {other} {span}"


def headline(found: Transfer) -> str:
    """One line for the study's index: test AUROC with the largest budget."""
    labels = budgets_of(found)[-1]
    parts = [
        f"{name_classifier(r.source, r.augment, r.protocol)} {r.metrics['auroc']:.3f}"
        for r in shown(found)
        if r.labels == labels
    ]
    return f"test AUROC with {name_labels(labels)}: {'; '.join(parts)}"
