"""Ours beside the published figures: a table, its caveats, and a sentence."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from lib.findings.claims import name_side, nothing
from lib.names import METRIC_NAMES
from lib.study.measurements import label_order
from lib.study.published import METRICS, name_dataset, read_published


def number_notes(beside: pd.DataFrame) -> dict[tuple[str, str, str, str], int]:
    """A number for each source with its encoder and caveat, from 1, in order of appearance."""
    keys = zip(*(beside[c] for c in ("source", "url", "encoder", "caveat")), strict=True)
    return {key: i for i, key in enumerate(dict.fromkeys(keys), start=1)}


def ours(row: Any) -> str:
    """Our mean over seeds with its interval."""
    if math.isnan(row.low):
        return f"{row.mean:.3f} (one seed)"
    return f"{row.mean:.3f} ({row.low:.3f}–{row.high:.3f})"


def beside_table(beside: pd.DataFrame) -> pd.DataFrame:
    """Published numbers and ours: data set, budget and classifier (rows), metric (columns).

    beside: from `lib.study.published.with_counterparts`. The note says where a number is from.
    """
    if beside.empty:
        return nothing()
    notes, order = number_notes(beside), label_order(beside["our_labels"])
    several = beside["our_encoder"].nunique() > 1
    entries: dict[tuple[str, str, str, str], dict[tuple[str, str], str]] = {}
    ranked = beside.assign(place=[order.index(w) for w in beside["our_labels"]])
    for row in ranked.sort_values(["our_dataset", "place"], kind="stable").itertuples(index=False):
        side = name_side(str(row.method), str(row.our_augment), str(row.our_protocol))
        side += f", {row.our_encoder}" if several else ""
        note = f"[{notes[str(row.source), str(row.url), str(row.encoder), str(row.caveat)]}]"
        place = f"{name_dataset(str(row.our_dataset))}, {row.size} px"
        entry = entries.setdefault((place, str(row.our_labels), side, note), {})
        entry[METRIC_NAMES[str(row.metric)], "published"] = f"{row.value:.3f}"
        entry[METRIC_NAMES[str(row.metric)], "ours"] = ours(row)
    names = ["data set", "labels", "classifier", "note"]
    index = pd.MultiIndex.from_tuples(list(entries), names=names)
    columns = pd.MultiIndex.from_product(
        [[METRIC_NAMES[m] for m in METRICS], ["published", "ours"]]
    )
    cells = [[entry.get(column, "–") for column in columns] for entry in entries.values()]
    return pd.DataFrame(cells, index, columns)


def say_notes(beside: pd.DataFrame) -> str:
    """Where each published number is from, and what is known against it."""
    lines = []
    for (source, url, encoder, caveat), number in number_notes(beside).items():
        lines.append(f"- [{number}] [{source}]({url}): {encoder}; {caveat}.")
    return "\n".join(lines) or "No published number has a counterpart here."


def say_beside(beside: pd.DataFrame, level: float = 0.95) -> str:
    """How ours compare with the published numbers, and how far that can be trusted."""
    total = len(read_published())
    if beside.empty:
        return f"Of {total} published numbers none has a counterpart among the runs of this study."
    facts = beside[list(read_published().columns.drop("caveat"))].drop_duplicates()
    text = "Only numbers of the same kind of training are compared. "
    text += f"Of {total} published numbers {len(facts)} have a counterpart here "
    text += f"({len(beside)} comparisons). "
    known = beside[beside["seeds"] > 1]
    if known.empty:
        return text + "Ours come from one seed, so nothing is known of their spread."
    above, below = (
        int((known["low"] > known["value"]).sum()),
        int((known["high"] < known["value"]).sum()),
    )
    text += f"In {above} ours is above the published number, in {below} below, and in "
    text += f"{len(known) - above - below} there is no clear difference: the published number lies "
    text += f"in the {level:.0%} interval of ours over seeds (not corrected for their number)."
    chosen = int(beside["caveat"].str.contains("selected on the test split").sum())
    if chosen:
        text += f" In {chosen} of these comparisons the published model was selected on the test "
        text += "split, which makes its number too good."
    return text
