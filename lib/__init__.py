"""The study's library: importance scores for the units of a trained network, pruning by them, and what follows."""
