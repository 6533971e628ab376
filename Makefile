# Every target sets up what it needs: a virtual environment in .venv, and the package in
# it. A second run finds both there. PYTHON chooses the interpreter.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,\
	$(shell $(p) -c 'import sys; assert sys.version_info >= (3, 11); print("$(p)")' 2>/dev/null)))
BIN := .venv/bin
RECORDS := benchmarks/records

.PHONY: help demo test lint types unit readme notebooks bench-toy bench bench-full \
	bench-gpu bench-page clean

help:
	@echo "make demo    the tutorial, then a fit of the diabetes data"
	@echo "make test    format, lint, types, tests, notebooks, a toy benchmark run"
	@echo "make bench   time the sweep against loops, and exact scores against rivals;"
	@echo "             bench-full: all rounds and settings, bench-gpu: on a GPU"
	@echo "make clean   remove the virtual environment and caches"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "jaxridge needs Python 3.11 or newer"; exit 1; }
	$(PYTHON) -m venv .venv

# Of what is installed little is imported, and only that need be compiled; but that once,
# not anew by each of the many processes of the tests.
export PYTHONDONTWRITEBYTECODE =
PIP := $(BIN)/python -m pip install --quiet --no-compile

.venv/installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable ".[dev]"
	@touch .venv/installed $@

demo: .venv/installed
	$(BIN)/jaxridge demo --out jaxridge-demo
	@echo
	$(BIN)/jaxridge fit --test 0.2 --report --out jaxridge-demo/diabetes

.venv/installed-rivals: .venv/installed-dev
	$(PIP) --editable ".[rivals]"
	@touch $@

# What keeps one core busy runs beside its like, longest first; the unit tests take both.
test: lint .venv/xla-flags
	$(MAKE) -j2 --output-sync notebooks bench-toy types readme
	$(MAKE) unit

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed-dev
	$(BIN)/mypy

# Most of the time goes into compiling small programs: compile them quickly, with flags
# that this XLA knows, and let the two workers have a core each.
QUICK := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true \
	--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
.venv/xla-flags: .venv/installed-dev
	XLA_FLAGS="$(QUICK)" $(BIN)/python -c 'import jax; jax.devices()' > /dev/null 2>&1 \
		&& echo "$(QUICK)" > $@ || touch $@
unit readme notebooks bench-toy: .venv/xla-flags
unit readme notebooks bench-toy: export XLA_FLAGS = $(shell cat .venv/xla-flags 2> /dev/null)
# What one worker or run has compiled, the other and the next need not.
unit readme notebooks bench-toy: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/.pytest_cache/compiled
unit readme notebooks bench-toy: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
unit readme notebooks bench-toy: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1
unit notebooks: export OMP_NUM_THREADS = 1
unit notebooks: export OPENBLAS_NUM_THREADS = 1
unit: .venv/installed-dev
	$(BIN)/python -m slipcover --out .venv/covered -m pytest -n 2 --dist loadfile -q
	$(BIN)/python -m slipcover --merge .venv/covered --out .venv/covered --fail-under 95

readme: .venv/installed-dev
	$(BIN)/python -m pytest README.md -q

notebooks: .venv/installed-dev
	$(BIN)/python -m pytest notebooks -q

bench-toy: .venv/installed-dev
	$(BIN)/python -m pytest benchmarks --toy -q --benchmark-columns=median

# A record says what it was made of: the commit, and if the tree was clean.
bench: .venv/installed-rivals
	mkdir -p $(RECORDS)/latest
	$(BIN)/python -m pytest benchmarks -q -m "not full and not gpu" \
		--benchmark-columns=median --benchmark-json=$(RECORDS)/latest/quick.json
	$(BIN)/python -m benchmarks.show $(RECORDS)/latest/quick.json

bench-full: .venv/installed-rivals
	mkdir -p $(RECORDS)/latest
	$(BIN)/python -m pytest benchmarks -q -m "not gpu" \
		--benchmark-columns=median --benchmark-json=$(RECORDS)/latest/full.json
	$(BIN)/python -m benchmarks.show $(RECORDS)/latest/full.json

.venv/installed-gpu: .venv/installed-rivals
	$(PIP) --editable ".[cuda]" torch
	@touch $@

bench-gpu: .venv/installed-gpu
	@$(BIN)/python -c 'import jax; exit(jax.default_backend() == "cpu")' || \
		{ echo "JAX sees no GPU here"; exit 1; }
	mkdir -p $(RECORDS)/latest
	$(BIN)/python -m pytest benchmarks -q -m gpu -rs \
		--benchmark-columns=median --benchmark-json=$(RECORDS)/latest/gpu.json
	$(BIN)/python -m benchmarks.show $(RECORDS)/latest/gpu.json

# The page of all committed records.
bench-page: .venv/installed-dev
	$(BIN)/python -m benchmarks.page

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
