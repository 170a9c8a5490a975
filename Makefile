# Everything runs in a virtual environment of its own, made on first use from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.PHONY: help run demo test lint bench soak packages clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(RUNTIME): pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEV): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

run: $(RUNTIME) ## serve ./fleet.git, a frame every 10 s, metrics on 127.0.0.1:9464
	@exec $(BIN)/dreamcatcherd run

demo: $(RUNTIME) ## a fleet of plain-git workers against a throw-away repository
	@exec $(BIN)/dreamcatcherd demo

test: $(DEV) ## the whole test suite
	$(BIN)/python -m pytest -n auto --dist loadgroup tests

lint: $(DEV) ## ruff, mypy strict, import-linter
	$(BIN)/ruff check dreamcatcherd tests
	$(BIN)/ruff format --check dreamcatcherd tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV) ## ratios, measured in one run on this machine
	$(BIN)/python -m tests.bench

packages: ## as root: install the Debian packages that the end-to-end tests need
	@tests/e2e/install-packages.sh

soak: $(DEV) ## ten minutes of a real daemon under a real fleet, drawn in artifacts/soak.svg
	$(BIN)/python -m tests.soak

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
