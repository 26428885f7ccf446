# `make` without a target lists all targets. They use .venv, which `run_tests.py` creates and updates.
PYTHON ?= python3
BIN := .venv/bin
UV := uv==0.13.9

.DEFAULT_GOAL := help
.PHONY: help venv run fmt lint types check test-fast test-client test test-full mutants lock sbom client

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## create or update .venv
	@$(PYTHON) run_tests.py --install >&2

run: ## start the whole service with run_server.py
	$(PYTHON) run_server.py

fmt: venv ## format the code and sort the imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

lint: venv ## check formatting, lint and bandit; changes no file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit --quiet --recursive app --severity-level medium

types: venv ## check types with mypy, strict
	$(BIN)/mypy

check: lint types test-fast ## lint, types and the quick tests: what a commit should pass, in two minutes

test-fast: venv ## run the quick tests alone
	$(BIN)/python -m pytest tests/unit --tier quick -q -n 2

test-client: venv ## run the tests of the client and its command line
	$(BIN)/python -m pytest tests/unit/client tests/integration/client -q -n 2

client: venv ## make what is generated in client/: one client of the other, the models of the OpenAPI document
	$(BIN)/python client/generate.py

test: ## run the default tier and write reports/index.html: what a change must pass
	$(PYTHON) run_tests.py

test-full: ## run everything, in parts: hours
	.ci/nightly

mutants: venv ## see that the tests notice each single break of the application in tests/mutants
	$(BIN)/python -m tests.mutants

# The result must not depend on this machine: its constraints and local wheels are ignored, and uv does not read pip's
# settings. Locked versions stay; `make lock UPGRADE=--upgrade` takes the newest that the direct dependencies allow.
COMPILE := env -u UV_CONSTRAINT -u UV_OVERRIDE -u UV_FIND_LINKS .data/lock/bin/uv pip compile --quiet --no-config \
	--universal --python-version 3.11 --only-binary :all: --emit-build-options --generate-hashes \
	--custom-compile-command 'make lock'

lock: ## write requirements.lock (of the image), requirements-full.lock (of -full), requirements-dev.lock (the rest), and two more
	$(PYTHON) -m venv --clear .data/lock
	.data/lock/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: $(UV)
	sed '/^# ----/,$$d' requirements.txt | $(COMPILE) $(UPGRADE) --output-file requirements.lock -
	sed '/^# ---- not/,$$d' requirements.txt | \
		$(COMPILE) $(UPGRADE) --constraint requirements.lock --output-file requirements-full.lock - \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock)
	sed '/^-e /d' requirements.txt | \
		$(COMPILE) $(UPGRADE) --constraint requirements.lock --constraint requirements-full.lock \
		--output-file requirements-dev.lock - \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock requirements-full.lock)
	sed -n 's/^requires = \["\(setuptools==[0-9.]*\)"\].*/\1/p' client/pyproject.toml | \
		$(COMPILE) --output-file client/build.lock -
	echo $(UV) | $(COMPILE) --output-file app/launcher/installer.lock -
	$(PYTHON) -c "from app.launcher.venv import *; print(MARK + requirements_digest(open('requirements.txt').read()))" \
		>> requirements-dev.lock
	rm -r .data/lock

sbom: venv ## write reports/sbom.json: the image's packages as CycloneDX
	$(BIN)/python -m tests.report.sbom
