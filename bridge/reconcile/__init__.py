"""Stage three: asks the clouds what the fold wants to know, one owner per account."""
