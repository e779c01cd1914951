"""Names that study.yaml, the notebooks and the Snakefile share.

Some are of modules that import torch, which takes seconds: tests hold that these are the same.
"""

DATASETS = ("digits", "cifar10", "cifar100", "stl10")  # besides folders of images
FOLDERS = ("imagenet1300",)  # those of them that profiles name: data/README.md says how they are made
PRECISIONS = ("float32", "bfloat16")
OPTIMIZERS = ("sgd", "adamw")
REDUCTIONS = ("taylorfo", "abs", "sq", "molchanov-bn", "molchanov-group")  # that 20-normalization compares
RULES = ("train", "measure", "ablation", "report")  # of the Snakefile, those that run a notebook
PUBLIC = (  # networks whose weights others have published
    *("resnet20a", "resnet32a", "resnet44a", "resnet56a"),
    *("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "squeezenet1_1"),
)
TUNING = "80-cost"  # the notebook that trains networks a little more
LARGER_NETWORKS = "85-larger-networks"  # the notebook with the settings `larger`, and images of its own
TIMING = (TUNING, LARGER_NETWORKS)  # notebooks beside which no other runs on the same machine
ALL = "all"  # no profile of study.yaml: the report over all that are published and count as panels
