# Two commands do everything: `make demo` runs a campaign, `make test` passes the tests. `make check`
# passes those that take seconds; they need no browser, Docker, PostgreSQL or PyTorch. `make test-slow`
# passes the rest: attacks, whole packs, examples, and the commands of the docs. `make docs` builds the
# site. `make coverage` says which lines no test ran, `make mutants MODULE=acceptance` which changes no
# test saw.
PYTHON ?= python3
VENV ?= .venv
# One tested release. On Linux the package index serves a build with CUDA (several GB); point pip
# at PyTorch's CPU builds to avoid that: see "PyTorch without CUDA" in the README.
TORCH ?= torch==2.13.0
TRIALS ?= 3
SEED ?= 12
BIN := $(VENV)/bin
# Two processes that take file by file, in the order of tests/conftest.py.
TOGETHER := -n 2 --dist loadfile --no-loadscope-reorder

# What the site is built with, in an environment of its own.
DOCS_VENV ?= .venv-docs
# What `make coverage` and `make mutants` run: see benchmarks/README.md.
TESTS ?= tests
MODULE ?= acceptance
SAMPLE ?= 200

.PHONY: demo test test-slow check coverage mutants wheel page docs clean

demo: $(VENV)/.installed
	$(BIN)/recipelab run airbench96 --profile mini --trials $(TRIALS) --seed $(SEED) \
	  --name demo --if-exists continue

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(TOGETHER) -m slow

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p recipelab
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow and not browser and not campaign and not docker and not postgres and not torch"

coverage: $(VENV)/.installed-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(TESTS) -m "not slow and not browser"
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --sort=cover

mutants: $(VENV)/.installed-mutants
	$(BIN)/python .ci/mutants.py $(MODULE) --sample $(SAMPLE)

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel --outdir dist .

# The page of ui, report and replay, from its source: needs Node.js, which nobody else does. What it
# makes is in the repository.
page:
	cd plugin/recipelab/page/client && npm ci --ignore-scripts && npm run check && npm run build

# The site, into build/site: without a warning, each link and anchor looked up, nothing fetched.
docs: $(DOCS_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet
	$(DOCS_VENV)/bin/python docs/site/check_links.py build/site

$(DOCS_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install -qq --disable-pip-version-check -e ".[docs]"
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The checkout itself is what runs (an editable install), so only a change of pyproject.toml
# asks for a new installation.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --disable-pip-version-check "$(TORCH)" -e ".[torch]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --disable-pip-version-check "$(TORCH)" -e ".[torch,dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-mutants: $(VENV)/.installed-dev
	$(BIN)/python -m pip install -qq --disable-pip-version-check "mutmut>=3.8,<3.9"
	touch $@

clean:
	rm -rf $(VENV) $(DOCS_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
