"""Why a run will run, which runs a plan has left behind, and what stays on the disk."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib import identity
from lib.batch.earlier import read_earlier
from lib.batch.locks import hold
from lib.batch.sizes import say_bytes, size_in_words, study_bytes
from lib.batch.spec import Outcome, Spec
from lib.identity import code_fingerprint, module_fingerprints, short_name
from lib.params import PARAMETERS

RunAll = Callable[..., int]


class Noting:
    """Stands in for papermill, and notes of a run what `lib.run` notes."""

    def __init__(self, fake: Any) -> None:
        self.fake, self.parts = fake, True

    def __call__(self, spec: Spec) -> Outcome:
        outcome: Outcome = self.fake(spec)
        params = {k: v for k, v in spec.params.items() if PARAMETERS[k].in_hash}
        params["dataset"] = short_name(params["dataset"])
        if spec.notebook == "02_probe":  # by the name of the run that made its encoder
            needs = [n for n in self.fake.started if n.startswith("pretrain-")]
            same = [n for n in needs if f"-s{params['seed']}-" in n]
            params["init"] = same[-1]
        heading = f"# {spec.name}\n# notebook {spec.notebook} · data {spec.data} · "
        heading += f"code {code_fingerprint(spec.notebook)} · commit abc\n"
        (spec.final / "params.yaml").write_text(heading + yaml.safe_dump(params), encoding="utf-8")
        if self.parts:
            file = spec.final / "metrics.json"
            content = json.loads(file.read_text(encoding="utf-8"))
            content["code"] = module_fingerprints(spec.notebook)
            file.write_text(json.dumps(content), encoding="utf-8")
        return outcome


@pytest.fixture
def noting(fake: Any, monkeypatch: pytest.MonkeyPatch) -> Noting:
    """Runs note what they are; no step is timed."""
    execution = Noting(fake)
    monkeypatch.setattr("lib.batch.runner.execute_in_process", execution)
    monkeypatch.setattr("lib.batch.session.Estimates", NoEstimates)
    return execution


class NoEstimates:
    def __init__(self, *_: object) -> None:
        self.seconds: dict[str, float] = {}
        self.missing: list[str] = []
        self.timed: dict[str, Any] = {}
        self.corrected: list[str] = []

    def total(self, *_: object) -> None:
        return None


def reasons(out: str) -> dict[str, str]:
    """What the plan says of each run to do, by the first word of its name and its seed."""
    found = {}
    for name, why in re.findall(r"^  to do  (\S+)  \((.*?)\)(?:  needs .*)?$", out, re.MULTILINE):
        seed = re.search(r"-s(\d)-", name)
        found[f"{name.partition('-')[0]}{seed[1] if seed else ''}"] = why
    return found


def dry(run_all: RunAll, chain: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert run_all(chain, "--dry-run", *more) == 0
    return capsys.readouterr().out


def test_never_run_forced_and_failed(
    lab: Any,
    noting: Noting,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set(reasons(dry(run_all, chain, capsys)).values()) == {"never run"}
    run_all(chain)
    assert reasons(dry(run_all, chain, capsys)) == {}
    forced = reasons(dry(run_all, chain, capsys, "--force"))
    assert len(forced) == 5
    assert set(forced.values()) == {"forced"}
    folder = lab.results / "tiny"
    [probe] = [n for n in noting.fake.started if n.startswith("probe") and "-s0-" in n]
    [tuned] = [n for n in noting.fake.started if n.startswith("pretrain") and "-s1-" in n]
    metrics = folder / "runs" / probe / "metrics.json"
    metrics.write_text(metrics.read_text(encoding="utf-8")[:20], encoding="utf-8")
    assert reasons(dry(run_all, chain, capsys)) == {
        "probe0": "its metrics.json is missing or damaged"
    }
    shutil.rmtree(folder / "runs" / probe)
    work = folder / "work" / probe
    work.mkdir()
    (work / "progress").write_text("epoch 3/40\n", encoding="utf-8")
    assert reasons(dry(run_all, chain, capsys)) == {"probe0": "broken off at epoch 3/40"}
    (work / "outcome.json").write_text('{"error": "ValueError: no"}', encoding="utf-8")
    assert reasons(dry(run_all, chain, capsys)) == {"probe0": "failed: ValueError: no"}
    with hold(folder, probe):
        assert " is at it" in reasons(dry(run_all, chain, capsys))["probe0"]
    shutil.rmtree(work)
    # An encoder that is not there any more is only made again where a run needs it.
    (folder / "runs" / tuned / "encoder.safetensors").unlink()
    assert set(reasons(dry(run_all, chain, capsys))) == {"probe0"}
    [other] = [n for n in noting.fake.started if n.startswith("probe") and "-s1-" in n]
    shutil.rmtree(folder / "runs" / other)
    found = reasons(dry(run_all, chain, capsys))
    assert found == {
        "probe0": "never run",
        "probe1": "never run",
        "pretrain1": "what it made is incomplete",
    }
    run_all(chain)
    assert noting.fake.started[5:] == [tuned, probe, other] or noting.fake.started[5:] == [
        probe, tuned, other
    ]  # fmt: skip


def test_what_has_changed_is_named(
    lab: Any,
    noting: Noting,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_all(chain)
    first = {n.partition("-")[0] + re.findall(r"-s(\d)-", n)[0]: n for n in noting.fake.started}
    found = reasons(dry(run_all, chain, capsys, "--set", "pretrain.epochs=3"))
    assert found["pretrain0"] == f"epochs changed: 2 → 3 since {first['pretrain0']}"
    assert re.fullmatch(
        rf"the encoder it needs changed: {first['pretrain0']} → "
        rf"pretrain-\S+ since {first['probe0']}",
        found["probe0"],
    )
    assert "data0" not in found
    lab.npz(seed=1)
    from lib.batch import feasible

    feasible.cached_describe.cache_clear()
    feasible.cached_check.cache_clear()
    found = reasons(dry(run_all, chain, capsys))
    assert found["data0"] == f"the data changed since {first['data0']}"
    assert found["probe1"].startswith("the encoder it needs changed: ")
    assert "the data changed" in found["probe1"]


def test_code_that_has_changed_is_named_by_its_module(
    lab: Any,
    noting: Noting,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_all(chain, "--only", "data")
    noting.parts = False
    run_all(chain, "--only", "pretrain-*-s0-*")
    real = identity.code_parts

    def edited(notebook: str, folder: Path = identity.NOTEBOOKS) -> dict[str, str]:
        return {**real(notebook, folder), notebook: "new", "lib.data.split": "new", "lib.new": ""}

    with monkeypatch.context() as patch:
        patch.setattr(identity, "code_parts", edited)
        identity.code_fingerprint.cache_clear()
        identity.module_fingerprints.cache_clear()
        found = reasons(dry(run_all, chain, capsys))
    identity.code_fingerprint.cache_clear()
    identity.module_fingerprints.cache_clear()
    assert found["data0"].startswith(
        "the notebook changed; code changed: lib.data.split, lib.new since data-"
    )
    assert found["pretrain0"].startswith("the code changed (that run did not note in what) since ")


def test_what_the_plan_has_left_behind_is_listed_and_goes_on_request_only(
    lab: Any,
    noting: Noting,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import run_all as command

    def clean(*more: str) -> str:
        capsys.readouterr()
        arguments = ["clean", str(chain), "--results", str(lab.results), *more]
        assert command.main(arguments) == 0
        return capsys.readouterr().out

    run_all(chain)
    assert "earlier" not in capsys.readouterr().out
    assert "nothing to remove" in clean()
    old = set(noting.fake.started)
    text = chain.read_text(encoding="utf-8").replace("epochs: 2", "epochs: 3")
    chain.write_text(text, encoding="utf-8")
    out = dry(run_all, chain, capsys)
    assert "4 earlier run(s) are not in this plan, " in out
    run_all(chain)
    out = capsys.readouterr().out
    assert "4 earlier run(s) are not in this plan, " in out
    assert f"they stay; `python run_all.py clean {chain}` lists what it would remove" in out
    assert "--yes" not in out  # a hint that is copied must remove nothing
    kept = {n for n in old if n.startswith("data")}
    assert all(f"  earlier  {name}" in out for name in old - kept)
    runs = lab.results / "tiny" / "runs"
    half = lab.results / "tiny" / "work" / "probe-half-done"
    half.mkdir()
    # Another study starts from one of them; a process is at another.
    used, busy = sorted(n for n in old if n.startswith("pretrain"))
    other = lab.finish("probe-x", study="other")
    (other / "params.yaml").write_text(f"init: {used}\n", encoding="utf-8")
    before = lab.files()
    out = clean()
    assert lab.files() == before
    assert "4 to remove, " in out
    assert re.search(rf"kept    {used}  \d\.\d kB  other/probe-x starts from it", out)
    with hold(lab.results / "tiny", busy):
        out = clean("--yes")
    assert "3 of 4 removed" in out
    assert f"left    {busy}: process " in out
    assert {p.name for p in runs.iterdir()} & old == kept | {used, busy}
    assert not half.exists()
    assert "1 of 1 removed" in clean("--yes")
    assert run_all(chain) == 0
    assert "5 already done" in capsys.readouterr().out


def test_clean_refuses_what_a_study_refuses(lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import run_all as command

    path = lab.write("study: tiny\nexperiments: {a: {notebook: 99_none}}\n")
    assert command.main(["clean", str(path), "--results", str(lab.results)]) == 2
    assert "experiments.a." in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        command.main(["clean"])
    assert caught.value.code == 2


def test_what_is_kept_of_a_study(
    lab: Any,
    noting: Noting,
    run_all: RunAll,
    chain: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = chain.read_text(encoding="utf-8")
    chain.write_text(f"keep: reports\n{text}", encoding="utf-8")
    assert run_all(chain, "--only", "pretrain") == 0
    out = capsys.readouterr().out
    assert re.search(r"^on the disk: .*encoders 2\.0 kB", out, re.MULTILINE)  # needed later
    assert {spec.drop for spec in noting.fake.specs} == {("checkpoints", "logs")}
    assert run_all(chain) == 0
    assert "encoders" not in capsys.readouterr().out
    assert run_all(chain) == 0
    assert "5 already done" in capsys.readouterr().out
    chain.write_text(f"keep: everything\n{text}", encoding="utf-8")
    assert run_all(chain) == 2
    assert "keep: expected one of all, encoders, reports" in capsys.readouterr().err


def test_sizes_by_kind(lab: Any) -> None:
    folder = lab.finish("probe-a")
    for name, count in (
        ("encoder.safetensors", 5000), ("logs/csv/metrics.csv", 300), ("run.log", 100),
        ("checkpoints/last.ckpt", 7000), ("predictions.csv", 2000),
    ):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(count))
    sizes = study_bytes(lab.results / "tiny", ["probe-a", "probe-a", "missing"])
    assert list(sizes)[:2] == ["checkpoints", "encoders"]
    assert (sizes["checkpoints"], sizes["encoders"], sizes["logs"]) == (7000, 5000, 400)
    assert sum(sizes.values()) == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert say_bytes(sizes).startswith("14 kB: checkpoints 7.0 kB, encoders 5.0 kB, ")
    assert say_bytes({}) == "0 bytes"
    assert [size_in_words(n) for n in (0, 999, 1000, 45e6, 1.25e9)] == [
        "0 bytes", "999 bytes", "1.0 kB", "45 MB", "1.2 GB"
    ]  # fmt: skip


def test_a_published_run_from_before_can_be_read() -> None:
    study = Path(__file__).parents[2] / "results" / "first_light"
    names = [path.name for path in (study / "runs").iterdir()]
    assert names
    for name in names:
        found = read_earlier(study, name)
        assert found is not None
        assert found.parts == {}
        assert found.notebook in ("00_data", "01_pretrain", "02_probe")
        assert found.params["dataset"]
