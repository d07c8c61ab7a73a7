# Every target makes the virtual environment it needs; a machine with Python 3.11-3.14, git and
# make is enough. PYTHON chooses the interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: setup demo test test-all test-gpu check format docs clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) "torch>=2.6"
	$(PIP) -e ".[fast,log]"
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) -e ".[fast,log,eval,dev]"
	touch $@

setup: $(VENV)/.ready-dev      ## everything for working on the package

demo: $(VENV)/.ready           ## predict held-out street scenes, print a table, write pictures
	$(BIN)/panoptic-deeplab demo

test: $(VENV)/.ready-dev       ## what every change must pass
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile

test-all: $(VENV)/.ready-dev   ## with the slow tests
	$(BIN)/python -m pytest -m "not gpu" -n 2 --dist loadfile

test-gpu: $(VENV)/.ready-dev   ## what a machine with CUDA can check beyond that
	$(BIN)/python -m pytest -m gpu tests/gpu

check: $(VENV)/.ready-dev      ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.ready           ## the generated tables of docs/models.md and docs/weights.md
	$(BIN)/panoptic-deeplab models --write docs/models.md
	$(BIN)/panoptic-deeplab weights list --write docs/weights.md

clean:
	rm -rf $(VENV) build dist src/*.egg-info
