"""How it is told.

Enters: tables of the study. Leaves: figures, sentences and one page. Read `tables` and `claim_tables`; `style`,
`placing` and `pictures` (what figures share), then `curve_figures`, `criterion_figures`, `gradient_figures`,
`claim_figures`, `training_figures`, `cost_figures` and `unit_figures`; `words`; `results` and `provenance` (what a
report rests on); `opening`, `claim_answers`, `answers`, `advice` and `outlook` (in words); `panel_tables`,
`panel_figures`, `panel_answers` (of several panels); `blocks`, `glossary`, `notebooks`, `speed`, `page` and `document`
(put together); `tool` and `readme` (what the README and pages of docs/ quote). Imports the study and what it imports.
"""
