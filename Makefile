# `make demo` and `make test` do everything from nothing but Python; the others are for those who change the code.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check
# A torch that is already in $(VENV) is kept; else the one of constraints.txt is installed. On Linux PyPI's is the CUDA build, of
# several GB; PIP_INDEX_URL or a torch installed beforehand choose another.
TORCH  := $(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) --constraint constraints.txt torch

.PHONY: demo test slow lint types docs bench quality clean

demo: $(VENV)/.demo                ## Train both families, compare them, write the report (under 5 minutes on 2 cores).
	$(BIN)/sfumato study studies/quickstart.toml --out runs/quickstart --jobs 2

test: $(VENV)/.dev                 ## Run the tests.
	$(BIN)/pytest -n 2 --dist loadgroup

slow: $(VENV)/.dev                 ## Run the tests that train for minutes.
	$(BIN)/pytest -m slow

lint: $(VENV)/.dev                 ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev                ## Check types.
	$(BIN)/mypy

docs: $(VENV)/.docs                ## Build the documentation into docs/_build.
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

bench: $(VENV)/.bench              ## Measure speed side by side with peers.
	$(BIN)/python -m benchmarks.train_step
	$(BIN)/python -m benchmarks.frechet
	$(BIN)/python -m benchmarks.startup

quality: $(VENV)/.bench            ## Train the defaults and the published forms on CIFAR-10 at 100,000 images (hours on 2 cores).
	$(BIN)/python -m benchmarks.restoration

clean:                             ## Remove the environment and everything built.
	rm -rf $(VENV) docs/_build build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Each stamp holds one set of extras; it is renewed when the project's requirements change.
$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(TORCH)
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(TORCH)
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[bench]'
	@touch $@
