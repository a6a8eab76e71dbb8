"""What runs the bridge, and what it is run against."""
