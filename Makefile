# Everything a developer or a newcomer runs. Needs Python 3.11 or newer and make; it gets uv by itself.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),build/uv/bin/uv)

# Use the machine's certificate authorities, and never fetch a Python from elsewhere.
export UV_SYSTEM_CERTS ?= true
export UV_PYTHON_DOWNLOADS ?= never

RUN := $(UV) run --locked --no-sync
UNIT := $(RUN) pytest -n auto --dist loadfile -m "not node and not kube and not slow and not browser"

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r t d; do printf '  %-18s %s\n' "$$t" "$$d"; done

build/uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=... names another one." >&2; exit 1; }
	@echo "Getting uv $(UV_VERSION) ..."
	@$(PYTHON) -m venv build/uv || { echo "The venv module is missing (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@build/uv/bin/pip --quiet --disable-pip-version-check install uv==$(UV_VERSION)

.PHONY: setup
setup: $(filter build/%,$(UV)) ## Create .venv from the lock file
	@$(UV) sync --locked --quiet

.PHONY: demo
demo: setup $(if $(KUBE),cluster-binaries) ## Show what it does, against a stand-in of Harbor (KUBE=1: with a real API server)
	@$(RUN) harbor-cache demo $(if $(KUBE),--kube)

.PHONY: audit-sample
audit-sample: setup ## Write the page of an audit, of a fleet made for it, to build/audit.html
	@$(RUN) python -m tests.support.audit_sample build/audit.html

# Those that measure, or that start programs, have the machine for themselves.
.PHONY: test
test: setup cluster-binaries ## Run all tests that need no root, those with a real API server included
	@failed=0; $(UNIT) || failed=$$?; \
	$(RUN) pytest -m "(kube or slow or browser) and not node" || failed=$$?; exit $$failed

.PHONY: node-test
node-test: setup ## Run the tests with a real kubelet and containerd; needs root and some Debian packages
	@$(RUN) python -m tests.support.cluster.binaries --node
	@$(RUN) pytest -m node

# Of the tests that failed in the last run, once more; an error where none is known to have failed.
.PHONY: test-failed node-test-failed
test-failed:
	@$(RUN) pytest -m "not node" --last-failed --last-failed-no-failures none
node-test-failed:
	@$(RUN) pytest -m node --last-failed --last-failed-no-failures none

.PHONY: cluster-binaries
cluster-binaries: setup ## Find or build etcd and kube-apiserver; the last line is their directory
	@$(RUN) python -m tests.support.cluster.binaries

.PHONY: unit
unit: setup ## Run the quick tests only, side by side
	@$(UNIT)

.PHONY: reference-oracle
reference-oracle: setup ## Compare a million references with the library that the kubelet uses
	@REFERENCES=1000000 $(RUN) pytest -q -s -k many_references tests/image/test_reference.py

.PHONY: fuzz
fuzz: setup ## Send a hundred thousand damaged reviews; every patch must apply
	@REVIEWS=100000 $(RUN) pytest -q -s tests/fuzz

.PHONY: bench
bench: setup cluster-binaries ## Measure throughput, latency, memory and growth, beside another commit (BASE=); tables and build/benchmarks.json
	@$(RUN) python -m benchmarks $(if $(BASE),--base $(BASE)) $(if $(DOCS),--docs) $(if $(QUICK),--quick)

.PHONY: compare
compare: setup ## Do Pods and pipelines run, with and without a cache?  A real node; root; 40 minutes
	@$(RUN) python -m tests.support.cluster.binaries --node
	@$(RUN) python -m benchmarks.compare $(if $(DOCS),--docs)

.PHONY: faults
faults: setup cluster-binaries ## Break everything while Pods are created; a table and build/faults.json
	@$(RUN) python -m tests.faults $(if $(DOCS),--docs)

.PHONY: cert-manager
cert-manager: setup cluster-binaries ## Let cert-manager itself issue and renew the webhook's pair; the first time, minutes to build it
	@$(RUN) pytest -q -s tests/kube/cert_manager.py

.PHONY: promises
promises: setup ## Put faults into a copy of the code; the tests of docs/promises.md must notice each
	@$(RUN) python -m tests.promises

.PHONY: soak
soak: setup ## Send 300 reviews a second for 30 minutes (MINUTES=2: for two)
	@$(RUN) python -m benchmarks.soak --minutes $(or $(MINUTES),30)

# The name and the tag that the chart's defaults pull.
CHART := charts/harbor-cache-webhook
REPOSITORY ?= $(shell sed -n 's/^  repository: //p' $(CHART)/values.yaml)
VERSION := $(shell sed -n 's/^appVersion: "\{0,1\}\([^"]*\)"\{0,1\}$$/\1/p' $(CHART)/Chart.yaml)
IMAGE ?= $(REPOSITORY):$(VERSION)

.PHONY: image
image: ## Build the image with docker, podman or buildah (IMAGE=registry/name:tag), and say how to go on
	@sh deploy/build-image.sh '$(IMAGE)' '$(REPOSITORY)' '$(VERSION)'

.PHONY: version
version: # What a release's tag must say, behind a v.
	@echo '$(VERSION)'

.PHONY: dist
dist: setup ## Build wheel, sdist and packaged chart with their checksums; the same bytes each time
	@rm -rf dist
	@$(UV) build --quiet --no-build-isolation --out-dir dist
	@rm -f dist/.gitignore
	@$(RUN) python -m charts.package dist $(if $(DIGEST),--repository $(REPOSITORY) --digest $(DIGEST))

.PHONY: lint
lint: setup ## Check style, types, the direction of imports, and the workflows
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy
	@$(RUN) lint-imports
	@$(RUN) zizmor --quiet --offline .github

.PHONY: format
format: setup ## Format the code
	@$(RUN) ruff check --fix
	@$(RUN) ruff format

.PHONY: chart
chart: setup ## Write the parts of the chart's README and schema that come from other files
	@$(RUN) python -m charts.generate

.PHONY: clean
clean: ## Remove what was built here (the cluster binaries are cached elsewhere)
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
