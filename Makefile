# Everything from nothing: Python (>= 3.10) and make are all that must be there.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
TOOLS := $(VENV)/tools
PYTEST = $(BIN)/python -m pytest --doctest-modules -n $(WORKERS)

NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed" if sys.version_info < (3, 10) else 0)'
version = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# A Python that is asked for, by `make check PYTHON=python3.12` or by the shell's own PYTHON, must be the environment's,
# which is made anew where it is not. If none is asked for, the environment that is there is used, whoever made it.
# Only what venv made is ever cleared: that holds a pyvenv.cfg.
MADE_BY_VENV = $(wildcard $(VENV)/pyvenv.cfg)
ifneq ($(and $(filter command environment,$(origin PYTHON)),$(MADE_BY_VENV)),)
FOUND := $(call version,$(BIN)/python)
ifneq ($(FOUND),$(call version,$(PYTHON)))
OTHER := other-python
endif
endif

.PHONY: demo test check venv lint types other-python

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

other-python:
	@$(NEW_ENOUGH)
	@echo "$(VENV) has Python $(or $(FOUND),that is gone), and $(PYTHON) is asked for: it is made anew"
	@$(PYTHON) -m venv --clear $(VENV)

# torch first and alone: beside other packages the resolver may take another build of it.
$(INSTALLED): setup.cfg setup.py pyproject.toml constraints.txt $(OTHER)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(NEW_ENOUGH) && $(PYTHON) -m venv $(if $(MADE_BY_VENV),--clear) $(VENV); }
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fast]'
	touch $@

# Tests, types and lint, which a demo can do without.
$(TOOLS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,fast]'
	touch $@
