# `make run` and `make test` need Python 3.11 or later and a package index; nothing else has to be installed.
.PHONY: run test check fmt clean benchmark

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

# Made once, and again whenever what is to be installed changes.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("metronome-worker needs Python 3.11 or later; name one: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

run: $(VENV)/.installed ## run the seed's application on the embedded server
	@$(BIN)/metronome run pipelines/every_second.troy
	@echo "out.log holds:" && cat out.log

test: $(VENV)/.installed ## check style and types, run the whole test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal

fmt: $(VENV)/.installed ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(VENV)/.installed ## measure: throughput of a stage, lateness of ticks
	$(BIN)/python benchmarks/stage.py
	$(BIN)/python benchmarks/lateness.py

clean: ## remove what was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
