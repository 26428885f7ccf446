"""The database in use: connections, sessions, and the statements that several services share."""
