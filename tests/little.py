"""A little study of its own, for tests of what is read from study.yaml."""

import json

import yaml

from lib.study import paths

DEFAULTS = yaml.safe_load((paths.ROOT / paths.STUDY).read_text())["defaults"]
MEASURING = DEFAULTS["measuring"] | {"points": 5}
STUDY = f"""
defaults:
  seeds: [0, 1]
  panel: true
  threads: 1
  cluster: {{partition: null, account: null, qos: null, gpus: 0, mem_mb: 1000, runtime: 5, options: ''}}
  given: {{}}
  notes: {{}}
  notebooks: [15-replication]
  training: {{epochs: 2, batch: 8, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, warmup: 0.5,
             crop: 0, flip: false, precision: float32, optimizer: sgd}}
  measuring: {json.dumps(MEASURING)}
  larger: {json.dumps(DEFAULTS["larger"])}
profiles:
  little:
    runs: {{digits: [resnet8, vgg8], cifar10: [resnet20]}}
    seeds: [3]
    training: {{epochs: {{digits: 1, cifar10: 7}}}}
"""
