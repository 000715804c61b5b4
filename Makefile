# Every target sets up .venv by itself, once. On Windows see README.md, "Windows and conda".
.DEFAULT_GOAL := help
.PHONY: FORCE environment help course quick test lab lint refresh bench lock clean

# What a person has set for these tools in general does not reach the course.
export PYTHONUTF8 := 1
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PYTHONHOME PYTHONWARNINGS
unexport PYTEST_ADDOPTS SNAKEMAKE_PROFILE JUPYTER_PATH

# A Python that TensorFlow has wheels for; `make PYTHON=/path/to/python` names another one.
# Not that of an environment, where one is activated.
SUITS := import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(1); \
	print(getattr(sys, "_base_executable", sys.executable))
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3 python; do \
	"$$p" -c '$(SUITS)' 2>/dev/null && break; done)
CHECK = "$(PYTHON)" -c '$(SUITS)' >/dev/null 2>&1 || { echo "This course needs Python 3.11, 3.12 \
	or 3.13 (TensorFlow has no package for others), and received PYTHON=$(PYTHON). Install one, or \
	name it: make PYTHON=/path/to/python3.12"; exit 1; }
# An environment has its lock's checksum and its Python's version in its name, is made beside the
# last one, and becomes .venv, a link, when it is complete: until then, and where that fails, the
# last one stays. Where no Python is named, .venv's own will do.
GIVEN := $(filter-out file,$(origin PYTHON))
LOCKED := .venv-$(firstword $(shell cksum < requirements.lock))
VERSION := import sys; print("{}.{}".format(*sys.version_info))
ENVIRONMENT := $(or $(if $(GIVEN),,$(filter $(LOCKED)-%,$(wildcard $(shell readlink .venv)))),\
	$(LOCKED)-$(shell "$(PYTHON)" -c '$(VERSION)' 2>/dev/null))
BIN := .venv/bin
READY := environment
BUILD := $(or $(COURSE_BUILD_DIR),build)
# What stays in the metadata of a notebook's cells.
FORM := -o -c -n $(addprefix --preserve-cell-metadata-field ,tags nbval-reason measured)

help:  ## show this text
	@echo "make course    run all lessons that are not up to date, then make the site"
	@echo "make quick     the same with small parameters on the sample, for a smoke test"
	@echo "make test      unit tests, and every notebook executed and compared with its stored outputs"
	@echo "make lab       open the lessons in JupyterLab"
	@echo "make lint      style, spelling, and the form of notebooks"
	@echo "make refresh   execute the committed notebooks again (needs the complete data)"
	@echo "make bench     time the training loop beside Keras fit, TensorFlow 1 and others (minutes)"
	@echo "make lock      compile requirements.lock anew"
	@echo "make clean     remove build/ (not the data, not .venv)"

# The lock has a hash for every file: what is installed is what was tested. After an edit of
# pyproject.toml only the course's own package is installed anew, for which no index is needed.
environment:
	@test -w . || { echo "This folder cannot be written: copy the course to one that can."; exit 1; }
	@$(if $(GIVEN),$(CHECK))
	@cmp -s pyproject.toml .venv/ready && test "$$(readlink .venv)" = $(ENVIRONMENT) && \
	 $(BIN)/python -c "" || $(MAKE) --no-print-directory $(ENVIRONMENT)

$(ENVIRONMENT): FORCE
	@$(CHECK)
	@test -e $@/locked && $@/bin/python -c "" || { echo "Making $@, which takes minutes." && \
	 "$(PYTHON)" -m venv --clear $@ && \
	 $@/bin/python -m pip install --quiet --require-hashes -r requirements.lock && \
	 touch $@/locked; } || { echo "$@ could not be made, see above. .venv is what it was."; exit 1; }
	$@/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@cp pyproject.toml $@/ready
	@test -L .venv || ! test -e .venv || mv .venv .venv-before
	ln -sfn $@ .venv
	@rm -rf .venv-before $(filter-out $(LOCKED)-%,$(wildcard .venv-*))

FORCE:

course: $(READY)
	$(BIN)/snakemake
	@echo "Open $(BUILD)/site/index.html in a browser."

quick: $(READY)
	COURSE_DATA=sample $(BIN)/snakemake --config quick=True
	@echo "Open $(BUILD)/quick/site/index.html in a browser."

# Two test modules at a time, the longest one first.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lab: $(READY)
	PYTHONPATH="$(CURDIR)" $(BIN)/jupyter lab --notebook-dir notebooks

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/nb-clean check $(FORM) -- notebooks

refresh: $(READY)
	$(BIN)/python workflow/refresh.py

bench: $(READY)
	$(BIN)/python -m benchmarks

# With extras, as older pips want them: some ask for a package with an extra as for another one.
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --fork-strategy fewest --no-strip-extras --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --quiet --output-file requirements.lock

clean:
	rm -rf build .snakemake
