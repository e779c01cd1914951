# The study's front door. Parameters: make reproduce PROFILE=quick SEEDS="0 1 2" DEVICE=auto|cpu|cuda JOBS=2 DATA=data
# JOBS=2: how many notebooks run at a time (as many as there are cores for, each with its profile's threads).
# GPUS=2 RUNS_PER_GPU=1: how many GPUs of this machine to use (all), and for how many runs each at a time.
# CLUSTER=slurm runs every notebook as a job of its own, as the section cluster of study.yaml says.
# CHECKPOINTS=results/published/cifar takes up the trainings in that folder, MEASURED=... trainings and measurements.
# make report PROFILE=all reports on all published panels; PANELS="cifar quick" says on which. make publish PROFILE=all publishes it.
# make verify CELLS=5: of every published run so many cells are scored again, and the curves of as many others measured.
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
CELLS ?=
PANELS ?=
QUICK ?=
THREADS ?=

KNOWN := PROFILE SEEDS DEVICE JOBS GPUS RUNS_PER_GPU CLUSTER DATA CHECKPOINTS MEASURED CELLS PANELS QUICK THREADS PYTHON
GIVEN := $(strip $(foreach name,$(filter-out PATH,$(.VARIABLES)),$(if $(findstring command line,$(origin $(name))),$(name))))
UNKNOWN := $(filter-out $(KNOWN),$(GIVEN))
$(if $(UNKNOWN),$(error unknown variable $(UNKNOWN): valid are $(KNOWN)))

# What each target takes besides PYTHON; one that is not named here takes nothing else.
TAKES_reproduce := PROFILE SEEDS DEVICE JOBS GPUS RUNS_PER_GPU CLUSTER DATA CHECKPOINTS MEASURED
ALL := $(filter all,$(value PROFILE))
TAKES_report := $(if $(ALL),PROFILE PANELS DATA,$(filter-out CHECKPOINTS MEASURED,$(TAKES_reproduce)))
TAKES_publish := PROFILE DATA
TAKES_verify := PROFILE SEEDS DATA CELLS
TAKES_clean := PROFILE DATA
TAKES_quickstart := DEVICE
TAKES_benchmark := DEVICE QUICK THREADS
TAKES_.venv := $(KNOWN)
IDLE := $(filter-out PYTHON $(foreach goal,$(MAKECMDGOALS),$(TAKES_$(goal))),$(GIVEN))
$(if $(IDLE),$(error make $(or $(MAKECMDGOALS),help) takes no $(firstword $(IDLE)): leave it out))

# The user's make may not change this file; a variable that the user's environment has by chance is used, and said to be.
$(if $(MAKEFILES),$(error MAKEFILES is set in the environment, and other makefiles could change this one: unset it))
$(if $(findstring e,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),$(error make -e lets the environment change this file: leave it out))
$(foreach name,$(if $(filter 0,$(MAKELEVEL)),$(KNOWN)),$(if $(findstring environment,$(origin $(name))),$(warning $(name)=$(value $(name)) is from the environment)))

# What comes from the command line reaches programs through the environment and quotes, never as text of a command,
# and make itself does not expand it.
$(foreach name,$(filter-out PYTHON,$(KNOWN)),$(eval override export $(name) := $$(value $(name))))
$(if $(filter-out 0 1,$(QUICK)),$(error QUICK=$(QUICK) is neither 0 nor 1: write QUICK=1))

ASKED = --profile="$$PROFILE" --seeds="$$SEEDS" --device="$$DEVICE" --jobs="$$JOBS" --gpus="$$GPUS" \
	--runs-per-gpu="$$RUNS_PER_GPU" --cluster="$$CLUSTER" --data="$$DATA"
CALMLY := -E -m lib.study.surroundings  # after an interpreter: what follows starts without what the user's environment holds
VENV := .venv
UV := uv==0.13.9
SHARED := -n logical --maxprocesses 4 --dist loadfile  # tests of one file in one process, since they share set-up
AUDIT := pip-audit@2.10.1
STRICTLY := --strict --progress-spinner off --require-hashes --disable-pip  # what cannot be looked up is a failure
ifeq ($(strip $(PYTHON)),)
override PYTHON := $(VENV)/bin/python
READY := setup
else
READY := complete
endif

.PHONY: help setup complete reproduce report publish verify test soak quickstart lab benchmark coverage lock audit clean
.DEFAULT_GOAL := help

help:
	@awk -F ':.*## ' '/^$$/ {below = 1} !below {print substr($$0, 3)} /^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: ## make .venv from requirements.lock, if it is not there or the lock has changed
	@cmp -s requirements.lock $(VENV)/finished.lock && test -x $(VENV)/bin/python || $(MAKE) --no-print-directory $(VENV)

complete:
	@"$(PYTHON)" $(CALMLY) -m lib.running.requirements

# The copy of the lock comes last: an environment without one is half made, and is made anew; one with another lock is
# brought up to date, without what this lock has not.
.PHONY: $(VENV)
$(VENV):
	@python3 -E -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 is %d.%d, but the study needs 3.11 or newer: PYTHON=... names another" % sys.version_info[:2])'
	@echo "Setting up $(VENV) (the first time a few minutes)"
	@rm $(VENV)/finished.lock 2>/dev/null && test -x $(VENV)/bin/python || python3 $(CALMLY) -m venv --clear $(VENV)
	@$(VENV)/bin/python $(CALMLY) -m pip install --quiet --disable-pip-version-check $(UV)
	@test -x $(VENV)/bin/uv || { echo "pip has put uv elsewhere than into $(VENV): see its settings (pip config list)" >&2; exit 1; }
	@$(VENV)/bin/python $(CALMLY) -m uv pip sync --quiet --python $(VENV)/bin/python --require-hashes requirements.lock
	@ls -d $(VENV)/lib/python*/site-packages/torch > /dev/null 2>&1 || { echo "uv has put packages elsewhere than into $(VENV): see its settings (uv.toml)" >&2; exit 1; }
	@$(VENV)/bin/python -E -c 'import os, site; print(os.getcwd(), file=open(site.getsitepackages()[0] + "/study.pth", "w"))'
	@cp requirements.lock $(VENV)/finished.lock

# exec: what ends make ends the front door, too.
reproduce: $(READY) ## run what is missing of PROFILE, then print the path of its report
	@exec "$(PYTHON)" $(CALMLY) -m lib.running.reproduce $(ASKED) --checkpoints="$$CHECKPOINTS" --measured="$$MEASURED"

report: $(READY) ## report on what is measured of PROFILE, or with all on every published panel, measuring nothing
	@exec "$(PYTHON)" $(CALMLY) $(if $(ALL),-m lib.running.together --panels="$$PANELS" --data="$$DATA",-m lib.running.reproduce $(ASKED) --report)

publish: $(READY) ## copy the finished PROFILE to results/published/, which is committed
	@"$(PYTHON)" $(CALMLY) -m lib.running.publish --profile="$$PROFILE" --data="$$DATA" --results=results

verify: $(READY) ## measure a sample of what is published of PROFILE again, and say whether it agrees
	@exec "$(PYTHON)" $(CALMLY) -m lib.running.verify --profile="$$PROFILE" --seeds="$$SEEDS" --cells="$$CELLS" --data="$$DATA"

test: $(READY) ## run all tests, with every notebook on the smoke profile
	@"$(PYTHON)" $(CALMLY) -m pytest $(SHARED)

quickstart: $(READY) ## prune a small network without labels, and print the command and where its page is
	@exec "$(PYTHON)" $(CALMLY) -m lib.prune.quickstart --device="$$DEVICE"

soak: $(READY) ## kill a run at 20 random moments, and compare its results with those of an undisturbed one
	@"$(PYTHON)" $(CALMLY) tests/soak.py

SHOWN := $(firstword $(wildcard results/quick/notebooks/90-report.ipynb) results/published/quick/notebooks/90-report.ipynb)

lab: $(READY) ## open JupyterLab at the notebooks as they ran, on this machine only
	@echo "$(dir $(SHOWN)) has the notebooks with their results; make reproduce computes them anew. Those to change and run are in notebooks/."
	@"$(PYTHON)" $(CALMLY) -m jupyterlab $$([ "$$(id -u)" != 0 ] || echo --allow-root) --ServerApp.ip=127.0.0.1 --LabApp.default_url=/lab/tree/$(SHOWN)

benchmark: $(READY) ## time the code beside the obvious way and other tools, into results/benchmarks/
	@"$(PYTHON)" $(CALMLY) -m lib.benchmark.command --device="$$DEVICE" --threads="$$THREADS" $(if $(filter-out 0,$(QUICK)),--quick)

coverage: $(READY) ## try which of torchvision's networks, and of timm's if it is installed, can be scored and shrunk: an hour or two
	@"$(PYTHON)" $(CALMLY) -m lib.benchmark.coverage --library torchvision timm

lock: $(READY) ## write requirements.lock and weights.lock anew from pyproject.toml
	@"$(PYTHON)" $(CALMLY) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra test pyproject.toml -o requirements.lock
	@"$(PYTHON)" $(CALMLY) -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-deps --group weights -o weights.lock

audit: $(READY) ## look up the versions in requirements.lock among known vulnerabilities, over the network
	@log=$$(mktemp); "$(PYTHON)" $(CALMLY) -m uv tool run --quiet $(AUDIT) $(STRICTLY) -r requirements.lock 2> "$$log" || failed=1; \
	tail -n 1 "$$log" | cut -c 1-300 >&2; rm -f "$$log"; exit $${failed:-0}

clean: $(READY) ## delete what was computed for PROFILE, published results excepted
	@exec "$(PYTHON)" $(CALMLY) -m lib.running.reproduce --clean --profile="$$PROFILE" --data="$$DATA"
