"""Criteria, and the passes and sums that scores are made of.

Enters: names of criteria, batches of images, units. Leaves: scores of every unit by every criterion, from one stream of
images. Read `criteria` and `rivals` (the notation and every part of it), `noise`, `passes`, `sums`.
"""
