# Every target sets up what it needs, once: a virtual environment in .venv from the hashed requirements, and this
# project in it. Nothing is installed outside this folder but Maven's own cache.

# The first Python that is new enough; another: make PYTHON=/path/to/python3.12 demo
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := schemas consumer bridge deploy
UV := build/lock/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.DEFAULT_GOAL := help
.PHONY: help setup demo sandbox test bench chaos soak lint format docs lock clean need-python need-java

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*##/  make \1\t/p' Makefile | expand -t 16

demo: need-java setup  ## Real brokers, five simulated clouds, the bridge: watch 200 devices upgrade (about 2 minutes)
	$(BIN)/python -m deploy.sandbox.demo

sandbox: need-java setup  ## Keep brokers and simulated clouds up, to start a bridge or write a consumer against
	$(BIN)/python -m deploy.sandbox

test: need-java lint  ## Everything a change must pass
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: need-java setup  ## Measure, and write build/bench.json
	$(BIN)/python -m tests.benchmarks

chaos: need-java setup  ## Kill the bridge again and again; nothing may be lost or told twice
	$(BIN)/python -m pytest -rA -m chaos tests/chaos

soak: need-java setup  ## Ten minutes of steady load, watching memory (SOAK_MINUTES=n for another time)
	$(BIN)/python -m pytest -s -m soak tests/chaos

lint: setup  ## Style, types, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/mypy --strict $(PACKAGES)
	$(BIN)/lint-imports --no-logo

format: setup  ## Bring the code into one form
	$(BIN)/ruff format

docs: setup  ## Write the generated parts of docs/ anew
	$(BIN)/python -m bridge.config.page docs/configuration.md
	$(BIN)/ota-bridge schemas export docs/schemas

lock: need-python $(UV)  ## Write requirements/*.txt anew: with hashes, for every platform; UPGRADE=1 takes new versions
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml requirements/dev.in -o requirements/dev.txt

clean:  ## Remove everything that was built here
	rm -rf .venv build dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: need-python .venv/.project

.venv/bin/python: | need-python
	$(PYTHON) -m venv .venv

.venv/.requirements: requirements/dev.txt | .venv/bin/python
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.venv/.project: pyproject.toml .venv/.requirements
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(UV): | need-python
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip --disable-pip-version-check --quiet install uv

need-python:
	@test -n "$(PYTHON)" || { echo "This needs Python 3.11 or newer, with its venv module." \
		"Debian, Ubuntu: apt install python3 python3-venv. macOS: brew install python@3.12." \
		"Another place: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module." \
		"Debian, Ubuntu: apt install python3-venv" >&2; exit 1; }

need-java:
	@version=$$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p'); test "$${version:-0}" -ge 17 || { \
		echo "This needs a Java development kit, version 17 or newer (javac): the sandbox runs the real brokers." \
		"Debian, Ubuntu: apt install openjdk-17-jdk-headless. macOS: brew install openjdk@17" >&2; exit 1; }
	@command -v mvn >/dev/null || { \
		echo "This needs Apache Maven (mvn): it fetches the brokers' jars, once." \
		"Debian, Ubuntu: apt install maven. macOS: brew install maven" >&2; exit 1; }
