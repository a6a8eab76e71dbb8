"""`make demo`: a fleet upgrades on a simulated cloud, and the real bridge tells it on real Kafka, truthfully."""
