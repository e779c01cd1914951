"""How it is told.

Enters: tables of the study. Leaves: figures, sentences and one page. Read `tables`, `figures` and `pictures`, then
`answers`, `advice` and `outlook` (in words), `page` and `document` (put together), `readme` (numbers in the README).
Imports the study and what it imports.
"""
