"""What a pretraining came to, in a table and a sentence."""

from __future__ import annotations

import pandas as pd

from lib.pretrain import Pretraining


def pretraining_table(result: Pretraining) -> pd.DataFrame:
    """What a pretraining came to, as one small table."""
    first, last = result.history[0], result.history[-1]
    rows: dict[str, str] = {
        "epochs": str(len(result.history)),
        "epoch kept": str(result.selected),
        "loss, first and last epoch": f"{first['loss']:.3f}, {last['loss']:.3f}",
        "other view ranked first, last epoch": f"{last['top1']:.1%}",
        "images per second (two views each)": f"{result.images_per_second:.0f}",
        "time": f"{result.seconds:.0f} s",
    }
    if result.auroc is not None and result.auroc_before is not None:
        rows["validation kNN AUROC, untrained"] = f"{result.auroc_before:.3f}"
        rows["validation kNN AUROC, epoch kept"] = f"{result.auroc:.3f}"
    return pd.DataFrame({"": rows})


def say_pretraining(result: Pretraining, n_val: int) -> str:
    """What the kNN monitor says of a pretraining. n_val: images it was measured on."""
    if result.auroc is None or result.auroc_before is None:
        return "Without labels there is no monitor: the encoder of the last epoch was kept."
    gain = result.auroc - result.auroc_before
    text = f"On {n_val:,} validation images the kNN AUROC went from {result.auroc_before:.3f} "
    text += f"(untrained) to {result.auroc:.3f} (epoch {result.selected} of {len(result.history)})"
    # A rule of thumb: the standard error of an AUROC near 0.8 is about 0.5/√n (0.055 for 78
    # images by the formula of Hanley & McNeil 1982), and the epoch was chosen by this very number,
    # so a gain below two of these is no evidence of learning.
    if gain > 1.0 / n_val**0.5:
        return f"{text}: a gain of {gain:.3f}, more than validation noise explains."
    if gain < -1.0 / n_val**0.5:
        return f"{text}: {-gain:.3f} *lower* than before training. Pretraining did harm here."
    return f"{text}: no clear difference, given so few validation images."
