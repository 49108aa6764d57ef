"""The tables of docs/findings.md, from the summaries of the published studies.

`python -m lib.batch.findings` rewrites what stands between the marks of each table; a test repeats
it and compares. The sentences around them are written by hand. All but the claims come from the
studies of `lib.batch.readme.STUDIES`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable

import pandas as pd

from lib.batch.findings_again import again, settings
from lib.batch.markdown import bold, spread, table_of, way, with_interval
from lib.batch.readme import PRINTED, read_studies
from lib.data.embedded import is_synthetic
from lib.files import write_text
from lib.params import ROOT
from lib.statistics.paired import holm, paired_test
from lib.study.claims import judge, over_baseline, over_untrained
from lib.study.measurements import (
    VERDICT,
    label_order,
    measurements,
    read_summary,
)
from lib.study.published import name_dataset, published_as, read_published

RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "findings.md"
TRANSFER = "real_transfer"
SEARCH = "search/simclr_breastmnist.csv"
CLAIMS = {
    "pretraining": "SimCLR above training from scratch, AUROC",
    "pretraining_accuracy": "the same, accuracy",
    "pretraining_frozen": "frozen SimCLR above the encoder untrained, AUROC",
    "novel": "novel above natural augmentation, AUROC",
    "transfer": "another data set's encoder above its own, AUROC",
    "downsampling": "smaller images above the largest, AUROC",
    "undersampling": "undersampling above all labels, balanced accuracy",
    "undersampling_accuracy": "the same, accuracy",
    "supcon": "SupCon above cross-entropy, AUROC",
}
METRICS = {"accuracy": "accuracy", "auroc": "AUROC"}


def claims() -> str:
    """What each study says on each claim: a row a claim, a column a study.

    By today's rules, whichever code wrote the study's own report. In bold where the verdict is for
    or against the claim, after correction for the number of comparisons.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted(RESULTS.glob("*/summary.csv")):
        table = read_summary(path)
        table = table[(table["protocol"] != VERDICT) & ~table["dataset"].map(is_synthetic)]
        for claim, verdict in judge(table).items():
            if verdict.tested:
                t = verdict.effect
                clear = verdict.answer in ("supported", "contradicted")
                text = bold(with_interval(t.mean, t.low, t.high), clear)
                found.setdefault(path.parent.name, {})[claim] = text
    rows = [[words, *(found[s].get(claim, "") for s in found)] for claim, words in CLAIMS.items()]
    return table_of(["", *(f"[{s}](../results/{s}/index.html)" for s in found)], rows)


def against_published() -> str:
    """All labels: every way of the studies beside the best figure collected for its data set."""
    table, known = read_studies(RESULTS), read_published()
    rows = []
    for metric, words in METRICS.items():
        found = measurements(table, metric)
        ways = (found["labels"] == "all") & found["protocol"].isin(["probe", "finetune", "knn"])
        for key, group in found[ways].groupby(["dataset", "method", "protocol"], sort=False):
            dataset, method, protocol = map(str, key)
            by_seed = group.groupby("seed")["value"].mean()
            t = paired_test(list(by_seed))
            theirs = known[
                (known["dataset"] == published_as(dataset))
                & (known["metric"] == metric)
                & (known["labels"] == "all")
                & (known["size"].astype(str) == "28")
            ]
            if theirs.empty:
                continue
            own = f"{t.mean:.3f}" if math.isnan(t.low) else with_interval(*spread(t), sign=False)
            best = f"{theirs['value'].astype(float).max():.3f}"
            rows.append([name_dataset(dataset), words, way(method, protocol), own, best])
    rows.sort(key=lambda row: (row[0], row[1]))
    heads = ["data set", "", "ours", "mean, 95% interval", "best in published.csv"]
    return table_of(heads, rows)


def against_earlier() -> str:
    """SimCLR at every label budget beside the best of simclr-medical-imaging, in-domain."""
    table, known = read_studies(RESULTS), read_published()
    known = known[
        known["source"].str.startswith("simclr-medical-imaging")
        & (known["pretrained_on"] == known["dataset"])
    ]
    rows = []
    for metric, words in METRICS.items():
        found = measurements(table, metric)
        ways = (found["method"] == "simclr") & found["protocol"].isin(["probe", "finetune"])
        for key, group in found[ways].groupby(["dataset", "protocol", "labels"], sort=False):
            dataset, protocol, labels = map(str, key)
            theirs = known[
                (known["dataset"] == published_as(dataset))
                & (known["metric"] == metric)
                & (known["protocol"] == protocol)
                & (known["labels"] == labels)
            ]
            if theirs.empty:
                continue
            t = paired_test(list(group.groupby("seed")["value"].mean()))
            best = theirs.assign(value=theirs["value"].astype(float)).nlargest(1, "value").iloc[0]
            place = [name_dataset(dataset), labels, way("simclr", protocol), words]
            mine = with_interval(*spread(t), sign=False)
            rows.append([*place, mine, f"{best['value']:.3f} ({best['augment']})"])
    order = label_order(str(row[1]) for row in rows)
    rows.sort(key=lambda row: (row[0], row[2], row[3], order.index(str(row[1]))))
    heads = ["data set", "labels", "trained", "", "ours, 95% interval", "theirs, chosen on test"]
    return table_of(heads, rows)


def gains(metric: str = "auroc") -> str:
    """What SimCLR adds at each label budget, paired by seed.

    In bold what stays clear of zero after Holm's correction over a data set's budgets.
    """
    table = read_studies(RESULTS)
    scratch, untrained = over_baseline(table, metric, 0.95), over_untrained(table, metric, 0.95)
    parts = {
        "probe − from scratch": scratch[scratch["protocol"] == "probe"],
        "finetuned − from scratch": scratch[scratch["protocol"] == "finetune"],
        "probe − probe of the untrained": untrained,
    }
    rows = []
    for dataset in dict.fromkeys([*scratch["dataset"], *untrained["dataset"]]):
        for labels in label_order([*scratch["labels"], *untrained["labels"]]):
            cells = []
            for cell in parts.values():
                budgets = cell[cell["dataset"] == dataset]
                budgets = budgets.assign(corrected=holm(list(budgets["p"])))
                one = [
                    bold(with_interval(c.mean, c.low, c.high), c.corrected < 0.05)
                    for c in budgets[budgets["labels"] == labels].itertuples()
                ]
                cells.append(one[0] if one else "")
            if any(cells):
                rows.append([name_dataset(dataset), labels, *cells])
    return table_of(["data set", "labels", *parts], rows)


def balanced_gains() -> str:
    """The same in balanced accuracy, to which every class counts alike."""
    return gains("balanced_accuracy")


def transfer() -> str:
    """Frozen encoders of every source on every target of the study of transfer."""
    text = transfer_matrix(read_summary(RESULTS / TRANSFER / "summary.csv"))
    for name, printed in PRINTED.items():
        text = text.replace(name, printed)
    return text


def transfer_matrix(table: pd.DataFrame, labels: str = "all") -> str:
    """Test AUROC of probes with a label budget, mean over seeds: a row a target, a column a source.

    In bold where the interval of the difference from the untrained encoder, paired by seed, is
    above zero, in italics where it is below; not corrected for the number of cells.
    """
    found = measurements(table, "auroc")
    found = found[(found["protocol"] == "probe") & (found["labels"] == labels)]
    # A floor stands in several reports with the same value.
    seeds = found.groupby(["dataset", "method", "seed"])["value"].mean().unstack()
    targets = list(dict.fromkeys(found["dataset"]))
    rows = []
    for target in targets:
        here = seeds.loc[target]
        cells = [f"{here.loc['random'].mean():.3f}"]
        for source in targets:
            method = "simclr" if source == target else f"simclr from {source}"
            if method not in here.index:
                cells.append("")
                continue
            gain = paired_test(list((here.loc[method] - here.loc["random"]).dropna()))
            text = f"{here.loc[method].mean():.3f}"
            cells.append(f"*{text}*" if gain.high < 0 else bold(text, gain.low > 0))
        rows.append([name_dataset(target), *cells])
    sources = [f"from {name_dataset(source)}" for source in targets]
    return table_of(["probed on", "untrained", *sources], rows)


def search() -> str:
    """The part of the search that has been run: validation kNN AUROC of each view, by fold."""
    table = pd.read_csv(RESULTS / SEARCH)
    table = table[table["metric"] == "knn_auroc"]
    folds = sorted(table["fold"].unique())
    rows = []
    for augment, group in table.groupby("augment", sort=False):
        by_fold = group.set_index("fold")["value"]
        rows.append([f"`{augment}`", *(by_fold[f] for f in folds), by_fold.mean()])
    rows.sort(key=lambda row: -float(row[-1]))
    text = [[row[0], *(f"{value:.3f}" for value in row[1:])] for row in rows]
    return table_of(["augmentation", *(f"fold {f}" for f in folds), "mean"], text)


def selection() -> str:
    """What choosing checkpoints on test adds, by way of training and label budget, over seeds."""
    table = read_studies(RESULTS)
    table = table[table["notebook"] == "11_selection"]
    columns = {
        "kept, as here": ("{}, chosen by kept", ""),
        "best on validation": ("{}, chosen by validation", ""),
        "best on test": ("{}, chosen by test", ""),
        "test − kept": ("{}, chosen by test", "{}, chosen by kept"),
        "test − validation": ("{}, overstated by choosing on test", ""),
        "optimism on half of test": ("{}, optimism on half of test", ""),
    }
    rows = []
    for key, group in table.groupby(["dataset", "method", "protocol", "labels"], sort=False):
        dataset, method, protocol, labels = map(str, key)
        by_seed = group.groupby(["metric", "seed"])["value"].mean()
        for metric, words in METRICS.items():
            cells = []
            for pattern, less in columns.values():
                values = by_seed.loc[pattern.format(metric)]
                t = paired_test(list(values - by_seed.loc[less.format(metric)] if less else values))
                own = math.isnan(t.low)
                cells.append(f"{t.mean:.3f}" if own else with_interval(*spread(t), sign=False))
            words_of = [name_dataset(dataset), labels, way(method, protocol), words]
            rows.append([*words_of, *cells])
    return table_of(["data set", "labels", "trained", "", *columns], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "claims": claims,
    "against_published": against_published,
    "against_earlier": against_earlier,
    "gains": gains,
    "balanced_gains": balanced_gains,
    "again": again,
    "settings": settings,
    "transfer": transfer,
    "selection": selection,
    "search": search,
}


def rewrite(page: str) -> str:
    """The page with its tables made anew; ValueError where it lacks the marks of one."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- table: {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
        if not pattern.search(page):
            raise ValueError(f"no place for a table: put {begin!r} and {end!r} into the page")
        block = f"{begin}\n\n{make()}\n\n{end}"
        page = pattern.sub(lambda _, block=block: block, page)  # type: ignore[misc]
    return page


def main() -> int:
    """Rewrite the page."""
    write_text(PAGE, rewrite(PAGE.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
