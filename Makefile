# Two commands on a fresh machine: make demo, make test. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable
# Most modules of torch and the others are never imported; those that are, Python compiles by itself,
# once, unless it is told not to keep the result.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.PHONY: demo test lint clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(TESTABLE): $(INSTALLED)
	$(PIP) --editable '.[test]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/lastkd demo

lint: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers auto

# A test file for each core at a time, each on one thread: more threads would only wait for each other.
# The limit holds for the runs that tests start, too, to which lastkd doesn't hand the number down.
# Files start in the order of tests/conftest.py; by itself xdist begins the ones with few, long tests last.
test: lint
	OMP_NUM_THREADS=1 OMP_THREAD_LIMIT=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --durations 20

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
