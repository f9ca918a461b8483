PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
LOCK := requirements.lock.txt
RUNTIME_LOCK := requirements.runtime.lock.txt
BUILD_LOCK := requirements.build.lock.txt
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
READY := .venv/ready

# Without bytecode each of pytest's processes would compile and rewrite all tests and plugins again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test unit check format audit defences mutate soak bench bench-peers bench-large release lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    verify a person on this machine, and print an address to log in at"
	@echo "make test    run all tests; what needs a program that is not here is skipped, and named at the end"
	@echo "make unit    run the tests that need neither a database nor a process: half a minute"
	@echo "make check   lint, types, import directions, dependency audit"
	@echo "make format  lay the code out, and mend what the linter can mend"
	@echo "make defences  take each defence of SECURITY.md out and see a test go red"
	@echo "make soak    log many users in for a minute while the provider misbehaves"
	@echo "make bench   measure how fast the service answers on this machine"
	@echo "make bench-peers  the same beside what somebody might build instead"
	@echo "make bench-large  the same with 10 million users and attempts in the database"
	@echo "make mutate  change core and use-cases in one spot at a time and see a test go red"
	@echo "make setup   make .venv from the lock file (the others do it by themselves)"
	@echo "make release  check that version, changelog and tag belong together"
	@echo "make lock    choose the newest versions again and write the lock files"

setup: $(READY)

$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: setup
	@$(BIN)/idv demo

test: setup
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit

audit: setup
	@$(BIN)/python -m tests.audit

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: setup
	$(BIN)/pytest tests/unit

# Version, changelog and tag must belong together.
release: setup
	@$(BIN)/python -m tests.release

# Takes each defence of SECURITY.md out, one at a time, and shows that a test notices. It takes some ten minutes.
defences: setup
	$(BIN)/python tests/defences.py

# Many logins at once while the provider misbehaves: SECONDS=600 make soak
soak: setup
	$(BIN)/python -m tests.soak

# Beside a raw answer of the same web server: ROUNDS=5 SECONDS=4 make bench, or a part of it: ONLY=status,callback
bench: setup
	@$(BIN)/python -m tests.bench

# The same beside what somebody might build or take instead; it needs Node for most of them.
bench-peers: setup
	@$(BIN)/python -m tests.bench.peers

# A PostgreSQL database with 10 million users and attempts beside a small one, some 15 GB: LARGE=100000 make bench-large
bench-large: setup
	@$(BIN)/python -m tests.bench.large

# Changes the core and the use-cases in one spot at a time, and shows the changes that no test notices. It may take hours.
mutate: setup
	$(BIN)/python tests/mutation.py

# The image is made from the second and the third: parts of the first, which holds every tool as well.
lock: setup
	$(COMPILE) --upgrade --group dev pyproject.toml -o $(LOCK)
	$(COMPILE) --constraint $(LOCK) pyproject.toml -o $(RUNTIME_LOCK)
	$(COMPILE) --constraint $(LOCK) --group build -o $(BUILD_LOCK)

clean:
	rm -rf .venv mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
