"""The augmentation explorer: turn a sequence's settings, see originals beside their views."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.augment import SEQUENCES
from lib.preview import preview_views
from lib.watched import is_watched
from lib.widgets.thumbnails import note, rows

Images = npt.NDArray[np.uint8]
VIEWS = 6


@dataclass(frozen=True)
class Knob:
    """A slider for one setting of a sequence. part: which end of a range it moves; −1 where the
    setting is no range. A share is one of images; a colour jitter is turned as a multiple of the
    sequence's own.
    """

    setting: str
    label: str
    low: float
    high: float
    step: float
    part: int = -1


KNOBS = (
    Knob("crop_scale", "smallest crop, area", 0.02, 1.0, 0.02, 0),
    Knob("rotation", "rotation up to, °", 0, 180, 5),
    Knob("flip_p", "flip, share", 0, 1, 0.05),
    Knob("jitter", "jitter, × its own", 0, 2, 0.1),
    Knob("jitter_p", "jitter, share", 0, 1, 0.05),
    Knob("grey_p", "greyscale, share", 0, 1, 0.05),
    Knob("blur_sigma", "blur up to, σ in px", 0.1, 4, 0.1, 1),
    Knob("blur_p", "blur, share", 0, 1, 0.05),
    Knob("equalize_p", "equalise, share", 0, 1, 0.05),
    Knob("sharpness", "sharpen up to, ×", 1, 20, 0.5, 1),
)


def own_settings(augment: str) -> dict[str, Any]:
    """The settings of a sequence with the values it has by itself."""
    signature = inspect.signature(SEQUENCES[augment]).parameters
    own = {k: v.default for k, v in signature.items() if v.default is not inspect.Parameter.empty}
    if any(v.kind is inspect.Parameter.VAR_KEYWORD for v in signature.values()):
        own = {**own_settings("natural"), **own}  # `novel` passes the rest on to it
    return own


def knobs_of(augment: str) -> dict[str, tuple[Knob, float]]:
    """The sliders of a sequence, each with the value at which it starts."""
    own = own_settings(augment)
    found = {}
    for knob in KNOBS:
        if knob.setting not in own:
            continue
        value = own[knob.setting]
        if knob.setting == "jitter":
            value = 1.0
        found[knob.setting] = (knob, float(value if knob.part < 0 else value[knob.part]))
    return found


def changed_settings(augment: str, values: Mapping[str, float]) -> dict[str, Any]:
    """What of a sequence differs where its sliders stand at `values`, for `make_augment`."""
    own, changed = own_settings(augment), dict[str, Any]()
    for setting, (knob, start) in knobs_of(augment).items():
        value = float(values.get(setting, start))
        if abs(value - start) < 1e-9:
            continue
        if setting == "jitter":
            changed[setting] = tuple(round(s * value, 4) for s in own[setting][:3])
            changed[setting] += (round(min(own[setting][3] * value, 0.5), 4),)  # of hue, at most
        elif knob.part < 0:
            changed[setting] = value
        else:
            low, high = own[setting]
            changed[setting] = (
                (value, max(value, high)) if knob.part == 0 else (min(low, value), value)
            )
    return changed


def say_params(augment: str, changed: Mapping[str, Any]) -> str:
    """What stands for these settings in a params file; what does not fit there is said so."""
    lines = [f"augment: {augment}"]
    if "crop_scale" in changed:
        lines.append(f"crop_scale: {changed['crop_scale'][0]:g}")
    text = "In a params file, for 01_pretrain:\n" + "\n".join(lines)
    others = {k: v for k, v in changed.items() if k != "crop_scale"}
    if others:
        given = ", ".join(f"{k}={v!r}" for k, v in others.items())
        text += (
            "\n\nThe rest is no parameter of a study. A sequence of your own in "
            f"lib/augment/sequences.py can have it:\n{augment}(size, {given})"
        )
    return text


def show_views(images: Images, augment: str, changed: Mapping[str, Any], draw: int) -> str:
    """Originals beside their views as HTML, or the reason why these settings do not go together."""
    try:
        views = preview_views(images, augment, VIEWS, draw, **changed)
    except ValueError as error:
        return note(str(error))
    return rows({name.replace("image", "no."): row for name, row in views.items()})


def explore_augmentations(images: Images, augment: str, seed: int) -> Any:
    """The explorer for a few images uint8 [N, H, W, C]; None where nobody watches.

    The pictures are those of `plot-views` at first: the same images, sequence and seed.
    """
    if not is_watched():
        return None
    import ipywidgets as w

    shown = images[:4]
    wide = w.Layout(width="350px")
    choice = w.Dropdown(options=list(SEQUENCES), value=augment, description="sequence")
    again = w.Button(description="New draw", icon="refresh", tooltip="Other random numbers")
    own = w.Button(description="Its own settings", tooltip="Every slider back to its start")
    draw = w.IntText(value=seed, description="draw", layout=w.Layout(width="150px"))
    sliders, pictures, text = w.VBox(), w.HTML(), w.HTML()

    def values() -> dict[str, float]:
        return {s.setting: s.value for s in sliders.children}

    def show(_: Any = None) -> None:
        changed = changed_settings(choice.value, values())
        pictures.value = show_views(shown, choice.value, changed, max(draw.value, 0))
        text.value = f'<pre style="white-space:pre-wrap">{say_params(choice.value, changed)}</pre>'

    def make_sliders(_: Any = None) -> None:
        made = []
        for setting, (knob, start) in knobs_of(choice.value).items():
            slider = w.FloatSlider(
                value=start, min=knob.low, max=knob.high, step=knob.step, description=knob.label,
                style={"description_width": "130px"}, layout=wide, readout_format=".2f",
                continuous_update=shown.shape[1] <= 64,
            )  # fmt: skip
            slider.setting = setting
            slider.observe(show, "value")
            made.append(slider)
        sliders.children = made
        show()

    def next_draw(_: Any) -> None:
        draw.value += 1

    choice.observe(make_sliders, "value")
    draw.observe(show, "value")
    again.on_click(next_draw)
    own.on_click(make_sliders)
    make_sliders()
    left = w.VBox([sliders, text], layout=w.Layout(width="370px"))
    top = w.HBox([choice, again, draw, own], layout=w.Layout(flex_flow="row wrap"))
    box = w.HBox([pictures, left], layout=w.Layout(flex_flow="row wrap", align_items="flex-start"))
    explorer = w.VBox([top, box])
    explorer.add_class("augmentation-explorer")
    return explorer
