"""Published facts: the same as in the reference, each with its caveat; what stands beside what."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from lib.study.published import (
    METRICS,
    REBUILT,
    largest_published_gain,
    name_dataset,
    our_side,
    read_published,
    with_counterparts,
)
from tests.conftest import ROOT
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over

COLUMNS = (
    "source url dataset size encoder protocol pretrained_on augment labels metric value caveat"
)
REBUILT_NAME = next(iter(REBUILT))


@pytest.fixture(scope="session")
def reference() -> pd.DataFrame:
    """The reference table that the facts were brought from, or a skip that says so."""
    folder = Path(os.environ.get("SHARED", ROOT.parent / "shared"))
    path = folder / "reference" / "published.csv"
    if not path.exists():
        pytest.skip("no reference: neither SHARED nor ../shared holds reference/published.csv")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_every_fact_of_the_reference_is_there(reference: pd.DataFrame) -> None:
    facts = read_published()
    further, facts = facts[len(reference) :], facts[: len(reference)]
    assert set(further["protocol"]) == {"automl"}
    for name in ("dataset", "encoder", "protocol", "pretrained_on", "augment", "labels"):
        assert list(facts[name]) == list(reference[name])
    assert list(facts["size"]) == list(reference["size"].astype(int))
    assert list(facts["value"]) == list(reference["value"].astype(float))
    names = {"acc": "accuracy", "auc": "auroc"}
    assert list(facts["metric"]) == [names[m] for m in reference["metric"]]


def test_every_caveat_of_the_reference_is_there(reference: pd.DataFrame) -> None:
    """Word by word: what stood in the source's name or in the note is in source or caveat now."""
    for fact, old in zip(
        read_published()[: len(reference)].itertuples(),
        reference.itertuples(index=False),
        strict=True,
    ):
        now = f"{fact.source}; {fact.url}; {fact.caveat}"
        for part in f"{old.source}; {old.note}".replace(",", ";").split(";"):
            for word in part.replace("(", " ").replace(")", " ").split():
                assert word in now or word == "doi", (word, now)


def test_the_table_is_complete_and_sane() -> None:
    facts = read_published()
    assert list(facts.columns) == COLUMNS.split()
    assert facts["value"].between(0.3, 1).all()
    assert set(facts["metric"]) == set(METRICS)
    assert (facts["caveat"] != "").all()
    assert facts["url"].str.startswith("https://").all()
    assert not facts.duplicated([c for c in facts.columns if c != "value"]).any()


@pytest.mark.parametrize(
    ("fact", "side"),
    [
        ({"protocol": "probe", "pretrained_on": "pathmnist"}, ("simclr", "probe", "100")),
        ({"protocol": "finetune", "pretrained_on": "a"}, ("simclr from a", "finetune", "100")),
        ({"protocol": "probe", "pretrained_on": "a>b"}, ("simclr from a>b", "probe", "100")),
        ({"protocol": "supervised", "pretrained_on": ""}, ("random", "finetune", "100")),
        ({"protocol": "supervised", "pretrained_on": "imagenet"}, ("imagenet", "finetune", "100")),
        ({"protocol": "automl", "pretrained_on": "unknown"}, ("automl", "automl", "100")),
        ({"protocol": "knn", "pretrained_on": "imagenet"}, ("imagenet", "knn", "100")),
        (
            {"protocol": "supcon probe", "pretrained_on": "imagenet>x"},
            ("supcon from imagenet>x", "probe", "100"),
        ),
        (
            {
                "protocol": "probe",
                "pretrained_on": "pathmnist",
                "caveat": "classes balanced by undersampling, …",
            },
            ("simclr", "probe+undersample", "10 per class"),
        ),
    ],
)
def test_our_name_for_what_they_did(fact: dict[str, str], side: tuple[str, str, str]) -> None:
    usual = {"dataset": "pathmnist", "labels": "100", "caveat": "", "augment": "novel"}
    assert our_side(pd.Series({**usual, **fact})) == side


def test_ours_stand_beside_the_same_thing_only(tmp_path: Path) -> None:
    where = {"datasets": ("pathmnist",), "labels": ("100", "500")}
    rows = over(PROBE, 0.7, metric="accuracy", **where)
    rows += over({**PROBE, "augment": "natural"}, 0.6, metric="accuracy", **where)
    rows += over(SCRATCH, 0.4, metric="accuracy", **where)
    rows += over({**SCRATCH, "protocol": "probe"}, 0.4, metric="accuracy", **where)  # no such fact
    rows += over(PROBE, 0.7, metric="accuracy", size=64, **where)  # nobody published at 64 px
    rows += over(PROBE, 0.7, metric="macro_f1", **where)
    rows += [make_row(dataset="pathmnist", metric="accuracy", fold=0, augment="simple")]
    found = with_counterparts(as_table(rows, tmp_path))
    named = found[["method", "our_protocol", "our_augment", "labels", "value"]]
    assert [tuple(row) for row in named.itertuples(index=False)] == [
        ("simclr", "probe", "novel", "100", 0.73),
        ("simclr", "probe", "natural", "100", 0.70125),
        ("random", "finetune", "", "100", 0.39471),
    ]
    values = [r["value"] for r in rows[:5]]
    expected = stats.t.interval(0.95, 4, stats.tmean(values), stats.sem(values))
    assert tuple(found.loc[0, ["low", "high"]]) == pytest.approx(expected, abs=1e-6)
    assert found.loc[0, "seeds"] == 5


def test_a_rebuilt_data_set_says_so(tmp_path: Path) -> None:
    row = make_row(dataset=REBUILT_NAME, metric="accuracy", value=0.7, labels="all", **SCRATCH)
    found = with_counterparts(as_table([row], tmp_path))
    assert set(found["dataset"]) == {"dermamnist"}
    assert found["caveat"].str.contains("ours: DermaMNIST rebuilt").all()
    assert name_dataset(REBUILT_NAME) == "dermamnist (rebuilt)"
    assert name_dataset("dermamnist") == "dermamnist"


def test_the_claimed_gain_is_in_the_log() -> None:
    from lib.findings.claims import CLAIMED_GAIN

    facts = read_published().set_index(
        ["dataset", "protocol", "augment", "labels", "metric", "source"]
    )
    log, accuracy = "simclr-medical-imaging, test-logs.md", ("100", "accuracy")
    ours = facts.loc[("pathmnist", "probe", "natural", *accuracy, log), "value"]
    base = facts.loc[("pathmnist", "supervised", "", *accuracy, log), "value"]
    assert 100 * (ours - base) == pytest.approx(CLAIMED_GAIN, abs=0.06)
    best = largest_published_gain()
    assert (best["dataset"], best["labels"], best["augment"]) == ("pathmnist", "100", "novel")
    assert best["gain"] == pytest.approx(0.73 - 0.39471)
