# `make run` and `make test` need Python 3.11 or later and a package index; nothing else has to be installed.
.PHONY: run test test-faults-short test-faults test-compose simulate fmt benchmark clean

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
	$(BIN)/pytest -m "not alone" --ignore tests/faults --numprocesses $(JOBS) --dist worksteal
	$(BIN)/pytest -m alone --ignore tests/faults

# Apart from `make test`: it needs an engine, and takes some minutes.
test-compose: $(VENV)/.installed ## build the image, run the compose stack on a real Docker engine
	@docker info >/dev/null 2>&1 || { echo "error: make test-compose needs the docker command and an engine that it reaches" >&2; exit 1; }
	@docker compose version >/dev/null 2>&1 || command -v $${METRONOME_COMPOSE_COMMAND:-docker-compose} >/dev/null || { echo "error: make test-compose needs \`docker compose\` or docker-compose" >&2; exit 1; }
	METRONOME_COMPOSE=1 $(BIN)/pytest -s tests/compose

test-faults-short: $(VENV)/.installed ## a short form of each fault: about a minute
	$(BIN)/pytest tests/faults

# Each in full.
test-faults: $(VENV)/.installed ## kill, stop and cut off real processes, in full: most of an hour on two cores
	METRONOME_FAULTS=full $(BIN)/pytest --capture=no --durations=0 tests/faults tests/simulation/test_planted_bugs.py

SEEDS ?= 1000
FIRST_SEED ?= 0

simulate: $(VENV)/.installed ## simulate deployments under a virtual clock: make simulate SEEDS=100000
	@$(BIN)/python -m tests.simulation --seed $(FIRST_SEED) --seeds $(SEEDS) --jobs $(JOBS)

fmt: $(VENV)/.installed ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(VENV)/.installed ## measure: throughput of a stage, lateness of ticks, what many flows cost
	$(BIN)/python benchmarks/stage.py
	$(BIN)/python benchmarks/lateness.py
	$(BIN)/python benchmarks/many_flows.py --flows 40

clean: ## remove what was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
