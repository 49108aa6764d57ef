"""Plans: which runs, in which order, under which names, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lib import identity
from lib.batch import feasible
from lib.batch import plan as module
from lib.batch import study as study_module
from lib.batch.plan import REPORT_NOTEBOOKS, PlannedRun, plan_study
from lib.batch.select import fitting, select
from lib.batch.study import StudyError, read_study
from lib.models.encoder import build_encoder
from lib.models.weights import save_encoder
from lib.params import NOTEBOOKS, notebook_defaults

PRETRAIN = "  pretrain: {notebook: 01_pretrain, matrix: {seed: [0, 1]}}\n"


def known_notebooks() -> list[str]:
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


# 02_probe expands in the same way.
TRANSFER = "05_transfer" if "05_transfer" in known_notebooks() else "02_probe"


def plan(lab: Any, experiments: str, *, results: Path | None = None, **more: Any) -> Any:
    """The runs of a study with these experiments."""
    extra = "".join(f"{key}: {value}\n" for key, value in more.items())
    path = lab.write(f"study: tiny\n{extra}experiments:\n{experiments}")
    return plan_study(read_study(path), path, results or lab.results)


def refusal(lab: Any, experiments: str, **more: Any) -> list[str]:
    """The lines a plan is refused with, less the path that each begins with."""
    before = lab.files()
    with pytest.raises(StudyError) as caught:
        plan(lab, experiments, **more)
    assert lab.files() <= before | {"study.yaml"}
    start = f"{lab.folder / 'study.yaml'}: "
    assert all(line.startswith(start) for line in caught.value.mistakes)
    return [line.removeprefix(start) for line in caught.value.mistakes]


def test_each_run_comes_after_what_it_needs(lab: Any, chain: Path) -> None:
    runs = plan_study(read_study(chain), chain, lab.results)
    assert [r.experiment for r in runs] == ["data", "pretrain", "pretrain", "probe", "probe"]
    seen: set[str] = set()
    for run in runs:
        assert set(run.needs) <= seen
        seen.add(run.name)
    assert len(seen) == 5


def test_a_probe_takes_data_and_seed_from_its_pretraining(lab: Any) -> None:
    a, b = lab.npz("a.npz"), lab.npz("b.npz", seed=1)
    runs = plan(
        lab,
        f"""
  probe: {{notebook: 02_probe, set: {{init: pretrain}}}}
  pretrain:
    notebook: 01_pretrain
    set: {{split_seed: 5, size: 32, augment: simple, epochs: 3}}
    cases: [{{dataset: "{a}", seed: 3}}, {{dataset: "{b}", seed: 4}}]
""",
        defaults="{dataset: phantom, seed: 9}",
    )
    pretrainings, probes = runs[:2], runs[2:]
    for encoder, probe, data, seed in zip(pretrainings, probes, (a, b), (3, 4), strict=True):
        assert probe.needs == (encoder.name,)
        assert probe.params["init"] == encoder.name
        assert (probe.params["dataset"], probe.params["seed"]) == (data, seed)
        assert (probe.params["size"], probe.params["split_seed"]) == (32, 5)
        assert (probe.origin.method, probe.origin.augment) == ("simclr", "simple")
        # Two views of 12 images in 3 epochs; embedding and the monitor are a third of that each,
        # and so is the look at the features of the 12 after the first epoch and the last.
        views, embedded = 2 * 12 * 3, 2 * (12 + 4) + 2 * 12
        assert encoder.work == pytest.approx((views + embedded / 3) * (32 / 28) ** 2)
        assert probe.work == pytest.approx(2 * (12 + 4 + 6) / 3 * (32 / 28) ** 2)
        assert encoder.images == {"train": 12, "val": 4, "test": 6}
        assert (encoder.channels, encoder.classes, encoder.synthetic) == (1, 2, False)


def test_what_a_probe_sets_itself_is_not_inherited(lab: Any) -> None:
    data = lab.npz()
    probe = (
        f'  probe: {{notebook: 02_probe, set: {{init: pretrain, seed: 8, dataset: "{data}"}}}}\n'
    )
    runs = plan(lab, PRETRAIN + probe)
    assert [(r.params["dataset"], r.params["seed"]) for r in runs[2:]] == [(data, 8)] * 2


def test_a_case_that_names_its_data_does_not_stop_another_from_inheriting(lab: Any) -> None:
    data = lab.npz()
    runs = plan(
        lab,
        f"""
  pretrain: {{notebook: 01_pretrain, set: {{dataset: "{data}"}}}}
  probe:
    notebook: 02_probe
    cases: [{{init: pretrain}}, {{init: scratch, dataset: phantom}}]
""",
    )
    assert [r.params["dataset"] for r in runs] == [data, data, "phantom"]
    assert [r.needs for r in runs] == [(), (runs[0].name,), ()]


def test_runs_use_the_defaults_of_their_notebook(lab: Any) -> None:
    [run] = plan(lab, "  probe: {notebook: 02_probe, set: {labels: [10, all]}}\n")
    assert run.params["labels"] == "10,all"
    assert set(run.params) == set(notebook_defaults("02_probe"))
    assert run.params["knn_k"] == notebook_defaults("02_probe")["knn_k"]
    assert (run.params["init"], run.origin, run.needs) == ("scratch", identity.RANDOM, ())


def test_the_same_run_twice_is_one_run(lab: Any) -> None:
    twice = "  pretrain: {notebook: 01_pretrain, cases: [{}, {seed: 0}]}\n"
    assert len(plan(lab, twice)) == 1


def test_two_settings_that_make_one_run_are_refused(lab: Any) -> None:
    """A device is no part of a run's id: of the two only the first would be done, unnoticed."""
    [found] = refusal(lab, "  a: {notebook: 01_pretrain, matrix: {device: [auto, cpu]}}\n")
    assert found.startswith("experiments.a.device: cpu here and auto in experiments.a make one run")


def test_a_run_shared_by_two_experiments_has_one_name(lab: Any) -> None:
    shared = PRETRAIN + "  again: {notebook: 01_pretrain}\n"
    probes = "  probe: {notebook: 02_probe, set: {init: again}}\n"
    runs = plan(lab, shared + probes)
    assert runs[0].name == runs[2].name
    assert runs[3].needs == (runs[0].name,)
    assert {r.name for r in select(runs, ["again"])} == {runs[0].name}


@pytest.mark.parametrize(
    ("experiments", "line"),
    [
        (
            "  a: {notebook: 00_data, set: {dataset: bloodmist}}\n",
            "experiments.a.dataset: bloodmist is unknown; did you mean bloodmnist",
        ),
        (
            "  a: {notebook: 00_data, set: {dataset: 'csv:no/labels.csv'}}\n",
            "experiments.a.dataset: ",
        ),
        ("  a: {notebook: 00_data, set: {dataset: 'npz:no.npz'}}\n", "experiments.a.dataset: "),
        ("  a: {notebook: 00_data, set: {dataset: 'folder:no'}}\n", "experiments.a.dataset: "),
        (
            "  a: {notebook: 00_data, set: {dataset: phantom, size: 300}}\n",
            "experiments.a.size: 300",
        ),
        (
            "  a: {notebook: 02_probe, set: {init: pretrian}}\n",
            "experiments.a.init: no encoder pretrian: neither a file nor a run under",
        ),
        (
            "  a: {notebook: 00_data}\n  b: {notebook: 02_probe, set: {init: a}}\n",
            "experiments.b.init: a runs 00_data, which makes no encoder",
        ),
        (
            "  a: {notebook: 01_pretrain, set: {init: b}}\n"
            "  b: {notebook: 01_pretrain, set: {init: a}}\n"
            "  c: {notebook: 02_probe, set: {init: a}}\n",
            "experiments.a.init: b; b.init: a: a circle",
        ),
        ("  a: {notebook: 01_pretrain, set: {init: a}}\n", "experiments.a.init: a: a circle"),
    ],
)
def test_what_cannot_be_had_is_refused(lab: Any, experiments: str, line: str) -> None:
    [found] = refusal(lab, experiments)
    assert found.startswith(line)


def test_a_missing_file_is_named(lab: Any) -> None:
    [found] = refusal(lab, "  a: {notebook: 00_data, set: {dataset: 'csv:no/labels.csv'}}\n")
    assert "no/labels.csv: no such file" in found


def test_every_data_set_and_encoder_that_is_missing_is_told(lab: Any) -> None:
    experiments = """
  a: {notebook: 00_data, matrix: {dataset: [bloodmist, phantom, breastmist]}}
  b: {notebook: 02_probe, set: {init: nowhere}}
"""
    lines = refusal(lab, experiments)
    assert [line.partition(": ")[0] for line in lines] == [
        "experiments.a.dataset",
        "experiments.a.dataset",
        "experiments.b.init",
    ]


def test_a_broken_csv_or_encoder_is_refused(lab: Any) -> None:
    table = lab.write("picture,class\na.png,1\n", "labels.csv")
    broken = lab.write("not tensors", "encoder.safetensors")
    experiments = f"""
  a: {{notebook: 00_data, set: {{dataset: "csv:{table}"}}}}
  b: {{notebook: 02_probe, set: {{init: "{broken}"}}}}
"""
    first, second = refusal(lab, experiments)
    assert str(table) in first
    assert second.startswith(f"experiments.b.init: {broken}: not a safetensors file")


def test_no_trace_of_a_run_is_enough_for_an_encoder(lab: Any) -> None:
    for name in ("pretrain-a-s0-11111111", "pretrain-a-s1-22222222"):
        folder = lab.results / "other" / "runs" / name
        folder.mkdir(parents=True)
        (folder / "encoder.safetensors").write_bytes(b"")
    [found] = refusal(lab, "  b: {notebook: 02_probe, set: {init: pretrain-a}}\n")
    assert "fits several runs: pretrain-a-s0-11111111, pretrain-a-s1-22222222" in found


# Folds


FOLDS = "  pretrain: {notebook: 01_pretrain, set: {folds: 5}, matrix: {fold: [0, 1, 2, 3, 4]}}\n"


def test_a_matrix_over_folds_and_their_probes(lab: Any) -> None:
    data = lab.npz(n=90)
    runs = plan(
        lab,
        FOLDS + "  probe: {notebook: 02_probe, set: {init: pretrain}}\n",
        defaults=f'{{dataset: "{data}", cap_per_class: 40}}',
    )
    assert [r.params["fold"] for r in runs] == [0, 1, 2, 3, 4] * 2
    assert all(f"-f{r.params['fold']}-s0-" in r.name for r in runs)
    assert len({r.name for r in runs}) == 10
    for encoder, probe in zip(runs[:5], runs[5:], strict=True):
        assert probe.needs == (encoder.name,)
        assert [probe.params[k] for k in ("folds", "fold", "cap_per_class")] == [
            5,
            encoder.params["fold"],
            40,
        ]
    # 100 images, at most 40 of each of two classes, in five folds, an eighth of the rest as val.
    assert runs[0].images == {"train": 56, "val": 8, "test": 16}


@pytest.mark.parametrize("folds", [0, 5])
def test_unlabelled_images_are_neither_capped_nor_split(lab: Any, folds: int) -> None:
    counts, names = [], []
    for unlabelled in (0, 500):
        data = lab.npz(n=90, unlabelled=unlabelled)
        defaults = f'{{dataset: "{data}", cap_per_class: 40, folds: {folds}}}'
        feasible.cached_check.cache_clear()
        feasible.cached_describe.cache_clear()
        runs = plan(lab, "  a: {notebook: 01_pretrain}\n", defaults=defaults)
        counts.append(dict(runs[0].images))
        names.append(runs[0].name)
    assert counts[1] == {**counts[0], "unlabelled": 500}
    assert sum(counts[0].values()) == 80
    assert names[0] != names[1]


def test_more_folds_than_labelled_images_are_refused(lab: Any) -> None:
    data = lab.npz(unlabelled=500)
    settings = f'{{dataset: "{data}", folds: 100}}'
    [found] = refusal(lab, f"  a: {{notebook: 00_data, set: {settings}}}\n")
    assert "folds: 100, more than" in found


@pytest.mark.parametrize(("folds", "fold"), [(5, 5), (1, 1), (2, 99)])
def test_a_fold_that_is_not_there_is_refused(lab: Any, folds: int, fold: int) -> None:
    [found] = refusal(lab, f"  a: {{notebook: 00_data, set: {{folds: {folds}, fold: {fold}}}}}\n")
    assert found == f"experiments.a.fold: {fold} of {folds}; the first is 0"


def test_a_fold_without_folds_means_nothing(lab: Any) -> None:
    [run] = plan(lab, "  a: {notebook: 00_data, set: {folds: 0, fold: 3}}\n")
    assert "-f3-" not in run.name


# Transfer


def test_every_source_on_every_target(lab: Any) -> None:
    """`init` names pretrainings on some data sets, the matrix names others, or the same."""
    a, b = lab.npz("a.npz"), lab.npz("b.npz", seed=1)
    runs = plan(
        lab,
        f"""
  pretrain:
    notebook: 01_pretrain
    matrix: {{dataset: ["{a}", "{b}"], seed: [0, 1]}}
  transfer:
    notebook: {TRANSFER}
    set: {{init: pretrain}}
    matrix: {{dataset: ["{a}", "{b}"]}}
""",
    )
    sources, transfers = runs[:4], runs[4:]
    pairs = [(r.needs[0], r.params["dataset"], r.params["seed"]) for r in transfers]
    assert len(set(pairs)) == len({r.name for r in transfers}) == 8
    assert {(s.name, d, s.params["seed"]) for s in sources for d in (a, b)} == set(pairs)
    for run in transfers:
        source = next(s for s in sources if s.name == run.needs[0])
        foreign = source.params["dataset"] != run.params["dataset"]
        method = run.origin.method_on(run.params["dataset"])
        assert method.startswith("simclr from npz:") == foreign
        assert foreign or method == "simclr"


# What a notebook cannot do


def test_a_task_that_a_notebook_cannot_do_is_refused(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(feasible.REFUSED, ("00_data", "multi-label"), "there is a reason")
    experiments = "  a: {notebook: 00_data, matrix: {dataset: [chestmnist, retinamnist]}}\n"
    [found] = refusal(lab, experiments)
    assert found == "experiments.a.dataset: chestmnist is multi-label: there is a reason"
    assert len(plan(lab, experiments.replace("chestmnist", "phantom"))) == 2


def test_images_with_several_labels_cannot_be_balanced(lab: Any) -> None:
    experiments = """
  a:
    notebook: 01_pretrain
    set: {method: supcon, balanced_batches: true}
    matrix: {dataset: [chestmnist, retinamnist]}
"""
    [found] = refusal(lab, experiments)
    assert found == "experiments.a.balanced_batches: images of chestmnist have several labels"


def test_what_is_refused_is_refused_of_notebooks_that_exist_with_a_reason() -> None:
    kinds = {"binary", "multi-class", "ordinal", "multi-label"}
    for (notebook, task), reason in feasible.REFUSED.items():
        assert notebook in known_notebooks()
        assert task in kinds
        assert len(reason.split()) > 5


# Reports


@pytest.fixture
def report_notebook(lab: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A notebook that reads a summary, whatever notebooks there are."""
    known = {"summary": "", "metric": "auroc", "results": "", "study": "", "out": ""}
    monkeypatch.setattr(
        module,
        "notebook_defaults",
        lambda name: dict(known) if name in REPORT_NOTEBOOKS else notebook_defaults(name),
    )
    real = study_module.notebook_defaults
    monkeypatch.setattr(
        study_module,
        "notebook_defaults",
        lambda name: dict(known) if name in REPORT_NOTEBOOKS else real(name),
    )
    monkeypatch.setattr(identity, "code_fingerprint", lambda notebook: "code")
    return REPORT_NOTEBOOKS[0]


def test_a_report_comes_last_and_needs_everything(lab: Any, report_notebook: str) -> None:
    report = f"  report: {{notebook: {report_notebook}}}\n"
    *others, last = plan(lab, report + PRETRAIN)
    assert last.experiment == "report"
    assert set(last.needs) == {run.name for run in others}
    assert last.name.startswith("report-")
    assert last.params["study"] == "tiny"
    assert (last.work, last.synthetic, last.images) == (0, True, {})
    # It is another report when the study has another run, and the same under another title.
    more = PRETRAIN.replace("[0, 1]", "[0, 1, 2]")
    assert plan(lab, report + more)[-1].name != last.name
    assert plan(lab, PRETRAIN + report, title="Other")[-1].name == last.name
    assert {r.name for r in select([*others, last], ["report"])} == {last.name, *last.needs}


def test_a_report_on_a_summary_of_its_own_needs_nothing(lab: Any, report_notebook: str) -> None:
    head = "study,run,dataset,metric,value\n"
    summary = lab.write(f"{head}s,r,breastmnist,auroc,1\n", "summary.csv")
    report = f"  report: {{notebook: {report_notebook}, set: {{summary: '{summary}'}}}}\n"
    *_, run = plan(lab, PRETRAIN + report)
    assert (run.needs, run.synthetic, run.params["summary"]) == ((), False, str(summary))
    for dataset in ("phantom", "phantom-fundus"):
        lab.write(f"{head}s,r,{dataset},auroc,1\n", "summary.csv")
        *_, other = plan(lab, PRETRAIN + report)
        assert other.name != run.name
        assert other.synthetic
    summary.unlink()
    [found] = refusal(lab, PRETRAIN + report)
    assert found.startswith(f"experiments.report.summary: no {summary}")


# Names


def name_of(lab: Any, dataset: str = "phantom", **params: Any) -> str:
    body = ", ".join(f"{k}: {v}" for k, v in {"dataset": f'"{dataset}"', **params}.items())
    [run] = plan(lab, f"  a: {{notebook: 01_pretrain, set: {{{body}}}}}\n")
    return str(run.name)


def test_names_read_well_and_end_in_a_hash(lab: Any) -> None:
    name, _, mark = name_of(lab).rpartition("-")
    assert name == "pretrain-phantom-simclr-novel-s0"
    assert len(mark) == 8
    assert int(mark, 16) >= 0
    assert name_of(lab, size=32, seed=2).startswith("pretrain-phantom-32px-simclr-novel-s2-")
    assert name_of(lab, lab.npz("My Cells.npz")).startswith("pretrain-npz-my-cells-simclr-")


def test_a_name_changes_with_each_parameter_that_counts(lab: Any) -> None:
    changed: list[dict[str, Any]] = [
        {"temperature": 0.31}, {"epochs": 41}, {"lr": 2e-7}, {"seed": 11}, {"stem": "imagenet"},
        {"augment": "greyscale"}, {"size": 33}, {"precision": "bf16"}, {"split_seed": 11},
    ]  # fmt: skip
    names = [name_of(lab), *(name_of(lab, **params) for params in changed)]
    assert len(set(names)) == len(names)


def test_a_name_does_not_change_with_where_it_runs(lab: Any) -> None:
    assert name_of(lab) == name_of(lab, device="cpu") == name_of(lab, data_root="elsewhere")


def test_a_name_changes_with_the_data_and_not_with_their_place(lab: Any) -> None:
    one = name_of(lab, lab.npz("cells.npz"))
    (lab.folder / "moved").mkdir()
    assert name_of(lab, lab.npz("moved/cells.npz")) == one
    (lab.folder / "other").mkdir()
    assert name_of(lab, lab.npz("other/cells.npz", seed=1)) != one


def test_a_name_changes_with_the_code(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = name_of(lab)
    monkeypatch.setattr(identity, "code_fingerprint", lambda notebook: "other")
    assert name_of(lab) != one


def test_a_name_belongs_to_no_study_and_no_results_folder(lab: Any) -> None:
    experiments = PRETRAIN + "  probe: {notebook: 02_probe, set: {init: pretrain}}\n"
    names = [r.name for r in plan(lab, experiments)]
    path = lab.write(f"study: another\nexperiments:\n{experiments}", "another.yaml")
    other = plan_study(read_study(path), path, lab.folder / "elsewhere")
    assert [r.name for r in other] == names


def test_a_relative_path_is_found_from_the_current_folder(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = name_of(lab, lab.npz("cells.npz"))
    monkeypatch.chdir(lab.folder)
    assert name_of(lab, "npz:cells.npz") == whole


def test_an_encoder_of_an_earlier_run_counts_by_its_run(lab: Any) -> None:
    """Named by experiment, run, beginning of a run, folder or file, it is the same probe."""
    [encoder, probe] = plan(
        lab,
        "  pretrain: {notebook: 01_pretrain}\n"
        "  probe: {notebook: 02_probe, set: {init: pretrain}}\n",
    )
    folder = lab.results / "other" / "runs" / encoder.name
    folder.mkdir(parents=True)
    file = folder / "encoder.safetensors"
    used = {"run": encoder.name, "method": "simclr", "augment": "novel"}
    header = {"size": 28, "dataset": "phantom", "parameters": used, "commit": "abc"}
    save_encoder(file, build_encoder("resnet18", "strided", 3, seed=0), header)
    for init in (encoder.name, encoder.name[:-3], folder, file):
        [again] = plan(lab, f"  probe: {{notebook: 02_probe, set: {{init: '{init}'}}}}\n")
        assert again.name == probe.name
        assert again.params["init"] == str(file)
        assert again.needs == ()


# Selection


def names(runs: list[PlannedRun]) -> list[str]:
    return [f"{r.experiment}{r.params['seed']}" for r in runs]


def test_only_takes_what_fits_and_what_it_needs(lab: Any, chain: Path) -> None:
    runs = plan_study(read_study(chain), chain, lab.results)
    assert select(runs, []) == runs
    assert names(select(runs, ["probe"])) == ["pretrain0", "pretrain1", "probe0", "probe1"]
    assert names(select(runs, ["pre*"])) == ["pretrain0", "pretrain1"]
    assert names(select(runs, ["probe*-s1-*"])) == ["pretrain1", "probe1"]
    assert names(select(runs, ["data"])) == ["data0"]
    assert names(select(runs, [runs[-1].name])) == ["pretrain1", "probe1"]
    assert select(runs, ["finetune"]) == []
    assert names(select(runs, ["data", "probe*-s1-*"])) == ["data0", "pretrain1", "probe1"]


def test_what_fits_leaves_out_what_is_only_needed(lab: Any, chain: Path) -> None:
    runs = plan_study(read_study(chain), chain, lab.results)
    assert fitting(runs, []) == {run.name for run in runs}
    assert fitting(runs, ["probe"]) == {run.name for run in runs if run.experiment == "probe"}
    assert len(fitting(runs, ["probe*-s1-*"])) == 1
    assert fitting(runs, ["finetune"]) == frozenset()


def test_where_picks_runs_of_the_experiment_before(lab: Any) -> None:
    probe = "  probe: {notebook: 02_probe, set: {init: pretrain}, where: {seed: [1]}}\n"
    runs = plan(lab, PRETRAIN + probe)
    assert [r.params["seed"] for r in runs if r.experiment == "probe"] == [1]


@pytest.mark.parametrize(
    ("probe", "line"),
    [
        ("set: {init: pretrain}, where: {seed: 7}", "where: none of the 2 runs of pretrain fits"),
        ("set: {init: pretrain}, where: {seeed: 0}", "where.seeed: unknown key"),
        ("set: {init: pretrain}, where: {epochs: many}", "where.epochs: expected a whole number"),
        ("where: {seed: 0}", "where: picks runs of the experiment that init names"),
    ],
)
def test_where_that_cannot_be_is_refused(lab: Any, probe: str, line: str) -> None:
    [found] = refusal(lab, PRETRAIN + f"  probe: {{notebook: 02_probe, {probe}}}\n")
    assert found.startswith(f"experiments.probe.{line}")


# What a plan leaves behind


def test_digests_are_kept_of_a_plan_that_holds_and_not_of_a_refused_one(lab: Any) -> None:
    good = lab.npz()
    digests = lab.folder / "cache" / "digests"
    one = f"  a: {{notebook: 00_data, set: {{dataset: '{good}'}}}}\n"
    refusal(lab, one + "  b: {notebook: 00_data, set: {dataset: bloodmist}}\n")
    assert not digests.exists()
    feasible.cached_describe.cache_clear()
    plan(lab, one)
    [kept] = digests.glob("*.json")
    assert str(lab.folder / "cells.npz") in kept.read_text(encoding="utf-8")


def test_no_name_of_a_run_leads_out_of_its_folder(lab: Any) -> None:
    """Whatever data, variants and experiments are called, a run's folder is one plain name."""
    (lab.folder / ("x" * 200)).mkdir()
    long = lab.npz(f"{'x' * 200}/{'y' * 200}.npz")
    odd = lab.npz("..$(id)'`<b> ü.npz")
    for dataset in (long, odd):
        body = f'dataset: "{dataset}", variant: "../../<script>"'
        [run] = plan(lab, f'  "../../e": {{notebook: 01_pretrain, set: {{{body}}}}}\n')
        assert re.fullmatch(r"pretrain-[a-z0-9-]+-script-s0-[0-9a-f]{8}", run.name)
        assert len(run.name) < 200
