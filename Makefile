# `make demo` and `make test` set up what they need; both work on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CACHE ?= $(HOME)/.cache/specdash-tests
REAL = LLAMA_CPP_BIN="$(CACHE)/llama.cpp/bin" XLLAMACPP_OLD_PYTHON="$(CACHE)/xllamacpp-0.2.14/bin/python" \
	MLX_PYTHON="$(CACHE)/mlx/bin/python" SMALL_MODELS="$(CACHE)/models"

.PHONY: demo test check quick unit real-engines bench brief-bench campaigns docs format clean

demo: $(VENV)/.embedded
	$(BIN)/specdash demo

test: $(VENV)/.dev real-engines check unit brief-bench

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tiers of tests are defined in tests/support/tiers.py.
quick: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadscope --tier quick

unit: $(VENV)/.dev
	$(REAL) $(BIN)/python -m pytest -n 5 --dist worksteal --durations 100 --tier unit

# Real servers (llama.cpp, MLX) and a real small model for the tests; where they cannot be had, the tests that need them are skipped with the reason.
real-engines: $(VENV)/.dev
	-tests/tools/install-llama-cpp "$(CACHE)/llama.cpp"
	-PYTHON=$(PYTHON) tests/tools/install-xllamacpp-old "$(CACHE)/xllamacpp-0.2.14"
	-PYTHON=$(PYTHON) tests/tools/install-mlx "$(CACHE)/mlx"
	-PYTHON=$(BIN)/python LLAMA_CPP_BIN="$(CACHE)/llama.cpp/bin" tests/tools/install-models "$(CACHE)/models"

bench: $(VENV)/.dev
	$(REAL) $(BIN)/python -m benchmarks

# Whether every bench still works, at its smallest size; those that take minutes even so are only imported.
brief-bench: $(VENV)/.dev
	$(REAL) $(BIN)/python -m benchmarks --brief

campaigns: $(VENV)/.dev
	$(REAL) $(BIN)/python -m pytest -m slow

docs: $(VENV)/.dev
	$(BIN)/python -m tests.tools.engine_docs > docs/engines.md
	$(BIN)/python -m tests.tools.schemas

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
