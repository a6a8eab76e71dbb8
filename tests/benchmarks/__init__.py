"""`make bench`: what the bridge reaches on this machine, on real brokers, in one run. Nothing here passes or fails."""
