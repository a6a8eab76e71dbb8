"""The bridge: the daemon and its command, the fold (stage two), reconciliation (stage three), and their ways to Kafka."""
