"""What the service does, one public method one transaction. Nothing here knows HTTP."""
