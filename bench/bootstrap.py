"""Bootstrap intervals of every metric: all resamples at once beside scikit-learn, one by one.

`python -m bench.bootstrap [--images N] [--classes K]`. Both compute, on the same resamples, the
macro AUROC one-against-rest and average precision; ours all other metrics too. scikit-learn does a
few resamples, from which its time for all is reckoned; the values must be equal.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bench.measuring import OUT, Goal, take_turns, write_rows
from lib.statistics.bootstrap import bootstrap_replicates, draw_counts

GOAL = 2.0  # seconds for 1,000 resamples of 25,000 images in 11 classes, two threads


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON; status 1 where the values differ."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    parser = argparse.ArgumentParser(prog="python -m bench.bootstrap", description=__doc__)
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--theirs", type=int, default=5, help="resamples by scikit-learn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--out", type=Path, default=OUT / "bootstrap.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rng, N, K = np.random.default_rng(0), options.images, options.classes
    y = rng.integers(K, size=N)
    scores = rng.random((N, K)) + 0.5 * np.eye(K)[y]
    scores = (scores / scores.sum(1, keepdims=True)).astype(np.float32)

    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found.update(bootstrap_replicates(y, scores, "multi-class", n=options.resamples))

    seconds = statistics.median(take_turns({"ours": ours}, options.repeats)["ours"])
    draws = (row for rows in draw_counts(N, y, None, options.resamples, 0) for row in rows)
    times, worst = [], 0.0
    for i, counts in enumerate(islice(draws, options.theirs)):
        drawn = np.repeat(np.arange(N), counts.astype(int))
        began = time.perf_counter()
        truth = np.eye(K)[y[drawn]]
        auroc = roc_auc_score(truth, scores[drawn], average="macro")
        precision = average_precision_score(truth, scores[drawn], average="macro")
        times.append(time.perf_counter() - began)
        both = (("auroc", auroc), ("average_precision", precision))
        worst = max(worst, *(abs(found[name][i] - value) for name, value in both))
    theirs = statistics.median(times) * options.resamples
    met = "met" if seconds < GOAL else "MISSED"
    print(
        f"{options.resamples} resamples of {N:,} images, {K} classes: {seconds:.2f} s (goal "
        f"{GOAL:g} s: {met}); scikit-learn about {theirs:.0f} s, {theirs / seconds:.0f}×; largest "
        f"difference on {options.theirs} resamples {worst:.1e}"
    )
    row = {
        "images": N,
        "classes": K,
        "resamples": options.resamples,
        "seconds": round(seconds, 3),
        "sklearn_seconds": round(theirs, 1),
        "ours_is_faster_by": round(theirs / seconds, 1),
        "largest_difference": float(f"{worst:.1e}"),
    }
    goal = Goal(
        f"bootstrap: {options.resamples} resamples of {N:,} images, {K} classes",
        round(seconds, 3),
        GOAL,
        "s",
        False,
    )
    write_rows(options.out, [row], [goal], vars(options))
    return int(worst > 1e-9)


if __name__ == "__main__":
    sys.exit(main())
