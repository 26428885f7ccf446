"""SQL that only PostgreSQL understands."""
