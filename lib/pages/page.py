"""The look of every page a study writes: one self-contained HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lib.pages.contents import table_of_contents

# What stands above every page on embedded data (`lib.data.embedded`).
SYNTHETIC = (
    "Synthetic data: every phantom is drawn by this project, not photographed. No medical claim."
)
TEMPLATES = Path(__file__).resolve().parent / "templates"
# Between these marks stand the links to other pages of a study (`lib.batch.neighbours`).
NEIGHBOURS = ("<!-- neighbours -->", "<!-- end of neighbours -->")


def page(
    title: str,
    body_html: str,
    *,
    banner: str | None = None,
    footer: Mapping[str, str] | None = None,
    script: str = "",
    refresh: int = 0,
) -> str:
    """A complete HTML page around a body: header with title, contents, styles, footer.

    title, banner and the footer's names and values are plain text and are escaped here; `body_html`
    goes in as it is. The page forbids the browser to load anything from elsewhere, so images must
    be `data:` URIs; links to other pages work. script: the name of a template that may run, by its
    hash; nothing else may. refresh: seconds after which the browser reads the page again; 0: never.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_asset("page.html"))
    body, contents = table_of_contents(body_html)
    source = _asset(script) if script else ""
    return template.render(
        title=title,
        css=Markup(_asset("page.css")),
        body=Markup(body),
        contents=Markup(contents),
        neighbours=Markup("".join(NEIGHBOURS)),
        banner=banner,
        footer=footer,
        script=Markup(source),
        script_hash=Markup(script_hash(source)),
        refresh=refresh,
    )


def script_hash(source: str) -> str:
    """How a content security policy names the one script it lets run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
