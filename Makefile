# The two commands a newcomer needs: `make run` and `make test`. `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
# Whole files of tests go to each of several processes: one more than there are cores, since many tests wait.
WORKERS := --numprocesses=$(shell expr $$(nproc) + 1) --maxprocesses=5 --dist=loadfile --no-loadscope-reorder
PEERS := sh tests/interop/install_peers.sh

# The distribution's Python before others: it is an optimised build. `make PYTHON=...` chooses another.
PYTHON = $(or $(shell for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done),$(error No Python 3.11 or newer with its venv module was found \
	(on Debian: apt install python3-venv). Name one with make PYTHON=/path/to/python3))

# Some environments forbid Python to keep what it has compiled; the tests start hundreds of processes of it.
unexport PYTHONDONTWRITEBYTECODE

PIP = $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools

.PHONY: help run test check collect unit mutants soak peers bench dist clean
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

run: $(INSTALLED) ## set everything up and start a demo library in the foreground
	@mkdir -p var
	@$(BIN)/python -m refserver.app.certificates var/certs localhost >/dev/null
	@exec $(BIN)/python -m refserver.app.demo

test: ## run all checks and all tests, with coverage
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check peers collect
	$(BIN)/python -m pytest $(WORKERS) --cov --cov-report=term --cov-fail-under=90 $(PYTEST_ARGS)

check: $(TOOLS) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

collect: $(TOOLS) ## see that all tests can be collected; so they are compiled before several processes want it
	@$(BIN)/python -m pytest -qqq --collect-only $(PYTEST_ARGS) >$(VENV)/collected || { cat $(VENV)/collected; exit 1; }

unit: $(TOOLS) ## run the tests that need no server and no peer
	$(BIN)/python -m pytest -q tests/unit tests/property tests/docs $(PYTEST_ARGS)

mutants: $(TOOLS) ## put faults into copies of the source, and see that tests notice each; MODULES= and TESTS= for generated ones
ifdef MODULES
	$(PIP) install --quiet --editable '.[mutation]'
	$(BIN)/python -m tests.mutants.generated "$(MODULES)" "$(TESTS)"
else
	$(BIN)/python -m tests.mutants $(MUTANTS)
endif

soak: $(TOOLS) peers ## kill other servers in the middle of a conversation, again and again
	$(BIN)/python -m pytest -s tests/interop/test_federation_restarts.py tests/interop/test_stream_management.py --rounds $(or $(ROUNDS),20) $(PYTEST_ARGS)

peers: ## install the servers and clients the tests talk to (apt, as root only)
	@$(PEERS)

bench: $(INSTALLED) ## compare refserver with the peers that are installed
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

dist: $(TOOLS) ## build sdist and wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

clean: ## remove the environment, caches and built files, and leave var/ alone
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .*_cache .hypothesis twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	"$(PYTHON)" -m venv $(VENV)

# The stamps say what is installed; a changed pyproject.toml installs again.
$(INSTALLED): pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable .
	@touch $@

$(TOOLS): pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --editable '.[test,check]'
	@touch $@ $(INSTALLED)
