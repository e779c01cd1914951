# The graph of one profile: notebooks run by lib.running.execute, one process each. `make reproduce` is its front door.
#
# What decides that a notebook runs again is content, not dates: the digest of its code and of the modules of lib that it
# uses, its settings, the data's digest and the versions in the lock are parameters of its rule. Everything a rule makes
# is whole or not there, and its executed notebook comes last.
#
# On a cluster, this file is read again where a job runs, by the Snakemake that starts its notebook.

import os
import re
import shlex
import sys

from lib.running import cluster
from lib.study import digests, profiles, vocabulary

WHAT = {"profile": "quick", "seeds": None, "device": "auto", "data": "data", "results": "results"}
config = WHAT | {"cluster": "", "gpus": [], "runs_per_gpu": 1} | config  # and digests
profile = profiles.load(*(config[name] for name in WHAT))
RUN = profile.folder / "{dataset}-{network}" / "seed-{seed}"
WHERE = " ".join(f"-p {name} {{config[{name}]:q}}" for name in ("profile", "data", "results"))
HERE = "{config[results]:q}/{config[profile]:q}/{wildcards.dataset}-{wildcards.network}/seed-{wildcards.seed}"
USED_UP = " ".join(f"{HERE}/{folder}" for folder in ("parts", "earlier", "offered"))  # by a 10-measure that is whole
OF_RUN = f"{WHERE} -p dataset {{wildcards.dataset}} -p network {{wildcards.network}} -p seed {{wildcards.seed}}"
OF_PROFILE = f"{WHERE} -p seeds {shlex.quote(str(list(profile.seeds)))}"
PINS = digests.pins()


def on_gpu(rule):  # of this machine
    return not config["cluster"] and profile.device == "cuda" and rule != "report"


def needs(rule):
    return cluster.resources(profile, rule) if config["cluster"] else {"gpu": int(on_gpu(rule))}


def execute(rule, notebook, more):
    device = cluster.device(profile, rule) if config["cluster"] else profile.device
    shared = f"--gpus {shlex.quote(','.join(config['gpus']))} --runs-per-gpu {config['runs_per_gpu']}"
    words = f"--parent {os.getpid()} --threads {profile.threads} {shared if on_gpu(rule) else ''}"
    files = f"notebooks/{notebook}.ipynb {{output.executed:q}}"
    python = shlex.quote(sys.executable).replace("{", "{{").replace("}", "}}")  # which Snakemake fills
    return f"exec {python} -m lib.running.execute {words} {files} -p device {device} {more}"


def cores_of(notebook):
    """How many cores it keeps: all, where it takes times, so that none runs beside it; it computes with the profile's
    threads all the same. On a cluster every job has cores of its own."""
    return workflow.cores if notebook in vocabulary.TIMING and not config["cluster"] else profile.threads


def of_all_runs(*patterns):
    names = [{"dataset": run.dataset, "network": run.network, "seed": run.seed} for run in profile.runs]
    return [str(pattern).format(**name) for pattern in patterns for name in names]


def settings(section):
    return lambda wildcards: profile.settings(wildcards.dataset, wildcards.network)[section]


def data(wildcards):
    return config["digests"][wildcards.dataset]


wildcard_constraints:
    dataset="|".join(map(re.escape, profile.grid)),
    network="|".join(re.escape(network) for networks in profile.grid.values() for network in networks),
    seed="|".join(map(str, profile.seeds)),
    notebook="|".join(map(re.escape, profile.notebooks)),


rule report:
    input:
        curves=of_all_runs(RUN / "curves.parquet"),
        records=of_all_runs(RUN / "10-measure.json"),
        notebooks=[profile.executed(notebook) for notebook in profile.notebooks],
        template="lib/report/page.html.j2",
    output:
        profile.report,
        profile.report.with_suffix(".md"),
        executed=profile.executed("90-report"),
    params:
        code=digests.code("90-report"),
        text=digests.text("90-report"),
    threads: profile.threads
    resources: **needs("report")
    message: "90-report"
    shell:
        "rm -f {config[results]:q}/{config[profile]:q}/{{tables,figures}}/90-report-*; "
        f"{execute('report', '90-report', OF_PROFILE)}"


rule train:
    output:
        RUN / "checkpoint.safetensors",
        RUN / "training.parquet",
        RUN / "00-train.json",
        executed=RUN / "00-train.ipynb",
    params:
        code=digests.code("00-train"),
        settings=settings("training"),
        data=data,
        pins=PINS,
        threads=profile.threads,
    threads: profile.threads
    resources: **needs("train")
    message: "00-train {wildcards.dataset}-{wildcards.network} seed {wildcards.seed}"
    shell: execute("train", "00-train", OF_RUN)


rule measure:
    input:
        RUN / "checkpoint.safetensors",
    output:
        RUN / "curves.parquet",
        RUN / "scores.parquet",
        RUN / "oracle.parquet",
        RUN / "repaired.parquet",
        RUN / "silenced.parquet",
        RUN / "finetuning.parquet",
        RUN / "10-measure.json",
        executed=RUN / "10-measure.ipynb",
    params:
        code=digests.code("10-measure"),
        settings=settings("measuring"),
        data=data,
        pins=PINS,
        notebooks=profile.notebooks,
        threads=profile.threads,
    threads: profile.threads
    resources: **needs("measure")
    message: "10-measure {wildcards.dataset}-{wildcards.network} seed {wildcards.seed}"
    shell: execute("measure", "10-measure", f"--discard {USED_UP} {OF_RUN}")


rule ablation:
    input:
        checkpoints=of_all_runs(RUN / "checkpoint.safetensors"),
        curves=of_all_runs(RUN / "curves.parquet"),
        scores=of_all_runs(RUN / "scores.parquet"),
        oracle=of_all_runs(RUN / "oracle.parquet"),
        repaired=of_all_runs(RUN / "repaired.parquet"),
        silenced=of_all_runs(RUN / "silenced.parquet"),
        finetuning=of_all_runs(RUN / "finetuning.parquet"),
    output:
        executed=profile.executed("{notebook}"),
    params:
        code=lambda wildcards: digests.code(wildcards.notebook),
        text=lambda wildcards: digests.text(wildcards.notebook),
        settings=lambda wildcards: profile.settings_of(wildcards.notebook)[1],
        data=lambda wildcards: config["digests"].get(wildcards.notebook),
        pins=PINS,
        threads=profile.threads,
    threads: lambda wildcards: cores_of(wildcards.notebook)
    resources: **needs("ablation")
    message: "{wildcards.notebook}"
    shell:  # only the notebook knows the names of its tables and figures, so what an earlier run left must go first
        "cd {config[results]:q}/{config[profile]:q}; rm -f {{tables,figures}}/{wildcards.notebook}-* "
        "notebooks/{wildcards.notebook}.json; cd - > /dev/null; "
        f"{execute('ablation', '{wildcards.notebook}', OF_PROFILE)}"


rule all:  # a file that is missing is made again even where nothing else asks for it
    default_target: True
    input:
        of_all_runs(*rules.train.output, *rules.measure.output),
        [profile.executed(notebook) for notebook in profile.notebooks],
        rules.report.output,
