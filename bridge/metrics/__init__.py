"""`/metrics`: the figures of `/status`, for Prometheus; made of the same records when they are asked for.

Every name is here. They have one prefix and base units, and end in `_total` where they only rise. A label has few
values, all known beforehand: accounts by their alias, words of our own; never a device, never what a stranger wrote.
"""
