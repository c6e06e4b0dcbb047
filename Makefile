# make quickstart   trains a dynamic network on embedded digits, next to a plain one (about three minutes)
# make test         the tests; make test-slow adds the long forms
# make tables       writes the README's tables anew from results/*.jsonl
# make install      sets up .venv; then source .venv/bin/activate
# make lint
# Each sets up .venv by itself, once. With another interpreter: rm -rf .venv && make PYTHON=python3.12 test
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# An environment knows the path that it was set up at. In a clone that was moved or copied it is set up anew.
ifneq ($(wildcard $(VENV)/bin/activate),)
ifeq ($(shell grep -F "$(CURDIR)/$(VENV)" $(VENV)/bin/activate),)
$(shell rm -f $(VENV)/.created $(VENV)/.installed $(VENV)/.installed-test)
endif
endif

.PHONY: quickstart test test-slow tables install lint
quickstart: $(VENV)/.installed
	@$(RUN) -m neural_similarity.quickstart

# Two processes, each with whole files of tests, as most tests keep one core busy.
PYTEST := $(RUN) -m pytest -n 2 --dist loadfile

test: $(VENV)/.installed-test
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-test
	$(PYTEST)

tables: $(VENV)/.installed
	$(RUN) -m neural_similarity tables

install: $(VENV)/.installed
	@echo "Installed. Next: source $(VENV)/bin/activate"

lint: $(VENV)/.installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there. Install Python 3.10 to 3.13, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { echo "TensorFlow 2.21 needs Python 3.10 to 3.13, and this is `$(PYTHON) --version 2>&1`. Install one of those and name it: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "`$(PYTHON) --version 2>&1` lacks venv. Install it (Debian, Ubuntu: apt-get install python3-venv) and call make again"; exit 1; }
	@echo "Setting up $(VENV) with `$(PYTHON) --version 2>&1`: once, some minutes."
	@$(PYTHON) -m venv --clear $(VENV) && $(RUN) -m pip --version >/dev/null
	@touch $@

$(VENV)/.installed: requirements.txt pyproject.toml | $(VENV)/.created
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@
