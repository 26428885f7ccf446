"""What schemathesis needs to test this service: accounts, tokens, and bodies that get past the credentials."""
