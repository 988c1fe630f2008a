# The two commands of this project, each complete on a fresh machine with Python 3.10 or newer.
#   make book   executes every notebook and builds the book into _build/html
#   make test   checks notebooks, package, style and types, then runs all tests except the slowest, which .ci/run adds
PYTHON ?= python3
PY := .venv/bin/python
export OMP_NUM_THREADS ?= 1
export PYTHONUTF8 = 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1

help:
	@echo "make book    build the book (set CARAT_DATA to a folder of prepared data sets to use those)"
	@echo "make test    run every check and all tests except the slowest (.ci/run runs those, too)"
	@echo "make lint    run the checks alone: notebooks and package in step, style, types"
	@echo "make sync    after editing notebooks: export the package, clean the notebooks, refresh install cells"
	@echo "make picture take the README's picture of the start page (needs chromium)"
	@echo "make clean   delete what was built (not the environment in .venv)"

book: .venv/ready
	@$(PY) -m book.build

lint: style
	@.venv/bin/pyright

style: .venv/ready
	@$(PY) -m book.check
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check .

test: .venv/ready
	@echo "running every notebook as a test, and checking style beside it"
	@$(MAKE) -s style & style=$$!; .venv/bin/nbdev_test --n_workers 2; notebooks=$$?; wait $$style && exit $$notebooks
	@echo "running the other tests, and checking types beside them"
	@.venv/bin/pyright & types=$$!; $(PY) -m pytest -n 2 --dist worksteal; tests=$$?; wait $$types && exit $$tests

sync: .venv/ready
	@.venv/bin/nbdev_clean
	@$(PY) -m book.stamp
	@.venv/bin/nbdev_export
	@$(PY) -m book.check --prune

picture: book
	@chromium --headless --no-sandbox --disable-gpu --disable-background-networking --hide-scrollbars --window-size=1280,800 --virtual-time-budget=6000 \
	  --screenshot=book/start.png file://$(CURDIR)/_build/html/nbs/00_start.html 2>/dev/null

clean:
	rm -rf _build _proc _docs build *.egg-info

# Checks the accessibility of the pages. Of this package only axe-core's script is used, so what it would drive browsers with stays out.
AXE := axe-playwright-python==0.1.8

# Versions come from the lock as constraints, so that torch is a CPU build where one is offered and the CUDA build elsewhere.
.venv/ready: requirements.in requirements.lock settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Python 3.10 or newer is needed; name one as in: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "This Python cannot make environments: install its venv package (on Debian: apt install python3-venv)"; exit 1; }
	@echo "making the environment .venv with $$($(PYTHON) -V): this takes a minute or two"
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip install -qq --disable-pip-version-check -c requirements.lock -r requirements.in
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation $(AXE) -e .
	@touch $@

.PHONY: help book lint style test sync picture clean
