"""The audit: its records, and how administrators read them."""
