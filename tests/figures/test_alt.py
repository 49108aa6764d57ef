"""Words for figures: what is drawn is said, from the drawing itself."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter

from lib.figures.alt import LONGEST, describe_figure, number
from lib.figures.base import new_figure, tell, to_svg
from lib.figures.classifiers import plot_confusion
from lib.figures.images import plot_class_counts, plot_gallery
from lib.figures.study import plot_lines
from lib.figures.training import plot_history


def study_rows() -> pd.DataFrame:
    usual = {"dataset": "cells", "size": 28, "encoder": "r", "protocol": "probe", "fold": ""}
    rows = [
        {**usual, "method": m, "augment": a, "labels": w, "seed": str(s), "value": v + 0.01 * s}
        for m, a, v in (("simclr", "novel", 0.8), ("random", "", 0.6))
        for w in ("100", "all")
        for s in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_lines_are_named_with_where_they_begin_and_end() -> None:
    text = describe_figure(plot_lines(study_rows()))
    assert text == (
        "cells, 28 px: test AUROC, mean ± sd over labelled training images: "
        "SimCLR, novel from 0.805 to 0.805; random encoder from 0.605 to 0.605."
    )


def test_a_single_line_is_named_by_its_axis_and_marks_by_their_names() -> None:
    history = [
        {"epoch": e, "loss": 5.0 - e, "top1": 0.1, "top5": 0.2, "val_knn_auroc": 0.5}
        for e in (1, 2)
    ]
    text = describe_figure(plot_history(history, 2))
    assert "contrastive loss over epoch: contrastive loss from 4 to 3." in text
    assert "kept: epoch 2" in text and "kept: epoch 2 from" not in text
    assert text.startswith("3 panels.")


def test_bars_matrices_and_pictures() -> None:
    counts = pd.DataFrame({"train": [40, 12], "share": ["77%", "23%"]}, index=["a", "b"])
    assert "train: images: a 40; b 12" in describe_figure(plot_class_counts(counts))
    matrix = describe_figure(plot_confusion(np.array([[8, 2], [1, 9]]), ("ill", "well")))
    assert (
        matrix
        == "true over predicted: rows ill, well; columns ill, well; values from 0.100 to 0.900."
    )
    image = np.zeros((3, 4, 4, 3), np.uint8)
    text = describe_figure(plot_gallery({"first": image, "second": image}))
    assert text == "6 images in rows: first, second."


def test_words_of_a_plot_itself_go_first_and_long_ones_are_cut() -> None:
    figure, _ = new_figure(2, 2)
    assert describe_figure(tell(figure, "Two\ncells.")) == "Two cells."
    cut = describe_figure(tell(figure, "word " * 500))
    assert len(cut) <= LONGEST and cut.endswith("word …")


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (12345, "12,345"), (0.12345, "0.123"), (1e-5, "1e-05")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_a_notebook_gets_a_drawing_or_pixels_with_words() -> None:
    drawn, about = DisplayFormatter().format(plot_lines(study_rows()))
    assert set(drawn) == {"text/plain", "image/svg+xml"}
    assert ElementTree.fromstring(drawn["image/svg+xml"]).tag.endswith("svg")
    assert "SimCLR, novel" in about["image/svg+xml"]["alt"]
    drawn, about = DisplayFormatter().format(plot_confusion(np.eye(2, dtype=int), ("a", "b")))
    assert set(drawn) == {"text/plain", "image/png"}
    assert base64.b64decode(drawn["image/png"]).startswith(b"\x89PNG")
    assert "rows a, b" in about["image/png"]["alt"]


def test_a_drawing_is_the_same_twice_and_names_no_address_but_of_its_language() -> None:
    first, second = (to_svg(plot_lines(study_rows())) for _ in range(2))
    assert first == second and first is not None
    assert "<!DOCTYPE" not in first and "dc:date" not in first
    assert to_svg(plot_lines(study_rows()), largest=100) is None
