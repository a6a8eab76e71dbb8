"""What Tuya's simulated clouds share: accounts with a gateway, the OpenAPI's door, tokens and envelope."""
