# Everything runs in a dedicated virtual environment, created on first use from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
BOM := $(VENV)/bom
ENGINE ?= docker
# One more than the number of processors: much of the suite waits for time limits, frames and servers.
WORKERS ?= $(shell expr $$(nproc) + 1)
# `make mutate`: how many mutants to run, and which ones.
SAMPLE ?= 150
# Where `make deb` writes.
DIST ?= dist
# `make law`: how many sets of deltas for each property and hash seed. There are five properties and four seeds.
EXAMPLES ?= 600
SEED ?= 1
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' dreamcatcherd/__init__.py)
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command 'make lock'

.PHONY: help run demo check test lint bench packages lock dist sbom man deb image mutate law soak soak-hostile soak-lanes bench-lanes bench-shapes dashboard reference openapi pictures screenshots clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(RUNTIME): pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEV): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

run: $(RUNTIME) ## serve ./fleet.git, close a frame every 10 s, metrics on 127.0.0.1:9464
	@exec $(BIN)/dreamcatcherd run

demo: $(RUNTIME) ## run a fleet of plain-git workers against a temporary repository
	@exec $(BIN)/dreamcatcherd demo

check: lint ## run lint and the quick tests of the pure part, the law and the house rules, in less than a minute
	$(BIN)/python -m pytest -q -n auto --dist loadgroup -m "not slow" tests/core tests/tidy tests/law tests/pictures

test: $(DEV) ## run the complete test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests

lint: $(DEV) ## run ruff, mypy strict, import-linter
	$(BIN)/ruff check dreamcatcherd tests
	$(BIN)/ruff format --check dreamcatcherd tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV) ## measure ratios in one run on this machine
	$(BIN)/python -m tests.bench

packages: ## as root: install the Debian packages that the end-to-end tests need
	@tests/e2e/install-packages.sh

lock: $(DEV) ## update the pin of every library, with hashes, in requirements/ (for Python 3.11 and later)
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	echo hatchling | $(LOCK) -c requirements/dev.txt - -o requirements/build.txt

dist: $(DEV) ## write sdist, wheel, bill of materials and manual pages to dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	@$(MAKE) --no-print-directory sbom man

sbom: $(DEV) ## write dist/dreamcatcherd.cdx.json: the contents of an installation from requirements/run.txt (CycloneDX)
	$(PYTHON) -m venv --clear $(BOM)
	$(BIN)/python -m build --no-isolation --wheel --outdir $(BOM)/wheel
	$(BOM)/bin/python -m pip install --quiet --require-hashes --requirement requirements/run.txt
	$(BOM)/bin/python -m pip install --quiet --no-deps --no-index --find-links $(BOM)/wheel dreamcatcherd
	$(BOM)/bin/python -m pip uninstall --quiet --yes pip setuptools
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --output-reproducible --output-format JSON \
		--output-file dist/dreamcatcherd.cdx.json $(BOM)/bin/python

man: $(DEV) ## write dist/man/: a manual page for every command, generated from the help
	mkdir -p dist/man
	$(BIN)/python -m tests.manual dist/man

deb: $(DEV) ## write dist/dreamcatcherd_VERSION_amd64.deb, the package for Debian 12; VERSION=1.2.3 for another version
	$(BIN)/python -m tests.debian $(VERSION) $(DIST)

image: ## build the container image, with docker or ENGINE=podman, on another base with BASE=IMAGE@sha256:…
	$(ENGINE) build $(if $(findstring podman,$(ENGINE)),--format docker) $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$(VERSION) --tag dreamcatcherd:$(VERSION) .

mutate: $(DEV) ## run a sample of mutants of the core and the stages in ten minutes; SAMPLE=150 SEED=1
	$(BIN)/python -m tests.mutation --sample $(SAMPLE) --seed $(SEED)

law: $(DEV) ## run the law on EXAMPLES=600 generated sets for each property, under four hash seeds
	$(BIN)/python -m tests.law.run $(EXAMPLES)

soak: $(DEV) ## run a real daemon under a real fleet for ten minutes, drawn in artifacts/soak.svg
	$(BIN)/python -m tests.soak

soak-hostile: $(DEV) ## run every hostile shape next to eight honest workers for ten minutes
	$(BIN)/python -m tests.soak.hostile

soak-lanes: $(DEV) ## run a fleet over http with new lanes in every frame for ten minutes, drawn in artifacts/soak-lanes.svg
	$(BIN)/python -m tests.soak.lanes

bench-lanes: $(DEV) ## measure the cost of thousands of merged lanes for an idle poll and a close, over a path and over http
	$(BIN)/python -m tests.bench.lanes

bench-shapes: $(DEV) ## measure the cost of deltas of hostile shapes, compared with ordinary ones
	$(BIN)/python -m tests.bench.shapes

dashboard: $(DEV) ## regenerate config/grafana/dreamcatcherd.json from tests/dashboard
	$(BIN)/python -m tests.dashboard

reference: $(RUNTIME) ## regenerate docs/configuration.md from the structs that read the files
	$(BIN)/dreamcatcherd config reference > docs/configuration.md

openapi: $(RUNTIME) ## regenerate dreamcatcherd/web/openapi.json from the types that the API reads and answers with
	$(BIN)/python -m dreamcatcherd.web.openapi > $(VENV)/openapi.json
	mv $(VENV)/openapi.json dreamcatcherd/web/openapi.json

pictures: $(DEV) ## redraw docs/pictures/*.svg from their sources, and the sources that come from data
	$(BIN)/python -m tests.pictures

screenshots: $(DEV) ## draw the status page in every verdict and look in artifacts/page/
	$(BIN)/python -m tests.e2e.screenshots

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
