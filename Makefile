# `make demo` and `make test` set up what they need; both work on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CACHE ?= $(HOME)/.cache/specdash-tests
REAL = LLAMA_CPP_BIN="$(CACHE)/llama.cpp/bin" XLLAMACPP_OLD_PYTHON="$(CACHE)/xllamacpp-0.2.14/bin/python" \
	MLX_PYTHON="$(CACHE)/mlx/bin/python" SMALL_MODELS="$(CACHE)/models"

.PHONY: demo test check unit real-engines bench campaigns docs format clean

demo: $(VENV)/.embedded
	$(BIN)/specdash demo

test: $(VENV)/.dev real-engines check unit

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(REAL) $(BIN)/python -m pytest -n 5 --dist worksteal -m "not slow"

# Real servers (llama.cpp, MLX) and a real small model for the tests; where they cannot be had, the tests that need them are skipped with the reason.
real-engines: $(VENV)/.dev
	-tests/tools/install-llama-cpp "$(CACHE)/llama.cpp"
	-PYTHON=$(PYTHON) tests/tools/install-xllamacpp-old "$(CACHE)/xllamacpp-0.2.14"
	-PYTHON=$(PYTHON) tests/tools/install-mlx "$(CACHE)/mlx"
	-PYTHON=$(BIN)/python LLAMA_CPP_BIN="$(CACHE)/llama.cpp/bin" tests/tools/install-models "$(CACHE)/models"

bench: $(VENV)/.dev
	$(REAL) $(BIN)/python -m benchmarks

campaigns: $(VENV)/.dev
	$(REAL) $(BIN)/python -m pytest -m slow

docs: $(VENV)/.dev
	$(BIN)/python -m tests.tools.engine_docs > docs/engines.md

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.embedded: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,dev]'
	touch $@ $(VENV)/.embedded

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
