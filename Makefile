# make demo   a mesh of real hosts on this machine, by Salt
# make test   all checks and tests; make test-unit and so on for one layer
# make dist   the archive of a release
# make test-all   the same, with what is seldom needed: the whole walk of roll-outs, a soak, the tests of the lab itself
SHELL := /bin/bash
PYTHON := /usr/bin/python3
VENV := .build/venv
BIN := $(VENV)/bin
PLANE ?= auto

.PHONY: help demo down setup test test-all lint test-unit test-functional test-integration test-scenarios test-releases test-kernel \
    test-rollout test-walk test-rig test-soak test-salts salts bench scale dist clean

help:
	@sed -n 's/^# //p' Makefile

setup: $(VENV)/.ready

$(VENV)/.ready: tests/requirements.txt tests/requirements-salt.txt lab/setup
	@lab/setup
	@mkdir -p .build
	@echo "== Python environment in $(VENV) (log: .build/venv.log)"
	@$(PYTHON) -m venv --clear $(VENV) && $(BIN)/pip install -q -r tests/requirements.txt >.build/venv.log 2>&1 \
	    || { tail -n 20 .build/venv.log; echo "FAILED: Python environment; log: .build/venv.log"; exit 1; }
	@touch $@

# Other releases of Salt, which tests run with
SALTS := 3006 3007
salts: setup $(SALTS:%=.build/venv-%/.ready)

.build/venv-%/.ready: tests/requirements-salt.txt
	@echo "== Python environment with Salt $* in .build/venv-$* (log: .build/venv-$*.log)"
	@$(PYTHON) -m venv --clear .build/venv-$* \
	    && .build/venv-$*/bin/pip install -q -r $< 'salt==$*.*' >.build/venv-$*.log 2>&1 \
	    || { tail -n 20 .build/venv-$*.log; echo "FAILED: Python environment; log: .build/venv-$*.log"; exit 1; }
	@touch $@

demo: setup
	@lab/demo $(PLANE)

down: setup
	@lab/lab down

## Three at a time, the longest first; each prints when it ends
test: salts
	@$(BIN)/python tests/run

## What `make test` leaves out is here as well: the whole walk of roll-outs, a soak, the tests of a lab that is unchanged
test-all: salts
	@$(BIN)/python tests/run --whole

test-integration: salts
	@$(BIN)/python tests/run integration

test-salts: salts
	@$(BIN)/python tests/run $(SALTS:%=salt-%)

lint test-unit test-functional test-scenarios test-releases test-kernel test-rollout test-walk test-rig test-soak: setup
	@$(BIN)/python tests/run $(@:test-%=%)

## All figures; `make bench scale` those of a fleet of thousands
bench: setup
	@$(BIN)/python tests/bench/bench.py $(filter scale,$(MAKECMDGOALS))

scale:
	@:

## The archive of a release, of what is committed; below .build/dist
dist: setup
	@$(BIN)/python tests/dist.py

clean: setup
	@lab/lab down
	rm -rf .build
