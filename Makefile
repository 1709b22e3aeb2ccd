# The same commands for a newcomer and for the tests' machine. Everything may be run again, and
# after being killed at any moment: each step looks at what is there and does what is missing.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv test test-long unit lint drill drill-mail live bench lab-packages packages test-packages root

BIN := .venv/bin
ROOMS := agent backup checks cli deploy inventories lab platforms recovery roles tools

help: ## say what there is
	@echo "make COMMAND, where COMMAND is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r c t; do printf '  %-14s %s\n' "$$c" "$$t"; done

venv: ## make .venv with .venv/bin/releve, from pinned dependencies
	@make/venv

packages: root
	@make/packages restic "copies, seen from the admin's side" openssh-client "reaches hosts"

lab-packages: root ## install the Debian packages that the lab needs
	@make/packages $$(python3 lab/requirements.py | while read -r p; do echo "$$p lab"; done)

# Tests find no program that comes from nowhere in this file (tests/programs_here.py).
test-packages: root ## install the Debian packages that the tests start on this machine
	@make/packages rclone "the repository's end, as its gate starts it" \
		curl "sees services as a browser would" openssl "makes and verifies certificates" \
		procps "looks for what was left running"

root:
	@if [ "$$(id -u)" != 0 ]; then echo "This boots hosts on this machine and needs root: run it again with sudo." >&2; exit 77; fi

INVENTORY ?= inventories/lab.toml

drill: root venv packages lab-packages ## lose a datacenter on throwaway hosts, and bring everything back; INVENTORY=FILE: that of another house; RELEASE=trixie: on Debian 13
	@$(BIN)/releve drill "$(INVENTORY)" --lab --disaster $(if $(RELEASE),--release "$(RELEASE)")

drill-mail: ## the same with a mail server
	@$(MAKE) --no-print-directory drill INVENTORY=inventories/lab-mail.toml

test: root venv packages lab-packages test-packages ## every check and test, those on real hosts included, but the longest (root)
	@make/timed lint $(MAKE) --no-print-directory lint
	@make/timed "unit and contract tests" $(BIN)/python -m pytest -q -n auto --maxprocesses=4 tests/unit tests/contract
	@make/timed "tests with real programs and on real hosts" $(BIN)/python -m pytest -n 4 --no-loadscope-reorder tests/lab tests/programs tests/standin

test-long: root venv packages lab-packages test-packages ## the tests that take longest too: ten thousand mails in a loss, a rehearsal with mail (root)
	@RELEVE_TEST_LONG=1 RELEVE_TEST_MAILS=10000 \
	make/timed "mail, the long tests too" $(BIN)/python -m pytest -s --durations=10 tests/lab/test_mail.py
	@RELEVE_TEST_LONG=1 make/timed "the other long tests" $(BIN)/python -m pytest -m long tests/lab --ignore tests/lab/test_mail.py

unit: venv ## the tests that need no host and no root
	@make/packages openssh-client "makes keys"
	@make/timed "unit and contract tests" $(BIN)/python -m pytest -q -n auto --maxprocesses=4 tests/unit tests/contract

lint: venv ## style, types, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(ROOMS)
	@$(BIN)/lint-imports

# Variables beside HOST and KEY: docs/operations.md, "On a real YunoHost".
live: root venv packages lab-packages ## play the story on a YunoHost server of yours: HOST=root@… KEY=… [BLANK=root@…]
	@test -n "$(HOST)" -a -n "$(KEY)" || { echo "say which: make live HOST=root@ADDRESS KEY=FILE [BLANK=root@ADDRESS]. What is on them is lost." >&2; exit 64; }
	@RELEVE_LIVE_HOST="$(HOST)" RELEVE_LIVE_KEY="$(KEY)" RELEVE_LIVE_BLANK="$(BLANK)" \
	RELEVE_LIVE_DOMAIN="$(DOMAIN)" RELEVE_LIVE_INSTALLER="$(INSTALLER)" RELEVE_LIVE_INSTALLER_SHA256="$(INSTALLER_SHA256)" \
	RELEVE_LIVE_SERVICES="$(SERVICES)" RELEVE_LIVE_CA="$(CA)" RELEVE_LIVE_OFFER="$(OFFER)" \
	RELEVE_LIVE_OFFER_BROKEN="$(OFFER_BROKEN)" RELEVE_LIVE_KEEP="$(KEEP)" \
	$(BIN)/python -m pytest -s -x -m live tests/live

bench: root venv packages lab-packages test-packages ## measure against the tools that people would use instead (root)
	@$(BIN)/python -m bench
