"""Reports: one file that opens without a network, with everything of the notebook that matters."""

from __future__ import annotations

import base64
import hashlib
import html as html_module
import io
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from lib.pages.markup import formula, markdown, terminal, tidy
from lib.pages.page import page
from lib.pages.render import RenderError, notebook_body, render_notebook

# A PNG of one pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TABLE = pd.DataFrame(
    {"encoder": ["novel", "pixels"], "AUROC": [0.91, 0.7], "interval": ["0.88–0.93", "0.66–0.74"]}
)
FAILURE = v4.new_output(
    "error",
    ename="DataError",
    evalue="no <such> file",
    traceback=["\x1b[31mDataError\x1b[39m: no <such> file", "\x1b[0;32m----> 1\x1b[0m load()"],
)


def code(source: str = "x", *outputs: Any, tags: tuple[str, ...] = ()) -> Any:
    return v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def shown(data: dict[str, str], **metadata: Any) -> Any:
    return v4.new_output("display_data", data=data, metadata=metadata)


def stream(text: str, name: str = "stdout") -> Any:
    return v4.new_output("stream", name=name, text=text)


def body(*cells: Any) -> BeautifulSoup:
    return BeautifulSoup(notebook_body(v4.new_notebook(cells=list(cells)))[1], "html.parser")


def everything() -> Any:
    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell(
                "# Does `SimCLR` help?\n\nAt $\\tau$ of 0.07.\n\n$$\\frac{a}{b}$$"
            ),
            code("seed = 0  # of everything", tags=("parameters",)),
            code("seed = 3", tags=("injected-parameters",)),
            code("load()", stream("12 images\n"), stream("\r 50%", "stderr")),
            code("curves()", shown({"image/png": PNG, "text/plain": "<Figure>"})),
            code("table", shown({"text/html": TABLE._repr_html_(), "text/plain": "x"})),
            code("fail()", FAILURE),
        ]
    )


@pytest.fixture
def report(tmp_path: Path) -> BeautifulSoup:
    target = tmp_path / "report.html"
    render_notebook(
        everything(),
        target,
        banner="Synthetic data",
        footer={"run": "probe-x", "commit": "0123abc"},
    )
    return BeautifulSoup(target.read_text(encoding="utf-8"), "html.parser")


def assert_loads_nothing(soup: BeautifulSoup) -> None:
    assert not soup.find_all(["script", "link", "iframe", "object", "embed", "base", "track"])
    for tag in soup.find_all(True):
        assert str(tag.get("src", "data:")).startswith("data:"), tag
        assert not tag.has_attr("srcset") and not tag.has_attr("poster")
        assert "url(" not in str(tag.get("style", ""))
        if tag.name in ("image", "use"):
            for name in ("href", "xlink:href"):
                assert str(tag.get(name, "#")).startswith(("#", "data:")), tag
    for style in soup.find_all("style"):
        assert "url(" not in style.get_text() and "@import" not in style.get_text()


def test_a_report_loads_nothing_and_forbids_it_too(report: BeautifulSoup) -> None:
    assert_loads_nothing(report)
    policy = report.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in policy["content"] and "script" not in policy["content"]


def test_header_and_footer(report: BeautifulSoup) -> None:
    assert report.title.get_text() == "Does SimCLR help?"
    assert [h.get_text() for h in report.find_all("h1")] == ["Does SimCLR help?"]
    assert report.find(class_="banner").get_text() == "Synthetic data"
    assert [d.get_text() for d in report.footer.find_all("dd")] == ["probe-x", "0123abc"]


def test_everything_arrives(report: BeautifulSoup) -> None:
    assert [m.get("display") for m in report.find_all("math")] == ["inline", "block"]
    source = report.find("img")["src"]
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert "12 images" in report.get_text()
    assert "novel" in report.find("table", class_="dataframe").get_text()


def test_code_is_folded_and_results_are_not(report: BeautifulSoup) -> None:
    folds = report.find_all("details")
    assert not any(fold.has_attr("open") for fold in folds)
    folded = [fold for fold in folds if "code" in fold["class"]]
    assert "load()" in folded[0].find("pre").get_text()
    for tag in (report.find("img"), report.find("table", class_="dataframe"), report.find("math")):
        assert tag.find_parent("details") is None


def test_a_given_title_stands_beside_the_notebooks_own(tmp_path: Path) -> None:
    render_notebook(everything(), tmp_path / "a.html", title="Probe <1>")
    soup = BeautifulSoup((tmp_path / "a.html").read_text(), "html.parser")
    assert [h.get_text() for h in soup.find_all("h1")] == ["Probe <1>", "Does SimCLR help?"]


# Failures ---------------------------------------------------------------------------------------


def test_a_failed_cell_is_in_sight(report: BeautifulSoup) -> None:
    box = report.find(class_="error")
    assert box.find_parent("details") is None
    assert box.strong.get_text() == "DataError: no <such> file"
    assert "----> 1 load()" in box.pre.get_text() and "\x1b" not in str(box)
    assert box.find(class_="ansi-red-fg").get_text() == "DataError"
    notice = report.find(class_="failed")
    assert report.find(id=notice.a["href"].lstrip("#")) is box
    assert "DataError" in notice.get_text()


def test_papermills_notices_give_way_to_ours_only_when_there_is_an_error() -> None:
    notice = v4.new_markdown_cell(
        "<span>An Exception was encountered</span>",
        metadata={"tags": ["papermill-error-cell-tag"]},
    )
    assert "An Exception" not in body(notice, code("x", FAILURE)).get_text()
    assert "An Exception" in body(notice, code("x")).get_text()


def test_an_error_shows_whatever_the_tags_say() -> None:
    soup = body(code("x", stream("printed"), FAILURE, tags=("remove-output", "remove-input")))
    assert soup.find(class_="error") and "printed" not in soup.get_text()


# Parameters -------------------------------------------------------------------------------------


def rows(soup: BeautifulSoup) -> list[list[str]]:
    table = soup.find(class_="parameters").table.tbody
    return [[cell.get_text() for cell in row.find_all("td")] for row in table.find_all("tr")]


def test_parameters_as_used() -> None:
    soup = body(
        code(
            "dataset = 'phantom'  # a name\nsize: int = 28  # px, a '#' in it\n"
            "lr = 1e-3\nnote = ''",
            tags=("parameters",),
        ),
        code(
            "# Parameters\ndataset = 'bloodmnist'\nlr = 0.001\nextra = [1, 2]",
            tags=("injected-parameters",),
        ),
    )
    assert rows(soup) == [
        ["dataset", "bloodmnistdefault phantom", "a name"],
        ["size", "28", "px, a '#' in it"],
        ["lr", "0.001", ""],
        ["note", "''", ""],
        ["extra", "[1, 2]", ""],
    ]
    summary = soup.summary.get_text()
    assert "5" in summary and "dataset bloodmnist" in summary and "lr" not in summary
    assert len(soup.find_all(class_="parameters")) == 1


def test_a_parameters_cell_that_does_more_is_shown_as_code() -> None:
    soup = body(code("import os\nseed = int(os.environ['S'])", tags=("parameters",)))
    assert soup.find(class_="parameters") is None
    assert "os.environ" in soup.find("details", class_="code").get_text()


# Cells and outputs ------------------------------------------------------------------------------


def test_tags_hide_what_they_say() -> None:
    output = shown({"text/plain": "answer"})
    for tag, source, result in (
        ("remove-input", False, True),
        ("remove_input", False, True),
        ("remove-output", True, False),
        ("remove-cell", False, False),
        ("other", True, True),
    ):
        text = body(code("source()", output, tags=(tag,))).get_text()
        assert ("source()" in text, "answer" in text) == (source, result), tag


def test_the_richest_form_of_an_output_is_shown() -> None:
    soup = body(
        code("", shown({"image/png": PNG, "text/plain": "<Figure size 640x480>"})),
        code("", shown({"text/markdown": "**bold** $x$", "text/plain": "plain"})),
        code("", shown({"text/plain": "a < b"})),
    )
    assert soup.strong.get_text() == "bold" and soup.math is not None
    assert "Figure size" not in soup.get_text() and "plain" not in soup.get_text()
    assert "a &lt; b" in str(soup)


def test_a_drawing_is_embedded_as_an_image() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><rect width="1"/></svg>'
    image = body(code("", shown({"image/svg+xml": svg}))).img
    content = image["src"].removeprefix("data:image/svg+xml;base64,")
    assert base64.b64decode(content).decode() == svg


def test_drawings_are_kept_beside_the_report_and_linked(tmp_path: Path) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><rect width="1"/></svg>'
    other = svg.replace("1", "2")
    figure = v4.new_code_cell("", id="curves", outputs=[shown({"image/svg+xml": svg})])
    two = [shown({"image/svg+xml": [*other.splitlines()]}), shown({"image/svg+xml": svg})]
    notebook = v4.new_notebook(cells=[figure, v4.new_code_cell("", id="both", outputs=two)])
    render_notebook(notebook, tmp_path / "report.html")
    soup = BeautifulSoup((tmp_path / "report.html").read_text(), "html.parser")
    links = [a["href"] for a in soup.find_all("a", download=True)]
    assert links == ["figures/curves.svg", "figures/both-1.svg", "figures/both-2.svg"]
    assert [(tmp_path / link).read_text() for link in links] == [svg, other, svg]
    assert_loads_nothing(soup)


def test_the_machine_is_told_where_the_run_noted_it(tmp_path: Path) -> None:
    noted = '{"device": "CPU, 1 thread(s)", "seconds": 31.9, "versions": {"torch": "2.15.0"}}'
    (tmp_path / "metrics.json").write_text(noted)
    render_notebook(everything(), tmp_path / "report.html", footer={"run": "x"})
    soup = BeautifulSoup((tmp_path / "report.html").read_text(), "html.parser")
    told = {d.dt.get_text(): d.dd.get_text() for d in soup.footer.find_all("div")}
    assert told == {
        "run": "x", "machine": "CPU, 1 thread(s)", "time": "32 s", "libraries": "torch 2.15.0"
    }  # fmt: skip


def test_a_script_runs_only_where_the_page_allows_it_by_its_hash() -> None:
    with_script = BeautifulSoup(page("t", "", script="table.js", refresh=9), "html.parser")
    policy = with_script.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    digest = hashlib.sha256(with_script.script.string.encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert with_script.find("meta", attrs={"http-equiv": "refresh"})["content"] == "9"
    without = BeautifulSoup(page("t", ""), "html.parser")
    assert without.script is None and "script-src" not in str(without)
    assert without.find("meta", attrs={"http-equiv": "refresh"}) is None


def test_an_images_size_and_description() -> None:
    image = body(
        code("", shown({"image/png": PNG}, **{"image/png": {"width": 40, "alt": 'a "b"'}}))
    ).img
    assert (image["width"], image["alt"]) == ("40", 'a "b"')


def test_widgets_and_messages_stay_out_of_the_way() -> None:
    widget = {"application/vnd.jupyter.widget-view+json": "{}", "text/plain": "0%| | 0/9"}
    soup = body(code("", shown(widget), stream("careful\n", "stderr"), stream("result")))
    assert "0/9" not in soup.get_text()
    messages = soup.find("details", class_="messages")
    assert "1 line" in messages.summary.get_text() and messages.pre.get_text() == "careful"
    assert soup.find("pre", string="result").find_parent("details") is None


# Terminal text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("a\nb\n", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("10%\r50%\r100%\ndone", "100%\ndone"),
        ("100%\r", "100%"),
        ("10%\r      \r", ""),
        ("outer 0\n\rinner 1\x1b[A\router 1\n\rinner 2\x1b[A", "outer 1\ninner 2"),
        ("a\n\nb", "a\n\nb"),
        ("bar\n\r     \r\x1b[A\nwarning", "bar\nwarning"),
        ("<b>", "&lt;b&gt;"),
        ("", ""),
    ],
)
def test_only_the_last_state_of_a_line_remains(written: str, left: str) -> None:
    assert terminal(written) == left


def test_nested_progress_bars_leave_their_last_state() -> None:
    from tqdm import tqdm

    written = io.StringIO()
    outer = tqdm(total=2, desc="epochs", file=written, position=0, mininterval=0)
    for _ in range(2):
        inner = tqdm(total=3, desc="steps", file=written, position=1, leave=False, mininterval=0)
        for _ in range(3):
            inner.update()
        inner.close()
        outer.update()
    outer.close()
    assert written.getvalue().count("epochs") > 1
    left = html_module.unescape(terminal(written.getvalue()))
    assert left.count("epochs") == 1 and "2/2" in left and "1/2" not in left


# Markdown and formulas --------------------------------------------------------------------------


def test_formulas_become_mathml_but_not_in_code() -> None:
    soup = BeautifulSoup(
        markdown("$z_i * z_j$ and `$a$`, $x_1$ and *$y$*\n\n```python\n$b$\n```\n\n    $c$\n"),
        "html.parser",
    )
    assert len(soup.find_all("math")) == 3 and soup.em.math is not None
    assert [c.get_text().strip() for c in soup.find_all(["pre"])] == ["$b$", "$c$"]
    assert soup.p.code.get_text() == "$a$"


def test_the_formula_of_nt_xent_converts() -> None:
    latex = (
        r"\ell_{i,j} = -\log \frac{\exp(\mathrm{sim}(z_i, z_j)/\tau)}"
        r"{\sum_{k=1}^{2N} \mathbb{1}_{[k \ne i]} \exp(\mathrm{sim}(z_i, z_k)/\tau)}"
    )
    result = BeautifulSoup(formula(latex, display=True), "html.parser")
    assert result.math["display"] == "block" and result.mfrac is not None
    # Browsers ignore mathvariant="double-struck", so the sign itself must stand there.
    assert "𝟙" in result.get_text()


def test_aligned_lines_and_bold_letters_convert() -> None:
    rows = BeautifulSoup(
        markdown("$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$"), "html.parser"
    )
    assert len(rows.find_all("mtr")) == 2 and "&" not in rows.get_text()
    assert "𝒛" in formula(r"\boldsymbol{z}", display=False)
    assert "𝑨" in formula(r"\boldsymbol{A}", display=False)


@pytest.mark.parametrize("latex", [r"\frac{a}{", r"\unknown{x}", "a_b_c", r"\left( x", "a & b"])
def test_a_formula_that_cannot_be_converted_stays_as_text(latex: str) -> None:
    soup = BeautifulSoup(markdown(f"before ${latex}$ after"), "html.parser")
    assert soup.math is None
    assert soup.get_text().strip() == f"before ${latex}$ after"


def test_markup_in_a_formula_stays_text() -> None:
    assert BeautifulSoup(markdown("$<script>x</script>$"), "html.parser").script is None


def test_images_in_markdown(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/a.png", "outside.png"):
        (tmp_path / name).write_bytes(base64.b64decode(PNG))
    source = (
        "![local](a.png) ![other](../outside.png) ![remote](https://example.org/x.png)"
        ' <img src="a.png"> ![attached](attachment:b.png)'
    )
    result = markdown(source, folder=tmp_path / "in", attachments={"b.png": {"image/png": PNG}})
    soup = BeautifulSoup(result, "html.parser")
    assert_loads_nothing(soup)
    assert len(soup.find_all("img")) == 3
    assert "not embedded: remote, https://example.org/x.png" in soup.get_text()
    assert "not embedded: other" in soup.get_text()


def test_links_still_lead_elsewhere() -> None:
    assert 'href="https://arxiv.org/abs/2002.05709"' in markdown(
        "[x](https://arxiv.org/abs/2002.05709)"
    )


# Tables and foreign HTML ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fragment",
    [
        '<script src="https://example.org/x.js"></script>',
        "<script>fetch('https://example.org')</script>",
        '<link rel="stylesheet" href="https://example.org/x.css">',
        '<img src="//example.org/x.png" srcset="https://example.org/y.png 2x">',
        "<IMG SRC=http://example.org/x.png>",
        '<iframe src="https://example.org"></iframe>',
        '<div style="background: url(https://example.org/x.png)">a</div>',
        "<style>@import 'https://example.org/x.css';</style>",
        '<video poster="https://example.org/x.png" src="https://example.org/x.mp4"></video>',
        '<svg><image xlink:href="https://example.org/x.png"/><use href="https://example.org#a"/></svg>',
    ],
)
def test_foreign_html_loads_nothing(fragment: str) -> None:
    assert_loads_nothing(body(code("", shown({"text/html": f"<p>kept</p>{fragment}"}))))
    assert_loads_nothing(body(v4.new_markdown_cell(f"kept\n\n{fragment}")))
    assert "kept" in tidy(f"<p>kept</p>{fragment}")


def test_pandas_tables_align_their_numbers_and_scroll() -> None:
    soup = BeautifulSoup(tidy(TABLE._repr_html_()), "html.parser")
    assert soup.style is None and soup.table.get("border") is None
    assert "scroll" in soup.table.parent["class"]
    heads = {cell.get_text(): cell.get("class") for cell in soup.thead.find_all("th")}
    assert heads == {"": None, "encoder": None, "AUROC": ["number"], "interval": ["number"]}
    first = soup.tbody.tr.find_all(["th", "td"])
    assert [cell.get("class") for cell in first] == [None, None, ["number"], ["number"]]


def test_a_table_with_two_index_columns_aligns_the_right_ones() -> None:
    frame = pd.DataFrame(
        {"name": ["x", "y", "z"], "n": [1, 2, 3]},
        index=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["k", "s"]),
    )
    soup = BeautifulSoup(tidy(frame._repr_html_()), "html.parser")
    marked = [cell.get_text() for cell in soup.tbody.find_all(class_="number")]
    assert marked == ["1", "2", "3"]
    heads = [cell.get_text() for cell in soup.thead.find_all(class_="number")]
    assert [head for head in heads if head] == ["n"]


def test_a_styled_table_keeps_its_style() -> None:
    styled = TABLE.style.highlight_max(subset=["AUROC"], color="#fe9").to_html()
    assert "#fe9" in tidy(styled)


# Pages and files --------------------------------------------------------------------------------


def test_a_page_escapes_text_and_keeps_the_body() -> None:
    text = page("a <b>", "<p id='x'>1 &amp; 2</p>", banner="<i>", footer={"run <": "& x"})
    soup = BeautifulSoup(text, "html.parser")
    assert soup.title.get_text() == "a <b>" and soup.find("b") is None and soup.find("i") is None
    assert soup.find(id="x").get_text() == "1 & 2"
    assert soup.dt.get_text() == "run <" and soup.dd.get_text() == "& x"
    bare = BeautifulSoup(page("t", ""), "html.parser")
    assert bare.footer is None and bare.find(class_="banner") is None


def test_a_notebook_from_disk(tmp_path: Path) -> None:
    nbformat.write(everything(), tmp_path / "n.ipynb")
    render_notebook(tmp_path / "n.ipynb", tmp_path / "a.html")
    render_notebook(everything(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_text() == (tmp_path / "b.html").read_text()


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"cells": 3, "nbformat": 4}', None])
def test_what_is_no_notebook_writes_nothing(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "n.ipynb").write_text(content)
    with pytest.raises(RenderError, match=r"n\.ipynb") as caught:
        render_notebook(tmp_path / "n.ipynb", tmp_path / "a.html")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.html"))


def test_an_interrupted_write_keeps_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.html"
    target.write_text("old")

    def half(self: Path, text: str, **kwargs: object) -> None:
        self.write_bytes(text[:50].encode())
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="disk full"):
        render_notebook(everything(), target)
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"] and target.read_text() == "old"


def test_an_empty_notebook_is_a_page_too(tmp_path: Path) -> None:
    render_notebook(v4.new_notebook(), tmp_path / "a.html")
    assert "<title>Notebook</title>" in (tmp_path / "a.html").read_text()


def said(text: str, untested: bool) -> Any:
    data = {"text/markdown": text, "text/plain": "<Markdown>"}
    return shown(data, **{"text/markdown": {"untested": untested}})


def test_a_section_of_untested_things_is_folded_behind_its_heading() -> None:
    table = shown({"text/html": "<table><tr><td>nothing</td></tr></table>"})
    soup = body(
        v4.new_markdown_cell("## First\n\nWords."),
        code("a", table),
        code("b", said("No runs.", True)),
        v4.new_markdown_cell("More words."),
        v4.new_markdown_cell("## Second"),
        code("c", said("Better.", False)),
        v4.new_markdown_cell("### Its half"),
        code("d", said("No runs here.", True)),
        v4.new_markdown_cell("### Other half"),
        code("e", said("No runs.", True)),
        code("f", said("Worse.", False)),
        v4.new_markdown_cell("## Third"),
        code("g", stream("nothing marked")),
    )
    folded = soup.select("details.untested")
    heads = [details.summary.get_text(" ", strip=True) for details in folded]
    assert heads == ["First · not tested here", "Its half · not tested here"]
    assert all(word in folded[0].text for word in ("Words.", "nothing", "No runs.", "More words."))
    assert "Better." not in folded[0].text and "Other half" not in folded[1].text
    assert [h.text for h in soup.find_all(["h2", "h3"])] == ["Second", "Other half", "Third"]
