# The commands of nano.ops. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PYTHONDONTWRITEBYTECODE := 1
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.requirements-$(shell sha256sum requirements.txt | cut -c1-12)
CHECK_PYTHON = $(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
	f"error: Python 3.11 to 3.13 is needed, $(PYTHON) is {v.major}.{v.minor}; name another with make PYTHON=python3.12 ...")'
RUN := PATH=$(CURDIR)/$(VENV)/bin:$$PATH

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.txt
	@$(CHECK_PYTHON)
	@echo "  - install the tools of requirements.txt into $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: apt install python3-venv, then again"; exit 1; }
	@$(VENV)/bin/pip install --quiet --requirement requirements.txt || { echo "error: pip cannot install requirements.txt; is there a network?"; exit 1; }
	@touch $@

venv: $(STAMP)

ready:
	@$(CHECK_PYTHON)
	@$(PYTHON) -m lab engine
	@$(MAKE) --no-print-directory venv
	@$(VENV)/bin/python -m lab image
	@$(VENV)/bin/python -m lab mirror

up: ready ## Bring the lab up: engine, image, mirror, hosts, site.yml
	@$(VENV)/bin/python -m lab up

test: ready ## Prove it: lint, unit tests, then the whole lab
	@$(VENV)/bin/python -m lab image --suite bookworm
	@$(VENV)/bin/python -m lab test

unit: venv ## Run the unit tests alone
	@$(RUN) pytest -n 2 --dist loadfile

application: venv ## Check the application's types and run its tests
	@$(VENV)/bin/python -m lab application

traffic: venv ## Send requests as people do: RATE=20 FOR=30 SEED=1
	@$(VENV)/bin/python -m lab traffic --rate $(or $(RATE),20) --seconds $(or $(FOR),30) --seed $(or $(SEED),1)

follow: venv ## Follow a request: ID=... shows its series, log lines and trace
	@$(if $(ID),,echo "error: which one? make follow ID=... (make traffic names some)"; exit 1)
	@$(VENV)/bin/python -m lab follow "$(ID)"

down: venv ## Take the lab away again, and only that
	@$(VENV)/bin/python -m lab down

clean: venv ## Take away what was made for it too: image, programs, secrets
	@$(VENV)/bin/python -m lab clean
	@rm -rf $(VENV)

bench: ready ## Measure site.yml on hosts made anew
	@$(VENV)/bin/python -m lab bench

bench-backup: venv ## Measure backups and restores against the bare programs
	@$(VENV)/bin/python -m lab bench-backup

check-upstream: venv ## Fetch and verify every release of the catalogue
	@$(VENV)/bin/python -m lab check-upstream

lint: venv ## Check style and types
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy lab plugins roles/backup/files/nano_backup
	@$(RUN) yamllint --strict .
	@$(RUN) ansible-lint --offline

.PHONY: help venv ready up test unit application down clean bench bench-backup check-upstream lint traffic follow
