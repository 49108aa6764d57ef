"""A params file for a data set that was looked at: ten lines, by rules that each line names."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from lib.data.describe import MIN_SIZE
from lib.describe.facts import count
from lib.describe.look import Look
from lib.describe.pictures import whole_picture
from lib.params import notebook_defaults

SIZES = (64, 28)  # pixels: what two cores can afford; 224 is for a GPU
LARGE_STEM = 64  # pixels from which ImageNet's stem loses nothing
BUDGETS = (25, 50, 100, 250, 1000)
SHARE = 0.7  # of the images that are trained on, where the split is yet to be made
SMALL = 1000  # images up to which folds tell more than one split
FOLDS = 5  # at most
PASSES = 50_000  # image passes of a pretraining: minutes on two cores
EPOCHS = (2, 100)
WARMUP = 0.1  # share of the epochs, where the notebook's own warm-up is longer
LOOKED_AT = 24  # photographs that are searched for the disc of a fundus camera
FUNDUS = 0.75  # share of them that must have one
# Share of coloured images from which two views could be matched by their colours; fewer are strays.
COLOURED = 0.1
# What is known of sets by their name.
AUGMENTS = {
    "retinamnist": "fundus",
    "phantom-fundus": "fundus",
    "bloodmnist": "microscopy",
    "pathmnist": "microscopy",
    "tissuemnist": "microscopy",
    "phantom": "microscopy",
}
MOST_UNREADABLE = 0.2  # share above which the files are to be mended, not tolerated


@dataclass(frozen=True)
class Suggestion:
    """What to run first. text: a params file of at most ten lines; reasons: why, line by line."""

    text: str
    reasons: tuple[str, ...]


def suggest(look: Look, size: int | None = None) -> Suggestion:
    """Parameters for a first study of these images.

    size: in pixels, where the user has decided. Without labels there is nothing to probe: the
    study pretrains only.
    """
    defaults, reasons = choose_defaults(look, size)
    augment, why = choose_augment(look, defaults)
    reasons.append(why)
    repeats, n, labelled = "seed: [0, 1, 2]", trained_on(look), len(look.labelled)
    if not any(look.splits) and labelled < SMALL and look.labels is not None:
        folds, why = choose_folds(look)
        reasons.append(why)
        if folds:
            defaults["folds"] = folds
            repeats = f"fold: {list(range(folds))}"
            n = round(labelled * (1 - 1 / folds) * 7 / 8)
    more = len(look.beside_train)
    training, why = choose_epochs(n, more)
    reasons.append(why)
    study = re.sub(r"[^A-Za-z0-9]+", "-", look.title).strip("-").lower() or "mine"
    lines = [
        f"study: {study}",
        "question: Is pretraining worth it on these images, and with how many labels?",
        f"defaults: {{{', '.join(f'{k}: {plain(v)}' for k, v in defaults.items())}}}",
        "experiments:",
        f"  data: {{notebook: 00_data, set: {{augment: {augment}}}}}",
        f"  pretrain: {{notebook: 01_pretrain, set: {{augment: {augment}, {training}}}, "
        f"matrix: {{{repeats}}}}}",
    ]
    if look.labels is not None:
        budgets = choose_budgets(look, n)
        reasons.append(f"labels: budgets within {n:,} training images, and all of them")
        labels = f"init: pretrain, labels: [{', '.join(map(str, [*budgets, 'all']))}]"
        lines += [
            f"  probe: {{notebook: 02_probe, set: {{{labels}}}}}",
            f"  finetune: {{notebook: 03_finetune, set: {{{labels}}}}}",
            "  report: {notebook: 09_report}",
        ]
    return Suggestion("\n".join(lines) + "\n", tuple(reasons))


def plain(value: object) -> str:
    """A value as YAML writes it inside braces, quoted where it must be."""
    text = str(value)
    simple = re.fullmatch(r"[\w./~-]+(:[\w./~-]+)?", text)
    return text if simple else json.dumps(text, ensure_ascii=False)


def choose_defaults(look: Look, size: int | None) -> tuple[dict[str, object], list[str]]:
    """data set, size, stem, preprocessing, and how many unreadable images are put up with."""
    pictures = [p for p in look.pictures if p is not None]
    middle = float(np.median([min(p.height, p.width) for p in pictures]))
    chosen, why = size, "as asked"
    if chosen is None:
        chosen = next((s for s in SIZES if s <= middle), max(MIN_SIZE, int(middle)))
        why = f"the shorter side is {middle:,.0f} px in the median"
        why += "; on a GPU take 224" if middle >= 224 and look.files else ""
    stem = "imagenet" if chosen >= LARGE_STEM else "strided"
    reasons = [f"size: {why}", f"stem: {stem} suits {chosen} px"]
    defaults: dict[str, object] = {"dataset": look.name, "size": chosen, "stem": stem}
    if looks_like_fundus(look):
        defaults["preprocess"] = "fundus"
        reasons.append("preprocess: the photographs show the lit disc of a fundus camera")
    share = len(look.failures) / len(look)
    if 0.01 < share <= MOST_UNREADABLE:
        defaults["max_unreadable"] = round(share + 0.005, 2)
        reasons.append(f"max_unreadable: {share:.1%} cannot be read")
    return defaults, reasons


def choose_augment(look: Look, defaults: dict[str, object]) -> tuple[str, str]:
    """The sequence for these images, and why."""
    if look.name in AUGMENTS:
        return AUGMENTS[look.name], f"augment: {AUGMENTS[look.name]}, for what {look.name} shows"
    if defaults.get("preprocess") == "fundus":
        return "fundus", "augment: fundus, for photographs of the retina"
    coloured = sum(p.coloured for p in look.pictures if p is not None)
    if coloured >= max(1, COLOURED * len(look.readable)):
        return "novel", "augment: novel, for colour; microscopy where there is no up and down"
    of = f"only {coloured:,} of {len(look.readable):,} images" if coloured else "no image"
    return "greyscale", f"augment: greyscale, since {of} {'are' if coloured > 1 else 'is'} coloured"


def choose_folds(look: Look) -> tuple[int, str]:
    """Folds of which each can test every class, FOLDS at most, and why; 0 where two are too many.

    A fold gets groups, and copies of one file, as a whole. Two folds need four of these: half is
    tested, the other half is for train and val.
    """
    units, labels = units_of(look), look.labels or []
    holders = {c: {units[row] for row in units if c in labels[row]} for c in look.classes}
    rarest = min(look.classes, key=lambda c: len(holders[c]))
    whole, held = len(set(units.values())), len(holders[rarest])
    word = "group" if look.groups is not None else "image"
    folds = min(FOLDS, whole, held)
    halved = folds == 2 and whole < 4
    what = f"fewer than {SMALL:,} {'labelled images' if look.unlabelled else 'images'}"
    few = f"there are only {count(whole, word)}"
    if held < whole and not halved:
        few = f"{rarest} is in only {count(held, word)}"
    few += "; a class cannot be trained on and tested with fewer than two" if held < 2 else ""
    if folds < 2 or halved:
        return 0, f"folds: none, though there are {what}: {few}"
    limit = "" if folds == FOLDS else f", no more since {few}"
    return folds, f"folds: {what}, so each is tested once, in {folds} folds{limit}"


def units_of(look: Look) -> dict[int, int]:
    """What no split tears apart: each labelled row → the first of its group and its file's copies.

    As in `lib.data.own_split.kept_together`: groups that share a copy are one.
    """
    above = {row: row for row in look.labelled}
    first: dict[tuple[str, str], int] = {}

    def top(row: int) -> int:
        while above[row] != row:
            row = above[row]
        return row

    for row in above:
        keys = [] if look.groups is None else [("group", look.groups[row])]
        picture = look.pictures[row]
        keys += [("file", picture.digest)] if look.files and picture is not None else []
        for key in keys:
            one, other = sorted((top(row), top(first.setdefault(key, row))))
            above[other] = one
    return {row: top(row) for row in above}


def choose_epochs(n: int, more: int) -> tuple[str, str]:
    """Parameters of a pretraining on n training images and `more` without labels, and why.

    The notebook's warm-up is cut to a tenth of few epochs, or the learning rate would only rise.
    """
    wanted = round(PASSES / max(n + more, 1))
    epochs = int(np.clip(wanted, *EPOCHS))
    without = f" and {more:,} without labels" if more else ""
    why = f"epochs: {epochs * (n + more):,} image passes over {n:,} training images{without}"
    if wanted != epochs:
        why += f", {epochs} epochs being the {'most' if wanted > epochs else 'fewest'} suggested"
    settings = f"epochs: {epochs}"
    if WARMUP * epochs < notebook_defaults("01_pretrain")["warmup_epochs"]:
        settings += f", warmup_epochs: {WARMUP * epochs:.1f}"
        why += "; a tenth of them to warm up"
    return settings, why


def looks_like_fundus(look: Look) -> bool:
    """Whether most of a few photographs, evenly taken, show a lit disc on black."""
    from lib.data.disc import DARK, find_disc, lit_pixels

    rows = look.readable
    if look.data is None or len(rows) < 2:
        return False
    chosen = rows[:: max(1, len(rows) // LOOKED_AT)][:LOOKED_AT]
    discs = 0
    for row in chosen:
        if not look.pictures[row].coloured:  # type: ignore[union-attr]
            continue
        image = whole_picture(look.data(row))
        if image.max() <= DARK:
            continue
        # A dermatoscope's vignette is round too, but its picture reaches into the corners.
        dark = 1 - float(lit_pixels(image, 0.15).mean())
        discs += find_disc(image) is not None and dark > 0.1
    return discs >= FUNDUS * len(chosen)


def choose_budgets(look: Look, n: int) -> list[int]:
    """Up to three label budgets below n training images, each at least two images a class."""
    fitting = [b for b in BUDGETS if 2 * len(look.classes) <= b <= 0.6 * n]
    return fitting[-3:]


def trained_on(look: Look) -> int:
    """Images in train, as given, or as a split will have it, unlabelled ones apart."""
    n = Counter(look.splits[row] for row in look.labelled)
    if not any(look.splits):
        return round(SHARE * sum(n.values()))
    return n["train"] if n["val"] else round(n["train"] * 7 / 8)
