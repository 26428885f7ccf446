"""All triggers, and their functions. `app/ddl/triggers.py` installs them with their tables."""

from app.ddl.postgresql import audit, counts, guard, holds, limits, outbox, waiting

# By the table that the triggers stand on: what to execute after it is created.
CREATE = {
    "tasks": (*guard.CREATE, *counts.CREATE, *holds.CREATE, *limits.CREATE, *waiting.CREATE, *outbox.CREATE),
    "task_attempts": counts.CREATE_RETRIES,
    "task_count_changes": counts.CREATE_FOLDING,
    "audit_events": audit.CREATE,
}
