# Verbs for operators and developers. `make run` and `make test` are all that the README needs;
# CI calls the same verbs and nothing else. CONTRIBUTING.md says what each is for.
#
#   PYTHON=/path/to/python3    the interpreter that .venv is made from (3.11 or later)
#   ARGS="-k name -x"          further words for pytest, in unit, netns and bench; words for fuzz, vm

BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup setup-test setup-vm vm run install uninstall purge check test unit netns test-newer nightly bench fuzz fmt clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## install what the daemon needs, and netmgr into .venv
	@packaging/setup.sh run

setup-test: ## the same, and what the tests use
	@packaging/setup.sh test

run: setup ## root: set up, start a private netmgr and show the main job
	@$(BIN)/python -I packaging/demo.py

install: ## root: netmgr as a service of this host: /opt/netmgr, a systemd unit, the group netmgr
	@packaging/install.sh install

uninstall: ## root: take it away again, with its sandboxes; configuration and state stay
	@packaging/install.sh uninstall

purge: ## root: uninstall, and configuration, state and journal too
	@packaging/install.sh purge

check: setup-test ## format, lint, types, layers, unit and property tests: no root, about a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit tests/property tests/project $(ARGS)

test: check ## root: everything but the benchmarks and the long soak
	@packaging/test.sh

unit: setup-test ## the tests that need no root
	$(BIN)/pytest -q tests/unit tests/property $(ARGS)

netns: setup-test ## root: the tests on the real kernel
	$(BIN)/pytest -q tests/contract tests/netns $(ARGS)

setup-vm: ## root: what the VM tests need: Vagrant, libvirt, QEMU
	@packaging/setup.sh vm

vm: ## root: tests in machines of their own (Vagrant): the unit, reboot, disks, two hosts
	@packaging/setup.sh vm
	@vagrant/run-tests.sh --require $(ARGS)

test-newer: setup-test ## root: the tests of container engines with Debian 13's engines
	@packaging/newer.sh $(ARGS)

nightly: ## root: a real model engine (llama.cpp, built once) and browsers, in sandboxes
	@packaging/setup.sh nightly
	NETMGR_TEST_STRICT=1 $(BIN)/pytest -q tests/nightly $(ARGS)

bench: ## root: measurements beside their competitors; reports, never fails on a time
	@packaging/setup.sh bench
	$(BIN)/python tests/bench/run.py $(ARGS)

fuzz: setup-test ## fuzz the parsers, a minute each: ARGS="--target path --seconds 600"
	$(BIN)/python -I tests/fuzz/run.py $(ARGS)

fmt: setup-test ## put every file into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the verbs made
	rm -rf .venv .cache vagrant/.cache .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist build
