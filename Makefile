# Two commands do all the set-up: `make demo` and `make test`. PYTHON picks the interpreter, 3.10 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo examples test lint fuzz mutants conformance lab notebooks docs lock screenshots clean

demo: $(VENV)/.installed
	$(BIN)/python sample_models/demo.py --out out/demo

# The files that the pages of the documentation work on.
examples: $(VENV)/.installed-dev
	$(BIN)/python -m tests.kit.examples out/examples

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

# Inputs of every kind with something wrong: make fuzz SECONDS=3600 FIRST=100000
SECONDS ?= 600
FIRST ?= 0
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) --first $(FIRST)

# Whether tests notice a place that is changed at random: make mutants FOLDER=calibration COUNT=100 SEED=1 MINUTES=90
FOLDER ?= recipe
COUNT ?= 100
SEED ?= 0
MINUTES ?= 60
mutants: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --editable '.[mutants]'
	$(BIN)/python tests/mutants/run.py $(FOLDER) --count $(COUNT) --seed $(SEED) --minutes $(MINUTES)

# Everything, done to ONNX's backend cases and the real models of ../shared: make conformance WITH="--check --docs"
WITH ?=
conformance: $(VENV)/.installed-dev
	$(BIN)/python -m tests.conformance $(WITH)

lab: $(VENV)/.installed-lab
	$(BIN)/jupyter lab notebooks --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate

notebooks: $(VENV)/.installed-dev
	$(BIN)/workbench notebooks run --out out/notebooks

# Results of the notebooks are in their pages where `make notebooks` has run.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs out/docs
	@echo open out/docs/index.html

# The versions that containers install, for every Python and system that the package is for; needs uv.
lock:
	uv pip compile pyproject.toml --extra lab --extra cluster --extra serve --universal --python-version 3.10 \
	  --no-annotate --no-header --no-emit-index-url --quiet --output-file requirements.lock

screenshots: $(VENV)/.installed-dev
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf $(VENV) out docs/notebooks

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-lab: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[lab]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,lean,rtx]'
	-$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/triton-server nvidia-pytriton==0.7.0 numpy==1.26.4
	@touch $@
