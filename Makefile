# Sets up a virtual environment with the pinned versions, and runs what the README names.
# Needs Python 3.11 or newer and a package index.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?= demo
# Most tests wait for processes that they started, so two run at once even on few cores.
WORKERS ?= 2
# What "make dev" installs in a new environment. EXTRAS=dev,cuda,ray adds Triton and Ray, which some tests need.
EXTRAS ?= dev
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help serve dev test test-slow test-gpu check lint types format docs clean

help:
	@echo "make serve      serve on $(HOST):$(PORT) with MODEL=$(MODEL)"
	@echo "make dev        a virtual environment in $(VENV) with everything"
	@echo "make test       the tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make test-gpu   the tests that need a CUDA device"
	@echo "make check      lint, types and tests: what must pass before a commit"
	@echo "make docs       the API reference, in build/reference"
	@echo "make format     rewrite the code in the project's format"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), which takes some minutes"

$(VENV)/service.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[service]'
	@touch $@

$(VENV)/dev.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@ $(VENV)/service.installed

serve: $(VENV)/service.installed
	exec $(BIN)/python -m service --host $(HOST) --port $(PORT) --model $(MODEL)

dev: $(VENV)/dev.installed

test: $(VENV)/dev.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: $(VENV)/dev.installed
	$(BIN)/python -m pytest -m 'slow and not gpu'

test-gpu: $(VENV)/dev.installed
	$(BIN)/python -m pytest -m gpu

lint: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.installed
	$(BIN)/mypy

check: lint types test

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev.installed
	$(BIN)/python -m docs.reference build/reference

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
