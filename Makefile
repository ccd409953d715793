# make demo: set up and watch a call.   make test: set up and run every check.   make lint: the checks without the tests.
VENV ?= .venv
# The first interpreter that runs and that MediaPipe 0.10.14 has a wheel for.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
DEMO_ARGS ?=

.PHONY: demo test lint format clean

demo: $(VENV)/base.stamp
	$(BIN)/visavis demo $(DEMO_ARGS)

# What works in real time has the machine to itself; the rest shares it, one thread a process.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -m "not realtime"
	$(BIN)/pytest -m realtime

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/python.stamp:
	@test -n "$(PYTHON)" || { echo "visavis needs Python 3.11 or 3.12 (make PYTHON=/path/to/python3.11)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/base.stamp: pyproject.toml | $(VENV)/python.stamp
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/python.stamp
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
