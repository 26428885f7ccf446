"""Turns: what a statement places."""

# Whose last turn is known: of a user, in a line.
LINE = ("user_id", "queue", "priority")
# So many tasks are placed by one statement.
PLACE_BATCH = 500
