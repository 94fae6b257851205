# Every target sets up what it needs from Python and make alone.
#   make demo    serve the bundled model over rendered people (no torch)
#   make check   format, lint, types, import contracts
#   make test    the whole test suite
#   make browser-test   the operator's page in Debian's Chromium (apt-get install chromium; npm)
PYTHON ?= python3
PORT ?= 8000
DATA ?= data/demo
SERVE := .venv/serve
DEV := .venv/dev
INSTALL := -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo test browser-test check format setup clean

demo: $(SERVE)/.ready
	$(SERVE)/bin/mpanet demo --port $(PORT) --data $(DATA)

test: $(DEV)/.ready $(SERVE)/.ready
	$(DEV)/bin/python -m pytest

browser-test: $(DEV)/.ready
	$(DEV)/bin/python $(INSTALL) playwright
	npm install --silent --no-save --prefix $(DEV)/npm axe-core
	MPANET_TEST_AXE=$(CURDIR)/$(DEV)/npm/node_modules/axe-core/axe.min.js $(DEV)/bin/python -m pytest tests/web

check: $(DEV)/.ready
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/lint-imports --no-cache
	$(DEV)/bin/mypy

format: $(DEV)/.ready
	$(DEV)/bin/ruff format .
	$(DEV)/bin/ruff check --fix .

setup: $(DEV)/.ready $(SERVE)/.ready

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What serving needs and nothing more: `import torch` fails in this environment.
$(SERVE)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mpanet needs Python 3.11 or later; PYTHON=... names another")'
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(INSTALL) --editable '.[cpu]'
	touch $@

$(DEV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mpanet needs Python 3.11 or later; PYTHON=... names another")'
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(INSTALL) --editable '.[cpu,train,dev]'
	touch $@
