"""The firmware APIs: one module per cloud, all of the shape in `shape.py`; their transport, errors, retries."""
