"""Where this code meets the system that it runs on.

Enters: words of a command line, signals, names of files. Leaves: what is asked for, one interruption, files that are
whole. Read `whole_files`, `interruptions` and `commands`. Imports nothing else of `lib`.
"""
