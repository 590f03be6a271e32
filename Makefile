# Everything a newcomer needs: make demo, make test. Both set up what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check lint format types imports unit bench nightly model screenshots clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv with every dependency, at the locked versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade-strategy only-if-needed -e '.[dev]'
	@touch $@

demo: setup  ## Run the main job: a pretend hospital, a real patient's MRI, the whole loop
	@$(BIN)/qfl demo $(DEMO)

test: setup check unit  ## All checks and all tests

check: lint types imports  ## Lint, types and architecture

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-cache

# Two processes; what needs no server first, with one thread each.
unit: setup
ifdef TESTS
	$(BIN)/python -m pytest $(TESTS)
else
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/contract
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/integration tests/e2e
endif

bench: setup  ## Measure: quantum layer, full-size study, federation engine, masking, ledger, auto-halt (about an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.quantum_layer --json docs/results/quantum-layer.json --plot docs/results/quantum-layer.png
	$(BIN)/python -m benchmarks.study_speed
	$(BIN)/python -m benchmarks.engine_overhead --json docs/results/engine-overhead.json --plot docs/results/engine-overhead.png
	$(BIN)/python -m benchmarks.secure_aggregation
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.auto_halt

nightly: setup  ## New examples for all properties; network against controls, federated against pooled, attacks, bias (many hours)
	HYPOTHESIS_PROFILE=explore OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/contract
	$(BIN)/python -m benchmarks.compare_arms
	$(BIN)/python -m benchmarks.compare_arms --real
	$(BIN)/python -m benchmarks.federated_learning
	$(BIN)/python -m benchmarks.privacy_attacks
	$(BIN)/python -m benchmarks.bias_correction
	$(BIN)/python -m benchmarks.interpretability

model: setup  ## Train the shipped model again, leaving each real subject out once (about 75 minutes on one CPU core)
	$(BIN)/python -m benchmarks.train_segmenter
	$(BIN)/python -m benchmarks.evaluation --runs build/segmenter/runs --evaluates "python -m benchmarks.train_segmenter"
	$(BIN)/python -m benchmarks.shipped_evaluation
	$(BIN)/python -m benchmarks.draw_segmenter_overlays

screenshots: setup  ## Make the pictures of docs/images again, from the demo's own pages (needs Chromium)
	$(BIN)/python -m docs.make_screenshots

clean:  ## Remove what the build and the demo made
	rm -rf $(VENV) var build dist *.egg-info
