"""Is pretraining worth it, and with how many labels: the sentence that answers."""

from __future__ import annotations

from collections.abc import Sequence

from lib.data.embedded import EMBEDDED
from lib.findings.claims import with_interval
from lib.findings.names import METRIC_NAMES, name_labels, name_source
from lib.published import name_dataset
from lib.worth import Outcome, Worth

# What a budget's outcome is called, in this order.
SAID: dict[Outcome, str] = {
    "worth it": "is worth it with {}",
    "not worth it": "is not worth it with {}, where it costs",
    "no clear difference": "makes no clear difference with {}",
    "not tested": "cannot be judged with {}",
}
NOTHING = (
    "The study compares no pretraining with its absence on the same images, so it cannot say "
    "whether pretraining is worth it."
)


def say_worth(found: Sequence[Worth]) -> str:
    """The answer in Markdown: a bold sentence for each pretraining, then its numbers."""
    return "\n\n".join(f"**{answer(w)}** {numbers(w)}" for w in found) or NOTHING


def answers(found: Sequence[Worth]) -> list[str]:
    """The bold sentences alone, as plain text: for an index."""
    return [answer(w) for w in found] or [NOTHING]


def answer(worth: Worth) -> str:
    """`On cells (28 px), pretraining is worth it with 50 and 100 labels, and makes no clear …`"""
    synthetic = "Synthetic data: on" if worth.dataset in EMBEDDED else "On"
    where = f"{synthetic} {name_dataset(worth.dataset)} ({worth.size} px), pretraining"
    parts = [
        wording.format(budgets(labels))
        for outcome, wording in SAID.items()
        if (labels := worth.at(outcome))
    ]
    text = f"{where} {parts[0]}" + "".join(f", and {part}" for part in parts[1:])
    if worth.at("not tested"):
        unit = str(worth.cells["unit"].iloc[0])
        one = int(worth.cells["pairs"].max()) < 2
        text += f" (there is one {unit} only)" if one else f" (nothing differs between {unit}s)"
    return f"{text}."


def budgets(labels: Sequence[str]) -> str:
    """`50, 100 and all labels`."""
    words = [name_labels(w) for w in labels]
    if all(word.endswith(" labels") for word in words):
        words = [*(word.removesuffix(" labels") for word in words[:-1]), words[-1]]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


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
        what += f"{worth.encoder} (training from scratch was not tried)"
    differences = "; ".join(
        f"{name_labels(str(cell.labels))} {with_interval(cell)}"
        for cell in worth.cells.itertuples()
    )
    text = f"Test {metric} of {what}: {differences}."
    if not worth.cells["p"].notna().any():
        return text
    unit, n = worth.cells["unit"].iloc[0], int(worth.cells["pairs"].max())
    return (
        f"{text} Intervals of {worth.level:.0%} over {n} {unit}s; clear is what stays so when "
        f"corrected for {len(worth.cells)} comparison(s) by Holm."
    )
