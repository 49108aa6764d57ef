"""The list of a page's sections, with links to them."""

from __future__ import annotations

import html
import re

HEADING = re.compile(r"<h([23])\b([^>]*)>(.*?)</h\1>", re.DOTALL)
# With fewer sections a list of them says nothing.
FEWEST = 3


def table_of_contents(body: str) -> tuple[str, str]:
    """The body with a name on each second and third heading, and the list of them as HTML.

    A heading keeps the `id` it has; equal ones are numbered. The list is empty where the page has
    fewer than FEWEST second headings.
    """
    taken = set(re.findall(r"\bid=[\"']([^\"']+)[\"']", body))
    found: list[tuple[int, str, str]] = []

    def name(match: re.Match[str]) -> str:
        level, attributes, inner = int(match[1]), match[2], match[3]
        text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", inner)).split())
        own = re.search(r"\bid=[\"']([^\"']+)[\"']", attributes)
        key = own[1] if own else unused(slug(text), taken)
        found.append((level, key, text))
        named = attributes if own else f'{attributes} id="{key}"'
        return f"<h{level}{named}>{inner}</h{level}>"

    named = HEADING.sub(name, body)
    if sum(level == 2 for level, _, _ in found) < FEWEST:
        return named, ""
    return named, list_of(found)


def slug(text: str) -> str:
    """A heading as the name of a place: `Beside published figures` → `beside-published-figures`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


def unused(wanted: str, taken: set[str]) -> str:
    """The name, or the first of name-2, name-3, … that no other element has; it is then taken."""
    key, number = wanted, 1
    while key in taken:
        number += 1
        key = f"{wanted}-{number}"
    taken.add(key)
    return key


def list_of(headings: list[tuple[int, str, str]]) -> str:
    """Second headings as a list, third ones in a list below theirs."""
    parts: list[str] = []
    inside = False
    for level, key, text in headings:
        link = f'<a href="#{key}">{html.escape(text)}</a>'
        if level == 2:
            parts.append(("</ol></li>" if inside else "</li>") if parts else "")
            parts.append(f"<li>{link}")
            inside = False
        elif parts:
            parts.append(f"{'' if inside else '<ol>'}<li>{link}</li>")
            inside = True
    closing = "</ol></li>" if inside else "</li>"
    listed = f"<ol>{''.join(parts)}{closing}</ol>"
    return f'<nav class="contents" aria-label="Contents"><p>Contents</p>{listed}</nav>'
