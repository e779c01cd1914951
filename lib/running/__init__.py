"""How it is run.

Enters: a command line. Leaves: executed notebooks and published results. Read `reproduce` (the whole graph), `execute`
(one notebook), `progress`, `cluster` and `gpus` (where), `requirements` (with what), `publish`, `verify` (what is
published, again) and `together` (the report over all of it).
Imports everything but the benchmark.
"""
