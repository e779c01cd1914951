"""Somebody's network: run as it is meant to be, followed, copied, and made of units.

Enters: a model and images. Leaves: its units and the taps at which they are read and silenced, graphs and copies of it
that are faster or narrower, and one line for what cannot be vouched for. Read `models`, `layers`, `taps`, `units`.
"""
