"""Sections of a rendered notebook: one that tested nothing is folded behind its heading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """A cell as HTML.

    level: of the heading that it begins with, 0 for none. untested: what its outputs are marked
    with (`lib.findings.claims.about`), None without a mark.
    """

    html: str
    level: int = 0
    untested: bool | None = None


def folded(pieces: Sequence[Piece]) -> list[str]:
    """The pieces as HTML, a section in which everything marked is untested behind its heading.

    A section goes from a heading of second or third level to the next that is not below it.
    """
    found: list[str] = []
    at = 0
    while at < len(pieces):
        piece, end = pieces[at], at + 1
        if piece.level > 1:
            while end < len(pieces) and not 0 < pieces[end].level <= piece.level:
                end += 1
        marks = {p.untested for p in pieces[at:end]} - {None}
        if piece.level > 1 and marks == {True}:
            heading = re.search(r"<h[2-6]\b[^>]*>(.*?)</h[2-6]>\s*", piece.html, re.DOTALL)
            assert heading is not None  # that is where its level is from
            rest = piece.html.replace(heading[0], "", 1)
            inner = "\n".join([rest, *(p.html for p in pieces[at + 1 : end])])
            found.append(
                f'<details class="untested"><summary>{heading[1]} · '
                f"<em>not tested here</em></summary>{inner}</details>"
            )
            at = end
        else:
            found.append(piece.html)
            at += 1
    return found


def level_of(text: str) -> int:
    """The level of the heading that HTML begins with; 0 where it begins with none."""
    heading = re.match(r"\s*<h([1-6])\b", text)
    return int(heading[1]) if heading else 0
