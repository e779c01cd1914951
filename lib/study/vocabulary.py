"""Names that study.yaml, the notebooks and the Snakefile share.

Some are of modules that import torch, which takes seconds: tests hold that these are the same.
"""

DATASETS = ("digits", "cifar10", "cifar100", "stl10")  # besides folders of images
PRECISIONS = ("float32", "bfloat16")
REDUCTIONS = ("taylorfo", "abs", "sq", "molchanov-bn", "molchanov-group")  # that 20-normalization compares
RULES = ("train", "measure", "ablation", "report")  # of the Snakefile, those that run a notebook
LARGER_NETWORKS = "85-larger-networks"  # the notebook with the settings `larger`, and images of its own
TIMING = ("80-cost", LARGER_NETWORKS)  # notebooks beside which no other runs on the same machine
ALL = "all"  # no profile of study.yaml: the report over all that are published and count as panels
