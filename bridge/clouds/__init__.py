"""The firmware APIs: one package per cloud, all of the shape in `shape.py`; what they share stands beside them."""
