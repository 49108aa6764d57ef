"""Tables and differences in Markdown, as docs/findings.md has them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lib.names import name_scratch, name_source
from lib.statistics.paired import Paired


def table_of(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    names = list(names)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(mean: float, low: float, high: float, sign: bool = True) -> str:
    """`+0.041 [+0.001, +0.080]`, signed for a difference."""
    form = "+.3f" if sign else ".3f"
    if math.isnan(low):
        return f"{mean:{form}} (no interval)"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def bold(text: str, clear: bool) -> str:
    """The text, in bold if what it says is clear."""
    return f"**{text}**" if clear else text


def spread(t: Paired) -> tuple[float, float, float]:
    """Mean and interval."""
    return t.mean, t.low, t.high


def way(method: str, protocol: str) -> str:
    """`SimCLR, probe`; a random encoder finetuned is training from scratch."""
    return name_scratch(method, protocol) or f"{name_source(method)}, {protocol}"
