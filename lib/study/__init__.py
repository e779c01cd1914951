"""What is measured, and what follows from it.

Enters: study.yaml. Leaves: tables of every cell of its grid, and verdicts on the claims. Read `vocabulary` and `schema`
(what study.yaml may say), `profiles` (the grid, with `paths` and `devices`), `digests` (what results rest on),
`measurements` (what is measured in each cell; `parts`, `records` and `reuse` keep it), `finetuning`, `shrinking` and
`larger` (networks after pruning, and larger ones), `statistics`, `paper`, `claims` and `analysis` (what follows);
`surroundings` keeps the user's environment out of it. Imports the core and `images`.
"""
