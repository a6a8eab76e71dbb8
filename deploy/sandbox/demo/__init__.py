"""`make demo`: fleets of five simulated clouds upgrade, and the real bridge tells it on real Kafka, truthfully."""
