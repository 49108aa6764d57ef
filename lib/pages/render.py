"""An executed notebook as one HTML file that opens from disk: code folded, results in sight."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lib.files import write_text
from lib.pages.markup import markdown, terminal, tidy
from lib.pages.page import page
from lib.pages.sections import Piece, folded, level_of
from lib.pages.used import INJECTED, PARAMETERS, parameters_table, tags_of

# What papermill writes around a failed cell; the page has its own notice.
PAPERMILL_NOTICE = "papermill-error-cell-tag"
WIDGET = "application/vnd.jupyter.widget-view+json"
SVG, PNG = "image/svg+xml", "image/png"
FIGURES = "figures"  # the folder beside a report that its drawings are kept in


class RenderError(ValueError):
    """A notebook cannot be read; the message names the file."""


def render_notebook(
    notebook: Path | Any,
    html: Path,
    *,
    title: str | None = None,
    banner: str | None = None,
    footer: Mapping[str, str] | None = None,
) -> None:
    """Write an executed notebook (a path or an nbformat node) as a self-contained HTML file.

    title defaults to the first heading, which then moves into the page's header; banner is a
    notice below it ("Synthetic data: …"); footer holds what the run is called, its commit, date.
    Nothing is executed. The file appears complete or not at all; raises RenderError for a file
    that is no notebook. Drawings are also written to the folder `figures` beside it, for who wants
    them in a text of their own, and each is linked.
    """
    folder, html = None, Path(html)
    if isinstance(notebook, str | Path):
        folder = Path(notebook).resolve().parent
        notebook = _read(Path(notebook))
    found, body = notebook_body(notebook, folder=folder, keep_title=title is not None)
    for name, drawing in drawings(notebook).items():
        write_text(html.parent / name, drawing)
    footer = {**(footer or {}), **provenance(html.parent / "metrics.json")} or None
    write_text(html, page(title or found, body, banner=banner, footer=footer))


def provenance(metrics: Path) -> dict[str, str]:
    """What a run noted beside its report of its machine, its time and its libraries, if it did."""
    if not metrics.exists():
        return {}
    noted = json.loads(metrics.read_text(encoding="utf-8"))
    libraries = [f"{name} {version}" for name, version in noted.get("versions", {}).items()]
    facts = {
        "machine": noted.get("device", ""),
        "precision": noted.get("precision", ""),
        "time": f"{noted['seconds']:.0f} s" if "seconds" in noted else "",
        "libraries": ", ".join(libraries),
    }
    return {name: fact for name, fact in facts.items() if fact}


def drawings(notebook: Any) -> dict[str, str]:
    """The drawings among a notebook's outputs: the file that each is kept in → its SVG.

    A file is named by its cell, and numbered where a cell shows several.
    """
    found = {}
    for cell in notebook.cells:
        shown = [o for o in cell.get("outputs", []) if SVG in o.get("data", {})]
        for i, output in enumerate(shown, start=1):
            number = f"-{i}" if len(shown) > 1 else ""
            found[f"{FIGURES}/{cell.get('id', 'cell')}{number}.svg"] = text_of(output.data[SVG])
    return found


def text_of(content: str | Sequence[str]) -> str:
    """An output's text, which notebooks may keep as a list of lines."""
    return content if isinstance(content, str) else "".join(content)


def notebook_body(
    notebook: Any, *, folder: Path | None = None, keep_title: bool = False
) -> tuple[str, str]:
    """The notebook's title as text and its cells as HTML, the title left out unless `keep_title`.

    Cells tagged `parameters` and `injected-parameters` become one table of the values used.
    Respected tags: `remove-cell`, `remove-input`, `remove-output`, with `_` for `-` too.
    folder: where images named in Markdown lie.
    """
    failed = next((e for cell in notebook.cells for e in _errors(cell)), None)
    pieces: list[Piece] = []
    shown_parameters = False
    for cell in notebook.cells:
        tags = tags_of(cell)
        if "remove-cell" in tags or (failed and PAPERMILL_NOTICE in tags):
            continue
        if tags & {PARAMETERS, INJECTED}:
            table = parameters_table(notebook.cells)
            if table is not None:
                pieces += [] if shown_parameters else [Piece(table)]
                shown_parameters = True
                continue
        if cell.cell_type == "markdown":
            attachments = cell.get("attachments")
            text = markdown(cell.source, folder=folder, attachments=attachments)
            pieces.append(Piece(f"<section>{text}</section>", level_of(text)))
        elif cell.cell_type == "code":
            pieces.append(Piece(_code_cell(cell, tags), untested=_untested(cell)))
    body = "\n".join(text for text in folded(pieces) if text)
    heading = re.search(r"<h1\b[^>]*>(.*?)</h1>\n?", body, re.DOTALL)
    if heading and not keep_title:
        body = body[: heading.start()] + body[heading.end() :]
    if failed:
        body = _failure_notice(failed) + body
        # The notice leads to the first error.
        body = body.replace('<div class="error">', '<div class="error" id="error">', 1)
    title = html.unescape(re.sub(r"<[^>]+>", "", heading[1])).strip() if heading else "Notebook"
    return title, body


def _untested(cell: Any) -> bool | None:
    """Whether what a cell shows is marked as untested; None without a mark."""
    found = [output.get("metadata", {}).get("text/markdown", {}) for output in cell.outputs]
    marks = [known["untested"] for known in found if "untested" in known]
    return all(marks) if marks else None


def _read(path: Path) -> Any:
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise RenderError(f"{path}: no such notebook") from error
    # nbformat raises its own kinds and whatever half a JSON file leads to.
    except Exception as error:
        found = " ".join(str(error).split())[:120]
        raise RenderError(f"{path}: not a notebook: {found}") from error


def _errors(cell: Any) -> list[Any]:
    return [output for output in cell.get("outputs", []) if output.output_type == "error"]


def _failure_notice(error: Any) -> str:
    name = html.escape(_error_title(error))
    return (
        f'<p class="failed" role="alert">This run failed: <a href="#error">{name}</a>.'
        " Nothing after that cell was run.</p>\n"
    )


def _error_title(error: Any) -> str:
    message = re.sub(r"\x1b\[.*?[@-~]", "", error.get("evalue", "")).strip()
    first = message.splitlines()[0] if message else ""
    return f"{error.get('ename', 'Error')}: {first}" if first else str(error.get("ename", "Error"))


def _code_cell(cell: Any, tags: set[str]) -> str:
    pieces = []
    kept = {drawing: name for name, drawing in drawings(SimpleNamespace(cells=[cell])).items()}
    if cell.source.strip() and "remove-input" not in tags:
        pieces.append(
            f'<details class="code"><summary>code</summary>{_highlight(cell.source)}</details>'
        )
    for _, group in groupby(cell.outputs, key=_stream_name):
        outputs = list(group)
        if "remove-output" in tags:
            # What went wrong is never hidden.
            outputs = [output for output in outputs if output.output_type == "error"]
        if outputs and outputs[0].output_type == "stream":
            pieces.append(_stream(outputs))
        else:
            pieces += [_error(o) if o.output_type == "error" else _output(o, kept) for o in outputs]
    return "\n".join(piece for piece in pieces if piece)


def _stream_name(output: Any) -> str:
    return str(output.name) if output.output_type == "stream" else ""


def _stream(outputs: Sequence[Any]) -> str:
    """Printed text; what went to stderr (warnings, progress bars) is folded."""
    text = terminal("".join(output.text for output in outputs))
    if not text:
        return ""
    if outputs[0].name != "stderr":
        return f'<pre class="text">{text}</pre>'
    lines = len(text.splitlines())
    summary = f"messages, {lines} line{'s' if lines > 1 else ''}"
    return (
        f'<details class="messages"><summary>{summary}</summary><pre class="text">{text}</pre>'
        "</details>"
    )


def _output(output: Any, kept: Mapping[str, str]) -> str:
    data = output.get("data", {})
    # Widgets live in JupyterLab only; the text beside them is the bar's first state.
    if WIDGET in data:
        return ""
    for kind in (SVG, PNG, "image/jpeg", "image/gif"):
        if kind in data:
            content = text_of(data[kind])
            return _image(kind, content, output.get("metadata", {}).get(kind, {}), kept)
    if "text/html" in data:
        return tidy(data["text/html"])
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            # What a run says holds names from users' data: a tag there is a name, not markup.
            return markdown(data[kind], tags=False)
    text = terminal(data.get("text/plain", ""))
    return f'<pre class="text">{text}</pre>' if text else ""


def _error(error: Any) -> str:
    trace = terminal("\n".join(error.get("traceback", [])))
    title = html.escape(_error_title(error))
    details = f"<pre>{trace}</pre>" if trace else ""
    return f'<div class="error"><strong>{title}</strong>{details}</div>'


def _image(kind: str, content: str, metadata: Mapping[str, Any], kept: Mapping[str, str]) -> str:
    caption = ""
    if content in kept:
        caption = f'<figcaption><a href="{kept[content]}" download>SVG</a></figcaption>'
    if kind == SVG:
        # As an image, a drawing can neither load anything nor disturb the page's names.
        content = base64.b64encode(content.encode()).decode()
    size = "".join(
        f' {side}="{int(metadata[side])}"' for side in ("width", "height") if side in metadata
    )
    alt = html.escape(str(metadata.get("alt", "figure")))
    source = f"data:{kind};base64,{''.join(content.split())}"
    return (
        '<figure><div class="scroll" tabindex="0" role="group" aria-label="Figure">'
        f'<img src="{source}" alt="{alt}"{size}></div>{caption}</figure>'
    )


def _highlight(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return str(highlight(source, PythonLexer(), HtmlFormatter()))
