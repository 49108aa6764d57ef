"""Is pretraining worth it, and with how many labels: the sentence that answers."""

from __future__ import annotations

from collections.abc import Sequence

from lib.data.embedded import is_synthetic
from lib.findings.claims import with_interval
from lib.names import METRIC_NAMES, name_labels, name_source
from lib.study.published import name_dataset
from lib.study.worth import Outcome, Worth

# What is said of the budgets with an outcome, in this order, and the word before the last budget.
SAID: dict[Outcome, tuple[str, str]] = {
    "worth it": ("is worth it with {}", "and"),
    "not worth it": ("is not worth it with {}, where it costs", "and"),
    "no clear difference": ("makes no clear difference with {}", "or"),
    "not tested": ("cannot be judged with {}", "or"),
}
NOTHING = (
    "The study compares no pretraining with its absence, so it cannot say whether pretraining is "
    "worth it."
)


def say_worth(found: Sequence[Worth]) -> str:
    """The answer in Markdown: a bold sentence for each pretraining, then its numbers."""
    return "\n\n".join(f"**{answer(w)}** {numbers(w)}" for w in found) or NOTHING


def answers(found: Sequence[Worth]) -> list[str]:
    """The bold sentences alone, as plain text: for an index."""
    return [answer(w) for w in found] or [NOTHING]


def answer(worth: Worth) -> str:
    """`On cells (28 px), pretraining (SimCLR, novel), finetuned against …, is worth it with …`"""
    synthetic = "Synthetic data: on" if is_synthetic(worth.dataset) else "On"
    where = f"{synthetic} {name_dataset(worth.dataset)} ({worth.size} px), pretraining "
    where += f"({name_source(worth.method, worth.augment)}), "
    where += (
        "finetuned against training from scratch,"
        if worth.whole
        else "frozen against an untrained encoder,"
    )
    parts = [
        wording.format(budgets(labels, last))
        for outcome, (wording, last) in SAID.items()
        if (labels := worth.at(outcome))
    ]
    text = f"{where} {parts[0]}" + "".join(f", and {part}" for part in parts[1:])
    if worth.at("not tested"):
        unit = str(worth.cells["unit"].iloc[0])
        one = int(worth.cells["pairs"].max()) < 2
        text += f" (there is one {unit} only)" if one else f" (nothing differs between {unit}s)"
    tested = int(worth.cells["p"].notna().sum())
    return f"{text} (Holm over {tested} label budgets)." if tested > 1 else f"{text}."


def budgets(labels: Sequence[str], last: str = "and") -> str:
    """`50, 100 and all labels`. last: the word before the last of several."""
    words = [name_labels(w) for w in labels]
    if all(word.endswith(" labels") for word in words):
        words = [*(word.removesuffix(" labels") for word in words[:-1]), words[-1]]
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


def numbers(worth: Worth) -> str:
    """What was compared, and by how much the sides differ with each budget."""
    metric = METRIC_NAMES.get(worth.metric, worth.metric)
    name = name_source(worth.method, worth.augment)
    if worth.whole:
        what = (
            f"the whole {worth.encoder} finetuned from {name}, less that of training from scratch"
        )
    else:
        what = f"logistic regression on frozen features of {name}, less that of an untrained "
        what += f"{worth.encoder} (it was not finetuned in this study)"
    differences = "; ".join(
        f"{name_labels(str(cell.labels))} {with_interval(cell)}"
        for cell in worth.cells.itertuples()
    )
    text = f"Test {metric} of {what}: {differences}."
    if not worth.cells["p"].notna().any():
        return text
    unit, n = worth.cells["unit"].iloc[0], int(worth.cells["pairs"].max())
    text += f" Intervals of {worth.level:.0%} over {n} {unit}s"
    m = int(worth.cells["p"].notna().sum())
    return (
        f"{text}; clear is what stays so when corrected by Holm for {m} comparisons."
        if m > 1
        else f"{text}."
    )
