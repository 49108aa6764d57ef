"""What finetuning shows: tables and sentences that can also say that nothing was saved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from lib.evaluation.evaluate import Budget, Evaluated, compare
from lib.evaluation.label_efficiency import SCRATCH, BudgetStudy, Saving
from lib.names import PROTOCOL_NAMES, name_labels, name_scratch, name_source


def name_classifier(method: str, augment: str, protocol: str) -> str:
    """A classifier as printed: `SimCLR, novel, finetuned`; `from scratch`; `…, frozen`."""
    if protocol == "finetune":
        known = f"{name_source(method, augment)}, {PROTOCOL_NAMES[protocol]}"
        return name_scratch(method, protocol) or known
    return f"{name_source(method, augment)}, frozen: {PROTOCOL_NAMES[protocol]}"


def say_budgets(budgets: Sequence[Budget], notes: Sequence[str]) -> str:
    """Which budgets are trained on, and which could not be had as asked."""
    sizes = ", ".join(f"{len(budget.chosen.indices):,}" for budget in budgets)
    text = f"Trained on {sizes} labelled images."
    return "\n\n".join([text, *(f"- {note}" for note in notes)])


def budgets_table(study: BudgetStudy, metric: str = "auroc") -> pd.DataFrame:
    """A metric on the test split by classifier (rows) and budget, with its 95% interval."""
    cells: dict[str, dict[str, str]] = {}
    for r in study.results:
        if r.predictions.split == "test":
            span = r.intervals[metric]
            cell = f"{r.metrics[metric]:.3f} ({span.low:.3f}–{span.high:.3f})"
            name = name_classifier(r.source, r.augment, r.protocol)
            cells.setdefault(name, {})[name_labels(r.labels)] = cell
    return pd.DataFrame.from_dict(cells, orient="index")


def trainings_table(study: BudgetStudy) -> pd.DataFrame:
    """What each finetuning chose and cost: a row for each start and budget."""
    rows = {}
    augments = {r.source: r.augment for r in study.results if r.protocol == "finetune"}
    for (method, labels), tuned in study.trainings.items():
        auroc = "–" if tuned.val_auroc is None else f"{tuned.val_auroc:.3f}"
        name = name_classifier(method, augments[method], "finetune")
        rows[name, labels] = {
            "learning rate": f"{tuned.lr:g}",
            "rates tried": str(len(tuned.tried)),
            "steps": f"{tuned.steps:,}",
            "epoch kept": f"{tuned.selected} of {len(tuned.history)}",
            "validation AUROC": auroc,
            "time": f"{tuned.seconds:.0f} s",
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["classifier", "labels"])
    return table


def say_finetuning(study: BudgetStudy, bootstrap: int = 1000, seed: int = 0) -> str:
    """Finetuned against trained from scratch and against the frozen probe, budget by budget."""
    if study.method == SCRATCH:
        return (
            "Without a pretrained encoder (`init`) there is nothing to compare: these are the "
            "results of training from scratch alone."
        )
    scratch, frozen = study.test(SCRATCH, "finetune"), study.test(study.method, "probe")
    lines = []
    for labels, mine in study.test(study.method, "finetune").items():
        name = name_classifier(mine.source, mine.augment, mine.protocol)
        text = f"- **{name_labels(labels)}**: {name}, reaches AUROC {mine.metrics['auroc']:.3f}"
        beside = {
            "training from scratch": scratch.get(labels),
            "logistic regression on the frozen encoder": frozen.get(labels),
        }
        for what, other in beside.items():
            if other is not None:
                text += f"; {say_against(mine, other, what, bootstrap, seed)}"
        lines.append(text + ".")
    return "\n".join(lines)


def say_against(mine: Evaluated, other: Evaluated, what: str, bootstrap: int, seed: int) -> str:
    """A paired difference in AUROC in words; `no clear difference` when its interval holds 0."""
    d = compare(mine, other, bootstrap, seed)["auroc"]
    span = f"{d.value:+.3f}, 95% interval {d.low:+.3f} to {d.high:+.3f}"
    if d.low > 0:
        return f"above {what} by {span}"
    if d.high < 0:
        return f"**below** {what}: {span}"
    return f"no clear difference from {what} ({span})"


def savings_table(study: BudgetStudy, savings: Sequence[Saving]) -> pd.DataFrame:
    """Labels that training from scratch needs for what fewer give with pretraining."""
    smallest, largest = min(study.counts.values()), max(study.counts.values())
    rows = {
        name_labels(s.labels): {
            "test AUROC, finetuned": f"{s.value:.3f}",
            "labels from scratch for as much": say_count(s.equal, smallest, largest),
            "from": say_count(s.low, smallest, largest),
            "to (95% interval)": say_count(s.high, smallest, largest),
        }
        for s in savings
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def say_savings(study: BudgetStudy, savings: Sequence[Saving]) -> str:
    """How many labels without pretraining equal k labels with it, where that is clear."""
    smallest, largest = min(study.counts.values()), max(study.counts.values())
    if not savings:
        return "No label saving was computed: it takes a pretrained encoder and `floors`."
    lines = []
    for s in savings:
        equal, low, high = (say_count(x, smallest, largest) for x in (s.equal, s.low, s.high))
        text, span = f"- **{s.count:,} labels** with pretraining", f"95% interval {low} to {high}"
        if low == high:
            span = f"so is its 95% interval: {low}"
        if s.low > s.count:
            lines.append(f"{text} equal {equal} without ({span}).")
        elif s.high < s.count:
            lines.append(f"{text} are worth *fewer* without it: {equal} ({span}).")
        else:
            lines.append(f"{text}: no clear saving; they equal {equal} without ({span}).")
    return "\n".join(lines)


def say_count(count: float, smallest: int, largest: int) -> str:
    """A number of labels: `about 640`, `fewer than 100`, or `more than all 2,000 tried`."""
    if count == 0:
        return f"fewer than {smallest:,}"
    if math.isinf(count):
        return f"more than all {largest:,}"
    # Two digits are more than a curve through a few budgets is worth; a budget itself is exact.
    digits = max(0, math.floor(math.log10(count)) - 1)
    return f"about {round(count / 10**digits) * 10**digits:,}"


def say_choices(study: BudgetStudy) -> str:
    """How the learning rate and the epoch were chosen, and where nothing could choose."""
    blind = [t for t in study.trainings.values() if t.val_auroc is None]
    if blind:
        return (
            "The validation split has no labels that could choose: the first learning rate and "
            "the last epoch were kept."
        )
    return (
        "Learning rate and epoch were chosen on the validation split: the latest epoch within one "
        "standard error of the best AUROC, and of the rates the one that is highest there."
    )


def headline(study: BudgetStudy) -> str:
    """One line for the study's index: test AUROC at each budget, finetuned or from scratch."""
    results = study.test(study.method, "finetune")
    first = next(iter(results.values()))
    line = [f"{r.metrics['auroc']:.3f} ({labels})" for labels, r in results.items()]
    name = name_classifier(first.source, first.augment, first.protocol)
    return f"{name}: test AUROC {', '.join(line)}"
