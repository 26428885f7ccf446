# One command each; `make` alone lists them. All of them use .venv, which `run_tests.py` makes and keeps up to date.
PYTHON ?= python3
BIN := .venv/bin
UV := uv==0.13.9

.DEFAULT_GOAL := help
.PHONY: help venv run fmt lint types test-fast test lock sbom

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## make .venv, or bring it up to date
	@$(PYTHON) run_tests.py --list >&2

run: ## the whole service, as run_server.py starts it
	$(PYTHON) run_server.py

fmt: venv ## format the code and sort its imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

lint: venv ## formatting, lint and bandit, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit --quiet --recursive app --severity-level medium

types: venv ## mypy, strict
	$(BIN)/mypy

test-fast: venv ## the unit tests: about a minute, no service needed
	$(BIN)/python -m pytest tests/unit -q

test: ## every suite, with the report in reports/index.html
	$(PYTHON) run_tests.py

# Neither this machine's constraints nor wheels that lie on its disk may get in; uv reads none of pip's settings. Versions
# that stand in the file stay: `make lock UPGRADE=--upgrade` takes the newest of what the direct dependencies allow.
lock: ## requirements.lock anew: every package of the image, with the hashes of its files
	$(PYTHON) -m venv --clear .data/lock
	.data/lock/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: $(UV)
	sed '/^# ----/,$$d' requirements.txt | env -u UV_CONSTRAINT -u UV_OVERRIDE -u UV_FIND_LINKS .data/lock/bin/uv \
		pip compile --quiet --no-config --universal --python-version 3.11 --only-binary :all: --emit-build-options \
		--generate-hashes --custom-compile-command 'make lock' $(UPGRADE) --output-file requirements.lock -
	rm -r .data/lock

sbom: venv ## the image's packages as CycloneDX, in reports/sbom.json
	$(BIN)/python -m tests.report.sbom
