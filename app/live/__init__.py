"""Live events: streams of task states. Every state is a committed row, read from the database."""
