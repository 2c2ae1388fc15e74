# Each target sets itself up in .venv, and again when what it needs has changed.
#   make book    execute chapter 1 on this machine, then build the site; CHAPTERS=all executes all
#   make html    build the site from the outputs stored in the chapters
#   make pdf     the same, with the whole book as one PDF file (needs Chromium or Chrome)
#   make kit     the teaching kit: notebooks, autograders, slides, a zip for a classroom
#   make check   lint, types, import rules and the quick tests: before each commit
#   make test    the same with all tests, and every chapter against its stored outputs
PYTHON ?= python3
BOOK ?= book
OUT ?= .
BUILD := $(OUT)/_build
BIN := .venv/bin
INSTALLED := .venv/.installed
# Chapters to execute, as in `make outputs CHAPTERS="05 06"`, or all. Left out, `make book` executes
# chapter 1, and `make outputs` all.
CHAPTERS ?=
ALL_OR_NAMED = $(filter-out all,$(CHAPTERS))

SITE := $(BIN)/jupyter-book build --config _config.yml --path-output $(OUT) --all -W -n --keep-going -q

.PHONY: book html pdf kit check test lint outputs links address field study bench bench-gpu pretrain clean
.DEFAULT_GOAL := book
.DELETE_ON_ERROR:

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv; the first time takes some minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@touch $@

book: $(INSTALLED)
	@$(BIN)/python -m tlhelpers.book.notebooks $(BOOK) $(if $(CHAPTERS),$(ALL_OR_NAMED),01) --to $(BUILD)/book
	@$(if $(CHAPTERS),,echo "To execute every chapter: make book CHAPTERS=all")
	@rm -rf $(BUILD)/html $(BUILD)/.doctrees $(BUILD)/jupyter_execute
	@$(SITE) $(BUILD)/book
	@echo "The book is ready: $(BUILD:./%=%)/html/index.html"

html: $(INSTALLED)
	@rm -rf $(BUILD)/html $(BUILD)/.doctrees $(BUILD)/jupyter_execute
	@$(SITE) $(BOOK)
	@echo "The book is ready: $(BUILD:./%=%)/html/index.html"

pdf: $(INSTALLED)
	@rm -rf $(BUILD)/html $(BUILD)/singlehtml $(BUILD)/.doctrees $(BUILD)/jupyter_execute
	@TLH_PDF=book.pdf $(SITE) $(BOOK)
	@$(SITE) --builder singlehtml $(BOOK)
	@$(BIN)/python tests/tools/printing.py $(BUILD)/singlehtml/index.html $(BUILD)/html/book.pdf
	@rm -rf $(BUILD)/singlehtml
	@echo "The book is ready: $(BUILD:./%=%)/html/index.html"

# What makes the kit is not needed to read the book: it is installed when it is asked for.
.venv/.teach: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[teach]"
	@touch $@

kit: $(INSTALLED) .venv/.teach
	@$(BIN)/tlhelpers kit --to $(BUILD)/kit

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# A file of tests, or a notebook, stays with one of the workers.
# One thread of linear algebra a process: two processes that ask for two each wait for one another.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

check: lint
	$(PYTEST) -m "not slow" --ignore tests/site tests

# Chapters first, which take longest.
test: lint
	$(PYTEST) --nbval-lax --nbval-current-env --nbval-sanitize-with tests/tools/sanitize.cfg book tests

# Executes the chapters in place: for authors, before a commit.
outputs: $(INSTALLED)
	$(BIN)/python tests/tools/notebooks.py $(ALL_OR_NAMED)

# The book's links to other sites, by page; TRY=1 asks for each, which needs internet.
links: $(INSTALLED)
	@$(BIN)/python tests/tools/links.py $(if $(TRY),--try)

# Moves the book to another repository: make address URL=https://github.com/me/my-fork
address: $(INSTALLED)
	$(BIN)/python tests/tools/addresses.py $(URL)

# Full-size results on real data, recorded under book/_data; needs the network or TLH_MIRROR.
field: $(INSTALLED)
	$(BIN)/tlhelpers record --all
	$(BIN)/python -m tlhelpers.experiments.planted

# The controlled study: scratch, frozen, fine-tuned by labels, target and relatedness. Hours; resumes.
study: $(INSTALLED)
	$(BIN)/tlhelpers study
	$(BIN)/python -m tlhelpers.experiments.model_card

# Speed and memory, side by side in one run: make bench, or make bench ONLY="start growth" SHARE=0.05
bench: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(ONLY) --share $(or $(SHARE),1)

# The same on a GPU, at most ten minutes: Keras on JAX and on TensorFlow, where they are installed.
bench-gpu: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m benchmarks gpu

# Trains the small network that the package ships.
pretrain: $(INSTALLED)
	$(BIN)/python -m tlhelpers.experiments.pretrain

clean:
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
