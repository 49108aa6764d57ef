"""Names in print."""

from __future__ import annotations

import pytest

from lib.identity import Origin, finetuned_name
from lib.methods import scratch_like, split_method
from lib.names import (
    METRIC_NAMES,
    PROTOCOL_NAMES,
    name_labels,
    name_scratch,
    name_source,
    short_augment,
    tell_apart,
)


def test_sources() -> None:
    assert name_source("simclr", "novel") == "SimCLR, novel"
    assert name_source("random") == "random encoder"
    assert name_source("new method") == "new method"


def test_a_random_encoder_finetuned_is_training_from_scratch() -> None:
    assert name_scratch("random", "finetune") == "from scratch"
    assert name_scratch("random (long)", "finetune+focal") == "from scratch (long)"
    assert name_scratch("random", "probe") == name_scratch("simclr", "finetune") == ""


def test_scratch_of_the_same_setting_is_found_where_it_was_trained() -> None:
    known = {"random", "random (long)", "simclr (long)"}
    assert scratch_like("simclr", known) == "random"
    assert scratch_like("simclr (long)", known) == "random (long)"
    assert scratch_like("supcon (100 labels, long)", known) == "random (long)"
    assert scratch_like("simclr (short)", known) == "random"
    assert scratch_like("simclr (long)", {"random"}) == "random"


@pytest.mark.parametrize(
    ("method", "parts", "printed"),
    [
        ("simclr", ("simclr", "", ""), "SimCLR, novel"),
        ("simclr from a", ("simclr", "a", ""), "SimCLR, novel, from a"),
        ("supcon from a>b", ("supcon", "a>b", ""), "SupCon, novel, from a then b"),
        ("simclr (warm up)", ("simclr", "", "warm up"), "SimCLR, novel (warm up)"),
        ("simclr from a>b (w)", ("simclr", "a>b", "w"), "SimCLR, novel, from a then b (w)"),
        ("simclr+finetune", ("simclr+finetune", "", ""), "SimCLR, finetuned, novel"),
        (
            "simclr+finetune from csv:a b/c.csv (x)",
            ("simclr+finetune", "csv:a b/c.csv", "x"),
            "SimCLR, finetuned, novel, from csv:a b/c.csv (x)",
        ),
    ],
)
def test_methods_in_parts_and_in_print(
    method: str, parts: tuple[str, str, str], printed: str
) -> None:
    assert split_method(method) == parts
    assert name_source(method, "novel") == printed


def test_what_an_origin_is_called_can_be_taken_apart_again() -> None:
    for method in ("simclr", "supcon", finetuned_name("simclr"), finetuned_name("random")):
        for trail in ((), ("here",), ("a",), ("imagenet", "here"), ("a", "b")):
            for variant in ("", "two words"):
                origin = Origin(method, "novel", "x", trail, variant)
                foreign = "" if trail in ((), ("here",)) else ">".join(trail)
                assert split_method(origin.method_on("here")) == (method, foreign, variant)


@pytest.mark.parametrize(
    ("labels", "printed"),
    [("all", "all labels"), ("100", "100 labels"), ("25 per class", "25 labels per class")],
)
def test_labels(labels: str, printed: str) -> None:
    assert name_labels(labels) == printed


def test_every_metric_and_protocol_has_a_name_of_its_own() -> None:
    import numpy as np

    from lib.statistics.metrics import compute_metrics

    y = np.array([0, 1, 2, 0, 1, 2])
    assert set(compute_metrics(y, np.eye(3)[y], "ordinal")) == set(METRIC_NAMES)
    for names in (METRIC_NAMES, PROTOCOL_NAMES):
        assert len(set(names.values())) == len(names)


def test_an_augmentation_with_several_settings_is_called_adapted() -> None:
    assert short_augment("novel") == "novel"
    assert short_augment("natural rotation=180") == "natural rotation=180"
    assert short_augment("natural rotation=180 blur_p=0") == "natural, adapted"
    assert short_augment(short_augment("natural rotation=180 blur_p=0")) == "natural, adapted"
    assert name_source("simclr", "natural rotation=180 blur_p=0") == "SimCLR, natural, adapted"


def test_augmentations_side_by_side_are_told_apart() -> None:
    names = [
        "natural", "novel", "natural rotation=10 blur_p=0", "natural rotation=10 blur_p=0 jitter=2",
        "natural rotation=180 blur_p=0", "fundus flip_p=0 blur_p=0",
    ]  # fmt: skip
    short = tell_apart(names)
    assert list(short) == names
    assert list(short.values()) == [
        "natural", "novel", "natural, rotation=10", "natural, rotation=10 jitter=2",
        "natural, rotation=180", "fundus, adapted",
    ]  # fmt: skip
    assert len(set(short.values())) == len(names)
    # What is short stays as it is.
    assert tell_apart(short.values()) == {name: name for name in short.values()}
    assert tell_apart(["natural a=1 b=2", "natural a=1"])["natural a=1"] == "natural, adapted"
