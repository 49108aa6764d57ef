"""Queries per second of nearest-neighbour search: FAISS beside the exact search it stands for.

`python -m bench.retrieval [--library N …] [--width D …]`. The same clustered vectors are searched
exactly and by the index of `lib.evaluation.search`, at several numbers of cells looked into. What
counts are recall@10 (the share of the ten true nearest that FAISS finds), how many times faster it
answers, and after how many queries it has made up for the time its index takes to build.
`lib.evaluation.search` chooses FAISS_LIBRARY, FAISS_QUERIES and PROBES by this table.

A second table is the memory that search and kNN classification take beyond the library and the
queries, at the largest of both. Exact search and kNN are given no more queries than two of their
batches: beyond these, only their answers grow.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.measuring import OUT, Goal, peak_memory, say_goals, write_rows
from lib.evaluation.search import BATCH, PROBES, build_index, choose_method, nearest
from lib.models.embed import Features
from lib.models.probe import knn_scores

K = 10
LIMIT_MIB, GOAL_LIBRARY, GOAL_WIDTH, GOAL_QUERIES = 2048, 1_000_000, 512, 10_000
CLUSTERS, DIRECTIONS = 50, 16


def draw_clusters(n: int, width: int, seed: int) -> Features:
    """Unit vectors float32 [n, width] in 50 clusters, each spread along 16 directions of its own.

    Features of an encoder are such: far fewer directions than numbers, few groups with many images
    each, and groups that overlap. Groups and directions are the same for every seed.
    """
    shape = np.random.default_rng(99)
    centres = shape.normal(size=(CLUSTERS, width)).astype(np.float32) / width**0.5
    spread = shape.normal(size=(CLUSTERS, DIRECTIONS, width)).astype(np.float32)
    spread *= 1.5 / (DIRECTIONS * width) ** 0.5  # half as long again as the centres
    rng = np.random.default_rng(seed)
    which = rng.integers(CLUSTERS, size=n)
    x = np.empty((n, width), np.float32)
    for c in range(CLUSTERS):
        rows = np.flatnonzero(which == c)
        within = rng.standard_normal((len(rows), DIRECTIONS), np.float32)
        noise = rng.standard_normal((len(rows), width), np.float32) * (0.3 / width**0.5)
        x[rows] = centres[c] + within @ spread[c] + noise
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def recall(found: Any, true: Any) -> float:
    """Share of the true nearest that were found."""
    pairs = zip(found, true, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


def measure(library: int, width: int, queries: int, probes: list[int]) -> list[dict[str, Any]]:
    """Rows for one library, one for each number of probes."""
    x, q = draw_clusters(library, width, 0), draw_clusters(queries, width, 1)
    nearest(q[:8], x[: 2**15], K)  # warm-up
    began = time.perf_counter()
    _, true = nearest(q, x, K, method="exact")
    exact = time.perf_counter() - began
    began = time.perf_counter()
    index = build_index(x)
    build = time.perf_counter() - began
    rows = []
    for count in probes:
        index.nprobe = count
        index.search(q[:8], K)
        began = time.perf_counter()
        _, found = index.search(q, K)
        seconds = time.perf_counter() - began
        saved = (exact - seconds) / queries
        rows.append(
            {
                "library": library,
                "width": width,
                "queries": queries,
                "threads": torch.get_num_threads(),
                "cells": index.nlist,
                "probes": count,
                "recall@10": round(recall(found, true), 4),
                "build_s": round(build, 2),
                "exact_queries_per_s": round(queries / exact, 1),
                "faiss_queries_per_s": round(queries / seconds, 1),
                "faiss_is_faster_by": round(exact / seconds, 2),
                "pays_after_queries": round(build / saved) if saved > 0 else None,
            }
        )
    return rows


def measure_memory(library: int, width: int, queries: int) -> list[dict[str, Any]]:
    """Peak memory beyond library and queries, MiB: exact search, the automatic choice, kNN."""
    x, q = draw_clusters(library, width, 0), draw_clusters(queries, width, 1)
    y = torch.arange(library) % CLUSTERS
    nearest(q[:8], x[: 2**15], K, method="exact")
    few = min(queries, 2 * BATCH)
    bank, asking = torch.from_numpy(x), torch.from_numpy(q[:few])
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "exact search": (few, lambda: nearest(q[:few], x, K, method="exact")),
        "kNN scores": (
            few,
            lambda: knn_scores(bank, y, asking, task="multi-class", n_classes=CLUSTERS),
        ),
        f"automatic search: {choose_method(queries, library)}": (
            queries,
            lambda: nearest(q, x, K),
        ),
    }
    rows = []
    for name, (count, function) in work.items():
        began = time.perf_counter()
        with peak_memory() as peak:
            function()
        seconds = time.perf_counter() - began
        rows.append(
            {
                "what": name,
                "library": library,
                "width": width,
                "queries": count,
                "seconds": round(seconds, 2),
                "queries_per_s": round(count / seconds, 1),
                "peak_mib": round(peak.above, 1),
            }
        )
    return rows


def goals_of(memory: list[dict[str, Any]]) -> list[Goal]:
    """The memory of each way, where it was measured at the size of the goal."""
    goals = []
    for row in memory:
        what = f"retrieval memory beyond {GOAL_LIBRARY:,} × {GOAL_WIDTH}: {row['what']}"
        large = row["library"] >= GOAL_LIBRARY and row["width"] >= GOAL_WIDTH
        value, note = row["peak_mib"], f"{row['queries']:,} queries"
        if not large:
            value, note = None, f"only {row['library']:,} × {row['width']} was measured"
        goals.append(Goal(what, value, LIMIT_MIB, "MiB", False, note))
    return goals


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [
        f"{'library':>9}{'width':>6}{'probes':>7}{'recall':>8}{'exact/s':>9}{'faiss/s':>9}"
        f"{'ratio':>8}{'build s':>9}{'pays after':>12}"
    ]
    for row in rows:
        pays = "never" if row["pays_after_queries"] is None else f"{row['pays_after_queries']:,}"
        lines.append(
            f"{row['library']:>9}{row['width']:>6}{row['probes']:>7}{row['recall@10']:>8.3f}"
            f"{row['exact_queries_per_s']:>9.0f}{row['faiss_queries_per_s']:>9.0f}"
            f"{row['faiss_is_faster_by']:>7.1f}×{row['build_s']:>9.1f}{pays:>12}"
            + ("   (lib.evaluation.search)" if row["probes"] == PROBES else "")
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description=__doc__)
    parser.add_argument("--library", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--width", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--probes", type=int, nargs="+", default=[8, PROBES, 128])
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--memory-queries", type=int, default=GOAL_QUERIES)
    parser.add_argument("--out", type=Path, default=OUT / "retrieval.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for library in options.library:
        for width in options.width:
            part = measure(library, width, options.queries, options.probes)
            print(table(part), flush=True)
            rows += part
    memory = measure_memory(max(options.library), max(options.width), options.memory_queries)
    for row in memory:
        print(
            f"{row['what']}: {row['queries']:,} queries against {row['library']:,} × "
            f"{row['width']}: {row['peak_mib']:,.0f} MiB beyond them, {row['seconds']:.1f} s"
        )
    goals = goals_of(memory)
    print(say_goals(goals))
    write_rows(options.out, rows, goals, vars(options), memory=memory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
