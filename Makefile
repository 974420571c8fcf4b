# `make demo` and `make test` work as the first command on a fresh machine: both make the virtual environment first.

# The first that runs and is of a version that the pinned packages have wheels for.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; \
	done)
VENV ?= .venv
RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

# Many containers tell Python not to write what it compiles: every process would compile anew all that it imports.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo test lint train-figures bench clean
help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.13 found; name one: make PYTHON=/path/to/python3 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# An older pip, as comes with Python, computes twice as long to choose among all that there is of each package. What
	@# is never imported need not be compiled.
	$(PIP) --upgrade pip
	@# setuptools warns of what an editable installation is.
	PYTHONWARNINGS=ignore $(PIP) --editable '.[dev,s3]'
	@# Whoever runs jobs where Python is told not to write what it compiles finds it written.
	$(RUN) -c 'import jobs.animate_catalog, jobs.extract_poses, jobs.train'
	@touch $@

demo: $(VENV)/installed ## Animate the demo catalog on this machine; results in demo/out
	$(RUN) jobs/demo.py

test: $(VENV)/installed ## Run the tests
	@# In the order of their names: else files of few tests come last, which are the longest, and one process waits.
	$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

FIGURES = runs/figures
TRAIN = $(RUN) jobs/train.py --model recipes/figures/model --motions $(FIGURES)/motions/train --threads 2 $(TRAIN_FLAGS)
train-figures: $(VENV)/installed ## Train the network that ships, three to six hours on two cores; goes on where it was stopped
	$(RUN) jobs/figure_motions.py $(FIGURES)/motions
	$(TRAIN) --recipe recipes/figures/vae-images.toml --output $(FIGURES)/vae-images
	$(TRAIN) --recipe recipes/figures/vae-clips.toml --vae $(FIGURES)/vae-images/export/vae --output $(FIGURES)/vae-clips
	$(TRAIN) --recipe recipes/figures/denoiser.toml --vae $(FIGURES)/vae-clips/export/vae --output $(FIGURES)/denoiser
	$(TRAIN) --recipe recipes/figures/denoiser-longer.toml --model $(FIGURES)/denoiser/export \
		--checkpoint $(FIGURES)/denoiser/export/mimicmotion.safetensors --output $(FIGURES)/denoiser-longer
	$(TRAIN) --recipe recipes/figures/denoiser-finish.toml --model $(FIGURES)/denoiser-longer/export \
		--checkpoint $(FIGURES)/denoiser-longer/export/mimicmotion.safetensors --output $(FIGURES)/denoiser-finish

bench: $(VENV)/installed ## Recompute the golden data of the released system and compare
	$(RUN) benchmarks/parity.py tests/golden/mimicmotion-tiny

clean: ## Remove the virtual environment and the demo's results
	rm -rf $(VENV) demo
