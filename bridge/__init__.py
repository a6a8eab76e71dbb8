"""The bridge: the daemon and its command, the fold (stage two), reconciliation (stage three), their ways to Kafka."""
