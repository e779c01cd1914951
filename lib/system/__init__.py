"""Where this code meets the system that it runs on.

Enters: files to be written. Leaves: files that are whole. Read `whole_files`. Imports nothing of `lib`.
"""
