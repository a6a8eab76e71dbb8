"""The message gateway: the consumer stage beside the vendor's loop and the client's own limit, and its latency."""
