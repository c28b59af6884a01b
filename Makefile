# Two commands do everything: `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Real weights are fetched once, by hash; tests that need them are skipped where they cannot be had.
export IDIOLECT_MODELS ?= $(HOME)/.cache/idiolect/models
export IDIOLECT_REQUIRE_MODELS ?= $(CI)

.PHONY: demo test check format docs bench clean

demo: $(VENV)/.demo
	$(BIN)/idiolect demo $(ARGS)

# In CI the PyTorch backend is tested too; elsewhere its gigabytes are not asked of anybody: make test EXTRAS=local,dev,transformers,peft
EXTRAS ?= local,dev$(if $(CI),$(comma)transformers$(comma)peft)
comma := ,

test: $(VENV)/.dev
	$(BIN)/idiolect models pull smollm2-135m-instruct minilm wordllama $(if $(CI),,|| echo "tests with real models are skipped")
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python -m idiolect.cli.reference docs

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@
