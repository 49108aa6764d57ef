"""The tables of docs/findings.md: made from the published summaries, and from nothing else."""

from __future__ import annotations

import math

import pytest

from lib.batch.findings import BLOCKS, CLAIMS, PAGE, RESULTS, rewrite, way, with_interval
from lib.batch.readme import STUDIES
from lib.study.claims import COMPARISONS


def test_the_tables_are_what_the_summaries_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rewrite(page) == page
    assert all(page.count(f"<!-- table: {name} -->") == 1 for name in BLOCKS)
    assert all((RESULTS / study / "index.html").exists() for study in STUDIES)


def test_every_claim_has_words() -> None:
    assert set(CLAIMS) == {*COMPARISONS, "downsampling"}


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="put '<!-- table: claims -->'"):
        rewrite("# Findings\n")


def test_differences_clear_of_zero_are_bold() -> None:
    assert with_interval(0.041, 0.001, 0.08) == "**+0.041 [+0.001, +0.080]**"
    assert with_interval(-0.041, -0.08, -0.001) == "**-0.041 [-0.080, -0.001]**"
    assert with_interval(0.041, -0.001, 0.08) == "+0.041 [-0.001, +0.080]"
    assert with_interval(0.041, math.nan, math.nan) == "+0.041 (one unit)"
    assert with_interval(0.9, 0.8, 1.0, sign=False) == "0.900 [0.800, 1.000]"


def test_a_random_encoder_finetuned_is_training_from_scratch() -> None:
    assert way("random", "finetune") == "from scratch"
    assert way("random", "probe") == "random encoder, probe"
    assert way("simclr", "finetune") == "SimCLR, finetune"
