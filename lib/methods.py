"""How a method is written in summary.csv: `simclr from a>b (warm)`, and what belongs together."""

from __future__ import annotations

from collections.abc import Collection

# Methods that no pretraining made.
FLOORS = ("random", "pixels")


def split_method(method: str) -> tuple[str, str, str]:
    """A method of summary.csv in its parts: `simclr from a>b (warm)` → simclr, a>b, warm."""
    rest, _, variant = method.partition(" (")
    base, _, source = rest.partition(" from ")
    return base, source, variant.removesuffix(")")


def scratch_like(method: str, known: Collection[str]) -> str:
    """Training from scratch with the setting that a finetuned method had, if among `known`.

    `random (long)` for `simclr (long)` and for `simclr (warm, long)`, whose pretraining was warm;
    `random` where no such setting was trained from scratch.
    """
    words = split_method(method)[2].split(", ")
    settings = (f"random ({', '.join(words[i:])})" for i in range(len(words)))
    return next((name for name in settings if name in known), "random")
