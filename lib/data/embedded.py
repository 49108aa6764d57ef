"""The data sets that come along: drawn by a program, so that nothing needs a download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lib.data import phantom, phantom_fundus
from lib.data.base import DataSet, Task
from lib.data.cache import combined_hash
from lib.identity import TRAINVAL

SEED = 0


@dataclass(frozen=True)
class Embedded:
    """What is known of an embedded data set before an image of it is drawn.

    sizes: the smallest and the largest that are drawn, in pixels; smaller images are resampled
    from the smallest. counts: images for train, val and test. version: is raised when a change
    alters the images. load: draws the data set from a size, counts and a seed.
    """

    name: str
    title: str
    task: Task
    classes: tuple[str, ...]
    channels: int
    sizes: tuple[int, int]
    counts: tuple[int, int, int]
    version: int
    load: Callable[[int, tuple[int, int, int], int], DataSet]

    def draw(self, size: int) -> DataSet:
        """The data set at `size` pixels, or at the smallest size there is where that is larger."""
        return self.load(max(size, self.sizes[0]), self.counts, SEED)

    def fingerprint(self, size: int) -> str:
        """Of the data set that `load_dataset` makes at `size` pixels."""
        return combined_hash([self.name, self.version, size, self.counts, SEED])


EMBEDDED = {
    known.name: known
    for known in (
        Embedded(
            name="phantom",
            title="phantom (synthetic)",
            task="multi-class",
            classes=phantom.CLASSES,
            channels=3,
            sizes=(phantom.MIN_SIZE, phantom.MAX_SIZE),
            counts=(2000, 400, 800),
            version=phantom.VERSION,
            load=phantom.load_phantom,
        ),
        Embedded(
            name="phantom-fundus",
            title="phantom-fundus (synthetic)",
            task="ordinal",
            classes=phantom_fundus.CLASSES,
            channels=3,
            sizes=(phantom_fundus.MIN_SIZE, phantom_fundus.MAX_SIZE),
            counts=(1000, 200, 400),
            version=phantom_fundus.VERSION,
            load=phantom_fundus.load_phantom_fundus,
        ),
    )
}


def is_synthetic(name: str) -> bool:
    """Whether a data set, as a parameter or a column of summary.csv names it, is embedded."""
    return name.removesuffix(TRAINVAL) in EMBEDDED
