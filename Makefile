# make help lists the targets. Everything happens in a virtual environment, .venv, beside this file.
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint reproduce check bench clean

PYTHON ?= python3
VENV ?= .venv
TABLE ?= nvil_mnist
PRESET ?= paper
SEEDS ?=
ONLY ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("vaebench needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  --config-settings editable_mode=compat -e '.[dev]'  # or beside a clone of this name Python would find its folder
	@touch $@

setup: $(STAMP) ## make the virtual environment and install vaebench with the tested versions

quickstart: $(STAMP) ## set up, then run the NVIL table on embedded digits (a few minutes, nothing to download)
	$(BIN)/vaebench run table=nvil_mnist preset=quick run.results=results/quick

test: $(STAMP) ## set up, then lint and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(STAMP) ## lint only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

reproduce: $(STAMP) ## train a real table: make reproduce TABLE=nvil_mnist SEEDS=0-4 [PRESET=paper] [ONLY="row=SBN 200"]
	$(BIN)/vaebench run table=$(TABLE) preset=$(PRESET) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(ONLY),--only "$(ONLY)")

check: $(STAMP) ## hold the estimators against exact answers on this machine
	$(BIN)/vaebench check

bench: $(STAMP) ## updates per second on this machine
	$(BIN)/vaebench bench

clean: ## remove the virtual environment and caches; results stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
