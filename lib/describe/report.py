"""What was found as one HTML page that needs no network."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from lib.data.embedded import EMBEDDED
from lib.describe.alike import Alike
from lib.describe.facts import Facts
from lib.describe.look import Look
from lib.describe.sheet import SIDE, choose_pairs, choose_rows, embedded
from lib.describe.suggest import Suggestion
from lib.files import write_text
from lib.pages.page import SYNTHETIC, page

UNREADABLE = 1000  # images listed on the page


def write_report(
    look: Look, alike: Alike, facts: Facts, suggestion: Suggestion, path: Path
) -> None:
    """Write the page, complete or not at all."""
    text = html.escape
    table = facts.counts.assign(all=facts.counts.sum(axis=1))
    parts = [
        f"<p>{text(look.where)}</p>",
        definitions(facts.about.items()),
        "<h2>To mend or to know</h2>",
        bullets([*facts.warnings, *look.notes]) or "<p>Nothing to mend was found.</p>",
        "<h2>Images by class and split</h2>",
        f"<div class='scroll'>{table.to_html(border=0, classes='dataframe')}</div>",
        "<h2>Contact sheet</h2>",
        contact_sheet(look),
        alike_section(look, alike),
        unreadable_section(facts),
        "<h2>A params file to start with</h2>",
        f"<pre><code>{text(suggestion.text)}</code></pre>",
        bullets(suggestion.reasons),
    ]
    banner = SYNTHETIC if look.name in EMBEDDED else None
    write_text(path, page(f"What is in {look.title}?", "\n".join(parts), banner=banner))


def definitions(items: Iterable[tuple[str, str]]) -> str:
    """Names and values as a table without a head."""
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in items
    )
    return f"<div class='scroll'><table>{rows}</table></div>"


def bullets(sentences: Iterable[str]) -> str:
    """A list; nothing without sentences."""
    items = "".join(f"<li>{html.escape(s)}</li>" for s in sentences)
    return f"<ul>{items}</ul>" if items else ""


def contact_sheet(look: Look) -> str:
    """A few images of each class."""
    parts = []
    for name, rows in choose_rows(look).items():
        images = " ".join(embedded(look.fetch(row, SIDE), look.ids[row]) for row in rows)
        parts.append(f"<h3>{html.escape(name)}</h3><div>{images}</div>")
    return "\n".join(parts)


def alike_section(look: Look, alike: Alike) -> str:
    """Pairs of copies and near-duplicates, to be judged by eye."""
    pairs = choose_pairs(look, alike)
    if not pairs:
        return ""
    said = (
        "<h2>Copies and near-duplicates</h2><p>Pairs with different labels come first, then those "
        "in different splits. A cosine of 1 is a copy; below, two photographs of one thing or two "
        "alike things: judge by eye.</p>"
    )
    rows = []
    for a, b, cosine in pairs:
        images = " ".join(embedded(look.fetch(row, SIDE), look.ids[row]) for row in (a, b))
        words = " · ".join(caption(look, row) for row in (a, b))
        rows.append(f"<p>{images}<br>{html.escape(words)} · cosine {cosine:.3f}</p>")
    return said + "\n".join(rows)


def caption(look: Look, row: int) -> str:
    """An image's name, and its label, split and group as far as there are any."""
    label = "|".join(look.labels[row]) if look.labels is not None else ""
    label = "without a label" if row in look.unlabelled else label
    group = look.groups[row] if look.groups is not None else ""
    known = ", ".join(word for word in (label, look.splits[row], group) if word)
    return f"{look.ids[row]} ({known})" if known else look.ids[row]


def unreadable_section(facts: Facts) -> str:
    """Every image that cannot be read, and why."""
    if not facts.unreadable:
        return ""
    listed = [f"{image}: {why}" for image, why in facts.unreadable[:UNREADABLE]]
    more = len(facts.unreadable) - len(listed)
    listed += [f"and {more:,} more"] if more else []
    return f"<h2>Unreadable</h2>{bullets(listed)}"
