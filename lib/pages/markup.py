"""Pieces of a page: Markdown with formulas, tables and terminal text as HTML that loads nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

# A fragment that matches none of these cannot make a browser load anything.
ACTIVE = re.compile(
    r"<(script|link|iframe|frame|object|embed|base|meta|img|video|audio|source|track|image|use)\b"
    r"|\b(style|srcset|poster|background)\s*=|<style\b",
    re.IGNORECASE,
)
REMOVED = ("script", "link", "iframe", "frame", "object", "embed", "base", "meta", "track")
LOADS_IN_CSS = re.compile(r"url\s*\(|@import", re.IGNORECASE)
# Numbers as tables of results show them: 0.91, −3, 12 %, 1e-4, 0.91 ± 0.02, 0.91 [0.88, 0.93].
NUMBER = re.compile(r"[-+−]?\.?\d[\d\s.,%±()\[\]–−+eE-]*|nan|inf|-inf|–|—", re.IGNORECASE)
# Unicode's 𝟘, 𝑨 and 𝒂.
BLACKBOARD_0, BOLD_ITALIC_UPPER, BOLD_ITALIC_LOWER = 0x1D7D8, 0x1D468, 0x1D482


def markdown(
    source: str,
    *,
    folder: Path | None = None,
    attachments: Mapping[str, Mapping[str, str]] | None = None,
    tags: bool = True,
) -> str:
    """HTML of a Markdown text in Jupyter's dialect; formulas become MathML.

    `$…$` and `$$…$$` in text are formulas, in code they are left alone; a formula that cannot be
    converted stays as it was typed. Images in `folder` or among a cell's `attachments` are
    embedded, others are named instead of loaded. tags: whether HTML in the text is markup; else it
    is shown as it was typed.
    """
    parser, renderer_class = _markdown_parser()
    renderer = renderer_class(
        escape=not tags,
        embed_images=folder is not None,
        exclude_anchor_links=True,
        path=str(folder or ""),
        attachments=dict(attachments or {}),
    )
    return tidy(parser(renderer).render(source))


def formula(latex: str, *, display: bool) -> str:
    """MathML of a LaTeX formula; the source as text where it cannot be converted.

    latex2mathml passes over what it does not know, so a command or an alignment mark left in its
    output counts as failure: a formula shown as source misleads nobody.
    """
    from latex2mathml.converter import convert

    mark = "$$" if display else "$"
    as_typed = f'<code class="formula">{html.escape(mark + latex + mark)}</code>'
    source = re.sub(r"\{aligned\*?\}", "{split}", latex.strip())
    try:
        mathml: str = convert(source, display="block" if display else "inline")
    # It raises a dozen kinds of its own and, on odd input, IndexError and KeyError.
    except Exception:
        return as_typed
    if re.search(r"<m\w+[^>]*>(\\|&<)", mathml):
        return as_typed
    if display:
        # Wide formulas scroll in their own line; in reach of the keyboard, like tables.
        mathml = mathml.replace("<math ", '<math tabindex="0" ', 1)
    # Browsers ignore these two values of mathvariant; Unicode has the letters themselves.
    mathml = re.sub(
        r'<mn mathvariant="double-struck">(\d)</mn>',
        lambda m: f"<mn>{chr(BLACKBOARD_0 + int(m[1]))}</mn>",
        mathml,
    )
    return re.sub(r'<mi mathvariant="bold-italic">([A-Za-z])</mi>', _bold_italic, mathml)


def _bold_italic(match: re.Match[str]) -> str:
    letter = match[1]
    upper = letter.isupper()
    first = BOLD_ITALIC_UPPER - ord("A") if upper else BOLD_ITALIC_LOWER - ord("a")
    return f"<mi>{chr(ord(letter) + first)}</mi>"


@cache
def _markdown_parser() -> tuple[Any, Any]:
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):  # type: ignore[misc]
        """nbconvert's renderer, with formulas as MathML where it leaves them to MathJax."""

        def inline_math(self, body: str) -> str:
            return formula(body, display=False)

        def block_math(self, body: str) -> str:
            return formula(body, display=True)

        def latex_environment(self, name: str, body: str) -> str:
            return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", display=True)

        def block_mermaidjs(self, code: str) -> str:
            return f"<pre><code>{html.escape(code)}</code></pre>"

    return MarkdownWithMath, Renderer


def tidy(fragment: str) -> str:
    """HTML that loads nothing from outside, with tables that scroll and align their numbers."""
    if not ACTIVE.search(fragment) and "<table" not in fragment:
        return fragment
    from bs4 import BeautifulSoup

    soup: Any = BeautifulSoup(fragment, "html.parser")
    for tag in soup.find_all(REMOVED):
        tag.decompose()
    for tag in soup.find_all("style"):
        # pandas puts a scoped style before each table; the page has its own.
        if tag.has_attr("scoped") or LOADS_IN_CSS.search(tag.get_text()):
            tag.decompose()
    for tag in soup.find_all(True):
        _keep_inside(soup, tag)
    for table in soup.find_all("table"):
        _align_numbers(table)
        if "scroll" not in (table.parent.get("class") or []):
            # In reach of the keyboard, so that a wide table can be scrolled without a mouse.
            box = {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "Table"}
            table.wrap(soup.new_tag("div", attrs=box))
    return str(soup)


def _keep_inside(soup: Any, tag: Any) -> None:
    """Take from one tag what would be loaded: a picture from elsewhere is named in its place."""
    if LOADS_IN_CSS.search(str(tag.get("style", ""))):
        del tag["style"]
    for attribute in ("srcset", "poster", "background"):
        del tag[attribute]
    loading = "src" if tag.has_attr("src") else "href" if tag.name in ("image", "use") else None
    if tag.has_attr("xlink:href") and not str(tag["xlink:href"]).startswith(("#", "data:")):
        del tag["xlink:href"]
    if loading is None or not tag.has_attr(loading):
        return
    address = str(tag[loading])
    if address.startswith(("data:", "#")):
        return
    note = soup.new_tag("em")
    note.string = f"[not embedded: {tag.get('alt') or tag.name}, {address}]"
    tag.replace_with(note)


def _align_numbers(table: Any) -> None:
    """Give columns of numbers the class `number`, headings included; drop old-style attributes.

    Columns are counted from the right: a heading that spans rows only shortens a row's left end.
    """
    for tag in (table, *table.find_all(["tr", "th", "td", "thead"])):
        for attribute in ("border", "align", "valign"):
            del tag[attribute]
        if "text-align" in str(tag.get("style", "")):
            del tag["style"]
    body = table.find("tbody") or table
    rows = [row.find_all(["th", "td"], recursive=False) for row in body.find_all("tr")]
    head = table.find("thead")
    head_rows = head.find_all("tr") if head else []
    headings = [row.find_all(["th", "td"], recursive=False) for row in head_rows]
    width = max((sum(cell.name == "td" for cell in row) for row in rows), default=0)
    for column in range(1, width + 1):
        cells = [row[-column] for row in rows if len(row) >= column]
        texts = [cell.get_text().strip() for cell in cells if cell.name == "td"]
        filled = [text for text in texts if text]
        if not filled or not all(NUMBER.fullmatch(text) for text in filled):
            continue
        spanless = [row for row in headings if not any(cell.has_attr("colspan") for cell in row)]
        for cell in cells + [row[-column] for row in spanless if len(row) >= column]:
            cell["class"] = [*(cell.get("class") or []), "number"]


def terminal(text: str) -> str:
    """HTML of what a terminal would show: colours kept, overwritten lines gone.

    Progress bars write a line again and again after a carriage return, and move up a line where
    several stand below each other; the last state of each line is what remains.
    """
    from nbconvert.filters.ansi import ansi2html

    lines, row, start_over = [""], 0, False
    for part in re.split(r"(\r\n|\r|\n|\x1b\[\d*A)", text):
        if part in ("\n", "\r\n"):
            row, start_over = row + 1, True
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            start_over = True
        elif part.startswith("\x1b[") and part.endswith("A"):
            row = max(0, row - int(part[2:-1] or 1))
        elif part:
            lines[row] = part if start_over else lines[row] + part
            start_over = False
    shown = "\n".join(line.rstrip() for line in lines).strip("\n")
    rendered: str = ansi2html(shown)
    return rendered
