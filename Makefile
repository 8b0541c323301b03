# `make demo` and `make test` need Python 3.11+ only; both make .venv and install into it.
PYTHON ?= python3
BIN := .venv/bin
TWO := --numprocesses 2 --dist loadfile  # as many cores as the smallest machine has

.PHONY: demo test test-all lint clean

# the compact weights, unless the published ones are here or DMDNET_CHECKPOINT names others
demo: .venv/installed
	$(BIN)/dmd-demo --out build/demo

# the whole product; what is left out is printed at the end
test: .venv/installed
	$(BIN)/pytest $(TWO)

# the same, and what takes long
test-all: .venv/installed
	$(BIN)/pytest $(TWO) -m 'not soak'

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m benchmarks.studies.figures --check

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,export,bench,dev,tensorrt-rtx,ray,triton-server,video]'
	touch $@

clean:
	rm -rf build .venv
