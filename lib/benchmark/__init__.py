"""How fast it is, beside the obvious way and other tools.

Enters: networks and images of their own. Leaves: tables of times and memory. Read `measuring`, then `peers` (the
others).
"""
