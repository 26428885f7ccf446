"""What is read of the tasks that a statement has inserted."""

# What the database decides. JSONB has its own form of numbers, so `metadata` is answered as PostgreSQL stores it.
DECIDED = ("id", "run_at", "due_at", "created_at", "updated_at", "metadata")
