"""Names in print."""

from __future__ import annotations

import pytest

from lib.findings.names import METRIC_NAMES, PROTOCOL_NAMES, name_labels, name_source


def test_sources() -> None:
    assert name_source("simclr", "novel") == "SimCLR, novel"
    assert name_source("random") == "random encoder"
    assert name_source("new method") == "new method"


@pytest.mark.parametrize(
    ("labels", "printed"),
    [("all", "all labels"), ("100", "100 labels"), ("25 per class", "25 labels per class")],
)
def test_labels(labels: str, printed: str) -> None:
    assert name_labels(labels) == printed


def test_every_metric_and_protocol_has_a_name_of_its_own() -> None:
    import numpy as np

    from lib.metrics import compute_metrics

    y = np.array([0, 1, 2, 0, 1, 2])
    assert set(compute_metrics(y, np.eye(3)[y], "ordinal")) == set(METRIC_NAMES)
    for names in (METRIC_NAMES, PROTOCOL_NAMES):
        assert len(set(names.values())) == len(names)
