# `make demo` and `make test` need Python 3.11+ only; both make .venv and install into it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

# the compact weights, unless the published ones are here or DMDNET_CHECKPOINT names others
demo: .venv/installed
	$(BIN)/dmd-demo --out build/demo

test: .venv/installed
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m benchmarks.studies.figures --check

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,export,bench,dev,tensorrt-rtx,ray,triton-server]'
	touch $@

clean:
	rm -rf build .venv
