# A handful of verbs. `make run` on a fresh machine: install, then the whole chain.
PYTHON ?= python3.11
ifeq (,$(shell command -v $(PYTHON)))
PYTHON := python3
endif
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

.PHONY: help setup run test test-all lint types dag docs bench peers lock clean-runs

help:  ## What the verbs do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## Make .venv from the pinned lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "synthct needs Python 3.11 (zarr 3.1.6 is the last for it), got $$($(PYTHON) --version); set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

run: setup  ## The whole chain on the embedded cohort
	synthct run --cluster local

lint: setup  ## ruff (style, likely mistakes) and import-linter (who may import whom)
	ruff check .
	ruff format --check .
	lint-imports

types: setup  ## mypy, strict
	mypy

# Two processes, one a core: the chain's clones and the flow's server in one, the rooms in the other.
define pytest
	@mkdir -p .synthct; OMP_NUM_THREADS=1 pytest $(1) tests/chain tests/flows > .synthct/test-chain.log 2>&1 & chain=$$!; \
	OMP_NUM_THREADS=1 pytest $(1) --ignore=tests/chain --ignore=tests/flows; rooms=$$?; \
	wait $$chain; chain=$$?; cat .synthct/test-chain.log; exit $$((rooms > chain ? rooms : chain))
endef

test: lint types  ## Lint, types, tests (under 15 minutes on 2 cores)
	$(call pytest,)

test-all: lint types  ## Also the tests that take minutes each
	$(call pytest,-m "")

dag: setup  ## Render dvc.yaml from tasks/chain/table.py
	python -m synthct.tasks dag

docs: setup  ## The documentation site, in build/site; works without a server
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --clean

bench: setup  ## Speed and memory, as ratios in one run; writes docs/benchmarks/
	python -m benchmarks

peers:  ## Make .venv-peers: other people's tools, which benchmarks measure beside ours
	./infra/local/peers.sh

lock: setup  ## Write requirements.lock anew from pyproject.toml
	./infra/local/lock.sh
