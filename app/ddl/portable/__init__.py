"""What the schema has on MySQL and SQLite beside columns and indexes: triggers, and why a task waits."""
