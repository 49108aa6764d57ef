"""Whether a classifier's probabilities can be taken at their word, in a sentence."""

from __future__ import annotations

import numpy as np

from lib.data.base import Task
from lib.statistics.calibration import Reliability

ASKED = {
    "binary": "stated probability of the second class",
    "multi-label": "stated probability of a label",
}


def name_claim(task: Task) -> str:
    """What the probabilities of a reliability diagram are of."""
    return ASKED.get(task, "stated probability of the class decided for")


def say_calibration(found: Reliability) -> str:
    """The calibration error, and whether probabilities promise too much or too little.

    Too much or too little is said where the mean stated lies outside the interval of what came
    true in a bin, counted over the claims in such bins.
    """
    text = f"The expected calibration error is {found.ece:.3f} (95% interval "
    text += f"{found.interval.low:.3f} to {found.interval.high:.3f}, over resampled test images; "
    text += "it is above zero by chance alone). "
    seen = found.counts > 0
    over = seen & (found.stated > found.high)
    under = seen & (found.stated < found.low)
    total = int(found.counts.sum())
    much, little = (int(found.counts[where].sum()) for where in (over, under))
    if not much and not little:
        return text + "In no bin is the stated probability clearly off what came true."
    parts = []
    if much:
        parts.append(f"too high in bins with {much:,} of {total:,} claims")
    if little:
        parts.append(f"too low in bins with {little:,}" + ("" if much else f" of {total:,} claims"))
    worst = int(np.nanargmax(np.where(seen, np.abs(found.stated - found.true), np.nan)))
    text += f"Stated probabilities are clearly {' and '.join(parts)}. Furthest off: "
    return text + f"{found.stated[worst]:.2f} was stated where {found.true[worst]:.2f} came true."
