# Everything from a bare Python: `make demo`, `make test`, `make lab`, `make lint`, `make bench`.
# A virtual environment in .venv gets the packages of requirements.lock, each checked by its hash.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# In a container one is often root, which Jupyter refuses unless told that it is meant.
ROOT_OK := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help demo test lab lint bench lock clean

help:
	@echo "make demo   pretrain, probe, finetune, retrieve, report on the embedded synthetic data set (minutes, offline)"
	@echo "make test   lint, types and every test, the notebooks included"
	@echo "make lab    JupyterLab, opened on notebooks/README.md: what there is, and what to do first"
	@echo "make lint   ruff and mypy"
	@echo "make bench  performance, as ratios against something measured in the same run"
	@echo "make lock   renew requirements.lock from pyproject.toml"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "no virtual environment could be made (on Debian: apt-get install python3-venv)"; exit 1; }
	@# The installer itself comes from the lock too: its block of pinned hashes, for pip to check.
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@# Compiled once, here: every run starts a process, and not every machine lets Python cache bytecode.
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@# The project itself, in place; its build tool is in the lock, so nothing more is fetched.
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	@touch $@

demo: $(READY)
	$(BIN)/python run_all.py params/demo.yaml --jobs 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a worker: two threads each would wait for one another on two cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 30

# notebooks/.jupyter says which page it opens on, and that JupyterLab asks the net for no news.
lab: $(READY)
	JUPYTER_CONFIG_PATH="$(CURDIR)/notebooks/.jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
		$(BIN)/jupyter lab $(ROOT_OK)

bench: $(READY)
	$(BIN)/python -m bench.pretraining
	$(BIN)/python -m bench.augment
	$(BIN)/python -m bench.small_maps
	$(BIN)/python -m bench.losses
	$(BIN)/python -m bench.probe
	$(BIN)/python -m bench.bootstrap
	$(BIN)/python -m bench.overhead
	$(BIN)/python -m bench.cluster
	$(BIN)/python -m bench.scaling
	$(BIN)/python -m bench.retrieval
	$(BIN)/python -m bench.cost
	$(BIN)/python -m bench.table

lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
		pyproject.toml --group test -o requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build *.egg-info
