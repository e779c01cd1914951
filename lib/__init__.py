"""Importance scores for the units of a trained network, and pruning by them: the method.

Enters: a trained network and images. Leaves: scores of its units, what it answers with some of them off, and smaller
networks. The modules here know nothing of the study, which is in the folders below: `images`, `study`, `report`,
`running` and `benchmark`, each of which imports the ones before it alone. Read `units`, `criteria`, `importance`,
`pruning`, `structure`, `repair`, `oracle`; the others serve these. `score` is the command line, and may use all.
"""
