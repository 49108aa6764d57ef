"""What a pretraining came to, in a table and a sentence."""

from __future__ import annotations

import pandas as pd

from lib.training.monitor import QUERIES
from lib.training.pretrain import Pretraining

# A loss above this share of chance has hardly left it.
STUCK = 0.98


def pretraining_table(result: Pretraining, numbers: str = "") -> pd.DataFrame:
    """What a pretraining came to, as one small table. numbers: the number format in words."""
    first, last = result.history[0], result.history[-1]
    rows: dict[str, str] = {
        "epochs": str(len(result.history)),
        "epoch kept": str(result.selected),
        "loss, first and last epoch": f"{first['loss']:.3f}, {last['loss']:.3f}",
        "other view ranked first, last epoch": f"{last['top1']:.1%}",
        "images per second (two views each)": f"{result.images_per_second:.0f}",
        "time": f"{result.seconds:.0f} s",
    }
    if numbers:
        rows["number format, memory layout"] = numbers
    if result.auroc is not None and result.auroc_before is not None:
        rows["validation kNN AUROC, untrained"] = f"{result.auroc_before:.3f}"
        rows["validation kNN AUROC, epoch kept"] = f"{result.auroc:.3f}"
    return pd.DataFrame({"": rows})


def say_pretraining(result: Pretraining, n_val: int) -> str:
    """What the kNN monitor and the loss say of a pretraining. n_val: images in the split."""
    return say_monitor(result, n_val) + say_stuck(result)


def headline(result: Pretraining, n_val: int) -> str:
    """One line for the study's index, what it comes to first."""
    end = f"epoch {result.selected} of {len(result.history)}"
    if result.auroc is None or result.auroc_before is None:
        text = f"{end.capitalize()}, without a monitor, which needs labels"
    else:
        gain, noise = result.auroc - result.auroc_before, 2 * standard_error(result, n_val)
        verdict = "Gained" if gain > noise else "Lost" if gain < -noise else "No clear difference"
        text = f"{verdict}: validation kNN AUROC {result.auroc_before:.3f} → {result.auroc:.3f}"
        text += f" (±{noise:.3f}), {end}"
    return f"Hardly learnt: the loss ended near chance. {text}" if say_stuck(result) else text


def standard_error(result: Pretraining, n_val: int) -> float:
    """About how far the monitor is off by chance. n_val: images in the split."""
    # It looks at no more of a large split.
    return result.auroc_error or 0.5 / min(n_val, QUERIES) ** 0.5


def say_stuck(result: Pretraining) -> str:
    """A warning where the loss ended near chance; empty where it did not."""
    loss = result.history[-1]["loss"]
    if result.chance is None or loss < STUCK * result.chance:
        return ""
    return (
        f" The loss ended at {loss:.3f}, and chance, all views alike, is {result.chance:.3f}: what "
        "the loss asks for was hardly learnt. Try a lower learning rate, more epochs or another "
        "temperature before judging the method."
    )


def say_monitor(result: Pretraining, n_val: int) -> str:
    """What the kNN monitor says of a pretraining."""
    if result.auroc is None or result.auroc_before is None:
        return "Without labels there is no monitor: the encoder of the last epoch was kept."
    gain, error = result.auroc - result.auroc_before, standard_error(result, n_val)
    text = f"On {min(n_val, QUERIES):,} validation images the kNN AUROC went from "
    text += f"{result.auroc_before:.3f} (untrained) to {result.auroc:.3f} "
    text += f"(epoch {result.selected} of {len(result.history)})"
    text += f", each with a standard error of about {error:.3f}"
    if gain > 2 * error:
        return f"{text}: a gain of {gain:.3f}, more than validation noise explains."
    if gain < -2 * error:
        return f"{text}: {-gain:.3f} lower than before training. Pretraining did harm here."
    return f"{text}: no clear difference, given so few validation images."
