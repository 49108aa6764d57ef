"""The claims of the two systems this study builds on, and what the study says of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.names import METRIC_NAMES, PROTOCOL_NAMES, name_labels, name_scratch, name_source
from lib.statistics.paired import fewest_datasets
from lib.study.measurements import VERDICT, label_order
from lib.study.published import largest_published_gain, name_dataset
from lib.study.verdicts import Verdict

if TYPE_CHECKING:
    from IPython.display import Markdown

    from lib.run import Run

NOT_TESTED = "not tested in this study"


@dataclass(frozen=True)
class Claim:
    """One claim, in this study's words, and where it is made."""

    text: str
    source: str


SIMCLR, SUPCON = "simclr-medical-imaging, abstract", "SupCon-DR, README"
# Points of accuracy that pretraining is said to gain at most (simclr-medical-imaging, abstract).
CLAIMED_GAIN = 30.6
# Probes of the frozen encoder and finetuning are taken together.
PRETRAINING = "pretraining, frozen or finetuned, beats training from scratch"
CLAIMS = {
    "pretraining": Claim(PRETRAINING, SIMCLR),
    "pretraining_accuracy": Claim(f"{PRETRAINING} in accuracy", SIMCLR),
    "pretraining_frozen": Claim(
        "pretrained features beat those of an untrained encoder", "this study's own floor"
    ),
    "novel": Claim("the augmentation novel is consistently better than natural", SIMCLR),
    "downsampling": Claim("smaller images are viable for some modalities", SIMCLR),
    "transfer": Claim(
        "an encoder from another data set beats one pretrained on the data set itself",
        "simclr-medical-imaging, its transfer experiments",
    ),
    "undersampling": Claim(
        "equal classes by undersampling raise balanced accuracy",
        "simclr-medical-imaging, its experiments on class imbalance",
    ),
    "undersampling_accuracy": Claim(
        "equal classes by undersampling raise accuracy",
        "simclr-medical-imaging, its experiments on class imbalance",
    ),
    "supcon": Claim("SupCon beats cross-entropy", SUPCON),
}


def verdict_table(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """A line for each claim tested: answer, effect, how many comparisons are clear.

    Where none was tested, a line for each claim.
    """
    rows = {}
    tested = {claim: v for claim, v in in_order(verdicts).items() if v.datasets}
    for claim, v in (tested or in_order(verdicts)).items():
        rows[CLAIMS[claim].text] = {
            "answer": v.answer,
            "metric": METRIC_NAMES.get(v.metric, v.metric),
            "difference (interval)": with_interval(v.effect) if v.datasets else "–",
            "data sets": len(v.datasets) or "–",
            "comparisons": len(v.cells) or "–",
            "above / below": f"{v.above} / {v.below}" if v.tested else "–",
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "claim"
    return table


def say_untested(names: Collection[str]) -> str:
    """The claims of these names, in one sentence; empty without any."""
    texts = "; ".join(CLAIMS[name].text for name in CLAIMS if name in names)
    return f"Not tested here: {texts}." if texts else ""


def about(compared: pd.DataFrame, text: str) -> Markdown:
    """What a report says of some comparisons, marked as untested where there are none.

    A page folds the sections in which everything marked is untested (`lib.pages.sections`).
    """
    from IPython.display import Markdown

    return Markdown(text, metadata={"untested": compared.empty})  # type: ignore[no-untyped-call]


def in_order(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Verdicts in the order of CLAIMS."""
    return {claim: verdicts[claim] for claim in CLAIMS if claim in verdicts}


def with_interval(found: Any) -> str:
    """A difference with its interval, if it has one."""
    if math.isnan(found.low):
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def name_protocol(protocol: str) -> str:
    """A protocol as printed, in short: `probe`, `finetuned`, `finetuned, undersample`."""
    base, _, remedy = protocol.partition("+")
    name = base if base == "probe" else PROTOCOL_NAMES.get(base, base)
    return name + (f", {remedy}" if remedy else "")


def name_side(method: str, augment: str, protocol: str) -> str:
    """One side of a comparison as printed."""
    scratch = name_scratch(method, protocol)
    return scratch or f"{name_source(method, augment)}, {name_protocol(protocol)}"


def name_cell(cell: Any) -> str:
    """What a cell compares: `SimCLR, novel, finetuned over training from scratch`."""
    ours = name_side(cell.method, cell.augment, cell.protocol)
    other = name_side(cell.method_other, cell.augment_other, cell.protocol_other)
    if ours == other:
        return f"{ours} over the same at {cell.size_other} px"
    # What both sides share is said once.
    other = other.removesuffix(f", {name_protocol(cell.protocol)}")
    other = "training from scratch" if other == "from scratch" else other
    return f"{ours} over {other}"


def cells_table(verdict: Verdict) -> pd.DataFrame:
    """Every comparison of a claim: data set and sides (rows), budget (columns).

    Each with its interval and its p value, corrected for the number of comparisons of the claim.
    """
    if verdict.cells.empty:
        return nothing()
    entries: dict[tuple[str, str], dict[str, str]] = {}
    several = verdict.cells["encoder"].nunique() > 1
    order = {dataset: i for i, dataset in enumerate(verdict.datasets)}
    cells = verdict.cells.sort_values("dataset", key=lambda c: c.map(order), kind="stable")
    for cell in cells.itertuples():
        place = f"{name_dataset(str(cell.dataset))}, {cell.size} px"
        place += f", {cell.encoder}" if several else ""
        p = float(cell.corrected)  # type: ignore[arg-type]
        text = with_interval(cell) + ("" if math.isnan(p) else f", {name_p(p)}")
        entries.setdefault((place, name_cell(cell)), {})[str(cell.labels)] = text
    budgets = label_order(cells["labels"])
    index = pd.MultiIndex.from_tuples(list(entries), names=["data set", "comparison"])
    table = pd.DataFrame(list(entries.values()), index).reindex(columns=budgets).fillna("–")
    table.columns = pd.Index([name_labels(w) for w in budgets])
    return table


def nothing(text: str = NOT_TESTED) -> pd.DataFrame:
    """A table that says why it is empty."""
    return pd.DataFrame({"": [text]}, index=[""])


def name_p(p: float) -> str:
    """A p value as printed, not to be torn over two lines."""
    return "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.3f}"


def say_verdict(verdict: Verdict, level: float = 0.95) -> str:
    """One claim and its answer in a few sentences."""
    claim, cells = CLAIMS[verdict.claim], verdict.cells
    text = f"**{claim.text[0].upper()}{claim.text[1:]}** ({claim.source}): **{verdict.answer}**. "
    if cells.empty:
        return text + "The study has no runs that could be compared for it."
    metric, effect = METRIC_NAMES.get(verdict.metric, verdict.metric), verdict.effect
    D = len(verdict.datasets)
    text += f"The difference in {metric} is {effect.mean:+.3f} on average over {D} data set(s)"
    if not math.isnan(effect.low):
        unit = cells["unit"].iloc[0]
        text += f" ({level:.0%} interval over {effect.n} {unit}s: {effect.low:+.3f} to "
        text += f"{effect.high:+.3f})"
    if not verdict.tested:
        one = int(cells["pairs"].max()) == 1
        reason = "there is one seed or fold of each" if one else "nothing random tells pairs apart"
        return f"{text}. No test is possible: {reason}."
    margin = float(-cells["margin"].iloc[0])
    sides = ("above", "below", "show no clear difference")
    if verdict.rule == "some":
        sides = (f"within a loss of {100 * margin:g} point(s)", "beyond it", "are not clear")
    left = verdict.tested - verdict.above - verdict.below
    text += f". Of {verdict.tested} comparisons {verdict.above} are clearly {sides[0]}, "
    text += f"{verdict.below} clearly {sides[1]}, {left} {sides[2]} (p corrected by Holm)"
    untested = len(cells) - verdict.tested
    text += f"; {untested} more could not be tested" if untested else ""
    return f"{text}." + ("" if verdict.rule == "some" else f" {say_datasets(verdict, level)}")


def say_datasets(verdict: Verdict, level: float) -> str:
    """Over data sets: Wilcoxon's test, or why there is none and what can be counted instead."""
    n, above = len(verdict.datasets), sum(v > 0 for v in verdict.datasets.values())
    text = f"The mean is above zero in {above} of {n} data set(s)"
    if math.isnan(verdict.p):
        fewest = fewest_datasets(level)
        return f"{text}; a test over data sets needs at least {fewest}, so there is none."
    return f"{text}; Wilcoxon's signed-rank test over data sets: {name_p(verdict.p)}."


def say_largest_gain(verdict: Verdict) -> str:
    """The largest gain in accuracy here, beside the one that is claimed and the one in the log."""
    fact = largest_published_gain()
    text = f"Claimed is a gain of up to {CLAIMED_GAIN:g} points of accuracy ({SIMCLR}). In its log "
    text += f"the largest is {100 * fact['gain']:.1f} ({fact['dataset']}, {fact['labels']} labels, "
    text += f"{fact['augment']}, {name_protocol(fact['protocol'])}; {fact['caveat']}). "
    if verdict.cells.empty:
        return text + "This study has no training from scratch to compare with."
    best = verdict.cells.sort_values("mean").iloc[-1]
    low = (
        ""
        if math.isnan(best["low"])
        else f" ({100 * best['low']:+.1f} to {100 * best['high']:+.1f})"
    )
    text += f"The largest here is {100 * best['mean']:+.1f} points{low}: {best['dataset']}, "
    return text + f"{name_labels(best['labels'])}, {name_cell(best)}."


def say_synthetic(verdicts: Mapping[str, Verdict], table: pd.DataFrame, level: float) -> str:
    """The claims on synthetic data, called that; or that there is none."""
    if table.empty:
        return "The study has no synthetic data."
    said = [say_verdict(v, level) for v in in_order(verdicts).values() if v.datasets]
    return "\n\n".join(f"Synthetic data. {s}" for s in said) or f"Synthetic data: {NOT_TESTED}."


def verdict_rows(run: Run, verdicts: Mapping[str, Verdict], **columns: Any) -> list[dict[str, Any]]:
    """A row of results for each claim that was compared: the mean difference and its interval."""
    rows = []
    for claim, v in in_order(verdicts).items():
        if v.datasets:
            known = {} if math.isnan(v.effect.low) else {"low": v.effect.low, "high": v.effect.high}
            named = {"protocol": VERDICT, "split": "test", **columns, **known}
            rows.append(run.row(f"claim_{claim}", v.effect.mean, **named))
    return rows


def headline(verdicts: Mapping[str, Verdict]) -> str:
    """One line for the study's index: how many claims got which answer."""
    answers = [v.answer for v in verdicts.values()]
    return ", ".join(f"{answers.count(a)} {a}" for a in dict.fromkeys(answers)) + " (claims)"
