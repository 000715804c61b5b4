# Every target sets up .venv by itself, once. On Windows see README.md, "Windows and conda".
.DEFAULT_GOAL := help
.PHONY: help course quick test lab lint refresh bench lock clean

# A Python that TensorFlow has wheels for; `make PYTHON=/path/to/python` names another one.
# Not .venv's own, where that is activated: .venv is removed before it is made.
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3 python; do \
	"$$p" -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(1); \
	print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null && break; done)
BIN := .venv/bin
READY := .venv/ready
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

# The lock has a hash for every file: what is installed is what was tested.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "This course needs Python 3.11, 3.12 or 3.13 (TensorFlow has no\
	 package for others) and found none. Install one, or name it: make PYTHON=/path/to/python3.12";\
	 exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

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
	$(BIN)/jupyter lab --notebook-dir notebooks

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/nb-clean check $(FORM) -- notebooks

refresh: $(READY)
	$(BIN)/python workflow/refresh.py

bench: $(READY)
	$(BIN)/python -m benchmarks

lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --fork-strategy fewest --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --quiet --output-file requirements.lock

clean:
	rm -rf build .snakemake
