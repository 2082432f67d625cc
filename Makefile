# Every command a contributor needs. The environment is built once, from hashes, in .venv.

.DEFAULT_GOAL := help
.PHONY: help setup test django-tests browser chaos failover kills variety soak lint types docs build demo bench bench-quick matrix constraints clean

# Hundreds of processes are started, and without bytecode each of them compiles all of Django.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# uv installs the environment in a sixth of pip's time. It does not read pip's configuration, so where packages
# come from a mirror that only pip knows, pip installs them.
UV_INSTALL := UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --python $(BIN)/python
ARGS ?=
# One runner more than small machines have cores: tests with workers of their own wait for two thirds of their
# time. With two more, those that keep to a lease of a second or two would miss it now and then.
PYTEST ?= -n 3 --dist worksteal -q --ignore tests/browser --ignore tests/variety

# Candidates are run, not looked up: a launcher may stand on the path for a Python that is not there,
# and a distribution may leave out the parts that build environments.
CANDIDATES = $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
USABLE = import ensurepip, sqlite3, sys, venv; sys.exit(sys.version_info < (3, 11))
FIND_PYTHON = for python in $(CANDIDATES); do \
	if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then \
	echo 'No Python >= 3.11 with venv, ensurepip and sqlite3 among: $(CANDIDATES). Name one with PYTHON=...' >&2; \
	exit 1; fi

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r target text; do \
	printf '  make %-12s %s\n' "$$target" "$$text"; done

setup: .venv/stamp ## Create .venv with the package and all that its development needs.

.venv/stamp: pyproject.toml constraints.txt
	@$(FIND_PYTHON); "$$python" --version; "$$python" -m venv --clear .venv
	@sed -n '/^uv==/,/[^\\]$$/p' constraints.txt >.venv/uv.txt
	$(BIN)/python -m pip install -qq --no-compile --require-hashes -r .venv/uv.txt
	$(UV_INSTALL) -q --require-hashes -r constraints.txt || \
	$(BIN)/python -m pip install -qq --no-compile --require-hashes -r constraints.txt
	$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

test: setup ## Run the suite, on SQLite and PostgreSQL. PYTEST="-x tests/test_one.py" replaces the arguments.
	$(BIN)/python -m pytest $(PYTEST)

django-tests: setup ## Run Django's own tests of its Tasks framework on the package's backends.
	$(BIN)/python -m tests.django_suite $(ARGS)

browser: setup ## Run the tests of the admin in a browser: Chromium has to be there, or all of them are skipped.
	$(BIN)/python -m pytest -n 3 --dist worksteal -q tests/browser

chaos: setup ## Harm workers for ten minutes and check every job. ARGS="--seed 7" repeats a run.
	$(BIN)/python -m tests.proof chaos $(ARGS)

kills: setup ## Kill 1,000 workers in a stream of short jobs and check what counted. ARGS="--kills 100" kills fewer.
	$(BIN)/python -m tests.proof kills $(ARGS)

failover: setup ## Kill a primary server under load, promote its standby and count what was lost.
	$(BIN)/python -m tests.proof failover $(ARGS)

variety: setup ## Draw jobs, workers and trouble for ten minutes. ARGS="--seed 7 --draws 1" repeats a draw.
	$(BIN)/python -m tests.variety $(ARGS)

soak: setup ## Run 200,000 tasks in half an hour under kills, and measure what the workers hold.
	$(BIN)/python -m tests.proof soak $(ARGS)

lint: setup ## Check style, format and layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## Check types.
	$(BIN)/mypy

docs: setup ## Build the documentation; a warning is an error.
	$(BIN)/sphinx-build -W -n -q docs docs/_build

build: setup ## Build the sdist and the wheel in dist, and check what is in them.
	rm -rf dist
	$(BIN)/python -m hatchling build
	DISTRIBUTIONS=dist $(BIN)/python -m pytest -q tests/test_distribution.py

demo: setup ## See the queue at work. ARGS="..." is passed on.
	$(BIN)/python -m django_tasks_q demo $(ARGS)

bench: setup ## Measure speed beside the peers, for an hour or so. ARGS="--rows P1,P4" measures less.
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-quick: setup ## Measure speed beside django-tasks-db, within three minutes.
	$(BIN)/python -m tests.benchmarks --quick $(ARGS)

matrix: setup ## Run the suite on each supported pair of Python and Django.
	$(BIN)/nox -s tests

constraints: ## Pin the newest releases of all dependencies, with hashes, in constraints.txt.
	@$(FIND_PYTHON); scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	"$$python" -m venv "$$scratch" && "$$scratch/bin/pip" install -qq uv && \
	"$$scratch/bin/uv" pip compile --quiet --universal --python-version 3.11 --upgrade --group dev \
	--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command 'make constraints' \
	--output-file constraints.txt pyproject.toml

clean: ## Remove everything that the other targets made.
	rm -rf .venv .nox .bench .cache .hypothesis .*_cache build dist docs/_build media
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
