"""The indexes that differ from engine to engine, and how PostgreSQL vacuums a table.

PostgreSQL and SQLite have partial indexes, which leave out the rows that no reader wants. MySQL has none: there an
index begins with the columns that the condition names, so that a reader skips those rows. PostgreSQL alone has inverted
indexes, and indexes by the expressions below: MySQL has columns in the place of these, which are added here too.
"""

from typing import Any

from sqlalchemy import DDL, ColumnClause, FromClause, Index, Text, TextClause, event, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from app.core.engines import MYSQL, POSTGRESQL, SQLITE

# A number for an ended task's status and kind. One index by it serves every filter by status and kind.
TASK_KIND = (
    "hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)"
)
# True where the time in the id is more than a minute from `created_at`, or the id holds no time.
ODD_ID = "(created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute' AND interval '1 minute') IS NOT TRUE"
# The nominal time of a task of a schedule, as its metadata tell it. Compared by bytes, so that a range is one of times.
_SCHEDULED_FOR = """((metadata ->> 'scheduled_for') COLLATE "C")"""
_SCHEDULED_FOR_OF_SQLITE = "json_extract(metadata, '$.scheduled_for')"
# The first twelve digits of the id are the milliseconds since 1970.
_ODD_ID_OF_SQLITE = (
    "substr(id, 1, 12) NOT BETWEEN printf('%012x', created_at / 1000 - 60000)"
    " AND printf('%012x', created_at / 1000 + 60000)"
)

# One task of a user at most that has not ended has a key.
UNIQUE_KEY = "uq_tasks_active_key"

# For a table whose rows are soon deleted: autovacuum clears it at each of its rounds.
SHORT_LIVED_ROWS: dict[str, Any] = {
    "postgresql_with": {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000}
}


# For rows that are written together and updated soon after, each once: a new version fits into the same page, and the
# indexes stay as they are. None has a column that is updated.
UPDATED_ONCE: dict[str, Any] = {"postgresql_with": {"fillfactor": 60}}
# For a few rows that are updated all the time, likewise.
OFTEN_UPDATED_ROWS: dict[str, Any] = {"postgresql_with": {"fillfactor": 50}}


def descending(column: str) -> TextClause:
    """Return `column` in falling order, as the pages are read."""
    return text(f"{column} DESC")


class _Indexed(ColumnClause[Any]):
    """An expression in the words of an index; on MySQL a column of `_ADDED_COLUMNS`."""

    inherit_cache = True

    def __init__(self, text: str, of_sqlite: str, of_mysql: str, kind: TypeEngine[Any] | None = None) -> None:
        super().__init__(text, kind, is_literal=True)
        self.of_sqlite, self.of_mysql = of_sqlite, of_mysql


@compiles(_Indexed, SQLITE)
def _of_sqlite(element: _Indexed, compiler: SQLCompiler, **options: Any) -> str:
    del compiler, options
    return element.of_sqlite


@compiles(_Indexed, MYSQL)
def _by_column(element: _Indexed, compiler: SQLCompiler, **options: Any) -> str:
    del compiler, options
    return element.of_mysql


# ODD_ID as a condition: a Boolean would be compared with 1 on SQLite. And the nominal time of a task.
HAS_ODD_ID = _Indexed(ODD_ID, _ODD_ID_OF_SQLITE, "odd_id = 1")
SCHEDULED_FOR = _Indexed(_SCHEDULED_FOR, _SCHEDULED_FOR_OF_SQLITE, "scheduled_for", Text())


def task_indexes() -> tuple[Index, ...]:
    """New objects for the `tasks` table. The partial ones leave ended rows out, so that these cost no maintenance."""
    return (
        # Pages: newest first, of one user, of one user and status. The other filters are looked up in the rows.
        Index("ix_tasks_user", "user_id", descending("id")),
        Index("ix_tasks_user_status", "user_id", "status", descending("id")),
        # Newest first, of one user and kind: an entry is written when the task ends.
        _of_postgresql("ix_tasks_kind", "user_id", text(TASK_KIND), descending("id"), where="finished_at IS NOT NULL"),
        # The tasks of one group of failures, newest first: an entry is written when the task fails.
        _partial("ix_tasks_error", "error_fingerprint", descending("id"), where="error_fingerprint IS NOT NULL"),
        # An id tells the time of creation, unless a wrong clock made it: those ids stand here.
        _of_postgresql("ix_tasks_odd_ids", "user_id", where=ODD_ID),
        # With all columns that are read of it: else SQLite may take `ix_tasks_user` for as good.
        Index("ix_tasks_odd_ids", "user_id", "created_at", "id", sqlite_where=text(_ODD_ID_OF_SQLITE)).ddl_if(
            dialect=SQLITE
        ),
        _of_postgresql("ix_tasks_tags", "tags", where="tags <> '{}'", postgresql_using="gin"),
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
        # The tasks of one schedule, newest first.
        _partial("ix_tasks_schedule", "schedule_id", descending("id"), where="schedule_id IS NOT NULL"),
        # Those of its nominal times, for a backfill.
        _of_postgresql("ix_tasks_scheduled_for", "schedule_id", text(_SCHEDULED_FOR), where="schedule_id IS NOT NULL"),
        Index(
            *("ix_tasks_scheduled_for", "schedule_id", text(_SCHEDULED_FOR_OF_SQLITE)),
            sqlite_where=text("schedule_id IS NOT NULL"),
        ).ddl_if(dialect=SQLITE),
        _partial("ix_tasks_delete_requested", "id", where="delete_requested_at IS NOT NULL"),
        # Unique with or without its condition, which spares the tasks without a key an entry.
        _partial(UNIQUE_KEY, "user_id", "active_key", where="active_key IS NOT NULL", unique=True),
        *_task_indexes_of_mysql(),
    )


def _task_indexes_of_mysql() -> tuple[Index, ...]:
    """In the places of the partial ones. `turn` and `due_at` are NULL unless the task is pending."""
    line = ("queue", "priority", "turn", "id")
    return (
        _of_mysql("ix_tasks_error", "error_fingerprint", "id"),
        # `held` in front of the turn: what waits for a limit is not read.
        _of_mysql("ix_tasks_ready", "queue", "priority", "held", "turn", "id"),
        _of_mysql("ix_tasks_limited", "limit", "status", "user_id", "id"),
        # With `held` in front, no ended task stands between two keys or two users that wait; and as these all have NULL
        # there, `status` stands behind it where a reader looks for what is not held.
        _of_mysql("ix_tasks_held", "limit", "held", "status", *line),
        _of_mysql("ix_tasks_held_keys", "limit", "held", "limit_key", *line),
        _of_mysql("ix_tasks_held_users", "held", "user_id", *line),
        _of_mysql("ix_tasks_unknown", "held", "status", "queue", "celery_task_name"),
        _of_mysql("ix_tasks_unplaced", "turn", "due_at"),
        _of_mysql("ix_tasks_expiring", "status", "expires_at"),
        _of_mysql("ix_tasks_running", "status", "worker_id"),
        _of_mysql("ix_tasks_ended", "user_id", "finished_at"),
        _of_mysql("ix_tasks_schedule", "schedule_id", "id"),
        _of_mysql("ix_tasks_delete_requested", "delete_requested_at"),
        _of_mysql(UNIQUE_KEY, "user_id", "active_key", unique=True),
    )


def place_indexes() -> tuple[Index, ...]:
    """Return new objects for the `limit_places` table: what a limit and its keys have, and what a worker runs."""
    return (
        Index("ix_limit_places_limit", "limit_name", "limit_key"),
        _partial("ix_limit_places_worker", "worker_id", where="worker_id IS NOT NULL AND ended_at IS NULL"),
        _of_mysql("ix_limit_places_worker", "worker_id", "ended_at"),
    )


def outbox_indexes() -> tuple[Index, ...]:
    """New objects for the `task_outbox` table: the rows of one task, and of one consumer and user, none set aside.

    On PostgreSQL not as on MySQL: with 60,000 rows set aside and 5,000 new ones that its statistics did not know, it
    read the index by `set_aside_at` once for each of its rows, for seconds.
    """
    return (
        Index("ix_task_outbox_task", "consumer", "task_id", "id"),
        _partial("ix_task_outbox_ready", "consumer", "user_id", "id", where="set_aside_at IS NULL"),
        _of_mysql("ix_task_outbox_ready", "consumer", "set_aside_at", "user_id", "id"),
    )


def webhook_delivery_indexes() -> tuple[Index, ...]:
    """Return new objects for the `webhook_deliveries` table."""
    return (
        # The sender: the lanes, and the first rows of each; and what has become due since it looked last.
        Index("ix_webhook_deliveries_due", "lane", "next_attempt_at", "id"),
        _partial("ix_webhook_deliveries_next", "next_attempt_at", "lane", where="next_attempt_at IS NOT NULL"),
        _of_mysql("ix_webhook_deliveries_next", "next_attempt_at", "lane"),
        Index("ix_webhook_deliveries_endpoint", "endpoint_id", "id"),
        Index("ix_webhook_deliveries_task", "task_id", "id"),
        # The first attempts that one of the same task waits for.
        Index("ix_webhook_deliveries_before", "task_id", "lane", "tries", "generation"),
        # The quota: a sum that reads no row.
        Index("ix_webhook_deliveries_user", "user_id", "bytes"),
    )


def schedule_indexes() -> tuple[Index, ...]:
    """Return new objects for the `schedules` table: the pages of one user and of all, and what a pass looks for."""
    return (
        Index("ix_schedules_user", "user_id", "id"),
        # Those that are due, and those that wait for the end of a task.
        Index("ix_schedules_due", "due_at"),
        _partial("ix_schedules_held", "held_for", where="held_for IS NOT NULL"),
        _of_mysql("ix_schedules_held", "held_for"),
    )


def schedule_run_indexes() -> tuple[Index, ...]:
    """New objects for the `schedule_runs` table: the run of a task, those that may not have ended, and the oldest."""
    return (
        Index("ix_schedule_runs_task", "task_id"),
        Index(
            "ix_schedule_runs_open", "schedule_id", postgresql_where=text("is_open"), sqlite_where=text("is_open = 1")
        ).ddl_if(dialect=(POSTGRESQL, SQLITE)),  # type: ignore[arg-type]  # it takes several
        _of_mysql("ix_schedule_runs_open", "schedule_id", "is_open"),
        Index("ix_schedule_runs_created", "created_at"),
    )


def error_group_indexes() -> tuple[Index, ...]:
    """Return new objects for the `error_groups` table: those of one user, and of all, in the order of a page."""
    newest = [descending("last_seen"), descending("fingerprint")]
    return (Index("ix_error_groups_user", "user_id", *newest), Index("ix_error_groups_seen", *newest))


def audit_indexes() -> tuple[Index, ...]:
    """Return new objects for the `audit_events` table: each filter, followed by the order of a page."""
    newest = ("at", "id")
    filters = {"at": (), "event": ("event",), "actor": ("actor_id",), "object": ("object_id",)}
    return tuple(
        Index(f"ix_audit_events_{name}", *columns, *map(descending, newest)) for name, columns in filters.items()
    )


def _partial(name: str, *columns: str | TextClause, where: str, **options: Any) -> Index:
    index = Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where), **options)
    return index.ddl_if(dialect=(POSTGRESQL, SQLITE))  # type: ignore[arg-type]  # it takes several


def _of_postgresql(name: str, *columns: str | TextClause, where: str, **options: Any) -> Index:
    return Index(name, *columns, postgresql_where=text(where), **options).ddl_if(dialect=POSTGRESQL)


def _of_mysql(name: str, *columns: str | TextClause, **options: Any) -> Index:
    return Index(name, *columns, **options).ddl_if(dialect=MYSQL)


# -- Columns that MySQL alone has, in the place of what the other engines have by themselves ---------------------------

# The number of a row, as `rowid` of SQLite and `ctid` of PostgreSQL: the table has no key.
_NUMBERED = "ADD COLUMN seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST"
# 1 where an id tells another time than `created_at`: indexed in the place of a partial index.
# The first six bytes of the id are the milliseconds since 1970.
_ODD_ID_COLUMN = """ADD COLUMN odd_id TINYINT AS (CASE WHEN abs(
    CAST(conv(hex(left(id, 6)), 16, 10) AS SIGNED) - timestampdiff(MICROSECOND, '1970-01-01', created_at) DIV 1000
) > 60000 THEN 1 END) STORED, ADD INDEX ix_tasks_odd_ids (odd_id, user_id)"""
# The nominal time of a schedule's task, for an index by it. Not stored: no row is written to add it.
_SCHEDULED_FOR_COLUMN = """ADD COLUMN scheduled_for VARCHAR(32) AS (
    CASE WHEN schedule_id IS NOT NULL THEN left(json_unquote(json_extract(metadata, '$.scheduled_for')), 32) END
) VIRTUAL, ADD INDEX ix_tasks_scheduled_for (schedule_id, scheduled_for)"""
_ADDED_COLUMNS = {
    "task_count_changes": _NUMBERED,
    "task_submissions": _NUMBERED,
    "tasks": f"{_ODD_ID_COLUMN}, {_SCHEDULED_FOR_COLUMN}",
}


def add_mysql_columns(table: FromClause) -> None:
    """Have `table` created with its columns of MySQL."""
    ddl = DDL(f"ALTER TABLE %(table)s {_ADDED_COLUMNS[str(table)]}")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", ddl.execute_if(dialect=MYSQL))
