# A handful of verbs. `make run` on a fresh machine: install, then the whole chain.
# A name on the PATH is not yet a Python (pyenv puts names of absent ones there), hence each is run.
ifndef PYTHON
PYTHON := $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c "" 2> /dev/null && echo $$name && break; done)
endif
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

.PHONY: help setup setup-dev run run-real test test-all lint types dag docs bench peers lock sbom

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.run  ## Make .venv with what a user needs, from the locks
setup-dev: $(VENV)/.dev  ## The same, and what tests, linters and docs need

$(VENV)/.run $(VENV)/.dev: $(wildcard locks/*.txt) pyproject.toml infra/local/install.sh
	PYTHON="$(PYTHON)" infra/local/install.sh $(VENV) $(subst .,,$(suffix $@))
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(VENV)/bin/python -m pip check
	touch $(VENV)/.run $@

run: setup  ## The whole pipeline on digital patients
	synthct run --cluster local

# The collection's names are public already, so its pseudonyms come from a public key: the preset's folds name them.
run-real: export SYNTHCT_PSEUDONYM_KEY := public-names-of-a-public-collection
run-real: SHARED := $(or $(SYNTHCT_SHARED_DATA),../shared/data)
run-real: setup  ## Real patients overnight: MR to CT on 24 of them (presets/sts51.yaml); resumes
	synthct ingest $(SHARED)/sts51 --dataset sts51 --licence "CC BY 3.0" \
	  --cite "Vallieres et al. 2015, Soft-tissue-Sarcoma, The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2015.7GO2GSKS"
	synthct forecast --preset sts51
	synthct run --preset sts51 --cluster local

lint: setup-dev  ## ruff (style, likely mistakes) and import-linter (who may import whom)
	ruff check .
	ruff format --check .
	lint-imports

types: setup-dev  ## mypy, strict
	mypy

# Two processes, one a core, each with about half of the work. The log of the one is printed after the other.
ONE := tests/chain tests/flows tests/tasks/ingestion tests/tasks/prediction
define pytest
	@mkdir -p .synthct; OMP_NUM_THREADS=1 pytest $(1) $(ONE) > .synthct/test-one.log 2>&1 & one=$$!; \
	OMP_NUM_THREADS=1 pytest $(1) $(addprefix --ignore=,$(ONE)); other=$$?; \
	wait $$one; one=$$?; cat .synthct/test-one.log; exit $$((other > one ? other : one))
endef

test: lint types  ## Lint, types, tests (under 15 minutes on 2 cores)
	$(call pytest,)

test-all: lint types  ## Also the tests that take minutes each
	$(call pytest,-m "")

dag: setup  ## Render dvc.yaml from tasks/chain/table.py
	python -m synthct.tasks dag

docs: setup-dev  ## The documentation site, in build/site; works without a server
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --clean

bench: setup-dev  ## Speed and memory, as ratios in one run; writes docs/benchmarks/
	python -m benchmarks

peers:  ## Make .venv-peers: other people's tools, which benchmarks measure beside ours
	./infra/local/peers.sh

lock: setup-dev  ## Rewrite locks/ from pyproject.toml; UPGRADE=1: the newest versions
	$(VENV)/bin/python infra/local/lock.py $(if $(UPGRADE),--upgrade)

sbom: setup-dev  ## Write dist/sbom/: CycloneDX bills of materials, one per lock
	infra/local/sbom.sh
