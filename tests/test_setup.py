"""The ways in agree: pyproject.toml, requirements.lock, environment.yml, Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def locked(python: str) -> dict[str, str]:
    """Versions pinned in the lock for one Python on Linux."""
    pins = {}
    for line in LOCK.splitlines():
        if not line or line[0] in " #":
            continue
        requirement = Requirement(line.removesuffix("\\").strip())
        environment = {"python_full_version": f"{python}.0", "python_version": python}
        environment |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
        if requirement.marker is None or requirement.marker.evaluate(environment):
            pins[canonicalize_name(requirement.name)] = str(requirement.specifier)
    return pins


def direct() -> list[Requirement]:
    return [Requirement(text) for text in PROJECT["project"]["dependencies"]]


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_lock_pins_every_dependency_within_its_range(python: str) -> None:
    pins = locked(python)
    for requirement in direct() + [
        Requirement(text) for text in PROJECT["dependency-groups"]["test"]
    ]:
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.removeprefix("==")), (requirement, pin)


def test_every_locked_package_has_hashes() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    assert len(blocks) > 100
    assert [b.splitlines()[0] for b in blocks if "--hash=sha256:" not in b] == []


def test_environment_yml_says_what_the_lock_says() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    pins = locked(python.removeprefix("python="))
    wanted = []
    for requirement in direct():
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        name = canonicalize_name(requirement.name)
        wanted.append(f"{name}{extras}{pins[name]}")
    packages = environment["dependencies"][-1]["pip"]
    assert packages == [*wanted, "-e ."]


def test_every_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:dependencies|test) = \[\n(.*?)^\]", text, re.S | re.M)
    assert len(lists) == 2
    for line in "".join(lists).splitlines():
        assert re.match(r'^ +"[^"]+", +# \S.{9,}', line), line


def test_makefile_has_the_commands_of_the_contract() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test", "lab", "lint", "bench"):
        assert re.search(rf"^{target}:", text, re.M), target


def test_importing_lib_is_quick_and_leaves_heavy_modules_alone() -> None:
    modules = sorted(
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in (ROOT / "lib").rglob("*.py")
    )
    # Lightning takes seconds to import; the modules that train are subclasses of its classes, and
    # the others here speak of what these return.
    needs_lightning = {
        "lib.evaluation.downsampling", "lib.evaluation.imbalance",
        "lib.evaluation.label_efficiency", "lib.evaluation.saliency", "lib.evaluation.selection",
        "lib.evaluation.transfer", "lib.figures.downsampling", "lib.figures.finetuning",
        "lib.figures.imbalance", "lib.figures.saliency", "lib.figures.selection",
        "lib.findings.finetuning", "lib.findings.imbalance", "lib.findings.pretraining",
        "lib.findings.selection", "lib.training.checkpoint", "lib.training.contrastive",
        "lib.training.diagnosis", "lib.training.finetune", "lib.training.finetune_module",
        "lib.training.further", "lib.training.pretrain", "lib.training.steps",
        "lib.training.trainer",
    }  # fmt: skip
    light = [m for m in modules if m not in needs_lightning]
    code = (
        "import sys, torch, importlib\n"
        f"for m in {light!r}: importlib.import_module(m)\n"
        "heavy = ['umap', 'seaborn', 'dask', 'distributed', 'pytorch_lightning', 'sklearn', "
        "'matplotlib', 'papermill', 'nbconvert', 'medmnist', 'torchvision', 'cv2']\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    ["run_all.py params/demo.yaml", "run_all.py clean params/demo.yaml", "-m lib.describe data",
     "-m lib.export RUN", "-m lib.features RUN data", "-m lib.batch.readme",
     "-m lib.batch.findings"],
)  # fmt: skip
def test_a_python_without_the_packages_is_told_so_in_one_line(command: str) -> None:
    # -S: without the environment's packages, as a terminal's Python is before `activate`.
    call = [sys.executable, "-S", *command.split()]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "torch" in line and "`source .venv/bin/activate`" in line
    name = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["name"]
    assert f"`conda activate {name}`" in line


def test_import_time_beyond_torch() -> None:
    # The best of several runs: a bound on the work of the import, not on this machine's load.
    code = "import torch, time; t = time.process_time(); import lib; print(time.process_time() - t)"
    best = min(
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(3)
    )
    assert best < 0.5, f"importing lib takes {best:.2f} s beyond torch"
