"""Which modalities survive downsampling: the loss at each size, held against a tolerance."""

from __future__ import annotations

import pandas as pd

from lib.findings.claims import NOT_TESTED, name_side, nothing, with_interval
from lib.names import name_labels
from lib.study.published import REBUILT, name_dataset
from lib.study.verdicts import Verdict

MODALITIES = {
    "pathmnist": "colon histology",
    "chestmnist": "chest X-ray",
    "dermamnist": "dermatoscopy",
    "octmnist": "retinal OCT",
    "pneumoniamnist": "chest X-ray of children",
    "retinamnist": "fundus photography",
    "breastmnist": "breast ultrasound",
    "bloodmnist": "blood cell microscopy",
    "tissuemnist": "kidney cell microscopy",
    "organamnist": "abdominal CT, axial",
    "organcmnist": "abdominal CT, coronal",
    "organsmnist": "abdominal CT, sagittal",
}


def name_modality(dataset: str) -> str:
    """A data set with its modality, where that is known."""
    modality = MODALITIES.get(REBUILT.get(dataset, (dataset,))[0])
    return name_dataset(dataset) + (f" ({modality})" if modality else "")


def judge_sizes(verdict: Verdict, level: float = 0.95) -> pd.DataFrame:
    """The cells of the downsampling claim, each with a word: survives, lost or not clear.

    survives: the loss is clearly smaller than the tolerance; lost: clearly larger (p corrected).
    A cell without a test is `not tested`.
    """
    cells = verdict.cells.copy()
    clear = cells["corrected"] < 1 - level
    words = pd.Series("not clear", index=cells.index, dtype=object)
    words[clear & (cells["mean"] > cells["margin"])] = "survives"
    words[clear & (cells["mean"] < cells["margin"])] = "lost"
    words[cells["p"].isna()] = "not tested"
    return cells.assign(word=words)


def sizes_table(verdict: Verdict, level: float = 0.95) -> pd.DataFrame:
    """What each smaller size costs: data set, encoder and budget (rows), size (columns)."""
    if verdict.cells.empty:
        return nothing()
    entries: dict[tuple[str, str, str], dict[int, str]] = {}
    for cell in judge_sizes(verdict, level).itertuples():
        side = name_side(str(cell.method), str(cell.augment), str(cell.protocol))
        row = (f"{name_modality(str(cell.dataset))}, from {cell.size_other} px", side)
        key = (*row, name_labels(str(cell.labels)))
        entries.setdefault(key, {})[int(str(cell.size))] = f"{with_interval(cell)}: {cell.word}"
    sizes = sorted(set(verdict.cells["size"]), reverse=True)
    names = ["data set", "classifier", "labels"]
    index = pd.MultiIndex.from_tuples(list(entries), names=names)
    table = pd.DataFrame(list(entries.values()), index).reindex(columns=sizes).fillna("–")
    table.columns = pd.Index([f"{size} px" for size in sizes])
    return table


def say_sizes(verdict: Verdict, level: float = 0.95) -> str:
    """A line for each data set: what every size costs, in how many comparisons."""
    cells, lines = judge_sizes(verdict, level), []
    for dataset, here in cells.groupby("dataset", sort=False):
        parts = []
        for size, group in here.sort_values("size", ascending=False).groupby("size", sort=False):
            said = [f"{w} in {n}" for w, n in group["word"].value_counts().items()]
            text = f"at {size} px {group['mean'].mean():+.3f} on average, {', '.join(said)}"
            parts.append(f"{text} of {len(group)} comparison(s)")
        lines.append(f"- {name_modality(str(dataset))}: {'; '.join(parts)}.")
    return "\n".join(lines) or f"Sizes: {NOT_TESTED}."
