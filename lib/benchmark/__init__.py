"""How fast it is, beside the obvious way and other tools.

Enters: networks and images of their own. Leaves: tables of times and memory. `comparisons` and `growth` are what is
benchmarked: on `subjects`, as `measuring` times it, beside `obvious` ways and `peers`; `outcome` says what tables mean,
`command` is the command line. `coverage` tries which networks shrink, `demonstration` what the tool makes of real ones.
"""
