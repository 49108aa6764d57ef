"""The augmentation explorer: turn a sequence's settings, see originals beside their views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.augment import SEQUENCES
from lib.augment.written import own_values, read_augment, write_augment
from lib.preview import preview_views
from lib.watched import is_watched
from lib.widgets.thumbnails import note, rows

Images = npt.NDArray[np.uint8]
VIEWS = 6


@dataclass(frozen=True)
class Knob:
    """A slider for one setting of a sequence (`lib.augment.written`). A share is one of images."""

    setting: str
    label: str
    low: float
    high: float
    step: float


KNOBS = (
    Knob("crop_scale", "smallest crop, area", 0.02, 1.0, 0.02),
    Knob("rotation", "rotation up to, °", 0, 180, 5),
    Knob("flip_p", "flip, share", 0, 1, 0.05),
    Knob("jitter", "jitter, × its own", 0, 2, 0.1),
    Knob("jitter_p", "jitter, share", 0, 1, 0.05),
    Knob("grey_p", "greyscale, share", 0, 1, 0.05),
    Knob("blur_sigma", "blur up to, σ in px", 0.1, 4, 0.1),
    Knob("blur_p", "blur, share", 0, 1, 0.05),
    Knob("equalize_p", "equalise, share", 0, 1, 0.05),
    Knob("sharpness", "sharpen up to, ×", 1, 20, 0.5),
)


def knobs_of(augment: str) -> dict[str, tuple[Knob, float]]:
    """The sliders of a sequence, each with the value at which it starts."""
    own = own_values(augment)
    return {k.setting: (k, own[k.setting]) for k in KNOBS if k.setting in own}


def say_params(written: str) -> str:
    """What stands for an augmentation in a params file."""
    return f"In a params file, for 01_pretrain:\naugment: {written}"


def show_views(images: Images, written: str, draw: int) -> str:
    """Originals beside their views as HTML, or the reason why these settings do not go together."""
    try:
        views = preview_views(images, written, VIEWS, draw)
    except ValueError as error:
        return note(str(error))
    return rows({name.replace("image", "no."): row for name, row in views.items()})


def explore_augmentations(images: Images, augment: str, seed: int) -> Any:
    """The explorer for a few images uint8 [N, H, W, C]; None where nobody watches.

    augment: as written in a params file. The pictures are those of `plot-views` at first: the same
    images, sequence and seed.
    """
    if not is_watched():
        return None
    import ipywidgets as w

    shown = images[:4]
    sequence, given = read_augment(augment)
    wide = w.Layout(width="350px")
    choice = w.Dropdown(options=list(SEQUENCES), value=sequence, description="sequence")
    again = w.Button(description="New draw", icon="refresh", tooltip="Other random numbers")
    own = w.Button(description="Its own settings", tooltip="Every slider back to its start")
    draw = w.IntText(value=seed, description="draw", layout=w.Layout(width="150px"))
    sliders, pictures, text = w.VBox(), w.HTML(), w.HTML()

    def values() -> dict[str, float]:
        return {s.setting: s.value for s in sliders.children}

    def show(_: Any = None) -> None:
        written = write_augment(choice.value, values())
        pictures.value = show_views(shown, written, max(draw.value, 0))
        text.value = f'<pre style="white-space:pre-wrap">{say_params(written)}</pre>'

    def make_sliders(_: Any = None, given: Mapping[str, float] | None = None) -> None:
        made = []
        for setting, (knob, start) in knobs_of(choice.value).items():
            slider = w.FloatSlider(
                value=(given or {}).get(setting, start), min=knob.low, max=knob.high,
                step=knob.step, description=knob.label,
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
    make_sliders(given=given)
    left = w.VBox([sliders, text], layout=w.Layout(width="370px"))
    top = w.HBox([choice, again, draw, own], layout=w.Layout(flex_flow="row wrap"))
    box = w.HBox([pictures, left], layout=w.Layout(flex_flow="row wrap", align_items="flex-start"))
    explorer = w.VBox([top, box])
    explorer.add_class("augmentation-explorer")
    return explorer
