"""Folds the observations again, beside the bridge, and compares what comes of them with what it has published."""
