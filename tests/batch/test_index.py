"""index.html: complete in itself, with a link to every report."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from lib.batch.execute import Outcome
from lib.batch.index import REFRESH, write_index
from lib.batch.index_runs import main_auroc
from lib.batch.plan import PlannedRun
from lib.batch.study import Study
from lib.batch.summary import write_summary
from lib.figures.study import name_line, plot_lines
from lib.figures.study import probed as frozen_features
from lib.findings.claims import CLAIMS
from lib.identity import RANDOM
from lib.pages.page import page

STUDY = Study("tiny", "Cells & <more>", "Is 1 < 2?")


def planned(name: str, dataset: str = "cells") -> PlannedRun:
    params = {"dataset": dataset}
    return PlannedRun(name, name.partition("-")[0], "02_probe", params, (), 0.0, RANDOM)


def make_page(
    lab: Any,
    runs: list[PlannedRun],
    failed: dict[str, Outcome] | None = None,
    skipped: dict[str, str] | None = None,
    running: list[str] | None = None,
) -> BeautifulSoup:
    folder: Path = lab.results / "tiny"
    write_summary(folder, [run.name for run in runs])
    path = write_index(STUDY, runs, folder, failed or {}, skipped or {}, running)
    assert path == folder / "index.html"
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def reports(soup: BeautifulSoup) -> list[str]:
    """Where links to reports lead."""
    return [str(a["href"]) for a in soup.find_all("a") if str(a["href"]).endswith("report.html")]


def probed(lab: Any) -> list[PlannedRun]:
    """Two finished probes with their floors."""
    for seed in (0, 1):
        rows = [
            lab.row(seed=seed, run=f"probe-{seed}", labels=labels, **columns)
            for labels in ("100", "all")
            for columns in (
                {"value": 0.8 + 0.01 * seed},
                {"value": 0.7, "method": "random", "augment": ""},
                {"value": 0.6, "method": "pixels", "augment": "", "encoder": "", "protocol": "knn"},
            )
        ]
        lab.finish(f"probe-{seed}", rows)
    return [planned("probe-0"), planned("probe-1")]


def test_the_page_needs_nothing_from_elsewhere(lab: Any) -> None:
    soup = make_page(lab, probed(lab))
    text = re.sub(r"(base64,|sha256-)[\w+/=]+", "", str(soup))
    assert not re.search(r"(https?:)?//", text)
    assert not soup.find_all(["link", "iframe", "object"])
    [script] = soup.find_all("script")
    assert not script.attrs
    for tag in soup.find_all(src=True):
        assert tag["src"].startswith("data:image/svg+xml;base64,")
        assert tag["alt"]
    assert soup.find_all("img")
    assert "url(" not in "".join(style.text for style in soup.find_all("style"))


def test_every_report_is_linked(lab: Any) -> None:
    soup = make_page(lab, [*probed(lab), planned("probe-2")])
    links = reports(soup)
    assert links == ["runs/probe-0/report.html", "runs/probe-1/report.html"]
    assert all((lab.results / "tiny" / link).exists() for link in links)
    assert "probe-2" in soup.text
    assert "not done" in soup.text
    assert "done & dusted" in soup.text


def test_title_question_numbers_and_findings_show(lab: Any) -> None:
    soup = make_page(lab, probed(lab))
    assert soup.title is not None
    assert "Cells & <more>" in soup.title.text
    assert "Is 1 < 2?" in soup.text
    for text in ("0.805 ± 0.007", "over seeds 0, 1", "SimCLR, novel over a random encoder, 100"):
        assert text in soup.text
    assert "Not in this section" not in soup.text


def test_runs_that_the_table_cannot_tell_apart_are_named(lab: Any) -> None:
    lab.finish("probe-0", [lab.row(run="probe-0", value=0.8)])
    lab.finish("probe-1", [lab.row(run="probe-1", value=0.9)])
    soup = make_page(lab, [planned("probe-0"), planned("probe-1")])
    assert "Not in this section: 1 run(s)" in soup.text


def test_without_probes_there_are_only_runs(lab: Any) -> None:
    lab.finish("data-a")
    soup = make_page(lab, [planned("data-a")])
    assert not soup.find_all("img")
    assert [h.text for h in soup.find_all("h2")] == ["Runs", "How it was made", "Downloads"]


def test_failures_come_first_with_cell_error_and_report(lab: Any) -> None:
    report = lab.results / "tiny" / "work" / "probe-0" / "report.html"
    failed = {
        "probe-0": Outcome("probe-0", False, 1.0, str(report), 7, "ValueError: <b> & c"),
        "probe-1": Outcome("probe-1", False, 0.0, "", None, "worker: gone"),
    }
    runs = [planned("probe-0"), planned("probe-1"), planned("probe-2")]
    soup = make_page(lab, runs, failed, {"probe-2": "needs probe-0"})
    assert [h.text for h in soup.find_all("h2")][:2] == ["Not done", "Runs"]
    items = [item.text for item in soup.select("ul.failed li")]
    assert items == [
        "probe-0: cell 7: ValueError: <b> & c (report)",
        "probe-1: worker: gone",
        "probe-2: skipped, needs probe-0",
    ]
    assert reports(soup) == ["work/probe-0/report.html"]
    states = {row.td.text: row.find_all("td")[2].text for row in soup.select("table.runs tbody tr")}
    assert states == {"probe-0": "failed", "probe-1": "failed", "probe-2": "skipped"}


@pytest.mark.parametrize(
    ("datasets", "banner"),
    [(["phantom", "cells"], True), (["cells"], False), (["phantom-fundus"], True)],
)
def test_synthetic_data_are_labelled(lab: Any, datasets: list[str], banner: bool) -> None:
    soup = make_page(lab, [planned(f"data-{d}", d) for d in datasets])
    assert ("Synthetic data" in soup.text) == banner


def test_the_figure_has_a_panel_for_each_data_set_and_a_line_for_each_features(lab: Any) -> None:
    rows = [
        lab.row(dataset=dataset, seed=seed, labels=labels, method=method, augment=augment)
        for dataset in "abcd"
        for seed in (0, 1)
        for labels in ("all", "100")
        for method, augment in (("simclr", "novel"), ("simclr", "natural"), ("random", ""))
    ]
    figure = plot_lines(frozen_features(lab.summary(rows)))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [f"{d}, 28 px" for d in "abcd"]
    assert [t.get_text() for t in panels[0].get_xticklabels()] == ["100", "all"]
    assert all(len(axes.containers) == 3 for axes in panels)
    [legend] = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["SimCLR, novel", "SimCLR, natural", "random encoder"]


def test_verdicts_of_the_report_stand_first(lab: Any) -> None:
    runs = probed(lab)
    report = dataclasses.replace(runs[0], name="report-1", notebook="09_report")
    answers = {"novel": "no clear difference", "transfer": "not tested here"}
    lab.finish("report-1", [], answers=answers)
    soup = make_page(lab, [*runs, report])
    headings = [tag.text for tag in soup.find_all("h2")]
    assert headings[0] == "Verdicts"
    table = soup.find("table")
    assert table is not None
    assert [cell.text for cell in table.find_all("td")][1::2] == ["no clear difference"]
    assert f"Not tested here: {CLAIMS['transfer'].text}." in soup.text
    assert soup.find("a", href="runs/report-1/report.html") is not None


def test_networks_trained_whole_have_a_figure_of_their_own(lab: Any) -> None:
    runs = probed(lab)
    rows = [
        lab.row(seed=0, run="finetune-0", notebook="03_finetune", labels="100", **columns)
        for columns in (
            {"value": 0.8, "protocol": "finetune"},
            {"value": 0.7, "protocol": "finetune", "method": "random", "augment": ""},
        )
    ]
    lab.finish("finetune-0", rows)
    soup = make_page(lab, [*runs, dataclasses.replace(runs[0], name="finetune-0")])
    headings = [tag.text for tag in soup.find_all("h2")]
    assert "Test AUROC when the whole encoder is trained" in headings
    # The frozen features' own section does not mix with them.
    assert len(soup.find_all("img")) == 2


def test_lines_say_how_a_network_was_trained() -> None:
    assert name_line("random", "", "finetune") == "from scratch"
    assert name_line("simclr", "novel", "finetune") == "SimCLR, novel: finetuned"
    assert name_line("simclr", "novel", "probe") == "SimCLR, novel: frozen"


def test_graded_studies_have_a_table_over_folds(lab: Any) -> None:
    runs = probed(lab)
    rows = [
        lab.row(
            run="grade-0", notebook="10_retinopathy", dataset="eyes", seed=0, fold=fold,
            labels="all", metric=metric, protocol=protocol, value=0.5 + fold / 10,
        )
        for fold in (0, 1)
        for metric, protocol in (("auroc", "probe"), ("grade_mae", "retrieval"))
    ]  # fmt: skip
    lab.finish("grade-0", rows)
    soup = make_page(lab, [*runs, dataclasses.replace(runs[0], name="grade-0")])
    headings = [tag.text for tag in soup.find_all("h2")]
    assert "Grading" in headings
    assert "over folds 0, 1." in soup.text
    assert "0.550 ± 0.071" in soup.text
    assert "Grading" not in [tag.text for tag in make_page(lab, runs).find_all("h2")]


def test_the_answer_is_computed_and_stands_first(lab: Any) -> None:
    soup = make_page(lab, probed(lab))
    box = soup.select_one("main > .answer")
    assert box is not None
    assert len(box.find_all("li")) == 3
    said = box.find("li").text
    assert said.startswith("On cells (28 px), pretraining (SimCLR, novel), frozen against an ")
    assert "+0.105 AUROC on average over 2 comparisons; interval above zero in 2, below" in box.text
    assert soup.find(class_="question").find_next_sibling(class_="answer") is box
    lab.finish("data-a")
    assert make_page(lab, [planned("data-a")]).find(class_="answer") is None


def test_a_running_study_says_how_far_it_is_and_reads_itself_again(lab: Any) -> None:
    runs = [*probed(lab), planned("probe-2"), planned("probe-3")]
    soup = make_page(lab, runs, running=["probe-2"])
    note = soup.find(class_="running")
    assert "2 of 4 runs done, 1 under way" in note.text
    assert (note.progress["value"], note.progress["max"]) == ("2", "4")
    assert soup.find("meta", attrs={"http-equiv": "refresh"})["content"] == str(REFRESH)
    states = [row.find_all("td")[1].text for row in soup.select("table.runs tbody tr")]
    assert states == ["done", "done", "running", "not done"]
    ended = make_page(lab, runs)
    assert ended.find(class_="running") is None
    assert ended.find("meta", attrs={"http-equiv": "refresh"}) is None


def test_a_run_whose_numbers_are_damaged_is_not_done(lab: Any, damaged: str) -> None:
    runs = probed(lab)
    file = lab.results / "tiny" / "runs" / "probe-1" / "metrics.json"
    whole = file.read_text(encoding="utf-8")
    file.write_text(damaged, encoding="utf-8")
    soup = make_page(lab, runs, running=[])
    assert "1 of 2 runs done" in soup.find(class_="running").text
    file.write_text(whole, encoding="utf-8")
    assert "2 of 2 runs done" in make_page(lab, runs, running=[]).find(class_="running").text


def test_what_did_not_change_is_not_drawn_again(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = probed(lab)
    first = make_page(lab, runs)
    drawn: list[str] = []

    def draw(rows: Any) -> Any:
        drawn.append("again")
        return plot_lines(rows)

    monkeypatch.setattr("lib.batch.index.plot_lines", draw)
    lab.finish("data-a")
    again = make_page(lab, [*runs, planned("data-a")])
    assert drawn == []
    assert again.find("img")["src"] == first.find("img")["src"]
    # A drawing that has gone, and numbers that are new, are made again.
    (lab.results / "tiny" / "figures" / "frozen-features.svg").unlink()
    make_page(lab, runs)
    lab.finish("probe-1", [lab.row(run="probe-1", seed=1, value=0.9)])
    assert make_page(lab, runs).find("img")["src"] != first.find("img")["src"]
    assert len(drawn) == 2


def test_downloads_are_there_and_cite_what_was_used(lab: Any) -> None:
    soup = make_page(lab, probed(lab))
    files = [str(a["href"]) for a in soup.find_all("a", download=True)]
    assert {"summary.csv", "figures/frozen-features.svg", "references.bib"} <= set(files)
    for file in files:
        assert (lab.results / "tiny" / file).stat().st_size > 0
    cited = (lab.results / "tiny" / "references.bib").read_text(encoding="utf-8")
    assert "@inproceedings{chen2020simclr," in cited
    assert "khosla" not in cited


def test_parameters_that_were_set_or_varied_are_told(lab: Any) -> None:
    runs = probed(lab)
    for i, run in enumerate(runs):
        run.params.update({"seed": i, "knn_k": 5, "init": f"/a/b/probe-{i}/encoder.safetensors"})
    soup = make_page(lab, runs)
    [row] = soup.select("h2#how-it-was-made ~ .scroll tbody tr")
    cells = [cell.text for cell in row.find_all(["th", "td"])]
    assert cells == [
        "probe", "02_probe", "2", "dataset cells; knn_k 5; init an encoder of this study",
        "seed: 0, 1",
    ]  # fmt: skip
    assert "/a/b" not in soup.text


def test_reports_are_linked_to_each_other_in_order(lab: Any) -> None:
    runs = probed(lab)
    folder: Path = lab.results / "tiny" / "runs"
    for run in runs:
        (folder / run.name / "report.html").write_text(page("r", "<p>kept</p>"), encoding="utf-8")
    make_page(lab, runs)
    first, second = (
        BeautifulSoup((folder / run.name / "report.html").read_text(), "html.parser")
        for run in runs
    )
    assert [a["href"] for a in first.select("nav.runs a")] == [
        "../../index.html", "../probe-1/report.html",
    ]  # fmt: skip
    assert [a["href"] for a in second.select("nav.runs a")] == [
        "../../index.html", "../probe-0/report.html",
    ]  # fmt: skip
    assert "kept" in first.text
    assert first.nav.a.text == STUDY.title
    # Links that are right are left alone; an old report has no place for them.
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("report.html")}
    make_page(lab, runs)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("report.html")}
    (folder / "probe-0" / "report.html").write_text("<p>old</p>", encoding="utf-8")
    make_page(lab, runs)
    assert (folder / "probe-0" / "report.html").read_text(encoding="utf-8") == "<p>old</p>"


def test_a_run_is_known_by_its_own_encoder_and_largest_budget() -> None:
    def row(value: float, **columns: str) -> dict[str, Any]:
        usual = {"metric": "auroc", "split": "test", "method": "simclr", "protocol": "probe"}
        return {**usual, **columns, "value": value}

    rows = [row(0.7), row(0.8), row(0.95, split="val"), row(0.9, method="random")]
    assert main_auroc(rows) == 0.8
    assert main_auroc([row(0.85, protocol="finetune"), *rows]) == 0.85
    assert main_auroc([row(0.9, method="pixels")]) is None
