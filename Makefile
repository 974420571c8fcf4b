# `make demo` and `make test` work as the first command on a fresh machine: both make the virtual environment first.

PYTHON ?= $(shell command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: help demo test lint bench clean
help: ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,s3]'
	@touch $@

demo: $(VENV)/installed ## Animate the demo catalog on this machine; results in demo/out
	$(RUN) jobs/demo.py

test: $(VENV)/installed ## Run the tests
	$(RUN) -m pytest

lint: $(VENV)/installed ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/installed ## Recompute the golden data of the released system and compare
	$(RUN) benchmarks/parity.py tests/golden/mimicmotion-tiny

clean: ## Remove the virtual environment and the demo's results
	rm -rf $(VENV) demo
