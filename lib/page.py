"""The look of every page a study writes: one self-contained HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

# What stands above every page on embedded data (`lib.data.embedded`).
SYNTHETIC = (
    "Synthetic data: every phantom is drawn by this project, not photographed. No medical claim."
)
TEMPLATES = Path(__file__).resolve().parent / "templates"


def page(
    title: str,
    body_html: str,
    *,
    banner: str | None = None,
    footer: Mapping[str, str] | None = None,
) -> str:
    """A complete HTML page around a body: header with title, styles, footer.

    title, banner and the footer's names and values are plain text and are escaped here; `body_html`
    goes in as it is. The page forbids the browser to load anything from elsewhere and to run
    scripts, so images must be `data:` URIs; links to other pages work.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_asset("page.html"))
    return template.render(
        title=title,
        css=Markup(_asset("page.css")),
        body=Markup(body_html),
        banner=banner,
        footer=footer,
    )


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
