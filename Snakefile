# The graph of one profile: notebooks run by lib.execute, one process each. `make reproduce` is its front door.
#
# What decides that a notebook runs again is content, not dates: the digest of its code and of the modules of lib that it
# uses, its settings, the data's digest and the versions in the lock are parameters of its rule. Everything a rule makes
# is whole or not there, and its executed notebook comes last.

import os
import re
import shlex
import sys

from lib import profiles

config = {"profile": "quick", "seeds": None, "device": "auto", "data": "data", "results": "results"} | config  # and digests
seeds = config["seeds"] and [int(seed) for seed in config["seeds"]]  # Snakemake hands on a list as texts
profile = profiles.load(config["profile"], seeds, config["device"], config["data"], config["results"])
RUN = profile.folder / "{dataset}-{network}" / "seed-{seed}"
EXECUTE = f"exec {shlex.quote(sys.executable)} -m lib.execute --parent {os.getpid()} --threads {profile.threads}"
WHERE = " ".join(f"-p {name} {{config[{name}]:q}}" for name in ("profile", "device", "data", "results"))
OF_RUN = f"{WHERE} -p dataset {{wildcards.dataset}} -p network {{wildcards.network}} -p seed {{wildcards.seed}}"
OF_PROFILE = f"{WHERE} -p seeds {shlex.quote(str(list(profile.seeds)))}"
PINS = profiles.pins()
ON_GPU = {"gpu": int(profile.device == "cuda")}


def of_all_runs(*patterns):
    names = [{"dataset": run.dataset, "network": run.network, "seed": run.seed} for run in profile.runs]
    return [str(pattern).format(**name) for pattern in patterns for name in names]


def settings(section):
    return lambda wildcards: profile.settings(wildcards.dataset)[section]


def digests(wildcards):
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
        template="lib/page.html.j2",
    output:
        profile.report,
        profile.report.with_suffix(".md"),
        executed=profile.executed("90-report"),
    params:
        code=profiles.code_digest("90-report"),
        text=profiles.text_digest("90-report"),
    threads: profile.threads
    resources: **profile.resources
    message: "90-report"
    shell:
        "rm -f {config[results]:q}/{config[profile]:q}/{{tables,figures}}/90-report-*; "
        f"{EXECUTE} notebooks/90-report.ipynb {{output.executed:q}} {OF_PROFILE}"


rule train:
    output:
        RUN / "checkpoint.safetensors",
        RUN / "training.parquet",
        RUN / "00-train.json",
        executed=RUN / "00-train.ipynb",
    params:
        code=profiles.code_digest("00-train"),
        settings=settings("training"),
        data=digests,
        pins=PINS,
        threads=profile.threads,
    threads: profile.threads
    resources: **profile.resources, **ON_GPU
    message: "00-train {wildcards.dataset}-{wildcards.network} seed {wildcards.seed}"
    shell: f"{EXECUTE} notebooks/00-train.ipynb {{output.executed:q}} {OF_RUN}"


rule measure:
    input:
        RUN / "checkpoint.safetensors",
    output:
        RUN / "curves.parquet",
        RUN / "scores.parquet",
        RUN / "oracle.parquet",
        RUN / "finetuning.parquet",
        RUN / "10-measure.json",
        executed=RUN / "10-measure.ipynb",
    params:
        code=profiles.code_digest("10-measure"),
        settings=settings("measuring"),
        data=digests,
        pins=PINS,
        notebooks=profile.notebooks,
        threads=profile.threads,
    threads: profile.threads
    resources: **profile.resources, **ON_GPU
    message: "10-measure {wildcards.dataset}-{wildcards.network} seed {wildcards.seed}"
    shell: f"{EXECUTE} notebooks/10-measure.ipynb {{output.executed:q}} {OF_RUN}"


rule ablation:
    input:
        checkpoints=of_all_runs(RUN / "checkpoint.safetensors"),
        curves=of_all_runs(RUN / "curves.parquet"),
        scores=of_all_runs(RUN / "scores.parquet"),
        oracle=of_all_runs(RUN / "oracle.parquet"),
        finetuning=of_all_runs(RUN / "finetuning.parquet"),
    output:
        executed=profile.executed("{notebook}"),
    params:
        code=lambda wildcards: profiles.code_digest(wildcards.notebook),
        text=lambda wildcards: profiles.text_digest(wildcards.notebook),
        settings=lambda wildcards: profile.larger if wildcards.notebook == "85-larger-networks" else profile.measuring,
        pins=PINS,
        threads=profile.threads,
    threads: profile.threads
    resources: **profile.resources, **ON_GPU
    message: "{wildcards.notebook}"
    shell:  # only the notebook knows the names of its tables and figures, so what an earlier run left must go first
        "cd {config[results]:q}/{config[profile]:q}; rm -f {{tables,figures}}/{wildcards.notebook}-* "
        "notebooks/{wildcards.notebook}.json; cd - > /dev/null; "
        f"{EXECUTE} notebooks/{{wildcards.notebook}}.ipynb {{output.executed:q}} {OF_PROFILE}"


rule all:  # a file that is missing is made again even where nothing else asks for it
    default_target: True
    input:
        of_all_runs(*rules.train.output, *rules.measure.output),
        [profile.executed(notebook) for notebook in profile.notebooks],
        rules.report.output,
