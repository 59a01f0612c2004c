# Bare `make` lists what there is. Everything runs in .venv, made on first use.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export LITELLM_LOCAL_MODEL_COST_MAP := True
# Where the environment forbids writing bytecode, each of the tests' processes would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-real test test-core test-long test-chaos fuzz check format measures constraints clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# What the gateway needs to run: enough for `make demo`.
$(VENV)/.runtime: constraints.txt pyproject.toml
	@deploy/scripts/make-venv "$(PYTHON)" "$(VENV)" constraints.txt
	@touch $@

# What the tests need as well, real servers and models included.
$(VENV)/.dev: constraints-dev.txt pyproject.toml tests/clients/package-lock.json
	@deploy/scripts/make-venv "$(PYTHON)" "$(VENV)" constraints-dev.txt
	@deploy/scripts/apt-tools redis-server:redis-server prometheus:prometheus promtool:prometheus chromium:chromium node:nodejs npm:npm
	@deploy/scripts/npm-clients tests/clients "$(VENV)/clients"
	@touch $@ $(VENV)/.runtime

# What the long tests need beyond that: command-line agents, and Grafana's types.
$(VENV)/.long: $(VENV)/.dev tests/clients/agents/package-lock.json tests/clients/types/package-lock.json
	@deploy/scripts/npm-clients tests/clients/agents "$(VENV)/agents"
	@deploy/scripts/npm-clients tests/clients/types "$(VENV)/types"
	@touch $@

setup: $(VENV)/.dev ## Install everything for development and tests

demo: $(VENV)/.runtime ## A gateway, simulated users, a promotion to watch (no key, no server)
	@$(BIN)/llmpo demo $(ARGS)

demo-real: $(VENV)/.dev ## The same on real language models, offline, on this machine's CPU
	@$(BIN)/python -m tests.e2e.real_models $(ARGS)

test: $(VENV)/.dev ## The test suite, on real components, in a process more than there are cores
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

# What a newer interpreter could break: every module imports, the algorithm, the store, requests and the command line.
test-core: $(VENV)/.dev ## The core of the suite, for a second interpreter: make test-core PYTHON=python3.13 VENV=.venv-3.13
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile tests/test_imports.py tests/llm_po tests/policy_store tests/gateway/app tests/gateway/cli tests/gateway/serving/test_*.py $(ARGS)

test-long: $(VENV)/.long ## Statistical, soak and image-building tests
	@$(BIN)/python -m pytest -m long --timeout 7200 $(ARGS)

test-chaos: $(VENV)/.dev ## Faults under load, then everything acknowledged compared: make test-chaos ARGS="--rounds 200"
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(VENV)/.dev ## A hundred thousand requests made up from the published OpenAPI document (some 15 minutes)
	@$(BIN)/python -m pytest -m long tests/gateway/api/openapi --timeout 3600 $(ARGS)

check: $(VENV)/.dev ## Format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pyright

format: $(VENV)/.dev ## Format code and pages, and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@git ls-files '*.md' | xargs $(BIN)/python -m benchmarks.pages

measures: $(VENV)/.runtime ## Measures of the code's form: lengths, names, documentation
	@$(BIN)/python -m benchmarks.measures $(ARGS)

constraints: $(VENV)/.runtime ## Pin all dependencies anew, with hashes
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -o constraints.txt $(ARGS)
	@$(BIN)/uv pip compile pyproject.toml --group dev -c constraints.txt --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -o constraints-dev.txt $(ARGS)
	@echo hatchling | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -q -o deploy/constraints-build.txt $(ARGS)

clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
