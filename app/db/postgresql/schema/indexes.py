"""The indexes that need PostgreSQL: partial, by expression, descending, inverted; and how a table is vacuumed."""

from typing import Any

from sqlalchemy import Index, TextClause, text

# A number for an ended task's status and kind. One index by it serves every filter by status and kind.
TASK_KIND = (
    "hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)"
)
# True where the time in the id is more than a minute from `created_at`, or the id holds no time.
ODD_ID = "(created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute' AND interval '1 minute') IS NOT TRUE"

# One task of a user at most that has not ended has a key.
UNIQUE_KEY = "uq_tasks_active_key"

# For a table whose rows are soon deleted: autovacuum clears it at each of its rounds.
SHORT_LIVED_ROWS: dict[str, Any] = {
    "postgresql_with": {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000}
}


# For a few rows that are updated all the time: a new version fits into the same page, and the index stays as it is.
OFTEN_UPDATED_ROWS: dict[str, Any] = {"postgresql_with": {"fillfactor": 50}}


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
        # The tasks of one group of failures, newest first: an entry is written when the task fails.
        _partial("ix_tasks_error", "error_fingerprint", descending("id"), where="error_fingerprint IS NOT NULL"),
        # An id tells the time of creation, unless a wrong clock made it: those ids stand here.
        _partial("ix_tasks_odd_ids", "user_id", where=ODD_ID),
        _partial("ix_tasks_tags", "tags", where="tags <> '{}'", postgresql_using="gin"),
        # The claim: the next rows of a line. Then maintenance and rescue.
        _partial(
            "ix_tasks_ready",
            *("queue", "priority", "turn", "id"),
            where="status = 'pending' AND turn IS NOT NULL AND held IS NULL",
        ),
        # Pending tasks that name a limit, those of them that have a place, and the admission of those that are held: in
        # all, and of each key.
        _partial("ix_tasks_limited", "limit", "user_id", "id", where="""status = 'pending' AND "limit" IS NOT NULL"""),
        _partial(
            "ix_tasks_admitted", "limit", "id", where="""status = 'pending' AND "limit" IS NOT NULL AND held IS NULL"""
        ),
        _partial(
            "ix_tasks_held",
            *("limit", "queue", "priority", "turn", "id"),
            where="status = 'pending' AND turn IS NOT NULL AND held = 'limit'",
        ),
        _partial(
            "ix_tasks_held_keys",
            *("limit", "limit_key", "held", "queue", "priority", "turn", "id"),
            where="status = 'pending' AND turn IS NOT NULL AND held IS NOT NULL AND limit_key IS NOT NULL",
        ),
        # Those that wait for a place of their user. Empty without QUOTA_RUNNING_TASKS.
        _partial(
            "ix_tasks_held_users",
            *("user_id", "queue", "priority", "turn", "id"),
            where="status = 'pending' AND turn IS NOT NULL AND held = 'user'",
        ),
        _partial("ix_tasks_unknown", "queue", "celery_task_name", where="status = 'pending' AND held = 'name'"),
        _partial("ix_tasks_unplaced", "due_at", where="status = 'pending' AND turn IS NULL"),
        _partial("ix_tasks_expiring", "expires_at", where="status = 'pending' AND expires_at IS NOT NULL"),
        _partial("ix_tasks_running", "worker_id", where="status = 'running'"),
        # Retention: the oldest ended tasks of one user.
        _partial("ix_tasks_ended", "user_id", "finished_at", where="finished_at IS NOT NULL"),
        _partial("ix_tasks_delete_requested", "id", where="delete_requested_at IS NOT NULL"),
        # Unique with or without its condition, which spares the tasks without a key an entry.
        _partial(UNIQUE_KEY, "user_id", "active_key", where="active_key IS NOT NULL", unique=True),
    )


def place_indexes() -> tuple[Index, ...]:
    """New objects for the `limit_places` table: what a limit and its keys have, and what a worker runs."""
    return (
        Index("ix_limit_places_limit", "limit_name", "limit_key"),
        _partial("ix_limit_places_worker", "worker_id", where="worker_id IS NOT NULL AND ended_at IS NULL"),
    )


def error_group_indexes() -> tuple[Index, ...]:
    """New objects for the `error_groups` table: those of one user, and of all, in the order of a page."""
    newest = [descending("last_seen"), descending("fingerprint")]
    return (Index("ix_error_groups_user", "user_id", *newest), Index("ix_error_groups_seen", *newest))


def audit_indexes() -> tuple[Index, ...]:
    """New objects for the `audit_events` table: each filter, followed by the order of a page."""
    newest = ("at", "id")
    filters = {"at": (), "event": ("event",), "actor": ("actor_id",), "object": ("object_id",)}
    return tuple(
        Index(f"ix_audit_events_{name}", *columns, *map(descending, newest)) for name, columns in filters.items()
    )


def _partial(name: str, *columns: str | TextClause, where: str, **options: Any) -> Index:
    return Index(name, *columns, postgresql_where=text(where), **options)
