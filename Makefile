# Everything from nothing: Python (>= 3.10) and make are all that must be there.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
INSTALLED := .venv/installed
TOOLS := .venv/tools
PYTEST = $(BIN)/python -m pytest --doctest-modules -n $(WORKERS)

.PHONY: demo test check venv lint types

# The method on phantoms, end to end: writes runs/demo and tells where the report is.
demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py

# Everything, slow tests too.
test: venv lint types
	$(PYTEST)

# What to run before a commit.
check: venv lint types
	$(PYTEST) -m "not slow"

# One thread a worker: more threads than cores make small tensors slower, not faster.
test check: export OMP_NUM_THREADS := 1
test check: export OPENBLAS_NUM_THREADS := 1
test check: export MKL_NUM_THREADS := 1

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

venv: $(TOOLS)

# torch first and alone: beside other packages the resolver may take another build of it.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fast]'
	touch $@

# Tests, types and lint, which a demo can do without.
$(TOOLS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,fast]'
	touch $@
