# Thinkreward: set-up, demo, checks. `make help` lists the targets.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

# Tests run beside each other, each with one thread: threads that wait for a core spin, and take it from the others.
WORKERS ?= 2
BESIDE := OMP_NUM_THREADS=1 THINKREWARD__RUNTIME__THREADS=1

# Nothing here reports home, and nothing is fetched but packages.
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo stack stack-down test test-fast test-all mutants fuzz lint types imports format base-model clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make the environment in .venv (again only if pyproject.toml or constraints.txt changed)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP) ## run the whole recipe on the embedded world: seven stages, minutes on two cores
	$(BIN)/thinkreward run

stack: $(STAMP) ## S3, MLflow, Prefect and workers on this machine, with the flows deployed: ready within a minute
	$(BIN)/thinkreward stack up

stack-down: ## end them, flow runs included; the data stays
	$(BIN)/thinkreward stack down

test: lint types imports ## lint, types, import direction, and all tests but the long ones and those that need a whole stack
	$(BESIDE) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"
	$(BESIDE) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow and not crash and not stack and not long"

test-fast: $(STAMP) ## the tests that take seconds
	$(BESIDE) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

test-all: test ## and those too: each stage killed twice and resumed, flows on real servers (half an hour more)
	$(BIN)/python -m pytest -m "crash or stack or long"

mutants: $(STAMP) ## whether the tests of the modules that decide notice a change of their code (about half an hour)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,mutants]'
	$(BIN)/python -m tests.proofs.mutants --show

fuzz: $(STAMP) ## ten minutes of spoiled verdicts, listings, media and requests; what is found is kept in build/fuzz
	$(BIN)/python -m tests.proofs.fuzz --minutes 10 --keep build/fuzz

lint: $(STAMP) ## ruff: faults and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

imports: $(STAMP) ## import-linter: the arrows and the doors
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff repair and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

base-model: $(STAMP) ## pretrain the tiny base model from nothing (about an hour)
	MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=8589934592 $(BIN)/python -m models.shapes.pretraining --out models/shapes/base

clean: ## remove caches; the environment and .thinkreward (your results) stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find configs deployments flows models tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +
