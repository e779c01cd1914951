"""Images, and the networks that are trained on them.

Enters: folders of images, names of data sets and of networks. Leaves: tensors, trained networks and their checkpoints.
Read `files` (what is an image and a class), `datasets` and `folders` (one by one, or in a stream), `by_class` (images
that a table labels), `networks`, `efficientnets` and `transformers`, `training`, `checkpoints` and `public` (weights of
others, and whose they are), `sources` and `options` (networks and images as a command line calls them). Imports the
core alone.
"""
