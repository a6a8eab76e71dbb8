"""Part two: the fold."""
