"""The database: engine, sessions, column types. SQL itself stands in the service that owns it."""
