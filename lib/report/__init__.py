"""How it is told.

Enters: tables of the study. Leaves: figures, sentences and one page. Read `tables` and `claim_tables`; `style`,
`placing` and `pictures` (what figures share), then `curve_figures`, `criterion_figures`, `gradient_figures`,
`claim_figures`, `training_figures`, `cost_figures` and `unit_figures`; `words`, `opening`, `claim_answers`, `answers`,
`advice` and `outlook` (in words); `results` and `provenance` (what a report rests on), `blocks`, `notebooks`, `speed`,
`page` and `document` (put together); `readme` (the README's answer). Imports the study and what it imports.
"""
