"""The fold under kills: a driver, disturbances and a verifier."""
