"""Progress bars: they move where someone watches, and leave one line in a notebook."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from lib import bars
from lib.bars import Bar, say_amount, say_time
from lib.pages.render import render_notebook
from tests.conftest import ROOT


class Outputs:
    """What a notebook would hold: display's part of IPython, an output for each display id."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
        self.outputs: list[list[str]] = []
        self.cell = "first"
        monkeypatch.setattr(bars, "current_cell", lambda: self.cell)
        monkeypatch.setattr(bars, "is_watched", lambda: watched)
        monkeypatch.setattr(bars, "SECONDS_BETWEEN", 0)
        monkeypatch.setattr("IPython.display.display", self.display)
        bars._lines.clear()

    def display(self, data: dict[str, str], **_: Any) -> Any:
        history = [data["text/html"]]
        self.outputs.append(history)

        class Handle:
            def update(self, data: dict[str, str], **_: Any) -> None:
                history.append(data["text/html"])

        return Handle()


def train(epochs: int, **options: Any) -> None:
    with Bar("Training", epochs, "epoch", **options) as bar:
        for epoch in range(epochs):
            bar.update(1, f"loss {4 - epoch}")


def test_in_jupyterlab_a_bar_moves_and_a_line_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Outputs(monkeypatch, watched=True)
    train(3, show=True)
    (history,) = seen.outputs
    assert '<progress value="2" max="3">' in history[1]
    assert "Training: 2 of 3 epochs, 0 s left · loss 3" in history[1]
    assert history[-1] == "<div>Training: 3 epochs in 0 s</div>"


def test_pieces_of_one_cell_share_a_line_and_another_cell_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Outputs(monkeypatch, watched=False)
    for _ in range(4):
        train(5, show=False, kept=True)
    seen.cell = "second"
    train(1, show=False, kept=True)
    assert [history[-1] for history in seen.outputs] == [
        "<div>Training: 20 epochs in 4 parts, 0 s</div>",
        "<div>Training: 1 epoch in 0 s</div>",
    ]
    assert not any("<progress" in text for history in seen.outputs for text in history)


def test_in_a_report_only_what_is_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Outputs(monkeypatch, watched=False)
    train(3, show=True)
    train(3, show=False)
    assert seen.outputs == []


def test_what_was_done_before_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Outputs(monkeypatch, watched=True)
    with Bar("a.npz", 4_000_000, "B", show=True, start=3_000_000) as bar:
        bar.update(500_000)
    (history,) = seen.outputs
    assert 'value="3500000" max="4000000"' in history[0]
    assert "a.npz: 3.5 of 4.0 MB" in history[0]
    assert history[-1] == "<div>a.npz: 0.5 MB in 0 s</div>"


def test_a_total_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Outputs(monkeypatch, watched=True)
    with Bar("a.npz", None, "B", show=True) as bar:
        bar.update(2_000_000)
    assert seen.outputs[0][0] == "<div><progress></progress> a.npz: 2.0 MB</div>"


class Screen(io.StringIO):
    """A terminal, or a file in its place."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_at_a_terminal_it_is_tqdms_and_in_a_log_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, log, silent = Screen(True), Screen(False), Screen(True)
    for written, show in ((screen, True), (log, True), (silent, False)):
        monkeypatch.setattr(sys, "stderr", written)
        train(3, show=show, kept=True)
    last = screen.getvalue().rstrip("\n").split("\r")[-1]
    assert "Training" in last
    assert "3/3" in last
    assert "loss 2" in last
    assert (log.getvalue(), silent.getvalue()) == ("", "")


def test_words() -> None:
    assert [say_time(s) for s in (0.2, 59, 125, 3720)] == [
        "0 s",
        "59 s",
        "2 min 05 s",
        "1 h 02 min",
    ]
    assert say_amount(1, "image") == "1 image"
    assert say_amount(1200, "image") == "1,200 images"


def test_an_executed_notebook_has_one_line_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    work = (
        "from lib.bars import Bar\n"
        "for rate in (1, 2):\n"
        "    with Bar('Training', 3, 'epoch', show=True, kept=True) as bar:\n"
        "        for _ in range(3): bar.update(1, 'loss 1')\n"
        "with Bar('Decoding', 3, 'image', show=True) as bar: bar.update(3)\n"
        "from lib.watched import is_watched; print('watched', is_watched())"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(work)])
    NotebookClient(notebook, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert [o.output_type for o in outputs] == ["display_data", "stream"]
    assert outputs[0].data["text/plain"] == "Training: 6 epochs in 2 parts, 0 s"
    assert outputs[1].text == "watched False\n"
    render_notebook(notebook, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("Training: 6 epochs in 2 parts, 0 s") == 1
    assert "<progress" not in page
    assert "\r" not in page
