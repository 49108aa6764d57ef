"""Links from each report to the one before, the one after, and the study's page.

A run does not know its study's order when its report is written, and the next one may not be done.
So a page keeps a place for these links, and they are put in when the index is written.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from lib.files import replacing
from lib.pages.page import NEIGHBOURS

BEGIN, END = NEIGHBOURS
HEAD = 100_000  # bytes in which a report's header ends


def link_reports(study_folder: Path, names: Sequence[str], title: str) -> int:
    """Put the links into the reports of the named runs that are done, in this order.

    Reports whose links are right already are left alone, and so are those of an older form, which
    have no place for them. Returns how many were changed.
    """
    pages = [study_folder / "runs" / name / "report.html" for name in dict.fromkeys(names)]
    pages = [page for page in pages if page.exists()]
    changed = 0
    for i, page in enumerate(pages):
        before = pages[i - 1] if i else None
        after = pages[i + 1] if i + 1 < len(pages) else None
        changed += put_links(page, links(title, before, after))
    return changed


def links(title: str, before: Path | None, after: Path | None) -> str:
    """The navigation of one report."""
    parts = [f"<a href='../../index.html'>{html.escape(title)}</a>"]
    for page, word, relation in ((before, "previous", "prev"), (after, "next", "next")):
        if page is not None:
            name = html.escape(page.parent.name)
            parts.append(f"<a rel='{relation}' href='../{name}/report.html'>{word}: {name}</a>")
    return f"<nav class='runs' aria-label='Study'>{''.join(parts)}</nav>"


def put_links(page: Path, navigation: str) -> bool:
    """Put the navigation into its place in a page; whether anything had to be changed."""
    with page.open("rb") as file:
        # The place is in the page's header, after the styles; figures of megabytes come later.
        head = file.read(HEAD)
        begin = head.find(BEGIN.encode())
        end = head.find(END.encode(), begin)
        new = BEGIN.encode() + navigation.encode()
        if begin < 0 or end < 0 or head[begin:end] == new:
            return False
        rest = head[end:] + file.read()
    with replacing(page) as temporary:
        temporary.write_bytes(head[:begin] + new + rest)
    return True
