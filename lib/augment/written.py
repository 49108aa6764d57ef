"""An augmentation in writing: `natural rotation=180 blur_p=0.5`, a sequence and what differs."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from typing import Any

from lib.augment.sequences import SEQUENCES

# Which end of a range a setting moves: 0 the lower, 1 the upper; None for settings that are no
# range. A jitter is written as a multiple of the sequence's own four strengths.
SETTINGS: dict[str, int | None] = {
    "crop_scale": 0,
    "rotation": None,
    "flip_p": None,
    "jitter": None,
    "jitter_p": None,
    "grey_p": None,
    "blur_kernel": None,
    "blur_sigma": 1,
    "blur_p": None,
    "equalize_p": None,
    "sharpness": 1,
}
MOST_HUE = 0.5  # half a turn: all hues


def own_settings(sequence: str) -> dict[str, Any]:
    """The settings of a sequence with the values it has by itself."""
    signature = inspect.signature(SEQUENCES[sequence]).parameters
    own = {k: v.default for k, v in signature.items() if v.default is not inspect.Parameter.empty}
    if any(v.kind is inspect.Parameter.VAR_KEYWORD for v in signature.values()):
        own = {**own_settings("natural"), **own}  # `novel` passes the rest on to it
    return own


def own_values(sequence: str) -> dict[str, float]:
    """What would be written for each setting of a sequence as it is by itself."""
    own = own_settings(sequence)
    found = {}
    for setting, end in SETTINGS.items():
        if setting in own:
            value = own[setting] if end is None else own[setting][end]
            found[setting] = 1.0 if setting == "jitter" else float(value)
    return found


def written_settings(sequence: str, values: Mapping[str, float]) -> dict[str, Any]:
    """Written values as settings of the sequence, for `make_augment`; what is its own is left out.

    The other end of a range stays where it is, or moves along where the two would cross.
    """
    own, starts, changed = own_settings(sequence), own_values(sequence), dict[str, Any]()
    for setting, start in starts.items():
        value = float(values.get(setting, start))
        if abs(value - start) < 1e-9:
            continue
        end = SETTINGS[setting]
        if setting == "jitter":
            *strengths, hue = own[setting]
            turned = [round(s * value, 4) for s in strengths]
            changed[setting] = (*turned, round(min(hue * value, MOST_HUE), 4))
        elif end is None:
            changed[setting] = int(value) if setting == "blur_kernel" else value
        else:
            low, high = own[setting]
            changed[setting] = (value, max(value, high)) if end == 0 else (min(low, value), value)
    return changed


def read_augment(text: str) -> tuple[str, dict[str, float]]:
    """The sequence and the written values of `natural rotation=180 blur_p=0.5`.

    Raises ValueError for an unknown sequence, a setting it does not have or that is given twice,
    and what is no number.
    """
    sequence, *settings = text.split() or [""]
    if sequence not in SEQUENCES:
        raise ValueError(f"augment: found {sequence!r}; known are {', '.join(SEQUENCES)}")
    known, values = own_values(sequence), dict[str, float]()
    for part in settings:
        setting, sign, value = part.partition("=")
        if not sign or setting not in known:
            close = difflib.get_close_matches(setting, list(known), 1)
            hint = f" (did you mean {close[0]}?)" if sign and close else ""
            raise ValueError(
                f"augment {sequence}: no setting {part!r}; write SETTING=NUMBER with one of "
                f"{', '.join(known)}{hint}"
            )
        if setting in values:
            raise ValueError(f"augment {sequence}: {setting} is given twice")
        values[setting] = _number(sequence, setting, value)
    return sequence, values


def _number(sequence: str, setting: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (setting == "blur_kernel" and number != int(number)):
        kind = "a whole number" if setting == "blur_kernel" else "a number"
        raise ValueError(f"augment {sequence}: {setting}: expected {kind}, found {value!r}")
    return number


def write_augment(sequence: str, values: Mapping[str, float]) -> str:
    """The one way in which a sequence with these values is written; what is its own is left out."""
    starts = own_values(sequence)
    told = [
        f"{setting}={values[setting]:.6g}"
        for setting, start in starts.items()
        if setting in values and abs(values[setting] - start) >= 1e-9
    ]
    return " ".join([sequence, *told])
