"""The list of a page's sections."""

from __future__ import annotations

from bs4 import BeautifulSoup

from lib.pages.contents import table_of_contents

BODY = (
    "<h2>Runs</h2><p id='taken'>x</p><h3>One &amp; <code>two</code></h3><h3 class='a'>Taken</h3>"
    "<h2 id='own'>Cost</h2><h2>Runs</h2>"
)


def test_every_heading_is_reached() -> None:
    body, contents = table_of_contents(BODY)
    page, found = (BeautifulSoup(text, "html.parser") for text in (body, contents))
    links = [(a["href"].lstrip("#"), a.get_text()) for a in found.find_all("a")]
    assert links == [
        ("runs", "Runs"), ("one-two", "One & two"), ("taken-2", "Taken"), ("own", "Cost"),
        ("runs-2", "Runs"),
    ]  # fmt: skip
    for key, text in links:
        assert page.find(id=key).get_text() == text
    # Third headings stand in a list below theirs, and everything is closed.
    assert [len(item.find_all("li")) for item in found.ol.find_all("li", recursive=False)] == [
        2, 0, 0,
    ]  # fmt: skip
    for tag in ("li", "ol", "nav"):
        assert contents.count(f"<{tag}") == contents.count(f"</{tag}>")


def test_a_short_page_has_no_list_but_names() -> None:
    body, contents = table_of_contents("<h2>A</h2><h2>B</h2>")
    assert contents == ""
    assert body == '<h2 id="a">A</h2><h2 id="b">B</h2>'
    assert table_of_contents("<h3>first</h3><h2>A</h2><h2>B</h2><h2>C</h2>")[1].count("<li>") == 3
