# Two commands on a fresh machine (Python 3.11+ and make, nothing else):
#
#   make demo    set up, then run the main job into polyad-demo/
#   make test    set up, then style, import rules, types and all tests

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto

BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq --constraint constraints.txt
SOURCES := src tests docs benchmarks scripts .ci

# one thread for each test worker and each small tensor: more only fight for the cores
test lint: export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs bench peers package clean distclean
.DELETE_ON_ERROR:

help:
	@echo 'make demo       the main job on built-in data: results in polyad-demo/'
	@echo 'make test       style, import rules, types and all tests'
	@echo 'make lint       the first three of these'
	@echo 'make docs       the documentation, warnings as errors: docs/_build/html'
	@echo 'make bench      the benchmarks: tables on the screen, CSV in benchmarks/results/'
	@echo 'make package    wheel and sdist in dist/, tried in an empty environment'
	@echo 'make peers      the peer libraries that some tests compare with'
	@echo 'make clean      remove what the commands above wrote; distclean removes $(VENV) too'

demo: setup
	$(BIN)/polyad lattice demo

test: lint
	$(BIN)/pytest -n $(WORKERS) --dist worksteal
	@echo 'test: style, import rules, types and tests pass'

lint: $(STAMPS)/dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: $(STAMPS)/docs
	rm -rf docs/api/_generated
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -W --keep-going --quiet --builder html docs docs/_build/html
	@echo 'docs: open docs/_build/html/index.html'

bench: $(STAMPS)/peers
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# ------------------------------------------------------------------ set-up: again only when a pin or a requirement changes

setup: $(STAMPS)/run
peers: $(STAMPS)/peers

$(STAMPS)/run: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Polyad needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || { echo 'setup: making $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@mkdir -p $(STAMPS)
	@echo 'setup: installing pip and torch (the largest download)'
	@$(INSTALL) pip
	@$(INSTALL) $$(head -n 1 constraints.txt)
	@echo 'setup: installing Polyad and what it needs at run time'
	@$(INSTALL) --build-constraint constraints.txt --editable .
	@touch $@

$(STAMPS)/dev $(STAMPS)/docs: $(STAMPS)/%: $(STAMPS)/run
	@echo 'setup: installing the group $*'
	@$(INSTALL) --group $*
	@touch $@

$(STAMPS)/peers: $(STAMPS)/run
	@echo 'setup: installing the groups peers and browser'
	@$(INSTALL) --group peers --group browser
	@touch $@

# ------------------------------------------------------------------ what a user installs: into an empty environment, with pins

package: $(STAMPS)/dev
	rm -rf dist build/empty
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt $$(head -n 1 constraints.txt) dist/*.whl
	cd build && empty/bin/polyad --version && empty/bin/polyad systems
	cd build && empty/bin/python -c 'import importlib, pkgutil, polyad; assert "empty" in polyad.__file__; [importlib.import_module(m.name) for m in pkgutil.walk_packages(polyad.__path__, "polyad.") if m.name != "polyad.__main__"]'

# ------------------------------------------------------------------ tidying up

clean:
	rm -rf polyad-demo polyad-claims build dist docs/_build docs/api/_generated src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests docs benchmarks .ci -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
