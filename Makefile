# The study's front door. Parameters: make reproduce PROFILE=quick SEEDS="0 1 2" DEVICE=auto|cpu|cuda JOBS=2 DATA=data
# JOBS=2: how many notebooks run at a time (as many as there are cores for, each with its profile's threads).
# GPUS=2 RUNS_PER_GPU=1: how many GPUs of this machine to use (all), and for how many runs each at a time.
# CLUSTER=slurm runs every notebook as a job of its own, as the section cluster of study.yaml says.
# CHECKPOINTS=results/published/cifar takes up the trainings in that folder, MEASURED=... trainings and measurements.
# make benchmark QUICK=1 takes a minute and saves nothing; THREADS=1 computes with so many (2). It needs an idle machine.
# PYTHON=... uses that interpreter as it is, without any set-up.

PROFILE ?= quick
DEVICE ?= auto
DATA ?= data
SEEDS ?=
JOBS ?=
GPUS ?=
RUNS_PER_GPU ?=
CLUSTER ?=
CHECKPOINTS ?=
MEASURED ?=
QUICK ?=
THREADS ?=

KNOWN := PROFILE SEEDS DEVICE JOBS GPUS RUNS_PER_GPU CLUSTER DATA CHECKPOINTS MEASURED QUICK THREADS PYTHON
UNKNOWN := $(strip $(foreach name,$(filter-out $(KNOWN) PATH,$(.VARIABLES)),$(if $(findstring command line,$(origin $(name))),$(name))))
$(if $(UNKNOWN),$(error unknown variable $(UNKNOWN): valid are $(KNOWN)))

# What comes from the command line reaches programs through the environment and quotes, never as text of a command,
# and make itself does not expand it.
$(foreach name,PROFILE SEEDS DEVICE JOBS GPUS RUNS_PER_GPU CLUSTER DATA CHECKPOINTS MEASURED QUICK THREADS,$(eval override export $(name) := $$(value $(name))))
export PYTHONPATH := $(CURDIR)
unexport PYTHONDONTWRITEBYTECODE  # compiling what Snakemake and torch import takes longer than running it

ASKED = --profile="$$PROFILE" --seeds="$$SEEDS" --device="$$DEVICE" --jobs="$$JOBS" --gpus="$$GPUS" \
	--runs-per-gpu="$$RUNS_PER_GPU" --cluster="$$CLUSTER" --data="$$DATA"
VENV := .venv
UV := uv==0.13.9
AUDIT := pip-audit@2.10.1
STRICTLY := --strict --progress-spinner off --require-hashes --disable-pip  # what cannot be looked up is a failure
ifeq ($(strip $(PYTHON)),)
override PYTHON := $(VENV)/bin/python
READY := setup
else
READY := complete
endif

.PHONY: help setup complete reproduce report publish test soak quickstart lab benchmark lock audit clean
.DEFAULT_GOAL := help

help:
	@awk -F ':.*## ' '/^$$/ {below = 1} !below {print substr($$0, 3)} /^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: ## make .venv from requirements.lock, if it is not there or the lock has changed
	@cmp -s requirements.lock $(VENV)/finished.lock && test -x $(VENV)/bin/python || $(MAKE) --no-print-directory $(VENV)

complete:
	@"$(PYTHON)" -m lib.requirements

# The copy of the lock comes last: an environment without one is half made, and is made anew; one with another lock is
# brought up to date, without what this lock has not.
.PHONY: $(VENV)
$(VENV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 is %d.%d, but the study needs 3.11 or newer: PYTHON=... names another" % sys.version_info[:2])'
	@echo "Setting up $(VENV) (the first time a few minutes)"
	@rm $(VENV)/finished.lock 2>/dev/null && test -x $(VENV)/bin/python || python3 -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	@$(VENV)/bin/uv pip sync --quiet --python $(VENV)/bin/python --require-hashes requirements.lock
	@$(VENV)/bin/python -c 'import os, site; print(os.getcwd(), file=open(site.getsitepackages()[0] + "/study.pth", "w"))'
	@cp requirements.lock $(VENV)/finished.lock

reproduce: $(READY) ## run what is missing of PROFILE, then print the path of its report
	@"$(PYTHON)" -m lib.reproduce $(ASKED) --checkpoints="$$CHECKPOINTS" --measured="$$MEASURED"

report: $(READY) ## report on what is measured of PROFILE, training and measuring nothing
	@"$(PYTHON)" -m lib.reproduce $(ASKED) --report

publish: $(READY) ## copy the finished PROFILE to results/published/, which is committed
	@"$(PYTHON)" -m lib.publish --profile="$$PROFILE" --results=results

test: $(READY) ## run all tests, with every notebook on the smoke profile
	@"$(PYTHON)" -m pytest

quickstart: $(READY) ## take a network through ranking, shrinking and fine-tuning, without labels until the last
	@"$(PYTHON)" -m lib.execute notebooks/quickstart.ipynb results/quickstart/quickstart.ipynb -p device "$$DEVICE"
	@cat results/quickstart/quickstart.txt
	@ls results/quickstart/*-half.safetensors results/quickstart/quickstart.ipynb

soak: $(READY) ## kill a run at 20 random moments, and compare its results with those of an undisturbed one
	@"$(PYTHON)" tests/soak.py

lab: $(READY) ## open the notebooks in JupyterLab, on this machine only
	@"$(PYTHON)" -m jupyterlab --ServerApp.ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks

benchmark: $(READY) ## time the code beside the obvious way and other tools, into results/benchmarks/
	@"$(PYTHON)" -m lib.benchmark --device="$$DEVICE" --threads="$$THREADS" $(if $(filter-out 0,$(QUICK)),--quick)

lock: $(READY) ## write requirements.lock anew from pyproject.toml
	@"$(PYTHON)" -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra test pyproject.toml -o requirements.lock

audit: $(READY) ## look up the versions in requirements.lock among known vulnerabilities, over the network
	@log=$$(mktemp); "$(PYTHON)" -m uv tool run --quiet $(AUDIT) $(STRICTLY) -r requirements.lock 2> "$$log" || failed=1; \
	tail -n 1 "$$log" | cut -c 1-300 >&2; rm -f "$$log"; exit $${failed:-0}

clean: $(READY) ## delete what was computed for PROFILE, published results excepted
	@"$(PYTHON)" -m lib.reproduce --clean --profile="$$PROFILE"
