"""What the service does: each public method is one transaction. Nothing here knows HTTP."""
