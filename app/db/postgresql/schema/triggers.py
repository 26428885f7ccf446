"""All triggers, and their functions. `app/db/triggers.py` installs them with their tables."""

from app.db.postgresql.schema import audit, counts, first_counts, guard, holds, limits, waiting

# By the table that the triggers stand on: what to execute after it is created, and after it is dropped.
CREATE = {
    "tasks": (*guard.CREATE, *counts.CREATE, *holds.CREATE, *limits.CREATE, *waiting.CREATE),
    "task_count_changes": counts.CREATE_FOLDING,
    "audit_events": audit.CREATE,
}
DROP = {
    "tasks": (*guard.DROP, *counts.DROP, *holds.DROP, *limits.DROP, *waiting.DROP),
    "task_count_changes": counts.DROP_FOLDING,
    "audit_events": audit.DROP,
}
# As the first migration creates them, on tables without the columns that came later.
FIRST = {"tasks": (*guard.CREATE, *first_counts.CREATE), "audit_events": audit.CREATE}
