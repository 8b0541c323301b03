# `make demo` and `make test` need Python 3.11+ only; both make .venv and install into it.
PYTHON ?= python3
BIN := .venv/bin
DEMO := build/demo
BUNDLE := $(DEMO)/bundle

.PHONY: demo test lint clean

demo: $(BUNDLE)/manifest.json
	$(BIN)/dmd-restore runtime/samples/photos --bundle $(BUNDLE) --out $(DEMO) --compare
	@echo "before and after: $(DEMO)/astronaut.png.compare.png, $(DEMO)/grace_hopper.jpg.compare.png"

# exit code 3: the published weights could not be downloaded
$(BUNDLE)/manifest.json: .venv/installed
	@mkdir -p $(DEMO); rm -rf $(BUNDLE); \
	$(BIN)/dmd-export --fp32 --engine none --out $(BUNDLE); code=$$?; \
	if [ $$code -eq 3 ]; then \
	  echo "No weights: the demo goes on with synthetic ones, which restore nothing."; \
	  $(BIN)/dmd-export --fp32 --engine none --checkpoint synthetic --out $(BUNDLE); \
	else exit $$code; fi

test: .venv/installed
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m benchmarks.studies.readme_figures --check

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,export,bench,dev,tensorrt-rtx,ray,triton-server]'
	touch $@

clean:
	rm -rf build .venv
