# The studio's commands. `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
# Tests wait for a third of their time: three fill two cores. Each process has its own PostgreSQL and Valkey.
PROCESSES ?= 3
PY := $(VENV)/bin/python
export STRICT

.DEFAULT_GOAL := help
.PHONY: help run test check proof bench lock python

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12   another Python (3.11 or newer)    STUDIO_PORT=8001 STUDIO_VAR=var2   a second copy"

run: $(VENV)/.run ## the whole studio on this machine; Ctrl-C stops it
	@$(PY) manage.py up

test: $(VENV)/.dev tests/clients/node_modules/.made check ## lint, types and every test; STRICT=1 skips nothing, PROCESSES=4 is faster on more cores
	@$(PY) -m tests.needs
	@$(PY) -m pytest -q -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
	@$(PY) -m tests.proofs.stale

check: $(VENV)/.dev ## ruff, mypy and the layers, in seconds
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/qwenstudio/test_layers.py

proof: $(VENV)/.dev ## the long figures into docs/proofs/ (NAMES="one two" for some)
	@$(PY) -m tests.proofs $(NAMES)

bench: $(VENV)/.dev ## side-by-side benchmarks into benchmarks/results/ (NAMES="one two" for some)
	@$(PY) -m benchmarks $(NAMES)

lock: $(VENV)/.dev ## pin the whole tree anew (UPGRADE=--upgrade for newer versions)
	@$(PY) deploy/lock.py $(UPGRADE)

# ---- OpenAI's Node client and axe-core, for tests only; without npm they are skipped, as tests.needs says

tests/clients/node_modules/.made: tests/clients/package-lock.json
	@! command -v npm >/dev/null || { npm ci --silent --no-audit --no-fund --prefix tests/clients && touch $@; } || \
	  echo "npm could not install OpenAI's Node client and axe-core"

# ---- the virtual environment: installed again when a requirements file changes

$(VENV)/.run: requirements.txt | $(PY)
	@echo "Installing requirements.txt (a few minutes the first time)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt | $(PY)
	@echo "Installing requirements-dev.txt (a few minutes the first time)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.run

$(PY): | python
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old: install Python 3.11 or newer, or name one: make run PYTHON=python3.12"; \
	  exit 1; }
