"""What sources gain over pretraining on the target itself, over the seeds of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lib.methods import split_method
from lib.statistics.paired import over_units
from lib.study.claims import views_at_home
from lib.study.measurements import measurements

NOTEBOOK, SIZES_NOTEBOOK = "05_transfer", "06_downsampling"
FLOORS = ("imagenet", "random")


def transfer_gains(
    summary: pd.DataFrame,
    metric: str = "auroc",
    protocol: str = "probe",
    labels: str = "all",
    *,
    method: str = "simclr",
    further: bool = False,
    level: float = 0.95,
) -> pd.DataFrame:
    """What sources gain over pretraining on the target itself, from rows of summary.csv alone.

    method: how both were pretrained; further: sources after further pretraining on the target. As
    sources count also `imagenet` and `random` (untrained, or from scratch), where measured.

    Pairs agree in seed and fold, target, size, architecture and, for encoders pretrained here,
    variant and augmentation, unless the target's own have another and that one alone
    (`lib.study.claims.views_at_home`). The in-domain side is what 05_transfer measured, or another
    notebook where it did not; 06_downsampling, which has a recipe of its own, is left out.
    Columns: source, target, pairs (seeds or folds), mean, low, high (interval as in
    `lib.statistics.paired`).
    """
    rows = summary[summary["notebook"] != SIZES_NOTEBOOK].reset_index(drop=True)
    own_first = (rows["notebook"] != NOTEBOOK).sort_values(kind="stable").index
    rows = measurements(rows.loc[own_first], metric)
    rows = rows[(rows["protocol"] == protocol) & (rows["labels"] == labels)]
    parts = [split_method(name) for name in rows["method"]]
    rows = rows.assign(
        base=[base for base, _, _ in parts],
        source=[source for _, source, _ in parts],
        variant=[variant for _, _, variant in parts],
    )
    ours = rows[rows["base"] == method]
    domain, foreign = ours[ours["source"] == ""], ours[ours["source"] != ""]
    last = [
        s.rpartition(">")[2] == d
        for s, d in zip(foreign["source"], foreign["dataset"], strict=True)
    ]
    foreign = foreign[np.array(last, bool) == further]
    foreign = foreign.assign(
        source=foreign["source"].str.rpartition(">")[0] if further else foreign["source"]
    )
    floors = rows[rows["method"].isin(FLOORS)].assign(source=lambda table: table["method"])
    same = ["dataset", "size", "encoder", "fold", "seed"]
    both = ("", "_own")
    foreign, at_home = (t.assign(views=views_at_home(t, domain)) for t in (foreign, domain))
    merged = [
        foreign.merge(at_home, on=[*same, "views", "variant"], suffixes=both),
        floors.merge(domain, on=same, suffixes=both),
    ]
    pairs = pd.concat([part for part in merged if not part.empty] or merged[:1])
    found = []
    for (source, target), group in pairs.groupby(["source", "dataset"], sort=False):
        t = over_units(group, "value_own", level).test
        found.append((source, target, t.n, t.mean, t.low, t.high))
    return pd.DataFrame(found, columns=["source", "target", "pairs", "mean", "low", "high"])


def transfer_matrix(
    summary: pd.DataFrame,
    metric: str = "auroc",
    protocol: str = "probe",
    labels: str = "all",
    *,
    method: str = "simclr",
    further: bool = False,
) -> pd.DataFrame:
    """Mean gains over in-domain pretraining, sources (rows) × targets (columns).

    As in `transfer_gains`. 0 where source and target are the same, by definition; NaN where
    nothing was measured. Sources without pretraining here stand last. Empty without any pair.
    """
    how = {"method": method, "further": further}
    gains = transfer_gains(summary, metric, protocol, labels, **how)  # type: ignore[arg-type]
    if gains.empty:
        return pd.DataFrame(dtype=float)
    targets = list(dict.fromkeys(gains["target"]))
    sources = [s for s in dict.fromkeys(gains["source"]) if s not in FLOORS]
    # Targets that are sources too stand in the same order, so that the diagonal is one.
    sources = [t for t in targets if t in sources] + [s for s in sources if s not in targets]
    sources += [f for f in FLOORS if f in set(gains["source"])]
    matrix = gains.pivot(index="source", columns="target", values="mean")
    matrix = matrix.reindex(index=sources, columns=targets)
    for name in set(sources) & set(targets):
        matrix.loc[name, name] = 0.0
    return matrix
