"""What a look at a data set comes to: counts, properties, and what to mend before a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.data.base import SPLITS
from lib.describe.alike import FLAT, Alike
from lib.describe.look import Look
from lib.describe.pictures import Picture

UNEQUAL = 10.0  # largest over smallest class from which it is said
FEW = 10  # images of a class that make its figures a matter of luck
NAMED = 3  # offenders named in a sentence
DARK = 8.0  # mean grey level up to which a flat image is called black
NO_SPLIT = "all"
UNLABELLED = "without labels"
NO_FINDING = "(none of these)"


@dataclass(frozen=True)
class Facts:
    """counts: images by class (rows) and split (columns). about: property → its value in words.

    warnings: sentences on what would spoil a study, the worst first. leaks: rows of val and test
    whose copy or near-duplicate is in train, by split. unreadable: each image and why.
    """

    counts: pd.DataFrame
    about: dict[str, str]
    warnings: tuple[str, ...]
    leaks: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]


def gather(look: Look, alike: Alike) -> Facts:
    """Everything that is printed, from one look."""
    counts, leaks = count_images(look), find_leaks(look, alike)
    return Facts(
        counts=counts,
        about=describe_images(look, alike),
        warnings=(
            *say_unreadable(look),
            *say_leaks(look, leaks),
            *say_conflicts(look, alike),
            *say_unlabelled(look, alike),
            *say_copies(look, alike),
            *say_flat(look),
            *say_classes(look, counts),
        ),
        leaks=leaks,
        unreadable=tuple((look.ids[row], why) for row, why in look.failures.items()),
    )


def count_images(look: Look) -> pd.DataFrame:
    """Images by class and split; unreadable ones are not counted."""
    splits = [s for s in SPLITS if s in look.splits] or [NO_SPLIT]
    rows = [row for row, picture in enumerate(look.pictures) if picture is not None]
    tally: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if look.labels is None or row in look.unlabelled:
            names: tuple[str, ...] = (UNLABELLED,)
        else:
            names = look.labels[row] or (NO_FINDING,)
        tally.update((name, look.splits[row] or NO_SPLIT) for name in names)
    classes = list(look.classes) if look.labels is not None else [UNLABELLED]
    found = {name for name, _ in tally}
    classes += [name for name in (NO_FINDING, UNLABELLED) if name in found - set(classes)]
    table = {s: [tally[c, s] for c in classes] for s in splits}
    return pd.DataFrame(table, index=pd.Index(classes, name="class"))


def describe_images(look: Look, alike: Alike) -> dict[str, str]:
    """Properties of the images in words, by name."""
    seen = [p for p in look.pictures if p is not None]
    about = {"images": f"{len(seen):,}"}
    if look.splits and any(look.splits):
        order = Counter(look.splits[row] for row in look.labelled)
        about["images"] += f": {', '.join(f'{order[s]:,} {s}' for s in SPLITS if s in order)}"
    else:
        about["images"] += ", not split yet"
    labelled = f"{look.task}, {len(look.classes)} classes" if look.classes else "none"
    about["labels"] = labelled
    if look.unlabelled:
        about[UNLABELLED] = f"{len(look.readable) - len(look.labelled):,}, for pretraining alone"
    if look.groups is not None:
        sizes = np.asarray(list(Counter(look.groups).values()))
        about["groups"] = f"{len(sizes):,}, images in each: {spread(sizes)}"
    about["size"] = say_sizes(seen)
    about["colour"] = say_channels(seen)
    about["depth"] = say_counts(f"{p.bits} bit" for p in seen)
    if look.files:
        about["format"] = say_counts(p.kind for p in seen)
    about["unreadable"] = f"{len(look.failures):,}" if look.failures else "none"
    copied = sum(len(rows) - 1 for rows in alike.copies)
    about["copies"] = f"{count(copied, 'image')} identical to another" if copied else "none"
    near = sum(map(len, alike.near))
    about["near-duplicates"] = (
        f"{near:,} images in {count(len(alike.near), 'set')}" if near else "none"
    )
    return about


def spread(values: np.ndarray) -> str:
    """`1 to 6 (median 1)`, or the one value there is."""
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,} (median {np.median(values):,.0f})"


def say_sizes(seen: Sequence[Picture]) -> str:
    """Width × height where all agree, else how they are spread."""
    sizes = Counter((p.width, p.height) for p in seen)
    if not sizes:
        return "–"
    (width, height), often = sizes.most_common(1)[0]
    if len(sizes) == 1:
        return f"{width:,} × {height:,} (width × height)"
    sides = np.asarray([min(p.width, p.height) for p in seen])
    low, middle, high = np.quantile(sides, (0.05, 0.5, 0.95))
    shapes = np.asarray([p.width / p.height for p in seen])
    text = f"shorter side {sides.min():,} to {sides.max():,} (5% {low:,.0f}, median {middle:,.0f}, "
    text += f"95% {high:,.0f}); width over height {shapes.min():.2f} to {shapes.max():.2f}; "
    return f"{text}most often {width:,} × {height:,} ({often / len(seen):.0%})"


def say_channels(seen: Sequence[Picture]) -> str:
    """How many are colour, grey, and grey but stored as colour."""
    words = ("colour", "grey", "grey, stored as colour")
    return say_counts(words[0 if p.coloured else 1 if p.channels == 1 else 2] for p in seen)


def say_counts(kinds: Iterable[str]) -> str:
    """`JPEG`, or `9,000 JPEG, 12 PNG`."""
    found = Counter(kinds).most_common()
    return found[0][0] if len(found) == 1 else ", ".join(f"{n:,} {k}" for k, n in found) or "–"


def count(n: int, what: str) -> str:
    """`1 image`, `2 images`, `3 sets of near-duplicates`."""
    noun, _, rest = what.partition(" ")
    return f"{n:,} {noun}{'' if n == 1 else 's'}" + (f" {rest}" if rest else "")


def named(ids: Sequence[str]) -> str:
    """The first few of a list of images."""
    return ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")


def say_unreadable(look: Look) -> list[str]:
    """How many cannot be read, and the first of them."""
    if not look.failures:
        return []
    n, row = len(look.failures), next(iter(look.failures))
    text = f"{n:,} of {len(look):,} images cannot be read: {look.ids[row]} ({look.failures[row]})"
    text += ", …" if n > 1 else ""
    return [f"{text}. Above a share of max_unreadable (0.01) a study refuses to start."]


def find_leaks(look: Look, alike: Alike) -> dict[str, int]:
    """Images of val and test that have a copy or a near-duplicate in train, by split.

    An unlabelled image counts as train where pretraining sees it.
    """
    linked, unseen = join_sets(alike), look.unlabelled - look.beside_train
    leaks = {}
    for split in ("val", "test"):
        n = 0
        for rows in linked:
            splits = [look.splits[row] for row in rows - unseen]
            n += splits.count(split) if "train" in splits else 0
        if n:
            leaks[split] = n
    return leaks


def join_sets(alike: Alike) -> list[set[int]]:
    """Copies and near-duplicates as one family of sets that share no row."""
    joined: list[set[int]] = [set(rows) for rows in alike.near]
    holder = {row: rows for rows in joined for row in rows}
    for copies in alike.copies:
        # A near-duplicate set knows its copies by the first of them alone.
        if copies[0] in holder:
            holder[copies[0]].update(copies)
        else:
            joined.append(set(copies))
    return joined


def say_leaks(look: Look, leaks: dict[str, int]) -> list[str]:
    """Duplicates across splits: test figures that are too good."""
    total = Counter(look.splits)
    return [
        f"Leak: {n:,} of {total[split]:,} {split} images have a copy or near-duplicate in train, "
        f"so {split} figures are too good."
        for split, n in leaks.items()
    ]


def say_conflicts(look: Look, alike: Alike) -> list[str]:
    """Identical images with different labels, and near-duplicates likewise."""
    if look.labels is None:
        return []
    said = []
    for what, found in (("identical images", alike.copies), ("near-duplicates", alike.near)):
        sets = [[row for row in rows if row not in look.unlabelled] for rows in found]
        differing = [rows for rows in sets if len({look.labels[row] for row in rows}) > 1]
        if differing:
            first = [
                f"{look.ids[row]} ({'|'.join(look.labels[row]) or '–'})" for row in differing[0]
            ]
            sets_of = count(len(differing), f"set of {what}")
            said.append(f"Different labels in {sets_of}: {named(first)}.")
    return said


def say_unlabelled(look: Look, alike: Alike) -> list[str]:
    """Unlabelled images that a study leaves out, and what is not known of the others."""
    if not look.unlabelled or look.labels is None:
        return []
    said, copied = [], len(look.copied)
    if copied:
        said.append(f"{copied:,} images without a label are copies of a labelled one: left out.")
    seen = look.beside_train
    held = len(look.readable) - len(look.labelled) - copied - len(seen)
    if held:
        said.append(
            f"{held:,} images without a label are of groups in val or test: pretraining leaves "
            "them out."
        )
    if look.groups is None:
        text = "Nothing is known about whether images without a label show patients of the test "
        text += "split: only a column group of a csv keeps them apart."
        near = sum(len(rows & seen) for rows in join_sets(alike) if rows - look.unlabelled)
        text += f" {near:,} have a near-duplicate among the labelled ones." if near else ""
        said.append(text)
    return said


def say_copies(look: Look, alike: Alike) -> list[str]:
    """Copies and near-duplicates that groups do not hold together, where no split is given yet."""
    if any(look.splits) or not (alike.copies or alike.near):
        return []
    if look.groups is None:
        n = sum(map(len, alike.near))
        if not n:
            return []
        return [
            f"{n:,} images have a near-duplicate. A split keeps identical files together, "
            "near-duplicates only by a column group (a patient, a lesion) of a csv."
        ]
    groups = look.groups
    apart = [rows for rows in alike.near if len({groups[row] for row in rows}) > 1]
    if not apart:
        return []
    rows = apart[0]
    return [
        f"Different groups in {count(len(apart), 'set of near-duplicates')}: "
        f"{named([f'{look.ids[row]} ({groups[row]})' for row in rows])}. Are they one patient?"
    ]


def say_flat(look: Look) -> list[str]:
    """Images that show nothing."""
    flat = [row for row, p in enumerate(look.pictures) if p is not None and p.spread <= FLAT]
    if not flat:
        return []
    black = sum(float(look.pictures[row].small.mean()) <= DARK for row in flat)  # type: ignore[union-attr]
    text = f"One value throughout in {count(len(flat), 'image')}"
    text += f", {black:,} of them black" if black else ""
    return [f"{text}: {named([look.ids[row] for row in flat])}."]


def say_classes(look: Look, counts: pd.DataFrame) -> list[str]:
    """Classes that are rare, or that a split lacks."""
    if look.labels is None:
        return ["There are no labels: the images serve for pretraining only."]
    table = counts.drop(index=[NO_FINDING, UNLABELLED], errors="ignore")
    said = []
    for split in table.columns:
        absent = [str(name) for name in table.index[table[split] == 0]]
        if absent and table[split].sum():
            said.append(f"{split} has no image of {named(absent)}.")
    total = table.sum(axis=1)
    rare = [str(name) for name in total.index[(total < FEW) & (total > 0)]]
    if rare:
        said.append(f"Fewer than {FEW} images of {named(rare)}: no figure for them means much.")
    ratio = imbalance(counts)
    if ratio >= UNEQUAL:
        # Where an image has several labels, 04_imbalance is refused (`lib.batch.feasible`).
        remedies = "" if look.task == "multi-label" else "; 04_imbalance tries remedies"
        said.append(
            f"Unequal classes: {total.idxmax()} has {ratio:,.0f} times the images of "
            f"{total[total > 0].idxmin()}. Read balanced accuracy{remedies}."
        )
    return said


def imbalance(counts: pd.DataFrame) -> float:
    """Images of the largest class over those of the smallest that has any; 1 without labels."""
    total = counts.drop(index=[NO_FINDING, UNLABELLED], errors="ignore").sum(axis=1)
    present = total[total > 0]
    return float(present.max() / present.min()) if len(present) else 1.0
