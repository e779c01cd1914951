"""How it is told.

Enters: tables of the study. Leaves: figures, sentences and one page. Read `tables` and `claim_tables`; `style`,
`placing` and `pictures` (what figures share), then `curve_figures`, `criterion_figures`, `gradient_figures`,
`claim_figures`, `training_figures` and `cost_figures`; `words`, `claim_answers`, `answers`, `advice` and `outlook` (in
words); `results` and `provenance` (what a report rests on), `blocks`, `notebooks`, `speed`, `page` and `document` (put
together); `readme` (numbers in the README). Imports the study and what it imports.
"""
