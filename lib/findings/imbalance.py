"""What helps when classes are rare, in tables and sentences that can also say "nothing clearly"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.evaluation.evaluate import Evaluated, compare
from lib.evaluation.imbalance import RANDOM, RemedyStudy
from lib.evaluation.remedy_gains import ALPHA, Gain
from lib.names import METRIC_NAMES, name_source, plain

REMEDY_NAMES = {
    "none": "no remedy",
    "undersample": "undersampling",
    "oversample": "oversampling",
    "class_weights": "class weights",
    "focal": "focal loss",
    "balanced_softmax": "balanced softmax",
    "logit_adjustment": "logit adjustment",
}
SHOWN = ("balanced_accuracy", "auroc", "macro_f1")


def name_remedy(r: Evaluated | Gain) -> str:
    """What a classifier was trained with: `no remedy`, `undersampling to 25`, `focal loss`."""
    remedy = r.protocol.partition("+")[2] or "none"
    name = REMEDY_NAMES[remedy]
    return f"{name} to {r.labels.partition(' ')[0]}" if remedy == "undersample" else name


def remedies_table(study: RemedyStudy) -> pd.DataFrame:
    """Training images and test metrics by remedy, with 95% intervals; accuracy beside them."""
    rows = {}
    for r in [*study.on("test"), *floor(study)]:
        name = name_remedy(r)
        if r.source != study.method:
            name = f"{name}, {name_source(r.source)}"
        cells = {METRIC_NAMES[m].replace("AUROC", "macro AUROC"): cell(r, m, 3) for m in SHOWN}
        # A wide table is hard to read; accuracy is only here to be seen not to be enough.
        cells["accuracy"] = f"{r.metrics['accuracy']:.3f}"
        rows[name] = {"images": f"{trained_on(study, r).sum():,}", **cells}
    return pd.DataFrame.from_dict(rows, orient="index")


def recalls_table(study: RemedyStudy) -> pd.DataFrame:
    """Recall of each class (columns, from common to rare) by remedy, with 95% intervals."""
    results = study.on("test")
    columns = classes_by_size(study)
    rows = {
        name_remedy(r): {title: cell(r, f"recall_{name}", 2) for name, title in columns.items()}
        for r in results
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def classes_by_size(study: RemedyStudy) -> dict[str, str]:
    """Class names from many training images to few, each with its title: `nv (4,700)`."""
    first = study.on("test")[0]
    counts, classes = trained_on(study, first), first.predictions.classes
    order = np.argsort(-counts, kind="stable")
    return {classes[k]: f"{classes[k]} ({counts[k]:,})" for k in order}


def trained_on(study: RemedyStudy, r: Evaluated) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Training images of each class, [K], that a classifier has seen."""
    return np.asarray(study.counts[r.protocol, r.labels])


def floor(study: RemedyStudy) -> list[Evaluated]:
    """The random encoder's result beside a pretrained one, where it was measured."""
    return study.on("test", RANDOM) if study.method != RANDOM else []


def cell(r: Evaluated, metric: str, digits: int) -> str:
    """A value with its interval: `0.71 (0.66–0.75)`."""
    interval = r.intervals[metric]
    low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
    return f"{r.metrics[metric]:.{digits}f} ({low}–{high})"


def gains_table(gains: Sequence[Gain]) -> pd.DataFrame:
    """Differences in balanced accuracy from no remedy, with p values and what they say."""
    rows = {
        name_remedy(g): {
            "balanced accuracy": f"{g.value:+.3f} ({g.low:+.3f} to {g.high:+.3f})",
            "p": f"{g.p:.3f}",
            "p by Holm": f"{g.corrected:.3f}",
            "against no remedy": g.verdict,
        }
        for g in gains
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def say_remedies(study: RemedyStudy, gains: Sequence[Gain], bootstrap: int = 1000) -> str:
    """How many remedies clearly help, and which one validation would have chosen."""
    if not gains:
        return "No remedy was tried, so there is nothing to compare."
    none = study.on("test")[0]
    by = {v: [name_remedy(g) for g in gains if g.verdict == v] for v in ("better", "worse")}
    text = f"Without a remedy, {name_source(none.source, none.augment)} reaches balanced accuracy "
    text += f"{none.metrics['balanced_accuracy']:.3f}. "
    if not by["better"] and not by["worse"]:
        text += f"**No clear difference**: none of {len(gains)} remedies is clearly better or worse"
    else:
        text += f"Of {len(gains)} remedies **{len(by['better'])} clearly better**"
        text += f" ({', '.join(by['better'])})" if by["better"] else ""
        text += f", {len(by['worse'])} clearly worse"
        text += f" ({', '.join(by['worse'])})" if by["worse"] else ""
        text += f", {len(gains) - len(by['better']) - len(by['worse'])} without a clear difference"
    text += f" (p below {ALPHA:g} after Holm's correction)."
    if 2 * len(gains) / (bootstrap + 1) >= ALPHA:
        text += f" With {bootstrap} resamples the correction lets no single difference be clear: "
        text += "raise `bootstrap`."
    return f"{text}\n\n{say_choice(study, gains)}"


def say_choice(study: RemedyStudy, gains: Sequence[Gain]) -> str:
    """Which remedy validation would choose by balanced accuracy, and what it gives on test."""
    chosen = chosen_remedy(study)
    if chosen is None:
        return "The validation split lacks a class, so it cannot choose among remedies."
    value = chosen.metrics["balanced_accuracy"]
    name = name_remedy(chosen)
    if chosen is study.on("test")[0]:
        return f"Validation chooses **no remedy** (test balanced accuracy {value:.3f})."
    verdict = next(g.verdict for g in gains if name_remedy(g) == name)
    text = f"Validation chooses **{name}**: balanced accuracy {value:.3f} on the test split, "
    return text + (verdict if verdict.startswith("no") else f"clearly {verdict}") + "."


def chosen_remedy(study: RemedyStudy) -> Evaluated | None:
    """The test result of the highest balanced accuracy on validation, the first of equals."""
    val = study.on("val")
    if not val:
        return None
    best = max(range(len(val)), key=lambda i: (val[i].metrics["balanced_accuracy"], -i))
    return study.on("test")[best]


def say_undersampling(study: RemedyStudy, bootstrap: int = 1000, seed: int = 0) -> str:
    """What each undersampling gives and takes: images, metrics, and recall at both ends."""
    none, *others = study.on("test")
    cuts = [r for r in others if r.protocol.endswith("+undersample")]
    lines = [f"- {plain(note)}" for note in study.notes]
    if not cuts:
        return "\n".join(["Undersampling was not tried.", "", *lines]).strip()
    classes = list(classes_by_size(study))
    whole = trained_on(study, none).sum()
    for r in cuts:
        kept = trained_on(study, r).sum()
        text = f"- **{name_remedy(r).capitalize()} a class** keeps {kept:,} of {whole:,} images"
        differences = compare(r, none, bootstrap, seed)
        for metric in ("balanced_accuracy", "auroc", "accuracy"):
            d = differences[metric]
            words = "no clear difference" if d.low <= 0 <= d.high else "up" if d.low > 0 else "down"
            text += (
                f"; {METRIC_NAMES[metric]} {words} ({d.value:+.3f}, {d.low:+.3f} to {d.high:+.3f})"
            )
        ends = []
        for what, name in (("rarest", classes[-1]), ("largest", classes[0])):
            before, after = none.metrics[f"recall_{name}"], r.metrics[f"recall_{name}"]
            ends.append(f"of the {what} class, {plain(name)}, {before:.2f} → {after:.2f}")
        lines.append(f"{text}; recall {', '.join(ends)}.")
    return "\n".join(lines)


def headline(study: RemedyStudy) -> str:
    """One line for the study's index: no remedy beside the one that validation chooses."""
    none, chosen = study.on("test")[0], chosen_remedy(study)
    text = f"{name_source(none.source, none.augment)}: test balanced accuracy "
    text += f"{none.metrics['balanced_accuracy']:.3f} without remedy"
    if chosen is not None and chosen is not none:
        text += f", {chosen.metrics['balanced_accuracy']:.3f} with {name_remedy(chosen)}"
        text += " (chosen on validation)"
    return text
