# The same commands locally and in CI. `make demo` and `make test` set up what they need first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint setup docs
.DEFAULT_GOAL := demo

setup: $(VENV)/ready

# Real runs belong to users, so the environment is rebuilt only when its inputs change.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/refine-eval run --limit 200

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test
	$(BIN)/refine-eval leaderboard --check
	$(BIN)/python benchmarks/findings --check

docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/public_api.py
	$(BIN)/python benchmarks/findings
