"""What the notebooks ask of the measured tables, beyond reading them: a module for each question.

Enters: tables of `measurements`, or a profile whose runs are measured. Leaves: tidy tables, which notebooks save and
show. Read in the notebooks' order: `layers_left` and `masks` (replication), `normalisation`, `label_scarcity`,
`random_vectors` (what is sent back), `leaderboards` and `scoring_time` (rivals), `given_back` and `smaller` (repair),
`oracle_agreement`, `headroom`, `joint_effects` and `unit_maps` (what units are worth); then `failures`, which all
notebooks show, `mean_curves` and `tested`, which the report does, and `over_panels`. Imports the study and what it
imports.
"""
