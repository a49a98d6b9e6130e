# `make help` lists what can be made.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
PY = $(VENV)/bin/python
STAMP = $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help book offline test robust bench sync format address coverage install clean

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-9s %s\n", $$1, $$2}'

# The mini models' matrices are so small that threads cost more time than they save.
book: $(STAMP)  ## execute every notebook and build _build/html
	OMP_NUM_THREADS=1 $(PY) tools/build_book.py

offline: $(STAMP)  ## pack the built book into one zip, to be read without a network
	@test -f _build/html/index.html || { echo "There is no book yet: run make book first." >&2; exit 1; }
	$(PY) -c 'import shutil; print(shutil.make_archive("_build/erroneous-agreements", "zip", "_build", "html"))'

# Two workers of one thread each: threads of two processes on two cores would wait for each other.
# Files come in the order of tests/building.py, so that one worker builds the book long before the
# other needs it.
test: $(STAMP)  ## unit tests, notebooks, pairs, lint, and the book with warnings as errors
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

robust: $(STAMP)  ## findings on other draws and processor paths (half an hour on two cores)
	OMP_NUM_THREADS=1 $(PY) tools/robust.py --record book/margins.csv

bench: $(STAMP)  ## run the speed benchmarks
	@set -e; for script in $(filter-out speed/measuring.py speed/random_models.py,$(wildcard speed/*.py)); do echo "== $$script"; $(PY) "$$script"; done

sync: $(STAMP)  ## make each .ipynb and its .py pair equal (the newer one wins)
	$(PY) tools/sync_notebooks.py

format: $(STAMP)  ## lint and format what can be, then sync
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(PY) tools/sync_notebooks.py

address: $(STAMP)  ## copy the repository's address from pyproject.toml to badges and settings
	$(PY) tools/set_address.py

coverage: $(STAMP)  ## test coverage of the helper package
	$(PY) -m coverage run -m pytest --ignore tests/test_book.py --ignore tests/test_notebooks.py
	$(PY) -m coverage report

install: $(STAMP)  ## create $(VENV) and install everything

clean:  ## remove what was built; $(VENV) stays
	rm -rf _build build .pytest_cache .ruff_cache .coverage *.egg-info

# The stamp holds the path of this checkout: a copied environment would run the other copy's code.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
FORCE:
endif
$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or set PYTHON=/path/to/python." >&2; exit 1; }
	@test -x $(PY) || "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, not " + sys.version.split()[0] + ": set PYTHON=/path/to/python.")'
	test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	$(PY) -m pip install --requirement requirements.txt
	@printf '%s' "$(CURDIR)" > $@
