# One command each; `make` alone lists them. All of them use .venv, which `run_tests.py` makes and keeps up to date.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv run fmt lint types test-fast test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## make .venv, or bring it up to date
	@$(PYTHON) run_tests.py --list >&2

run: ## the whole service, as run_server.py starts it
	$(PYTHON) run_server.py

fmt: venv ## format the code and sort its imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

lint: venv ## formatting and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: venv ## mypy, strict
	$(BIN)/mypy

test-fast: venv ## the unit tests: about a minute, no service needed
	$(BIN)/python -m pytest tests/unit -q

test: ## every suite, with the report in reports/index.html
	$(PYTHON) run_tests.py
