# `make run` and `make test` set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= quickstart
INSTALL := PIP_CONSTRAINT=envs/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8

.PHONY: help run test test-slow test-slurm test-oracle test-all lint format generated bench clean

help: ## print what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.runs ## run a study on this machine (STUDY=quickstart) and say where its report is
	@$(BIN)/snakemake --config study=$(STUDY)
	@echo "The report: results/studies/$(STUDY)/report.md"

test: $(VENV)/.tests ## the everyday tests; a file to a worker, so that what it shares is made once
	$(PYTEST) --dist loadfile -m "not slow and not gpu and not slurm and not oracle"

test-slow: $(VENV)/.tests ## the tests that take minutes
	$(PYTEST) -m "slow and not gpu and not slurm and not oracle"

test-slurm: $(VENV)/.tests ## the tests on a real SLURM (Debian packages: tests/cluster.py says which)
	$(PYTEST) -m slurm

test-oracle: $(VENV)/.kernels ## mixers against the libraries' own layers and Triton kernels, interpreted
	$(PYTEST) -m oracle tests/test_oracle_*.py

test-all: test test-slow ## both but those on SLURM

lint: $(VENV)/.tests ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/ty check

format: $(VENV)/.tests ## put the sources into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

generated: $(VENV)/.tests ## write anew what is made from the sources: editor schema, control studies, docs, held defaults
	$(BIN)/python -m seqgrid.study_schema > config/study.schema.json
	$(BIN)/python -m seqgrid.controls
	$(BIN)/python docs/generate.py
	$(BIN)/python tests/test_study.py

bench: $(VENV)/.kernels ## measure, against named rivals in the same run
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run.py

clean: ## remove the environment; results stay
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runs: envs/requirements.txt envs/constraints.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) (once; a few minutes) ..."
	@$(INSTALL) -r envs/requirements.txt
	@$(INSTALL) --no-deps -e .
	@touch $@

$(VENV)/.tests: envs/requirements-dev.txt $(VENV)/.runs
	@echo "Installing the tools for tests ..."
	@$(INSTALL) -r envs/requirements-dev.txt
	@touch $@

$(VENV)/.kernels: envs/requirements-kernels.txt $(VENV)/.tests
	@echo "Installing the libraries that mixers are compared with (700 MB) ..."
	@$(INSTALL) -r envs/requirements-kernels.txt
	@# their CUDA extensions are not built: only modules and Triton kernels are used
	@MAMBA_FORCE_BUILD=TRUE MAMBA_SKIP_CUDA_BUILD=TRUE $(INSTALL) --no-build-isolation --no-deps mamba-ssm
	@# nor its kernels, which are under a licence of their own
	@$(INSTALL) --no-deps xlstm
	@touch $@
