"""Everything about Kafka that is not a stage: topics, clients, the confirmed writer, transactions, and the group."""
