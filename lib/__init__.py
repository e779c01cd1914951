"""Importance scores for the units of a trained network, and pruning by them.

Enters: a trained network and images. Leaves: scores of its units, what it answers with some of them off, and smaller
networks. Read `importance`, `pruning`, `structure`, `repair`, `oracle`, `cost`, in this order: they are the method, and
what callers import; `slim_files` keeps smaller networks. What they are made of is in the folders `network`, `scoring`,
`masking` and `shrinking`, and in `system` what these ask of the machine. `score` and the folder `prune` are the tool,
as commands and from Python. The study around it is in the others: `images`, `study`, `report`, `running` and
`benchmark`.
"""
