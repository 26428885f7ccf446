"""Logins, sessions, API keys and webhook secrets."""
