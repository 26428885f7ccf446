"""What clients hear while a task lives. Always of committed rows, read from the database."""
