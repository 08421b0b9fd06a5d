# The few commands one needs in a checkout. `make` alone lists them.
#
#   make test FOLDER=plan    the tests of one folder of tests/; TESTS='-k name -x' goes to pytest
#   make bench               kokofast beside the floor in C, 200 links, some seconds (as root)

PYTHON ?= .venv/bin/python
FOLDER ?=
TESTS ?=

.PHONY: help setup lint format test all guest fuzz bench docs packages

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST))

setup:  ## Install what the tests need into .venv, system packages included
	python3 tests/run.py --no-lint --collect-only -q tests/test_layers.py

lint:  ## ruff and mypy, as CI runs them
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

format:  ## Format, and sort imports
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

test:  ## The tests, or those of one folder: make test FOLDER=plan
	$(PYTHON) -m pytest -q tests/$(FOLDER) $(TESTS)

all:  ## Everything CI does for one interpreter
	python3 tests/run.py

guest:  ## The kernel's tests on Linux 6.1, in User-mode Linux
	$(PYTHON) -m pytest -q tests/vm/test_guest.py

fuzz:  ## The fuzz targets, some seconds each
	$(PYTHON) -m pytest -q tests/fuzz tests/topology/test_fuzz.py

bench:  ## A quick comparison with the floor in C (as root)
	$(PYTHON) -m bench --links 200 --repeat 3

docs:  ## The site of the documentation, in build/site
	$(PYTHON) docs/site/build.py

packages:  ## Build the files of a release into dist
	$(PYTHON) -m tests.packages
