"""What was found, for a terminal of 100 columns."""

from __future__ import annotations

import textwrap

import pandas as pd

from lib.describe.facts import Facts
from lib.describe.look import Look
from lib.describe.suggest import Suggestion

WIDTH = 100
BAR = 24  # columns of the longest bar
LISTED = 10  # unreadable images named in a terminal
CLASSES = 40  # classes shown in a terminal
NAME = 32  # columns of a class's name


def render(look: Look, facts: Facts, suggestion: Suggestion, *, listed: int = LISTED) -> str:
    """The whole description as text."""
    lines = [f"{look.title} ({look.where})", ""]
    label = max(map(len, facts.about))
    for name, value in facts.about.items():
        lines += hanging(f"{name:{label}}  ", value)
    lines += ["", *class_lines(facts.counts)]
    if facts.unreadable:
        lines += ["", "Unreadable:"]
        for image, why in facts.unreadable[:listed]:
            lines += hanging("  ", f"{image}: {why}")
        if len(facts.unreadable) > listed:
            lines.append(f"  and {len(facts.unreadable) - listed:,} more (all of them: --html)")
    lines += ["", "To mend or to know:" if facts.warnings else "Nothing to mend was found."]
    for warning in facts.warnings:
        lines += hanging("  ! ", warning)
    for note in look.notes:
        lines += hanging("  · ", note)
    lines += ["", "A params file to start with (--write-params FILE):", ""]
    lines += [f"  {line}" for line in suggestion.text.splitlines()]
    lines.append("")
    for reason in suggestion.reasons:
        lines += hanging("  ", reason)
    return "\n".join(lines)


def hanging(head: str, text: str) -> list[str]:
    """A paragraph of at most WIDTH columns, its later lines below the first one's text."""
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def class_lines(counts: pd.DataFrame) -> list[str]:
    """Images by class and split with bars for the whole."""
    total = counts.sum(axis=1)
    columns = [str(c) for c in counts.columns]
    names = [textwrap.shorten(str(n), NAME, placeholder=" …") for n in counts.index]
    wide = max([len("class"), *map(len, names)])
    numbers = [max(len(c), len(f"{int(counts[c].max()):,}")) for c in columns]
    head = f"{'class':{wide}}" + "".join(
        f"  {c:>{w}}" for c, w in zip(columns, numbers, strict=True)
    )
    lines = [f"{head}   share"]
    whole, largest = max(int(total.sum()), 1), max(int(total.max()), 1)
    for name, n, (_, row) in list(zip(names, total, counts.iterrows(), strict=True))[:CLASSES]:
        cells = "".join(f"  {int(v):>{w},}" for v, w in zip(row, numbers, strict=True))
        bar = "█" * max(round(BAR * n / largest), 1 if n else 0)
        lines.append(f"{name:{wide}}{cells}  {n / whole:6.1%}  {bar}".rstrip())
    if len(names) > CLASSES:
        lines.append(f"and {len(names) - CLASSES} more classes")
    return lines
