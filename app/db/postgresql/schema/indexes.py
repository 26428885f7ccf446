"""The indexes that need PostgreSQL: partial, by expression, descending, inverted; and how a table is vacuumed."""

from typing import Any

from sqlalchemy import Index, TextClause, text

# A number for an ended task's status and kind. One index by it serves every filter by status and kind.
TASK_KIND = (
    "hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)"
)
# True where the time in the id is more than a minute from `created_at`, or the id holds no time.
ODD_ID = "(created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute' AND interval '1 minute') IS NOT TRUE"

# For a table whose rows are soon deleted: autovacuum clears it at each of its rounds.
SHORT_LIVED_ROWS: dict[str, Any] = {
    "postgresql_with": {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000}
}


def descending(column: str) -> TextClause:
    """`column` in falling order, as the pages are read."""
    return text(f"{column} DESC")


def task_indexes() -> tuple[Index, ...]:
    """New objects for the `tasks` table. The partial ones leave ended rows out, so that these cost no maintenance."""
    return (
        # Pages: newest first, of one user, of one user and status. The other filters are looked up in the rows.
        Index("ix_tasks_user", "user_id", descending("id")),
        Index("ix_tasks_user_status", "user_id", "status", descending("id")),
        # Newest first, of one user and kind: an entry is written when the task ends.
        _partial("ix_tasks_kind", "user_id", text(TASK_KIND), descending("id"), where="finished_at IS NOT NULL"),
        # An id tells the time of creation, unless a wrong clock made it: those ids stand here.
        _partial("ix_tasks_odd_ids", "user_id", where=ODD_ID),
        _partial("ix_tasks_tags", "tags", where="tags <> '{}'", postgresql_using="gin"),
        # Dispatch, maintenance, rescue.
        _partial("ix_tasks_due", "dispatch_at", where="status = 'pending'"),
        _partial(
            "ix_tasks_dispatched",
            *("queue", "priority", "dispatched_at"),
            where="status = 'pending' AND dispatched_at IS NOT NULL",
        ),
        _partial("ix_tasks_expiring", "expires_at", where="status = 'pending' AND expires_at IS NOT NULL"),
        _partial("ix_tasks_running", "worker_id", where="status = 'running'"),
        # Retention: the oldest ended tasks of one user.
        _partial("ix_tasks_ended", "user_id", "finished_at", where="finished_at IS NOT NULL"),
        _partial("ix_tasks_delete_requested", "id", where="delete_requested_at IS NOT NULL"),
    )


def audit_indexes() -> tuple[Index, ...]:
    """New objects for the `audit_events` table: each filter, followed by the order of a page."""
    newest = ("at", "id")
    filters = {"at": (), "event": ("event",), "actor": ("actor_id",), "object": ("object_id",)}
    return tuple(
        Index(f"ix_audit_events_{name}", *columns, *map(descending, newest)) for name, columns in filters.items()
    )


def _partial(name: str, *columns: str | TextClause, where: str, **options: Any) -> Index:
    return Index(name, *columns, postgresql_where=text(where), **options)
