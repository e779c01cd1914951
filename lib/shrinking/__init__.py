"""Networks that really become smaller.

Enters: a network, and the channels that shall go. Leaves: which can go at all, which go together, and the network
without them. Read `shrinkable`, `channels`, `ties`, `heads`, `room`, `agreeing`, `idle`, `slimming`, `trials`.
"""
