"""Tables of the study that was run twice, and by other settings than its recipe's."""

from __future__ import annotations

import pandas as pd

from lib.batch.markdown import table_of, way, with_interval
from lib.params import ROOT
from lib.statistics.paired import paired_test
from lib.study.claims import named_rows
from lib.study.measurements import label_order, mean_interval, measurements, read_summary

STUDY = ROOT / "results" / "real"
EARLIER = "earlier-6d845618.csv"


def settings() -> str:
    """Training from scratch and finetuning by other settings than the recipe's, on BreastMNIST."""
    return settings_table(read_summary(STUDY / "summary.csv"))


def settings_table(table: pd.DataFrame) -> str:
    """Test AUROC from scratch and finetuned by label budget and setting, and what SimCLR adds."""
    rows = named_rows(table, "auroc")
    own = rows[rows["base"].isin(["random", "simclr"]) & (rows["source"] == "")]
    whole = own[own["protocol"] == "finetune"]
    probe = own[(own["protocol"] == "probe") & (own["method"] == "simclr")]
    lines = []
    for labels in label_order(whole["labels"]):
        for variant in dict.fromkeys(whole["variant"]):
            here = whole[(whole["labels"] == labels) & (whole["variant"] == variant)]
            sides = [here[here["base"] == base] for base in ("random", "simclr")]
            scratch, tuned, frozen = (
                side.set_index("seed")["value"]
                for side in (*sides, probe[probe["labels"] == labels])
            )
            if scratch.empty:
                continue
            gains = [paired_test(list((side - scratch).dropna())) for side in (tuned, frozen)]
            lines.append(
                [
                    labels,
                    variant or "by the recipe",
                    *(with_interval(*mean_interval(list(v)), sign=False) for v in (scratch, tuned)),
                    *(with_interval(t.mean, t.low, t.high) for t in gains),
                ]
            )
    heads = ["labels", "trained", "from scratch", "finetuned"]
    return table_of([*heads, "finetuned − from scratch", "probe − from scratch"], lines)


def again() -> str:
    """The study that was run twice: the same seeds and settings, other draws of the views."""
    return again_table(read_summary(STUDY / EARLIER), read_summary(STUDY / "summary.csv"))


def again_table(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Test AUROC of both runs with intervals over their seeds, and over all of both together."""
    parts = [measurements(table, "auroc") for table in (first, second)]
    ways = ["labels", "method", "protocol"]
    lines = []
    for key in dict.fromkeys(parts[0][ways].itertuples(index=False, name=None)):
        labels, method, protocol = map(str, key)
        if method not in ("simclr", "supcon", "random") or protocol not in ("probe", "finetune"):
            continue
        values = [
            list(t.loc[(t[ways] == pd.Series(key, ways)).all(axis=1), "value"]) for t in parts
        ]
        if (method, protocol) == ("random", "probe") or not all(values):
            continue  # an untrained encoder is the same in both
        cells = [mean_interval(v) for v in (*values, [*values[0], *values[1]])]
        lines.append(
            [labels, way(method, protocol), *(with_interval(*c, sign=False) for c in cells)]
        )
    order = label_order([line[0] for line in lines])
    lines.sort(key=lambda line: order.index(line[0]))
    return table_of(["labels", "", "first run", "second run", "both"], lines)
