# Everything starts from a plain Python 3.11 to 3.13 and make; `make run` is all that is needed first.

SHELL := /bin/sh
PYTHON ?=
PORT ?= 8000
PY := .venv/bin/python
UV := $(PY) -m uv

.DEFAULT_GOAL := help
.PHONY: help run test test-all storm screenshots lint format types imports migrations check bench lock clean runtime development

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: runtime ## set up and run the whole platform on http://localhost:8000 (PORT=8001 make run)
	@exec env PORT="$(PORT)" $(PY) manage.py serve

test: development ## run the tests, on a database of their own
	@echo "Without the tests on RabbitMQ and in a browser, which are in make test-all."
	@$(PY) -m pytest $(ARGS)

test-all: development ## run all tests but the storm; root gets RabbitMQ and Chromium installed
	@.ci/packages
	@$(PY) -m pytest -m "not chaos and not pictures" $(ARGS)

storm: development ## 2,000 orders while workers are killed and frozen (CHAOS_SEED=7 CHAOS_SECONDS=120)
	@$(PY) -m pytest -m chaos -n 0 -s tests/chaos $(ARGS)

screenshots: development ## draw all pages at three widths, light and dark, into docs/images
	@.ci/packages
	@$(PY) -m pytest -m pictures -n 0 tests/browser $(ARGS)

lint: development ## check style and format
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

format: development ## repair style and format
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

types: development ## check types
	@$(PY) -m mypy .

imports: development ## check which module may import which
	@$(PY) -c 'from importlinter.cli import lint_imports_command as c; c()' --no-cache

migrations: development ## check that no migration is missing
	@$(PY) manage.py makemigrations --check --dry-run

check: test lint types imports migrations ## all of the above

bench: development ## measure everything and write docs/performance.md (ARGS="--parts saga,web")
	@env PATH="$(CURDIR)/.venv/bin:$$PATH" $(PY) -m benchmarks $(ARGS)

lock: development ## resolve the newest versions that requirements*.in allow, with hashes
	@for name in requirements requirements-dev; do \
	    $(UV) pip compile --system-certs --quiet --upgrade --universal --python-version 3.11 \
	        --generate-hashes --custom-compile-command "make lock" $$name.in -o $$name.txt || exit 1; \
	done

clean: ## remove the virtual environment and caches; the data in .local stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache staticfiles
	@find . -name __pycache__ -type d -not -path './.local/*' -prune -exec rm -rf {} +
	@if [ -e .local ]; then echo "The data of the embedded server stays: rm -r .local removes it."; fi

runtime:
	@$(call install,requirements.txt requirements-dev.txt)

development:
	@$(call install,requirements-dev.txt)

# $(call install,LOCKS): have the first of the locks installed. Nothing to do when the environment
# holds the same text of any of them: requirements-dev.txt contains requirements.txt.
define install
set -e; \
for lock in $(1); do \
    if cmp -s "$$lock" ".venv/installed-$$lock" && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
done; \
python='$(PYTHON)'; \
for candidate in "$$python" python3 python3.13 python3.12 python3.11; do \
    [ -n "$$candidate" ] || continue; \
    if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; \
    then python="$$candidate"; break; fi; \
    if [ -n "$$python" ]; then python=; break; fi; \
done; \
if [ -z "$$python" ]; then \
    echo "Python 3.11, 3.12 or 3.13 is needed and was not found. Install one, or name it:" >&2; \
    echo "  make PYTHON=/path/to/python3.12 run" >&2; exit 1; \
fi; \
if ! $(PY) -c '' 2>/dev/null; then \
    echo "Making a virtual environment in .venv with $$("$$python" --version)."; \
    rm -rf .venv; \
    if "$$python" -m pip --version >/dev/null 2>&1; then "$$python" -m venv --without-pip .venv; \
    elif "$$python" -c 'import ensurepip' 2>/dev/null; then "$$python" -m venv .venv; \
    else \
        echo "This Python has neither pip nor ensurepip. On Debian or Ubuntu: apt install python3-venv" >&2; \
        exit 1; \
    fi; \
fi; \
lock=$(firstword $(1)); \
rm -f .venv/installed-*; \
if $(PY) -m pip --version >/dev/null 2>&1; then pip="$(PY) -m pip"; \
else pip="$$python -m pip --python $(PY)"; fi; \
pip="$$pip --disable-pip-version-check"; \
if ! $(PY) -m uv --version >/dev/null 2>&1; then \
    echo "Fetching the installer."; \
    sed -n '/^uv==/,/^    # via/p' requirements-dev.txt > .venv/uv.txt; \
    $$pip install --quiet --require-hashes --no-deps -r .venv/uv.txt || echo "Not available; using pip."; \
fi; \
echo "Installing $$lock."; \
if [ -w "$${HOME:-/nonexistent}" ]; then cache=; else cache=--no-cache; fi; \
$(UV) pip install $$cache --system-certs --python $(PY) --require-hashes -r "$$lock" \
    || { echo "Trying again with pip, which takes half a minute."; \
         $$pip install --require-hashes -r "$$lock"; }; \
cp "$$lock" ".venv/installed-$$lock"
endef
