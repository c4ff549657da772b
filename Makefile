# Epicrisis: every command does its own set-up first. Needs Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.epicrisis-setup
STATE  ?= .epicrisis

PATIENTS ?=
SEED     ?=
SYNTHEA  ?=
KEEP     ?=
PYTEST   ?=
BENCH    ?=
KILLS    ?=
SEEDS    ?=
PLANTED  ?=
SECONDS  ?=
FUZZ     ?=
FHIR     ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix bench faults sim fuzz planted requirements clean

help: ## list the commands
	@echo "Epicrisis. Commands:"
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'
	@echo "Examples: make demo PATIENTS=200 SEED=7 SYNTHEA=20 KEEP=1    make test PYTEST='-k referral -x'"

setup: $(STAMP) ## make .venv with every dependency, pinned and checked by hash

$(STAMP): deploy/requirements-dev.txt pyproject.toml
	@echo "setup: $(VENV) with the pinned dependencies (once; a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Epicrisis needs Python 3.11 or newer; say which with: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r deploy/requirements-dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## the whole way: servers, services, a simulated cluster, read models [PATIENTS= SEED= SYNTHEA= KEEP=1]
	@echo "demo: a simulated cluster through real Kafka and PostgreSQL"
	@$(BIN)/epicrisis demo $(if $(PATIENTS),--patients $(PATIENTS)) $(if $(SEED),--seed $(SEED)) $(if $(SYNTHEA),--synthea $(SYNTHEA)) $(if $(KEEP),--keep)

test: $(STAMP) ## run all tests on real servers, three at a time [PYTEST='-k word']
	@echo "test: pytest on servers of its own (EPICRISIS_TEST_INFRA=embedded|testcontainers|external)"
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST)

check: $(STAMP) ## formatting, lint, types, import rules
	@echo "check: ruff, mypy --strict, import-linter"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports

fix: $(STAMP) ## let ruff format and repair what it can
	@echo "fix: ruff"
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## the scoreboard: measure against peers on this machine, draw docs/explanation/scoreboard.md [BENCH= FHIR=]
	@echo "bench: the scoreboard, on this machine"
	@$(if $(FHIR),FHIR=$(FHIR) )$(BIN)/python -m bench $(BENCH)

faults: $(STAMP) ## kill -9, cut networks, full disks, dead brokers on real processes; prints what was lost [KILLS= SEED=]
	@echo "faults: real processes, on servers of their own"
	@$(BIN)/python -m tests.faults.processes $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

sim: $(STAMP) ## relay, worker, ledger, intake and parking on servers in memory that fail in every way [SEEDS= SEED=]
	@echo "sim: the production code, many lives; a seed that fails is printed with its command"
	@$(BIN)/python -m tests.faults.simulation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SEED),--seed $(SEED))

fuzz: $(STAMP) ## gate, intake, HL7 v2, MLLP and the HTTP door against inputs that nobody thought of [SECONDS= FUZZ=gate]
	@echo "fuzz: what fails is kept in tests/corpus/found, and run by every make test"
	@$(BIN)/python -m tests.fuzz $(FUZZ) --seconds $(or $(SECONDS),300)

planted: $(STAMP) ## break the code in many ways, one at a time, and see each one noticed [PLANTED=name]
	@echo "planted: each bug in a copy of this tree, with the test that must catch it"
	@$(BIN)/python -m tests.faults.planted $(PLANTED)

requirements: ## pin the dependencies again (needs uv; for maintainers)
	@echo "requirements: deploy/requirements*.txt from pyproject.toml"
	@uv pip compile -q pyproject.toml $(PINS) -o deploy/requirements.txt
	@uv pip compile -q pyproject.toml --all-extras -c deploy/requirements.txt $(PINS) -o deploy/requirements-dev.txt
PINS := --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header

clean: ## stop the local servers, remove .venv, the state folder and the caches
	@echo "clean: local servers, $(STATE), $(STATE)-test, $(VENV), caches"
	@if test -x $(BIN)/epicrisis; then for s in $(STATE) $(STATE)-test; do if test -d $$s; then EPICRISIS_STATE=$$s $(BIN)/epicrisis down; fi; done; fi
	@rm -rf $(STATE) $(STATE)-test $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
