# The same commands locally and in CI. `make demo` and `make test` set up what they need first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ESLINT := eslint@9.39.1
# Each process that tests loads torch, so not one per core; a file's tests share fixtures, so they stay together, in the
# order of their names: xdist's own would begin the longest ones, of files with few tests, last.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test check coverage lint format setup docs site
.DEFAULT_GOAL := demo

# pip compiles modules one after the other, packages' own tests among them, which takes as long as unpacking them. A few
# packages hold files of other Pythons, which cannot be compiled and are never imported.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib || true

setup: $(VENV)/developing

# Real runs belong to users, so the environment is rebuilt only when its inputs change.
$(VENV)/running: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	$(COMPILE)
	touch $@

$(VENV)/developing: $(VENV)/running
	$(PIP) -e '.[dev,docs]'
	$(COMPILE)
	touch $@

demo: $(VENV)/running
	$(BIN)/refine-eval run --limit 200

test: setup
	$(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v npm > /dev/null && npm exec --yes --package=$(ESLINT) -- eslint --version > /dev/null 2>&1; \
	then npm exec --yes --package=$(ESLINT) -- eslint --max-warnings 0 'harness/refine_eval/results/pages/*.js'; \
	else echo "##### SKIPPED: $(ESLINT) is not available from npm here, so the pages' scripts were not linted. #####" >&2; fi

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint
	$(PYTEST)

coverage: setup
	$(PYTEST) --cov

docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/public_api.py
	$(BIN)/python docs/components.py
	$(BIN)/python benchmarks/findings

site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
