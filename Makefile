.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PYTEST = $(BIN)/python -m pytest

.PHONY: help install run test check bench sim chaos clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: .venv/installed ## Make .venv with hasty and all it needs, at pinned versions

# The stamp is newer than what it was made from, so nothing is installed twice.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hasty needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[server,embedded,dev]'
	@touch $@

run: install ## Start everything on this machine; Ctrl-C stops it
	@exec $(BIN)/hasty up

# Four at once: what starts Ray; what waits for MongoDB, at times that matter; and twice what only
# computes, whenever nobody else does.
test: install ## Run the whole test suite
	@trap 'kill $$stores $$sim $$unit 2>/dev/null; wait' INT TERM; \
	$(PYTEST) tests/contract tests/outage >.test-stores.log 2>&1 & stores=$$!; \
	nice -n 19 $(PYTEST) --timeout=1200 tests/sim >.test-sim.log 2>&1 & sim=$$!; \
	nice -n 19 $(PYTEST) --timeout=1200 tests/unit >.test-unit.log 2>&1 & unit=$$!; \
	$(PYTEST) --timeout=400 --durations=8 tests/chaos tests/cluster tests/e2e tests/jobs tests/operating; failed=$$?; \
	for one in stores sim unit; do \
		eval wait \$$$$one; failed=$$((failed | $$?)); cat .test-$$one.log; rm .test-$$one.log; \
	done; \
	exit $$failed

check: install ## Lint, type-check, and check who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## Measure hasty against a bare Serve echo on this machine
	$(BIN)/python -m hasty.bench

sim: install ## Try many schedules: make sim N=20000; one again: make sim N=1 SEED=7
	@$(BIN)/python -m tests.sim.hunt $(or $(N),5000) $(or $(SEED),1)

chaos: install ## Break a running hasty at random and check its promises: make chaos MINUTES=2 SEED=1
	$(BIN)/hasty chaos --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

clean: ## Remove .venv and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
