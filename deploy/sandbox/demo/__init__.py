"""`make demo`: fleets of all simulated clouds upgrade, and the real bridge tells it on real Kafka, truthfully."""
