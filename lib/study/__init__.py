"""What is measured, and what follows from it.

Enters: study.yaml. Leaves: tables of every cell of its grid, and verdicts on the claims. Read `vocabulary` and `schema`
(what study.yaml may say), `profiles` (the grid, with `paths` and `devices`), `digests` (what results rest on),
`columns` (what a row is of), `ablations` (which cells are asked for), `sampling` and `loading` (images and network of a
run), `given` (networks that others have trained), `measurements` (what is measured in each cell; `parts`, `records`
and `reuse` keep it; `consistency` looks through the tables, `verification` measures a sample again, and `earlier` takes
up what agrees with it), `ceilings` (how good an order can be), `repairs` and `silencing` (curves with repair, and with
another mask), `finetuning`, `shrinking` and `larger` (networks after pruning, and larger ones), `statistics` and
`rankings`, `contrasts`, `paper` and `claims` (what follows), `panels` (what is published, together), and then the
folder `analyses`; `surroundings` keeps the user's environment out of it. Imports the core and `images`.
"""
