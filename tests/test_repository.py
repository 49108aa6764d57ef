"""What is committed: the README's numbers, published results, and no trace of one machine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from lib.batch.readme import headline_text, read_studies
from lib.batch.summary import collect_rows
from lib.statistics.metrics import compute_metrics
from lib.statistics.predictions import read_predictions
from lib.study.measurements import read_summary
from tests.conftest import ROOT

PUBLISHED = sorted(p.parent for p in (ROOT / "results").glob("*/summary.csv"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.splitlines()]


def test_the_headline_is_what_its_summary_says() -> None:
    assert headline_text(read_studies(ROOT / "results")) in README


def test_every_command_and_file_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"(?:^|`)make ([a-z]+)", README, re.M)
    assert {"demo", "lab", "test", "bench"} <= set(commands)
    for target in commands:
        assert re.search(rf"^{target}:", makefile, re.M), target
    for name in re.findall(r"`((?:lib|params|notebooks)/[\w/.]+\.(?:py|yaml|ipynb))`", README):
        assert "NN_name" in name or (ROOT / name).exists(), name
    for name in re.findall(r"\]\((?!http)([^)]+)\)", README):
        file, _, place = name.partition("#")
        assert (ROOT / file).exists(), name
        if place:
            text = (ROOT / file).read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.+)$", text, re.M)
            assert place in [title.lower().replace(" ", "-") for title in titles], name


def published(study: str) -> str:
    """What results/README.md says of a study."""
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    return next(line for line in text.splitlines() if line.startswith(f"| `{study}` |"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda p: p.name)
def test_a_published_summary_is_what_its_runs_wrote(folder: Path) -> None:
    if not tracked():
        pytest.skip("nothing is committed yet")
    names = sorted(p.name for p in (folder / "runs").iterdir())
    rows = pd.DataFrame(collect_rows(folder, names))
    summary = read_summary(folder / "summary.csv")
    keys = ["run", "dataset", "size", "method", "augment", "protocol", "labels", "split", "metric"]
    rows["size"] = pd.to_numeric(rows["size"]).fillna(0).astype(int)  # verdicts have none
    both = rows.merge(summary, on=keys, suffixes=("", "_summary"))
    if "without the validation scores" in published(folder.name):
        apart = (rows["split"] == "val") & rows["protocol"].isin(["probe", "knn"])
        rows = rows[~apart]
    assert len(both) == len(rows) == len(summary)
    assert both["value"].to_numpy() == pytest.approx(both["value_summary"].to_numpy(), rel=1e-6)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda p: p.name)
def test_published_numbers_follow_from_the_published_predictions(folder: Path) -> None:
    kept_out = f"results/{folder.name}/runs/*/predictions.csv"
    if kept_out in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines():
        pytest.skip(f"predictions of {folder.name} are too large to be kept")
    files = sorted((folder / "runs").glob("*/predictions.csv"))
    assert files
    for file in files[:: max(1, len(files) // 6)]:
        rows = pd.DataFrame(json.loads((file.parent / "metrics.json").read_text())["rows"])
        for part in read_predictions(file):
            key = {**part.key, "split": part.split}
            same = (rows[list(key)].astype(str) == pd.Series(key)).all(axis=1)
            mine = rows[same].set_index("metric")
            again = compute_metrics(part.y, part.scores, part.task, part.classes)
            # A study may be older than a metric; what it does report must follow.
            assert set(again) & set(mine.index) >= {"auroc", "accuracy"}
            for name, value in again.items():
                if name not in mine.index:
                    continue
                assert mine.loc[name, "value"] == pytest.approx(value, abs=1e-9), (file, name)


def test_nothing_names_this_machine_or_a_package_host() -> None:
    # Written in pieces, so that this file does not find itself.
    hosts = ["py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs", "deb." + "debian.org"]
    forbidden = [
        *hosts,
        "/wo" + "rk/",
        "/ro" + "ot/",
        "/tmp/" + "bash_jobs",
        "download.py" + "torch",
    ]
    for path in tracked():
        if path.suffix == ".png" or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        found = [word for word in forbidden if word in text]
        assert not found, f"{path}: {found}"


def test_committed_files_are_small_and_no_weights_are_among_them() -> None:
    for path in tracked():
        assert path.suffix not in (".safetensors", ".ckpt", ".npz"), path
        if path.is_file():
            assert path.stat().st_size < 4 * 2**20, path
