"""Networks with units off, in less time than a masked pass takes, and what is left of them.

Enters: a network and which of its units are off. Leaves: the logits of a masked pass, and shares of multiply-adds and
parameters. Read `trimming` and `compact` (points of a curve), `cuts` and `replay` (one unit off, for the oracle),
`counting` and `footprint`.
"""
