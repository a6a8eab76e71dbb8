"""The other side, brought along: real brokers, simulated clouds, and the demo that joins them to the bridge."""
