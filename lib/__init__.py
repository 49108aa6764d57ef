"""Contrastive pretraining on medical images: what the notebooks call.

Data flows one way: params → data → augment → encoder and loss → pretrain → embed → probe and
metrics → figures and findings → report. Import the module you need (`from lib.losses import
nt_xent`); heavy libraries load where they are used, so importing any of them is quick.
"""

import sys

__version__ = "0.1.0"


def _needs_an_environment() -> None:
    """Exit 2 with one line where a command was started by a Python without the packages."""
    from importlib.util import find_spec

    missing = [name for name in ("numpy", "pandas", "torch", "yaml") if find_spec(name) is None]
    if missing:
        print(
            f"{', '.join(missing)}: not installed for {sys.executable}. Type "
            "`source .venv/bin/activate` in this repository (`make demo` makes .venv), or "
            "`conda activate contrastive-medmnist`, then the same again",
            file=sys.stderr,
        )
        raise SystemExit(2)


# `python -m lib.…` has -m here while the package is imported.
if sys.argv and (sys.argv[0] == "-m" or sys.argv[0].endswith("run_all.py")):
    _needs_an_environment()
