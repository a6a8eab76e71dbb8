"""What Tuya's OpenAPI clouds share: credentials, signature, token, envelope, error codes, numeric statuses."""
