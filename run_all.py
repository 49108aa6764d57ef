#!/usr/bin/env python3
"""Run a study: `python run_all.py params/demo.yaml` plans it, runs it, and prints its report.

`run_all.py clean params/demo.yaml` lists runs that its plan does not have any more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lib.batch.study import StudyError, parse_override, read_study
from lib.checks import ParameterError


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("params", type=Path, help="the study's params file, e.g. params/demo.yaml")
    add("--results", type=Path, default=Path("results"), metavar="DIR",
        help="folder of all results (default: results)")  # fmt: skip
    add("--only", action="append", default=[], metavar="PATTERN",
        help="only runs or experiments whose name fits, and what they need; may be given several "
        "times")  # fmt: skip
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    add(
        "--force", action="store_true", help="do again what is already done; with --only, what fits"
    )
    add("--dry-run", action="store_true",
        help="print the plan: runs, what each needs, what is done, estimated times")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE",
        help="a parameter for all experiments, or EXPERIMENT.KEY=VALUE for one")  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS",
                       help="run on the workers of this Dask scheduler")  # fmt: skip
    where.add_argument("--slurm", type=Path, metavar="FILE",
                       help="run in N jobs of Slurm (--jobs N); FILE is YAML with the arguments of "
                       "dask_jobqueue.SLURMCluster")  # fmt: skip
    add(
        "--per-gpu", type=int, default=1, metavar="N", help="runs at a time on one GPU (default: 1)"
    )
    options = parser.parse_args(arguments)
    for name in ("jobs", "per_gpu"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected a number from 1")
    return options


def parse_clean(arguments: list[str]) -> argparse.Namespace:
    """The command line behind the word `clean`."""
    parser = argparse.ArgumentParser(
        prog="run_all.py clean",
        description="List the runs of a study that its plan does not have any more; remove them.",
    )
    add = parser.add_argument
    add("params", type=Path, help="the study's params file")
    add("--results", type=Path, default=Path("results"), metavar="DIR",
        help="folder of all results (default: results)")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE",
        help="what the study was run with, if anything")  # fmt: skip
    add("--yes", action="store_true", help="remove them; without it they are only listed")
    return parser.parse_args(arguments)


def clean(arguments: list[str]) -> int:
    """`run_all.py clean PARAMS.yaml`: exit 0; 2 where the params file is refused."""
    options = parse_clean(arguments)
    results = options.results.resolve()
    try:
        overrides = dict(parse_override(text) for text in options.set)
        study = read_study(options.params, overrides)
        from lib.batch.clean import clean_study
        from lib.batch.plan import plan_study

        runs = plan_study(study, options.params, results)
        return clean_study(study, runs, results / study.name, yes=options.yes)
    except (StudyError, ParameterError) as error:
        print(error, file=sys.stderr)
        return 2


def main(arguments: list[str] | None = None) -> int:
    """Exit 0: every run done. 1: some failed. 2: refused before anything was started.

    130: stopped by Ctrl-C or a signal before the end.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["clean"]:
        return clean(arguments[1:])
    options = parse(arguments)
    results = options.results.resolve()
    try:
        if results.exists() and not results.is_dir():
            raise StudyError([f"--results {options.results}: is a file, not a folder"])
        overrides = dict(parse_override(text) for text in options.set)
        study = read_study(options.params, overrides)
        from lib.batch.plan import plan_study
        from lib.batch.select import fitting, select

        runs = plan_study(study, options.params, results)
        idle = [pattern for pattern in options.only if not fitting(runs, [pattern])]
        if idle:
            known = ", ".join(experiment.name for experiment in study.experiments)
            where = f"fits no run of {options.params} (experiments: {known})"
            raise StudyError([f"--only {pattern}: {where}" for pattern in idle])
        selected = select(runs, options.only)
        forced = fitting(runs, options.only) if options.force else frozenset()
        from lib.batch.session import print_plan, run_study
        from lib.batch.slurm import check_slurm

        if options.slurm is not None:
            check_slurm(options.slurm, submit=not options.dry_run)
        if options.dry_run:
            folder = results / study.name
            print_plan(
                study,
                selected,
                folder,
                plan=runs,
                params=options.params,
                forced=forced,
                jobs=options.jobs,
            )
            return 0
        return run_study(
            study,
            runs,
            selected,
            results / study.name,
            jobs=options.jobs,
            forced=forced,
            scheduler=options.scheduler,
            slurm=options.slurm,
            per_gpu=options.per_gpu,
            params=options.params,
        )
    except (StudyError, ParameterError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped before anything was started", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
