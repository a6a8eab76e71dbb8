"""Stage two: every observation of a device, in order, becomes its state and the events that tell of it, exactly once.

`rules.py` is what it decides, `worker.py` the path of a batch, `stage.py` which partitions are folded here.
"""
